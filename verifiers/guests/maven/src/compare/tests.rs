use proptest::prelude::*;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Difference, DifferenceReport};

use super::*;
use crate::checksum::{Algorithm, Sums};
use crate::output;
use crate::zip_writer::{ZipEntry, zip};

fn compared(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
    let both = MemoryFiles::side_by_side(a, b);
    let (a, b) = both.output().split(a.0.len() as u32);
    compare(None, a, b)
}

/// A jar of a build at some time by someone, with a library inside.
fn jar(time: u32, user: &str, value: &str) -> Vec<u8> {
    let at = |entry: ZipEntry| entry.with(|entry| entry.modified = time);
    let inner = zip(&[at(ZipEntry::new("data.txt", format!("one\n{value}\nthree\n")))]);
    zip(&[
        at(ZipEntry::new(
            "META-INF/MANIFEST.MF",
            format!("Manifest-Version: 1.0\r\nBuilt-By: {user}\r\nMain-Class: org.example.{value}\r\n\r\n"),
        )),
        at(ZipEntry::new("BOOT-INF/lib/inner.jar", inner)),
        at(ZipEntry::new("org/example/Main.class", format!("\u{0}class {value}"))),
    ])
}

fn output_of(jar: Vec<u8>) -> MemoryFiles {
    let sums = Sums::of(&jar[..], &[Algorithm::Sha1]).unwrap();
    MemoryFiles(vec![
        ("demo-1.0.jar".into(), jar),
        ("demo-1.0.jar.sha1".into(), sums.get(Algorithm::Sha1).into()),
        ("demo-1.0.pom".into(), b"<project>\n<artifactId>demo</artifactId>\n</project>\n".to_vec()),
    ])
}

fn places(comparison: &Comparison) -> Vec<String> {
    let Comparison::Different(DifferenceReport { differences, .. }) = comparison else { panic!("{comparison:?}") };
    let place = |Difference { artifact, path, what, .. }: &Difference| format!("{artifact} | {} | {what}", path.join(" > "));
    differences.iter().map(place).collect()
}

#[test]
fn the_same_build_at_another_time_by_someone_else_is_the_same_after_named_passes() {
    let (a, b) = (output_of(jar(7, "a", "x")), output_of(jar(9, "b", "x")));
    assert_eq!(compared(&a, &a), Comparison::Identical);
    let passes = ["zip-order", "zip-time", "manifest-build-info", "checksums"].map(str::to_owned);
    assert_eq!(compared(&a, &b), Comparison::SameAfter(passes.into()));
    assert_eq!(compared(&b, &a), compared(&a, &b));
}

#[test]
fn archives_that_differ_in_the_width_of_fields_only_are_the_same_after_a_pass() {
    let side =
        |is_zip64| MemoryFiles(vec![("a-1.jar".into(), zip(&[ZipEntry::new("x", "1").with(|entry| entry.is_zip64 = is_zip64)]))]);
    let Comparison::SameAfter(passes) = compared(&side(false), &side(true)) else { panic!("not the same") };
    assert_eq!(passes, ["zip-compression", "zip-origin"]);
}

#[test]
fn a_report_names_the_entry_the_attribute_and_the_line() {
    let comparison = compared(&output_of(jar(7, "a", "x")), &output_of(jar(9, "b", "y")));
    assert_eq!(
        places(&comparison),
        [
            "demo-1.0.jar | BOOT-INF/lib/inner.jar > data.txt > line 2 | text",
            "demo-1.0.jar | META-INF/MANIFEST.MF > Main-Class | attribute",
            "demo-1.0.jar | org/example/Main.class | content",
            "demo-1.0.jar.sha1 |  | checksum",
        ]
    );
    let Comparison::Different(DifferenceReport { differences, omitted }) = comparison else { panic!("not different") };
    assert_eq!(
        (differences[1].a.as_deref(), differences[1].b.as_deref(), omitted),
        (Some("org.example.x"), Some("org.example.y"), 0)
    );
}

