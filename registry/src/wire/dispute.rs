//! A report about a dispute, in words: for everybody who reads of a build that came to nothing.

use pyrsia_ledger::event::{DisputeReport, GroupComparison, GroupVerdict, ReportedDifference};

/// A line for each pair of results that was compared, and one below it for each thing that is not the same.
pub fn lines(report: &DisputeReport) -> Vec<String> {
    let mut lines = vec![];
    for comparison in &report.comparisons {
        lines.push(verdict(comparison));
        lines.extend(comparison.differences.iter().map(difference));
        if comparison.omitted > 0 {
            lines.push(format!("  and {} more", comparison.omitted));
        }
    }
    if report.omitted > 0 {
        lines.push(format!("{} more pairs of results were not compared", report.omitted));
    }
    lines
}

fn verdict(comparison: &GroupComparison) -> String {
    let GroupComparison { a, b, verdict, .. } = comparison;
    let what = match verdict {
        GroupVerdict::Different => "are different".to_owned(),
        GroupVerdict::SameAfter { passes } => format!("are the same after {}", passes.join(", ")),
        GroupVerdict::OtherSource => "were built from other sources".to_owned(),
        GroupVerdict::Undecidable { reason } => format!("cannot be compared without doubt: {reason}"),
        GroupVerdict::Unavailable { reason } => format!("could not be compared, because bytes are missing: {reason}"),
    };
    format!("A, the result of {a}, and B, the result of {b}, {what}")
}

fn difference(difference: &ReportedDifference) -> String {
    let ReportedDifference { artifact, path, what, a, b } = difference;
    let mut place = artifact.clone();
    for part in path {
        place.push_str(" > ");
        place.push_str(part);
    }
    match (a, b) {
        (None, None) => format!("  {place}: {what}"),
        _ => {
            let side = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
            format!("  {place}: {what}; A has {}, B has {}", side(a), side(b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pyrsia_ledger::NodeId;

    #[test]
    fn a_report_names_who_has_what_where() {
        let [a, b] = [1, 2].map(|byte| NodeId::from_public_key([byte; 32]));
        let differs = ReportedDifference {
            artifact: "layer 1".into(),
            path: vec!["usr/bin/tool".into()],
            what: "mode".into(),
            a: Some("0755".into()),
            b: None,
        };
        let comparison = GroupComparison { a, b, verdict: GroupVerdict::Different, differences: vec![differs], omitted: 2 };
        let said = lines(&DisputeReport { comparisons: vec![comparison], omitted: 1 });
        assert_eq!(said[0], format!("A, the result of {a}, and B, the result of {b}, are different"));
        let rest = [
            "  layer 1 > usr/bin/tool: mode; A has 0755, B has nothing",
            "  and 2 more",
            "1 more pairs of results were not compared",
        ];
        assert_eq!(said[1..], rest);
    }
}
