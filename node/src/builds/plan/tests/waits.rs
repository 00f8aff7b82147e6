//! How long judges wait for each other, and who ends the wait.

use super::*;

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
