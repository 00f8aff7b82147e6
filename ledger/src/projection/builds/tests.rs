mod oracle;

use super::{Build, BuildStatus, Builds, JudgeState, Tally};
use crate::Refusal;
use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::{
    AddArtifact, BuildCandidateVouched, BuildDisputed, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed,
    BuildWaitEnded, DISPUTE_COMPARISONS_MAX, DISPUTE_DIFFERENCES_MAX, DisputeReport, Event, GroupComparison, GroupVerdict,
    ReportedDifference, Vouch, WaitPhase,
};
use crate::policy::UNFINISHED_BUILDS_PER_NODE_MAX;
use crate::projection::tests::{Bench, MODULE, alpine, artifact, built, salt, source};

fn failed() -> BuildOutcome {
    BuildOutcome::Failed { reason: "no such image".into() }
}

/// The image with noise that its verifier forgives, or with what somebody claims to be such.
fn noisy(contents: &[u8]) -> BuildOutcome {
    let BuildOutcome::Built { source, mut artifacts } = built(b"image") else { unreachable!("it is built") };
    artifacts[0].sha256 = Sha256Digest::of(contents);
    BuildOutcome::Built { source, artifacts }
}

fn build(bench: &Bench, id: BuildId) -> &Build {
    bench.state.builds.get(&id).expect("the build is known")
}

fn states(bench: &Bench, id: BuildId) -> Vec<JudgeState> {
    (0..build(bench, id).judges.len()).map(|judge| bench.state.builds.judge_state(&id, &bench.node(judge))).collect()
}

fn vouch(bench: &Bench, build_id: BuildId, verdict: Vouch) -> Event {
    let BuildStatus::Vouching { candidate } = *bench.status(build_id) else { panic!("{:?}", bench.status(build_id)) };
    Event::BuildCandidateVouched(BuildCandidateVouched { build_id, candidate, verdict })
}

fn different() -> Vouch {
    Vouch::Different { reason: "another file".into() }
}

fn publish(bench: &mut Bench, build_id: BuildId, author: usize) {
    for event in bench.additions(build_id) {
        bench.commit(author, event);
    }
}

#[test]
fn nothing_is_published_without_an_absolute_majority_of_the_frozen_set() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(2);
    let early =
        Event::AddArtifact(AddArtifact { build_id: id, coordinate: alpine(), artifact: artifact("alpine:3.16.0", b"image") });
    let outcomes = [built(b"image"), built(b"image"), built(b"evil"), built(b"image")];
    for (judge, outcome) in outcomes.iter().enumerate() {
        assert_eq!(bench.try_commit(0, early.clone()), Err(Refusal::NotAgreed(id)));
        bench.commit(judge, bench.commitment(judge, id, outcome));
    }
    for (judge, outcome) in outcomes.iter().enumerate() {
        assert_eq!(bench.try_commit(0, early.clone()), Err(Refusal::NotAgreed(id)), "{judge} of four is no majority");
        bench.commit(judge, bench.revelation(judge, id, outcome.clone()));
    }
    let forged = AddArtifact { build_id: id, coordinate: alpine(), artifact: artifact("alpine:3.16.0", b"evil") };
    assert!(matches!(bench.try_commit(2, Event::AddArtifact(forged)), Err(Refusal::OtherArtifact { .. })));
    let name = ArtifactId::new("alpine:3.16.0").expect("an id");
    for event in bench.additions(id) {
        assert!(bench.state.packages.artifact(&alpine().package_type, &name).is_none(), "a package appears whole or not at all");
        bench.commit(3, event);
    }
    assert!(matches!(bench.status(id), BuildStatus::Published { .. }));
    let (_, record) = bench.state.packages.artifact(&alpine().package_type, &name).expect("published");
    assert_eq!(record.artifact.sha256, Sha256Digest::of(b"image"));
    assert_eq!(states(&bench, id), [JudgeState::Agrees, JudgeState::Agrees, JudgeState::Dissents, JudgeState::Agrees]);
    assert_eq!(bench.state.builds.tally(&bench.node(2)), Tally { dissented: 1, ..Tally::default() });
    assert_eq!(bench.state.builds.tally(&bench.node(3)), Tally { agreed: 1, ..Tally::default() });
    assert!(matches!(bench.try_commit(0, early), Err(Refusal::AddedAlready { .. })));
}

