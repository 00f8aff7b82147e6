//! Agreeing on verifiers: what a node approves of itself, what it offers to its operator, and the operator's word.
//!
//! A node that may approves the modules its program carries where the network has none for a type. What an operator put into the folder is
//! offered and waits for `pyrsia verifier approve`. A validator alone approves whatever it prefers, because nobody else could be surprised.

use pyrsia_ledger::certificate::absolute_majority;
use pyrsia_ledger::event::VerifierApproved;
use pyrsia_ledger::{Event, NodeId, PackageType, Projections, Sha256Digest};
use pyrsia_verifiers::{Description, Origin, VerifierSet};
use tokio_util::sync::CancellationToken;

use crate::consensus::{ConsensusHandle, ProposeError};
use crate::standing::{self, NotStanding};
use crate::verifiers::Verifiers;

/// The version of the contract in `wit/` that the host speaks.
const CONTRACT_VERSION: u16 = 1;

/// A module that this node has and the network does not judge by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferedVerifier {
    pub module: Sha256Digest,
    pub description: Description,
    /// The authorized nodes that approved it so far.
    pub approvals: Vec<NodeId>,
}

/// Where a module stands once this node's approval is on the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierApproval {
    pub package_type: PackageType,
    pub module: Sha256Digest,
    pub approvals: usize,
    pub needed: usize,
    /// Whether builds requested from now on are judged by it.
    pub current: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ApproveVerifierError {
    #[error("this node has no verifier module {module}; put it into the node's folder of verifiers first")]
    Unknown { module: Sha256Digest },
    #[error("this node cannot use the verifier module {module}: {reason}")]
    Unusable { module: Sha256Digest, reason: String },
    #[error(transparent)]
    NotStanding(#[from] NotStanding),
}

/// Approves what is to be approved after each change of the ledger or of the node's modules, until `stop` is cancelled.
pub(crate) async fn approve(me: NodeId, consensus: ConsensusHandle, verifiers: Verifiers, stop: CancellationToken) {
    let (mut ledger, mut set) = (consensus.watch(), verifiers.watch());
    let mut proposed = vec![];
    loop {
        let view = ledger.borrow_and_update().clone();
        let preferred = preferred(&set.borrow_and_update().clone());
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
            changed = set.changed() => if changed.is_err() { return },
        }
    }
}

/// A module this node could approve.
#[derive(Clone)]
struct Preferred {
    approval: VerifierApproved,
    is_shipped: bool,
}

/// This node's module of each package type, and the shipped one where that is another. What came from the network is the network's affair.
fn preferred(verifiers: &VerifierSet) -> Vec<Preferred> {
    let mut preferred: Vec<Preferred> = vec![];
    for (verifier, origin) in verifiers.origins().filter(|(_, origin)| **origin != Origin::Network) {
        let package_type = verifier.description().package_type.clone();
        let is_shipped = *origin == Origin::Shipped;
        let known = |known: &Preferred| known.approval.package_type == package_type && known.is_shipped == is_shipped;
        if !preferred.iter().any(known) {
            let approval = VerifierApproved { package_type, module: verifier.digest(), contract_version: CONTRACT_VERSION };
            preferred.push(Preferred { approval, is_shipped });
        }
    }
    preferred
}

fn due(state: &Projections, me: NodeId, preferred: &[Preferred]) -> Vec<VerifierApproved> {
    let validators = state.validators();
    if !validators.contains(&me) {
        return vec![];
    }
    let alone = validators.nodes().len() == 1;
    let approved_by_me = |approval: &VerifierApproved| {
        let module = state.verifiers.module(&approval.package_type, &approval.module);
        module.is_some_and(|module| module.approvals.contains(&me))
    };
    let first_of_type = |wanted: &Preferred| {
        let of_type = preferred.iter().find(|known| known.approval.package_type == wanted.approval.package_type);
        of_type.is_some_and(|first| first.approval == wanted.approval)
    };
    let wanted = |wanted: &&Preferred| {
        if alone {
            first_of_type(wanted)
        } else {
            wanted.is_shipped && state.verifiers.current(&wanted.approval.package_type).is_none()
        }
    };
    preferred.iter().filter(wanted).map(|wanted| wanted.approval.clone()).filter(|approval| !approved_by_me(approval)).collect()
}

