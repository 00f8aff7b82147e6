mod endings;
mod simulation;
mod waits;

use super::progress::REFUSALS_MAX;
use super::*;
use crate::builds::sealed::{RunResult, Sealed};
use ed25519_dalek::SigningKey;
use pyrsia_ledger::event::{
    BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource,
    BuildWaitEnded, BuiltArtifact, NodeActivated, NodeAuthorizationApproved, NodeRevocationApproved, VerifierApproved,
};
use pyrsia_ledger::projection::builds::JudgeState;
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{ArtifactId, Event, PackageCoordinate, PackageType, SignedEvent, UnsignedEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

const MODULE: Sha256Digest = Sha256Digest::new([7; 32]);
const RUN_LIMIT: Duration = Duration::from_secs(3_600);

/// A ledger on which events of test keys are folded block by block.
pub(in crate::builds) struct Ledger {
    keys: Vec<SigningKey>,
    pub(in crate::builds) state: Projections,
}

impl Ledger {
    pub(in crate::builds) fn with_members(count: u8) -> Self {
        let keys: Vec<SigningKey> = (1..=count).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let state = Projections::from_genesis(&genesis(&keys[0], "test", [1; 32], 1)).unwrap();
        let mut ledger = Self { keys, state };
        let package_type = PackageType::new("docker").unwrap();
        ledger.fold(0, Event::VerifierApproved(VerifierApproved { package_type, module: MODULE, contract_version: 1 }));
        (0..ledger.keys.len()).for_each(|candidate| ledger.let_in(candidate));
        ledger
    }

    /// Makes a key authorized; those before it are.
    fn let_in(&mut self, candidate: usize) {
        for approver in 0..=candidate / 2 {
            let approval = NodeAuthorizationApproved { node: self.node(candidate) };
            self.fold(approver, Event::NodeAuthorizationApproved(approval));
        }
        let (recent_height, recent_block) = (self.state.height().0, self.state.tip().0);
        self.fold(candidate, Event::NodeActivated(NodeActivated { recent_height, recent_block }));
    }

    pub(in crate::builds) fn node(&self, key: usize) -> NodeId {
        node_id_of(&self.keys[key])
    }

    fn fold(&mut self, author: usize, event: Event) {
        self.fold_all(author, vec![event]);
    }

    /// All in one block.
    fn fold_all(&mut self, author: usize, events: Vec<Event>) {
        let node = self.node(author);
        let sign = |(sequence, event)| {
            let unsigned = UnsignedEvent::new(*self.state.network(), node, sequence, 1, event);
            SignedEvent::new(&self.keys[author], unsigned)
        };
        let signed: Vec<SignedEvent> = (self.state.next_sequence(&node)..).zip(events).map(sign).collect();
        let proposal = self.state.propose(self.state.validators().nodes()[0], 1, &signed);
        assert_eq!(proposal.refused, []);
        self.state = proposal.next;
    }

    pub(in crate::builds) fn open_build(&mut self) -> BuildId {
        let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").unwrap();
        let (attempt, build_id) = (self.state.next_attempt(&coordinate), self.state.next_build_id(&coordinate));
        self.fold(0, Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier: MODULE, source: None }));
        build_id
    }

    /// A build of another package, which is something that is heard of its requester.
    fn open_other_build(&mut self, number: u64) {
        let coordinate = PackageCoordinate::new("docker", &format!("other:{number}")).unwrap();
        let build_id = self.state.next_build_id(&coordinate);
        let request = BuildRequested { build_id, coordinate, attempt: 0, verifier: MODULE, source: None };
        self.fold(0, Event::BuildRequested(request));
    }

    /// So many builds of different packages, requested by one node.
    pub(in crate::builds) fn open_builds(&mut self, author: usize, count: usize) {
        let request = |number: usize| {
            let coordinate = PackageCoordinate::new("docker", &format!("many:{number}")).unwrap();
            let build_id = self.state.next_build_id(&coordinate);
            Event::BuildRequested(BuildRequested { build_id, coordinate, attempt: 0, verifier: MODULE, source: None })
        };
        let requests: Vec<Event> = (0..count).map(request).collect();
        for block in requests.chunks(512) {
            self.fold_all(author, block.to_vec());
        }
    }

    fn commit(&mut self, judge: usize, build_id: BuildId, outcome: BuildOutcome) {
        let commitment = sealed(outcome).commitment(self.state.network(), &build_id, &self.node(judge));
        self.fold(judge, Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }));
    }

    fn reveal(&mut self, judge: usize, build_id: BuildId, outcome: BuildOutcome) {
        self.fold(judge, Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt: SALT }));
    }

    /// All commit, then all reveal.
    pub(in crate::builds) fn judge_all(&mut self, build_id: BuildId, outcomes: &[BuildOutcome]) {
        for (judge, outcome) in outcomes.iter().enumerate() {
            self.commit(judge, build_id, outcome.clone());
        }
        for (judge, outcome) in outcomes.iter().enumerate() {
            self.reveal(judge, build_id, outcome.clone());
        }
    }

    /// Adds the artifacts, if the judges have agreed.
    pub(in crate::builds) fn publish(&mut self, id: BuildId) {
        let build = self.state.builds.get(&id).unwrap();
        if matches!(build.status, BuildStatus::Agreed { .. }) {
            let events = missing(&self.state, &id, build).into_iter().map(Event::AddArtifact).collect();
            self.fold_all(0, events);
        }
    }

    fn planner(&self, key: usize) -> Planner {
        Planner { me: self.node(key), silent_to: None, run_limit: RUN_LIMIT, patience: JudgePatience::default() }
    }

    /// The clock of the tests counts from the request.
    fn see(&self, key: usize, id: &BuildId, progress: &mut Progress, now_ms: u64) {
        self.planner(key).see(&self.state, id, progress, now_ms, now_ms);
    }

    fn step(&self, key: usize, id: &BuildId, progress: &mut Progress, now_ms: u64) -> Step {
        self.see(key, id, progress, now_ms);
        self.planner(key).next_step(&self.state, id, progress, now_ms)
    }

    fn status(&self, id: &BuildId) -> &BuildStatus {
        &self.state.builds.get(id).unwrap().status
    }
}

