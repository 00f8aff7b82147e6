use super::*;
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use pyrsia_ledger::event::{
    BuildRequested, BuildResultReported, BuildSource, BuiltArtifact, NodeActivated, NodeAuthorizationApproved, VerifierApproved,
};
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{ArtifactId, Event, PackageCoordinate, PackageType, Sha256Digest, SignedEvent, UnsignedEvent};

const MODULE: Sha256Digest = Sha256Digest::new([7; 32]);

/// A ledger on which events of test keys are folded block by block.
struct Ledger {
    keys: Vec<SigningKey>,
    state: Projections,
}

impl Ledger {
    fn with_members(count: u8) -> Self {
        let keys: Vec<SigningKey> = (1..=count).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let state = Projections::from_genesis(&genesis(&keys[0], "test", [1; 32], 1)).unwrap();
        let mut ledger = Self { keys, state };
        let package_type = PackageType::new("docker").unwrap();
        ledger.fold(0, Event::VerifierApproved(VerifierApproved { package_type, module: MODULE, contract_version: 1 }));
        for candidate in 0..ledger.keys.len() {
            for approver in 0..=candidate / 2 {
                let approval = NodeAuthorizationApproved { node: ledger.node(candidate) };
                ledger.fold(approver, Event::NodeAuthorizationApproved(approval));
            }
            let (recent_height, recent_block) = (ledger.state.height().0, ledger.state.tip().0);
            ledger.fold(candidate, Event::NodeActivated(NodeActivated { recent_height, recent_block }));
        }
        ledger
    }

    fn node(&self, key: usize) -> NodeId {
        node_id_of(&self.keys[key])
    }

    fn fold(&mut self, author: usize, event: Event) {
        let node = self.node(author);
        let unsigned = UnsignedEvent::new(*self.state.network(), node, self.state.next_sequence(&node), 1, event);
        let signed = SignedEvent::new(&self.keys[author], unsigned);
        let proposal = self.state.propose(self.state.validators().nodes()[0], 1, [&signed]);
        assert_eq!(proposal.refused, []);
        self.state = proposal.next;
    }

    fn open_build(&mut self) -> BuildId {
        let coordinate = PackageCoordinate::new("docker", "alpine:3.16.0").unwrap();
        let (attempt, build_id) = (self.state.next_attempt(&coordinate), self.state.next_build_id(&coordinate));
        self.fold(0, Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier: MODULE }));
        build_id
    }

    fn report(&mut self, judge: usize, build_id: BuildId, outcome: BuildOutcome) {
        self.fold(judge, Event::BuildResultReported(BuildResultReported { build_id, outcome }));
    }

    fn step(&self, key: usize, id: &BuildId, progress: &Progress, now_ms: u64) -> Step {
        next_step(&self.state, self.node(key), id, progress, now_ms)
    }

    /// The agreeing judges in the order in which they publish.
    fn publishers(&self, id: &BuildId) -> Vec<usize> {
        let agreeing = self.state.builds.agreeing(id);
        let mut ranked: Vec<(u64, usize)> =
            (0..self.keys.len()).filter_map(|key| Some((rank(&agreeing, self.node(key), id)?, key))).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, key)| key).collect()
    }
}

fn built(contents: &str) -> BuildOutcome {
    let artifact = |id: &str, bytes: &str| {
        let sha256 = Sha256Digest::of(bytes.as_bytes());
        let artifact_id = ArtifactId::new(id).unwrap();
        BuiltArtifact { artifact_id, media_type: "x/y".into(), size_bytes: 1, sha256, canonical: sha256, chunk_root: sha256 }
    };
    let source = BuildSource { kind: "git".into(), location: String::new(), revision: "c0ffee".into() };
    BuildOutcome::Built { source, artifacts: vec![artifact("alpine:3.16.0", contents), artifact("alpine@sha256:00", "layer")] }
}

#[test]
fn a_judge_runs_an_open_build_once_and_reports_what_came_of_it() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    assert_eq!(ledger.step(0, &id, &Progress::default(), 0), Step::Run);
    let running = Progress { running: true, ..Progress::default() };
    assert_eq!(ledger.step(0, &id, &running, 0), Step::Idle);
    let ended = Progress { outcome: Some(built("a")), ..Progress::default() };
    assert_eq!(ledger.step(0, &id, &ended, 0), Step::Report(built("a")));
    let again_ms = 5 + millis(PROPOSE_AGAIN_AFTER);
    let reported = Progress { reported_ms: Some(5), ..ended };
    assert_eq!(ledger.step(0, &id, &reported, 6), Step::Wait { until_ms: again_ms });
    assert_eq!(ledger.step(0, &id, &reported, again_ms), Step::Report(built("a")));
    ledger.report(0, id, built("a"));
    assert_eq!(ledger.step(0, &id, &reported, again_ms), Step::Idle);
}

#[test]
fn a_build_reported_before_a_restart_is_not_run_again_while_the_report_is_on_its_way() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    let recalled = Progress { reported_ms: Some(0), ..Progress::default() };
    assert!(matches!(ledger.step(0, &id, &recalled, 1), Step::Wait { .. }));
    assert_eq!(ledger.step(0, &id, &recalled, millis(PROPOSE_AGAIN_AFTER)), Step::Run);
}

#[test]
fn a_node_that_is_no_judge_does_nothing() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    let stranger = node_id_of(&SigningKey::from_bytes(&[99; 32]));
    assert_eq!(next_step(&ledger.state, stranger, &id, &Progress::default(), 0), Step::Done);
}

