//! Components that loop, hoard, crash, lie and reach for what they are not given: each is stopped with its reason, and the host goes on.

use std::fs::File;
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pyrsia_verifiers::{Abstention, InputFile, Limits, LoadError, Outcome, Verifier, VerifierHost, limits};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use crate::image::Output;
use crate::{DOCKER, HOST};

/// Limits at which a test of them is quick.
pub(crate) const TIGHT: Limits = Limits {
    fuel: 50_000_000,
    memory_bytes: 8 << 20,
    table_elements: 100,
    output_bytes: 1 << 20,
    made_bytes: 16 << 20,
    deadline: Duration::from_secs(60),
};

pub(crate) static TIGHT_HOST: LazyLock<VerifierHost> = LazyLock::new(|| VerifierHost::new(TIGHT).unwrap());

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(10);

pub(crate) const UNREACHABLE: &str = "(unreachable)";

/// The bodies of a component's functions in the text format. It is described as a verifier of `test` with one pass of that name.
///
/// Linear memory: from 16 the description, at 256 the word `test`, at 512 a list with it, at 600 an answer "done" with it, at 640 the pass, from 704 room
/// for an answer, from 1024 free space.
#[derive(Clone, Copy)]
pub(crate) struct Bodies<'b> {
    pub(crate) parse_coordinate: &'b str,
    pub(crate) check: &'b str,
    pub(crate) canonicalize: &'b str,
    pub(crate) compare: &'b str,
    pub(crate) http_artifacts: &'b str,
    pub(crate) http_document: &'b str,
}

pub(crate) const CRASHING: Bodies<'static> = Bodies {
    parse_coordinate: UNREACHABLE,
    check: UNREACHABLE,
    canonicalize: UNREACHABLE,
    compare: UNREACHABLE,
    http_artifacts: UNREACHABLE,
    http_document: UNREACHABLE,
};

pub(crate) fn component(parse_coordinate: &str, check: &str) -> Vec<u8> {
    Bodies { parse_coordinate, check, ..CRASHING }.component()
}

impl Bodies<'_> {
    pub(crate) fn component(&self) -> Vec<u8> {
        let Self { parse_coordinate, check, canonicalize, compare, http_artifacts, http_document } = self;
        let module = format!(
            r#"(module
          (import "pyrsia:verifier/inputs@1.0.0" "read" (func $read (param i32 i64 i32 i32)))
          (import "pyrsia:verifier/inputs@1.0.0" "sha256" (func $sha256 (param i32 i64 i64 i32)))
          (import "pyrsia:verifier/inputs@1.0.0" "size" (func $size (param i32) (result i64)))
          (import "pyrsia:verifier/hashing@1.0.0" "[constructor]hasher" (func $hasher (result i32)))
          (import "pyrsia:verifier/hashing@1.0.0" "[method]hasher.update" (func $update (param i32 i32 i32)))
          (import "pyrsia:verifier/hashing@1.0.0" "[method]hasher.update-from" (func $update_from (param i32 i32 i64 i64)))
          (import "pyrsia:verifier/hashing@1.0.0" "[static]hasher.finish" (func $finish (param i32 i32)))
          (import "pyrsia:verifier/hashing@1.0.0" "[resource-drop]hasher" (func $drop_hasher (param i32)))
          (import "pyrsia:verifier/log@1.0.0" "line" (func $log (param i32 i32)))
          (memory (export "memory") 1)
          (table $table 1 funcref)
          (global $free (mut i32) (i32.const 1024))
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (i32.and (global.get $free) (i32.const -8))
            (global.set $free (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 8)))))
          (func (export "pyrsia:verifier/verification@1.0.0#describe") (result i32) (i32.const 16))
          (func $parse (export "pyrsia:verifier/verification@1.0.0#parse-coordinate") (param i32 i32) (result i32) {parse_coordinate})
          (func $check (export "pyrsia:verifier/verification@1.0.0#check") (param i32 i32) (result i32) {check})
          (func (export "pyrsia:verifier/verification@1.0.0#canonicalize") (param i32 i32 i32) (result i32) {canonicalize})
          (func (export "pyrsia:verifier/verification@1.0.0#compare") (param i32 i32 i32 i32) (result i32) {compare})
          (func (export "pyrsia:verifier/verification@1.0.0#http-artifacts") (param i32 i32) (result i32) {http_artifacts})
          (func (export "pyrsia:verifier/verification@1.0.0#http-document") (param i32 i32 i32 i32 i32 i32) (result i32) {http_document})
          (data (i32.const 16) "{text}{nothing}{text}\00\02\00\00\01\00\00\00\80\02\00\00\01\00\00\00{nothing}")
          (data (i32.const 256) "test")
          (data (i32.const 512) "{text}")
          (data (i32.const 600) "\00\00\00\00{text}")
          (data (i32.const 640) "{text}{text}"))"#,
            text = r"\00\01\00\00\04\00\00\00",
            nothing = r"\00\00\00\00\00\00\00\00",
        );
        let mut module = wat::parse_str(module).unwrap();
        let mut resolve = wit_parser::Resolve::default();
        let (package, _) = resolve.push_dir("../wit/v1").unwrap();
        let world = resolve.select_world(&[package], Some("verifier")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().validate(true).encode().unwrap()
    }
}