#[test]
fn a_commitment_binds_its_author_and_is_worthless_to_others() {
    let mut bench = Bench::with_members(3);
    let id = bench.open_build(0);
    let first = bench.commitment(0, id, &built(b"image"));
    bench.commit(0, first.clone());
    // The second copies what the first committed to, before it knows the result.
    bench.commit(1, first);
    assert_eq!(
        bench.try_commit(0, bench.commitment(0, id, &built(b"other"))),
        Err(Refusal::CommittedAlready { author: bench.node(0), build_id: id })
    );
    let early = bench.try_commit(0, bench.revelation(0, id, built(b"image")));
    assert!(matches!(early, Err(Refusal::TooEarly { .. })) && !early.expect_err("too early").is_for_good());
    bench.commit(2, bench.commitment(2, id, &failed()));
    bench.commit(0, bench.revelation(0, id, built(b"image")));
    for outcome in [built(b"image"), built(b"other"), failed()] {
        for salt in [salt(0), salt(1)] {
            let copied = Event::BuildResultRevealed(BuildResultRevealed { build_id: id, outcome: outcome.clone(), salt });
            assert_eq!(bench.try_commit(1, copied), Err(Refusal::OtherResult { author: bench.node(1), build_id: id }));
        }
    }
    bench.commit(2, bench.revelation(2, id, failed()));
    bench.end_wait(id, WaitPhase::Revealing);
    assert_eq!(bench.status(id), &BuildStatus::Failed, "one of three built it");
    assert_eq!(states(&bench, id), [JudgeState::Revealed, JudgeState::Withheld, JudgeState::Failed]);
    assert_eq!(bench.state.builds.tally(&bench.node(1)).withheld, 1);
}

#[test]
fn judges_that_do_not_answer_are_waited_for_by_the_majority_and_are_on_record() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    for judge in 0..3 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    assert_eq!(bench.status(id), &BuildStatus::Committing, "the fourth may still be at work");
    let end = Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Committing });
    let ahead = Event::BuildWaitEnded(BuildWaitEnded { build_id: id, phase: WaitPhase::Revealing });
    assert!(matches!(bench.try_commit(1, ahead), Err(Refusal::TooEarly { .. })));
    bench.commit(1, end.clone());
    assert_eq!(bench.try_commit(1, end.clone()), Err(Refusal::WaitEndedAlready { author: bench.node(1), build_id: id }));
    bench.commit(0, end.clone());
    assert_eq!(bench.state.builds.waits(&id).len(), 2);
    assert_eq!(bench.status(id), &BuildStatus::Committing, "two of four may not hurry the others");
    bench.commit(2, end.clone());
    let over = bench.state.height();
    assert_eq!(bench.status(id), &BuildStatus::Revealing);
    assert_eq!((build(&bench, id).timed_out_at, build(&bench, id).revealing_at), (Some(over), Some(over)));
    assert!(matches!(bench.try_commit(3, end), Err(Refusal::TooLate { .. })));
    assert!(matches!(bench.try_commit(3, bench.commitment(3, id, &built(b"image"))), Err(Refusal::TooLate { .. })));
    bench.commit(3, bench.revelation(3, id, built(b"image")));
    for judge in 0..2 {
        bench.commit(judge, bench.revelation(judge, id, built(b"image")));
        assert_eq!(bench.status(id), &BuildStatus::Revealing, "a late result counts nothing: three of four it takes");
    }
    bench.commit(2, bench.revelation(2, id, built(b"image")));
    assert_eq!(bench.status(id), &BuildStatus::Agreed { added: 0 });
    assert_eq!(states(&bench, id)[3], JudgeState::Late);
    assert_eq!(bench.state.builds.agreeing(&id).len(), 3);
    let revealed = bench.state.builds.result(&id, &bench.node(3)).expect("on record");
    assert!(!revealed.counted);
}

