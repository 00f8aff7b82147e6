//! How the judges stand by a proof, held against how they stand by the ledger.

use super::*;
use crate::event::{BuildCandidateVouched, BuildResultRevealed, BuildWaitEnded, Vouch};
use crate::projection::builds::JudgeState;

fn failed() -> BuildOutcome {
    BuildOutcome::Failed { reason: "no such image".into() }
}

fn abstained() -> BuildOutcome {
    BuildOutcome::Abstained { reason: "out of fuel".into() }
}

/// The image with noise that its verifier forgives.
fn noisy(contents: &[u8]) -> BuildOutcome {
    let BuildOutcome::Built { source, mut artifacts } = built(b"image") else { unreachable!("it is built") };
    artifacts[0].sha256 = Sha256Digest::of(contents);
    BuildOutcome::Built { source, artifacts }
}

fn vouch(bench: &Bench, build_id: BuildId, verdict: Vouch) -> Event {
    let BuildStatus::Vouching { candidate } = *bench.status(build_id) else { panic!("{:?}", bench.status(build_id)) };
    Event::BuildCandidateVouched(BuildCandidateVouched { build_id, candidate, verdict })
}

/// What a proof may say of a judge that stands so by the ledger when the proof is made.
fn is_told(state: JudgeState, stand: Stand) -> bool {
    match state {
        JudgeState::Agrees => stand == Stand::Same,
        JudgeState::AgreesAfterPasses => matches!(stand, Stand::SameAfterPasses | Stand::SameByItsWord),
        JudgeState::Dissents => stand == Stand::Other,
        JudgeState::Failed => stand == Stand::Failed,
        JudgeState::Abstained => stand == Stand::Abstained,
        JudgeState::Late => stand == Stand::Late,
        JudgeState::Left => stand == Stand::Left,
        JudgeState::Building | JudgeState::Committed | JudgeState::TimedOut | JudgeState::Withheld => stand == Stand::Silent,
        JudgeState::Revealed => false,
    }
}

/// The stands by a proof, after comparing them with the ledger's.
fn stands(bench: &Bench, id: BuildId) -> Vec<Stand> {
    let verified = proof_of(bench, &id).verify(Some(*bench.state.network())).expect("holds");
    let supporters: BTreeSet<NodeId> = bench.state.builds.supporters(&id).into_iter().map(|(node, _)| node).collect();
    for judge in &verified.judges {
        let state = bench.state.builds.judge_state(&id, &judge.node);
        assert!(is_told(state, judge.stand), "{state:?} is told as {:?}", judge.stand);
        assert_eq!(judge.stand.counts(), supporters.contains(&judge.node), "{state:?}");
    }
    assert_eq!(verified.agreeing().count(), verified.standing);
    assert!(verified.standing >= verified.needed);
    let (source, artifacts) = bench.state.builds.chosen(&id).expect("agreed");
    assert_eq!((&verified.source, verified.artifacts_of_build), (source, artifacts.len()));
    (0..verified.judges.len())
        .map(|key| verified.judges.iter().find(|judge| judge.node == bench.node(key)).expect("a judge").stand)
        .collect()
}

#[test]
fn whoever_did_not_agree_is_told_as_well() {
    let mut bench = Bench::with_members(7);
    let id = bench.open_build(0);
    bench.judge(
        id,
        &[
            (0, built(b"image")),
            (1, built(b"image")),
            (2, built(b"image")),
            (3, built(b"image")),
            (4, built(b"other")),
            (5, failed()),
        ],
    );
    let late = Event::BuildResultRevealed(BuildResultRevealed { build_id: id, outcome: built(b"image").into(), salt: salt(6) });
    bench.commit(6, late);
    publish(&mut bench, id, 3);
    use Stand::*;
    // The last one had agreed when the fourth showed its result: what the others committed to is told as well.
    assert_eq!(stands(&bench, id), [Same, Same, Same, Same, Other, Failed, Late]);
}

#[test]
fn a_result_that_nobody_waited_for_does_not_count() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    let outcomes = [noisy(b"a"), noisy(b"b"), noisy(b"b"), noisy(b"b")];
    for (judge, outcome) in outcomes.iter().enumerate() {
        bench.commit(judge, bench.commitment(judge, id, outcome));
    }
    for (judge, outcome) in outcomes.iter().enumerate().take(3) {
        bench.commit(judge, bench.revelation(judge, id, outcome.clone()));
    }
    for judge in 0..3 {
        bench.commit(judge, Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Revealing }));
    }
    bench.commit(3, bench.revelation(3, id, outcomes[3].clone()));
    bench.commit(0, vouch(&bench, id, Vouch::Same));
    publish(&mut bench, id, 1);
    assert_eq!(stands(&bench, id), [Stand::SameAfterPasses, Stand::Same, Stand::Same, Stand::Late]);
}