pub(crate) fn tight(parse_coordinate: &str, check: &str) -> Verifier {
    TIGHT_HOST.load(&component(parse_coordinate, check)).unwrap()
}

#[track_caller]
fn check_parse(body: &str, expected: impl FnOnce(&Outcome<String>) -> bool) {
    let outcome = tight(body, UNREACHABLE).parse_coordinate("test");
    assert!(expected(&outcome), "{outcome:?}");
    // The one before must leave no trace.
    assert_eq!(tight("(i32.const 600)", UNREACHABLE).parse_coordinate("x"), Outcome::Done("test".into()));
}

#[track_caller]
fn check_abstains(body: &str, expected: Abstention) {
    check_parse(body, |outcome| *outcome == Outcome::Abstained(expected));
}

/// A call on a thread that nobody waits for, so that one without an end fails its test and does not hold up the others.
fn begin<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> mpsc::Receiver<T> {
    let (sender, answer) = mpsc::channel();
    // Nobody listens where the test has failed.
    thread::spawn(move || drop(sender.send(call())));
    answer
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    check_abstains("(loop $on (br $on)) (unreachable)", Abstention::OutOfFuel { limit: TIGHT.fuel });
}

#[test]
fn a_call_that_never_ends_is_stopped_at_its_deadline() {
    let limits = Limits { fuel: u64::MAX, deadline: Duration::from_millis(100), ..TIGHT };
    let host = VerifierHost::new(limits).unwrap();
    let verifier = host.load(&component("(loop $on (br $on)) (unreachable)", UNREACHABLE)).unwrap();
    let start = Instant::now();
    let answer = begin(move || verifier.parse_coordinate("x")).recv_timeout(limits.deadline + SLACK);
    assert_eq!(answer, Ok(Outcome::Abstained(Abstention::Deadline { limit: limits.deadline })));
    assert!(start.elapsed() >= limits.deadline, "stopped after {:?}", start.elapsed());
}

#[test]
fn a_digest_the_host_makes_is_stopped_at_the_deadline() {
    const ENDLESS_BYTES: u64 = 1 << 40;
    let limits = Limits { deadline: Duration::from_millis(100), ..TIGHT };
    let host = VerifierHost::new(limits).unwrap();
    let hashing = "(call $sha256 (i32.const 0) (i64.const 0) (i64.const 0x10000000000) (i32.const 700)) (unreachable)";
    let verifier = host.load(&component(UNREACHABLE, hashing)).unwrap();
    // A file of holes takes no room.
    let (folder, mut files) = Output(vec![("a".into(), vec![])]).lend();
    File::options().write(true).open(&files[0].path).unwrap().set_len(ENDLESS_BYTES).unwrap();
    files[0].size_bytes = ENDLESS_BYTES;
    let answer = begin(move || verifier.check("test", &files)).recv_timeout(limits.deadline + SLACK);
    assert_eq!(answer, Ok(Outcome::Abstained(Abstention::Deadline { limit: limits.deadline })));
    drop(folder);
}

