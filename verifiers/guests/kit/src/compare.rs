//! Comparison by canonical form, for package types whose outputs have the same file names.

use std::collections::BTreeMap;

use crate::contract::{CanonicalFile, Comparison, Refusal};
use crate::files::{File, Output};
use crate::report::Report;
use crate::verifier::Verifier;

/// Pairs files by name and compares their canonical digests.
pub fn by_canonical_form<V: Verifier + ?Sized>(coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Comparison {
    match both(side::<V>(coordinate, a), side::<V>(coordinate, b)) {
        Ok((a, b)) => sides::<V>(&a, &b),
        Err(refusal) => Comparison::Undecidable(refusal),
    }
}

/// What was made of the two outputs, or the refusal of one of them with its side in front of the subject. Of two refusals the one is given that would be
/// given with the sides exchanged; one that both have is of `A and B`.
pub fn both<A, B>(a: Result<A, Refusal>, b: Result<B, Refusal>) -> Result<(A, B), Refusal> {
    let of_side = |side: &str, refusal: Refusal| Err(Refusal { subject: format!("{side}: {}", refusal.subject), ..refusal });
    let rank = |refusal: &Refusal| (refusal.subject.clone(), refusal.code.clone(), refusal.sentence.clone());
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Ok(_)) => of_side("A", a),
        (Ok(_), Err(b)) => of_side("B", b),
        (Err(a), Err(b)) if a == b => of_side("A and B", a),
        (Err(a), Err(b)) if rank(&a) < rank(&b) => of_side("A", a),
        (Err(_), Err(b)) => of_side("B", b),
    }
}

type Side<'a> = BTreeMap<String, (File<'a>, CanonicalFile)>;

fn side<'a, V: Verifier + ?Sized>(coordinate: Option<&str>, output: Output<'a>) -> Result<Side<'a>, Refusal> {
    let mut side = Side::new();
    for canonical in V::canonicalize(coordinate, output)? {
        let file = output.file(canonical.file).expect("a canonical form is of one of the output's files");
        let name = file.name().to_owned();
        if side.insert(name.clone(), (file, canonical)).is_some() {
            return Err(Refusal::new("duplicate-file", &name, "Two files of one output have this name."));
        }
    }
    if side.len() as u32 != output.count() {
        let sentence = "Not every file of the output has a canonical form.";
        return Err(Refusal::new("uncovered-file", "the output", sentence));
    }
    Ok(side)
}

fn sides<V: Verifier + ?Sized>(a: &Side<'_>, b: &Side<'_>) -> Comparison {
    let mut report = Report::new();
    let mut identical = true;
    let mut passes: Vec<&str> = Vec::new();
    for (name, (file, canonical)) in a {
        report.artifact(name);
        let Some((other, other_canonical)) = b.get(name) else {
            report.only_in_a("the file");
            continue;
        };
        if canonical.canonical_digest != other_canonical.canonical_digest {
            let before = report.differences().len();
            V::explain(file, other, &mut report);
            if report.differences().len() == before && !report.is_full() {
                explain_by_digest(file, other, &mut report);
            }
        } else if file.size() != other.size() || file.sha256() != other.sha256() {
            identical = false;
            passes.extend(canonical.passes.iter().chain(&other_canonical.passes).map(String::as_str));
        }
    }
    for name in b.keys().filter(|name| !a.contains_key(*name)) {
        report.artifact(name);
        report.only_in_b("the file");
    }
    if !report.is_empty() {
        return report.into_comparison();
    }
    if identical {
        return Comparison::Identical;
    }
    let described = V::describe().passes.into_iter().map(|pass| pass.name);
    let named: Vec<String> = described.filter(|name| passes.contains(&name.as_str())).collect();
    if named.is_empty() {
        let sentence = "Their bytes differ, their canonical forms do not, and the verifier names no pass that forgives it.";
        return Comparison::Undecidable(Refusal::new("unnamed-pass", "A and B", sentence));
    }
    Comparison::SameAfter(named)
}

