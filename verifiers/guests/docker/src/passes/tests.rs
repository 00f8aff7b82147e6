//! Of each pass: what it forgives, that it leaves nothing to forgive, and that nothing else is forgiven with it.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Comparison, Verifier};
use serde_json::{Value, json};

use super::*;
use crate::Docker;
use crate::fixture::{Build, Layer, Member, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, config, gzip, ordinary, places_in, tar, zstd};

/// How an image is written, with all that a pass forgives.
#[derive(Clone, Debug, Default)]
struct Writing {
    /// 0: none, 1: gzip, 2: zstd.
    method: u8,
    level: u32,
    /// In the gzip header.
    packed_at: u32,
    /// By how much the entries are rotated.
    rotation: usize,
    modified: u64,
    user: &'static str,
    inode: Option<u32>,
    is_gnu: bool,
    is_spaced: bool,
    created: Option<&'static str>,
    command: Option<&'static str>,
    builder: Option<&'static str>,
    image_name: Option<&'static str>,
    /// What a statement in the index says, if the index has one.
    statement: Option<&'static str>,
}

/// What an image is, whoever writes it.
#[derive(Clone, Debug)]
struct Content {
    members: Vec<Member>,
    config: Value,
}

impl Content {
    fn ordinary() -> Self {
        let mut members = ordinary();
        for member in &mut members {
            member.path = member.path.trim_end_matches('/').into();
        }
        members.sort_by(|a, b| a.path.cmp(&b.path));
        let mut config = config();
        for pointer in ["", "/history/0", "/history/1"] {
            let object = config.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
            object.retain(|key, _| !["created", "created_by", "comment"].contains(&&key[..]));
        }
        config.pointer_mut("/config/Labels").unwrap().as_object_mut().unwrap().remove("org.opencontainers.image.created");
        Self { members, config }
    }

    /// An index of one image.
    fn write(&self, writing: &Writing) -> MemoryFiles {
        let mut build = Build::default();
        let text = |value: &Value| match writing.is_spaced {
            true => serde_json::to_vec(value)
                .unwrap()
                .into_iter()
                .flat_map(|byte| [byte].into_iter().chain((byte == b',').then_some(b' ')))
                .collect(),
            false => value.to_string().into_bytes(),
        };
        let layer = self.layer(writing);
        let mut config = self.config.clone();
        config["rootfs"] = json!({ "type": "layers", "diff_ids": [crate::fixture::digest(&layer.tar)] });
        if let Some(created) = writing.created {
            config["created"] = created.into();
            config["history"][0]["created"] = created.into();
            config["config"]["Labels"]["org.opencontainers.image.created"] = created.into();
        }
        if let Some(command) = writing.command {
            config["history"][0]["created_by"] = command.into();
            config["history"][1]["comment"] = command.into();
        }
        if let Some(builder) = writing.builder {
            config["container"] = builder.into();
            config["container_config"] = json!({ "Hostname": builder });
            config["config"]["Image"] = crate::fixture::digest(builder.as_bytes()).into();
        }
        let config = build.blob(OCI_CONFIG, &text(&config));
        let layers = [build.blob(layer.media_type, &layer.bytes)];
        let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers, "annotations": {"k": "v"} });
        let mut child = build.blob(OCI_MANIFEST, &text(&manifest));
        child["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        let mut children = vec![child];
        if let Some(statement) = writing.statement {
            let about = json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": build.blob("application/vnd.oci.empty.v1+json", b"{}"),
                "layers": [build.blob("application/vnd.in-toto+json", statement.as_bytes())],
            });
            let mut about = build.blob(OCI_MANIFEST, about.to_string().as_bytes());
            about["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
            about["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
            children.push(about);
        }
        let mut index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, "annotations": {"k": "v"} });
        if let Some(name) = writing.image_name {
            index["annotations"]["org.opencontainers.image.ref.name"] = name.into();
        }
        let mut files = build.finish(&index);
        files.0.last_mut().unwrap().1 = text(&index);
        files
    }

    fn layer(&self, writing: &Writing) -> Layer {
        let mut members = self.members.clone();
        // A hard link stays behind its file.
        let files = members.iter().position(|member| member.kind == b'1').unwrap_or(members.len());
        members[..files].rotate_left(writing.rotation % files.max(1));
        for member in &mut members {
            member.modified = writing.modified;
            (member.user, member.group) = (writing.user.into(), writing.user.into());
            member.gnu = writing.is_gnu;
            member.pax.extend(writing.inode.map(|inode| ("SCHILY.ino".into(), inode.to_string().into_bytes())));
        }
        let tar = tar(&members);
        match writing.method {
            0 => Layer::plain(tar),
            1 => {
                let mut bytes = gzip(&tar, writing.level);
                bytes[4..8].copy_from_slice(&writing.packed_at.to_le_bytes());
                Layer { bytes, ..Layer::gzip(tar, 1) }
            }
            _ => Layer { bytes: zstd(&tar), ..Layer::zstd(tar) },
        }
    }
}