const SALT: [u8; 32] = [9; 32];

fn sealed(outcome: BuildOutcome) -> Sealed {
    Sealed { salt: SALT, result: result(outcome) }
}

fn result(outcome: BuildOutcome) -> RunResult {
    RunResult { outcome, names: BTreeMap::new() }
}

fn built_as(canonical: &str, raw: &str) -> BuildOutcome {
    let artifact = |id: &str| {
        let sha256 = Sha256Digest::of(format!("{id} {raw}").as_bytes());
        let canonical = Sha256Digest::of(format!("{id} {canonical}").as_bytes());
        let artifact_id = ArtifactId::new(id).unwrap();
        BuiltArtifact { artifact_id, media_type: "x/y".into(), size_bytes: 1, sha256, canonical, chunk_root: sha256 }
    };
    let source = BuildSource { kind: "git".into(), location: String::new(), revision: "c0ffee".into() };
    BuildOutcome::Built { source, artifacts: vec![artifact("alpine:3.16.0"), artifact("alpine.layer")] }
}

pub(in crate::builds) fn built(contents: &str) -> BuildOutcome {
    built_as(contents, contents)
}

pub(in crate::builds) fn failed() -> BuildOutcome {
    BuildOutcome::Failed { reason: "no".into() }
}

#[test]
fn a_judge_runs_a_build_once_and_is_bound_on_disk_before_it_commits() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    assert_eq!(ledger.step(0, &id, &mut Progress::default(), 0), Step::Run);
    let mut running = Progress { running: true, ..Progress::default() };
    assert_eq!(ledger.step(0, &id, &mut running, 0), Step::Idle);
    let mut ended = Progress { result: Some(result(built("a"))), ..Progress::default() };
    assert_eq!(ledger.step(0, &id, &mut ended, 0), Step::Seal);
    ended.sealed = Some(Arc::new(sealed(built("a"))));
    assert_eq!(ledger.step(0, &id, &mut ended, 0), Step::Commit);
    ended.proposed_ms.insert(Fact::Commitment, 5);
    let again_ms = 5 + millis(PROPOSE_AGAIN_AFTER);
    assert_eq!(ledger.step(0, &id, &mut ended, 6), Step::Wait { until_ms: again_ms });
    assert_eq!(ledger.step(0, &id, &mut ended, again_ms), Step::Commit);
    ledger.commit(0, id, built("a"));
    assert!(matches!(ledger.step(0, &id, &mut ended, again_ms), Step::Wait { .. }), "it waits for the other judge");
    ledger.commit(1, id, built("a"));
    assert_eq!(ledger.step(0, &id, &mut ended, again_ms), Step::Reveal);
}

