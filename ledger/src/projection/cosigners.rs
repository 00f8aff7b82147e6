//! Who signed the newest block, or could have: not the same as who signs the next one, when that block changed the set.

use super::Projections;
use crate::certificate::ValidatorSet;

impl Projections {
    /// The validators of the newest block, whose set its header names.
    pub fn cosigners(&self) -> ValidatorSet {
        let tip = self.height;
        let active = self.members.active().filter(|(_, member)| member.since <= tip).map(|(node, _)| *node);
        let left =
            self.members.former().filter(|(_, former)| (former.since..=former.until).contains(&tip)).map(|(node, _)| *node);
        let nodes: Vec<_> = active.chain(left).collect();
        ValidatorSet::new(if nodes.is_empty() { vec![self.founder] } else { nodes })
    }
}