/// Says that the contents differ, by size and digest.
pub fn explain_by_digest(a: &File<'_>, b: &File<'_>, report: &mut Report) {
    report.content((a.size(), &a.sha256()), (b.size(), &b.sha256()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Description, Pass, PublishedArtifact};
    use crate::files::MemoryFiles;
    use crate::hash::sha256;

    /// Texts, of which the case of letters means nothing and a `?` has no meaning at all. A blank at the end is lost without a pass that says so.
    struct Letters;

    impl Verifier for Letters {
        fn describe() -> Description {
            Description {
                package_type: "letters".into(),
                aliases: Vec::new(),
                coordinate_syntax: "Any text.".into(),
                examples: Vec::new(),
                passes: vec![Pass::new("unused", "Nothing."), Pass::new("case", "The case of letters.")],
                http_paths: Vec::new(),
            }
        }

        fn parse_coordinate(text: &str) -> Result<String, Refusal> {
            Ok(text.into())
        }

        fn check(_coordinate: &str, _output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
            Ok(Vec::new())
        }

        fn canonicalize(_coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
            let canonical = |file: File<'_>| {
                let bytes = file.read_whole(100).unwrap_or_default();
                if bytes.contains(&b'?') {
                    return Err(Refusal::new("unreadable", file.name(), "It has a question mark."));
                }
                let bytes = bytes.trim_ascii_end();
                let lower = bytes.to_ascii_lowercase();
                let passes = if lower == bytes { Vec::new() } else { vec!["case".into()] };
                let digest = sha256(&lower).into();
                Ok(CanonicalFile { file: file.index(), canonical_digest: digest, passes, findings: Vec::new() })
            };
            output.files().map(canonical).collect()
        }
    }

    fn compare(a: &[(&str, &str)], b: &[(&str, &str)]) -> Comparison {
        let files =
            |files: &[(&str, &str)]| MemoryFiles(files.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect());
        let both = MemoryFiles::side_by_side(&files(a), &files(b));
        let (of_a, of_b) = both.output().split(a.len() as u32);
        by_canonical_form::<Letters>(None, of_a, of_b)
    }

    fn undecided(a: &[(&str, &str)], b: &[(&str, &str)]) -> String {
        match compare(a, b) {
            Comparison::Undecidable(refusal) => refusal.subject,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn passes_are_those_of_the_files_that_differ_bit_for_bit() {
        assert_eq!(compare(&[("x", "A")], &[("x", "A")]), Comparison::Identical);
        let same_after = |passes: &[&str]| Comparison::SameAfter(passes.iter().map(|pass| (*pass).into()).collect());
        assert_eq!(compare(&[("x", "A"), ("y", "b")], &[("x", "a"), ("y", "b")]), same_after(&["case"]));
        assert!(matches!(compare(&[("x", "a")], &[("x", "b")]), Comparison::Different(_)));
        assert!(matches!(compare(&[("x", "a")], &[("y", "a")]), Comparison::Different(_)));
    }

    #[test]
    fn what_no_pass_forgives_is_not_the_same() {
        assert_eq!(undecided(&[("x", "a ")], &[("x", "a")]), "A and B");
    }

    #[test]
    fn exchanging_the_sides_exchanges_the_side_of_a_refusal_and_nothing_else() {
        assert_eq!(undecided(&[("x", "?")], &[("x", "a")]), "A: x");
        assert_eq!(undecided(&[("x", "a")], &[("x", "?")]), "B: x");
        assert_eq!(undecided(&[("x", "?")], &[("x", "?!")]), "A and B: x");
        let (x, y) = ([("x", "?"), ("y", "a")], [("x", "a"), ("y", "?")]);
        assert_eq!((undecided(&x, &y), undecided(&y, &x)), ("A: x".into(), "B: x".into()));
    }
}
