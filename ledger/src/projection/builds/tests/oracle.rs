//! A second opinion: members and the phases of builds computed afresh from the list of what was said, as their definitions
//! read, and compared with what was folded. Shares no code with the fold but the digests of results.

mod definition;
mod roll;

use super::{different, failed, noisy, salt};
use crate::Refusal;
use crate::block::Height;
use crate::certificate::{UnsignedVote, VoteKind};
use crate::coordinate::{ArtifactId, BuildId};
use crate::digest::Sha256Digest;
use crate::event::{
    AddArtifact, BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildResultCommitted, BuildResultRevealed, BuildWaitEnded,
    DisputeReport, EquivocationProved, Event, Vouch, WaitPhase,
};
use crate::evidence::{Evidence, SignedVote};
use crate::identity::NodeId;
use crate::projection::Projections;
use crate::projection::builds::{BuildStatus, ResultDigests};
use crate::projection::tests::{Bench, alpine, artifact, built};
use crate::signed::SignedEvent;
use crate::{BlockHash, BlockId};
use definition::{Account, Said, Verdict};
use proptest::prelude::*;
use roll::Roll;
use std::collections::{BTreeMap, BTreeSet};

/// What was said about a build, each at its height.
type Sayings = Vec<(u64, Said)>;

/// The network, and both opinions about it.
struct World {
    bench: Bench,
    /// What each judge builds when it is honest.
    honest: Vec<u8>,
    roll: Roll,
    builds: BTreeMap<BuildId, (Vec<NodeId>, Sayings)>,
    events: Vec<SignedEvent>,
    start: Projections,
}

const OUTCOMES: u8 = 6;

fn outcome(kind: u8) -> BuildOutcome {
    match kind % OUTCOMES {
        0 => noisy(b"a"),
        1 => noisy(b"b"),
        2 => noisy(b"c"),
        3 => built(b"other"),
        4 => failed(),
        _ => BuildOutcome::Abstained { reason: "out of fuel".into() },
    }
}

fn digests(outcome: &BuildOutcome) -> Option<ResultDigests> {
    let BuildOutcome::Built { source, artifacts } = outcome else { return None };
    Some(ResultDigests::of(source, artifacts))
}

impl World {
    fn new(honest: Vec<u8>) -> Self {
        let bench = Bench::with_members(honest.len());
        let start = bench.state.clone();
        let roll = Roll::of(bench.state.members.nodes());
        Self { bench, honest, roll, builds: BTreeMap::new(), events: vec![], start }
    }

    fn current(&self) -> Option<BuildId> {
        let attempt = self.bench.state.next_attempt(&alpine()).checked_sub(1)?;
        Some(BuildId::of(self.bench.state.network(), &alpine(), attempt))
    }

    fn attempt(&mut self, author: usize, event: Event) -> Result<(), Refusal> {
        let signed = self.bench.sign(author, event);
        self.bench.state.check(&signed)?;
        let proposer = self.bench.state.validators().nodes()[0];
        let proposal = self.bench.state.propose(proposer, 0, [&signed]);
        assert_eq!(proposal.refused, [], "what is checked is folded");
        self.bench.state = proposal.next;
        let (height, node) = (self.bench.state.height().0, self.bench.node(author));
        for said in self.roll.note(height, node, signed.event()) {
            self.builds.values_mut().for_each(|(_, list)| list.push((height, said.clone())));
        }
        if let Some((id, said)) = match signed.event() {
            Event::BuildRequested(body) => {
                self.builds.insert(body.build_id, (self.roll.members.iter().copied().collect(), vec![]));
                None
            }
            Event::BuildResultCommitted(body) => Some((body.build_id, Said::Commit(node))),
            Event::BuildResultRevealed(body) => Some((body.build_id, Said::Reveal(node, digests(&body.outcome)))),
            Event::BuildWaitEnded(body) => Some((body.build_id, Said::Wait(node, body.phase))),
            Event::BuildCandidateVouched(body) => {
                Some((body.build_id, Said::Vouch(node, body.candidate, body.verdict == Vouch::Same)))
            }
            Event::AddArtifact(body) => Some((body.build_id, Said::Added)),
            Event::BuildDisputed(body) => Some((body.build_id, Said::Reported)),
            _ => None,
        } {
            self.builds.get_mut(&id).expect("requested").1.push((height, said));
        }
        self.events.push(signed);
        Ok(())
    }

    fn additions(&self, id: BuildId) -> Vec<Event> {
        if self.bench.state.builds.chosen(&id).is_some() { self.bench.additions(id) } else { vec![] }
    }

