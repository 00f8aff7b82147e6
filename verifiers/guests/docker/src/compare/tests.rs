#![allow(clippy::unwrap_used)]

use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Comparison, DifferenceReport, Verifier};
use serde_json::{Value, json};

use crate::Docker;
use crate::files::{digest_of_bytes, file_name};
use crate::fixture::{Build, Layer, Member, OCI_INDEX, OCI_MANIFEST, TAR, config, gzip, image, ordinary, places_in, tar};

fn compare(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
    let files = MemoryFiles::side_by_side(a, b);
    let of = |files: &MemoryFiles, first: &MemoryFiles| {
        let (a, b) = files.output().split(first.0.len() as u32);
        Docker::compare(None, a, b)
    };
    let answer = of(&files, a);
    let exchanged = of(&MemoryFiles::side_by_side(b, a), b);
    assert_eq!(swapped(exchanged), answer, "exchanging the sides exchanges the sides of the report");
    answer
}

fn swapped(comparison: Comparison) -> Comparison {
    let Comparison::Different(mut report) = comparison else {
        return match comparison {
            Comparison::Undecidable(mut refusal) => {
                refusal.subject = match refusal.subject.split_once(": ") {
                    Some(("A", rest)) => format!("B: {rest}"),
                    Some(("B", rest)) => format!("A: {rest}"),
                    _ => refusal.subject,
                };
                Comparison::Undecidable(refusal)
            }
            other => other,
        };
    };
    for difference in &mut report.differences {
        std::mem::swap(&mut difference.a, &mut difference.b);
        difference.what = match &*difference.what {
            "only in A" => "only in B".into(),
            "only in B" => "only in A".into(),
            other => other.into(),
        };
    }
    Comparison::Different(report)
}

#[track_caller]
fn check_same_after(a: &MemoryFiles, b: &MemoryFiles, passes: &[&str]) {
    assert_eq!(compare(a, b), Comparison::SameAfter(passes.iter().map(|pass| (*pass).into()).collect()));
    assert_eq!(canonical(a), canonical(b), "what is the same has one list of canonical digests");
}

/// The canonical digests, in the order in which `check` publishes; and what `canonicalize` says of each file must be the same.
fn canonical(files: &MemoryFiles) -> Vec<Vec<u8>> {
    let published = Docker::check("a:1", files.output()).unwrap();
    let canonical = Docker::canonicalize(None, files.output()).unwrap();
    let described: Vec<_> = Docker::describe().passes.into_iter().map(|pass| pass.name).collect();
    for artifact in &published {
        let of_file = &canonical[artifact.file as usize];
        assert_eq!((&of_file.canonical_digest, &of_file.passes), (&artifact.canonical_digest, &artifact.passes));
        assert!(artifact.passes.iter().all(|pass| described.contains(pass)));
    }
    published.into_iter().map(|artifact| artifact.canonical_digest).collect()
}