fn compare(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
    let files = MemoryFiles::side_by_side(a, b);
    let (a, b) = files.output().split(a.0.len() as u32);
    Docker::compare(None, a, b)
}

/// The canonical digest of the index, and the passes on the way to it.
fn form(files: &MemoryFiles) -> (Vec<u8>, Vec<String>) {
    let form = Docker::canonicalize(None, files.output()).unwrap().into_iter().last().unwrap();
    (form.canonical_digest, form.passes)
}

/// Two writings of one image that only this pass makes the same, together with the references to what it changed.
fn pair(pass: Pass) -> [Writing; 2] {
    let none = Writing::default;
    let gzip = |level| Writing { method: 1, level, ..none() };
    match pass {
        GzipHeader => [gzip(6), Writing { packed_at: 1_700_000_000, ..gzip(6) }],
        // Level 1 is told in the header too.
        Compression => [gzip(6), gzip(3)],
        CompressionMethod => [gzip(6), Writing { method: 2, ..none() }],
        TarDialect => [none(), Writing { is_gnu: true, ..none() }],
        TarTime => [none(), Writing { modified: 1_700_000_000, ..none() }],
        OwnerNames => [none(), Writing { user: "root", ..none() }],
        InodeNumbers => [none(), Writing { inode: Some(7), ..none() }],
        TarOrder => [none(), Writing { rotation: 1, ..none() }],
        JsonForm => [none(), Writing { is_spaced: true, ..none() }],
        Created => [none(), Writing { created: Some("2026-01-02T03:04:05Z"), ..none() }],
        History => [none(), Writing { command: Some("RUN true"), ..none() }],
        BuilderRecords => [none(), Writing { builder: Some("b0"), ..none() }],
        ImageNames => [none(), Writing { image_name: Some("demo:1"), ..none() }],
        Attestations => [none(), Writing { statement: Some("s"), ..none() }],
        // Of anything that is referred to.
        References => [none(), Writing { modified: 1, ..none() }],
    }
}

#[test]
fn each_pass_forgives_what_it_names() {
    let content = Content::ordinary();
    for pass in Pass::ALL {
        let [a, b] = pair(pass).map(|writing| content.write(&writing));
        let Comparison::SameAfter(passes) = compare(&a, &b) else { panic!("{pass:?}") };
        assert!(passes.contains(&pass.name().to_owned()), "{pass:?} in {passes:?}");
        assert!(
            passes.iter().all(|name| name == pass.name() || name == "references" || pass == References),
            "{pass:?}: {passes:?}"
        );
    }
}