/// What this node has and the network does not judge by.
pub(crate) fn offered(state: &Projections, verifiers: &VerifierSet) -> Vec<OfferedVerifier> {
    let offered = |verifier: &pyrsia_verifiers::Verifier| {
        let (module, description) = (verifier.digest(), verifier.description().clone());
        let known = state.verifiers.module(&description.package_type, &module);
        if known.is_some_and(|known| known.approved_at.is_some()) {
            return None;
        }
        let approvals = known.map(|known| known.approvals.clone()).unwrap_or_default();
        Some(OfferedVerifier { module, description, approvals })
    };
    verifiers.iter().filter_map(offered).collect()
}

/// Approves a module in this node's name and waits until that stands in a block.
pub(crate) async fn approve_module(
    me: NodeId,
    consensus: &ConsensusHandle,
    verifiers: &Verifiers,
    module: Sha256Digest,
) -> Result<VerifierApproval, ApproveVerifierError> {
    let state = standing::may_decide(consensus, me)?;
    // One that another operator approved can be had from their node.
    let is_named = state.verifiers.modules().any(|((_, named), _)| *named == module);
    let verifier = match verifiers.set().by_digest(&module) {
        Some(verifier) => verifier.clone(),
        None if is_named => verifiers
            .module_soon(&module)
            .await
            .map_err(|source| ApproveVerifierError::Unusable { module, reason: source.to_string() })?,
        None => return Err(ApproveVerifierError::Unknown { module }),
    };
    let package_type = verifier.description().package_type.clone();
    let stands = |state: &Projections| {
        let known = state.verifiers.module(&package_type, &module).filter(|known| known.approvals.contains(&me))?;
        let validators = state.validators();
        Some(VerifierApproval {
            package_type: package_type.clone(),
            module,
            approvals: known.approvals.iter().filter(|node| validators.contains(node)).count(),
            needed: absolute_majority(validators.nodes().len()),
            current: state.verifiers.current(&package_type) == Some(module),
        })
    };
    if let Some(approval) = stands(&state) {
        return Ok(approval);
    }
    let event = VerifierApproved { package_type: package_type.clone(), module, contract_version: CONTRACT_VERSION };
    Ok(standing::propose(consensus, Event::VerifierApproved(event), |_| false, stands).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use pyrsia_ledger::event::{NodeActivated, NodeAuthorizationApproved};
    use pyrsia_ledger::projection::genesis;
    use pyrsia_ledger::signed::node_id_of;
    use pyrsia_ledger::{SignedEvent, UnsignedEvent};

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

    fn shipped(approval: &VerifierApproved) -> Preferred {
        Preferred { approval: approval.clone(), is_shipped: true }
    }

    fn in_folder(approval: &VerifierApproved) -> Preferred {
        Preferred { approval: approval.clone(), is_shipped: false }
    }

    #[test]
    fn a_validator_alone_approves_what_it_prefers_and_several_only_what_is_shipped_and_missing() {
        let [one, two] = [1, 2].map(|seed| SigningKey::from_bytes(&[seed; 32]));
        let (a, b) = (node_id_of(&one), node_id_of(&two));
        let only = |approval: &VerifierApproved| vec![approval.clone()];
        let (old, new) = (module("old"), module("new"));
        let state = Projections::from_genesis(&genesis(&one, "test", [1; 32], 1)).unwrap();
        assert_eq!(due(&state, a, &[shipped(&old)]), only(&old));
        assert_eq!(due(&state, a, &[in_folder(&new), shipped(&old)]), only(&new), "the operator's goes first");
        assert_eq!(due(&state, b, &[shipped(&old)]), []);
        let both = joined(&joined(&state, &one, &one), &one, &two);
        assert_eq!(due(&both, b, &[shipped(&old)]), only(&old));
        assert_eq!(due(&both, b, &[in_folder(&new)]), [], "it waits for its operator's word");
        assert_eq!(due(&both, b, &[in_folder(&new), shipped(&old)]), only(&old));

        let state = after(&state, &one, Event::VerifierApproved(old.clone()));
        assert_eq!(due(&state, a, &[shipped(&old)]), []);
        assert_eq!(due(&state, a, &[in_folder(&new), shipped(&old)]), only(&new));
        let both = joined(&joined(&state, &one, &one), &one, &two);
        assert_eq!(due(&both, a, &[shipped(&new)]), []);
        assert_eq!(due(&both, b, &[shipped(&new)]), []);
    }
}
