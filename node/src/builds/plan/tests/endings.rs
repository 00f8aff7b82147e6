//! What follows when the judging is over: publication and reports of a dispute.

use super::*;

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
