//! What follows from what the judges said: the only place where a build that is judged changes its phase.
//!
//! A phase ends when nothing is outstanding, when nothing outstanding could change the end, or when enough judges have waited
//! long enough. Every step is a function of the rows of this build.

use super::statements::by;
use super::{Agreement, Build, BuildStatus, Builds};
use crate::block::Height;
use crate::certificate::absolute_majority;
use crate::coordinate::BuildId;
use crate::digest::Sha256Digest;
use crate::event::{BuildSource, Vouch};
use crate::identity::NodeId;
use crate::projection::members::Members;
use crate::shared::Shared;
use std::borrow::Cow;
use std::collections::BTreeMap;

impl Build {
    fn enter(&mut self, status: BuildStatus) {
        self.status = status;
        self.waits.clear();
    }

    /// Whether more than half of the judges that are left will not wait any longer, or more than half of the authorized nodes.
    /// Not of all judges: after one has left, a single silent one could hold the build, and its package, for ever. And not of
    /// judges alone: of few that are left those that answer may be no majority, while the network goes on without them.
    /// Agreeing still takes a majority of all judges, and ending a wait publishes nothing.
    fn has_waited(&self, members: &Members) -> bool {
        let judges = self.waits.iter().filter(|node| self.is_active(node)).count();
        judges >= absolute_majority(self.active().count()) || self.waits.len() >= absolute_majority(members.len())
    }
}

/// How often each digest is there.
fn counts(digests: impl Iterator<Item = Sha256Digest>) -> Vec<(Sha256Digest, usize)> {
    let mut digests: Vec<Sha256Digest> = digests.collect();
    digests.sort_unstable();
    digests.chunk_by(|a, b| a == b).map(|same| (same[0], same.len())).collect()
}

