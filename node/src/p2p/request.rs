//! Requests from node to node: `/pyrsia/request/1`, one message each way, borsh, at most 64 KiB.

use borsh::{BorshDeserialize, BorshSerialize};
use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use libp2p::request_response::OutboundFailure;
use libp2p::{StreamProtocol, request_response};
use pyrsia_ledger::{BuildId, NodeId, PackageCoordinate, Sha256Digest};
use std::io;
use tokio::sync::oneshot;

pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/pyrsia/request/1");
/// The longest request or response, in bytes.
pub const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// The code of [`NodeResponse::Error`] when the asked node has too much to do.
pub const CODE_BUSY: u16 = 503;
/// The code of [`NodeResponse::Error`] when the asked node found no answer in time.
pub const CODE_TIMED_OUT: u16 = 504;

/// What a node asks of another.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum NodeRequest {
    /// A wish for a build, to an authorized node.
    Build { coordinate: PackageCoordinate, again: bool },
    /// A piece of a verifier module that the ledger names, from `offset` on.
    VerifierModule { sha256: Sha256Digest, offset: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum NodeResponse {
    Build(WireReceipt),
    Error {
        code: u16,
        sentence: String,
    },
    /// As much as fits from the offset on, and how large the module is.
    VerifierModule {
        size_bytes: u64,
        piece: Vec<u8>,
    },
}

/// What became of a wish for a build.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum WireReceipt {
    Requested(BuildId),
    AlreadyOpen(BuildId),
    AlreadyPublished { coordinate: PackageCoordinate, artifacts: u32 },
    NotPublished { build: BuildId, coordinate: PackageCoordinate, disputed: bool },
}

/// A request of a peer. Dropping `reply` tells the peer that this node is busy.
#[derive(Debug)]
pub struct InboundRequest {
    pub from: NodeId,
    pub request: NodeRequest,
    pub reply: oneshot::Sender<NodeResponse>,
}

/// Why a request got no answer. Whether the other node acted on it is not known, except for the first.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    #[error("node {0} cannot be reached")]
    Unreachable(NodeId),
    #[error("node {0} does not answer such requests; is it of another version?")]
    Unsupported(NodeId),
    #[error("node {0} did not answer in time")]
    TimedOut(NodeId),
    #[error("the connection with node {0} broke before it answered")]
    Disconnected(NodeId),
    #[error("the answer of node {node} cannot be read: {reason}")]
    Malformed { node: NodeId, reason: String },
    #[error("this node is stopping")]
    Stopped,
}

impl RequestError {
    pub(super) fn of(node: NodeId, failure: &OutboundFailure) -> Self {
        match failure {
            OutboundFailure::DialFailure => Self::Unreachable(node),
            OutboundFailure::Timeout => Self::TimedOut(node),
            OutboundFailure::ConnectionClosed => Self::Disconnected(node),
            OutboundFailure::UnsupportedProtocols => Self::Unsupported(node),
            OutboundFailure::Io(error) => Self::Malformed { node, reason: error.to_string() },
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Codec;

async fn read<M: BorshDeserialize>(io: &mut (impl AsyncRead + Unpin)) -> io::Result<M> {
    let mut bytes = vec![];
    io.take(REQUEST_BYTES_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > REQUEST_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of over {REQUEST_BYTES_MAX} bytes")));
    }
    borsh::from_slice(&bytes)
}

async fn write(io: &mut (impl AsyncWrite + Unpin), message: &impl BorshSerialize) -> io::Result<()> {
    io.write_all(&borsh::to_vec(message)?).await?;
    io.close().await
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = NodeRequest;
    type Response = NodeResponse;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<NodeRequest> {
        read(io).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<NodeResponse> {
        read(io).await
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: NodeRequest,
    ) -> io::Result<()> {
        write(io, &request).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: NodeResponse,
    ) -> io::Result<()> {
        write(io, &response).await
    }
}