#[test]
fn exchanging_the_outputs_exchanges_the_sides_of_the_report() {
    let entry =
        |name: &str, mode: u32| ZipEntry::new(name, "x").with(|entry| (entry.made_by, entry.external) = (3 << 8, mode << 16));
    let side =
        |entries: &[ZipEntry], pom: &str| MemoryFiles(vec![("a-1.jar".into(), zip(entries)), ("a-1.pom".into(), pom.into())]);
    let a = side(&[entry("run.sh", 0o100_755), entry("only-a", 0o100_644)], "<project>\n<name>a</name>\n</project>\n");
    let mut b = side(&[entry("run.sh", 0o100_644), entry("only-b", 0o100_644)], "<project>\n<name>b</name>\n</project>\n");
    b.0.push(("a-1-sources.jar".into(), zip(&[])));
    let comparison = compared(&a, &b);
    assert_eq!(
        places(&comparison),
        [
            "a-1-sources.jar |  | only in B",
            "a-1.jar | only-a | only in A",
            "a-1.jar | only-b | only in B",
            "a-1.jar | run.sh | mode",
            "a-1.pom | line 2 | text",
        ]
    );
    let Comparison::Different(report) = comparison else { panic!("not different") };
    let Comparison::Different(other) = compared(&b, &a) else { panic!("not different") };
    let exchanged = other.differences.into_iter().map(|difference| {
        let what = match difference.what.as_str() {
            "only in A" => "only in B".to_owned(),
            "only in B" => "only in A".to_owned(),
            what => what.to_owned(),
        };
        Difference { a: difference.b, b: difference.a, what, ..difference }
    });
    assert_eq!(exchanged.collect::<Vec<_>>(), report.differences);
}

#[test]
fn what_cannot_be_read_without_doubt_is_undecidable_even_when_it_is_identical() {
    let odd = MemoryFiles(vec![("a-1.jar".into(), zip(&[ZipEntry::new("x", "1"), ZipEntry::new("x", "2")]))]);
    let Comparison::Undecidable(refusal) = compared(&odd, &odd) else { panic!("decided") };
    assert_eq!((refusal.code.as_str(), refusal.subject.as_str()), ("unreadable", "A and B: a-1.jar"));
    let sound = MemoryFiles(vec![("a-1.jar".into(), zip(&[ZipEntry::new("x", "1")]))]);
    let Comparison::Undecidable(refusal) = compared(&sound, &odd) else { panic!("decided") };
    assert_eq!(refusal.subject, "B: a-1.jar");
    let other = MemoryFiles(vec![("a-1.jar".into(), b"no archive".to_vec())]);
    let (Comparison::Undecidable(one), Comparison::Undecidable(exchanged)) = (compared(&odd, &other), compared(&other, &odd))
    else {
        panic!("decided")
    };
    assert_eq!((one.sentence, &one.subject[..1] == "A"), (exchanged.sentence, &exchanged.subject[..1] == "B"));
}

#[test]
fn a_report_is_bounded_and_counts_what_it_leaves_out() {
    let many = |content: &str| {
        let entries: Vec<ZipEntry> = (0..1500).map(|n| ZipEntry::new(&format!("{n}.txt"), content)).collect();
        MemoryFiles(vec![("a-1.jar".into(), zip(&entries))])
    };
    let Comparison::Different(report) = compared(&many("a"), &many("b")) else { panic!("not different") };
    assert_eq!((report.differences.len(), report.omitted), (1000, 500));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Comparison and canonical forms say the same of any two outputs that differ in one byte of one file.
    #[test]
    fn comparison_agrees_with_canonical_forms(file in 0usize..3, at in any::<prop::sample::Index>(), mask in 1u8..) {
        let a = output_of(jar(7, "a", "x"));
        let mut b = a.clone();
        let bytes = &mut b.0[file].1;
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        let digests = |files: &MemoryFiles| {
            let mut side = Side::open(files.output())?;
            let forms = output::canonicalize(&mut side)?;
            Ok::<_, Refusal>(forms.into_iter().map(|form| form.canonical_digest).collect::<Vec<_>>())
        };
        match (digests(&b), compared(&a, &b)) {
            (Ok(other), Comparison::SameAfter(passes)) => prop_assert!(other == digests(&a).unwrap() && !passes.is_empty()),
            (Ok(other), Comparison::Different(_)) => prop_assert!(other != digests(&a).unwrap()),
            (Err(_), Comparison::Undecidable(_)) => {}
            (forms, comparison) => prop_assert!(false, "{forms:?} and {comparison:?}"),
        }
    }
}