/// Each line: the way to the place, what differs, and both sides.
#[track_caller]
fn differences(a: &MemoryFiles, b: &MemoryFiles) -> Vec<String> {
    match compare(a, b) {
        Comparison::Different(DifferenceReport { differences, omitted: 0 }) => differences
            .into_iter()
            .map(|difference| {
                let side = |side: Option<String>| side.unwrap_or_else(|| "-".into());
                format!("{}: {}: {} | {}", difference.path.join(" / "), difference.what, side(difference.a), side(difference.b))
            })
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn plain() -> MemoryFiles {
    image(config(), &[Layer::gzip(tar(&ordinary()), 6)])
}

fn with_members(edit: impl FnMut(&mut Member)) -> MemoryFiles {
    let mut members = ordinary();
    members.iter_mut().for_each(edit);
    image(config(), &[Layer::gzip(tar(&members), 6)])
}

fn with_config(edit: impl FnOnce(&mut Value)) -> MemoryFiles {
    let mut config = config();
    edit(&mut config);
    image(config, &[Layer::gzip(tar(&ordinary()), 6)])
}

#[test]
fn equal_bytes_are_identical_in_any_order_of_files() {
    let mut reversed = plain();
    reversed.0.reverse();
    assert_eq!(compare(&plain(), &reversed), Comparison::Identical);
}

#[test]
fn exactly_the_passes_that_are_needed_are_named() {
    let later = with_members(|member| member.modified = 1_700_000_000);
    check_same_after(&plain(), &later, &["tar-time", "references"]);
    let recompressed = image(config(), &[Layer::gzip(tar(&ordinary()), 3)]);
    check_same_after(&plain(), &recompressed, &["compression", "references"]);
    let mut renamed = Layer::gzip(tar(&ordinary()), 6);
    renamed.bytes[4..8].copy_from_slice(&7u32.to_le_bytes());
    check_same_after(&plain(), &image(config(), &[renamed]), &["gzip-header", "references"]);
    let gnu = with_members(|member| member.gnu = true);
    check_same_after(&plain(), &gnu, &["tar-dialect", "references"]);
    let created = with_config(|config| config["created"] = "2020-01-01T00:00:00Z".into());
    check_same_after(&plain(), &created, &["created", "references"]);
    let history = with_config(|config| config["history"][0]["created_by"] = "ADD".into());
    check_same_after(&plain(), &history, &["history", "references"]);
    let recorded = with_config(|config| config["docker_version"] = "28".into());
    check_same_after(&plain(), &recorded, &["builder-records", "references"]);

    let mut annotated = Build::default();
    let mut manifest = annotated.image(config(), &[Layer::gzip(tar(&ordinary()), 6)]);
    manifest["annotations"] =
        json!({"org.opencontainers.image.ref.name": "a:1", "org.opencontainers.image.created": "2026-01-01T00:00:00Z"});
    check_same_after(&plain(), &annotated.clone().finish(&manifest), &["created", "image-names"]);
    manifest["annotations"]["other"] = "x".into();
    assert_eq!(differences(&plain(), &annotated.finish(&manifest)), ["annotations: only in B: - | {\"other\":\"x\"}"]);

    let spaced = MemoryFiles(
        plain()
            .0
            .into_iter()
            .map(|(name, bytes)| if name == "manifest" { (name, [&b" "[..], &bytes].concat()) } else { (name, bytes) })
            .collect(),
    );
    check_same_after(&plain(), &spaced, &["json-form"]);
}

#[test]
fn the_report_names_layer_path_and_what_differs() {
    let other = with_members(|member| match &*member.path {
        "usr/bin/ping" => {
            member.mode = 0o755;
            member.pax.clear();
        }
        "usr/bin/perl" => member.content[0] = b'?',
        "etc/mtab" => member.link = "/etc/passwd".into(),
        "etc/shadow" => member.uid = 7,
        "pipe" => member.path = "pipeline".into(),
        _ => {}
    });
    let found = differences(&plain(), &other);
    let expected = [
        "layer 1 / etc/mtab: link target: ../proc/mounts | /etc/passwd",
        "layer 1 / etc/shadow: user id: 0 | 7",
        "layer 1 / pipe: only in A: fifo | -",
        "layer 1 / pipeline: only in B: - | fifo",
        "layer 1 / usr/bin/perl: content: 22 bytes, sha256 ",
        "layer 1 / usr/bin/perl5: content: 22 bytes, sha256 ",
        "layer 1 / usr/bin/ping: attribute security.capability: 0x0100000200200000000000000000000000000000 | none",
        "layer 1 / usr/bin/ping: mode: 4755 | 0755",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} instead of {expected}");
    }
}

#[test]
fn which_names_belong_to_one_file_is_compared() {
    let separate = with_members(|member| {
        if member.path == "usr/bin/perl5" {
            *member = Member { mode: 0o755, ..Member::file("usr/bin/perl5", b"#!perl, made for tests") };
        }
    });
    let expected = ["perl", "perl5"].map(|name| format!("layer 1 / usr/bin/{name}: first of its names: usr/bin/perl | none"));
    assert_eq!(differences(&plain(), &separate), expected);
}

#[test]
fn how_an_image_runs_is_compared() {
    let entry = with_config(|config| config["config"]["Entrypoint"] = json!(["/entry", "--unsafe"]));
    assert_eq!(differences(&plain(), &entry), ["config / config / Entrypoint / 2: only in B: - | \"--unsafe\""]);
    let user = with_config(|config| {
        config["config"].as_object_mut().unwrap().remove("User");
    });
    assert_eq!(differences(&plain(), &user), ["config / config / User: only in A: \"1000:1000\" | -"]);
}

/// Every value of a config, one after the other: changed, removed, and with a sibling.
#[test]
fn every_value_of_a_config_is_compared_unless_a_pass_names_it() {
    const FORGIVEN: [&str; 6] = [
        "/created",
        "/config/Labels/org.opencontainers.image.created",
        "/history/0/created",
        "/history/0/created_by",
        "/history/0/comment",
        "/history/1/created",
    ];
    let places = places_in(&config());
    assert!(places.len() > 40, "{places:?}");
    let same = |edit: &dyn Fn(&mut Value)| !matches!(compare(&plain(), &with_config(edit)), Comparison::Different(_));
    for place in &places {
        let forgiven = FORGIVEN.contains(&place.as_str()) || place == "/history/1/created_by";
        let changed = |value: &mut Value| match value.pointer_mut(place).unwrap() {
            Value::String(text) if forgiven => *text = text.replace('2', "3").replace("COPY", "ADD") + "0",
            Value::String(text) => text.push('0'),
            Value::Number(number) => *number = 7.into(),
            Value::Bool(bool) => *bool = !*bool,
            Value::Array(items) => items.push("more".into()),
            Value::Object(map) => drop(map.insert("more".into(), true.into())),
            Value::Null => unreachable!("the config has none"),
        };
        assert_eq!(same(&changed), forgiven, "a change of {place}");
        let (parent, key) = place.rsplit_once('/').unwrap();
        let removed = |value: &mut Value| match value.pointer_mut(parent).unwrap() {
            Value::Object(map) => drop(map.remove(&key.replace("~1", "/"))),
            Value::Array(items) => drop(items.remove(key.parse().unwrap())),
            _ => unreachable!("a place lies in something"),
        };
        assert_eq!(same(&removed), forgiven, "the removal of {place}");
    }
}

#[test]
fn layers_keep_their_order_and_number() {
    let (one, two) = (Layer::gzip(tar(&ordinary()), 6), Layer::gzip(tar(&[Member::file("f", b"2")]), 6));
    let both = image(config(), &[one.clone(), two.clone()]);
    assert!(!differences(&both, &image(config(), &[two.clone(), one.clone()])).is_empty());
    assert!(!differences(&both, &image(config(), &[one.clone(), two.clone(), two])).is_empty());
    let found = differences(&both, &image(config(), &[one]));
    assert!(found.iter().any(|line| line.starts_with("layers / 2: only in A")), "{found:#?}");
}

#[test]
fn how_a_layer_is_compressed_is_forgiven_and_what_is_in_it_is_not() {
    let of = |layer: fn(Vec<u8>) -> Layer, content: &[Member]| image(config(), &[layer(tar(content))]);
    let gzip = |tar| Layer::gzip(tar, 6);
    let mut later = ordinary();
    later.iter_mut().for_each(|member| member.modified = 5);
    let mut other = ordinary();
    other[5].content[0] = b'?';
    check_same_after(&plain(), &of(Layer::zstd, &ordinary()), &["compression-method", "references"]);
    check_same_after(
        &of(gzip, &ordinary()),
        &of(Layer::plain, &ordinary()),
        &["compression", "compression-method", "references"],
    );
    check_same_after(&of(Layer::zstd, &later), &plain(), &["compression-method", "tar-time", "references"]);
    check_same_after(&of(Layer::zstd, &ordinary()), &of(Layer::zstd, &later), &["tar-time", "references"]);
    for layer in [gzip, Layer::zstd, Layer::plain] {
        let found = differences(&plain(), &of(layer, &other));
        assert!(found[0].starts_with("layer 1 / usr/bin/perl: content"), "{found:#?}");
    }
    // A media type that is not that of the bytes is not one of the forms of a layer.
    let lying = image(config(), &[Layer { media_type: TAR, ..Layer::gzip(tar(&ordinary()), 6) }]);
    assert!(!matches!(compare(&plain(), &lying), Comparison::SameAfter(_)));
}

#[test]
fn a_layer_that_cannot_be_read_is_the_same_as_itself_and_as_nothing_else() {
    let odd = |content: &[u8]| image(config(), &[Layer::gzip(tar(&[Member::file("a", content), Member::file("a", b"2")]), 6)]);
    assert_eq!(compare(&odd(b"1"), &odd(b"1")), Comparison::Identical);
    for other in [odd(b"2"), image(config(), &[Layer::gzip(tar(&[Member::file("a", b"2")]), 6)])] {
        let Comparison::Undecidable(refusal) = compare(&odd(b"1"), &other) else { panic!("decided") };
        assert!(refusal.sentence.contains("\"a\" occurs twice"), "{refusal:?}");
    }
    // What is different for sure is different all the same.
    let mut entry = config();
    entry["config"]["Cmd"] = json!(["other"]);
    let other = image(entry, &[Layer::gzip(tar(&[Member::file("a", b"2")]), 6)]);
    let found = differences(&odd(b"1"), &other);
    assert!(found[0].starts_with("config / config / Cmd / 1: value"), "{found:#?}");
    assert!(found[1].starts_with("layer 1: bytes, which cannot be read without doubt"), "{found:#?}");

    let canonical = Docker::canonicalize(None, odd(b"1").output()).unwrap();
    let findings: Vec<_> = canonical.iter().flat_map(|file| &file.findings).map(|finding| &*finding.code).collect();
    assert_eq!(findings, ["unreadable-layer"]);
    let mut twice = Layer::gzip(tar(&ordinary()), 6);
    twice.bytes.extend(gzip(b"", 6));
    assert!(matches!(compare(&plain(), &image(config(), &[twice])), Comparison::Undecidable(_)), "a second gzip member");
}

#[test]
fn a_wrong_diff_id_is_found_and_compared() {
    let lying = image(config(), &[Layer { tar: b"another".to_vec(), ..Layer::gzip(tar(&ordinary()), 6) }]);
    let canonical = Docker::canonicalize(None, lying.output()).unwrap();
    assert!(canonical.iter().any(|file| file.findings.iter().any(|finding| finding.code == "wrong-diff-id")));
    let found = differences(&plain(), &lying);
    assert!(found.len() == 1 && found[0].starts_with("config / rootfs / diff_ids / 1: value"), "{found:#?}");
}

/// Two platforms, and buildkit's statement about the first.
fn index(time: u64, statement: &str, arm_platform: &str) -> MemoryFiles {
    let mut build = Build::default();
    let layer = |content: &[u8]| {
        let member = Member { modified: time, ..Member::file("bin/app", content) };
        Layer::gzip(tar(&[member]), 6)
    };
    let (amd, arm) = (layer(b"amd"), layer(b"arm"));
    let child = |build: &mut Build, manifest: &Value, platform: Value| {
        let mut descriptor = build.blob(OCI_MANIFEST, manifest.to_string().as_bytes());
        descriptor["platform"] = platform;
        descriptor
    };
    let amd = build.image(config(), &[amd]);
    let amd = child(&mut build, &amd, json!({"os": "linux", "architecture": "amd64"}));
    let arm = build.image(config(), &[arm]);
    let arm = child(&mut build, &arm, json!({"os": "linux", "architecture": arm_platform}));
    let about = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": build.blob("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [build.blob("application/vnd.in-toto+json", statement.as_bytes())],
    });
    let mut about = child(&mut build, &about, json!({"os": "unknown", "architecture": "unknown"}));
    about["annotations"] =
        json!({"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd["digest"].clone()});
    build.finish(&json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [amd, arm, about]}))
}

