use super::*;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use pyrsia_ledger::event::{
    BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource,
    BuildWaitEnded, BuiltArtifact, NodeActivated, NodeAuthorizationApproved, NodeRevocationApproved, VerifierApproved,
};
use pyrsia_ledger::projection::builds::JudgeState;
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{ArtifactId, Event, PackageCoordinate, PackageType, SignedEvent, UnsignedEvent};

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
        self.fold(judge, Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome, salt: SALT }));
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

/// A judge that has committed, and what it sees of the commitments of others: who, and when.
fn waits_for(members: u8, committed: &[(usize, u64)], until_ms: u64) {
    let mut ledger = Ledger::with_members(members);
    let id = ledger.open_build();
    let mut progress = Progress { sealed: Some(Arc::new(sealed(built("a")))), ..Progress::default() };
    ledger.see(0, &id, &mut progress, 0);
    for (judge, now_ms) in committed {
        ledger.commit(*judge, id, built("a"));
        ledger.see(0, &id, &mut progress, *now_ms);
    }
    let now_ms = committed.last().expect("somebody commits").1;
    assert_eq!(ledger.step(0, &id, &mut progress, now_ms), Step::Wait { until_ms });
    assert_eq!(ledger.step(0, &id, &mut progress, until_ms), Step::EndWait(WaitPhase::Committing));
}

#[test]
fn those_who_are_slower_have_half_of_the_time_that_a_majority_of_honest_judges_took() {
    // Of seven, two may lie: six commitments hold those of four honest judges.
    let majority_ms = 600_000;
    let committed: Vec<(usize, u64)> = (0..6).map(|judge| (judge, majority_ms)).collect();
    waits_for(7, &committed, majority_ms + majority_ms / 2);
}

#[test]
fn liars_who_commit_to_garbage_at_once_cost_slower_judges_no_time() {
    // Two liars, and two of the five honest judges: a majority that honest judges are none of.
    waits_for(7, &[(5, 1_000), (6, 1_000), (0, 600_000), (1, 700_000)], 4 * 700_000);
    waits_for(4, &[(3, 1_000), (0, 600_000), (1, 600_000)], 4 * 600_000);
}

#[test]
fn a_restart_gives_those_who_are_slower_no_less_time() {
    let mut ledger = Ledger::with_members(7);
    let id = ledger.open_build();
    for judge in 0..6 {
        ledger.commit(judge, id, built("a"));
    }
    let planner = ledger.planner(0);
    for (age_ms, elapsed_ms) in [(600_000, 600_000), (u64::MAX, millis(RUN_LIMIT))] {
        let mut recalled = Progress::recalled(Some(sealed(built("a"))), false);
        planner.see(&ledger.state, &id, &mut recalled, 5_000, age_ms);
        let until_ms = 5_000 + elapsed_ms / 2;
        assert_eq!(planner.next_step(&ledger.state, &id, &recalled, 5_000), Step::Wait { until_ms });
    }
}

#[test]
fn who_still_builds_or_waits_for_a_place_to_build_ends_no_time() {
    let mut ledger = Ledger::with_members(4);
    let id = ledger.open_build();
    let mut progress = Progress { running: true, ..Progress::default() };
    ledger.see(3, &id, &mut progress, 0);
    for judge in [0, 1, 2] {
        ledger.commit(judge, id, built("a"));
    }
    let (limit_ms, silence_ms) = (millis(RUN_LIMIT), millis(JudgePatience::default().silence));
    assert_eq!(ledger.step(3, &id, &mut progress, 2 * (limit_ms + silence_ms)), Step::Idle);
}

#[test]
fn the_limit_counts_from_when_the_own_run_had_its_place() {
    let mut ledger = Ledger::with_members(4);
    let id = ledger.open_build();
    let mut progress = Progress::default();
    ledger.see(0, &id, &mut progress, 0);
    let began_ms = 50_000_000;
    (progress.run_began_ms, progress.sealed) = (Some(began_ms), Some(Arc::new(sealed(built("a")))));
    ledger.commit(0, id, built("a"));
    let until_ms = began_ms + millis(RUN_LIMIT) + millis(JudgePatience::default().silence);
    assert_eq!(ledger.step(0, &id, &mut progress, began_ms), Step::Wait { until_ms });
    assert_eq!(ledger.step(0, &id, &mut progress, until_ms), Step::EndWait(WaitPhase::Committing));
}

