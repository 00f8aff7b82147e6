use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use tempfile::TempDir;

/// An image in a folder, as an engine would save it.
struct Layout {
    folder: TempDir,
    index: Value,
}

impl Layout {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(folder.path().join("blobs/sha256")).expect("a folder");
        Self { folder, index: json!({ "schemaVersion": 2, "manifests": [] }) }
    }

    fn blob(&self, bytes: &[u8]) -> String {
        let digest = Sha256Digest::of(bytes);
        fs::write(self.path().join(blob(digest)), bytes).expect("a blob");
        format!("sha256:{digest}")
    }

    fn manifest(&self, config: &str, layers: &[String]) -> String {
        let layers: Vec<Value> = layers.iter().map(|digest| json!({ "digest": digest })).collect();
        self.blob(json!({ "config": { "digest": config }, "layers": layers }).to_string().as_bytes())
    }

    fn list(&mut self, digest: &str) {
        self.index["manifests"].as_array_mut().expect("a list").push(json!({ "digest": digest }));
        self.write(INDEX, &self.index);
    }

    fn write(&self, name: &str, value: &Value) {
        fs::write(self.path().join(name), value.to_string()).expect("a file");
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn check(&self, proven: &[&str]) -> Result<FoundImage, ImageError> {
        let proven = Proven::of(proven.iter().map(|text| (digest(text).expect("a digest"), (*text).to_owned())));
        check(&ImageFiles::of_folder(self.path()).expect("an image"), &proven)
    }
}

const LAYERS: [&[u8]; 2] = [b"the first layer", b"the second layer"];
const UNCOMPRESSED: [&[u8]; 2] = [b"the first layer, uncompressed", b"the second layer, uncompressed"];

/// The configuration and the layers of an image.
fn image(layout: &Layout) -> (String, Vec<String>) {
    let diff_ids = UNCOMPRESSED.map(|bytes| format!("sha256:{}", Sha256Digest::of(bytes)));
    let config = json!({ "config": { "Labels": { "Digest": "a label" } }, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    (layout.blob(config.to_string().as_bytes()), LAYERS.map(|bytes| layout.blob(bytes)).to_vec())
}

fn said(result: Result<FoundImage, ImageError>) -> String {
    result.expect_err("it is not proven").to_string()
}

#[test]
fn a_proven_manifest_binds_what_is_there_and_a_changed_byte_is_named() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let manifest = layout.manifest(&config, &layers);
    layout.list(&manifest);
    let found = layout.check(&[&manifest]).expect("it is proven");
    assert_eq!((found.configs, found.layers, found.absent, found.uncompressed), (1, 2, 0, false));
    assert_eq!(said(layout.check(&[&layers[0]])), ImageError::Manifest { manifest: digest(&manifest).unwrap() }.to_string());

    let second = layout.path().join(blob(digest(&layers[1]).unwrap()));
    fs::write(&second, b"the second lay3r").expect("a file");
    let refused = said(layout.check(&[&manifest]));
    assert!(refused.contains(layers[1].trim_start_matches("sha256:")) && refused.contains("has the sha256"), "{refused}");
    fs::remove_file(second).expect("it goes");
    let found = layout.check(&[&manifest]).expect("what is there is proven");
    assert_eq!((found.configs, found.layers, found.absent), (1, 1, 1));
}

#[test]
fn every_entry_must_be_proven_and_an_index_may_name_what_was_not_saved() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let manifest = layout.manifest(&config, &layers);
    let other_platform = json!({ "digest": format!("sha256:{}", Sha256Digest::of(b"other platform")) });
    let index = json!({ "manifests": [{ "digest": manifest, "annotations": { "Digest": "a note" } }, other_platform] });
    let index = layout.blob(index.to_string().as_bytes());
    layout.list(&index);
    for proven in [&manifest, &index] {
        assert_eq!(layout.check(&[proven]).expect("it is proven").absent, 1);
    }
    let intruder = layout.blob(b"{ \"rootfs\": { \"diff_ids\": [] } }");
    let intruder = layout.manifest(&intruder, &[]);
    layout.list(&intruder);
    assert!(said(layout.check(&[&manifest])).contains(&intruder));

    let mut empty = Layout::new();
    let elsewhere = format!("sha256:{}", Sha256Digest::of(b"elsewhere"));
    empty.list(&elsewhere);
    assert!(matches!(empty.check(&[&elsewhere]), Err(ImageError::Empty)));
}

#[test]
fn an_entry_at_the_top_must_be_proven_also_where_it_was_not_saved_along() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let manifest = layout.manifest(&config, &layers);
    layout.list(&manifest);
    let elsewhere = format!("sha256:{}", Sha256Digest::of(b"elsewhere"));
    layout.list(&elsewhere);
    assert_eq!(layout.check(&[&manifest, &elsewhere]).expect("both are proven").absent, 1);
    assert!(
        matches!(layout.check(&[&manifest]), Err(ImageError::Manifest { manifest }) if manifest == digest(&elsewhere).unwrap())
    );
}