#[test]
fn hoarding_memory_or_table_elements_is_stopped_at_the_limit() {
    let asked = TIGHT.memory_bytes + (64 << 10);
    check_abstains(
        "(loop $on (drop (memory.grow (i32.const 1))) (br $on)) (unreachable)",
        Abstention::OutOfMemory { asked, limit: TIGHT.memory_bytes },
    );
    check_abstains(
        "(loop $on (drop (table.grow $table (ref.null func) (i32.const 1))) (br $on)) (unreachable)",
        Abstention::OutOfTable { asked: 101, limit: 100 },
    );
}

#[test]
fn a_crash_is_a_reason_to_abstain() {
    for body in [
        UNREACHABLE,
        "(drop (i32.div_u (i32.const 1) (i32.const 0))) (i32.const 600)",
        "(drop (i32.load (i32.const -4))) (i32.const 600)",
        "(call $parse (local.get 0) (local.get 1))",
        // A text outside of memory, and one that is not UTF-8.
        "(i32.store (i32.const 608) (i32.const 0x7fffffff)) (i32.const 600)",
        "(i32.store (i32.const 256) (i32.const -1)) (i32.const 600)",
        // An answer that is neither done nor refused.
        "(i32.store8 (i32.const 600) (i32.const 7)) (i32.const 600)",
    ] {
        check_parse(body, |outcome| matches!(outcome, Outcome::Abstained(Abstention::Trap(_))));
    }
}

#[test]
fn an_answer_that_is_too_large_is_not_copied() {
    // 2 MiB of zeros, which are valid UTF-8.
    check_abstains(
        "(drop (memory.grow (i32.const 40))) (i32.store (i32.const 604) (i32.const 65536)) (i32.store (i32.const 608) (i32.const 0x200000)) (i32.const 600)",
        Abstention::OutputTooLarge { limit: TIGHT.output_bytes },
    );
}

#[test]
fn an_answer_against_the_contract_is_not_believed() {
    let broken = |outcome: &Outcome<String>| matches!(outcome, Outcome::Abstained(Abstention::BrokenContract(_)));
    // A coordinate without a character, and one that the ledger cannot hold.
    check_parse("(i32.store (i32.const 608) (i32.const 0)) (i32.const 600)", broken);
    check_parse("(i32.store (i32.const 256) (i32.const 0x20202020)) (i32.const 600)", broken);
    // A refusal whose code is not a word.
    check_parse(
        "(i32.store8 (i32.const 600) (i32.const 1)) (i32.store (i32.const 256) (i32.const 0x21212121)) (i32.const 600)",
        broken,
    );
    // An output that is accepted and publishes nothing.
    let nothing =
        tight(UNREACHABLE, "(i32.store (i32.const 604) (i32.const 0)) (i32.store (i32.const 608) (i32.const 0)) (i32.const 600)");
    assert!(matches!(nothing.check("test", &[]), Outcome::Abstained(Abstention::BrokenContract(_))));
}

#[test]
fn files_are_lent_within_their_bounds_only() {
    let (_folder, files) = Output(vec![("a".into(), vec![7; 100])]).lend();
    for body in [
        // A file that is not there; more than a read may have; a digest past the end, and one whose end overflows.
        "(drop (call $size (i32.const 1)))",
        "(call $read (i32.const 0) (i64.const 0) (i32.const 0x100001) (i32.const 700))",
        "(call $sha256 (i32.const 0) (i64.const 1) (i64.const 100) (i32.const 700))",
        "(call $sha256 (i32.const 0) (i64.const 1) (i64.const -1) (i32.const 700))",
    ] {
        let outcome = tight(UNREACHABLE, &format!("{body} (unreachable)")).check("test", &files);
        assert!(matches!(outcome, Outcome::Abstained(Abstention::BrokenContract(_))), "{body}: {outcome:?}");
    }
    // Reading at and past the end gives nothing, and the call goes on to its own crash.
    let past = "(call $read (i32.const 0) (i64.const -1) (i32.const 9) (i32.const 700)) (if (i32.load (i32.const 704)) (then (loop $on (br $on)))) (unreachable)";
    assert!(matches!(tight(UNREACHABLE, past).check("test", &files), Outcome::Abstained(Abstention::Trap(_))));
}

