//! Answers of components that are not what the contract promises, and hashers they were not given.

use pyrsia_verifiers::{Abstention, Comparison, HttpTarget, Limits, Outcome, VerifierHost, limits};

use crate::image::Output;
use crate::sandbox::{Bodies, CRASHING, TIGHT, TIGHT_HOST, UNREACHABLE, tight};

#[track_caller]
fn compared(body: &str) -> Outcome<Comparison> {
    let (_folder, files) = Output(vec![("a".into(), vec![1]), ("b".into(), vec![2])]).lend();
    let verifier = TIGHT_HOST.load(&Bodies { compare: body, ..CRASHING }.component()).unwrap();
    verifier.compare(None, &files[..1], &files[1..])
}

#[track_caller]
fn check_broken<T: std::fmt::Debug + PartialEq>(outcome: Outcome<T>) {
    assert!(matches!(outcome, Outcome::Abstained(Abstention::BrokenContract(_))), "{outcome:?}");
}

#[test]
fn a_comparison_is_handed_on_as_it_was_answered() {
    assert_eq!(compared("(i32.const 704)"), Outcome::Done(Comparison::Identical));
    let passes = "(i32.store8 (i32.const 704) (i32.const 1)) (i32.store (i32.const 712) (i32.const 512)) (i32.store (i32.const 716) (i32.const 1)) (i32.const 704)";
    assert_eq!(compared(passes), Outcome::Done(Comparison::SameAfter { passes: vec!["test".into()] }));
}

#[test]
fn the_same_after_no_pass_or_an_unknown_one_is_not_believed() {
    check_broken(compared("(i32.store8 (i32.const 704) (i32.const 1)) (i32.const 704)"));
    let unknown = "(i32.store (i32.const 512) (i32.const 257)) (i32.store (i32.const 516) (i32.const 3)) \
        (i32.store8 (i32.const 704) (i32.const 1)) (i32.store (i32.const 712) (i32.const 512)) (i32.store (i32.const 716) (i32.const 1)) (i32.const 704)";
    check_broken(compared(unknown));
}

#[test]
fn a_report_of_nothing_or_of_too_much_is_not_believed() {
    check_broken(compared("(i32.store8 (i32.const 704) (i32.const 2)) (i32.const 704)"));
    // Differences of 48 bytes each, all of them zeros, the first with a path of some names.
    let report = |differences: usize, names: usize| {
        compared(&format!(
            "(drop (memory.grow (i32.const 4))) (i32.store8 (i32.const 704) (i32.const 2)) (i32.store (i32.const 712) (i32.const 65536)) \
            (i32.store (i32.const 716) (i32.const {differences})) (i32.store (i32.const 65544) (i32.const 131072)) \
            (i32.store (i32.const 65548) (i32.const {names})) (i32.const 704)"
        ))
    };
    let most = report(limits::DIFFERENCES_MAX, limits::DIFFERENCE_PATH_MAX);
    assert!(matches!(most, Outcome::Done(Comparison::Different(_))), "{most:?}");
    check_broken(report(limits::DIFFERENCES_MAX + 1, 0));
    check_broken(report(1, limits::DIFFERENCE_PATH_MAX + 1));
    let huge = "(i32.store8 (i32.const 704) (i32.const 2)) (i32.store (i32.const 712) (i32.const 65536)) (i32.store (i32.const 716) (i32.const 0x7fffffff)) (i32.const 704)";
    assert!(matches!(compared(huge), Outcome::Abstained(_)));
    // Neither of the four answers.
    assert!(matches!(
        compared("(i32.store8 (i32.const 704) (i32.const 4)) (i32.const 704)"),
        Outcome::Abstained(Abstention::Trap(_))
    ));
}

#[test]
fn every_file_has_one_canonical_form() {
    let (_folder, files) = Output(vec![("a".into(), vec![1])]).lend();
    let none = "(i32.const 704)";
    let verifier = TIGHT_HOST.load(&Bodies { canonicalize: none, ..CRASHING }.component()).unwrap();
    check_broken(verifier.canonicalize(None, &files));
    assert_eq!(verifier.canonicalize(None, &[]), Outcome::Done(vec![]));
}

#[test]
fn a_path_stands_for_what_the_ledger_can_hold_or_for_nothing() {
    let asked = |body| TIGHT_HOST.load(&Bodies { http_artifacts: body, ..CRASHING }.component()).unwrap().http_artifacts("/x");
    assert_eq!(asked("(i32.const 704)"), Outcome::Done(None));
    // Some artifact: `test` of the package `test`.
    let artifact = "(i32.store8 (i32.const 704) (i32.const 1)) (i32.store (i32.const 712) (i32.const 256)) (i32.store (i32.const 716) (i32.const 4)) \
        (i32.store (i32.const 720) (i32.const 256)) (i32.store (i32.const 724) (i32.const 4)) (i32.const 704)";
    let target = asked(artifact).done().flatten().unwrap();
    assert!(
        matches!(target, HttpTarget::Artifact { artifact_id, coordinate } if artifact_id.as_str() == "test" && coordinate.as_str() == "test")
    );
    check_broken(asked("(i32.store8 (i32.const 704) (i32.const 1)) (i32.const 704)"));
    // A document of every package there is.
    check_broken(asked("(i32.store8 (i32.const 704) (i32.const 1)) (i32.store8 (i32.const 708) (i32.const 1)) (i32.const 704)"));
}