#[test]
fn a_build_without_a_possible_majority_is_closed_and_can_be_asked_for_again() {
    let mut bench = Bench::with_members(2);
    let id = bench.open_build(0);
    assert!(matches!(bench.try_commit(1, bench.request()), Err(Refusal::BuildOpen { .. })));
    bench.judge(id, &[(0, built(b"one")), (1, built(b"another"))]);
    assert_eq!(bench.status(id), &BuildStatus::Disputed { reports: 0 });
    assert_eq!(bench.state.builds.unfinished_count(), 1, "somebody has to say why");
    let again = bench.open_build(1);
    assert_ne!(again, id);
    bench.judge(again, &[(1, failed()), (0, built(b"late"))]);
    assert_eq!(bench.status(again), &BuildStatus::Failed, "the one that is left cannot be a majority of two");
    assert!(bench.state.builds.result(&again, &bench.node(0)).expect("on record").counted);
    assert_eq!(bench.state.builds.tally(&bench.node(1)).failed, 1);
    bench.open_build(0);
}

#[test]
fn nothing_said_after_the_end_changes_what_is_published() {
    let mut bench = Bench::with_members(3);
    let id = bench.open_build(0);
    let outcomes = [built(b"image"), built(b"image"), built(b"other")];
    for (judge, outcome) in outcomes.iter().enumerate() {
        bench.commit(judge, bench.commitment(judge, id, outcome));
    }
    for judge in 0..2 {
        bench.commit(judge, bench.revelation(judge, id, built(b"image")));
    }
    let (agreement, additions) = (build(&bench, id).agreement.clone(), bench.additions(id));
    assert_eq!(states(&bench, id)[2], JudgeState::Committed, "nobody refused to wait for it");
    bench.commit(2, bench.revelation(2, id, built(b"other")));
    assert_eq!(states(&bench, id)[2], JudgeState::Dissents);
    assert_eq!(bench.state.builds.tally(&bench.node(2)), Tally { dissented: 1, ..Tally::default() });
    assert_eq!((build(&bench, id).agreement.clone(), bench.additions(id)), (agreement, additions));
    let again = bench.try_commit(2, bench.revelation(2, id, built(b"other")));
    assert_eq!(again, Err(Refusal::RevealedAlready { author: bench.node(2), build_id: id }));
    publish(&mut bench, id, 2);
    assert!(matches!(bench.status(id), BuildStatus::Published { .. }));
}

#[test]
fn bytes_that_differ_are_published_when_a_majority_looked_at_them() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    bench.judge(id, &[(0, noisy(b"a")), (1, noisy(b"b")), (2, noisy(b"b")), (3, failed())]);
    let candidate = bench.state.builds.candidate(&id).expect("three of four came to the same canonical result");
    assert_eq!(candidate.judges.len(), 2, "the bytes of most come first");
    let (voucher, builder) = (0, 1);
    assert!(bench.state.builds.must_vouch(&id, &bench.node(voucher)));
    assert!(!bench.state.builds.must_vouch(&id, &bench.node(builder)) && !bench.state.builds.must_vouch(&id, &bench.node(3)));
    let same = vouch(&bench, id, Vouch::Same);
    for judge in [builder, 3] {
        assert_eq!(bench.try_commit(judge, same.clone()), Err(Refusal::NoVoucher { author: bench.node(judge), build_id: id }));
    }
    bench.commit(voucher, same.clone());
    assert_eq!(bench.status(id), &BuildStatus::Agreed { added: 0 });
    assert!(matches!(bench.try_commit(voucher, same), Err(Refusal::TooLate { .. })));
    assert_eq!(states(&bench, id), [JudgeState::AgreesAfterPasses, JudgeState::Agrees, JudgeState::Agrees, JudgeState::Failed]);
    let (_, chosen) = bench.state.builds.chosen(&id).expect("agreed");
    assert_eq!(chosen[0].sha256, Sha256Digest::of(b"b"));
    assert_eq!(bench.state.builds.supporters(&id).len(), 3);
    publish(&mut bench, id, 0);
}

#[test]
fn a_result_that_was_withheld_comes_too_late_to_count() {
    let mut bench = Bench::with_members(5);
    let id = bench.open_build(0);
    let outcomes = [noisy(b"a"), noisy(b"b"), noisy(b"c"), failed(), noisy(b"a")];
    for (judge, outcome) in outcomes.iter().enumerate() {
        bench.commit(judge, bench.commitment(judge, id, outcome));
    }
    for (judge, outcome) in outcomes.iter().enumerate().take(4) {
        bench.commit(judge, bench.revelation(judge, id, outcome.clone()));
    }
    bench.end_wait(id, WaitPhase::Revealing);
    let candidate = bench.state.builds.candidate(&id).expect("three of five").result;
    bench.commit(4, bench.revelation(4, id, noisy(b"a")));
    assert_eq!(bench.status(id), &BuildStatus::Vouching { candidate });
    assert!(bench.state.builds.groups(&id).iter().all(|group| group.judges.len() == 1));
    assert!(!bench.state.builds.must_vouch(&id, &bench.node(4)));
    assert_eq!(states(&bench, id)[4], JudgeState::Late);
}

