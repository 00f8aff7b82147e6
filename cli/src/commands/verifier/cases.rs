//! `pyrsia verifier test`: the rules every verifier must keep, and an author's own cases.
//!
//! ```text
//! CASES/NAME/a/…             one output
//! CASES/NAME/b/…             another one, for a comparison
//! CASES/NAME/expected.toml   what the verifier must say of them
//! ```

use super::super::compare::comparison_text;
use super::super::print;
use crate::arguments::TestArguments;
use crate::exit::Failure;
use crate::outputs;
use pyrsia_verifiers::{
    Comparison, HostOptions, InputFile, Limits, Optimization, Outcome, PublishedArtifact, Verifier, VerifierHost,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What `expected.toml` may say. What it leaves out is not looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    coordinate: Option<String>,
    check: Option<ExpectedCheck>,
    compare: Option<ExpectedComparison>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedCheck {
    /// `accepted` or `refused`.
    verdict: String,
    /// The code of the refusal.
    code: Option<String>,
    /// The ids of the published artifacts, in their order.
    artifacts: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedComparison {
    /// `identical`, `same-after`, `different` or `undecidable`.
    verdict: String,
    passes: Option<Vec<String>>,
    /// Words that the report for people has.
    #[serde(default)]
    mentions: Vec<String>,
}

/// One rule that was not kept, in words.
type Fault = String;

pub(super) fn run(arguments: &TestArguments) -> Result<(), Failure> {
    let module = fs::read(&arguments.module)
        .map_err(|error| Failure::because(&format!("cannot read {}", arguments.module.display()), &error))?;
    // The same module compiled in two ways: a verdict that differs would not be one.
    let [verifier, other] = [load(&module, Optimization::Speed)?, load(&module, Optimization::None)?];
    let mut faults = 0;
    let mut report = |name: &str, found: Vec<Fault>| {
        faults += found.len();
        let lines: String = found.iter().map(|fault| format!("    {fault}\n")).collect();
        print(&format!("{} {name}\n{lines}", if found.is_empty() { "ok  " } else { "FAIL" }))
    };
    report("description", description_faults(&verifier))?;
    for folder in case_folders(&arguments.cases)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        report(&name, case_faults(&verifier, &other, &folder)?)?;
    }
    if faults == 0 { Ok(()) } else { Err(Failure::new(format!("{faults} expectations were not met"))) }
}

fn load(module: &[u8], optimization: Optimization) -> Result<Verifier, Failure> {
    let options = HostOptions { optimization, ..HostOptions::default() };
    let host = VerifierHost::with_options(Limits::default(), options);
    let host = host.map_err(|error| Failure::because("verifiers cannot be run", &error))?;
    host.load(module).map_err(|error| Failure::because("the module is not a verifier", &error))
}

fn case_folders(cases: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error| Failure::because(&format!("cannot read {}", cases.display()), &error);
    let entries = fs::read_dir(cases).map_err(unreadable)?;
    let mut folders: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().map_err(unreadable)?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    if folders.is_empty() {
        return Err(Failure::new(format!("there is no case in {}", cases.display())));
    }
    Ok(folders)
}

fn description_faults(verifier: &Verifier) -> Vec<Fault> {
    let mut faults = Vec::new();
    for example in &verifier.description().examples {
        match verifier.parse_coordinate(example) {
            Outcome::Done(canonical) => {
                if verifier.parse_coordinate(&canonical) != Outcome::Done(canonical.clone()) {
                    faults.push(format!("the canonical form {canonical:?} of the example {example:?} does not parse to itself"));
                }
            }
            outcome => faults.push(format!("its own example {example:?} does not parse: {outcome:?}")),
        }
    }
    faults
}

fn case_faults(verifier: &Verifier, other: &Verifier, folder: &Path) -> Result<Vec<Fault>, Failure> {
    let path = folder.join("expected.toml");
    let unusable = |error: &dyn std::error::Error| Failure::because(&format!("{} cannot be used", path.display()), error);
    let text = fs::read_to_string(&path).map_err(|error| unusable(&error))?;
    let expected: Expected = toml::from_str(&text).map_err(|error| unusable(&error))?;
    let a = outputs::read(&folder.join("a")).map_err(|error| unusable(&error))?;
    let coordinate = expected.coordinate.as_deref();
    let mut faults = Vec::new();
    if let Some(expected) = &expected.check {
        let coordinate = coordinate.ok_or_else(|| Failure::new(format!("{}: a check needs a coordinate", path.display())))?;
        faults.extend(check_faults(verifier, coordinate, &a, expected));
        same(&mut faults, "check", verifier.check(coordinate, &a), other.check(coordinate, &a));
    }
    if let Some(expected) = &expected.compare {
        let b = outputs::read(&folder.join("b")).map_err(|error| unusable(&error))?;
        faults.extend(comparison_faults(verifier, coordinate, &a, &b, expected));
        same(&mut faults, "compare", verifier.compare(coordinate, &a, &b), other.compare(coordinate, &a, &b));
    }
    Ok(faults)
}

fn same<T: PartialEq>(faults: &mut Vec<Fault>, function: &str, one: Outcome<T>, other: Outcome<T>) {
    if one != other {
        faults.push(format!("`{function}` answers differently when the module is compiled without optimization"));
    }
}

fn check_faults(verifier: &Verifier, coordinate: &str, files: &[InputFile], expected: &ExpectedCheck) -> Vec<Fault> {
    let mut faults = Vec::new();
    let answer = verifier.check(coordinate, files);
    let reversed: Vec<InputFile> = files.iter().rev().cloned().collect();
    let (verdict, code) = match &answer {
        Outcome::Done(published) => {
            faults.extend(published_faults(verifier, coordinate, files, published));
            let without_numbers = |published: Option<Vec<PublishedArtifact>>| {
                published.map(|all| all.into_iter().map(|artifact| PublishedArtifact { file: 0, ..artifact }).collect::<Vec<_>>())
            };
            if without_numbers(verifier.check(coordinate, &reversed).done()) != without_numbers(Some(published.clone())) {
                faults.push("what it publishes depends on the order of the files".into());
            }
            let ids: Vec<&String> = published.iter().map(|artifact| &artifact.artifact_id).collect();
            if let Some(expected) = &expected.artifacts
                && ids != expected.iter().collect::<Vec<_>>()
            {
                faults.push(format!("it publishes {ids:?}, expected {expected:?}"));
            }
            ("accepted", None)
        }
        Outcome::Refused(refusal) => {
            if !matches!(verifier.check(coordinate, &reversed), Outcome::Refused(_)) {
                faults.push("whether it refuses depends on the order of the files".into());
            }
            ("refused", Some(refusal.to_string()))
        }
        Outcome::Abstained(abstention) => ("abstained", Some(abstention.to_string())),
    };
    let detail = code.as_ref().map(|code| format!(": {code}")).unwrap_or_default();
    if verdict != expected.verdict {
        faults.push(format!("check: {verdict}{detail}, expected {}", expected.verdict));
    }
    if let Some(expected) = &expected.code
        && !matches!(&answer, Outcome::Refused(refusal) if refusal.code == *expected)
    {
        faults.push(format!("check: {verdict}{detail}, expected the code {expected}"));
    }
    faults
}

/// What the contract says about the canonical forms of published files.
fn published_faults(verifier: &Verifier, coordinate: &str, files: &[InputFile], published: &[PublishedArtifact]) -> Vec<Fault> {
    let canonical = match verifier.canonicalize(Some(coordinate), files) {
        Outcome::Done(canonical) => canonical,
        outcome => return vec![format!("it accepts the output and cannot canonicalize it: {outcome:?}")],
    };
    let forms: BTreeMap<usize, _> = canonical.iter().map(|form| (form.file, form)).collect();
    let differing =
        published.iter().filter(|artifact| forms.get(&artifact.file).is_none_or(|form| form.canonical != artifact.canonical));
    differing
        .map(|artifact| format!("check and canonicalize give {} different canonical digests", artifact.artifact_id))
        .collect()
}

fn comparison_faults(
    verifier: &Verifier,
    coordinate: Option<&str>,
    a: &[InputFile],
    b: &[InputFile],
    expected: &ExpectedComparison,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    for side in [a, b] {
        let with_itself = verifier.compare(coordinate, side, side);
        if !matches!(with_itself, Outcome::Done(Comparison::Identical | Comparison::Undecidable(_))) {
            faults.push(format!("an output compared with itself gives {with_itself:?}"));
        }
    }
    let answer = verifier.compare(coordinate, a, b);
    let Outcome::Done(comparison) = &answer else {
        faults.push(format!("compare: {answer:?}, expected {}", expected.verdict));
        return faults;
    };
    if verifier.compare(coordinate, b, a) != Outcome::Done(exchanged(comparison)) {
        faults.push("exchanging A and B changes more than the sides of the report".into());
    }
    let verdict = match comparison {
        Comparison::Identical => "identical",
        Comparison::SameAfter { .. } => "same-after",
        Comparison::Different(_) => "different",
        Comparison::Undecidable(_) => "undecidable",
    };
    let text = comparison_text(comparison, verifier.description());
    if verdict != expected.verdict {
        faults.push(format!("compare: expected {}, got {}", expected.verdict, text.trim_end().replace('\n', "\n    ")));
    }
    if let (Some(expected), Comparison::SameAfter { passes }) = (&expected.passes, comparison)
        && passes != expected
    {
        faults.push(format!("compare: the same after {passes:?}, expected {expected:?}"));
    }
    let missing = expected.mentions.iter().filter(|words| !text.contains(words.as_str()));
    faults.extend(missing.map(|words| format!("the report does not mention {words:?}")));
    faults
}

/// The comparison with A and B exchanged, which for an undecidable one is the same with the side it names.
fn exchanged(comparison: &Comparison) -> Comparison {
    let mut exchanged = comparison.clone();
    match &mut exchanged {
        Comparison::Different(report) => {
            for difference in &mut report.differences {
                std::mem::swap(&mut difference.a, &mut difference.b);
                difference.what = match difference.what.as_str() {
                    "only in A" => "only in B".into(),
                    "only in B" => "only in A".into(),
                    what => what.to_owned(),
                };
            }
        }
        Comparison::Undecidable(refusal) => {
            refusal.subject = match refusal.subject.split_once(": ") {
                Some(("A", rest)) => format!("B: {rest}"),
                Some(("B", rest)) => format!("A: {rest}"),
                _ => refusal.subject.clone(),
            };
        }
        Comparison::Identical | Comparison::SameAfter { .. } => {}
    }
    exchanged
}