#[test]
fn the_entries_of_a_saved_image_are_counted() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let manifest = layout.manifest(&config, &layers);
    layout.list(&manifest);
    let paths: Vec<String> = layers.iter().map(|layer| blob(digest(layer).unwrap())).collect();
    let entry = json!({ "Config": blob(digest(&config).unwrap()), "Layers": paths });
    layout.write(SAVED, &Value::Array(vec![entry.clone(); DOCUMENTS_MAX - 1]));
    assert!(layout.check(&[&manifest]).is_ok());
    layout.write(SAVED, &Value::Array(vec![entry; DOCUMENTS_MAX]));
    assert!(matches!(layout.check(&[&manifest]), Err(ImageError::TooMany)));
}

#[test]
fn a_proven_configuration_binds_layers_without_compression() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let uncompressed = UNCOMPRESSED.map(|bytes| layout.blob(bytes));
    // As engines save it that keep layers unpacked: with an index, and before that without.
    let manifest = layout.manifest(&config, &uncompressed);
    layout.list(&manifest);
    let saved = |layers: &[&String]| {
        let paths: Vec<String> = layers.iter().map(|layer| blob(digest(layer).unwrap())).collect();
        json!([{ "Config": blob(digest(&config).unwrap()), "RepoTags": ["a:1"], "Layers": paths }])
    };
    layout.write(SAVED, &saved(&[&uncompressed[0], &uncompressed[1]]));
    let found = layout.check(&[&config]).expect("it is proven");
    assert_eq!((found.configs, found.layers, found.uncompressed), (1, 2, true));
    fs::remove_file(layout.path().join(INDEX)).expect("it goes");
    assert_eq!(layout.check(&[&config]).expect("it is proven"), found);

    // Packed by somebody else, as tools do that turn one format into another.
    let packed = UNCOMPRESSED.map(|bytes| {
        let mut gzip = GzEncoder::new(vec![], Compression::best());
        gzip.write_all(bytes).expect("writing to memory");
        layout.blob(&gzip.finish().expect("writing to memory"))
    });
    layout.write(SAVED, &saved(&[&packed[0], &packed[1]]));
    assert_eq!(layout.check(&[&config]).expect("it is proven"), found);
    let mut converted = Layout::new();
    for blob in [&config, &packed[0], &packed[1]] {
        let name = super::blob(digest(blob).unwrap());
        fs::copy(layout.path().join(&name), converted.path().join(&name)).expect("a copy");
    }
    let manifest = converted.manifest(&config, &packed);
    converted.list(&manifest);
    assert_eq!(converted.check(&[&config]).expect("it is proven"), found);
    let manifest = converted.manifest(&config, &[packed[1].clone(), packed[0].clone()]);
    converted.list(&manifest);
    assert!(matches!(converted.check(&[&config]), Err(ImageError::Layer { .. })));

    for wrong in [vec![&uncompressed[1], &uncompressed[0]], vec![&uncompressed[0], &layers[1]]] {
        layout.write(SAVED, &saved(&wrong));
        assert!(matches!(layout.check(&[&config]), Err(ImageError::Layer { .. })));
    }
    layout.write(SAVED, &saved(&[&uncompressed[0]]));
    assert!(matches!(layout.check(&[&config]), Err(ImageError::LayerCount { .. })));
    layout.write(SAVED, &json!([{ "Config": "../outside", "Layers": [] }]));
    assert!(matches!(layout.check(&[&config]), Err(ImageError::Files(FilesError::Outside { .. }))));
}

#[test]
fn what_docker_load_goes_by_must_be_proven_as_well() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let manifest = layout.manifest(&config, &layers);
    layout.list(&manifest);
    let paths: Vec<String> = layers.iter().map(|layer| blob(digest(layer).unwrap())).collect();
    layout.write(SAVED, &json!([{ "Config": blob(digest(&config).unwrap()), "Layers": paths }]));
    assert_eq!(layout.check(&[&manifest]).expect("it is proven").layers, 2);
    let other = layout.blob(b"{ \"rootfs\": { \"diff_ids\": [] } }");
    layout.write(SAVED, &json!([{ "Config": blob(digest(&other).unwrap()), "Layers": [] }]));
    assert!(matches!(layout.check(&[&manifest]), Err(ImageError::Config { .. })));
}

#[test]
fn no_key_is_there_that_another_program_takes_for_a_known_one() {
    let mut layout = Layout::new();
    let (config, layers) = image(&layout);
    let manifest = layout.manifest(&config, &layers);
    layout.list(&manifest);
    for key in ["Manifests", "MANIFESTS", "manifeſts"] {
        let mut index = layout.index.clone();
        index[key] = json!([]);
        layout.write(INDEX, &index);
        assert!(said(layout.check(&[&manifest])).contains(key), "{key}");
    }
    let twice = format!("{{ \"manifests\": [], \"manifests\": [{{ \"digest\": {manifest:?} }}] }}");
    fs::write(layout.path().join(INDEX), twice).expect("a file");
    assert!(said(layout.check(&[&manifest])).contains("duplicate field"));
}