#[test]
fn a_call_with_too_many_files_does_not_begin() {
    let (_folder, files) = Output(vec![("a".into(), vec![7])]).lend();
    let verifier = tight(UNREACHABLE, UNREACHABLE);
    let check = |count: usize| verifier.check("test", &vec![files[0].clone(); count]);
    assert!(matches!(check(limits::FILES_MAX), Outcome::Abstained(Abstention::Trap(_))));
    let (count, limit) = (limits::FILES_MAX + 1, limits::FILES_MAX);
    assert_eq!(check(count), Outcome::Abstained(Abstention::TooManyFiles { count, limit }));
}

#[test]
fn making_the_host_work_without_end_is_stopped_by_what_was_lent() {
    let bytes = vec![7; 1 << 20];
    let limit = bytes.len() as u64 * limits::INPUT_PASSES_MAX + limits::INPUT_BYTES_FLOOR;
    let (_folder, files) = Output(vec![("a".into(), bytes)]).lend();
    // The free space is reset, for the digests must not run out of memory first.
    let hashing = "(loop $on (global.set $free (i32.const 1024)) (call $sha256 (i32.const 0) (i64.const 0) (i64.const 0x100000) (i32.const 700)) (br $on)) (unreachable)";
    let asking = "(loop $on (drop (call $size (i32.const 0))) (br $on)) (unreachable)";
    for body in [hashing, asking] {
        let outcome = tight(UNREACHABLE, body).check("test", &files);
        assert_eq!(outcome, Outcome::Abstained(Abstention::OutOfInput { limit }), "{body}");
    }
}

#[test]
fn a_file_that_changed_or_went_is_an_abstention_and_not_a_refusal() {
    let output = Output::docker();
    // A shorter one can be read to its announced end all the same.
    let longer = |file: &mut InputFile| file.size_bytes += 1;
    let shorter = |file: &mut InputFile| file.size_bytes -= 1;
    let gone = |file: &mut InputFile| file.path.push("absent");
    for change in [longer, shorter, gone] {
        let (_folder, mut files) = output.lend();
        change(&mut files[1]);
        let outcome = DOCKER.check("alpine:1", &files);
        assert!(matches!(&outcome, Outcome::Abstained(Abstention::Io { name, .. }) if *name == files[1].name), "{outcome:?}");
    }
}

#[test]
fn remarks_of_a_component_change_nothing() {
    let talking = "(local $n i32) (loop $on (call $log (i32.const 1024) (i32.const 2048)) (local.set $n (i32.add (local.get $n) (i32.const 1))) \
        (br_if $on (i32.lt_u (local.get $n) (i32.const 1000)))) (i32.const 600)";
    check_parse(talking, |outcome| *outcome == Outcome::Done("test".into()));
}