/// One judge claims the others' canonical digests for bytes of its own.
#[test]
fn a_liar_cannot_get_his_bytes_published_by_claiming_the_canonical_digest_of_others() {
    for liar in 0..3 {
        let mut bench = Bench::with_members(3);
        let id = bench.open_build(0);
        let claimed = |judge: usize| if judge == liar { noisy(b"evil") } else { noisy(&[judge as u8]) };
        bench.judge(id, &[(0, claimed(0)), (1, claimed(1)), (2, claimed(2))]);
        // Every honest judge says what it finds when it looks at the bytes; the liar swears to everything.
        while let BuildStatus::Vouching { candidate } = *bench.status(id) {
            let is_evil = bench.state.builds.candidate(&id).expect("vouching").artifacts[0].sha256 == Sha256Digest::of(b"evil");
            for judge in 0..3 {
                let is_current = bench.status(id) == &BuildStatus::Vouching { candidate };
                if is_current && bench.state.builds.must_vouch(&id, &bench.node(judge)) {
                    let verdict = if is_evil && judge != liar { different() } else { Vouch::Same };
                    bench.commit(judge, vouch(&bench, id, verdict));
                }
            }
        }
        let (_, chosen) = bench.state.builds.chosen(&id).expect("two honest judges of three");
        assert_ne!(chosen[0].sha256, Sha256Digest::of(b"evil"));
    }
}

#[test]
fn candidates_come_one_after_the_other_and_end_in_a_dispute() {
    let mut bench = Bench::with_members(3);
    let id = bench.open_build(0);
    bench.judge(id, &[(0, noisy(b"a")), (1, noisy(b"b")), (2, noisy(b"c"))]);
    let mut tried = vec![];
    while let BuildStatus::Vouching { candidate } = *bench.status(id) {
        tried.push(candidate);
        let vouchers: Vec<usize> = (0..3).filter(|judge| bench.state.builds.must_vouch(&id, &bench.node(*judge))).collect();
        assert_eq!(vouchers.len(), 2);
        if tried.len() == 2 {
            // Nobody says anything about the second: the judges stop waiting.
            bench.end_wait(id, WaitPhase::Vouching { candidate });
            continue;
        }
        bench.commit(vouchers[0], vouch(&bench, id, different()));
        assert_eq!(bench.status(id), &BuildStatus::Vouching { candidate }, "the other one could still make it two of three");
        bench.commit(vouchers[1], vouch(&bench, id, Vouch::Unavailable { reason: "nobody has it".into() }));
    }
    assert_eq!(bench.status(id), &BuildStatus::Disputed { reports: 0 });
    assert!(tried.is_sorted() && tried.len() == 3, "of as many judges the smallest digest first");
    assert_eq!(bench.state.builds.vouches(&id).len(), 4);
    assert_eq!(bench.state.builds.groups(&id).len(), 3);
}

#[test]
fn mirrors_of_one_source_are_the_same_and_no_single_judge_names_it() {
    let mut bench = Bench::with_members(5);
    let id = bench.open_build(0);
    let from = |location| {
        let BuildOutcome::Built { artifacts, .. } = built(b"image") else { unreachable!("it is built") };
        BuildOutcome::Built { source: source(location), artifacts }
    };
    let named = ["a lie", "file:///alpine", "file:///alpine", "a lie", "a lie"];
    bench.judge(id, &named.map(from).into_iter().enumerate().collect::<Vec<_>>());
    // The first three agree already; what the others name comes too late.
    assert_eq!(bench.state.builds.chosen(&id).expect("agreed").0.location, "file:///alpine");
    assert_eq!(bench.state.builds.agreeing(&id).len(), 5);
}

