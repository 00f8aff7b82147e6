//! Comparing outputs and beginning verifiers, without any node.

use crate::fixture::{PYRSIA, run};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

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