#[test]
fn a_node_that_was_killed_after_its_seal_goes_on_with_the_same_result() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    let recalled = || Progress::recalled(Some(sealed(built("a"))), false);
    assert_eq!(ledger.step(0, &id, &mut recalled(), 0), Step::Commit);
    ledger.commit(0, id, built("a"));
    ledger.commit(1, id, built("a"));
    assert_eq!(ledger.step(0, &id, &mut recalled(), 0), Step::Reveal);
}

#[test]
fn a_node_that_cannot_know_what_it_committed_to_commits_to_nothing() {
    let mut ledger = Ledger::with_members(3);
    let id = ledger.open_build();
    let mut damaged = Progress::recalled(None, true);
    assert!(matches!(ledger.step(0, &id, &mut damaged, 0), Step::Wait { .. }), "it does not build either");
    let mut bound = Progress { sealed: Some(Arc::new(sealed(built("a")))), ..Progress::default() };
    ledger.see(0, &id, &mut bound, 0);
    let forgetful = |ledger: &Ledger| Planner { silent_to: Some(ledger.state.height()), ..ledger.planner(0) };
    assert!(matches!(forgetful(&ledger).next_step(&ledger.state, &id, &bound, 0), Step::Wait { .. }));
    // What it says once the committing is over binds nobody.
    let phase = WaitPhase::Committing;
    for judge in [1, 2] {
        ledger.commit(judge, id, built("a"));
    }
    for judge in [1, 2] {
        ledger.fold(judge, Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase }));
    }
    assert_eq!(forgetful(&ledger).next_step(&ledger.state, &id, &bound, 0), Step::Reveal);
    ledger.commit_is_refused(0, id);
}

impl Ledger {
    fn commit_is_refused(&self, judge: usize, build_id: BuildId) {
        let node = self.node(judge);
        let commitment = Sha256Digest::of(b"anything");
        let event = Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment });
        let unsigned = UnsignedEvent::new(*self.state.network(), node, self.state.next_sequence(&node), 1, event);
        assert!(self.state.check(&SignedEvent::new(&self.keys[judge], unsigned)).is_err());
    }
}

#[test]
fn a_node_that_is_no_judge_does_nothing() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    let stranger = Planner { me: node_id_of(&SigningKey::from_bytes(&[99; 32])), ..ledger.planner(0) };
    assert_eq!(stranger.next_step(&ledger.state, &id, &Progress::default(), 0), Step::Done);
}

#[test]
fn a_fact_that_the_ledger_never_takes_is_given_up_until_the_next_phase() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    let mut progress = Progress { sealed: Some(Arc::new(sealed(built("a")))), ..Progress::default() };
    for _ in 0..REFUSALS_MAX {
        assert_eq!(ledger.step(0, &id, &mut progress, 0), Step::Commit);
        progress.refused(Fact::Commitment);
    }
    assert!(matches!(ledger.step(0, &id, &mut progress, 0), Step::Wait { .. }));
    ledger.commit(0, id, built("a"));
    ledger.commit(1, id, built("a"));
    assert_eq!(ledger.step(0, &id, &mut progress, 0), Step::Reveal);
}
