//! `cargo xtask fuzz --seeds A..B [--type T] [--modules DIR]`: changed build outputs for the shipped verifiers, or those of a folder, in the sandbox.
//!
//! Each seed takes one output out of the guests' cases and changes it: bytes, or what an archive, a document or an entry consists of, with what refers to it put
//! right again. Then the two outputs are checked, put into canonical form and compared. A failure is a call without an answer, a comparison that depends on which
//! output is called A, canonical digests that contradict it, a document that a changed output spoils for a sound one, or "the same" for outputs in which other
//! readers (the crates `tar`, `zip` and `flate2`) find different things. Prints the seeds that fail and keeps their outputs in `target/fuzz-failures`.

mod case;
mod document;
mod meaning;
mod mutation;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use pyrsia_verifiers::{
    CanonicalFile, Comparison, Difference, HttpTarget, InputFile, Limits, Outcome, PublishedRecord, Verifier, VerifierHost,
    VerifierSet,
};

use case::Case;
use random::Random;

const USAGE: &str = "usage: fuzz A..B [--type PACKAGE-TYPE] [--modules DIR]";
/// Which digests two outputs of one canonical form may have is a set, for names differ where a name is a digest.
type Digests = Vec<String>;

/// The pass that forgives the absence of whole files.
const STATEMENTS: &str = "attestations";

/// How often each end came about.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (mut wanted, mut modules) = (None, None);
    let [seeds, options @ ..] = &words[..] else { bail!(USAGE) };
    for option in options.chunks(2) {
        match *option {
            ["--type", package_type] => wanted = Some(package_type),
            ["--modules", folder] => modules = Some(Path::new(folder)),
            _ => bail!(USAGE),
        }
    }
    let (first, end) = seeds.split_once("..").context("seeds are A..B")?;
    let (first, end): (u64, u64) = (first.parse()?, end.parse()?);

    let host = VerifierHost::new(Limits::default())?;
    let verifiers = VerifierSet::open(&host, modules)?;
    if let Some(unusable) = verifiers.unusable().first() {
        bail!("{unusable}: {}", unusable.source);
    }
    let package_types = verifiers.iter().map(|verifier| verifier.description().package_type.to_string());
    let package_types: BTreeSet<String> = package_types.filter(|known| wanted.is_none_or(|wanted| wanted == known)).collect();
    ensure!(!package_types.is_empty(), "no verifier is for {}", wanted.unwrap_or_default());
    let corpus = case::corpus(&package_types)?;
    let mut sound = Vec::new();
    for case in &corpus {
        let verifier = verifiers.preferred(&case.package_type).context("of a shipped verifier")?;
        let (_folder, files) = case.lend()?;
        if verifier.compare(None, &files, &files) == Outcome::Done(Comparison::Identical) {
            sound.push(case.clone());
        }
    }

    let (start, mut tally, mut failed) = (Instant::now(), Tally::default(), 0);
    for seed in first..end {
        let mut random = Random::new(seed);
        // Little can be learnt from another fault in an output that cannot be read as it is.
        let cases = if random.one_in(8) { &corpus } else { &sound };
        let a = random.pick(cases).context("the guests have cases")?;
        let verifier = verifiers.preferred(&a.package_type).context("of a shipped verifier")?;
        let b = mutation::mutated(a, &mut random);
        if let Err(fault) = words_of(verifier, &mut random).and_then(|()| outputs(verifier, a, &b, &mut tally)) {
            failed += 1;
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz-failures").join(seed.to_string());
            a.keep(&folder.join("a"))?;
            b.keep(&folder.join("b"))?;
            println!("seed {seed} ({}): {fault:#}", a.package_type);
        }
    }
    let counts: Vec<String> = tally.0.iter().map(|(what, count)| format!("{what} {count}")).collect();
    println!("{} seeds in {} s: {}", end.saturating_sub(first), start.elapsed().as_secs(), counts.join(", "));
    ensure!(failed == 0, "{failed} seeds failed; their outputs lie in target/fuzz-failures");
    Ok(())
}

/// The answer to a call that has one, or the refusal.
fn answer<T>(call: &str, outcome: Outcome<T>) -> Result<Option<T>> {
    match outcome {
        Outcome::Done(answer) => Ok(Some(answer)),
        Outcome::Refused(_) => Ok(None),
        Outcome::Abstained(abstention) => bail!("{call} has no answer: {abstention}"),
    }
}

fn outputs(verifier: &Verifier, a: &Case, b: &Case, tally: &mut Tally) -> Result<()> {
    let ((_folder_a, files_a), (_folder_b, files_b)) = (a.lend()?, b.lend()?);
    let coordinate = a.coordinate.as_deref();
    if let Some(coordinate) = coordinate {
        let published = answer("check", verifier.check(coordinate, &files_b))?;
        tally.count(if published.is_some() { "accepted" } else { "refused" });
        answer("check", verifier.check("", &files_b))?;
        if document::of_both(verifier, a, b)? {
            tally.count("documents");
        }
    }
    let forms_a = answer("canonicalize", verifier.canonicalize(None, &files_a))?;
    let forms_b = answer("canonicalize", verifier.canonicalize(None, &files_b))?;
    let compare = |a: &[InputFile], b: &[InputFile]| {
        answer("compare", verifier.compare(None, a, b))?.context("a comparison is never refused")
    };
    let comparison = compare(&files_a, &files_b)?;
    exchanged(&comparison, &compare(&files_b, &files_a)?)?;
    match &comparison {
        Comparison::Undecidable(_) => tally.count("undecidable"),
        Comparison::Different(_) => {
            tally.count("different");
            ensure!(a != b, "an output is different from itself");
        }
        Comparison::Identical => {
            tally.count("identical");
            ensure!(sorted(a) == sorted(b), "other bytes are called identical");
        }
        Comparison::SameAfter { passes } => {
            tally.count("same after passes");
            same(a, b, [forms_a, forms_b], passes, tally).with_context(|| format!("the same after {}", passes.join(", ")))?;
        }
    }
    Ok(())
}

