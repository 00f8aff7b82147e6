mod bounds;
mod leaving;
mod oracle;
mod vouching;

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
            let copied = Event::BuildResultRevealed(BuildResultRevealed { build_id: id, outcome: outcome.clone().into(), salt });
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
