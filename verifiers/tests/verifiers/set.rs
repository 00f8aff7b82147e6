//! The verifiers a node has.

use std::fs;

use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{SHIPPED, SetError, VerifierSet};

use crate::HOST;
use crate::sandbox::{UNREACHABLE, component};

#[test]
fn the_shipped_modules_are_those_of_the_list_of_digests() {
    let sums: String = SHIPPED.iter().map(|(name, module)| format!("{}  {name}\n", Sha256Digest::of(module))).collect();
    assert_eq!(sums, include_str!("../../shipped/SHA256SUMS"));
}

#[test]
fn a_module_in_the_folder_teaches_the_node_its_package_type() {
    let folder = tempfile::tempdir().unwrap();
    let first = component(UNREACHABLE, UNREACHABLE);
    let second = component("(nop) (unreachable)", UNREACHABLE);
    for (name, bytes) in [("test-1.wasm", &first[..]), ("test-2.wasm", &second), ("broken.wasm", b"\0asm"), ("notes.txt", b"")] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let set = VerifierSet::open(&HOST, Some(folder.path())).unwrap();

    assert_eq!(set.iter().count(), 2 + SHIPPED.len());
    assert_eq!(set.preferred("test").unwrap().digest(), Sha256Digest::of(&second), "the last by name");
    assert!(set.by_digest(&Sha256Digest::of(&first)).is_some());
    assert_eq!(set.preferred("docker").map(|v| v.digest()), set.preferred("oci").map(|v| v.digest()), "by its alias");
    assert!(set.preferred("unheard-of").is_none());
    let unusable: Vec<_> = set.unusable().iter().map(|module| module.path.file_name().unwrap().to_owned()).collect();
    assert_eq!(unusable, ["broken.wasm"]);
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap().path().join("absent");
    let error = VerifierSet::open(&HOST, Some(&folder)).unwrap_err();
    assert!(matches!(&error, SetError::Folder { folder: named, .. } if *named == folder), "{error}");
}