    /// What a judge does next that has its result, and vouches as it is told to.
    fn step(&mut self, actor: usize, extra: u8) {
        let actor = actor % self.honest.len();
        let Some(id) = self.current() else {
            let _ = self.attempt(actor, self.bench.request());
            return;
        };
        let mine = outcome(self.honest[actor]);
        let event = match *self.bench.status(id) {
            BuildStatus::Committing => self.bench.commitment(actor, id, &mine),
            BuildStatus::Revealing => self.bench.revelation(actor, id, mine),
            BuildStatus::Vouching { candidate } => {
                let verdict = if extra.is_multiple_of(3) { different() } else { Vouch::Same };
                Event::BuildCandidateVouched(BuildCandidateVouched { build_id: id, candidate, verdict })
            }
            BuildStatus::Agreed { .. } if extra.is_multiple_of(4) => self.bench.revelation(actor, id, mine),
            BuildStatus::Agreed { added } => self.additions(id)[added as usize].clone(),
            BuildStatus::Disputed { .. } if extra.is_multiple_of(2) => {
                let report = DisputeReport { comparisons: vec![], omitted: 0 };
                Event::BuildDisputed(BuildDisputed { build_id: id, report })
            }
            BuildStatus::Published { .. } | BuildStatus::Failed if extra.is_multiple_of(2) => {
                self.bench.revelation(actor, id, mine)
            }
            BuildStatus::Published { .. } | BuildStatus::Failed | BuildStatus::Disputed { .. } => self.bench.request(),
        };
        let _ = self.attempt(actor, event);
    }