impl Builds {
    /// Makes a change to a build and moves it on as far as what stands on the ledger carries it.
    pub(super) fn evaluate(&mut self, height: Height, id: BuildId, members: &Members, change: impl FnOnce(&mut Cow<'_, Build>)) {
        let before = self.builds.get(&id).expect("policy refuses statements about unknown builds");
        let (mut build, was_judging) = (Cow::Borrowed(before), before.status.is_judging());
        change(&mut build);
        while self.advance(&id, height, members, &mut build) {}
        // Most statements leave it as it is.
        let Cow::Owned(mut build) = build else { return };
        let is_over = was_judging && !build.status.is_judging();
        if is_over {
            build.closed_at = Some(height);
        }
        let judges: Vec<NodeId> = if is_over { build.active().copied().collect() } else { vec![] };
        self.put(id, build);
        if is_over {
            self.fill_pending(&id);
        }
        for judge in judges {
            self.count_in(&id, &judge);
        }
    }

    /// Takes the next step if there is one.
    fn advance(&self, id: &BuildId, height: Height, members: &Members, build: &mut Cow<'_, Build>) -> bool {
        let has_waited = build.has_waited(members);
        match build.status {
            BuildStatus::Committing => self.end_committing(id, height, has_waited, build),
            BuildStatus::Revealing => self.end_revealing(id, height, has_waited, build),
            BuildStatus::Vouching { candidate } => self.end_vouching(id, candidate, has_waited, build),
            BuildStatus::Agreed { .. } | BuildStatus::Published { .. } | BuildStatus::Failed | BuildStatus::Disputed { .. } => {
                false
            }
        }
    }

    fn end_committing(&self, id: &BuildId, height: Height, has_waited: bool, build: &mut Cow<'_, Build>) -> bool {
        let committed = self.commitments.of(id);
        let is_outstanding = || build.active().any(|judge| by(committed, judge).is_none());
        // Fewer than a majority cannot agree.
        if !has_waited && build.active().count() >= build.majority() && is_outstanding() {
            return false;
        }
        let build = build.to_mut();
        if has_waited {
            build.timed_out_at = Some(height);
        }
        build.revealing_at = Some(height);
        build.enter(BuildStatus::Revealing);
        true
    }

    fn end_revealing(&self, id: &BuildId, height: Height, has_waited: bool, build: &mut Cow<'_, Build>) -> bool {
        let digests = || self.counted(id, build).filter_map(|(_, result)| result.digests);
        let (raw, canonical) = (counts(digests().map(|of| of.raw)), counts(digests().map(|of| of.canonical)));
        let majority = build.majority();
        if let Some((result, _)) = raw.iter().find(|(_, count)| *count >= majority) {
            self.agree(id, *result, build.to_mut());
            return true;
        }
        let (committed, revealed) = (self.commitments.of(id), self.results.of(id));
        let outstanding = || {
            let is_silent = |judge: &NodeId| by(revealed, judge).is_none_or(|result| !result.counted);
            build.active().filter(move |judge| is_silent(judge) && by(committed, judge).is_some())
        };
        let best = canonical.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let wanted = majority.saturating_sub(best).max(1);
        if !has_waited && outstanding().take(wanted).count() == wanted {
            return false;
        }
        let outstanding = outstanding().count();
        let build = build.to_mut();
        if has_waited {
            build.withheld_at = Some(height);
        }
        let same = canonical.iter().find(|(_, count)| *count >= majority);
        let candidate = same.and_then(|(canonical, _)| self.next_candidate(id, build, canonical));
        let built: usize = raw.iter().map(|(_, count)| count).sum();
        let not_built = build.judges.len() - built - outstanding;
        build.enter(match candidate {
            Some(candidate) => BuildStatus::Vouching { candidate },
            None if raw.len() > 1 && not_built < majority => BuildStatus::Disputed { reports: 0 },
            None => BuildStatus::Failed,
        });
        true
    }

    fn end_vouching(&self, id: &BuildId, candidate: Sha256Digest, has_waited: bool, build: &mut Cow<'_, Build>) -> bool {
        let canonical = self.canonical_of(id, &candidate).expect("a candidate is somebody's result");
        let (mut built, mut same, mut open) = (0, 0, 0);
        for (judge, result) in self.counted(id, build) {
            let Some(digests) = result.digests.filter(|digests| digests.canonical == canonical) else { continue };
            if digests.raw == candidate {
                built += 1;
                continue;
            }
            match self.vouch(id, &candidate, judge).map(|vouched| &vouched.verdict) {
                Some(Vouch::Same) => same += 1,
                Some(Vouch::Different { .. } | Vouch::Unavailable { .. }) => (),
                None => open += 1,
            }
        }
        // If those who built it have left, nobody whose word counts stands for these bytes.
        if built > 0 && built + same >= build.majority() {
            self.agree(id, candidate, build.to_mut());
            return true;
        }
        if built > 0 && !has_waited && built + same + open >= build.majority() {
            return false;
        }
        let build = build.to_mut();
        build.given_up.push(candidate);
        build.enter(match self.next_candidate(id, build, &canonical) {
            Some(candidate) => BuildStatus::Vouching { candidate },
            None => BuildStatus::Disputed { reports: 0 },
        });
        true
    }

    /// The bytes to look at next, of those who came to this canonical result: those that most built, of equals the smallest.
    fn next_candidate(&self, id: &BuildId, build: &Build, canonical: &Sha256Digest) -> Option<Sha256Digest> {
        let mut raw = BTreeMap::<Sha256Digest, usize>::new();
        for digests in self.counted(id, build).filter_map(|(_, result)| result.digests) {
            if digests.canonical == *canonical && !build.given_up.contains(&digests.raw) {
                *raw.entry(digests.raw).or_default() += 1;
            }
        }
        raw.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best }).map(|(raw, _)| raw)
    }

    fn agree(&self, id: &BuildId, result: Sha256Digest, build: &mut Build) {
        let mut named: BTreeMap<&BuildSource, usize> = BTreeMap::new();
        let (mut count, mut canonical) = (0, result);
        for (_, revealed) in self.counted(id, build) {
            if let (Some(digests), Some((source, artifacts))) = (revealed.digests, revealed.built())
                && digests.raw == result
            {
                (count, canonical) = (artifacts.len() as u32, digests.canonical);
                *named.entry(source).or_default() += 1;
            }
        }
        let best = named.into_iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let source = best.expect("what is agreed on was built").0.clone();
        build.agreement = Some(Agreement { result, canonical, source, artifacts: count });
        build.enter(BuildStatus::Agreed { added: 0 });
    }

    pub(super) fn fill_pending(&mut self, id: &BuildId) {
        let Some((_, artifacts)) = self.chosen(id) else { return };
        let artifacts = artifacts.to_vec();
        for artifact in artifacts {
            self.pending.insert((*id, artifact.artifact_id.clone()), Shared::new(artifact));
        }
    }

    /// Takes an agreement back before all its artifacts were added.
    pub(super) fn abandon(&mut self, height: Height, id: &BuildId, status: BuildStatus) {
        let mut build = self.builds.get(id).expect("it was agreed on").clone();
        for artifact in self.chosen(id).map_or(vec![], |(_, artifacts)| artifacts.to_vec()) {
            self.pending.remove(&(*id, artifact.artifact_id));
        }
        build.agreement = None;
        build.closed_at = Some(height);
        build.enter(status);
        self.put(*id, build);
    }

    /// A node that is authorized no more judges nothing any more.
    pub(in crate::projection) fn leave(&mut self, height: Height, node: NodeId, members: &Members) {
        let unfinished: Vec<BuildId> = self.unfinished.iter().copied().collect();
        for id in unfinished {
            let Some(build) = self.get(&id) else { continue };
            let is_judge = build.is_active(&node);
            // Without it those who have waited may be a majority, be it of the judges or of the authorized nodes.
            if build.status.is_judging() && (is_judge || !build.waits.is_empty()) {
                self.evaluate(height, id, members, |build| {
                    let build = build.to_mut();
                    if is_judge {
                        build.left.push(node);
                        build.left.sort_unstable();
                    }
                    build.waits.retain(|waited| *waited != node);
                });
            } else if is_judge
                && matches!(build.status, BuildStatus::Agreed { .. })
                && !build.active().any(|judge| members.contains(judge))
            {
                // Nobody is left to publish it, and while it is agreed on it could not be asked for again.
                self.abandon(height, &id, BuildStatus::Failed);
            }
        }
    }
}