#[test]
fn a_queue_that_is_longer_than_every_patience_fails_no_build() {
    let character = Character { outcome: Kind::Builds(0), run_ms: 60_000, silent_from: Quiet::Never };
    let mut simulation = Simulation::new(vec![character; 4], 30_000_000);
    simulation.run(0);
    let status = simulation.ledger.status(&simulation.id);
    assert!(matches!(status, BuildStatus::Published { .. }), "{status:?}");
}

#[test]
fn an_authorized_node_that_is_no_judge_ends_what_the_judges_leave_open_for_very_long() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    ledger.keys.push(SigningKey::from_bytes(&[9; 32]));
    let mut progress = Progress::default();
    assert_eq!(ledger.step(1, &id, &mut progress, 0), Step::Done, "a regular node says nothing");
    ledger.let_in(1);
    let (first_ms, wait_ms) = (7_000, millis(RUN_LIMIT) + millis(JudgePatience::default().outsider));
    let mut progress = Progress::default();
    let until_ms = first_ms + wait_ms;
    assert_eq!(ledger.step(1, &id, &mut progress, first_ms), Step::Wait { until_ms }, "it builds nothing");
    ledger.commit(0, id, built("a"));
    let until_ms = until_ms + first_ms;
    assert_eq!(ledger.step(1, &id, &mut progress, 2 * first_ms), Step::Wait { until_ms }, "each phase has its time");
    assert_eq!(ledger.step(1, &id, &mut progress, until_ms), Step::EndWait(WaitPhase::Revealing));
    ledger.fold(1, Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Revealing }));
    assert_eq!(ledger.step(1, &id, &mut progress, until_ms), Step::Idle);
    ledger.reveal(0, id, built("a"));
    assert!(matches!(ledger.status(&id), BuildStatus::Agreed { .. }));
    assert_eq!(ledger.step(1, &id, &mut progress, until_ms), Step::Done, "the judge publishes");
}

#[test]
fn judges_that_are_heard_of_have_more_time_but_not_for_ever() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    ledger.keys.push(SigningKey::from_bytes(&[9; 32]));
    ledger.let_in(1);
    let wait_ms = millis(RUN_LIMIT) + millis(JudgePatience::default().outsider);
    let mut progress = Progress::default();
    assert_eq!(ledger.step(1, &id, &mut progress, 0), Step::Wait { until_ms: wait_ms });
    let mut now_ms = 0;
    for waits in 1..OUTSIDERS_WAITS_MAX {
        now_ms = waits * wait_ms - 1;
        ledger.open_other_build(waits);
        let until_ms = now_ms + wait_ms;
        assert_eq!(ledger.step(1, &id, &mut progress, now_ms), Step::Wait { until_ms }, "it has others to build first");
    }
    ledger.open_other_build(OUTSIDERS_WAITS_MAX);
    let until_ms = OUTSIDERS_WAITS_MAX * wait_ms;
    assert_eq!(ledger.step(1, &id, &mut progress, now_ms + 2), Step::Wait { until_ms });
    assert_eq!(ledger.step(1, &id, &mut progress, until_ms), Step::EndWait(WaitPhase::Committing));
}

