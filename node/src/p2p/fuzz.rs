//! What arrives on a stream, in pieces of any length.

use super::exchange;
use super::frame::{read_body, read_length, read_message, write_message};
use super::request::{Codec, NodeRequest, NodeResponse, PROTOCOL, WireReceipt};
use borsh::{BorshDeserialize, BorshSerialize};
use futures::executor::block_on;
use futures::io::{AsyncRead, Cursor};
use libp2p::request_response::Codec as _;
use pyrsia_ledger::{BuildId, NetworkId, PackageCoordinate, Sha256Digest};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The longest frame that is read here.
const FRAME_BYTES_MAX: usize = 1 << 12;

/// Gives its bytes a few at a time.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let length = self.bytes.len().min(into.len()).min(self.piece);
        let (now, later) = self.bytes.split_at(length);
        into[..length].copy_from_slice(now);
        self.bytes = later;
        Poll::Ready(Ok(length))
    }
}

/// How long the pieces are, and the stream: frames, and one message of each protocol.
pub(crate) fn stream(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let pieces = || Pieces { bytes, piece: usize::from(*piece).max(1) };
    frames(bytes, pieces());
    message::<NodeRequest>(pieces());
    message::<NodeResponse>(pieces());
    message::<exchange::Request>(pieces());
    message::<exchange::Response>(pieces());
    if let Ok(request) = block_on(Codec.read_request(&PROTOCOL, &mut pieces())) {
        assert_eq!(borsh::to_vec(&request).expect("memory takes it"), bytes);
    }
    if let Ok(response) = block_on(Codec.read_response(&PROTOCOL, &mut pieces())) {
        assert_eq!(borsh::to_vec(&response).expect("memory takes it"), bytes);
    }
}

/// The frames are what the lengths cut the bytes into.
fn frames(mut expected: &[u8], mut stream: Pieces<'_>) {
    loop {
        let length = block_on(read_length(&mut stream, FRAME_BYTES_MAX));
        let Some((announced, rest)) = expected.split_first_chunk() else {
            assert!(matches!(length, Ok(None)) == expected.is_empty() && !matches!(length, Ok(Some(_))));
            return;
        };
        let announced = u32::from_le_bytes(*announced) as usize;
        let Ok(length) = length else {
            assert!(announced > FRAME_BYTES_MAX);
            return;
        };
        assert_eq!(length, Some(announced));
        match block_on(read_body(&mut stream, announced)) {
            Ok(body) => {
                assert_eq!(body, rest[..announced]);
                expected = &rest[announced..];
            }
            Err(_) => {
                assert!(rest.len() < announced);
                return;
            }
        }
    }
}

/// A message that is read is written as it came.
fn message<M: BorshDeserialize + BorshSerialize>(mut stream: Pieces<'_>) {
    let before = stream.bytes;
    if let Ok(Some(message)) = block_on(read_message::<M>(&mut stream, FRAME_BYTES_MAX)) {
        let mut again = Cursor::new(vec![]);
        block_on(write_message(&mut again, &message)).expect("memory takes it");
        assert_eq!(again.into_inner(), before[..before.len() - stream.bytes.len()]);
    }
}

pub(crate) fn stream_seeds() -> Vec<Vec<u8>> {
    let digest = Sha256Digest::of(b"digest");
    let coordinate = PackageCoordinate::new("any", "alpine:3.16.0").expect("a coordinate");
    let build = BuildId::of(&NetworkId::new(digest), &coordinate, 0);
    let messages = [
        borsh::to_vec(&NodeRequest::Build { coordinate: coordinate.clone(), again: true }),
        borsh::to_vec(&NodeRequest::VerifierModule { sha256: digest, offset: 9 }),
        borsh::to_vec(&NodeResponse::Build(WireReceipt::NotPublished { build, coordinate, disputed: true })),
        borsh::to_vec(&NodeResponse::Error { code: 503, sentence: "busy".into() }),
        borsh::to_vec(&NodeResponse::VerifierModule { size_bytes: 3, piece: vec![1, 2, 3] }),
    ];
    let framed = |message: Vec<u8>| [&[3], &(message.len() as u32).to_le_bytes()[..], &message].concat();
    let plain = |message: &Vec<u8>| [&[7], &message[..]].concat();
    let messages: Vec<Vec<u8>> = messages.into_iter().map(|message| message.expect("memory takes it")).collect();
    let two = [framed(messages[0].clone()), framed(messages[1].clone())[1..].to_vec()].concat();
    messages.iter().map(plain).chain(messages.iter().cloned().map(framed)).chain([two]).collect()
}
