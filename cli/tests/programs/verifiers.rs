//! Comparing outputs and beginning verifiers, without any node.

use crate::fixture::{PYRSIA, run};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// A container image of one empty layer, as a build gives it.
fn image(folder: &Path, label: &str) {
    fs::create_dir(folder).expect("makes the folder");
    let blob = |bytes: &[u8]| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        fs::write(folder.join(format!("sha256:{digest}.blob")), bytes).expect("writes the blob");
        format!(r#""digest":"sha256:{digest}","size":{}"#, bytes.len())
    };
    let layer = blob(&[0; 1024]);
    let diff_id = layer.split('"').nth(3).expect("a digest").to_owned();
    let config = blob(
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{"Labels":{{"who":"{label}"}}}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#
        )
        .as_bytes(),
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"application/vnd.oci.image.config.v1+json",{config}}},"layers":[{{"mediaType":"application/vnd.oci.image.layer.v1.tar",{layer}}}]}}"#
    );
    fs::write(folder.join("manifest"), manifest).expect("writes the manifest");
}

#[test]
fn two_outputs_are_compared_without_a_node_and_the_exit_code_says_how_they_differ() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    for (name, label) in [("one", "a"), ("same", "a"), ("other", "b")] {
        image(&path(name), label);
    }
    let compare = |a: &str, b: &str, flags: &str| {
        run(PYRSIA, home.path(), &format!("compare {} {} {flags}", path(a).display(), path(b).display()))
    };
    let same = compare("one", "same", "--type docker");
    assert_eq!((same.code, same.stdout.as_str()), (Some(0), "the same, bit for bit\n"), "{}", same.stderr);
    let different = compare("one", "other", "--type oci --json");
    assert_eq!(different.code, Some(1), "{}", different.stderr);
    let report: serde_json::Value = serde_json::from_str(&different.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["package_type"]), (&"different".into(), &"docker".into()));
    assert!(!report["differences"].as_array().unwrap().is_empty(), "{report}");
    for (a, b, flags) in
        [("one", "absent", "--type docker"), ("one", "same", "--type unheard-of"), ("one", "same", "--module absent")]
    {
        let undecided = compare(a, b, flags);
        assert_eq!(undecided.code, Some(2), "{a} {b} {flags}");
        assert!(undecided.stdout.is_empty() && !undecided.stderr.is_empty());
    }
}

#[test]
fn what_a_verifier_finds_worth_knowing_stands_below_the_verdict_once() {
    let home = tempfile::tempdir().unwrap();
    let case = guests().join("npm/cases/other-script");
    let [a, b] = ["a", "b"].map(|side| case.join(side).display().to_string());
    let text = run(PYRSIA, home.path(), &format!("compare {a} {b} --type npm"));
    let lines: Vec<&str> = text.stdout.lines().skip_while(|line| *line != "worth knowing:").collect();
    let [_, of_a, of_b] = lines[..] else { panic!("{}", text.stdout) };
    assert!(of_a.starts_with("  A: demo-1.0.0.tgz: ") && of_a.contains("node lib/index.js"), "{of_a}");
    assert!(of_b.starts_with("  B: demo-1.0.0.tgz: ") && of_b.contains("node lib/steal.js"), "{of_b}");
    let json = run(PYRSIA, home.path(), &format!("compare {a} {a} --type npm --json"));
    let answer: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let findings = answer["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &findings[0]["output"]), (1, &"A and B".into()), "{answer}");
    assert_eq!((&findings[0]["code"], json.code), (&"install-script".into(), Some(0)));
}

/// The first case of a package type whose outputs get one of these verdicts.
fn case(package_type: &str, verdicts: &[&str]) -> PathBuf {
    let cases = guests().join(package_type).join("cases");
    let mut folders: Vec<PathBuf> = fs::read_dir(&cases).expect("cases").map(|entry| entry.expect("a case").path()).collect();
    folders.sort();
    let has_verdict = |folder: &PathBuf| {
        let expected = fs::read_to_string(folder.join("expected.toml")).unwrap_or_default();
        verdicts.iter().any(|verdict| expected.contains(&format!("verdict = \"{verdict}\"")))
    };
    folders.into_iter().find(has_verdict).unwrap_or_else(|| panic!("{package_type} has no case that is {verdicts:?}"))
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifiers/guests")
}

#[test]
fn every_shipped_type_says_same_different_and_undecided_with_its_exit_code_in_words_and_in_json() {
    let home = tempfile::tempdir().unwrap();
    let shipped = fs::read_dir(guests().join("../shipped")).expect("the shipped verifiers");
    let types = shipped.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".wasm")?.to_owned()));
    let types: Vec<String> = types.collect();
    assert!(types.iter().any(|name| name == "docker") && types.iter().any(|name| name == "maven"), "{types:?}");
    // Each run compiles its verifier anew.
    std::thread::scope(|scope| {
        for package_type in &types {
            scope.spawn(|| says_each_verdict(home.path(), package_type));
        }
    });
    // Exchanged, the sides change and the verdict does not.
    let folder = case("maven", &["different"]);
    let said = run(PYRSIA, home.path(), &format!("compare {0}/b {0}/a --type maven --json", folder.display()));
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((said.code, &report["verdict"], &report["package_type"]), (Some(1), &"different".into(), &"maven".into()));
    let difference = &report["differences"][0];
    assert!(difference["artifact"].is_string() && difference["what"].is_string(), "{report}");
}

