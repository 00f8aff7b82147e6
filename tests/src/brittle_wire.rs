//! A way to a server that breaks once in the middle of a long answer, and counts what it carried: whoever resumes a download has less carried than one who
//! begins again.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PIECE_BYTES: usize = 16 << 10;

pub struct BrittleWire {
    pub port: u16,
    wire: Arc<Wire>,
}

struct Wire {
    server: (String, u16),
    /// The first answer, or run of answers on one connection, that becomes longer is cut off there.
    breaks_after_bytes: u64,
    broken: AtomicBool,
    carried_bytes: AtomicU64,
}

impl BrittleWire {
    /// A wire to the server at this host and port. It lies there until the test's process ends.
    pub fn start(host: &str, port: u16, breaks_after_bytes: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let (broken, carried_bytes) = (AtomicBool::new(false), AtomicU64::new(0));
        let wire = Arc::new(Wire { server: (host.to_owned(), port), breaks_after_bytes, broken, carried_bytes });
        let shared = wire.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let wire = shared.clone();
                std::thread::spawn(move || wire.carry(client));
            }
        });
        Self { port: own, wire }
    }

    /// Whether it has broken. It does so once.
    pub fn has_broken(&self) -> bool {
        self.wire.broken.load(Ordering::SeqCst)
    }

    /// What it brought to clients, in bytes.
    pub fn carried_bytes(&self) -> u64 {
        self.wire.carried_bytes.load(Ordering::SeqCst)
    }
}

impl Wire {
    fn carry(&self, client: TcpStream) {
        let (host, port) = &self.server;
        let Ok(server) = TcpStream::connect((host.as_str(), *port)) else { return };
        let (Ok(asks), Ok(asked)) = (client.try_clone(), server.try_clone()) else { return };
        std::thread::spawn(move || {
            let (mut asks, mut asked) = (asks, asked);
            drop(std::io::copy(&mut asks, &mut asked));
            drop(asked.shutdown(Shutdown::Write));
        });
        self.answer(server, client);
    }

    fn answer(&self, mut server: TcpStream, mut client: TcpStream) {
        let (mut piece, mut here_bytes) = (vec![0; PIECE_BYTES], 0);
        while let Ok(read @ 1..) = server.read(&mut piece) {
            here_bytes += read as u64;
            if here_bytes > self.breaks_after_bytes && !self.broken.swap(true, Ordering::SeqCst) {
                break;
            }
            if client.write_all(&piece[..read]).is_err() {
                break;
            }
            self.carried_bytes.fetch_add(read as u64, Ordering::SeqCst);
        }
        drop(client.shutdown(Shutdown::Both));
        drop(server.shutdown(Shutdown::Both));
    }
}
