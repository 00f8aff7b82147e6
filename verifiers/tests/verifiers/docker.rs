//! The shipped verifier of images, as a node runs it.

use proptest::prelude::*;
use pyrsia_ledger::Sha256Digest;
use pyrsia_verifiers::{Comparison, Outcome, PublishedArtifact, Refusal};
use serde_json::json;

use crate::DOCKER;
use crate::image::{DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LIST, DOCKER_MANIFEST, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST, Output};

#[track_caller]
fn published(output: &Output, coordinate: &str) -> Vec<PublishedArtifact> {
    match output.check(coordinate) {
        Outcome::Done(published) => published,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_refused(output: &Output, coordinate: &str, code: &str, subject: &str) -> Refusal {
    match output.check(coordinate) {
        Outcome::Refused(refusal) => {
            assert_eq!((refusal.code.as_str(), refusal.subject.as_str()), (code, subject), "{refusal}");
            refusal
        }
        other => panic!("{other:?}"),
    }
}

/// Every id with the media type it is served under, and that each is the digest of the file it names.
fn check_published(output: &Output, coordinate: &str, media_types: &[&str]) {
    let published = published(output, coordinate);
    let served: Vec<&str> = published.iter().map(|artifact| artifact.media_type.as_str()).collect();
    assert_eq!(served, media_types);
    assert_eq!(published[0].artifact_id, coordinate);
    assert_eq!(published[0].file, published[1].file, "the tag and the digest are one file");
    for artifact in &published {
        let digest = Sha256Digest::of(&output.0[artifact.file].1);
        if artifact.media_type.contains("json") {
            let refers = !artifact.media_type.contains("config") && !artifact.media_type.contains("container.image");
            assert_eq!(artifact.passes.contains(&"references".to_owned()), refers, "{artifact:?}");
            assert_ne!(artifact.canonical, digest, "a document is compared with what it refers to");
        } else {
            // These layers are no archives.
            assert_eq!((artifact.canonical, artifact.passes.len()), (digest, 0));
        }
        assert!(
            [coordinate.into(), format!("alpine@sha256:{digest}")].contains(&artifact.artifact_id),
            "{}",
            artifact.artifact_id
        );
    }
}

#[test]
fn it_says_what_it_is_for_and_accepts_its_own_examples() {
    let description = DOCKER.description();
    assert_eq!(description.package_type.as_str(), "docker");
    for example in &description.examples {
        assert_eq!(DOCKER.parse_coordinate(example), Outcome::Done(example.clone()));
    }
}

#[test]
fn coordinates_are_brought_to_one_form_or_refused_with_a_sentence() {
    assert_eq!(DOCKER.parse_coordinate("library/alpine"), Outcome::Done("alpine:latest".into()));
    assert_eq!(DOCKER.parse_coordinate("library/a/b:1"), Outcome::Done("library/a/b:1".into()));
    for (text, code) in [
        ("registry.example/alpine:1", "registry-host"),
        ("Alpine", "malformed-name"),
        ("alpine:", "malformed-tag"),
        ("alpine@sha256:1", "malformed-digest"),
        ("", "malformed-name"),
        ("\u{1b}[31m:\u{0}", "malformed-name"),
    ] {
        match DOCKER.parse_coordinate(text) {
            Outcome::Refused(refusal) => {
                assert_eq!(refusal.code, code, "{refusal}");
                assert!(refusal.sentence.ends_with('.') && !refusal.sentence.contains(char::is_control), "{refusal}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

#[test]
fn a_docker_image_is_published() {
    let types = [DOCKER_MANIFEST, DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER];
    check_published(&Output::docker(), "alpine:3.16.0", &types);
}

#[test]
fn an_oci_image_is_published() {
    check_published(&Output::oci(), "alpine:1", &[OCI_MANIFEST, OCI_MANIFEST, OCI_CONFIG, OCI_LAYER]);
}

#[test]
fn an_index_of_two_platforms_is_published_with_the_shared_layer_once() {
    let image = [DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LAYER];
    let types: Vec<&str> =
        [DOCKER_LIST; 2].into_iter().chain(image).chain([DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER]).collect();
    check_published(&Output::index(), "alpine:1", &types);
}

#[test]
fn a_coordinate_with_a_digest_is_published_once_and_only_as_that_digest() {
    let mut output = Output::docker();
    let coordinate = format!("alpine@sha256:{}", output.manifest_digest());
    let published = published(&output, &coordinate);
    assert_eq!((published.len(), published[0].artifact_id.as_str()), (4, coordinate.as_str()));
    let another = format!("alpine@sha256:{}", Sha256Digest::of(b"another"));
    check_refused(&output, &another, "wrong-digest", "manifest");
}

#[test]
fn a_file_that_is_not_what_its_name_says_is_refused() {
    let mut output = Output::docker();
    let layer = output.name_of(b"first layer");
    output.file(&layer)[0] ^= 1;
    check_refused(&output, "alpine:1", "wrong-digest", &layer);
}

#[test]
fn a_size_that_does_not_match_is_refused() {
    let output = Output::docker();
    let layer = output.name_of(b"second layer");
    let refusal =
        check_refused(&output.edited(|manifest| manifest["layers"][1]["size"] = json!(13)), "alpine:1", "wrong-size", &layer);
    assert!(refusal.sentence.contains("12") && refusal.sentence.contains("13"), "{refusal}");
}

#[test]
fn a_missing_layer_config_or_platform_is_refused_by_name() {
    let output = Output::docker();
    let layer = output.name_of(b"first layer");
    check_refused(&output.clone().without(&layer), "alpine:1", "missing-layer", &layer);
    let config = output.0.iter().find(|(_, bytes)| bytes.starts_with(b"{\"architecture\"")).unwrap().0.clone();
    check_refused(&output.without(&config), "alpine:1", "missing-config", &config);

    let index = Output::index();
    let second =
        index.0.iter().rev().find(|(name, bytes)| name != "manifest" && bytes.starts_with(b"{\"config\"")).unwrap().0.clone();
    let refusal = check_refused(&index.without(&second), "alpine:1", "missing-manifest", &second);
    assert!(refusal.sentence.contains("linux/arm64"), "{refusal}");
    check_refused(&Output::docker().without("manifest"), "alpine:1", "missing-manifest", "manifest");
}

#[test]
fn a_file_that_nothing_refers_to_is_refused() {
    let mut output = Output::docker();
    output.blob(DOCKER_LAYER, b"smuggled");
    let smuggled = output.name_of(b"smuggled");
    check_refused(&output, "alpine:1", "unreferenced-file", &smuggled);
    output = Output::docker();
    output.0.push(("install.sh".into(), b"#!".into()));
    check_refused(&output, "alpine:1", "unknown-file", "install.sh");
}

#[test]
fn an_unknown_media_type_is_refused() {
    let output = Output::docker();
    let layer = Sha256Digest::of(b"first layer").to_oci();
    for unknown in ["application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/octet-stream", OCI_CONFIG, ""] {
        let output = output.clone().edited(|manifest| manifest["layers"][0]["mediaType"] = json!(unknown));
        check_refused(&output, "alpine:1", "unknown-media-type", &layer);
    }
    let schema1 =
        output.edited(|manifest| manifest["mediaType"] = json!("application/vnd.docker.distribution.manifest.v1+prettyjws"));
    check_refused(&schema1, "alpine:1", "unknown-media-type", "manifest");
}

#[test]
fn repeated_keys_in_a_manifest_are_refused() {
    let mut output = Output::docker();
    let manifest = output.file("manifest");
    let at = manifest.iter().position(|byte| *byte == b'{').unwrap() + 1;
    manifest.splice(at..at, *b"\"layers\":[],");
    let refusal = check_refused(&output, "alpine:1", "malformed-manifest", "manifest");
    assert!(refusal.sentence.contains("layers"), "{refusal}");
}

#[test]
fn a_manifest_over_four_mebibytes_is_refused_and_one_of_four_is_read() {
    const LIMIT: usize = 4 << 20;
    let mut output = Output::docker();
    output.file("manifest").resize(LIMIT, b' ');
    assert!(output.check("alpine:1").done().is_some());
    output.file("manifest").push(b' ');
    check_refused(&output, "alpine:1", "manifest-too-large", "manifest");
}

#[test]
fn documents_made_to_exhaust_the_reader_are_refused_within_the_limits() {
    const LIMIT: usize = 4 << 20;
    let mut keys = String::from("{");
    for number in 0.. {
        if keys.len() > LIMIT - 32 {
            break;
        }
        keys.push_str(&format!("\"{number:x}\":0,"));
    }
    keys.push_str("\"schemaVersion\":2}");
    let nested = "[".repeat(LIMIT);
    let zeros = format!("{{\"schemaVersion\":2,\"layers\":[{}0]}}", "0,".repeat(LIMIT / 2 - 50));
    let string = format!("\"{}\"", "a".repeat(LIMIT - 2));
    for document in [keys, nested, zeros, string] {
        let output = Output(vec![("manifest".into(), document.into_bytes())]);
        check_refused(&output, "alpine:1", "malformed-manifest", "manifest");
    }
}

/// An image whose only layer is a tar of one file, written at a time of its own.
fn image_of_a_file(modified: u64, mode: u32) -> Output {
    let mut tar = Vec::from([0; 512]);
    let mut put = |at: usize, text: &str| tar[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "usr/bin/tool");
    put(100, &format!("{mode:07o}"));
    put(108, "0000000");
    put(116, "0000000");
    put(124, "00000000003");
    put(136, &format!("{modified:011o}"));
    put(148, "        0");
    put(257, "ustar\x0000");
    let sum: u32 = tar.iter().map(|byte| u32::from(*byte)).sum();
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    tar.extend(b"abc");
    tar.resize(2048, 0);
    let mut output = Output::default();
    let manifest = output.image([OCI_MANIFEST, OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar"], "amd64", &[&tar]);
    output.with_manifest(&manifest)
}

#[test]
fn two_builds_are_compared_by_what_their_layers_mean() {
    let compare = |a: &Output, b: &Output| {
        let ((_folder, a), (_other_folder, b)) = (a.lend(), b.lend());
        match DOCKER.compare(None, &a, &b) {
            Outcome::Done(comparison) => comparison,
            other => panic!("{other:?}"),
        }
    };
    let (first, later, executable) = (image_of_a_file(1, 0o644), image_of_a_file(2, 0o644), image_of_a_file(1, 0o755));
    assert_eq!(compare(&first, &first), Comparison::Identical);
    assert_eq!(compare(&first, &later), Comparison::SameAfter { passes: vec!["tar-time".into(), "references".into()] });
    let canonical =
        |output: &Output| published(output, "alpine:1").into_iter().map(|artifact| artifact.canonical).collect::<Vec<_>>();
    assert_eq!(canonical(&first), canonical(&later));
    let Comparison::Different(report) = compare(&first, &executable) else { panic!("not different") };
    let [difference] = &report.differences[..] else { panic!("{report:?}") };
    assert_eq!((&difference.path[..], &*difference.what), (&["layer 1".to_owned(), "usr/bin/tool".to_owned()][..], "mode"));
    assert_eq!((difference.a.as_deref(), difference.b.as_deref()), (Some("0644"), Some("0755")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_corrupted_byte_goes_unnoticed(which in 0..3usize, file: prop::sample::Index, at: prop::sample::Index, change in 1..=255u8) {
        let mut output = [Output::docker, Output::oci, Output::index][which]();
        let good = output.check("alpine:1").done().expect("the output is good");
        let by_digest = format!("alpine@sha256:{}", output.manifest_digest());
        let file = file.index(output.0.len());
        let bytes = &mut output.0[file].1;
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        prop_assert_ne!(output.check("alpine:1"), Outcome::Done(good));
        prop_assert!(matches!(output.check(&by_digest), Outcome::Refused(_)), "a digest admits one sequence of bytes");
    }
}
