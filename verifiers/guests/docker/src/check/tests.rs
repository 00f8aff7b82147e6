#![allow(clippy::unwrap_used)]

use pyrsia_verifier_kit::files::MemoryFiles;
use sha2::{Digest, Sha256};

use super::*;

fn check(coordinate: &str, build: &Build) -> Result<Vec<PublishedArtifact>, Refusal> {
    super::check(coordinate, MemoryFiles(build.0.clone()).output())
}

const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The files of a build, in memory.
#[derive(Clone, Default)]
struct Build(Vec<(String, Vec<u8>)>);

impl Build {
    fn digest(bytes: &[u8]) -> String {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// Adds a blob and gives its descriptor.
    fn blob(&mut self, media_type: &str, bytes: impl AsRef<[u8]>) -> String {
        let bytes = bytes.as_ref();
        let digest = Self::digest(bytes);
        let descriptor = format!(r#""mediaType":"{media_type}","digest":"{digest}","size":{}"#, bytes.len());
        let name = format!("{digest}.blob");
        if self.0.iter().all(|(known, _)| *known != name) {
            self.0.push((name, bytes.into()));
        }
        descriptor
    }

    /// Adds the config and layers of an image and gives its manifest.
    fn image(&mut self, media_types: [&str; 3], config_note: &str, layers: &[&[u8]]) -> String {
        let [manifest, config, layer] = media_types;
        let diff_ids = vec![r#""sha256:0""#; layers.len()].join(",");
        let config =
            self.blob(config, format!(r#"{{"os":"{config_note}","rootfs":{{"type":"layers","diff_ids":[{diff_ids}]}}}}"#));
        let layers: Vec<_> = layers.iter().map(|bytes| format!("{{{}}}", self.blob(layer, bytes))).collect();
        format!(r#"{{"schemaVersion":2,"mediaType":"{manifest}","config":{{{config}}},"layers":[{}]}}"#, layers.join(","))
    }

    fn with_manifest(mut self, manifest: impl Into<Vec<u8>>) -> Self {
        self.0.push(("manifest".into(), manifest.into()));
        self
    }
}

const OCI: [&str; 3] = [OCI_MANIFEST, OCI_CONFIG, "application/vnd.oci.image.layer.v1.tar+zstd"];

fn docker_image() -> Build {
    let mut build = Build::default();
    let manifest = build.image(
        ["application/vnd.docker.distribution.manifest.v2+json", DOCKER_CONFIG, DOCKER_LAYER],
        "linux",
        &[b"one", b"two"],
    );
    build.with_manifest(manifest)
}

/// Two platforms that share a layer, and buildkit's statement about the first.
fn oci_index() -> (Build, String) {
    let mut build = Build::default();
    let amd64 = build.image(OCI, "amd64", &[b"shared", b"amd64"]);
    let arm64 = build.image(OCI, "arm64", &[b"shared", b"arm64"]);
    let statement =
        build.image([OCI_MANIFEST, "application/vnd.oci.empty.v1+json", "application/vnd.in-toto+json"], "none", &[b"statement"]);
    let children = [
        format!(r#"{{{},"platform":{{"os":"linux","architecture":"amd64"}}}}"#, build.blob(OCI_MANIFEST, amd64)),
        format!(r#"{{{},"platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}}"#, build.blob(OCI_MANIFEST, arm64)),
        format!(
            r#"{{{},"platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}}"#,
            build.blob(OCI_MANIFEST, statement)
        ),
    ];
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, children.join(","));
    (build.with_manifest(index.clone()), index)
}

#[track_caller]
fn check_refused(build: &Build, code: &str) -> Refusal {
    let refusal = check("alpine:3.16.0", build).unwrap_err();
    assert_eq!(refusal.code, code, "{refusal:?}");
    refusal
}

/// Replaces `from` in the top manifest, which must contain it.
#[track_caller]
fn edited(mut build: Build, from: &str, to: &str) -> Build {
    let (_, manifest) = build.0.iter_mut().find(|(name, _)| name == "manifest").unwrap();
    let text = String::from_utf8(manifest.clone()).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    *manifest = text.replacen(from, to, 1).into_bytes();
    build
}

fn ids(published: &[PublishedArtifact]) -> Vec<&str> {
    published.iter().map(|artifact| artifact.artifact_id.as_str()).collect()
}

#[test]
fn an_image_publishes_its_tag_its_manifest_and_each_object_in_order() {
    let build = docker_image();
    let published = check("library/alpine:3.16.0", &build).unwrap();
    let digest_of = |file: usize| format!("alpine@{}", Build::digest(&build.0[file].1));
    assert_eq!(ids(&published), ["alpine:3.16.0", &digest_of(3), &digest_of(0), &digest_of(1), &digest_of(2)]);
    assert_eq!(published[0].file, published[1].file);
    assert_eq!(published[2].media_type, DOCKER_CONFIG);
    assert_eq!(published[4].canonical_digest, Sha256::digest(b"two").to_vec());

    let by_digest = check(&digest_of(3), &build).unwrap();
    assert_eq!(by_digest, published[1..]);
}

#[test]
fn an_index_publishes_every_platform_and_what_is_shared_once() {
    let (build, _) = oci_index();
    let published = check("a/b:1", &build).unwrap();
    assert_eq!(published.len(), build.0.len() + 1, "every file once, and the manifest under its tag");
    let media_types: Vec<_> = published.iter().map(|artifact| artifact.media_type.as_str()).collect();
    let [manifest, config, layer] = OCI;
    let expected = [
        OCI_INDEX,
        OCI_INDEX,
        manifest,
        config,
        layer,
        layer,
        manifest,
        config,
        layer,
        manifest,
        "application/vnd.oci.empty.v1+json",
        "application/vnd.in-toto+json",
    ];
    assert_eq!(media_types, expected);
}

#[test]
fn the_order_in_which_files_are_lent_changes_nothing() {
    let (build, _) = oci_index();
    let mut reversed = build.clone();
    reversed.0.reverse();
    let plain = |build| {
        check("a:1", build).unwrap().into_iter().map(|artifact| PublishedArtifact { file: 0, ..artifact }).collect::<Vec<_>>()
    };
    assert_eq!(plain(&build), plain(&reversed));
}

#[test]
fn a_platform_whose_image_is_absent_is_named() {
    let (mut build, _) = oci_index();
    let second = build.0.iter().filter(|(_, bytes)| bytes.starts_with(b"{\"schemaVersion\"")).nth(1).unwrap().0.clone();
    build.0.retain(|(name, _)| *name != second);
    let refusal = check_refused(&build, "missing-manifest");
    assert!(refusal.sentence.contains("linux/arm/v7"), "{}", refusal.sentence);
}

#[test]
fn a_statement_is_only_allowed_where_it_is_marked_as_one() {
    let (build, _) = oci_index();
    check_refused(&edited(build, "vnd.docker.reference.type", "something.else"), "unknown-media-type");
    let mut build = Build::default();
    let statement =
        build.image([OCI_MANIFEST, "application/vnd.oci.empty.v1+json", "application/vnd.in-toto+json"], "none", &[b"statement"]);
    check_refused(&build.with_manifest(statement), "unknown-media-type");
}

#[test]
fn a_statement_with_a_media_type_that_cannot_be_served_is_refused() {
    for media_type in ["application/\u{fffd}", "", r"a\tb", &"x".repeat(300)] {
        let mut build = Build::default();
        let image = build.image(OCI, "amd64", &[b"layer"]);
        let image = build.blob(OCI_MANIFEST, image);
        let statement = build.image([OCI_MANIFEST, media_type, "application/vnd.in-toto+json"], "none", &[b"statement"]);
        let child = format!(
            r#"{{{},"platform":{{"os":"unknown","architecture":"unknown"}},"annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}}"#,
            build.blob(OCI_MANIFEST, statement)
        );
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{{image}}},{child}]}}"#);
        check_refused(&build.with_manifest(index), "malformed-media-type");
    }
}

#[test]
fn an_index_within_an_index_is_refused_however_it_calls_itself() {
    let (mut build, index) = oci_index();
    build.0.retain(|(name, _)| name != "manifest");
    let honest = build.blob(OCI_INDEX, &index);
    check_refused(
        &build.clone().with_manifest(format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{{honest}}}]}}"#)),
        "nested-index",
    );
    let lying = build.blob(OCI_MANIFEST, &index);
    check_refused(
        &build.clone().with_manifest(format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{{{lying}}}]}}"#)),
        "wrong-media-type",
    );
    check_refused(
        &Build::default().with_manifest(format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#)),
        "empty-index",
    );
}