#[test]
fn judges_are_those_of_the_request() {
    let mut bench = Bench::with_members(1);
    let id = bench.open_build(0);
    bench.commit(0, bench.approval(1));
    bench.activate(1);
    let stranger = bench.try_commit(1, bench.commitment(1, id, &built(b"x")));
    assert_eq!(stranger, Err(Refusal::NotJudge { author: bench.node(1), build_id: id }));
    bench.judge(id, &[(0, built(b"x"))]);
    assert_eq!(bench.status(id), &BuildStatus::Agreed { added: 0 });
}

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

#[test]
fn a_dispute_is_reported_by_each_judge_once_and_within_bounds() {
    let mut bench = Bench::with_members(2);
    let id = bench.open_build(0);
    let (a, b) = (bench.node(0), bench.node(1));
    let difference = ReportedDifference {
        artifact: "alpine:3.16.0".into(),
        path: vec!["layer".into()],
        what: "bytes".into(),
        a: Some("x".into()),
        b: None,
    };
    let comparison =
        GroupComparison { a, b, verdict: GroupVerdict::Different, differences: vec![difference.clone()], omitted: 0 };
    let report = DisputeReport { comparisons: vec![comparison.clone()], omitted: 0 };
    let event = |report: &DisputeReport| Event::BuildDisputed(BuildDisputed { build_id: id, report: report.clone() });
    assert_eq!(bench.try_commit(0, event(&report)), Err(Refusal::NotDisputed(id)));
    bench.judge(id, &[(0, built(b"one")), (1, built(b"two"))]);
    let changed = |change: &dyn Fn(&mut GroupComparison)| {
        let mut comparison = comparison.clone();
        change(&mut comparison);
        event(&DisputeReport { comparisons: vec![comparison], omitted: 0 })
    };
    let long = Refusal::Text { size_bytes: 257, limit_bytes: 256 };
    for (wrong, refusal) in [
        (changed(&|c| c.b = a), None),
        (changed(&|c| c.differences = vec![difference.clone(); DISPUTE_DIFFERENCES_MAX + 1]), None),
        (changed(&|c| c.differences[0].path = vec!["in".into(); 33]), None),
        (changed(&|c| c.verdict = GroupVerdict::SameAfter { passes: vec!["pass".into(); 33] }), None),
        (event(&DisputeReport { comparisons: vec![comparison.clone(); 2], omitted: 0 }), None),
        (event(&DisputeReport { comparisons: vec![comparison.clone(); DISPUTE_COMPARISONS_MAX + 1], omitted: 0 }), None),
        (changed(&|c| c.differences[0].what = "x".repeat(257)), Some(long)),
        (changed(&|c| c.differences[0].a = Some("\u{1b}[2J".into())), Some(Refusal::ControlCharacter)),
        (changed(&|c| c.differences[0].path = vec!["\n".into()]), Some(Refusal::ControlCharacter)),
        (changed(&|c| c.verdict = GroupVerdict::Undecidable { reason: "\u{7}".into() }), Some(Refusal::ControlCharacter)),
        (changed(&|c| c.verdict = GroupVerdict::SameAfter { passes: vec!["\t".into()] }), Some(Refusal::ControlCharacter)),
    ] {
        let refused = bench.try_commit(0, wrong).expect_err("no such report");
        assert!(refusal.map_or(matches!(refused, Refusal::Report { .. }), |expected| expected == refused), "{refused:?}");
    }
    bench.commit(0, event(&report));
    assert_eq!(bench.try_commit(0, event(&report)), Err(Refusal::ReportedAlready { author: a, build_id: id }));
    bench.commit(1, event(&report));
    assert_eq!(bench.status(id), &BuildStatus::Disputed { reports: 2 });
    assert_eq!(bench.state.builds.unfinished_count(), 0);
    assert!(bench.state.builds.disputes(&id).all(|(_, dispute)| dispute.report == report));
}