#[test]
fn who_has_not_shown_its_own_result_ends_no_time_of_others() {
    let mut ledger = Ledger::with_members(3);
    let id = ledger.open_build();
    for judge in 0..3 {
        ledger.commit(judge, id, built("a"));
    }
    let mut progress = Progress { sealed: Some(Arc::new(sealed(built("a")))), ..Progress::default() };
    assert_eq!(ledger.step(0, &id, &mut progress, 0), Step::Reveal);
    // No block is made for long: its result waits for the next one, as those of the others do.
    let (stalled_ms, reveal_ms) = (500_000, millis(JudgePatience::default().reveal));
    progress.proposed_ms.insert(Fact::Reveal, stalled_ms);
    let again_ms = stalled_ms + millis(PROPOSE_AGAIN_AFTER);
    assert_eq!(ledger.step(0, &id, &mut progress, stalled_ms), Step::Wait { until_ms: again_ms });
    ledger.reveal(0, id, built("a"));
    let until_ms = stalled_ms + reveal_ms;
    assert_eq!(ledger.step(0, &id, &mut progress, stalled_ms), Step::Wait { until_ms });
    assert_eq!(ledger.step(0, &id, &mut progress, until_ms), Step::EndWait(WaitPhase::Revealing));
}

#[test]
fn who_cannot_show_its_own_result_ends_the_time_all_the_same() {
    let mut ledger = Ledger::with_members(3);
    let id = ledger.open_build();
    for judge in 0..3 {
        ledger.commit(judge, id, built("a"));
    }
    let mut lost = Progress::recalled(None, true);
    let mut refused = Progress { sealed: Some(Arc::new(sealed(built("other")))), ..Progress::default() };
    for progress in [&mut lost, &mut refused] {
        ledger.see(0, &id, progress, 0);
    }
    refused.refused_for_good(Fact::Reveal);
    let reveal_ms = millis(JudgePatience::default().reveal);
    for mut progress in [lost, refused] {
        assert_eq!(ledger.step(0, &id, &mut progress, reveal_ms), Step::EndWait(WaitPhase::Revealing));
    }
}

/// A build of three judges that is being vouched for: with the candidate, and a judge that built it in other bytes.
fn vouching() -> (Ledger, BuildId, Sha256Digest, usize) {
    let mut ledger = Ledger::with_members(3);
    let id = ledger.open_build();
    ledger.judge_all(id, &[built_as("same", "1"), built_as("same", "2"), built_as("same", "3")]);
    let BuildStatus::Vouching { candidate } = *ledger.status(&id) else { panic!("{:?}", ledger.status(&id)) };
    let voucher = (0..3).find(|key| ledger.state.builds.must_vouch(&id, &ledger.node(*key))).unwrap();
    (ledger, id, candidate, voucher)
}

#[test]
fn who_has_not_vouched_yet_ends_no_time_of_others() {
    let (mut ledger, id, candidate, voucher) = vouching();
    let mut progress = Progress::default();
    ledger.see(voucher, &id, &mut progress, 0);
    let patience = JudgePatience::default();
    let late_ms = 2 * millis(patience.vouch);
    progress.vouching = Vouching { candidate: Some(candidate), verdict: Work::UnderWay };
    assert_eq!(ledger.step(voucher, &id, &mut progress, late_ms), Step::Idle);
    progress.vouching.verdict = Work::Done(Vouch::Unavailable { reason: "it does not come".into() });
    progress.proposed_ms.insert(Fact::Vouch(candidate), late_ms);
    let again_ms = late_ms + millis(PROPOSE_AGAIN_AFTER);
    assert_eq!(ledger.step(voucher, &id, &mut progress, late_ms), Step::Wait { until_ms: again_ms });
    let verdict = Vouch::Unavailable { reason: "it does not come".into() };
    ledger.fold(voucher, Event::BuildCandidateVouched(BuildCandidateVouched { build_id: id, candidate, verdict }));
    let until_ms = late_ms + millis(patience.reveal);
    assert_eq!(ledger.step(voucher, &id, &mut progress, late_ms), Step::Wait { until_ms });
    let ended = Step::EndWait(WaitPhase::Vouching { candidate });
    assert_eq!(ledger.step(voucher, &id, &mut progress, until_ms), ended);
}

