//! The judges of this world: honest ones follow the plan of the real node; crooked ones are honest validators whose operators
//! cheat with builds, each in one way.

use super::disk::Disk;
use super::factory::{Factory, Make};
use super::random::Random;
use super::world::{Character, World};
use super::{Mutation, Summary};
use crate::builds::simulated::{Seal, SimulatedJudge, Wish, Workshop};
use crate::config::JudgePatience;
use crate::consensus::ProposeError;
use crate::consensus::message::Message;
use pyrsia_ledger::event::{
    AddArtifact, BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildResultCommitted, BuildResultRevealed, BuildWaitEnded,
    DisputeReport, Vouch,
};
use pyrsia_ledger::projection::builds::{Build, Candidate};
use pyrsia_ledger::{BuildId, Event, NodeId, Projections, Sha256Digest, SignedEvent, UnsignedEvent};
use std::sync::Arc;
use std::time::Duration;

/// After this a judge's own run counts as hopeless.
const RUN_LIMIT: Duration = Duration::from_secs(8);
const RUN_MS_MAX: u64 = 5_000;
const CALM_RUN_MS_MAX: u64 = 1_000;
/// Some runs take longer than anybody waits.
const LONG_RUN_MS: u64 = 30_000;

/// How a crooked judge cheats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crook {
    /// Builds something of its own.
    WrongResult,
    /// Claims the honest canonical digest for bytes of its own, and vouches for its like.
    Disguise,
    /// Commits to what another committed to, and reveals what another revealed.
    Copier,
    /// Commits and never reveals.
    Withholder,
    /// Commits to two results, one to each half of the others.
    DoubleCommitter,
    /// Says of candidates the opposite of what it sees.
    FalseVoucher,
    /// Ends every wait, publishes what nobody agreed on, disputes what is not disputed, repeats what others said.
    Meddler,
}

impl Crook {
    pub(super) const ALL: [Self; 7] = [
        Self::WrongResult,
        Self::Disguise,
        Self::Copier,
        Self::Withholder,
        Self::DoubleCommitter,
        Self::FalseVoucher,
        Self::Meddler,
    ];
}

/// Times that fit the steps of the simulator.
const fn patience() -> JudgePatience {
    JudgePatience {
        commit_grace: Duration::from_secs(2),
        commit_grace_share: 2,
        silence: Duration::from_secs(5),
        reveal: Duration::from_secs(4),
        outsider: Duration::from_secs(10),
        vouch: Duration::from_secs(5),
        vouch_bytes_per_second: 1 << 20,
        publish_rank: Duration::from_secs(1),
        dispute_rank: Duration::from_secs(1),
        keep_unpublished: Duration::from_secs(60),
    }
}

pub(super) fn judge(node: NodeId) -> SimulatedJudge {
    SimulatedJudge::new(node, RUN_LIMIT, patience())
}

/// What a judge works with for the moment.
struct Bench<'a> {
    judge: NodeId,
    character: Character,
    mutation: Mutation,
    factory: &'a mut Factory,
    disk: &'a Disk,
    random: &'a mut Random,
}

impl Workshop for Bench<'_> {
    fn run(&mut self, id: &BuildId, build: &Build) -> (BuildOutcome, u64) {
        let make = match self.character {
            Character::Crooked(Crook::WrongResult) => Make::Evil,
            Character::Crooked(Crook::Disguise) => Make::EvilInDisguise,
            Character::Honest | Character::Crooked(_) | Character::Malicious => Make::Honestly,
        };
        let takes_ms = match self.random.percent(3) {
            _ if self.factory.is_calm => 200 + self.random.below(CALM_RUN_MS_MAX),
            true => LONG_RUN_MS,
            false => 200 + self.random.below(RUN_MS_MAX),
        };
        (self.factory.run(id, build, &self.judge, make), takes_ms)
    }

    fn seal(&mut self, id: &BuildId, outcome: BuildOutcome) -> Seal {
        if self.character == Character::Honest {
            self.factory.sealed(id, self.judge, &outcome);
        }
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&self.random.next().to_le_bytes());
        self.disk.seal(*id, (salt, outcome.clone()));
        (salt, outcome)
    }

    fn sealed(&self, id: &BuildId) -> Option<Seal> {
        self.disk.sealed(id)
    }

    fn vouch(&mut self, own: Option<&BuildOutcome>, candidate: &Candidate<'_>) -> Vouch {
        let seen = self.factory.vouch(own, candidate);
        match self.character {
            Character::Honest if self.mutation == Mutation::VouchesUnseen => Vouch::Same,
            Character::Crooked(Crook::Disguise) => Vouch::Same,
            Character::Crooked(Crook::FalseVoucher) if seen == Vouch::Same => Vouch::Different { reason: "a lie".into() },
            Character::Crooked(Crook::FalseVoucher) => Vouch::Same,
            Character::Honest | Character::Crooked(_) | Character::Malicious => {
                if self.random.percent(5) && !self.factory.is_calm {
                    Vouch::Unavailable { reason: "no peer has it".into() }
                } else {
                    seen
                }
            }
        }
    }

    fn compare(&mut self, state: &Projections, id: &BuildId) -> DisputeReport {
        self.factory.compare(state, id)
    }
}