fn sorted(case: &Case) -> Vec<&(String, Vec<u8>)> {
    let mut files: Vec<_> = case.files.iter().collect();
    files.sort();
    files
}

fn same(a: &Case, b: &Case, forms: [Option<Vec<CanonicalFile>>; 2], passes: &[String], tally: &mut Tally) -> Result<()> {
    let [Some(forms_a), Some(forms_b)] = forms else { bail!("one of them has no canonical form") };
    let is_partial = passes.iter().any(|pass| pass == STATEMENTS);
    ensure!(is_partial || digests(&forms_a) == digests(&forms_b), "their canonical digests are not");
    match (meaning::of(a), meaning::of(b)) {
        (Some(a), Some(b)) => {
            tally.count("read by others");
            let places: Vec<&String> = a.keys().chain(b.keys()).filter(|place| a.get(*place) != b.get(*place)).collect();
            if let Some(place) = places.first() {
                let text =
                    |found: Option<&String>| found.map_or("nothing".into(), |text| text.chars().take(400).collect::<String>());
                bail!("other readers find at {place:?} {} and {}", text(a.get(*place)), text(b.get(*place)));
            }
        }
        _ => tally.count("unreadable to others"),
    }
    Ok(())
}

fn digests(forms: &[CanonicalFile]) -> Digests {
    let mut digests: Vec<String> = forms.iter().map(|form| form.canonical.to_string()).collect();
    digests.sort();
    digests
}

/// "Exchanging A and B exchanges the sides of the report and nothing else."
fn exchanged(one: &Comparison, other: &Comparison) -> Result<()> {
    let agree = match (one, other) {
        (Comparison::Different(one), Comparison::Different(other)) => {
            let mut one: Vec<_> = one.differences.iter().map(|difference| key(difference, false)).collect();
            let mut other: Vec<_> = other.differences.iter().map(|difference| key(difference, true)).collect();
            one.sort();
            other.sort();
            one == other
        }
        // Its text names the side.
        (Comparison::Undecidable(one), Comparison::Undecidable(other)) => one.code == other.code,
        (one, other) => one == other,
    };
    ensure!(agree, "exchanging A and B changes the answer: {one:?} and {other:?}");
    Ok(())
}

fn key(difference: &Difference, exchanged: bool) -> (&str, &[String], String, Option<&str>, Option<&str>) {
    let Difference { artifact, path, what, a, b } = difference;
    let what = match what.as_str() {
        "only in A" if exchanged => "only in B",
        "only in B" if exchanged => "only in A",
        what => what,
    };
    let (a, b) = if exchanged { (b, a) } else { (a, b) };
    (artifact, path, what.to_owned(), a.as_deref(), b.as_deref())
}

/// Coordinates and paths, half right.
fn words_of(verifier: &Verifier, random: &mut Random) -> Result<()> {
    let description = verifier.description();
    let text = |seeds: &[String], random: &mut Random| {
        let begin = random.pick(seeds).cloned().unwrap_or_default();
        String::from_utf8_lossy(&mutation::text(begin.as_bytes(), random)).into_owned()
    };
    let coordinate = text(&description.examples, random);
    if let Some(canonical) = answer("parse-coordinate", verifier.parse_coordinate(&coordinate))? {
        let again = answer("parse-coordinate", verifier.parse_coordinate(&canonical))?;
        ensure!(again.as_ref() == Some(&canonical), "{coordinate:?} is {canonical:?}, and that is {again:?}");
    }
    let path = text(&[&description.examples[..], &description.http_paths[..]].concat(), random);
    let path = format!("/{}", path.trim_start_matches('/').replace(['{', '}'], ""));
    if let Some(Some(HttpTarget::Document(sources))) = answer("http-artifacts", verifier.http_artifacts(&path))? {
        let record = |suffix: &str| -> Result<PublishedRecord> {
            Ok(PublishedRecord {
                coordinate: format!("{}{suffix}", sources.coordinate_prefix).try_into()?,
                artifact_id: format!("{}{suffix}", sources.lent_suffix.as_deref().unwrap_or("x")).try_into()?,
                media_type: "application/octet-stream".into(),
                size_bytes: 1,
                sha256: pyrsia_ledger::Sha256Digest::of(suffix.as_bytes()),
                file: None,
            })
        };
        if let (Ok(one), Ok(other)) = (record("1.0.0"), record("2")) {
            answer("http-document", verifier.http_document(&path, "http://127.0.0.1/mount", &[one, other], &[]))?;
        }
    }
    Ok(())
}
