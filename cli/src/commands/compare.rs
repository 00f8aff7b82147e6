//! `pyrsia compare`: what two outputs on this machine are to each other, by a verifier's word and without any node.

use super::{print, print_json};
use crate::arguments::{CompareArguments, VerifierSource};
use crate::exit::{self, Failure, chain};
use crate::outputs;
use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{
    Comparison, CompiledModules, Description, Difference, Finding, HostOptions, InputFile, Limits, Outcome, SHIPPED, Verifier,
    VerifierHost, VerifierSet,
};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// The outputs are the same, or the same after passes.
const SAME: u8 = 0;
const DIFFERENT: u8 = 1;
/// There is no verdict: an output cannot be read without doubt, or something went wrong.
const UNDECIDED: u8 = 2;

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    verdict: Verdict,
    package_type: &'a str,
    module: Sha256Digest,
    /// What a person should know of the outputs, whatever they are to each other.
    findings: &'a [Found],
}

#[derive(Serialize)]
struct Found {
    output: Side,
    /// The file it is about.
    file: String,
    #[serde(flatten)]
    finding: Finding,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
enum Side {
    A,
    B,
    #[serde(rename = "A and B")]
    Both,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Verdict {
    Reached(Comparison),
    Abstained { verdict: &'static str, reason: String },
}

pub(super) fn run(arguments: CompareArguments) -> Result<ExitCode, Failure> {
    let undecided = |failure: Failure| failure.with_code(UNDECIDED);
    let verifier = load(&arguments.verifier).map_err(undecided)?;
    let read = outputs::read_pair(&arguments.a, &arguments.b);
    let (a, b) = read.map_err(|error| undecided(Failure::because("the outputs cannot be compared", &error)))?;
    let coordinate = match &arguments.coordinate {
        None => None,
        Some(text) => match verifier.parse_coordinate(text) {
            Outcome::Done(coordinate) => Some(coordinate),
            Outcome::Refused(refusal) => return Err(undecided(Failure::new(refusal.to_string()))),
            Outcome::Abstained(abstention) => return Err(undecided(Failure::new(abstention.to_string()))),
        },
    };
    let verdict = match verifier.compare(coordinate.as_deref(), &a, &b) {
        Outcome::Done(comparison) => Verdict::Reached(comparison),
        Outcome::Refused(refusal) => Verdict::Reached(Comparison::Undecidable(refusal)),
        Outcome::Abstained(abstention) => Verdict::Abstained { verdict: "undecidable", reason: abstention.to_string() },
    };
    let code = match &verdict {
        Verdict::Reached(Comparison::Identical | Comparison::SameAfter { .. }) => SAME,
        Verdict::Reached(Comparison::Different(_)) => DIFFERENT,
        Verdict::Reached(Comparison::Undecidable(_)) | Verdict::Abstained { .. } => UNDECIDED,
    };
    let findings = match &verdict {
        Verdict::Reached(Comparison::Undecidable(_)) | Verdict::Abstained { .. } => vec![],
        Verdict::Reached(Comparison::Identical) => {
            let mut found = findings(&verifier, coordinate.as_deref(), &a, Side::A);
            found.iter_mut().for_each(|found| found.output = Side::Both);
            found
        }
        Verdict::Reached(Comparison::SameAfter { .. } | Comparison::Different(_)) => {
            let of = |output: &[InputFile], side| findings(&verifier, coordinate.as_deref(), output, side);
            merged(of(&a, Side::A), of(&b, Side::B))
        }
    };
    let printed = if arguments.output.json {
        let package_type = verifier.description().package_type.as_str();
        print_json(&Answer { verdict, package_type, module: verifier.digest(), findings: &findings })
    } else {
        print(&(text(&verdict, verifier.description()) + &findings_text(&findings)))
    };
    printed.map_err(undecided)?;
    Ok(ExitCode::from(code))
}

/// The verifier of a package type, or the one in a file.
pub(super) fn load(source: &VerifierSource) -> Result<Verifier, Failure> {
    let host = host()?;
    if let Some(path) = &source.module {
        return load_file(&host, path);
    }
    let package_type = source.package_type.clone().unwrap_or_default().to_ascii_lowercase();
    if source.verifiers.is_none()
        && let Some(verifier) = shipped(&host, &package_type)
    {
        return Ok(verifier);
    }
    let set = VerifierSet::open(&host, source.verifiers.as_deref());
    let set = set.map_err(|error| Failure::because("the verifiers cannot be loaded", &error))?;
    for unusable in set.unusable() {
        eprintln!("warning: {}", chain(unusable));
    }
    set.preferred(&package_type).cloned().ok_or_else(|| {
        let known: Vec<_> = set.iter().map(|verifier| verifier.description().package_type.to_string()).collect();
        Failure::usage(format!("there is no verifier for {package_type:?} packages, there are: {}", known.join(", ")))
            .hint("name a module with --module FILE, or a folder of them with --verifiers DIR")
    })
}

/// The shipped verifier whose file is called like the type, which is found without compiling the others.
fn shipped(host: &VerifierHost, package_type: &str) -> Option<Verifier> {
    let (_, module) = SHIPPED.iter().find(|(name, _)| name.strip_suffix(".wasm") == Some(package_type))?;
    host.load(module).ok().filter(|verifier| verifier.description().package_type.as_str() == package_type)
}

pub(super) fn load_file(host: &VerifierHost, path: &Path) -> Result<Verifier, Failure> {
    let module = fs::read(path).map_err(|error| Failure::because(&format!("cannot read {}", path.display()), &error))?;
    host.load(&module).map_err(|error| Failure::because(&format!("{} is not a verifier", path.display()), &error))
}

pub(super) fn host() -> Result<VerifierHost, Failure> {
    let options = HostOptions { compiled: None::<CompiledModules>, ..HostOptions::default() };
    VerifierHost::with_options(Limits::default(), options).map_err(|error| Failure::because("verifiers cannot be run", &error))
}

/// What the verifier says of each file of an output that it could read.
fn findings(verifier: &Verifier, coordinate: Option<&str>, output: &[InputFile], side: Side) -> Vec<Found> {
    let canonical = verifier.canonicalize(coordinate, output).done().unwrap_or_default();
    let of_file = |file: pyrsia_verifiers::CanonicalFile| {
        let name = output[file.file].name.clone();
        file.findings.into_iter().map(move |finding| Found { output: side, file: name.clone(), finding })
    };
    canonical.into_iter().flat_map(of_file).collect()
}

/// What is said of both outputs is said once.
fn merged(of_a: Vec<Found>, of_b: Vec<Found>) -> Vec<Found> {
    let mut all = of_a;
    for found in of_b {
        let is_same =
            |other: &&mut Found| other.output == Side::A && (&other.file, &other.finding) == (&found.file, &found.finding);
        match all.iter_mut().find(is_same) {
            Some(other) => other.output = Side::Both,
            None => all.push(found),
        }
    }
    all
}

fn findings_text(findings: &[Found]) -> String {
    let mut text = String::new();
    if !findings.is_empty() {
        text.push_str("worth knowing:\n");
    }
    for Found { output, file, finding } in findings {
        let side = match output {
            Side::A => "A",
            Side::B => "B",
            Side::Both => "A and B",
        };
        let _ = writeln!(text, "  {side}: {file}: {} ({}: {})", finding.sentence, finding.code, finding.subject);
    }
    text
}

fn text(verdict: &Verdict, described: &Description) -> String {
    match verdict {
        Verdict::Reached(comparison) => comparison_text(comparison, described),
        Verdict::Abstained { reason, .. } => format!("undecided: {reason}\n"),
    }
}

/// What a person reads.
pub(super) fn comparison_text(comparison: &Comparison, described: &Description) -> String {
    match comparison {
        Comparison::Identical => "the same, bit for bit\n".into(),
        Comparison::SameAfter { passes } => {
            let mut text = String::from("the same, after these passes:\n");
            for pass in described.passes.iter().filter(|pass| passes.contains(&pass.name)) {
                let _ = writeln!(text, "  {}: {}", pass.name, pass.forgives);
            }
            text
        }
        Comparison::Undecidable(refusal) => format!("undecided: {refusal}\n"),
        Comparison::Different(report) => {
            let count = report.differences.len() as u64 + report.omitted;
            let mut text = format!("different, in {count} {}:\n", if count == 1 { "place" } else { "places" });
            let mut artifact = None;
            for difference in &report.differences {
                if artifact != Some(&difference.artifact) {
                    artifact = Some(&difference.artifact);
                    let _ = writeln!(text, "{}", difference.artifact);
                }
                difference_text(&mut text, difference);
            }
            if report.omitted > 0 {
                let _ = writeln!(text, "… and {} more", report.omitted);
            }
            text
        }
    }
}

fn difference_text(text: &mut String, difference: &Difference) {
    let place = if difference.path.is_empty() { String::new() } else { format!("{}: ", difference.path.join(" > ")) };
    let _ = writeln!(text, "  {place}{}", difference.what);
    for (side, value) in [("A", &difference.a), ("B", &difference.b)] {
        if let Some(value) = value {
            let _ = writeln!(text, "    {side}: {value}");
        }
    }
}

/// The paragraph of `--help` about the codes, which are not those of the other commands.
pub(crate) const EXIT_HELP: &str = "Exit codes:\n  0  the same, bit for bit or after named passes\n  1  different\n  2  undecided: an output cannot be read without doubt, or could not be compared";
const _: () = assert!(SAME == exit::SUCCESS && DIFFERENT == exit::FAILED);