#[test]
fn a_result_that_comes_after_the_end_is_reported_all_the_same() {
    let mut ledger = Ledger::with_members(3);
    let id = ledger.open_build();
    for judge in [0, 1] {
        ledger.report(judge, id, BuildOutcome::Failed { reason: "no".into() });
    }
    assert!(ledger.state.builds.get(&id).unwrap().status.is_closed());
    let late = Progress { outcome: Some(built("a")), ..Progress::default() };
    assert_eq!(ledger.step(2, &id, &late, 0), Step::Report(built("a")));
    assert_eq!(ledger.step(2, &id, &Progress::default(), 0), Step::Done);
}

#[test]
fn one_agreeing_judge_publishes_and_the_next_one_when_it_does_not() {
    let mut ledger = Ledger::with_members(4);
    let id = ledger.open_build();
    for judge in [0, 1, 2] {
        ledger.report(judge, id, built("a"));
    }
    ledger.report(3, id, built("b"));
    let publishers = ledger.publishers(&id);
    assert_eq!(publishers.len(), 3);
    assert!(!publishers.contains(&3), "the judge that got something else publishes nothing");
    let agreed = Progress { agreed_ms: Some(100), ..Progress::default() };
    assert_eq!(ledger.step(3, &id, &agreed, u64::MAX / 2), Step::Idle);
    for (rank, key) in (0..).zip(publishers) {
        let turn_ms = 100 + rank * millis(PUBLISH_RANK_DELAY);
        if rank > 0 {
            assert_eq!(ledger.step(key, &id, &agreed, turn_ms - 1), Step::Wait { until_ms: turn_ms });
        }
        let Step::Publish(events) = ledger.step(key, &id, &agreed, turn_ms) else { panic!("it is this judge's turn") };
        assert_eq!(events.len(), 2);
        let published = Progress { published_ms: Some(turn_ms), ..agreed.clone() };
        assert!(matches!(ledger.step(key, &id, &published, turn_ms), Step::Wait { .. }));
    }
}

#[test]
fn only_what_is_missing_is_published_by_the_judge_that_takes_over() {
    let mut ledger = Ledger::with_members(1);
    let id = ledger.open_build();
    ledger.report(0, id, built("a"));
    let agreed = Progress { agreed_ms: Some(0), ..Progress::default() };
    let Step::Publish(events) = ledger.step(0, &id, &agreed, 0) else { panic!("alone it publishes at once") };
    ledger.fold(0, Event::AddArtifact(events[0].clone()));
    assert_eq!(ledger.step(0, &id, &agreed, 0), Step::Publish(vec![events[1].clone()]));
    ledger.fold(0, Event::AddArtifact(events[1].clone()));
    assert_eq!(ledger.step(0, &id, &agreed, 0), Step::Done);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever the judges got, and in whatever order they take their steps: each that reports what it got and publishes when
    /// its turn has come leads every build to its end, and the ledger refuses no step.
    #[test]
    fn following_the_plan_ends_every_build(results in prop::collection::vec(0u8..4, 1..6), order in any::<u64>()) {
        let mut ledger = Ledger::with_members(results.len() as u8);
        let id = ledger.open_build();
        let mut progress = vec![Progress::default(); results.len()];
        let (mut now_ms, mut turn) = (0, order);
        for _ in 0..200 {
            let key = (turn % results.len() as u64) as usize;
            turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1) >> 1;
            if matches!(ledger.state.builds.get(&id).unwrap().status, BuildStatus::Agreed { .. }) {
                progress[key].agreed_ms.get_or_insert(now_ms);
            }
            match ledger.step(key, &id, &progress[key], now_ms) {
                Step::Run => progress[key].outcome = Some(match results[key] {
                    0 => BuildOutcome::Failed { reason: "no".into() },
                    1 => BuildOutcome::Abstained { reason: "not I".into() },
                    contents => built(&contents.to_string()),
                }),
                Step::Report(outcome) => ledger.report(key, id, outcome),
                Step::Publish(events) => {
                    prop_assert!(!events.is_empty());
                    events.into_iter().for_each(|event| ledger.fold(key, Event::AddArtifact(event)));
                }
                Step::Wait { until_ms } => now_ms = now_ms.max(until_ms),
                Step::Idle | Step::Done => {}
            }
        }
        for (key, progress) in progress.iter().enumerate() {
            let step = ledger.step(key, &id, progress, now_ms);
            prop_assert!(matches!(step, Step::Done), "{step:?}");
        }
        prop_assert!(ledger.state.builds.get(&id).unwrap().status.is_closed());
    }
}

#[test]
fn a_result_that_waits_for_a_block_is_not_built_again_however_long_it_waits() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    let author = ledger.node(0);
    let mut progress = Progress { outcome: Some(built("a")), reported_ms: Some(0), ..Progress::default() };
    for round in 1..10 {
        let now_ms = round * millis(PROPOSE_AGAIN_AFTER);
        let Step::Report(outcome) = ledger.step(0, &id, &progress, now_ms) else { panic!("round {round}") };
        progress.refused(outcome, &Refusal::ReportedAlready { author, build_id: id }, now_ms);
    }
}

#[test]
fn a_result_that_the_ledger_refuses_becomes_an_abstention_instead_of_another_build() {
    let mut ledger = Ledger::with_members(2);
    let id = ledger.open_build();
    let mut progress = Progress { outcome: Some(built("a")), ..Progress::default() };
    progress.refused(built("a"), &Refusal::Artifacts { found: 0 }, 5);
    let Step::Report(BuildOutcome::Abstained { reason }) = ledger.step(0, &id, &progress, 5) else { panic!("it reports") };
    assert!(reason.contains("artifacts"), "{reason}");
}