#[test]
fn platforms_are_compared_and_statements_are_not() {
    check_same_after(&index(1, "s", "arm64"), &index(1, "t", "arm64"), &["attestations"]);
    check_same_after(&index(1, "s", "arm64"), &index(2, "t", "arm64"), &["tar-time", "attestations", "references"]);
    let found = differences(&index(1, "s", "arm64"), &index(1, "s", "riscv64"));
    assert_eq!(found, ["manifests / 2 / platform / architecture: value: \"arm64\" | \"riscv64\""]);
    let kinds = differences(&plain(), &index(1, "s", "arm64"));
    assert_eq!(kinds, [": kind: an image | an index of images"]);
}

/// The index without the object of this content.
fn index_without(content: &str) -> MemoryFiles {
    let (digest, whole) = (digest_of_bytes(content.as_bytes()), index(1, "s", "arm64"));
    let count = whole.0.len();
    let rest = MemoryFiles(whole.0.into_iter().filter(|(name, _)| *name != file_name(&digest)).collect());
    assert_eq!(rest.0.len(), count - 1);
    rest
}

#[test]
fn an_object_of_a_statement_that_only_one_side_has_is_forgiven_by_name() {
    for content in ["{}", "s"] {
        let whole = |time| index(time, "s", "arm64");
        let same_after = |passes: &[&str]| Comparison::SameAfter(passes.iter().map(|pass| String::from(*pass)).collect());
        assert_eq!(compare(&whole(1), &index_without(content)), same_after(&["attestations"]));
        let later = same_after(&["tar-time", "attestations", "references"]);
        assert_eq!(compare(&whole(2), &index_without(content)), later);
    }
}