#[test]
fn bytes_that_do_not_come_hold_up_no_other_candidate() {
    let (ledger, id, candidate, voucher) = vouching();
    let before = Vouching { candidate: Some(Sha256Digest::of(b"the one before")), verdict: Work::UnderWay };
    let mut progress = Progress { vouching: before, ..Progress::default() };
    assert_eq!(ledger.step(voucher, &id, &mut progress, 0), Step::CheckCandidate(candidate));
    progress.vouching.candidate = Some(candidate);
    assert!(matches!(ledger.step(voucher, &id, &mut progress, 0), Step::Idle | Step::Wait { .. }));
}

#[test]
fn a_result_that_comes_after_the_end_is_revealed_all_the_same_and_a_run_that_never_began_is_skipped() {
    let mut ledger = Ledger::with_members(3);
    let id = ledger.open_build();
    for judge in [0, 1] {
        ledger.commit(judge, id, failed());
    }
    for judge in [0, 1] {
        ledger.fold(judge, Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Committing }));
    }
    for judge in [0, 1] {
        ledger.reveal(judge, id, failed());
    }
    assert_eq!(*ledger.status(&id), BuildStatus::Failed);
    let mut late = Progress { sealed: Some(Arc::new(sealed(built("a")))), ..Progress::default() };
    assert_eq!(ledger.step(2, &id, &mut late, 0), Step::Reveal);
    let mut running = Progress { running: true, ..Progress::default() };
    assert_eq!(ledger.step(2, &id, &mut running, 0), Step::Idle);
    assert_eq!(ledger.step(2, &id, &mut Progress::default(), 0), Step::Done);
    ledger.reveal(2, id, built("a"));
    assert_eq!(ledger.state.builds.judge_state(&id, &ledger.node(2)), JudgeState::Late);
    assert_eq!(ledger.step(2, &id, &mut late, 0), Step::Done);
}

#[test]
fn one_agreeing_judge_publishes_and_the_next_one_when_it_does_not() {
    let mut ledger = Ledger::with_members(4);
    let id = ledger.open_build();
    // The dissenter shows its result first: with the third of the others the build is agreed on.
    let outcomes = [built("b"), built("a"), built("a"), built("a")];
    ledger.judge_all(id, &outcomes);
    let agreed = |ledger: &Ledger| {
        let mut progress = Progress::default();
        ledger.see(0, &id, &mut progress, 100);
        progress
    };
    let mut turns = vec![];
    for key in 0..4 {
        let mut progress = agreed(&ledger);
        let turn_ms = match ledger.step(key, &id, &mut progress, 100) {
            Step::Wait { until_ms } => until_ms,
            Step::Publish(_) => 100,
            step => panic!("{step:?}"),
        };
        let Step::Publish(events) = ledger.step(key, &id, &mut progress, turn_ms) else { panic!("it is this judge's turn") };
        assert_eq!(events.len(), 2);
        progress.proposed_ms.insert(Fact::Publication, turn_ms);
        assert!(matches!(ledger.step(key, &id, &mut progress, turn_ms), Step::Wait { .. }));
        turns.push(turn_ms - 100);
    }
    let delay_ms = millis(JudgePatience::default().publish_rank);
    assert_eq!(turns[0], 3 * delay_ms, "who built something else comes last");
    turns.sort_unstable();
    assert_eq!(turns, [0, delay_ms, 2 * delay_ms, 3 * delay_ms]);
}

#[test]
fn a_judge_that_is_left_publishes_what_those_who_were_revoked_agreed_on() {
    let mut ledger = Ledger::with_members(4);
    let id = ledger.open_build();
    ledger.judge_all(id, &[built("b"), built("a"), built("a"), built("a")]);
    // Each is removed by those who are left.
    for (revoked, approvers) in [(1, [0, 2, 3].as_slice()), (2, &[0, 3]), (3, &[0, 3])] {
        for approver in approvers {
            let approval = NodeRevocationApproved { node: ledger.node(revoked), compromised_since: None };
            ledger.fold(*approver, Event::NodeRevocationApproved(approval));
        }
    }
    assert_eq!(*ledger.status(&id), BuildStatus::Agreed { added: 0 });
    assert!(matches!(ledger.step(0, &id, &mut Progress::default(), 100), Step::Publish(events) if events.len() == 2));
}

