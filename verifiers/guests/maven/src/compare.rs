//! What two outputs are to each other: their files in pairs by name, by canonical form.

use std::collections::BTreeSet;

use pyrsia_verifier_kit::compare::both;
use pyrsia_verifier_kit::{Comparison, File, Output, Refusal, Report};

use crate::check::belongs;
use crate::coordinate::Coordinate;
use crate::explain;
use crate::output::{Form, Kind, Side};
use crate::passes::{Pass, PassSet};

pub fn compare(coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Comparison {
    pairs(coordinate, a, b).unwrap_or_else(Comparison::Undecidable)
}

fn pairs(coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Result<Comparison, Refusal> {
    let coordinate = coordinate.map(Coordinate::parse).transpose()?;
    let (mut a, mut b) = both(open(coordinate.as_ref(), a), open(coordinate.as_ref(), b))?;
    let names: BTreeSet<(Kind, String)> = a.order().into_iter().chain(b.order()).map(|name| (Kind::of(&name), name)).collect();
    let mut report = Report::new();
    let mut is_identical = true;
    let mut passes = PassSet::default();
    // Forms of one pair at a time: those of an archive hold the names of its entries.
    for (_, name) in &names {
        report.artifact(name);
        let (of_a, of_b) = both(form(&mut a, name), form(&mut b, name))?;
        match (of_a, of_b) {
            (Some((file_a, form_a)), Some((file_b, form_b))) if form_a.digest != form_b.digest => {
                let found = (report.differences().len(), report.is_full());
                explain::files((&file_a, &form_a), (&file_b, &form_b), &mut report)?;
                if found == (report.differences().len(), false) {
                    report.content((file_a.size(), &file_a.sha256()), (file_b.size(), &file_b.sha256()));
                }
            }
            (Some((file_a, form_a)), Some((file_b, form_b))) => {
                if file_a.size() != file_b.size() || file_a.sha256() != file_b.sha256() {
                    is_identical = false;
                    passes.extend(form_a.passes);
                    passes.extend(form_b.passes);
                }
            }
            (Some(_), None) => report.only_in_a("the file"),
            (None, _) => report.only_in_b("the file"),
        }
    }
    Ok(if !report.is_empty() {
        report.into_comparison()
    } else if is_identical {
        Comparison::Identical
    } else {
        if passes.is_empty() {
            // Versions that entries need and fields of 64 bits leave no trace in an entry that was read.
            passes.add(Pass::ZipCompression);
            passes.add(Pass::ZipOrigin);
        }
        Comparison::SameAfter(passes.names())
    })
}

fn open<'a>(coordinate: Option<&Coordinate>, output: Output<'a>) -> Result<Side<'a>, Refusal> {
    let side = Side::open(output)?;
    if let Some(coordinate) = coordinate {
        belongs(&side, coordinate)?;
    }
    Ok(side)
}

fn form<'a>(side: &mut Side<'a>, name: &str) -> Result<Option<(File<'a>, Form)>, Refusal> {
    let Some(file) = side.file(name).cloned() else { return Ok(None) };
    Ok(Some((file, side.form(name)?)))
}

#[cfg(test)]
mod tests;
