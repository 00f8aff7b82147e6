//! Judges that are revoked, leave or fall silent.

use super::*;

#[test]
fn judges_that_are_revoked_count_no_more_and_do_not_hold_a_build_up() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    for judge in 0..3 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    bench.revoke(3, None);
    assert_eq!(bench.status(id), &BuildStatus::Revealing, "nobody else is to be waited for");
    assert_eq!(states(&bench, id)[3], JudgeState::Left);
    bench.commit(0, bench.revelation(0, id, built(b"image")));
    bench.commit(1, bench.revelation(1, id, built(b"image")));
    bench.revoke(1, None);
    assert_eq!(bench.status(id), &BuildStatus::Failed, "two are left, and it takes three of the four judges");
    let late = bench.try_commit(1, bench.revelation(1, id, built(b"image")));
    assert_eq!(late, Err(Refusal::LeftJudges { author: bench.node(1), build_id: id }));
    bench.reauthorize(1);
    let dispute = BuildDisputed { build_id: id, report: DisputeReport { comparisons: vec![], omitted: 0 } };
    let returned = bench.try_commit(1, Event::BuildDisputed(dispute));
    assert_eq!(returned, Err(Refusal::LeftJudges { author: bench.node(1), build_id: id }), "who left does not come back to it");
}

/// One judge left and another one is dead: those that still answer are just a majority, and not of those that are waited for.
#[test]
fn a_build_comes_to_an_end_when_a_judge_left_and_another_one_is_silent() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(1);
    bench.revoke(0, None);
    for judge in [1, 2] {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    let wait = |phase| Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase });
    bench.commit(1, wait(WaitPhase::Committing));
    assert_eq!(bench.status(id), &BuildStatus::Committing, "one of three may not hurry the others");
    bench.commit(2, wait(WaitPhase::Committing));
    assert_eq!(bench.status(id), &BuildStatus::Failed, "it still takes three of the four judges to agree");
    assert_eq!(states(&bench, id)[3], JudgeState::TimedOut);
    let again = bench.open_build(1);
    bench.judge(again, &[(1, built(b"image")), (2, built(b"image"))]);
    assert_eq!(bench.status(again), &BuildStatus::Agreed { added: 0 });
}

#[test]
fn a_wait_that_was_one_too_few_is_over_when_a_judge_leaves() {
    let mut bench = Bench::with_members(5);
    let id = bench.open_build(0);
    for judge in 0..5 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    for judge in [0, 1] {
        bench.commit(judge, Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Revealing }));
    }
    bench.revoke(4, None);
    assert_eq!(bench.status(id), &BuildStatus::Revealing, "two of four are not more than half of them");
    bench.revoke(3, None);
    assert_eq!(bench.status(id), &BuildStatus::Failed);
    assert!(build(&bench, id).withheld_at.is_some());
}

/// The lone judge of the request is dead, and others have become authorized: nobody judges, and the network is alive.
#[test]
fn a_build_comes_to_an_end_without_its_judges_when_most_authorized_nodes_have_waited() {
    let mut bench = Bench::with_members(1);
    let id = bench.open_build(0);
    bench.reauthorize(1);
    bench.reauthorize(2);
    let wait = |phase| Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase });
    assert_eq!(bench.try_commit(3, wait(WaitPhase::Committing)), Err(Refusal::NotAuthorized { author: bench.node(3) }));
    bench.commit(1, wait(WaitPhase::Committing));
    let twice = bench.try_commit(1, wait(WaitPhase::Committing));
    assert_eq!(twice, Err(Refusal::WaitEndedAlready { author: bench.node(1), build_id: id }));
    assert_eq!(bench.status(id), &BuildStatus::Committing, "one of three authorized nodes, and no judge");
    bench.commit(2, wait(WaitPhase::Committing));
    assert_eq!(bench.status(id), &BuildStatus::Failed);
    assert_eq!(states(&bench, id), [JudgeState::TimedOut]);
    let again = bench.open_build(1);
    assert_eq!(build(&bench, again).judges.len(), 3);
    bench.judge(again, &[(1, built(b"image")), (2, built(b"image"))]);
    assert_eq!(bench.status(again), &BuildStatus::Agreed { added: 0 });
}

