//! The phases of a build as their definitions read: from the whole list of what was said, each time anew.

use super::*;

/// One thing that was said about a build, or happened to its judges.
#[derive(Clone, Debug)]
pub(super) enum Said {
    Commit(NodeId),
    Reveal(NodeId, Option<ResultDigests>),
    Wait(NodeId, WaitPhase),
    Vouch(NodeId, Sha256Digest, bool),
    Left(NodeId),
    Returned(NodeId),
    Compromised(NodeId, u64, u64),
    Added,
    Reported,
}

/// What the definitions make of a list of sayings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: BuildStatus,
    pub(super) agreed: Option<Sha256Digest>,
    pub(super) at_risk: bool,
}

pub(super) struct Account<'a> {
    pub(super) judges: &'a [NodeId],
    pub(super) said: &'a [(u64, Said)],
    pub(super) majority: usize,
}

/// How the judging ended, after how many sayings, and whether a majority did not wait for the rest of the results.
struct Ending {
    status: BuildStatus,
    agreed: Option<Sha256Digest>,
    after: usize,
    withheld: bool,
}

impl Account<'_> {
    fn upto(&self, at: usize) -> impl Iterator<Item = &Said> {
        self.said[..at].iter().map(|(_, said)| said)
    }

    fn active(&self, at: usize) -> BTreeSet<NodeId> {
        let left = |node: &NodeId| self.upto(at).any(|said| matches!(said, Said::Left(who) if who == node));
        self.judges.iter().copied().filter(|node| !left(node)).collect()
    }

    /// The judges are the authorized nodes of the request; since then some left, and others came.
    fn members(&self, at: usize) -> BTreeSet<NodeId> {
        let mut members: BTreeSet<NodeId> = self.judges.iter().copied().collect();
        for said in self.upto(at) {
            match said {
                Said::Left(node) => members.remove(node),
                Said::Returned(node) => members.insert(*node),
                _ => false,
            };
        }
        members
    }

    fn waited(&self, at: usize, phase: WaitPhase) -> bool {
        // Who leaves takes its word along.
        let ended = |node: &&NodeId| {
            let of_it = self.upto(at).filter(|said| matches!(said, Said::Wait(who, _) | Said::Left(who) if who == *node));
            let since: Vec<&Said> = of_it.collect();
            let since = since.rsplit(|said| matches!(said, Said::Left(_))).next().unwrap_or_default();
            since.iter().any(|said| matches!(said, Said::Wait(_, what) if *what == phase))
        };
        let have_most = |nodes: BTreeSet<NodeId>| 2 * nodes.iter().filter(ended).count() > nodes.len();
        have_most(self.active(at)) || have_most(self.members(at))
    }

    fn committed(&self, at: usize, node: &NodeId) -> bool {
        self.upto(at).any(|said| matches!(said, Said::Commit(who) if who == node))
    }

    /// The results of active judges that committed, revealed before `until`, as of `at`.
    fn results(&self, until: usize, at: usize) -> BTreeMap<NodeId, Option<ResultDigests>> {
        let active = self.active(at);
        let results = self.upto(until).filter_map(|said| match said {
            Said::Reveal(node, result) if active.contains(node) && self.committed(until, node) => Some((*node, *result)),
            _ => None,
        });
        results.collect()
    }

    fn count(results: &BTreeMap<NodeId, Option<ResultDigests>>, wanted: impl Fn(&ResultDigests) -> bool) -> usize {
        results.values().flatten().filter(|digests| wanted(digests)).count()
    }

    fn ending(&self) -> Ending {
        let undecided = |status| Ending { status, agreed: None, after: self.said.len(), withheld: false };
        let committing_ends = |at: &usize| {
            let active = self.active(*at);
            let all = active.iter().all(|node| self.committed(*at, node));
            all || active.len() < self.majority || self.waited(*at, WaitPhase::Committing)
        };
        let Some(revealing_at) = (0..=self.said.len()).find(committing_ends) else { return undecided(BuildStatus::Committing) };
        for at in revealing_at..=self.said.len() {
            let results = self.results(at, at);
            let all: BTreeSet<ResultKey> = results.values().flatten().map(|digests| (digests.raw, digests.canonical)).collect();
            if let Some((raw, _)) = all.iter().find(|(raw, _)| Self::count(&results, |d| d.raw == *raw) >= self.majority) {
                return Ending { status: BuildStatus::Agreed { added: 0 }, agreed: Some(*raw), after: at, withheld: false };
            }
            let active = self.active(at);
            let outstanding = active.iter().filter(|node| self.committed(at, node) && !results.contains_key(node)).count();
            let canonical = |key: &ResultKey| Self::count(&results, |d| d.canonical == key.1);
            let best = all.iter().max_by_key(|key| canonical(key));
            let reach = best.map_or(0, canonical) + outstanding;
            let withheld = self.waited(at, WaitPhase::Revealing);
            if outstanding > 0 && reach >= self.majority && !withheld {
                continue;
            }
            if let Some((_, canonical)) = best.filter(|key| canonical(key) >= self.majority) {
                return Ending { withheld, ..self.vouching(at, *canonical) };
            }
            let raws: BTreeSet<Sha256Digest> = all.iter().map(|(raw, _)| *raw).collect();
            let silent = self.judges.len() - results.values().flatten().count() - outstanding;
            let is_disputed = raws.len() >= 2 && silent < self.majority;
            let status = if is_disputed { BuildStatus::Disputed { reports: 0 } } else { BuildStatus::Failed };
            return Ending { status, agreed: None, after: at, withheld };
        }
        undecided(BuildStatus::Revealing)
    }

    fn vouching(&self, start: usize, canonical: Sha256Digest) -> Ending {
        let (mut given_up, mut at) = (BTreeSet::new(), start);
        loop {
            let now = self.group(start, at, canonical);
            let raws: BTreeSet<Sha256Digest> =
                now.values().flatten().map(|d| d.raw).filter(|raw| !given_up.contains(raw)).collect();
            let size = |raw: &Sha256Digest| Self::count(&now, |d| d.raw == *raw);
            let Some(candidate) = raws.iter().min_by_key(|raw| (std::cmp::Reverse(size(raw)), **raw)).copied() else {
                return Ending { status: BuildStatus::Disputed { reports: 0 }, agreed: None, after: at, withheld: false };
            };
            let fate = (at..=self.said.len()).find_map(|at| Some((at, self.is_vouched_for(start, at, canonical, candidate)?)));
            match fate {
                None => {
                    let status = BuildStatus::Vouching { candidate };
                    return Ending { status, agreed: None, after: self.said.len(), withheld: false };
                }
                Some((after, true)) => {
                    let status = BuildStatus::Agreed { added: 0 };
                    return Ending { status, agreed: Some(candidate), after, withheld: false };
                }
                Some((after, false)) => {
                    given_up.insert(candidate);
                    at = after;
                }
            }
        }
    }

    /// Those who revealed this canonical result before `until`, as of `at`.
    fn group(&self, until: usize, at: usize, canonical: Sha256Digest) -> BTreeMap<NodeId, Option<ResultDigests>> {
        let mut results = self.results(until, at);
        results.retain(|_, result| result.is_some_and(|digests| digests.canonical == canonical));
        results
    }

    /// Whether a majority stands for the candidate as of `at`, or never will; none while that is open.
    fn is_vouched_for(&self, start: usize, at: usize, canonical: Sha256Digest, candidate: Sha256Digest) -> Option<bool> {
        let group = self.group(start, at, canonical);
        let has_built = |node: &&NodeId| group[*node].is_some_and(|digests| digests.raw == candidate);
        let answer = |node: &NodeId| {
            self.upto(at).find_map(|said| match said {
                Said::Vouch(who, what, same) if who == node && *what == candidate => Some(*same),
                _ => None,
            })
        };
        let built = group.keys().filter(has_built).count();
        let others: Vec<&NodeId> = group.keys().filter(|node| !has_built(node)).collect();
        let same = others.iter().filter(|node| answer(node) == Some(true)).count();
        let open = others.iter().filter(|node| answer(node).is_none()).count();
        if built > 0 && built + same >= self.majority {
            return Some(true);
        }
        let is_hopeless = built == 0 || built + same + open < self.majority;
        (is_hopeless || self.waited(at, WaitPhase::Vouching { candidate })).then_some(false)
    }

    /// How many judges stand for the agreed bytes, as of `at`, whose word was not compromised when they gave it.
    fn support(&self, ending: &Ending, result: Sha256Digest, at: usize) -> usize {
        let mut supporters: BTreeMap<NodeId, u64> = BTreeMap::new();
        let judging = self.active(ending.after);
        for (place, (height, said)) in self.said[..at].iter().enumerate() {
            match said {
                Said::Reveal(node, Some(digests)) if digests.raw == result => {
                    let in_time = place < ending.after || !ending.withheld;
                    if judging.contains(node) && self.committed(at, node) && in_time {
                        supporters.insert(*node, *height);
                    }
                }
                Said::Vouch(node, candidate, true) if *candidate == result && judging.contains(node) => {
                    supporters.insert(*node, *height);
                }
                _ => (),
            }
        }
        let lost = |node: &NodeId, height: &u64| {
            self.upto(at).any(
                |said| matches!(said, Said::Compromised(who, since, until) if who == node && (since..=until).contains(&height)),
            )
        };
        supporters.iter().filter(|(node, height)| !lost(node, height)).count()
    }

    pub(super) fn verdict(&self, artifacts: usize) -> Verdict {
        let ending = self.ending();
        let judging = self.active(ending.after);
        let mut status = ending.status.clone();
        let mut agreed = ending.agreed;
        let (mut added, mut members) = (0, judging.clone());
        for at in ending.after..self.said.len() {
            let (height, said) = &self.said[at];
            match said {
                Said::Left(node) => {
                    members.remove(node);
                }
                Said::Returned(node) if judging.contains(node) => {
                    members.insert(*node);
                }
                Said::Added => added += 1,
                Said::Reported => {
                    let BuildStatus::Disputed { reports } = &mut status else { panic!("a report about {status:?}") };
                    *reports += 1;
                }
                _ => (),
            }
            if let BuildStatus::Agreed { .. } = status {
                let result = agreed.expect("agreed on something");
                status = if added == artifacts {
                    BuildStatus::Published { height: Height(*height) }
                } else if self.support(&ending, result, at + 1) < self.majority {
                    agreed = None;
                    BuildStatus::Disputed { reports: 0 }
                } else if members.is_empty() {
                    agreed = None;
                    BuildStatus::Failed
                } else {
                    BuildStatus::Agreed { added: added as u32 }
                };
            }
        }
        let published = matches!(status, BuildStatus::Published { .. });
        let at_risk = published && agreed.is_some_and(|result| self.support(&ending, result, self.said.len()) < self.majority);
        Verdict { status, agreed, at_risk }
    }
}

type ResultKey = (Sha256Digest, Sha256Digest);
