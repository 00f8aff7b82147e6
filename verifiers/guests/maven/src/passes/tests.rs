//! Of each pass: what it forgives, that it leaves nothing to forgive, and that nothing else is forgiven with it.
//!
//! A package is written in every way that the passes forgive; what it says is the same each time, until a test changes a byte of it.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pyrsia_verifier_kit::files::MemoryFiles;
use pyrsia_verifier_kit::{Comparison, Verifier};

use super::*;
use crate::Maven;
use crate::checksum::{Algorithm, Sums};
use crate::manifest::Manifest;
use crate::zip_writer::{ZipEntry, extra, zip, zip_with_comment};

const TIME_NONE: u32 = 0x0021_0000;

/// How a package is written. The default is the canonical form.
#[derive(Clone, Debug)]
struct Writing {
    /// By how much the entries behind the manifest are rotated.
    rotation: usize,
    modified: u32,
    has_unix_times: bool,
    level: Option<u32>,
    with_descriptor: bool,
    is_zip64: bool,
    /// Of the program that wrote the archives.
    version: u16,
    has_owner: bool,
    is_group_writable: bool,
    has_crlf_manifest: bool,
    builder: Option<&'static str>,
    are_clauses_turned: bool,
    properties_time: Option<&'static str>,
    git_host: Option<&'static str>,
    page_date: Option<&'static str>,
    has_crlf_pom: bool,
    gradle: &'static str,
    bom_number: &'static str,
    spdx_time: &'static str,
    is_spdx_turned: bool,
    is_checksum_named: bool,
}

impl Default for Writing {
    fn default() -> Self {
        Self {
            rotation: 0,
            modified: TIME_NONE,
            has_unix_times: false,
            level: None,
            with_descriptor: false,
            is_zip64: false,
            version: 20,
            has_owner: false,
            is_group_writable: false,
            has_crlf_manifest: false,
            builder: None,
            are_clauses_turned: false,
            properties_time: None,
            git_host: None,
            page_date: None,
            has_crlf_pom: false,
            gradle: "",
            bom_number: "",
            spdx_time: "",
            is_spdx_turned: false,
            is_checksum_named: false,
        }
    }
}

/// What a package says, whoever writes it.
#[derive(Clone, Debug)]
struct Content {
    attributes: Vec<u8>,
    properties: Vec<u8>,
    commit: Vec<u8>,
    service: Vec<u8>,
    class: Vec<u8>,
    newer_class: Vec<u8>,
    library_class: Vec<u8>,
    page: Vec<u8>,
    pom: Vec<u8>,
    module: Vec<u8>,
    bom: Vec<u8>,
    spdx: Vec<u8>,
    class_mode: u32,
    comment: &'static [u8],
    unknown_field: Option<u8>,
    without: Option<usize>,
}

impl Content {
    fn sample() -> Self {
        Self {
            attributes: b"Class-Path: a.jar b.jar\nMain-Class: org.example.Main\nMulti-Release: true".to_vec(),
            properties: b"version=1.0".to_vec(),
            commit: b"git.commit.id=0a1b2c".to_vec(),
            service: b"org.example.Impl\n".to_vec(),
            class: b"\xca\xfe\xba\xbe\0\0\0\x3dMain".repeat(20),
            newer_class: b"\xca\xfe\xba\xbe\0\0\0\x41Main".to_vec(),
            library_class: b"\xca\xfe\xba\xbe\0\0\0\x3dLibrary".to_vec(),
            page: b"<p>Says hello.</p>".to_vec(),
            pom: b"<artifactId>demo</artifactId>\n  <version>1.0</version>".to_vec(),
            module: b"\"dependencies\": [{ \"group\": \"g\", \"module\": \"m\" }]".to_vec(),
            bom: b"\"components\": [{ \"name\": \"m\", \"version\": \"2\" }]".to_vec(),
            spdx: b"\"comment\": \"of A\"".to_vec(),
            class_mode: 0o100_644,
            comment: b"",
            unknown_field: None,
            without: None,
        }
    }

