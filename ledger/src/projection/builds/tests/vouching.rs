//! Results that differ in their bytes: who vouches for whose.

use super::*;

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