    /// What only liars do, and what operators do.
    fn stir(&mut self, what: u8, actor: usize, other: usize, extra: u8) {
        let node = self.bench.node(other);
        let newest = self.bench.state.height();
        let id = self.current().unwrap_or_else(|| self.bench.state.next_build_id(&alpine()));
        let status = self.bench.state.builds.get(&id).map(|build| build.status.clone());
        let copied = self.bench.state.builds.commitment(&id, &node).map(|(_, commitment)| commitment);
        let event = match what {
            0 => self.bench.commitment(actor, id, &outcome(extra)),
            1 => match copied {
                Some(commitment) => Event::BuildResultCommitted(BuildResultCommitted { build_id: id, commitment }),
                None => return,
            },
            2 => self.bench.revelation(actor, id, outcome(extra)),
            3 => {
                let salt = salt(other);
                Event::BuildResultRevealed(BuildResultRevealed { build_id: id, outcome: outcome(extra).into(), salt })
            }
            4 | 5 => match status.and_then(|status| status.wait_phase()) {
                Some(phase) if what == 4 => return self.together(Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase })),
                Some(phase) => Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase }),
                None => return,
            },
            6 => Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Revealing }),
            7 => {
                let candidate = digests(&outcome(extra)).map_or(Sha256Digest::of(b"any"), |digests| digests.raw);
                Event::BuildCandidateVouched(BuildCandidateVouched { build_id: id, candidate, verdict: Vouch::Same })
            }
            8 => Event::AddArtifact(AddArtifact {
                build_id: id,
                coordinate: alpine(),
                artifact: artifact("alpine:3.16.0", &[extra]),
            }),
            9 => self.bench.revocation(other, None),
            10 | 11 => {
                let since = (what == 11).then(|| Height(newest.0.saturating_sub(u64::from(extra % 48))));
                return self.together(self.bench.revocation(other, since));
            }
            12 => self.bench.revocation(other, Some(Height(newest.0 + u64::from(extra % 2)))),
            13 => self.bench.approval(other),
            14 => return self.together(self.bench.approval(other)),
            15 => self.bench.activation(),
            _ => {
                let vote = |contents: &[u8]| {
                    let digest = Sha256Digest::of(contents);
                    let block = BlockId { hash: BlockHash(digest), tree_size: 2, tree_root: digest, time_s: 1 };
                    let vote = UnsignedVote { kind: VoteKind::Prevote, height: Height(2), round: 0, block: Some(block) };
                    SignedVote::new(&self.bench.keys[other], self.bench.state.network(), vote)
                };
                let evidence = Evidence::Votes { first: vote(b"one"), second: vote(b"two") };
                Event::EquivocationProved(EquivocationProved { evidence: Box::new(evidence) })
            }
        };
        let _ = self.attempt(actor, event);
    }

    /// Everybody who may says the same.
    fn together(&mut self, event: Event) {
        for author in 0..self.bench.keys.len() {
            let _ = self.attempt(author, event.clone());
        }
    }

    /// Compares what both think of the newest builds, as many as these.
    fn compare(&self, newest: usize) {
        let state = &self.bench.state;
        assert_eq!(state.members.nodes(), self.roll.members.iter().copied().collect::<Vec<_>>());
        let by_attempt = |id: &&BuildId| state.builds.get(id).map(|build| build.attempt);
        let mut ids: Vec<&BuildId> = self.builds.keys().collect();
        ids.sort_by_key(by_attempt);
        for id in ids.into_iter().rev().take(newest) {
            let (judges, said) = &self.builds[id];
            let build = state.builds.get(id).expect("requested");
            assert_eq!(&build.judges, judges);
            let account = Account { judges, said, majority: judges.len() / 2 + 1 };
            let expected = account.verdict(2);
            let agreed = build.agreement.as_ref().map(|agreement| agreement.result);
            let found = Verdict { status: build.status.clone(), agreed, at_risk: state.builds.at_risk(id).is_some() };
            assert_eq!(found, expected, "{said:#?}");
            let is_agreed = matches!(build.status, BuildStatus::Agreed { .. } | BuildStatus::Published { .. });
            assert_eq!(is_agreed, build.agreement.is_some());
            if is_agreed {
                assert!(2 * state.builds.supporters(id).len() > judges.len(), "{said:#?}");
                assert!(state.builds.chosen(id).is_some());
            }
        }
        let name = ArtifactId::new("alpine:3.16.0").expect("an id");
        if let Some((_, record)) = state.packages.artifact(&alpine().package_type, &name) {
            let (_, chosen) = state.builds.chosen(&record.build_id).expect("only what was agreed on is published");
            assert!(chosen.contains(&record.artifact));
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    Step(usize, u8),
    Stir(u8, usize, usize, u8),
}

fn a_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        5 => (0usize..7, any::<u8>()).prop_map(|(actor, extra)| Move::Step(actor, extra)),
        1 => (0u8..17, 0usize..8, 0usize..8, any::<u8>()).prop_map(|(what, actor, other, extra)| Move::Stir(what, actor, other, extra)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is said in whatever order, by judges honest or not, while nodes come and go.
    #[test]
    fn builds_end_as_their_definition_says(honest in prop::collection::vec(prop_oneof![3 => 0u8..2, 1 => 0u8..OUTCOMES], 1..=7), moves in prop::collection::vec(a_move(), 1..140)) {
        let mut world = World::new(honest);
        let mut fixed = BTreeMap::new();
        for next in moves {
            match next {
                Move::Step(actor, extra) => world.step(actor, extra),
                Move::Stir(what, actor, other, extra) => world.stir(what, actor, other, extra),
            }
            world.compare(1);
            for (id, build) in world.bench.state.builds.iter() {
                if let Some(agreement) = &build.agreement {
                    let first = fixed.entry(*id).or_insert_with(|| agreement.clone());
                    prop_assert_eq!(&*first, agreement, "an agreement never changes");
                }
            }
        }
        world.compare(usize::MAX);
        // A follower that folds the same blocks has the same state.
        let mut again = world.start.clone();
        for event in &world.events {
            let proposer = again.validators().nodes()[0];
            let block = again.propose(proposer, 0, [event]).block;
            again = again.apply(&block).expect("the next block");
        }
        prop_assert_eq!(again.state_root(), world.bench.state.state_root());
        crate::projection::snapshot::check_round_trip(&again);
    }

    /// Without anybody's impatience the order in which commitments and results come decides nothing about what is agreed on.
    #[test]
    fn the_order_of_commitments_and_results_does_not_matter(honest in prop::collection::vec(0u8..OUTCOMES, 1..=7), seeds in prop::collection::vec(any::<u64>(), 7)) {
        let in_order = |turn: u32| {
            let mut world = World::new(honest.clone());
            let id = world.bench.state.next_build_id(&alpine());
            world.attempt(0, world.bench.request()).expect("a request");
            let mut order: Vec<usize> = (0..honest.len()).collect();
            for shift in [0, 16] {
                order.sort_by_key(|judge| seeds[*judge].rotate_left(turn + shift));
                for judge in &order {
                    world.step(*judge, 1);
                }
            }
            let build = world.bench.state.builds.get(&id).expect("requested");
            let agreement = build.agreement.as_ref().map(|agreement| (agreement.result, agreement.canonical));
            (build.status.wait_phase(), agreement)
        };
        prop_assert_eq!(in_order(0), in_order(32));
    }
}