    /// All that is compared byte for byte.
    fn texts(&mut self) -> [&mut Vec<u8>; 12] {
        let Self {
            attributes, properties, commit, service, class, newer_class, library_class, page, pom, module, bom, spdx, ..
        } = self;
        [attributes, properties, commit, service, class, newer_class, library_class, page, pom, module, bom, spdx]
    }

    fn write(&self, writing: &Writing) -> MemoryFiles {
        let jar = self.jar(writing);
        let sums = Sums::of(&jar[..], &Algorithm::ALL).unwrap();
        let [head, pom] = [&b"<project>\n  "[..], &self.pom[..]];
        let pom = [head, pom, b"\n</project>\n"].concat();
        let module = [
            format!(
                "{{\n  \"formatVersion\": \"1.1\",\n  \"createdBy\": {{ \"gradle\": {{ \"version\": \"{}\" }} }},\n  \"variants\": [{{ \"files\": [{{ \
                 \"name\": \"demo-1.0.jar\", \"url\": \"demo-1.0.jar\", \"size\": {}, \"sha256\": \"{}\", \"md5\": \"{}\" }}],\n    ",
                writing.gradle,
                jar.len(),
                sums.get(Algorithm::Sha256),
                sums.get(Algorithm::Md5),
            )
            .as_bytes(),
            &self.module,
            b" }]\n}\n",
        ]
        .concat();
        let number = writing.bom_number;
        let bom = [
            format!("{{ \"bomFormat\": \"CycloneDX\", \"serialNumber\": \"{number}\", \"metadata\": {{ \"timestamp\": \"{number}\" }}, ").as_bytes(),
            &self.bom,
            b" }",
        ]
        .concat();
        let mut elements = [&b"{ \"fileName\": \"A\", "[..], &self.spdx, b" }, { \"fileName\": \"B\" }"].concat();
        if writing.is_spdx_turned {
            elements = [b"{ \"fileName\": \"B\" }, { \"fileName\": \"A\", ", &self.spdx[..], b" }"].concat();
        }
        let spdx = [
            format!(
                "{{ \"spdxVersion\": \"SPDX-2.3\", \"creationInfo\": {{ \"created\": \"{}\" }}, \"packages\": [ {{ \"packageFileName\": \"demo-1.0.jar\", \
                 \"checksums\": [ {{ \"algorithm\": \"SHA256\", \"checksumValue\": \"{}\" }} ] }} ], \"files\": [ ",
                writing.spdx_time,
                sums.get(Algorithm::Sha256)
            )
            .as_bytes(),
            &elements,
            b" ] }",
        ]
        .concat();
        let checksum = sums.get(Algorithm::Sha1).to_owned() + if writing.is_checksum_named { "  demo-1.0.jar\n" } else { "" };
        let files = [
            ("demo-1.0.jar", jar),
            ("demo-1.0.jar.sha1", checksum.into_bytes()),
            ("demo-1.0-javadoc.jar", self.javadoc(writing)),
            ("demo-1.0.pom", if writing.has_crlf_pom { with_carriage_returns(&pom) } else { pom }),
            ("demo-1.0.module", module),
            ("demo-1.0-cyclonedx.json", bom),
            ("demo-1.0.spdx.json", spdx),
        ];
        MemoryFiles(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
    }

    fn jar(&self, writing: &Writing) -> Vec<u8> {
        let library = zip(&[packed(ZipEntry::new("org/example/Library.class", &self.library_class[..]), 0o100_644, writing)]);
        let file = |name: &str, content: &[u8]| packed(ZipEntry::new(name, content), 0o100_644, writing);
        let mut class = packed(ZipEntry::new("org/example/Main.class", &self.class[..]), self.class_mode, writing);
        class.extra.extend(self.unknown_field.map(|value| extra(0x4242, &[value])).into_iter().flatten());
        let mut entries = vec![
            packed(ZipEntry::new("META-INF/", ""), 0o040_755, writing),
            file("META-INF/MANIFEST.MF", &self.manifest(writing)),
            file("META-INF/maven/org.example/demo/pom.properties", &self.pom_properties(writing)),
            file("META-INF/services/org.example.Api", &self.service),
            file("META-INF/versions/21/org/example/Main.class", &self.newer_class),
            file("git.properties", &self.git_properties(writing)),
            file("lib/library.jar", &library),
            class,
        ];
        let behind = &mut entries[2..];
        behind.rotate_left(writing.rotation % behind.len());
        if let Some(without) = self.without {
            entries.remove(without % entries.len());
        }
        zip_with_comment(&entries, self.comment)
    }

    fn manifest(&self, writing: &Writing) -> Vec<u8> {
        let clauses = if writing.are_clauses_turned { "org.b,org.a;uses:=\"x,y\"" } else { "org.a;uses:=\"x,y\",org.b" };
        let export = format!("Export-Package: {clauses}\n");
        let builder = writing.builder.map(|builder| format!("Built-By: {builder}\nCreated-By: {builder}\n")).unwrap_or_default();
        // In the order of names, which Maven's archiver does not keep.
        let attributes = [&self.attributes[..], b"\n"].concat();
        let parts = match writing.has_crlf_manifest {
            false => [builder.as_bytes(), &attributes, export.as_bytes()],
            true => [export.as_bytes(), &attributes, builder.as_bytes()],
        };
        let text = [b"Manifest-Version: 1.0\n", &parts.concat()[..], b"\n"].concat();
        if writing.has_crlf_manifest {
            return with_carriage_returns(&text);
        }
        Manifest::parse(&text).map_or(text, |(manifest, _)| match writing.builder.is_none() && !writing.are_clauses_turned {
            true => manifest.write(),
            false => [b"Manifest-Version: 1.0\r\n", &with_carriage_returns(&parts.concat())[..], b"\r\n"].concat(),
        })
    }

    fn pom_properties(&self, writing: &Writing) -> Vec<u8> {
        match writing.properties_time {
            None => [b"artifactId=demo\n", &self.properties[..], b"\n"].concat(),
            Some(time) => {
                [format!("#Generated by Maven\n#{time}\n").as_bytes(), &self.properties, b"\nartifactId=demo\n"].concat()
            }
        }
    }

    fn git_properties(&self, writing: &Writing) -> Vec<u8> {
        let host = writing.git_host.map(|host| format!("git.build.host={host}\ngit.build.time={host}\n")).unwrap_or_default();
        [host.as_bytes(), &self.commit, b"\n"].concat()
    }

    fn javadoc(&self, writing: &Writing) -> Vec<u8> {
        let on = writing.page_date.map(|date| format!("on {date} ")).unwrap_or_default();
        let head = format!("<html>\n<head>\n<!-- Generated by javadoc (17) {on}-->\n</head>\n<body>");
        let page = [head.as_bytes(), &self.page, b"</body>\n</html>\n"];
        zip(&[packed(ZipEntry::new("index.html", page.concat()), 0o100_644, writing)])
    }
}

fn packed(entry: ZipEntry, mode: u32, writing: &Writing) -> ZipEntry {
    let mode = if writing.is_group_writable { mode | 0o020 } else { mode };
    let is_folder = entry.name.ends_with(b"/");
    let mut local_extra = Vec::new();
    if writing.has_unix_times {
        local_extra.extend(extra(0x5455, &[1, 1, 2, 3, 4]));
    }
    if writing.has_owner {
        local_extra.extend(extra(0x7875, &[1, 4, 232, 3, 0, 0, 4, 232, 3, 0, 0]));
    }
    ZipEntry {
        modified: writing.modified,
        level: writing.level.filter(|_| !is_folder),
        with_descriptor: writing.with_descriptor && !is_folder,
        is_zip64: writing.is_zip64,
        made_by: 3 << 8 | writing.version,
        external: mode << 16,
        local_extra,
        ..entry
    }
}

fn with_carriage_returns(text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(line) => [line, b"\r\n"].concat(),
            None => line.to_vec(),
        })
        .collect()
}