#[test]
fn only_what_is_missing_is_published_by_the_judge_that_takes_over() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    ledger.judge_all(id, &[built("a")]);
    let mut agreed = Progress::default();
    let Step::Publish(events) = ledger.step(0, &id, &mut agreed, 0) else { panic!("alone it publishes at once") };
    ledger.fold(0, Event::AddArtifact(events[0].clone()));
    assert_eq!(ledger.step(0, &id, &mut agreed, 0), Step::Publish(vec![events[1].clone()]));
    ledger.fold(0, Event::AddArtifact(events[1].clone()));
    assert_eq!(ledger.step(0, &id, &mut agreed, 0), Step::Done);
}

#[test]
fn a_dispute_is_reported_once_in_the_same_words_and_again_only_in_others() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    ledger.judge_all(id, &[built("a"), built("b")]);
    assert_eq!(*ledger.status(&id), BuildStatus::Disputed { reports: 0 });
    let (mut first, mut second) = (Progress::default(), Progress::default());
    let steps = [ledger.step(0, &id, &mut first, 0), ledger.step(1, &id, &mut second, 0)];
    let reporter = steps.iter().position(|step| *step == Step::Compare).expect("it is somebody's turn");
    let (mut reporting, mut waiting) = if reporter == 0 { (first, second) } else { (second, first) };
    let delay_ms = millis(JudgePatience::default().dispute_rank);
    assert_eq!(steps[1 - reporter], Step::Wait { until_ms: delay_ms });

    let report = DisputeReport { comparisons: vec![], omitted: 0 };
    reporting.report = Work::Done(report.clone());
    assert_eq!(ledger.step(reporter, &id, &mut reporting, 1), Step::Dispute(report.clone()));
    ledger.fold(reporter, Event::BuildDisputed(BuildDisputed { build_id: id, report: report.clone() }));
    assert_eq!(ledger.step(reporter, &id, &mut reporting, 1), Step::Done);
    assert_eq!(ledger.step(1 - reporter, &id, &mut waiting, delay_ms), Step::Compare);
    waiting.report = Work::Done(report);
    assert_eq!(ledger.step(1 - reporter, &id, &mut waiting, delay_ms), Step::Done);
    let other = DisputeReport { comparisons: vec![], omitted: 1 };
    waiting.report = Work::Done(other.clone());
    assert_eq!(ledger.step(1 - reporter, &id, &mut waiting, delay_ms), Step::Dispute(other));
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

/// A judge of the simulated network.
#[derive(Clone, Debug)]
struct Character {
    outcome: Kind,
    /// How long its run takes.
    run_ms: u64,
    /// It says nothing more from this on.
    silent_from: Quiet,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Fails,
    Abstains,
    /// Builds the honest canonical result in bytes of this variant.
    Builds(u8),
    /// Claims the honest canonical digest for bytes of its own.
    Lies,
    BuildsSomethingElse,
}

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Quiet {
    AtCommitting,
    AtRevealing,
    AtVouching,
    AtTheEnd,
    Never,
}

impl Kind {
    fn outcome(self, key: usize) -> BuildOutcome {
        match self {
            Self::Fails => failed(),
            Self::Abstains => BuildOutcome::Abstained { reason: "not I".into() },
            Self::Builds(variant) => built_as("honest", &format!("honest {variant}")),
            Self::Lies => built_as("honest", &format!("lie of {key}")),
            Self::BuildsSomethingElse => built("something else"),
        }
    }
}