#[test]
fn a_document_without_a_media_type_or_of_any_size_is_not_served() {
    let made = |body: &str| {
        let bodies = Bodies { http_document: body, ..CRASHING };
        TIGHT_HOST.load(&bodies.component()).unwrap().http_document("/x", "http://host/test", &[], &[])
    };
    check_broken(made("(i32.const 704)"));
    let large = "(i32.store (i32.const 708) (i32.const 256)) (i32.store (i32.const 712) (i32.const 4)) (drop (memory.grow (i32.const 40))) \
        (i32.store (i32.const 716) (i32.const 65536)) (i32.store (i32.const 720) (i32.const 0x200000)) (i32.const 704)";
    assert!(matches!(made(large), Outcome::Abstained(Abstention::OutputTooLarge { .. })));
    let sound = "(i32.store (i32.const 708) (i32.const 256)) (i32.store (i32.const 712) (i32.const 4)) \
        (i32.store (i32.const 716) (i32.const 256)) (i32.store (i32.const 720) (i32.const 4)) (i32.const 704)";
    assert_eq!(made(sound).done().unwrap().body, b"test");
}

#[test]
fn a_document_is_bounded_however_large_an_answer_may_be() {
    let host = VerifierHost::new(Limits { memory_bytes: 64 << 20, output_bytes: 64 << 20, ..TIGHT }).unwrap();
    let made = |len: usize| {
        let body = format!(
            "(i32.store (i32.const 708) (i32.const 256)) (i32.store (i32.const 712) (i32.const 4)) (drop (memory.grow (i32.const 200))) \
            (i32.store (i32.const 716) (i32.const 65536)) (i32.store (i32.const 720) (i32.const {len})) (i32.const 704)"
        );
        let verifier = host.load(&Bodies { http_document: &body, ..CRASHING }.component()).unwrap();
        verifier.http_document("/x", "http://host/test", &[], &[])
    };
    assert_eq!(made(limits::DOCUMENT_BYTES_MAX).done().unwrap().body.len(), limits::DOCUMENT_BYTES_MAX);
    let limit = limits::DOCUMENT_BYTES_MAX as u64;
    assert!(
        matches!(made(limits::DOCUMENT_BYTES_MAX + 1), Outcome::Abstained(Abstention::OutputTooLarge { limit: found }) if found == limit)
    );
}

#[test]
fn a_forged_closed_or_used_up_hasher_is_a_crash() {
    for body in [
        "(call $update (i32.const 7) (i32.const 0) (i32.const 1))",
        "(call $update (i32.const -1) (i32.const 0) (i32.const 1))",
        "(call $update (i32.const 0) (i32.const 0) (i32.const 1))",
        "(call $finish (i32.add (call $hasher) (i32.const 1)) (i32.const 704))",
        "(local $h i32) (local.set $h (call $hasher)) (call $finish (local.get $h) (i32.const 704)) (call $update (local.get $h) (i32.const 0) (i32.const 1))",
        "(local $h i32) (local.set $h (call $hasher)) (call $drop_hasher (local.get $h)) (call $drop_hasher (local.get $h))",
        "(call $update (call $hasher) (i32.const -8) (i32.const 4))",
    ] {
        let outcome = tight(&format!("{body} (i32.const 600)"), UNREACHABLE).parse_coordinate("x");
        assert!(matches!(outcome, Outcome::Abstained(Abstention::Trap(_))), "{body}: {outcome:?}");
    }
}

#[test]
fn hashers_are_as_bounded_as_all_else() {
    let hoarding = "(loop $on (drop (call $hasher)) (br $on)) (unreachable)";
    check_broken(tight(hoarding, UNREACHABLE).parse_coordinate("x"));
    let making = "(local $n i32) (loop $on (call $drop_hasher (call $hasher)) (local.set $n (i32.add (local.get $n) (i32.const 1))) \
        (br_if $on (i32.lt_u (local.get $n) (i32.const 1000)))) (i32.const 600)";
    assert_eq!(tight(making, UNREACHABLE).parse_coordinate("x"), Outcome::Done("test".into()), "one after the other");
    let past_the_end = "(call $update_from (call $hasher) (i32.const 0) (i64.const 0) (i64.const 1)) (unreachable)";
    check_broken(tight(past_the_end, UNREACHABLE).parse_coordinate("x"));
    let endless = "(local $h i32) (drop (memory.grow (i32.const 16))) (local.set $h (call $hasher)) \
        (loop $on (call $update (local.get $h) (i32.const 0) (i32.const 0x100000)) (br $on)) (unreachable)";
    let outcome = tight(endless, UNREACHABLE).parse_coordinate("x");
    assert_eq!(outcome, Outcome::Abstained(Abstention::OutOfHashing { limit: TIGHT.made_bytes }));
}