#[test]
fn a_text_that_would_move_a_terminals_cursor_is_refused() {
    let mut bench = Bench::with_members(3);
    let id = bench.open_build(0);
    for (reason, refusal) in [
        ("\u{1b}[2J".to_owned(), Refusal::ControlCharacter),
        ("two\nlines".to_owned(), Refusal::ControlCharacter),
        ("x".repeat(1_025), Refusal::Text { size_bytes: 1_025, limit_bytes: 1_024 }),
    ] {
        let revelation = bench.revelation(0, id, BuildOutcome::Failed { reason: reason.clone() });
        assert_eq!(bench.try_commit(0, revelation), Err(refusal.clone()));
        let verdict = Vouch::Unavailable { reason };
        let vouched = BuildCandidateVouched { build_id: id, candidate: Sha256Digest::of(b"any"), verdict };
        assert_eq!(bench.try_commit(0, Event::BuildCandidateVouched(vouched)), Err(refusal));
    }
    let outcome = BuildOutcome::Failed { reason: "größer als erlaubt".into() };
    bench.judge(id, &[(0, outcome.clone()), (1, outcome.clone()), (2, outcome)]);
    assert_eq!(bench.status(id), &BuildStatus::Failed);
}

/// What the predecessor did: its leader published alone.
#[test]
fn builder_and_leader_that_disagree_publish_nothing() {
    let mut bench = Bench::with_members(2);
    let id = bench.open_build(0);
    bench.judge(id, &[(0, built(b"leader")), (1, built(b"builder"))]);
    for contents in [b"leader".as_slice(), b"builder"] {
        let alone = AddArtifact { build_id: id, coordinate: alpine(), artifact: artifact("alpine:3.16.0", contents) };
        assert_eq!(bench.try_commit(0, Event::AddArtifact(alone)), Err(Refusal::NotAgreed(id)));
    }
}

/// What the predecessor did: the same wish twice within a minute was built twice.
#[test]
fn the_same_wish_from_two_nodes_is_one_build() {
    let bench = Bench::with_members(2);
    let wishes = [bench.sign(0, bench.request()), bench.sign(1, bench.request())];
    let proposal = bench.state.propose(bench.node(0), 0, &wishes);
    assert_eq!(proposal.block.events.len(), 1);
    assert!(matches!(proposal.refused[0].1, Refusal::Attempt { .. }));
    assert_eq!(proposal.next.builds.iter().count(), 1);
}

#[test]
fn one_node_cannot_open_builds_without_end() {
    let mut bench = Bench::with_members(3);
    let request = |bench: &Bench, author: usize, at: usize| {
        let coordinate = PackageCoordinate::new("docker", &format!("alpine:{at}")).expect("a coordinate");
        let build_id = bench.state.next_build_id(&coordinate);
        let request = BuildRequested { build_id, coordinate, attempt: 0, verifier: MODULE, source: None };
        bench.sign(author, Event::BuildRequested(request))
    };
    for at in 0..UNFINISHED_BUILDS_PER_NODE_MAX {
        let signed = request(&bench, 0, at);
        bench.state = bench.state.propose(bench.node(0), 0, [&signed]).next;
    }
    assert_eq!(bench.state.builds.unfinished_of(&bench.node(0)), UNFINISHED_BUILDS_PER_NODE_MAX);
    let more = request(&bench, 0, UNFINISHED_BUILDS_PER_NODE_MAX);
    let refused = bench.state.check(&more).expect_err("that many");
    assert_eq!((&refused, refused.is_for_good()), (&Refusal::TooManyBuilds { author: bench.node(0) }, false));
    assert_eq!(bench.state.check(&request(&bench, 1, UNFINISHED_BUILDS_PER_NODE_MAX)), Ok(()), "others may go on");
    let (id, _) = bench.state.builds.unfinished().next().expect("one of them");
    let id = *id;
    for judge in 0..3 {
        bench.commit(judge, bench.commitment(judge, id, &failed()));
    }
    for judge in 0..2 {
        bench.commit(judge, bench.revelation(judge, id, failed()));
    }
    assert_eq!(bench.status(id), &BuildStatus::Failed);
    assert_eq!(bench.state.check(&request(&bench, 0, UNFINISHED_BUILDS_PER_NODE_MAX)), Ok(()), "one of them is done with");
}

#[test]
fn a_commitment_to_nothing_known_is_refused() {
    let mut bench = Bench::with_members(1);
    let build_id = BuildId::of(bench.state.network(), &alpine(), 7);
    let commitment = Sha256Digest::of(b"any");
    let unknown = bench.try_commit(0, Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }));
    assert_eq!(unknown, Err(Refusal::UnknownBuild(build_id)));
    assert_eq!(Builds::new().judge_state(&build_id, &bench.node(0)), JudgeState::Building);
}