fn characters() -> impl Strategy<Value = Vec<Character>> {
    let kind = prop_oneof![
        1 => Just(Kind::Fails),
        1 => Just(Kind::Abstains),
        4 => (0u8..3).prop_map(Kind::Builds),
        1 => Just(Kind::Lies),
        1 => Just(Kind::BuildsSomethingElse),
    ];
    let quiet = prop_oneof![
        1 => Just(Quiet::AtCommitting),
        1 => Just(Quiet::AtRevealing),
        1 => Just(Quiet::AtVouching),
        1 => Just(Quiet::AtTheEnd),
        2 => Just(Quiet::Never),
    ];
    let run_ms = prop_oneof![0u64..1_000, 0..=millis(RUN_LIMIT)];
    let character = (kind, run_ms, quiet);
    prop::collection::vec(character, 1..8).prop_map(|characters| {
        // A minority is silent.
        let mut may_be_silent = characters.len() - (characters.len() / 2 + 1);
        let minority = |(outcome, run_ms, silent_from)| {
            let silent_from = match silent_from {
                Quiet::Never => Quiet::Never,
                _ if may_be_silent == 0 => Quiet::Never,
                quiet => {
                    may_be_silent -= 1;
                    quiet
                }
            };
            Character { outcome, run_ms, silent_from }
        };
        characters.into_iter().map(minority).collect()
    })
}

struct Simulation {
    ledger: Ledger,
    id: BuildId,
    characters: Vec<Character>,
    progress: Vec<Progress>,
    /// When the run of each judge had its place, and when it ends.
    runs_ms: Vec<Option<(u64, u64)>>,
    /// How long each judge's run waits for a place.
    queue_ms: u64,
    now_ms: u64,
}

impl Simulation {
    fn new(characters: Vec<Character>, queue_ms: u64) -> Self {
        let mut ledger = Ledger::with_members(characters.len() as u8);
        let id = ledger.open_build();
        let count = characters.len();
        Self {
            ledger,
            id,
            characters,
            progress: vec![Progress::default(); count],
            runs_ms: vec![None; count],
            queue_ms,
            now_ms: 0,
        }
    }

    /// Takes a judge's next step; returns when it wants to be asked again.
    fn turn(&mut self, key: usize) -> (bool, Option<u64>) {
        if let Some((began_ms, end_ms)) = self.runs_ms[key]
            && self.now_ms >= end_ms
        {
            self.runs_ms[key] = None;
            let progress = &mut self.progress[key];
            (progress.running, progress.run_began_ms) = (false, Some(began_ms));
            progress.result = Some(result(self.characters[key].outcome.outcome(key)));
        }
        let step = self.ledger.step(key, &self.id, &mut self.progress[key], self.now_ms);
        let is_silent = {
            let phase = match self.ledger.status(&self.id) {
                BuildStatus::Committing => Quiet::AtCommitting,
                BuildStatus::Revealing => Quiet::AtRevealing,
                BuildStatus::Vouching { .. } => Quiet::AtVouching,
                _ => Quiet::AtTheEnd,
            };
            phase >= self.characters[key].silent_from
        };
        if is_silent {
            return (false, None);
        }
        let run_end = self.runs_ms[key].map(|(_, end_ms)| end_ms);
        match step {
            Step::Wait { until_ms } => return (false, Some(run_end.map_or(until_ms, |end_ms| end_ms.min(until_ms)))),
            Step::Idle => return (false, run_end),
            Step::Done => return (false, None),
            Step::Run => {
                self.progress[key].running = true;
                let began_ms = self.now_ms + self.queue_ms;
                self.runs_ms[key] = Some((began_ms, began_ms + self.characters[key].run_ms));
            }
            Step::Seal => {
                let result = self.progress[key].result.take().unwrap();
                self.progress[key].sealed = Some(Arc::new(Sealed { salt: SALT, result }));
            }
            Step::Commit => self.ledger.commit(key, self.id, self.characters[key].outcome.outcome(key)),
            Step::Reveal => self.ledger.reveal(key, self.id, self.characters[key].outcome.outcome(key)),
            Step::EndWait(phase) => self.fold(key, Event::BuildWaitEnded(BuildWaitEnded { build_id: self.id, phase })),
            Step::CheckCandidate(candidate) => {
                let verdict = self.look_at(key);
                self.progress[key].vouching = Vouching { candidate: Some(candidate), verdict: Work::Done(verdict) };
            }
            Step::Vouch { candidate, verdict } => {
                let vouched = BuildCandidateVouched { build_id: self.id, candidate, verdict };
                self.fold(key, Event::BuildCandidateVouched(vouched));
            }
            Step::Compare => self.progress[key].report = Work::Done(DisputeReport { comparisons: vec![], omitted: 0 }),
            Step::Dispute(report) => self.fold(key, Event::BuildDisputed(BuildDisputed { build_id: self.id, report })),
            Step::Publish(events) => {
                assert!(!events.is_empty());
                events.into_iter().for_each(|event| self.fold(key, Event::AddArtifact(event)));
            }
        }
        (true, None)
    }