fn compare(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
    let both = MemoryFiles::side_by_side(a, b);
    let (a, b) = both.output().split(a.0.len() as u32);
    Maven::compare(None, a, b)
}

fn forms(files: &MemoryFiles) -> Vec<(Vec<u8>, Vec<String>)> {
    let forms = Maven::canonicalize(None, files.output()).unwrap();
    forms.into_iter().map(|form| (form.canonical_digest, form.passes)).collect()
}

/// A writing that only this pass makes the same as the canonical one, besides the checksums of what it changes.
fn writing(pass: Pass) -> Writing {
    let canonical = Writing::default();
    match pass {
        Pass::ZipOrder => Writing { rotation: 1, ..canonical },
        Pass::ZipTime => Writing { modified: 0x5b75_5000, has_unix_times: true, ..canonical },
        Pass::ZipCompression => Writing { level: Some(6), with_descriptor: true, ..canonical },
        Pass::ZipOrigin => Writing { version: 30, has_owner: true, ..canonical },
        Pass::ZipMode => Writing { is_group_writable: true, ..canonical },
        Pass::ManifestForm => Writing { has_crlf_manifest: true, ..canonical },
        Pass::ManifestBuildInfo => Writing { builder: Some("somebody"), ..canonical },
        Pass::OsgiOrder => Writing { are_clauses_turned: true, ..canonical },
        Pass::PomProperties => Writing { properties_time: Some("Sat Nov 21 10:00:00 UTC 2026"), ..canonical },
        Pass::GitProperties => Writing { git_host: Some("one"), ..canonical },
        Pass::JavadocDate => Writing { page_date: Some("Sat Nov 21 10:00:00 UTC 2026"), ..canonical },
        Pass::PomLines => Writing { has_crlf_pom: true, ..canonical },
        Pass::ModuleBuildInfo => Writing { gradle: "8.5", ..canonical },
        Pass::SbomBuildInfo => Writing { bom_number: "urn:uuid:1", ..canonical },
        Pass::SpdxBuildInfo => Writing { spdx_time: "2026-11-20T10:00:00Z", ..canonical },
        Pass::SpdxOrder => Writing { is_spdx_turned: true, ..canonical },
        Pass::Checksums => Writing { is_checksum_named: true, ..canonical },
        // Of whatever is beside it.
        Pass::ModuleChecksums | Pass::SpdxChecksums => Writing { modified: 1, ..canonical },
    }
}