fn says_each_verdict(home: &Path, package_type: &str) {
    for (verdicts, code, words) in [
        (&["identical", "same-after"][..], 0, "the same"),
        (&["different"], 1, "different, in "),
        (&["undecidable"], 2, "undecided: "),
    ] {
        let folder = case(package_type, verdicts);
        let line = format!("compare {0}/a {0}/b --type {package_type}", folder.display());
        let said = run(PYRSIA, home, &line);
        assert_eq!(said.code, Some(code), "{line}: {} {}", said.stdout, said.stderr);
        assert!(said.stdout.starts_with(words), "{line}: {}", said.stdout);
        // Every place of a difference is on a line of its own below its artifact, with what each side has there.
        assert!(code != 1 || said.stdout.contains("\n    A: ") || said.stdout.contains("only in "), "{line}: {}", said.stdout);
    }
}

#[test]
fn single_files_are_compared_whatever_they_are_called_and_a_folder_by_its_names() {
    let home = tempfile::tempdir().unwrap();
    let jars = case("maven", &["different"]).join("a");
    let jar = fs::read_dir(jars).expect("files").map(|entry| entry.expect("a file").path());
    let jar = jar.filter(|path| path.extension().is_some_and(|extension| extension == "jar")).min().expect("a jar");
    let name = jar.file_name().and_then(|name| name.to_str()).expect("a name");
    for (folder, name) in [("copies", "copy.jar"), ("same", name), ("renamed", "renamed.jar")] {
        fs::create_dir(home.path().join(folder)).expect("a folder");
        fs::copy(&jar, home.path().join(folder).join(name)).expect("a copy");
    }
    let compare = |b: &str| run(PYRSIA, home.path(), &format!("compare {} {b} --type maven", jar.display()));
    for same in ["copies/copy.jar", "same"] {
        let said = compare(same);
        assert_eq!((said.code, said.stdout.as_str()), (Some(0), "the same, bit for bit\n"), "{same}: {}", said.stderr);
    }
    let renamed = compare("renamed");
    assert_eq!(renamed.code, Some(1), "{}", renamed.stderr);
    assert!(renamed.stdout.contains("renamed.jar") && renamed.stdout.contains("only in B"), "{}", renamed.stdout);
    let nonsense = run(PYRSIA, home.path(), "compare same same --type maven --coordinate nonsense");
    assert_eq!(nonsense.code, Some(2));
    assert!(nonsense.stderr.contains("nonsense"), "{}", nonsense.stderr);
}

#[test]
fn a_verifier_begins_in_an_empty_folder_and_under_its_own_name() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("author");
    let line = |word: &str| format!("verifier new {word} --directory {}", folder.display());
    assert_eq!(run(PYRSIA, home.path(), &line("Not-A-Type")).code, Some(2));
    let begun = run(PYRSIA, home.path(), &line("gem"));
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    for path in
        ["Cargo.toml", ".cargo/config.toml", "src/lib.rs", "kit/Cargo.toml", "kit/src/lib.rs", "wit/v1/verifier.wit", "cases"]
    {
        assert!(folder.join(path).exists(), "{path}");
    }
    let source = fs::read_to_string(folder.join("src/lib.rs")).unwrap();
    assert!(source.contains(r#"package_type: "gem".into()"#) && !source.contains("template"));
    let again = run(PYRSIA, home.path(), &line("gem"));
    assert!(again.code == Some(1) && again.stderr.contains("not empty"), "{}", again.stderr);
}
