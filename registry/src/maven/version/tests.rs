use super::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::path::Path;
use std::process::Command;

#[track_caller]
fn check(a: &str, order: Ordering, b: &str) {
    assert_eq!(Version::parse(a).cmp(&Version::parse(b)), order, "{a} and {b}: {:?}", [Version::parse(a), Version::parse(b)]);
    assert_eq!(Version::parse(b).cmp(&Version::parse(a)), order.reverse(), "{b} and {a}");
}

#[test]
fn the_examples_of_the_specification_hold() {
    use Ordering::{Equal, Greater, Less};
    check("1", Less, "1.1");
    check("1-snapshot", Less, "1");
    check("1", Less, "1-sp");
    check("1-foo2", Less, "1-foo10");
    check("1.foo", Equal, "1-foo");
    check("1-foo", Less, "1-1");
    check("1-1", Less, "1.1");
    for same in ["1.ga", "1-ga", "1-0", "1.0", "1.", "1-", "1.0.0", "1.0.0-0.0.0", "1.final", "1.0-FINAL", "1-release"] {
        check(same, Equal, "1");
    }
    check("1.0.0-foo.0.0", Equal, "1-foo");
    check("1-sp", Greater, "1-ga");
    check("1-sp.1", Greater, "1-ga.1");
    check("1-sp-1", Less, "1-ga-1");
    check("1-a1", Equal, "1-alpha-1");
    check("1-1.foo-bar1baz-.1", Equal, "1-1.foo-bar-1-baz-0.1");
}

#[test]
fn versions_as_they_are_published_are_in_the_order_they_were() {
    let ascending = [
        "0.9",
        "1-alpha-1",
        "1.0-alpha-2",
        "1.0-beta1",
        "1.0-m3",
        "1.0.0.RC1",
        "1.0.0-RC2",
        "1.0.0-SNAPSHOT",
        "1.0.0",
        "1.0.0-jre8",
        "1.0.1",
        "1.2",
        "1.10",
        "1.10.20260101",
        "2.0-rc.1",
        "2.0.0.Final",
        "2.0.1.Final",
        "20030203.000550",
        "99999999999999999999999",
    ];
    for (at, a) in ascending.iter().enumerate() {
        for b in &ascending[at + 1..] {
            check(a, Ordering::Less, b);
        }
    }
    check("1.0.RC2", Ordering::Less, "1.0-RC3");
    check("1.007", Ordering::Equal, "1.7");
    check("1.0+build", Ordering::Greater, "1.0");
}

/// What is written as a version: numbers and qualifiers of every rank, separated in every way.
fn version() -> impl Strategy<Value = String> {
    const WORD: &str = "[0-9]{1,3}|[1-9][0-9]{18,22}|alpha|beta|milestone|a|b|m|rc|CR|SNAPSHOT|ga|final|sp|foo|jre|x";
    proptest::collection::vec((WORD, "[.-]|"), 1..7).prop_map(|words| {
        let mut text: String = words.into_iter().flat_map(|(word, separator)| [word, separator]).collect();
        text.truncate(text.trim_end_matches(['.', '-']).len());
        text
    })
}

proptest! {
    #[test]
    fn the_order_is_total(a in version(), b in version(), c in version()) {
        let [x, y, z] = [&a, &b, &c].map(|text| Version::parse(text));
        prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
        let mut sorted = [&x, &y, &z];
        sorted.sort();
        prop_assert!(sorted[0] <= sorted[1] && sorted[1] <= sorted[2] && sorted[0] <= sorted[2]);
        prop_assert_eq!(x == y, x.cmp(&y) == Ordering::Equal);
    }

    #[test]
    fn what_means_nothing_changes_nothing(a in version(), nothing in "(\\.0|\\.ga|-0|-final|\\.|-){0,3}") {
        prop_assert_eq!(Version::parse(&a), Version::parse(&format!("{a}{nothing}")));
        prop_assert_eq!(Version::parse(&a), Version::parse(&a.to_uppercase()));
    }

    #[test]
    fn nothing_makes_it_panic(text in "\\PC{0,40}") {
        Version::parse(&text);
    }
}

/// Where Debian's package `maven` has the class that Maven itself compares with; `MAVEN_HOME` names another one.
const MAVEN_HOME: &str = "/usr/share/maven";
const COMPARISONS: usize = 1_000;

#[test]
fn maven_itself_finds_the_same_order() {
    let home = std::env::var_os("MAVEN_HOME").unwrap_or_else(|| MAVEN_HOME.into());
    let libraries = Path::new(&home).join("lib");
    if !libraries.is_dir() {
        return skipped();
    }
    // The specification expects a number in front. Maven keeps an empty level, and a qualifier behind another one's dot at times on its level: then its order
    // is not the specification's, nor one at all.
    let is_specified = |text: &str| {
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> = text.split_inclusive(['.', '-']).collect();
        let is_word = |word: &str| word.ends_with(|c: char| !c.is_ascii_digit());
        let are_specified = |pair: &[&str]| match pair[0].strip_suffix('.') {
            Some(before) => !is_word(before) || pair[1].starts_with(|c: char| c.is_ascii_digit()),
            None => !is_void(pair[1]),
        };
        text.starts_with(|c: char| c.is_ascii_digit()) && !is_void(words[0]) && words.windows(2).all(are_specified)
    };
    let (version, mut runner) = (version(), proptest::test_runner::TestRunner::deterministic());
    let versions: Vec<String> = std::iter::repeat_with(|| version.new_tree(&mut runner).expect("a version").current())
        .filter(|text| is_specified(text))
        .take(COMPARISONS)
        .collect();
    let class = "org.apache.maven.artifact.versioning.ComparableVersion";
    let mut java = Command::new("java");
    java.arg("-cp").arg(libraries.join("*")).arg(class).args(&versions);
    let Ok(output) = java.output() else { return skipped() };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    let comparisons: Vec<&str> = said.lines().filter(|line| line.starts_with("   ")).map(str::trim).collect();
    assert_eq!(comparisons.len(), COMPARISONS - 1);
    let ours = |pair: &[String]| match Version::parse(&pair[0]).cmp(&Version::parse(&pair[1])) {
        Ordering::Less => format!("{} < {}", pair[0], pair[1]),
        Ordering::Equal => format!("{} == {}", pair[0], pair[1]),
        Ordering::Greater => format!("{} > {}", pair[0], pair[1]),
    };
    let wrong = versions.windows(2).map(ours).zip(comparisons).filter(|(ours, said)| ours != said);
    assert_eq!(wrong.collect::<Vec<_>>(), vec![], "found here, and by Maven");
}

/// Whether what stands behind a hyphen means nothing, as far as the next separator.
fn is_void(word: &str) -> bool {
    word.starts_with(['0', '.', '-']) || ["ga", "final", "release"].iter().any(|nothing| word.starts_with(nothing))
}

fn skipped() {
    assert_ne!(std::env::var("PYRSIA_REQUIRE_CLIENTS").as_deref(), Ok("1"), "needs java and Maven");
    println!("SKIPPED (needs java and Maven): the order of versions against Maven's own");
}