#[test]
fn each_pass_forgives_what_it_names() {
    let content = Content::sample();
    let canonical = content.write(&Writing::default());
    for pass in Pass::ALL {
        let other = content.write(&writing(*pass));
        assert!(other.0 != canonical.0, "{pass:?}");
        let answer = compare(&canonical, &other);
        let Comparison::SameAfter(passes) = answer else { panic!("{pass:?}: {answer:?}") };
        assert!(passes.contains(&pass.name().to_owned()), "{pass:?} in {passes:?}");
        let derived = ["module-checksums", "spdx-checksums", "checksums"];
        let others: Vec<_> = passes.iter().filter(|name| *name != pass.name() && !derived.contains(&&name[..])).collect();
        // A changed order or attribute is a changed form as well.
        let expected: &[&str] = match pass {
            Pass::ModuleChecksums | Pass::SpdxChecksums => &["zip-time"],
            Pass::ManifestBuildInfo | Pass::OsgiOrder => &["manifest-form"],
            _ => &[],
        };
        assert!(others.iter().all(|name| expected.contains(&&name[..])), "{pass:?} and {others:?}");
    }
}

#[test]
fn the_canonical_writing_leaves_nothing_to_forgive() {
    for (_, passes) in forms(&Content::sample().write(&Writing::default())) {
        assert_eq!(passes, Vec::<String>::new());
    }
}