#[test]
fn a_document_that_can_be_read_in_two_ways_is_refused() {
    check_refused(&edited(docker_image(), r#""layers""#, r#""manifests":[],"layers""#), "malformed-manifest");
    check_refused(&edited(docker_image(), r#""layers""#, r#""Layers":[],"layers""#), "malformed-manifest");
    check_refused(&edited(docker_image(), r#""layers""#, r#""config":{},"layers""#), "malformed-manifest");
    check_refused(&edited(docker_image(), r#""layers""#, r#""fsLayers":[],"layers""#), "malformed-manifest");
    check_refused(&edited(docker_image(), r#"manifest.v2+json"#, r#"manifest.list.v2+json"#), "unknown-media-type");
    check_refused(&edited(docker_image(), r#""schemaVersion":2"#, r#""schemaVersion":1"#), "unsupported-schema");
    check_refused(&edited(docker_image(), "{\"schemaVersion\"", "[]{\"schemaVersion\""), "malformed-manifest");
    let without = edited(docker_image(), r#""mediaType":"application/vnd.docker.distribution.manifest.v2+json","#, "");
    assert_eq!(check("a:1", &without).unwrap()[0].media_type, OCI_MANIFEST, "an OCI manifest need not name itself");
}

#[test]
fn a_config_must_belong_to_its_layers() {
    for (config, code) in [
        (r#"{"rootfs":{"type":"layers","diff_ids":[]}}"#, "wrong-layer-count"),
        (r#"{"rootfs":{"type":"other","diff_ids":["x"]}}"#, "malformed-config"),
        (r#"{"rootfs":{"type":"layers","diff_ids":["x"]},"a":1,"a":2}"#, "malformed-config"),
        ("not json", "malformed-config"),
    ] {
        let mut build = Build::default();
        let (config, layer) = (build.blob(OCI_CONFIG, config), build.blob(DOCKER_LAYER, "layer"));
        check_refused(
            &build.with_manifest(format!(r#"{{"schemaVersion":2,"config":{{{config}}},"layers":[{{{layer}}}]}}"#)),
            code,
        );
    }
}

#[test]
fn embedded_data_must_be_what_the_descriptor_points_to() {
    let size = r#""size":3}"#;
    let with_data = |data: &str| edited(docker_image(), size, &format!(r#""size":3,"data":"{data}"}}"#));
    assert!(check("a:1", &with_data("b25l")).is_ok());
    check_refused(&with_data("dHdv"), "wrong-data");
    check_refused(&with_data("b25l="), "wrong-data");
}

#[test]
fn files_that_are_not_an_output_are_refused_by_name() {
    check_refused(&Build::default(), "missing-manifest");
    for (name, code) in
        [("README", "unknown-file"), ("sha256:abc.blob", "unknown-file"), ("", "unknown-file"), ("manifest", "duplicate-file")]
    {
        let mut build = docker_image();
        build.0.push((name.into(), b"x".to_vec()));
        assert_eq!(check_refused(&build, code).subject, name);
    }
}