/// Three of five judges are left, and two of them withhold what they committed to.
#[test]
fn judges_that_withhold_hold_nothing_up_when_most_authorized_nodes_have_waited() {
    let mut bench = Bench::with_members(5);
    let id = bench.open_build(0);
    for judge in 0..5 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    bench.revoke(4, None);
    bench.revoke(3, None);
    for joining in [3, 5, 6] {
        bench.reauthorize(joining);
    }
    bench.commit(0, bench.revelation(0, id, built(b"image")));
    let wait = || Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Revealing });
    for node in [0, 3, 5] {
        bench.commit(node, wait());
    }
    assert_eq!(bench.status(id), &BuildStatus::Revealing, "one of three judges, three of six authorized nodes");
    bench.revoke(5, None);
    assert_eq!(bench.status(id), &BuildStatus::Revealing, "who leaves takes its word along");
    bench.commit(6, wait());
    assert_eq!(bench.status(id), &BuildStatus::Failed, "three of five authorized nodes, and nobody published anything");
    assert_eq!(bench.state.builds.tally(&bench.node(1)).withheld, 1);
    let late = bench.try_commit(3, bench.revelation(3, id, built(b"image")));
    assert_eq!(late, Err(Refusal::LeftJudges { author: bench.node(3), build_id: id }), "who left judges no more");
}

#[test]
fn a_wait_that_was_one_too_few_is_over_when_another_authorized_node_leaves() {
    let mut bench = Bench::with_members(1);
    let id = bench.open_build(0);
    for joining in 1..5 {
        bench.reauthorize(joining);
    }
    for node in [1, 2] {
        bench.commit(node, Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Committing }));
    }
    bench.revoke(4, None);
    assert_eq!(bench.status(id), &BuildStatus::Committing, "two of four");
    bench.revoke(3, None);
    assert_eq!(bench.status(id), &BuildStatus::Failed, "two of three");
}

#[test]
fn a_judge_that_is_revoked_when_all_is_over_says_nothing_more() {
    let mut bench = Bench::with_members(4);
    let disputed = bench.open_build(0);
    let results = [b"one", b"two", b"six", b"ten"].map(|contents| built(contents));
    bench.judge(disputed, &results.into_iter().enumerate().collect::<Vec<_>>());
    let agreed = bench.open_build(0);
    bench.judge(agreed, &[(0, built(b"image")), (1, built(b"image")), (2, built(b"image"))]);
    let addition = bench.additions(agreed)[0].clone();
    bench.revoke(3, None);
    let node = bench.node(3);
    assert_eq!(states(&bench, agreed)[3], JudgeState::TimedOut, "what stands on record stays");
    let report = DisputeReport { comparisons: vec![], omitted: 0 };
    for (build_id, event) in [
        (agreed, bench.revelation(3, agreed, built(b"image"))),
        (agreed, addition),
        (disputed, Event::BuildDisputed(BuildDisputed { build_id: disputed, report })),
    ] {
        assert_eq!(bench.try_commit(3, event), Err(Refusal::LeftJudges { author: node, build_id }));
    }
}

#[test]
fn a_word_about_the_bytes_of_others_goes_with_the_judge_that_gave_it() {
    let mut bench = Bench::with_members(5);
    let id = bench.open_build(0);
    let noise = [b"a", b"b", b"c", b"d"].map(|noise| noisy(noise));
    bench.judge(id, &noise.into_iter().chain([failed()]).enumerate().collect::<Vec<_>>());
    let vouchers: Vec<usize> = (0..4).filter(|judge| bench.state.builds.must_vouch(&id, &bench.node(*judge))).collect();
    bench.commit(vouchers[0], vouch(&bench, id, Vouch::Same));
    bench.revoke(vouchers[0], None);
    bench.commit(vouchers[1], vouch(&bench, id, Vouch::Same));
    assert!(bench.state.builds.candidate(&id).is_some(), "two of five are left to stand for it");
    bench.commit(vouchers[2], vouch(&bench, id, Vouch::Same));
    assert_eq!(bench.status(id), &BuildStatus::Agreed { added: 0 });
    let left = bench.node(vouchers[0]);
    assert_eq!(bench.state.builds.supporters(&id).len(), 3);
    assert!(bench.state.builds.supporters(&id).iter().all(|(node, _)| *node != left));
}

#[test]
fn an_agreement_that_nobody_is_left_to_publish_does_not_block_the_package() {
    let mut bench = Bench::with_members(1);
    let id = bench.open_build(0);
    bench.judge(id, &[(0, built(b"image"))]);
    assert_eq!(bench.status(id), &BuildStatus::Agreed { added: 0 });
    let additions = bench.additions(id);
    for node in [1, 2] {
        bench.reauthorize(node);
    }
    bench.revoke(0, None);
    assert_eq!(bench.status(id), &BuildStatus::Failed);
    assert!(matches!(bench.try_commit(1, additions[0].clone()), Err(Refusal::NotJudge { .. })));
    bench.open_build(1);
}