impl World {
    /// Lets the judge of a node that has power look at its ledger and act.
    pub(super) fn judge(&mut self, index: usize) -> Result<(), String> {
        let now_ms = self.clock_ms(index);
        let node = &mut self.nodes[index];
        let Some((state, memory)) = node.replica.as_ref().and_then(|replica| Some((replica.state()?.clone(), replica.memory())))
        else {
            return Ok(());
        };
        let mut bench = Bench {
            judge: node.id,
            character: node.character,
            mutation: self.mutation,
            factory: &mut self.factory,
            disk: &node.disk,
            random: &mut self.random,
        };
        let wishes = node.judge.take_steps(&state, memory.forgotten_until(), now_ms, &mut bench);
        match node.character {
            Character::Crooked(crook) => self.cheat(index, crook, &state, wishes),
            Character::Honest | Character::Malicious => self.wish(index, wishes),
        }
    }

    fn wish(&mut self, index: usize, wishes: Vec<Wish>) -> Result<(), String> {
        for wish in wishes {
            let event = wish.event.clone();
            let answer = self.with(index, |replica, now_ms| replica.propose_event(now_ms, event))?;
            if let Some(Err(ProposeError::Refused(refusal))) = answer
                && refusal.is_for_good()
            {
                self.nodes[index].judge.refused(&wish);
            }
        }
        Ok(())
    }

    fn cheat(&mut self, index: usize, crook: Crook, state: &Projections, wishes: Vec<Wish>) -> Result<(), String> {
        let me = self.nodes[index].id;
        let is_result = |wish: &Wish| matches!(wish.event, Event::BuildResultCommitted(_) | Event::BuildResultRevealed(_));
        match crook {
            Crook::WrongResult | Crook::Disguise | Crook::FalseVoucher => self.wish(index, wishes),
            Crook::Withholder => {
                let kept = wishes.into_iter().filter(|wish| !matches!(wish.event, Event::BuildResultRevealed(_)));
                self.wish(index, kept.collect())
            }
            Crook::DoubleCommitter => {
                let (committed, kept): (Vec<_>, Vec<_>) =
                    wishes.into_iter().partition(|wish| matches!(wish.event, Event::BuildResultCommitted(_)));
                for wish in committed {
                    let Event::BuildResultCommitted(first) = wish.event else { continue };
                    let commitment = Sha256Digest::of(first.commitment.as_bytes());
                    let second = Event::BuildResultCommitted(BuildResultCommitted { commitment, ..first.clone() });
                    self.force(index, state, Event::BuildResultCommitted(first), 0);
                    self.force(index, state, second, 1);
                }
                self.wish(index, kept)
            }
            Crook::Copier => {
                let ids: Vec<BuildId> = judged_by(state, me);
                for id in ids {
                    let committed = state
                        .builds
                        .get(&id)
                        .and_then(|build| build.judges.iter().find_map(|judge| state.builds.commitment(&id, judge)));
                    // Two different ones would be another lie.
                    if let Some((_, commitment)) = committed.filter(|_| !self.oracle.has_committed(me, id)) {
                        self.attempt(index, Event::BuildResultCommitted(BuildResultCommitted { build_id: id, commitment }))?;
                    }
                    let revealed = state.builds.results(&id).next().map(|(_, revealed)| (*revealed.outcome).clone());
                    if let (Some(outcome), None) = (revealed, state.builds.result(&id, &me)) {
                        let event = BuildResultRevealed { build_id: id, outcome: outcome.into(), salt: [0; 32] };
                        self.force(index, state, Event::BuildResultRevealed(event), 0);
                    }
                }
                self.wish(index, wishes.into_iter().filter(|wish| !is_result(wish)).collect())
            }
            Crook::Meddler => {
                self.meddle(index, state)?;
                self.wish(index, wishes)
            }
        }
    }

