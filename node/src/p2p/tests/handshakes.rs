//! Strangers who connect and say nothing, at a real node.

use super::*;
use crate::p2p::handshakes::UNBOUNDED_MAX;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream};

/// More than may be in their handshake at once, of all sources together.
const STRANGERS: usize = 400;

async fn connect_from(source: [u8; 4], node: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((source, 0))).expect("an address of this machine");
    socket.connect(node).await.expect("the backlog has room")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_from_one_address_keeps_nobody_out_who_comes_from_another() {
    let node = Setup::new(1).start().await;
    let address = node.p2p.addresses()[0].clone();
    let Some(Protocol::Tcp(port)) = address.iter().nth(1) else { panic!("{address} is no TCP address") };
    let mut strangers = vec![];
    for _ in 0..STRANGERS {
        strangers.push(connect_from([127, 0, 0, 2], ([127, 0, 0, 1], port).into()).await);
    }
    let late = Setup::new(2).peer(&node).start().await;
    late.wait_for_peers(|peers| peers.contains(&node.id)).await;
    let waits = |stranger: &&TcpStream| {
        // What a node says first comes before it hangs up.
        loop {
            match stranger.try_read(&mut [0; 64]) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    };
    let waiting = strangers.iter().filter(waits).count();
    assert!(waiting > 0, "it came in when the handshakes of the strangers were over");
    assert!(waiting <= UNBOUNDED_MAX, "{waiting} have a place");
    late.stop().await;
    node.stop().await;
}
