//! What runs first in the namespaces of a build, and the one way out of a build that has no network: a listening socket on its
//! own loopback, held by the pipeline.
//!
//! ```text
//! pipeline: socket pair -> unshare (namespaces) -> the gate program (hides folders, raises loopback, listens, hands the socket over,
//!           gives up the rights of root) -> mvn
//! pipeline: accepts on that socket, in whose namespace there is nothing else to reach
//! ```
//!
//! A socket belongs to the namespace it was made in, whoever holds it (network_namespaces(7)), and passes between processes as
//! ancillary data (unix(7), `SCM_RIGHTS`). So nothing has to forward, and what leaves the build is decided in the pipeline.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType,
};
use tokio::io::Interest;

use super::confinement;
use super::isolation::Network;

/// The namespace is the build's own, so that the port is the same in every build and shows in no artifact as a difference.
pub(crate) const PORT: u16 = 21_081;
/// How long making namespaces and starting the gate program may take on a busy machine.
const HAND_OVER_MAX: Duration = Duration::from_secs(60);
/// What accompanies the socket; a message needs a byte.
const TOKEN: [u8; 1] = [b'g'];

#[derive(Debug, thiserror::Error)]
pub(crate) enum GateError {
    #[error("cannot make the sockets")]
    Io(#[from] io::Error),
    #[error("the build's namespace was not ready within {} s", HAND_OVER_MAX.as_secs())]
    Late,
    #[error("the program before the build handed over no socket")]
    NoSocket,
}

/// The pipeline's end of what the gate program has as standard input.
pub(crate) struct Gate(tokio::net::UnixStream);

impl Gate {
    /// The gate, and the standard input of the program that opens it.
    pub(crate) fn new() -> Result<(Self, Stdio), GateError> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self(tokio::net::UnixStream::from_std(ours)?), Stdio::from(OwnedFd::from(theirs))))
    }

    /// Waits for the socket that builds are served on.
    pub(crate) async fn opened(self) -> Result<tokio::net::TcpListener, GateError> {
        let received = self.0.async_io(Interest::READABLE, || receive(self.0.as_fd()));
        let socket = tokio::time::timeout(HAND_OVER_MAX, received).await.map_err(|_| GateError::Late)??;
        let listener = TcpListener::from(socket.ok_or(GateError::NoSocket)?);
        listener.set_nonblocking(true)?;
        Ok(tokio::net::TcpListener::from_std(listener)?)
    }
}

fn receive(stream: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut token = TOKEN;
    rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut token)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    Ok(sockets.flatten().next())
}

fn send(stream: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = [socket];
    control.push(SendAncillaryMessage::ScmRights(&sockets));
    rustix::net::sendmsg(stream, &[IoSlice::new(&TOKEN)], &mut control, SendFlags::empty())?;
    Ok(())
}

/// The gate program, started in fresh namespaces with these arguments: what the build reaches (`gate`: the pipeline accepts on
/// standard input), the data folder of the pipeline if that is to be hidden, the folder of the build, and a program, which
/// it becomes. Returns only when that cannot be done.
pub fn run_behind_gate(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let words = (arguments.next(), arguments.next(), arguments.next(), arguments.next());
    let (Some(network), Some(data_dir), Some(work), Some(program)) = words else {
        eprintln!("the gate has no program to run");
        return ExitCode::FAILURE;
    };
    if let Err((step, error)) = confine(&network, data_dir.as_ref(), work.as_ref()) {
        eprintln!("cannot {step}: {error}");
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).stdin(Stdio::null()).exec();
    eprintln!("cannot run {}: {error}", program.display());
    ExitCode::FAILURE
}

fn confine(network: &OsStr, data_dir: &Path, work: &Path) -> Result<(), (&'static str, io::Error)> {
    if !data_dir.as_os_str().is_empty() {
        confinement::hide_folders(data_dir, work).map_err(|error| ("hide the folders of the pipeline from the build", error))?;
    }
    if network == Network::Gate.word() {
        raise_loopback()
            .and_then(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)))
            .and_then(|listener| send(io::stdin().as_fd(), listener.as_fd()))
            .map_err(|error| ("open the gate of the build", error))?;
    }
    confinement::drop_privileges().map_err(|error| ("give up the rights of root", error))?;
    // Of `unshare`, which set it for the first thread; giving up rights may clear it (prctl(2)).
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|error| ("bind the build to the pipeline", error.into()))
}

/// rtnetlink(7), the protocol of netlink that needs no name: RTM_NEWLINK with the flag IFF_UP for the first interface, which is the loopback of the namespace.
fn raise_loopback() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    const LOOPBACK_INDEX: i32 = 1;
    const IFF_UP: u32 = 1;
    const HEADER_BYTES: usize = 16;
    const MESSAGE_BYTES: u32 = 32;
    let mut message = Vec::new();
    message.extend(MESSAGE_BYTES.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    message.extend([0; 8]); // sequence, port: the kernel's answer is the only one that comes
    message.extend([0; 4]); // any family, any type
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes()); // which flags change
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 256];
    let (length, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let word = |at: usize| answer[at..at + 4].try_into().map(i32::from_ne_bytes).expect("it has four bytes");
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    match word(HEADER_BYTES) {
        _ if length < HEADER_BYTES + 4 || kind != NLMSG_ERROR => Err(io::Error::other("no answer of the kernel")),
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}