fn writings() -> impl Strategy<Value = Writing> {
    let texts = |texts: &'static [&'static str]| prop::option::of(prop::sample::select(texts));
    let packing = (0..3u8, 0..10u32, any::<u32>());
    let entries = (
        0..20usize,
        0..1u64 << 33,
        prop::sample::select(&["", "root", "somebody"][..]),
        prop::option::of(any::<u32>()),
        any::<bool>(),
    );
    let config = (
        any::<bool>(),
        texts(&["2026-01-02T03:04:05Z", "1700000000"]),
        texts(&["RUN true", "COPY . /"]),
        texts(&["b0", "b1"]),
        texts(&["demo:1", "demo:2"]),
        texts(&["s", "t"]),
    );
    (packing, entries, config).prop_map(|(packing, entries, config)| {
        let (method, level, packed_at) = packing;
        let (rotation, modified, user, inode, is_gnu) = entries;
        let (is_spaced, created, command, builder, image_name, statement) = config;
        Writing {
            method,
            level,
            packed_at,
            rotation,
            modified,
            user,
            inode,
            is_gnu,
            is_spaced,
            created,
            command,
            builder,
            image_name,
            statement,
        }
    })
}

/// One thing that means something.
#[derive(Clone, Debug)]
enum Mutation {
    Member(prop::sample::Index, u8, u16),
    Removal(prop::sample::Index),
    Config(prop::sample::Index),
}

impl Mutation {
    fn apply(&self, content: &mut Content) {
        match self {
            Self::Member(at, aspect, bit) => {
                let at = at.index(content.members.len());
                mutate(&mut content.members[at], *aspect, *bit);
            }
            Self::Removal(at) => drop(content.members.remove(at.index(content.members.len()))),
            Self::Config(at) => {
                let places = places_in(&content.config);
                let place = &places[at.index(places.len())];
                change(content.config.pointer_mut(place).unwrap());
            }
        }
    }
}

fn mutate(member: &mut Member, aspect: u8, bit: u16) {
    match aspect {
        0 => member.mode ^= 1 << (bit % 12),
        1 => member.uid ^= 1 << (bit % 16),
        2 => member.gid ^= 1 << (bit % 16),
        3 if !member.link.is_empty() => member.link.push('x'),
        4 if !member.pax.is_empty() => {
            let value = &mut member.pax[0].1;
            let at = usize::from(bit / 8) % value.len();
            value[at] ^= 1 << (bit % 8);
        }
        5 if matches!(member.kind, b'3' | b'4') => member.device.1 ^= 1 << (bit % 8),
        6 if !member.content.is_empty() => {
            let at = usize::from(bit / 8) % member.content.len();
            member.content[at] ^= 1 << (bit % 8);
        }
        7 => member.pax.push(("SCHILY.xattr.security.capability2".into(), b"x".into())),
        _ => member.path.push('x'),
    }
}