    fn meddle(&mut self, index: usize, state: &Projections) -> Result<(), String> {
        let me = self.nodes[index].id;
        for build_id in judged_by(state, me) {
            let Some(build) = state.builds.get(&build_id) else { continue };
            if let Some(phase) = build.status.wait_phase().filter(|_| !state.builds.waits(&build_id).contains(&me)) {
                self.attempt(index, Event::BuildWaitEnded(BuildWaitEnded { build_id, phase }))?;
            }
            if !self.random.percent(20) {
                continue;
            }
            let BuildOutcome::Built { artifacts, .. } = self.factory.run(&build_id, build, &me, Make::EvilInDisguise) else {
                continue;
            };
            let candidate = Sha256Digest::of(b"nobody's");
            let verdict = Vouch::Same;
            let report = DisputeReport { comparisons: vec![], omitted: self.random.below(9) };
            let coordinate = build.coordinate.clone();
            for event in [
                Event::AddArtifact(AddArtifact { build_id, coordinate, artifact: artifacts[0].clone() }),
                Event::BuildCandidateVouched(BuildCandidateVouched { build_id, candidate, verdict }),
                Event::BuildDisputed(BuildDisputed { build_id, report }),
            ] {
                self.force(index, state, event, 0);
            }
        }
        self.replay(index);
        Ok(())
    }

    /// Sends again what others once said.
    fn replay(&mut self, index: usize) {
        let blocks = self.nodes[index].disk.blocks();
        if !self.random.percent(10) {
            return;
        }
        if let Some(sealed) = self.random.pick(&blocks) {
            let frame = Arc::new(Message::Events(sealed.block.events.clone()).encode());
            (0..self.nodes.len()).for_each(|to| self.send(index, to, &frame));
        }
    }

    /// By its own replica, which refuses what the ledger would.
    fn attempt(&mut self, index: usize, event: Event) -> Result<(), String> {
        self.with(index, |replica, now_ms| replica.propose_event(now_ms, event).map(|_| ()))?;
        Ok(())
    }

    /// Signed and sent past its own replica; a commitment to one half of the others only.
    fn force(&mut self, index: usize, state: &Projections, event: Event, half: usize) {
        let is_double = matches!(event, Event::BuildResultCommitted(_));
        let (now_ms, node) = (self.clock_ms(index), &self.nodes[index]);
        let unsigned = UnsignedEvent::new(*state.network(), node.id, state.next_sequence(&node.id), now_ms, event);
        let frame = Arc::new(Message::Events(vec![SignedEvent::new(&node.key, unsigned)]).encode());
        for to in (0..self.nodes.len()).filter(|to| !is_double || to % 2 == half) {
            self.send(index, to, &frame);
        }
    }
}

fn judged_by(state: &Projections, me: NodeId) -> Vec<BuildId> {
    state.builds.unfinished().filter(|(_, build)| build.judges.contains(&me)).map(|(id, _)| *id).collect()
}

/// What became of the builds.
pub(super) fn count(state: &Projections, summary: &mut Summary) {
    use pyrsia_ledger::projection::builds::BuildStatus;
    for (id, build) in state.builds.iter() {
        summary.builds += 1;
        match build.status {
            BuildStatus::Published { .. } => summary.published += 1,
            BuildStatus::Failed => summary.failed += 1,
            BuildStatus::Disputed { .. } => summary.disputed += 1,
            BuildStatus::Committing | BuildStatus::Revealing | BuildStatus::Vouching { .. } | BuildStatus::Agreed { .. } => {}
        }
        summary.vouched += state.builds.vouches(id).len() as u64;
    }
    summary.suspended += state.members.suspensions().count() as u64;
    summary.at_risk += state.builds.all_at_risk().count() as u64;
    summary.revoked += state.members.former().filter(|(node, _)| state.members.suspended(node).is_none()).count() as u64;
}
