//! Old majorities counted again, without what compromised nodes said.

use super::{BuildStatus, Builds};
use crate::block::Height;
use crate::coordinate::BuildId;
use crate::event::Vouch;
use crate::identity::NodeId;
use crate::projection::members::Members;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::Serialize;

/// A published build that has no majority left.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct AtRisk {
    /// When it fell below.
    pub height: Height,
    /// Whose word does not count any more.
    pub lost: Vec<NodeId>,
}

impl Builds {
    /// Why the artifacts of a published build are not to be trusted.
    pub fn at_risk(&self, id: &BuildId) -> Option<&AtRisk> {
        self.at_risk.get(id)
    }

    pub fn all_at_risk(&self) -> impl DoubleEndedIterator<Item = (&BuildId, &AtRisk)> {
        self.at_risk.iter()
    }

    /// Who stands for the bytes that are agreed on, by having built them or by having looked at them, and since when.
    pub fn supporters(&self, id: &BuildId) -> Vec<(NodeId, Height)> {
        let Some((build, agreement)) = self.get(id).and_then(|build| Some((build, build.agreement.as_ref()?))) else {
            return vec![];
        };
        let vouched = self.vouches(id).iter().filter(|vouched| {
            vouched.candidate == agreement.result && vouched.verdict == Vouch::Same && !build.left.contains(&vouched.judge)
        });
        let built = self.agreed(id).map(|(judge, revealed)| (*judge, revealed.height));
        built.chain(vouched.map(|vouched| (vouched.judge, vouched.height))).collect()
    }

    /// Counts every build again that `node` judged. Looks at every build there ever was: it takes a majority's decision, each
    /// about an earlier height than the one before, so no single node can make all others do this.
    pub(in crate::projection) fn recount_all(&mut self, height: Height, node: &NodeId, members: &Members) {
        let judged = self.iter().filter(|(_, build)| build.agreement.is_some() && build.judges.contains(node));
        let judged: Vec<BuildId> = judged.map(|(id, _)| *id).collect();
        for id in judged {
            self.recount(height, &id, members);
        }
    }

    pub(super) fn recount(&mut self, height: Height, id: &BuildId, members: &Members) {
        let Some(build) = self.get(id).filter(|build| build.agreement.is_some()) else { return };
        let (mut lost, mut kept) = (vec![], 0);
        for (node, said_at) in self.supporters(id) {
            if members.was_compromised(&node, said_at) {
                lost.push(node);
            } else {
                kept += 1;
            }
        }
        lost.sort_unstable();
        let is_below = kept < build.majority();
        match build.status {
            BuildStatus::Published { .. } if is_below => {
                let height = self.at_risk(id).map_or(height, |risk| risk.height);
                self.at_risk.put(*id, AtRisk { height, lost });
            }
            BuildStatus::Published { .. } => self.at_risk.take(id),
            BuildStatus::Agreed { .. } if is_below => self.abandon(height, id, BuildStatus::Disputed { reports: 0 }),
            _ => (),
        }
    }
}
