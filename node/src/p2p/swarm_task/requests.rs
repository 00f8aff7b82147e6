//! The part of the swarm's task that passes requests between nodes on, and their answers back.

use super::{SwarmTask, answer};
use crate::p2p::behaviour::REQUEST_TIMEOUT;
use crate::p2p::peer_id::node_of;
use crate::p2p::reach::Command;
use crate::p2p::request::{CODE_BUSY, CODE_TIMED_OUT, InboundRequest, NodeRequest, NodeResponse, RequestError};
use libp2p::PeerId;
use libp2p::request_response::{self, ResponseChannel};
use tokio::sync::oneshot;
use tokio::time::timeout;

impl SwarmTask {
    pub(super) fn on_request_event(&mut self, event: request_response::Event<NodeRequest, NodeResponse>) {
        match event {
            request_response::Event::Message { peer, message, .. } => match message {
                request_response::Message::Request { request, channel, .. } => self.on_request(peer, request, channel),
                request_response::Message::Response { request_id, response } => {
                    if let Some((_, reply)) = self.pending.requests.remove(&request_id) {
                        answer(reply, Ok(response));
                    }
                }
            },
            request_response::Event::OutboundFailure { request_id, error, .. } => {
                if let Some((node, reply)) = self.pending.requests.remove(&request_id) {
                    answer(reply, Err(RequestError::of(node, &error)));
                }
            }
            request_response::Event::InboundFailure { peer, error, .. } => {
                tracing::debug!(%peer, %error, "a request of a peer failed");
            }
            request_response::Event::ResponseSent { .. } => {}
        }
    }

    /// Passes a request on; the answer comes back as a command.
    fn on_request(&mut self, peer: PeerId, request: NodeRequest, channel: ResponseChannel<NodeResponse>) {
        let Some(from) = node_of(&peer) else { return };
        let (reply, answered) = oneshot::channel();
        let is_taken = self.requests.try_send(InboundRequest { from, request, reply }).is_ok();
        let commands = self.own_commands.clone();
        self.tasks.spawn(async move {
            let error = |code, sentence: &str| NodeResponse::Error { code, sentence: sentence.to_owned() };
            let response = match timeout(REQUEST_TIMEOUT * 9 / 10, answered).await {
                Ok(Ok(response)) if is_taken => response,
                Ok(_) => error(CODE_BUSY, "this node has too much to do, try again later"),
                Err(_) => error(CODE_TIMED_OUT, "this node found no answer in time"),
            };
            if let Some(commands) = commands.upgrade() {
                // It fails only when the node is stopping.
                let _ = commands.send(Command::Respond { channel, response }).await;
            }
        });
    }
}
