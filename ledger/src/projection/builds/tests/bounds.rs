//! What a build may hold, and what is refused of whom.

use super::*;

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
