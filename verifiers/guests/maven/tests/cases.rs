//! The cases in `cases/`, natively: outputs of real tools built twice, and archives that nobody should take for the same.
//!
//! `pyrsia verifier test` runs them in the sandbox; `make-cases.sh` says how each was made.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Comparison, Difference, Output, Refusal, Verifier};
use pyrsia_verifier_maven::Maven;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    coordinate: Option<String>,
    check: Option<ExpectedCheck>,
    compare: Option<ExpectedComparison>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedCheck {
    verdict: String,
    code: Option<String>,
    artifacts: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedComparison {
    verdict: String,
    passes: Option<Vec<String>>,
    #[serde(default)]
    mentions: Vec<String>,
}

fn output(folder: &Path) -> MemoryFiles {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    MemoryFiles(files)
}

fn words(comparison: &Comparison) -> (&'static str, String) {
    let mut text = String::new();
    match comparison {
        Comparison::Identical => ("identical", text),
        Comparison::SameAfter(passes) => ("same-after", passes.join(" ")),
        Comparison::Different(report) => {
            for Difference { artifact, path, what, a, b } in &report.differences {
                writeln!(text, "{artifact} {} {what} {a:?} {b:?}", path.join(" ")).unwrap();
            }
            ("different", text)
        }
        Comparison::Undecidable(Refusal { code, subject, sentence }) => ("undecidable", format!("{code} {subject} {sentence}")),
    }
}

fn check_case(folder: &Path) {
    let name = folder.display();
    let expected: Expected = toml::from_str(&fs::read_to_string(folder.join("expected.toml")).unwrap()).unwrap();
    let a = output(&folder.join("a"));
    let coordinate = expected.coordinate.as_deref();
    if let Some(wanted) = &expected.check {
        let outcome = Maven::check(coordinate.expect("a check needs a coordinate"), a.output());
        match &outcome {
            Ok(published) => {
                assert_eq!(wanted.verdict, "accepted", "{name}");
                let ids: Vec<&str> = published.iter().map(|artifact| artifact.artifact_id.as_str()).collect();
                assert!(wanted.artifacts.as_ref().is_none_or(|wanted| *wanted == ids), "{name}: {ids:?}");
            }
            Err(refusal) => {
                assert_eq!(
                    (wanted.verdict.as_str(), wanted.code.as_ref()),
                    ("refused", Some(&refusal.code)),
                    "{name}: {refusal:?}"
                );
            }
        }
    }
    if let Some(wanted) = &expected.compare {
        let b = output(&folder.join("b"));
        let both = MemoryFiles::side_by_side(&a, &b);
        let (of_a, of_b) = both.output().split(a.0.len() as u32);
        let comparison = Maven::compare(coordinate, of_a, of_b);
        let (verdict, text) = words(&comparison);
        assert_eq!(verdict, wanted.verdict, "{name}: {text}");
        for mention in &wanted.mentions {
            assert!(text.contains(mention), "{name} mentions {mention:?} in: {text}");
        }
        if let (Comparison::SameAfter(passes), Some(wanted)) = (&comparison, &wanted.passes) {
            assert_eq!(passes, wanted, "{name}");
        }
        check_canonical_forms_agree(&comparison, coordinate, of_a, of_b);
    }
}

fn check_canonical_forms_agree(comparison: &Comparison, coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) {
    let digests = |output: Output<'_>| {
        let forms = Maven::canonicalize(coordinate, output)?;
        Ok::<_, Refusal>(forms.into_iter().map(|form| form.canonical_digest).collect::<Vec<_>>())
    };
    let is_same = matches!(comparison, Comparison::Identical | Comparison::SameAfter(_));
    match (digests(a), digests(b)) {
        (Ok(a), Ok(b)) => assert_eq!(a == b, is_same, "{comparison:?}"),
        _ => assert!(matches!(comparison, Comparison::Undecidable(_)), "{comparison:?}"),
    }
}

#[test]
fn every_case_has_the_verdict_it_expects() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut folders: Vec<_> =
        fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    assert!(folders.len() > 20, "the cases are there");
    for folder in folders {
        check_case(&folder);
    }
}
