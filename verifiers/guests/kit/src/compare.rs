//! Comparison by canonical form, for package types whose outputs have the same file names.

use std::collections::BTreeMap;

use crate::contract::{CanonicalFile, Comparison, Refusal};
use crate::files::{File, Output};
use crate::report::Report;
use crate::verifier::Verifier;

/// Pairs files by name and compares their canonical digests.
pub fn by_canonical_form<V: Verifier + ?Sized>(coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Comparison {
    match side::<V>("A", coordinate, a).and_then(|a| Ok((a, side::<V>("B", coordinate, b)?))) {
        Ok((a, b)) => sides::<V>(&a, &b),
        Err(refusal) => Comparison::Undecidable(refusal),
    }
}

type Side<'a> = BTreeMap<String, (File<'a>, CanonicalFile)>;

fn side<'a, V: Verifier + ?Sized>(label: &str, coordinate: Option<&str>, output: Output<'a>) -> Result<Side<'a>, Refusal> {
    let of_side = |refusal: Refusal| Refusal { subject: format!("{label}: {}", refusal.subject), ..refusal };
    let mut side = Side::new();
    for canonical in V::canonicalize(coordinate, output).map_err(of_side)? {
        let file = output.file(canonical.file).expect("a canonical form is of one of the output's files");
        let name = file.name().to_owned();
        if side.insert(name.clone(), (file, canonical)).is_some() {
            return Err(of_side(Refusal::new("duplicate-file", &name, "Two files of one output have this name.")));
        }
    }
    if side.len() as u32 != output.count() {
        let sentence = "Not every file of the output has a canonical form.";
        return Err(of_side(Refusal::new("uncovered-file", "the output", sentence)));
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
        passes.extend(canonical.passes.iter().chain(&other_canonical.passes).map(String::as_str));
        if canonical.canonical_digest != other_canonical.canonical_digest {
            let before = report.differences().len();
            V::explain(file, other, &mut report);
            if report.differences().len() == before && !report.is_full() {
                explain_by_digest(file, other, &mut report);
            }
        } else if file.size() != other.size() || file.sha256() != other.sha256() {
            identical = false;
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
    Comparison::SameAfter(described.filter(|name| passes.contains(&name.as_str())).collect())
}

/// Says that the contents differ, by size and digest.
pub fn explain_by_digest(a: &File<'_>, b: &File<'_>, report: &mut Report) {
    report.content((a.size(), &a.sha256()), (b.size(), &b.sha256()));
}
