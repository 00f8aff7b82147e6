//! The ledger as a transparency log that existing clients, monitors and witnesses read: its newest checkpoint, and the keys
//! that sign it.
//!
//! `GET /log/checkpoint` is a signed note (C2SP tlog-checkpoint, tlog-tiles): the line of this node as the log, then the
//! cosignatures of those who made the block final. `GET /log/policy` is what a client of any such log takes to check it
//! (C2SP tlog-policy), `GET /api/v1/log/keys` the same as JSON. Both are of the newest block: its validators cosign.

use crate::management::error::Refused;
use crate::management::json;
use crate::server::Front;
use crate::wire::LogKeysView;
use poem::Response;
use poem::http::{StatusCode, header};
use pyrsia_ledger::checkpoint::{cosigner_key, log_key, origin};
use pyrsia_ledger::{BlockHash, NodeId, Projections};
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

/// The text of the newest checkpoint, with the newest block when it was made: whoever asks again costs no signature.
#[derive(Default)]
pub(crate) struct NewestNote {
    kept: Mutex<Option<(BlockHash, String)>>,
}

impl NewestNote {
    fn of(&self, tip: BlockHash) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(of, _)| *of == tip).map(|(_, note)| note.clone())
    }

    fn keep(&self, tip: BlockHash, note: String) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((tip, note));
    }
}

pub(crate) async fn checkpoint(front: &Front) -> Result<Response, Refused> {
    let tip = front.node.ledger().state.as_deref().ok_or_else(Refused::no_network)?.tip();
    if let Some(note) = front.checkpoint.of(tip) {
        return Ok(text(note));
    }
    let note = front.node.checkpoint().await;
    let note = note.ok_or_else(|| Refused::unavailable("the log cannot be read right now".into()))?.to_string();
    front.checkpoint.keep(tip, note.clone());
    Ok(text(note))
}

pub(crate) fn policy(front: &Front) -> Result<Response, Refused> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(Refused::no_network)?;
    Ok(text(policy_of(state, front.node.node_id())))
}

pub(crate) fn keys(front: &Front) -> Result<Response, Refused> {
    let view = front.node.ledger();
    let state = view.state.as_deref().ok_or_else(Refused::no_network)?;
    Ok(json(StatusCode::OK, &keys_of(state, front.node.node_id())))
}

fn text(text: String) -> Response {
    Response::builder()
        .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(header::CACHE_CONTROL, "no-cache")
        .body(text)
}

fn keys_of(state: &Projections, me: NodeId) -> LogKeysView {
    let (network, validators) = (state.network(), state.cosigners());
    LogKeysView {
        origin: origin(network),
        height: state.height(),
        log: log_key(network, me).to_string(),
        cosigners: validators.nodes().iter().map(|node| cosigner_key(network, *node).to_string()).collect(),
        quorum: validators.quorum(),
    }
}

/// A quorum of the validators, who are one group: a single cosignature is a vote and settles nothing.
fn policy_of(state: &Projections, me: NodeId) -> String {
    let (keys, nodes) = (keys_of(state, me), state.cosigners());
    let mut policy = format!("# The validators of block {} of network {}\nlog {}\n", keys.height, state.network(), keys.log);
    let mut names = String::new();
    for (node, key) in nodes.nodes().iter().zip(&keys.cosigners) {
        let _ = writeln!(policy, "witness {node} {key}");
        let _ = write!(names, " {node}");
    }
    let _ = write!(policy, "group validators {}{names}\nquorum validators\n", keys.quorum);
    policy
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use pyrsia_ledger::projection::genesis;
    use pyrsia_ledger::signed::node_id_of;

    #[test]
    fn a_note_is_kept_for_the_block_it_was_made_at_and_no_other() {
        let newest = NewestNote::default();
        let [first, second] =
            [1, 2].map(|nonce| genesis(&SigningKey::from_bytes(&[1; 32]), "test", [nonce; 32], 1_000).block.hash());
        assert_eq!(newest.of(first), None);
        newest.keep(first, "first".into());
        assert_eq!((newest.of(first).as_deref(), newest.of(second)), (Some("first"), None));
        newest.keep(second, "second".into());
        assert_eq!((newest.of(first), newest.of(second).as_deref()), (None, Some("second")));
    }

    #[test]
    fn the_policy_asks_for_a_quorum_of_those_who_made_the_newest_block_final() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let sealed = genesis(&key, "test", [1; 32], 1_000);
        let state = Projections::from_genesis(&sealed).expect("a network");
        let (me, note) = (node_id_of(&key), sealed.checkpoint_signed_by(&key));
        let keys = keys_of(&state, me);
        let known: Vec<_> = [&keys.log].into_iter().chain(&keys.cosigners).map(|key| key.parse().expect("a key")).collect();
        assert_eq!(note.signers(&known).expect("holds").len(), 1 + keys.quorum);
        assert_eq!(note.text().lines().next(), Some(keys.origin.as_str()));
        let expected = format!(
            "# The validators of block 0 of network {}\nlog {}\nwitness {me} {}\ngroup validators 1 {me}\nquorum validators\n",
            state.network(),
            keys.log,
            keys.cosigners[0]
        );
        assert_eq!(policy_of(&state, me), expected);
    }
}