fn change(value: &mut Value) {
    match value {
        Value::String(text) => text.push('0'),
        Value::Number(number) => *number = (number.as_u64().unwrap() + 1).into(),
        Value::Bool(bool) => *bool = !*bool,
        Value::Array(items) => items.push("more".into()),
        Value::Object(map) => drop(map.insert("more".into(), true.into())),
        Value::Null => *value = true.into(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// However an image is written, it has one form, and that form written down leaves the passes nothing but the writing itself.
    #[test]
    fn every_writing_has_the_form_of_the_canonical_one(writing in writings()) {
        let content = Content::ordinary();
        let canonical = content.write(&Writing::default());
        let (digest, passes) = form(&canonical);
        prop_assert_eq!(passes, ["tar-dialect", "references"]);
        let written = content.write(&writing);
        prop_assert_eq!(form(&written).0, digest);
        prop_assert!(matches!(compare(&canonical, &written), Comparison::SameAfter(_) | Comparison::Identical));
    }

    /// No pass, nor any number of them together, hides a change of what means something.
    #[test]
    fn a_mutation_is_found_under_any_two_writings(
        one in writings(),
        other in writings(),
        mutation in prop_oneof![
            4 => (any::<prop::sample::Index>(), 0..9u8, any::<u16>()).prop_map(|(at, aspect, bit)| Mutation::Member(at, aspect, bit)),
            1 => any::<prop::sample::Index>().prop_map(Mutation::Removal),
            3 => any::<prop::sample::Index>().prop_map(Mutation::Config),
        ],
    ) {
        let content = Content::ordinary();
        let mut mutated = content.clone();
        mutation.apply(&mut mutated);
        let answer = compare(&content.write(&one), &mutated.write(&other));
        prop_assert!(matches!(answer, Comparison::Different(_) | Comparison::Undecidable(_)), "{mutation:?}: {answer:?}");
    }
}

/// Every value of an index and of a manifest in it, one after the other.
#[test]
fn every_value_of_an_index_and_a_manifest_is_compared_unless_a_pass_names_it() {
    let content = Content::ordinary();
    let plain = content.write(&Writing { image_name: Some("demo:1"), statement: Some("s"), ..Writing::default() });
    let index: Value = serde_json::from_slice(&plain.0.last().unwrap().1).unwrap();
    let child = format!("{}.blob", index["manifests"][0]["digest"].as_str().unwrap());
    let manifest: Value = serde_json::from_slice(&plain.0.iter().find(|(name, _)| *name == child).unwrap().1).unwrap();
    let is_same = |other: &MemoryFiles| matches!(compare(&plain, other), Comparison::SameAfter(_) | Comparison::Identical);
    let mut seen = 0;
    for place in places_in(&index) {
        let mut changed = index.clone();
        change(changed.pointer_mut(&place).unwrap());
        let mut other = plain.clone();
        other.0.last_mut().unwrap().1 = changed.to_string().into_bytes();
        // What is added to a statement is forgiven with it, unless it makes it something else.
        let forgiven = place == "/annotations/org.opencontainers.image.ref.name"
            || ["/manifests/1", "/manifests/1/annotations", "/manifests/1/platform"].contains(&&place[..]);
        let may_be_forgiven = place.starts_with("/manifests/1/");
        assert!(is_same(&other) == forgiven || may_be_forgiven, "{place}");
        seen += 1;
    }
    for place in places_in(&manifest) {
        let mut changed = manifest.clone();
        change(changed.pointer_mut(&place).unwrap());
        let mut build = Build(plain.0.iter().filter(|(name, _)| *name != child && name != "manifest").cloned().collect());
        let mut listed = build.blob(OCI_MANIFEST, changed.to_string().as_bytes());
        listed["platform"] = index["manifests"][0]["platform"].clone();
        let mut index = index.clone();
        index["manifests"][0] = listed;
        assert!(!is_same(&build.finish(&index)), "{place}");
        seen += 1;
    }
    assert!(seen > 30, "{seen} places");
}

#[test]
fn passes_are_named_once_and_in_order() {
    let mut all = PassSet::default();
    Pass::ALL.iter().for_each(|pass| all.insert(*pass));
    let mut names = all.names();
    assert_eq!(names, Pass::described().into_iter().map(|pass| pass.name).collect::<Vec<_>>());
    names.sort();
    names.dedup();
    assert_eq!(names.len(), Pass::ALL.len());
    assert!(Pass::ALL.iter().enumerate().all(|(at, pass)| *pass as usize == at));
}

#[test]
fn noise_tells_what_was_removed_from_two_objects_apart() {
    let (mut a, mut b) = (Noise::default(), Noise::default());
    a.note(TarTime, &[b"x", b"1"]);
    a.note(TarTime, &[b"y", b"2"]);
    b.note(TarTime, &[b"y", b"2"]);
    assert_eq!(a.different(&b).names(), ["tar-time"]);
    b.note(TarTime, &[b"x", b"1"]);
    assert!(a.different(&b).is_empty());
    b.note(OwnerNames, &[b"x1", b""]);
    assert_eq!(a.different(&b).names(), ["owner-names"]);
    assert_eq!(b.passes().names(), ["tar-time", "owner-names"]);
}