fn writings() -> impl Strategy<Value = Writing> {
    let texts = |texts: &'static [&'static str]| prop::option::of(prop::sample::select(texts));
    let archive = (
        0..8usize,
        any::<u32>(),
        any::<bool>(),
        prop::option::of(0..10u32),
        any::<bool>(),
        any::<bool>(),
        20..64u16,
        any::<bool>(),
        any::<bool>(),
    );
    let manifest = (any::<bool>(), texts(&["somebody", "17 (Vendor)"]), any::<bool>());
    let generated = (
        texts(&["Sat Nov 21 10:00:00 UTC 2026", "now"]),
        texts(&["one", "two"]),
        texts(&["Sat Nov 21 10:00:00 UTC 2026", "sam. 21"]),
    );
    let beside = (
        any::<bool>(),
        prop::sample::select(&["", "8.5", "8.14"][..]),
        prop::sample::select(&["", "urn:uuid:1"][..]),
        prop::sample::select(&["", "2026-11-20T10:00:00Z"][..]),
        any::<bool>(),
        any::<bool>(),
    );
    (archive, manifest, generated, beside).prop_map(|(archive, manifest, generated, beside)| {
        let (rotation, modified, has_unix_times, level, with_descriptor, is_zip64, version, has_owner, is_group_writable) =
            archive;
        let (has_crlf_manifest, builder, are_clauses_turned) = manifest;
        let (properties_time, git_host, page_date) = generated;
        let (has_crlf_pom, gradle, bom_number, spdx_time, is_spdx_turned, is_checksum_named) = beside;
        Writing {
            rotation,
            modified,
            has_unix_times,
            level,
            with_descriptor,
            is_zip64,
            version,
            has_owner,
            is_group_writable,
            has_crlf_manifest,
            builder,
            are_clauses_turned,
            properties_time,
            git_host,
            page_date,
            has_crlf_pom,
            gradle,
            bom_number,
            spdx_time,
            is_spdx_turned,
            is_checksum_named,
        }
    })
}

/// One thing that means something.
#[derive(Clone, Debug)]
enum Mutation {
    Byte(usize, prop::sample::Index, u8),
    Mode(u32),
    Comment,
    Field(u8),
    Removal(usize),
}

impl Mutation {
    fn apply(&self, content: &mut Content) {
        match *self {
            Self::Byte(text, at, mask) => {
                let text = &mut *content.texts()[text];
                let at = at.index(text.len());
                text[at] ^= mask;
            }
            // Neither the umask's two bits nor the type.
            Self::Mode(bit) => content.class_mode ^= 1 << bit,
            Self::Comment => content.comment = b"c",
            Self::Field(value) => content.unknown_field = Some(value),
            Self::Removal(entry) => content.without = Some(entry),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a package is written, each of its files has the form of the canonical writing.
    #[test]
    fn every_writing_has_the_form_of_the_canonical_one(writing in writings()) {
        let content = Content::sample();
        let (canonical, written) = (content.write(&Writing::default()), content.write(&writing));
        let digests = |files: &MemoryFiles| forms(files).into_iter().map(|(digest, _)| digest).collect::<Vec<_>>();
        prop_assert_eq!(digests(&canonical), digests(&written));
        prop_assert!(matches!(compare(&canonical, &written), Comparison::SameAfter(_) | Comparison::Identical));
    }

    /// No pass, nor any number of them together, hides a change of what means something.
    #[test]
    fn a_mutation_is_found_under_any_two_writings(
        one in writings(),
        other in writings(),
        mutation in prop_oneof![
            12 => (0..12usize, any::<prop::sample::Index>(), 1u8..).prop_map(|(text, at, mask)| Mutation::Byte(text, at, mask)),
            2 => prop::sample::select(&[0u32, 2, 3, 5, 6, 7, 8, 9, 10, 11][..]).prop_map(Mutation::Mode),
            1 => Just(Mutation::Comment),
            1 => any::<u8>().prop_map(Mutation::Field),
            1 => (0..8usize).prop_map(Mutation::Removal),
        ],
    ) {
        let content = Content::sample();
        let mut mutated = content.clone();
        mutation.apply(&mut mutated);
        let answer = compare(&content.write(&one), &mutated.write(&other));
        prop_assert!(matches!(answer, Comparison::Different(_) | Comparison::Undecidable(_)), "{mutation:?}: {answer:?}");
    }
}
