//! Layers that real programs packed from one tree, built several times over (`layers/make.sh`): they are one layer, except those that differ in what they mean.

use std::fs;
use std::path::Path;

use pyrsia_verifier_docker::layer::{Budget, LayerForm, canonical_form};
use pyrsia_verifier_docker::passes::Pass;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::hash::sha256;
use pyrsia_verifier_kit::inflate::Compression;

fn form(name: &str) -> LayerForm {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/layers").join(name)).expect("the layer is committed");
    let files = MemoryFiles(vec![(name.into(), bytes.clone())]);
    let file = files.output().file(0).expect("there is one file");
    let budget = Budget::new(10 << 20);
    canonical_form(&file, &sha256(&bytes), Compression::of(&bytes), &budget).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

#[test]
fn what_six_programs_packed_is_one_layer() {
    let first = form("gnu.tar.gz");
    for (name, needed) in [
        ("gnu-sorted-named.tar.gz", &[Pass::GzipHeader, Pass::TarTime, Pass::TarOrder][..]),
        ("posix.tar.gz", &[Pass::TarTime, Pass::GzipHeader]),
        ("posix-epoch.tar.gz", &[Pass::TarTime, Pass::OwnerNames, Pass::TarOrder]),
        ("busybox.tar.gz", &[Pass::TarTime]),
        ("python.tar.gz", &[Pass::TarTime, Pass::TarDialect]),
        ("go.tar.gz", &[Pass::TarTime, Pass::GzipHeader]),
        ("gnu.tar.zst", &[]),
        ("gnu-sorted.tar.zst", &[Pass::TarTime, Pass::TarOrder]),
    ] {
        let other = form(name);
        assert_eq!(other.canonical, first.canonical, "{name}");
        let different = first.noise.different(&other.noise);
        assert!(needed.iter().all(|pass| different.contains(*pass)), "{name}: {:?} instead of {needed:?}", different.names());
    }
    assert_eq!(form("gnu.tar.zst").diff_id, first.diff_id);
}

#[test]
fn another_umask_owner_or_mode_is_another_layer() {
    let first = form("gnu.tar.gz");
    for name in ["different-umask.tar.gz", "different-owner.tar.gz", "different-mode.tar.gz"] {
        assert_ne!(form(name).canonical, first.canonical, "{name}");
    }
}