    fn fold(&mut self, key: usize, event: Event) {
        self.ledger.fold(key, event);
    }

    /// What the verifier says of the candidate; liars vouch for everything.
    fn look_at(&self, key: usize) -> Vouch {
        let candidate = self.ledger.state.builds.candidate(&self.id).unwrap();
        let builder = (0..self.characters.len()).find(|other| candidate.judges.contains(&self.ledger.node(*other))).unwrap();
        let is_lie = self.characters[builder].outcome == Kind::Lies;
        if is_lie && self.characters[key].outcome != Kind::Lies {
            return Vouch::Different { reason: "other bytes".into() };
        }
        Vouch::Same
    }

    /// Runs until nothing more happens.
    fn run(&mut self, mut order: u64) {
        for _ in 0..10_000 {
            let (mut moved, mut wake_ms) = (false, None::<u64>);
            order = order.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            for turn in 0..self.characters.len() {
                let key = (turn + (order >> 33) as usize) % self.characters.len();
                let (stepped, until_ms) = self.turn(key);
                moved |= stepped;
                wake_ms = [wake_ms, until_ms].into_iter().flatten().min();
            }
            match wake_ms {
                _ if moved => {}
                Some(until_ms) => self.now_ms = self.now_ms.max(until_ms),
                None => return,
            }
        }
        panic!("no end after {} ms: {:?}", self.now_ms, self.ledger.status(&self.id));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    /// Whatever the judges got, however long they took and waited for a place to run, in whatever order they take their steps, and whenever a minority falls
    /// silent: the plan of the others leads every build to its end, the ledger refuses no step, no lie is published while
    /// liars are a minority, and every result stands on record.
    #[test]
    fn following_the_plan_ends_every_build(
        characters in characters(), queue_ms in 0u64..20_000_000, order in any::<u64>(),
    ) {
        let mut simulation = Simulation::new(characters.clone(), queue_ms);
        simulation.run(order);
        let (state, id) = (&simulation.ledger.state, &simulation.id);
        let status = simulation.ledger.status(id);
        prop_assert!(status.is_closed() && *status != BuildStatus::Disputed { reports: 0 }, "{status:?}");
        for (key, character) in characters.iter().enumerate().filter(|(_, character)| character.silent_from == Quiet::Never) {
            let judge = state.builds.judge_state(id, &simulation.ledger.node(key));
            prop_assert!(state.builds.result(id, &simulation.ledger.node(key)).is_some(), "{character:?}: {judge:?}");
        }
        let liars = characters.iter().filter(|character| character.outcome == Kind::Lies).count();
        if let Some((_, artifacts)) = state.builds.chosen(id)
            && liars * 2 < characters.len()
        {
            for (key, _) in characters.iter().enumerate().filter(|(_, character)| character.outcome == Kind::Lies) {
                let BuildOutcome::Built { artifacts: lie, .. } = Kind::Lies.outcome(key) else { unreachable!() };
                prop_assert_ne!(artifacts, lie.as_slice());
            }
        }
        let honest = |variant| characters.iter().filter(|character| {
            character.silent_from == Quiet::Never && character.outcome == Kind::Builds(variant) && character.run_ms < 1_000
        }).count();
        if (0..3).any(|variant| honest(variant) > characters.len() / 2) {
            prop_assert!(matches!(status, BuildStatus::Published { .. }), "{status:?}");
        }
    }
}