#[test]
fn an_object_that_is_not_what_its_descriptor_says_is_compared() {
    let of = |has_it: bool| {
        let mut build = Build::default();
        let mut manifest = build.image(config(), &[Layer::gzip(tar(&ordinary()), 6)]);
        let mut unknown = Build::default();
        let mut layer = unknown.blob(TAR, b"x");
        layer["size"] = 7.into();
        manifest["layers"].as_array_mut().unwrap().push(layer);
        if has_it {
            build.0.extend(unknown.0);
        }
        build.finish(&manifest)
    };
    assert!(differences(&of(true), &of(false))[0].contains("only in A"));
}

#[test]
fn what_a_client_could_run_is_no_statement() {
    let as_platform = |statement: &str| {
        let MemoryFiles(mut files) = index(1, statement, "arm64");
        let (_, manifest) = files.last_mut().unwrap();
        let text = String::from_utf8(manifest.clone()).unwrap();
        let changed = text.replace(r#""architecture":"unknown""#, r#""architecture":"s390x""#);
        assert_ne!(text, changed);
        *manifest = changed.replace(r#""os":"unknown""#, r#""os":"linux""#).into_bytes();
        MemoryFiles(files)
    };
    let answer = compare(&as_platform("s"), &as_platform("t"));
    assert!(matches!(answer, Comparison::Undecidable(_) | Comparison::Different(_)), "{answer:?}");
    assert_eq!(Docker::check("a:1", as_platform("s").output()).unwrap_err().code, "unknown-media-type");
}

#[test]
fn outputs_that_are_not_complete_can_be_compared() {
    let without_layer = |files: MemoryFiles| MemoryFiles(files.0.into_iter().filter(|(_, bytes)| bytes[0] != 0x1f).collect());
    assert_eq!(compare(&without_layer(plain()), &without_layer(plain())), Comparison::Identical);
    let later = with_members(|member| member.modified = 9);
    assert!(!differences(&without_layer(plain()), &without_layer(later)).is_empty());

    let mut extra = plain();
    let mut build = Build::default();
    build.blob(TAR, b"extra");
    extra.0.extend(build.0);
    let found = differences(&plain(), &extra);
    assert_eq!(found, [": only in B: - | a file that no manifest refers to"]);
}

#[test]
fn names_that_lie_are_undecidable() {
    let mut lying = plain();
    lying.0[0].1.push(b' ');
    let Comparison::Undecidable(refusal) = compare(&plain(), &lying) else { panic!("decided") };
    assert_eq!((&*refusal.code, &refusal.subject[..2]), ("wrong-digest", "B:"));
}