#[test]
fn a_judge_that_left_before_the_others_agreed_does_not_count() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    for judge in 0..4 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    bench.commit(3, bench.revelation(3, id, built(b"image")));
    bench.revoke(3, None);
    bench.reauthorize(3);
    for judge in 0..3 {
        bench.commit(judge, bench.revelation(judge, id, built(b"image")));
    }
    publish(&mut bench, id, 0);
    assert_eq!(stands(&bench, id), [Stand::Same, Stand::Same, Stand::Same, Stand::Left]);
    // One that leaves after that was there.
    let again = bench.open_build(0);
    bench.judge(again, &(0..4).map(|judge| (judge, built(b"image"))).collect::<Vec<_>>());
    bench.revoke(2, None);
    publish(&mut bench, again, 0);
    assert_eq!(stands(&bench, again), [Stand::Same; 4]);
}

#[test]
fn what_is_at_risk_is_proved_for_the_height_it_was_published_at() {
    let (mut bench, id) = published(3);
    let before = proof_of(&bench, &id);
    bench.revoke(1, Some(Height(1)));
    bench.revoke(2, Some(Height(1)));
    assert!(bench.state.builds.at_risk(&id).is_some());
    assert_eq!(proof_of(&bench, &id), before);
}

/// What a judge builds, and whether it commits, shows it, and vouches.
type Habit = (u8, u8);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_proof_counts_the_judges_as_the_ledger_does(habits in prop::collection::vec((0..6u8, 0..8u8), 1..6), leaver in 0..12usize) {
        let mut bench = Bench::with_members(habits.len());
        let id = bench.open_build(0);
        if run(&mut bench, id, &habits, leaver) {
            stands(&bench, id);
        }
    }
}

/// Judges by these habits; whether that ends in a publication.
fn run(bench: &mut Bench, id: BuildId, habits: &[Habit], leaver: usize) -> bool {
    let outcome = |kind: u8| match kind {
        0 | 1 => noisy(b"a"),
        2 => noisy(b"b"),
        3 => built(b"other"),
        4 => failed(),
        _ => abstained(),
    };
    let is_member = |bench: &Bench, judge: usize| bench.state.members.contains(&bench.node(judge));
    for (judge, (kind, silence)) in habits.iter().enumerate() {
        if *silence != 7 {
            bench.commit(judge, bench.commitment(judge, id, &outcome(*kind)));
        }
    }
    if bench.status(id) == &BuildStatus::Committing {
        bench.end_wait(id, WaitPhase::Committing);
    }
    for (judge, (kind, silence)) in habits.iter().enumerate() {
        if judge == leaver && habits.len() > 1 {
            bench.revoke(judge, None);
        }
        if *silence != 6 && is_member(bench, judge) {
            bench.commit(judge, bench.revelation(judge, id, outcome(*kind)));
        }
    }
    if bench.status(id) == &BuildStatus::Revealing {
        bench.end_wait(id, WaitPhase::Revealing);
    }
    while let BuildStatus::Vouching { candidate } = *bench.status(id) {
        for (judge, (_, silence)) in habits.iter().enumerate() {
            if bench.status(id) != (&BuildStatus::Vouching { candidate }) {
                break;
            }
            if bench.state.builds.must_vouch(&id, &bench.node(judge)) {
                let verdict = if *silence == 5 { Vouch::Different { reason: "a file".into() } } else { Vouch::Same };
                bench.commit(judge, vouch(bench, id, verdict));
            }
        }
        if bench.status(id) == (&BuildStatus::Vouching { candidate }) {
            bench.end_wait(id, WaitPhase::Vouching { candidate });
        }
    }
    // Those who kept it to themselves show it when it is too late.
    for (judge, (kind, _)) in habits.iter().enumerate() {
        if is_member(bench, judge) && bench.state.builds.result(&id, &bench.node(judge)).is_none() {
            let _ = bench.try_commit(judge, bench.revelation(judge, id, outcome(*kind)));
        }
    }
    let Some(author) = (0..habits.len()).find(|judge| is_member(bench, *judge)) else { return false };
    let is_agreed = matches!(bench.status(id), BuildStatus::Agreed { .. });
    if is_agreed {
        publish(bench, id, author);
    }
    is_agreed
}
