//! Agreeing on verifiers: a node that may, approves the modules it has where the network has none.
//!
//! A validator alone also approves a newer module of its own, because nobody else could be surprised; with more validators a
//! change of a module that is in use is a decision of their operators.

use std::sync::Arc;

use pyrsia_ledger::event::VerifierApproved;
use pyrsia_ledger::{Event, NodeId, Projections};
use pyrsia_verifiers::VerifierSet;
use tokio_util::sync::CancellationToken;

use crate::consensus::{ConsensusHandle, ProposeError};

/// The version of the contract in `wit/` that the host speaks.
const CONTRACT_VERSION: u16 = 1;

/// Approves what is to be approved after each change of the ledger, until `stop` is cancelled.
pub(crate) async fn approve(me: NodeId, consensus: ConsensusHandle, verifiers: Arc<VerifierSet>, stop: CancellationToken) {
    let preferred = preferred(&verifiers);
    let mut ledger = consensus.watch();
    let mut proposed = vec![];
    loop {
        let view = ledger.borrow_and_update().clone();
        let due = view.state.as_deref().map(|state| due(state, me, &preferred)).unwrap_or_default();
        for approval in due {
            if proposed.contains(&approval.module) {
                continue;
            }
            tracing::info!(package_type = %approval.package_type, module = %approval.module, "approving a verifier");
            match consensus.propose(Event::VerifierApproved(approval.clone())).await {
                Ok(_) | Err(ProposeError::Refused(_)) => proposed.push(approval.module),
                Err(ProposeError::NoNetwork | ProposeError::MempoolFull) => {}
                Err(ProposeError::Stopped) => return,
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            changed = ledger.changed() => if changed.is_err() { return },
        }
    }
}

/// This node's module of each package type.
fn preferred(verifiers: &VerifierSet) -> Vec<VerifierApproved> {
    let mut preferred: Vec<VerifierApproved> = vec![];
    for verifier in verifiers.iter() {
        let package_type = verifier.description().package_type.clone();
        if preferred.iter().all(|approval| approval.package_type != package_type) {
            preferred.push(VerifierApproved { package_type, module: verifier.digest(), contract_version: CONTRACT_VERSION });
        }
    }
    preferred
}

fn due(state: &Projections, me: NodeId, preferred: &[VerifierApproved]) -> Vec<VerifierApproved> {
    let validators = state.validators();
    if !validators.contains(&me) {
        return vec![];
    }
    let alone = validators.nodes().len() == 1;
    let approved_by_me = |approval: &VerifierApproved| {
        let module = state.verifiers.module(&approval.package_type, &approval.module);
        module.is_some_and(|module| module.approvals.contains(&me))
    };
    let wanted = |approval: &&VerifierApproved| alone || state.verifiers.current(&approval.package_type).is_none();
    preferred.iter().filter(wanted).filter(|approval| !approved_by_me(approval)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use pyrsia_ledger::event::{NodeActivated, NodeAuthorizationApproved};
    use pyrsia_ledger::projection::genesis;
    use pyrsia_ledger::signed::node_id_of;
    use pyrsia_ledger::{PackageType, Sha256Digest, SignedEvent, UnsignedEvent};

    fn module(name: &str) -> VerifierApproved {
        let package_type = PackageType::new("docker").unwrap();
        VerifierApproved { package_type, module: Sha256Digest::of(name.as_bytes()), contract_version: CONTRACT_VERSION }
    }

    fn after(state: &Projections, key: &SigningKey, event: Event) -> Projections {
        let me = node_id_of(key);
        let unsigned = UnsignedEvent::new(*state.network(), me, state.next_sequence(&me), 1, event);
        let proposal = state.propose(state.validators().nodes()[0], 1, [&SignedEvent::new(key, unsigned)]);
        assert_eq!(proposal.refused, []);
        proposal.next
    }

    fn joined(state: &Projections, approver: &SigningKey, key: &SigningKey) -> Projections {
        let approval = Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: node_id_of(key) });
        let state = after(state, approver, approval);
        let activation = NodeActivated { recent_height: state.height().0, recent_block: state.tip().0 };
        after(&state, key, Event::NodeActivated(activation))
    }

    #[test]
    fn a_validator_alone_approves_what_it_prefers_and_several_only_what_is_missing() {
        let [one, two] = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let (a, b) = (node_id_of(&one), node_id_of(&two));
        let (old, new) = ([module("old")], [module("new")]);
        let state = Projections::from_genesis(&genesis(&one, "test", [1; 32], 1)).unwrap();
        assert_eq!(due(&state, a, &old), old);
        assert_eq!(due(&state, b, &old), []);
        let both = joined(&joined(&state, &one, &one), &one, &two);
        assert_eq!(due(&both, b, &old), old);

        let state = after(&state, &one, Event::VerifierApproved(old[0].clone()));
        assert_eq!(due(&state, a, &old), []);
        assert_eq!(due(&state, a, &new), new);
        let both = joined(&joined(&state, &one, &one), &one, &two);
        assert_eq!(due(&both, a, &new), []);
        assert_eq!(due(&both, b, &new), []);
    }
}
