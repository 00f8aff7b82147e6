//! The table of faults names tests that are there.

use crate::root;

/// The rows of the table: their cases, and the tests of the last cell as file and name.
fn rows(page: &str) -> Vec<(&str, Vec<(&str, &str)>)> {
    let lines = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut rows = Vec::new();
    for (case, rest) in lines.filter_map(|line| line.split_once(" | ")).filter(|(case, _)| *case != "case") {
        let last = rest.rsplit_once(" | ").map_or(rest, |(_, last)| last);
        let words: Vec<&str> = last.split('`').skip(1).step_by(2).collect();
        assert!(words.len().is_multiple_of(2) && (last == "–" || !words.is_empty()), "{case}: {last}");
        rows.push((case, words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()));
    }
    rows
}

#[test]
fn every_fault_of_the_table_has_its_test() {
    let page = std::fs::read_to_string(root().join("docs/faults.md")).expect("the table");
    let rows = rows(&page);
    let mut missing = Vec::new();
    for (case, tests) in &rows {
        for (file, name) in tests {
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            if !text.contains(&format!("fn {name}(")) {
                missing.push(format!("{case}: {file} {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    let tested = rows.iter().filter(|(_, tests)| !tests.is_empty()).count();
    assert!(tested > 80, "{tested} of {} cases have a test", rows.len());
}

#[test]
fn a_row_is_read_with_its_tests() {
    let page = "| case | answer | test |\n|---|---|---|\n| a `b` | c | `d.rs` `e`, `f.rs` `g` |\n| h | i | – |\n";
    assert_eq!(rows(page), [("a `b`", vec![("d.rs", "e"), ("f.rs", "g")]), ("h", vec![])]);
}