#[test]
fn a_component_that_asks_for_more_is_refused_by_the_name_of_what_it_asks_for() {
    let load = |text: &str| HOST.load(&wat::parse_str(text).unwrap()).unwrap_err();
    for import in ["wasi:cli/environment@0.2.0", "wasi:sockets/tcp@0.2.0", "pyrsia:verifier/inputs@2.0.0", "secrets"] {
        let error = load(&format!(r#"(component (import "{import}" (instance)))"#));
        assert_eq!(error, LoadError::ForeignImport { import: import.into() });
    }
    assert!(matches!(load("(component)"), LoadError::WrongContract { .. }));
    assert!(matches!(load("(module)"), LoadError::Malformed { .. }));
    let newer = r#"(component (instance $all) (export "pyrsia:verifier/verification@2.0.0" (instance $all)))"#;
    assert_eq!(load(newer), LoadError::OtherVersion { found: "2.0.0".into() });
}

#[test]
fn what_is_not_a_component_is_refused() {
    let whole = component(UNREACHABLE, UNREACHABLE);
    for bytes in [b"".as_slice(), b"(component)", b"\x7fELF", &whole[..whole.len() / 2]] {
        assert!(matches!(HOST.load(bytes), Err(LoadError::Malformed { .. })));
    }
    let size = limits::MODULE_BYTES_MAX + 1;
    let large = vec![0; size as usize];
    assert_eq!(HOST.load(&large).unwrap_err(), LoadError::TooLarge { size, max: limits::MODULE_BYTES_MAX });
}

#[test]
fn many_memories_tables_or_instances_do_not_add_up_to_more_than_the_limit_of_one() {
    let load = |module: &str, instances: usize| {
        let text = format!("(component (core module $m {module}) {})", "(core instance (instantiate $m))".repeat(instances));
        HOST.load(&wat::parse_str(text).unwrap()).unwrap_err()
    };
    for (module, allowed) in [("(memory 1)", 2), ("(table 1 funcref) (table 1 funcref)", 4), ("", 8)] {
        // All that is wrong with as many as are allowed is that they verify nothing.
        assert!(matches!(load(module, allowed), LoadError::WrongContract { .. }), "{module}");
        let error = load(module, allowed + 1);
        assert!(matches!(&error, LoadError::Malformed { reason } if reason.contains("maximum")), "{module}: {error:?}");
    }
}

#[test]
fn a_module_that_cannot_describe_itself_does_not_load() {
    let mut bytes = component(UNREACHABLE, UNREACHABLE);
    let at = bytes.windows(4).rposition(|word| word == b"test").unwrap();
    bytes[at..at + 4].copy_from_slice(b"Te/t");
    assert!(matches!(HOST.load(&bytes), Err(LoadError::Describe(Abstention::BrokenContract(_)))));
    // One more path than a description may have: the list behind the examples and the passes, in free space.
    let mut bytes = component(UNREACHABLE, UNREACHABLE);
    let lists = [0, 2, 0, 0, 1, 0, 0, 0, 0x80, 2, 0, 0];
    let at = bytes.windows(lists.len()).position(|window| window == lists).unwrap();
    bytes[at + 16..at + 20].copy_from_slice(&704u32.to_le_bytes());
    bytes[at + 20] = limits::DESCRIPTION_ITEMS_MAX as u8 + 1;
    let error = HOST.load(&bytes).unwrap_err();
    assert!(
        matches!(&error, LoadError::Describe(Abstention::BrokenContract(reason)) if reason.contains("too long")),
        "{error:?}"
    );
}

#[test]
fn more_calls_than_places_all_get_their_answer() {
    let verifier = tight("(i32.const 600)", UNREACHABLE);
    thread::scope(|scope| {
        for _ in 0..limits::CALLS_AT_ONCE_MAX * 3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(verifier.parse_coordinate("x"), Outcome::Done("test".into()));
                }
            });
        }
    });
}

#[test]
fn other_calls_go_on_while_one_loops() {
    let limits = Limits { fuel: u64::MAX, deadline: Duration::from_secs(2), ..TIGHT };
    let host = VerifierHost::new(limits).unwrap();
    let looping = host.load(&component("(loop $on (br $on)) (unreachable)", UNREACHABLE)).unwrap();
    let quick = host.load(&component("(i32.const 600)", UNREACHABLE)).unwrap();
    let stuck = begin(move || looping.parse_coordinate("x"));
    for _ in 0..100 {
        assert_eq!(quick.parse_coordinate("x"), Outcome::Done("test".into()));
    }
    assert!(stuck.try_recv().is_err(), "a hundred calls took longer than the deadline of another");
    let answer = stuck.recv_timeout(limits.deadline + SLACK);
    assert_eq!(answer, Ok(Outcome::Abstained(Abstention::Deadline { limit: limits.deadline })));
}
