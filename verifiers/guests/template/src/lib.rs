//! The verifier of the package type `template`.
//!
//! A package is `NAME@VERSION`, and a build of it gives one file, `NAME-VERSION.tar`. Two builds are the same when their archives have the same entries, whatever
//! their order and times. Change all of this to what your package type is; `wit/v1/verifier.wit` says what each function must keep to.

use pyrsia_verifier_kit::hash::{FieldHasher, hex};
use pyrsia_verifier_kit::tar::{Entry, TarReader, clean_path};
use pyrsia_verifier_kit::tree::Tree;
use pyrsia_verifier_kit::{
    CanonicalFile, Description, Document, DocumentSources, File, Hasher, HttpArtifact, HttpTarget, Output, Pass,
    PublishedArtifact, PublishedRecord, Refusal, Report, Sha256, Unreadable, Verifier, export_verifier,
};
use std::io::Read;

pub struct Template;

const PASS_FORM: &str = "archive-form";
const PASS_ORDER: &str = "entry-order";
const PASS_TIMES: &str = "entry-times";
/// The media type the archive is served with.
const MEDIA_TYPE: &str = "application/x-tar";
/// Names and versions: what may stand in a coordinate, and in a path under the mount.
const WORD_BYTES_MAX: usize = 100;

impl Verifier for Template {
    fn describe() -> Description {
        Description {
            package_type: "template".into(),
            aliases: vec![],
            coordinate_syntax:
                "A package is written NAME@VERSION, each of lower-case letters, digits, dots, hyphens and underscores.".into(),
            examples: vec!["left@1.0.0".into()],
            passes: vec![
                Pass::new(PASS_FORM, "The dialect of tar, how it pads numbers, and how many blocks of zeros end the archive."),
                Pass::new(PASS_ORDER, "The order of the entries of an archive in which no path occurs twice."),
                Pass::new(PASS_TIMES, "The modification times of the entries."),
            ],
            http_paths: vec!["/{name}-{version}.tar".into(), "/{name}".into()],
        }
    }

    fn parse_coordinate(text: &str) -> Result<String, Refusal> {
        Coordinate::parse(text).map(|coordinate| coordinate.text())
    }

    fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal> {
        let coordinate = Coordinate::parse(coordinate)?;
        let expected = coordinate.file_name();
        let mut files = output.files();
        let (Some(file), None) = (files.next(), files.next()) else {
            return Err(Refusal::new(
                "file-count",
                &expected,
                format!("A build gives one file, this one has {}.", output.count()),
            ));
        };
        if file.name() != expected {
            return Err(Refusal::new("wrong-name", file.name(), format!("The file of this package is called {expected}.")));
        }
        let archive = Archive::read(&file).map_err(|fault| fault.refusal(file.name()))?;
        Ok(vec![PublishedArtifact {
            artifact_id: coordinate.artifact_id(),
            file: file.index(),
            media_type: MEDIA_TYPE.into(),
            canonical_digest: archive.digest().into(),
            passes: archive.passes(),
        }])
    }

    fn canonicalize(_coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
        let canonical = |file: File<'_>| {
            let archive = Archive::read(&file).map_err(|fault| fault.refusal(file.name()))?;
            let canonical_digest = archive.digest().into();
            Ok(CanonicalFile { file: file.index(), canonical_digest, passes: archive.passes(), findings: vec![] })
        };
        output.files().map(canonical).collect()
    }

    fn explain(a: &File<'_>, b: &File<'_>, report: &mut Report) {
        // Both were read once before this is asked.
        if let (Ok(a), Ok(b)) = (Archive::read(a), Archive::read(b)) {
            a.explain(&b, report);
        }
    }

    fn http_artifacts(path: &str) -> Option<HttpTarget> {
        let path = path.strip_prefix('/')?;
        let Some((name, version)) = path.strip_suffix(".tar").and_then(|path| path.rsplit_once('-')) else {
            // With `@` at its end no other package's coordinate begins with it. Where a document needs to look into what is published, `lent_suffix` names the artifacts to lend.
            let coordinate_prefix = is_word(path).then(|| format!("{path}@"))?;
            return Some(HttpTarget::Document(DocumentSources { coordinate_prefix, lent_suffix: None }));
        };
        let coordinate = Coordinate::parse(&format!("{name}@{version}")).ok()?;
        Some(HttpTarget::Artifact(HttpArtifact { artifact_id: coordinate.artifact_id(), coordinate: coordinate.text() }))
    }

    /// The list of a package's versions, one on a line, each with the address of its archive.
    fn http_document(path: &str, mount: &str, records: &[PublishedRecord], _output: Output<'_>) -> Result<Document, Refusal> {
        let line = |record: &PublishedRecord| {
            let coordinate = Coordinate::parse(&record.coordinate).ok()?;
            Some(format!("{} {mount}/{}\n", coordinate.version, coordinate.file_name()))
        };
        let lines: String = records.iter().filter_map(line).collect();
        if lines.is_empty() {
            return Err(Refusal::new("not-published", path, "No version of this package is published."));
        }
        Ok(Document { media_type: "text/plain".into(), body: lines.into_bytes() })
    }
}

export_verifier!(Template);

struct Coordinate {
    name: String,
    version: String,
}

impl Coordinate {
    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.split_once('@') {
            // A hyphen in the version would leave open where the name ends in a file's name.
            Some((name, version)) if is_word(name) && is_word(version) && !version.contains('-') => {
                Ok(Self { name: name.into(), version: version.into() })
            }
            _ => Err(Refusal::new("malformed-coordinate", text, Template::describe().coordinate_syntax)),
        }
    }

    fn text(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }

    fn file_name(&self) -> String {
        format!("{}-{}.tar", self.name, self.version)
    }

    fn artifact_id(&self) -> String {
        format!("{}/{}", self.text(), self.file_name())
    }
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    (1..=WORD_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

/// What an archive means, in memory that grows with its entries and not with their contents.
struct Archive {
    entries: Tree,
    is_sorted: bool,
    has_times: bool,
}

impl Archive {
    fn read(file: &File<'_>) -> Result<Self, Unreadable> {
        let mut reader = TarReader::new(file.reader());
        let mut archive = Self { entries: Tree::new(), is_sorted: true, has_times: false };
        let mut last = None;
        while let Some(entry) = reader.next_entry()? {
            let path = clean_path(&entry.path)?;
            let digest = entry_digest(&entry, &mut reader)?;
            archive.is_sorted &= last.as_ref().is_none_or(|last| *last < path);
            archive.has_times |= entry.modified != b"0";
            archive.entries.insert(&path, digest)?;
            last = Some(path);
        }
        Ok(archive)
    }

    fn digest(&self) -> Sha256 {
        self.entries.digest("template archive")
    }

    /// Those that change something, in the order of the description. The form is lost whenever an archive is read, and every byte that is lost needs a pass.
    fn passes(&self) -> Vec<String> {
        let passes = [(PASS_FORM, true), (PASS_ORDER, !self.is_sorted), (PASS_TIMES, self.has_times)];
        passes.into_iter().filter(|(_, changes)| *changes).map(|(name, _)| name.into()).collect()
    }

    fn explain(&self, other: &Self, report: &mut Report) {
        for (path, digest) in self.entries.iter() {
            let place = String::from_utf8_lossy(path);
            report.within(&place, |report| match other.entries.get(path) {
                None => report.only_in_a("the entry"),
                Some(of_other) if of_other != digest => report.differs("content or attributes", &hex(digest), &hex(of_other)),
                Some(_) => {}
            });
        }
        for (path, _) in other.entries.iter().filter(|(path, _)| self.entries.get(path).is_none()) {
            report.within(&String::from_utf8_lossy(path), |report| report.only_in_b("the entry"));
        }
    }
}

/// Everything about an entry but its path, its place and its times.
fn entry_digest(entry: &Entry, content: &mut impl Read) -> Result<Sha256, Unreadable> {
    let mut bytes = Hasher::new();
    let mut piece = vec![0; 16 << 10];
    loop {
        match content.read(&mut piece)? {
            0 => break,
            len => bytes.update(&piece[..len]),
        }
    }
    let mut hasher = FieldHasher::new("template entry");
    hasher.field("kind", entry.kind.word().as_bytes()).number("mode", u64::from(entry.mode));
    hasher.number("uid", entry.uid).number("gid", entry.gid).field("user", &entry.user).field("group", &entry.group);
    hasher.field("link", &entry.link).number("major", entry.device.0).number("minor", entry.device.1);
    for (name, value) in entry.attributes.iter().chain(&entry.records) {
        hasher.field("name", name).field("value", value);
    }
    hasher.field("content", &bytes.finish());
    Ok(hasher.finish())
}

#[cfg(test)]
mod tests {
    use pyrsia_verifier_kit::Comparison;
    use pyrsia_verifier_kit::files::MemoryFiles;

    use super::*;

    fn archive(entries: &[(&str, &str)], modified: u64) -> MemoryFiles {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(modified);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        MemoryFiles(vec![("left-1.0.0.tar".into(), builder.into_inner().unwrap())])
    }

    fn compare(a: &MemoryFiles, b: &MemoryFiles) -> Comparison {
        let files = MemoryFiles::side_by_side(a, b);
        let (a, b) = files.output().split(1);
        Template::compare(None, a, b)
    }

    #[test]
    fn order_and_times_are_forgiven_and_nothing_else() {
        let one = archive(&[("a", "1"), ("b", "2")], 0);
        assert!(matches!(compare(&one, &one), Comparison::Identical));
        let forgiven = compare(&one, &archive(&[("b", "2"), ("a", "1")], 7));
        assert!(matches!(forgiven, Comparison::SameAfter(passes) if passes == [PASS_FORM, PASS_ORDER, PASS_TIMES]));
        let Comparison::Different(report) = compare(&one, &archive(&[("a", "1"), ("b", "3")], 0)) else { panic!("it differs") };
        assert_eq!(report.differences[0].path, ["b"]);
    }

    #[test]
    fn a_path_is_an_archive_or_the_list_of_a_package() {
        let Some(HttpTarget::Artifact(archive)) = Template::http_artifacts("/left-1.0.0.tar") else { panic!("an archive") };
        assert_eq!((archive.artifact_id.as_str(), archive.coordinate.as_str()), ("left@1.0.0/left-1.0.0.tar", "left@1.0.0"));
        let Some(HttpTarget::Document(list)) = Template::http_artifacts("/left") else { panic!("a list") };
        assert_eq!(list.coordinate_prefix, "left@");
        assert_eq!(Template::http_artifacts("/left/right"), None);
        let files = MemoryFiles::default();
        let record = |version: &str| PublishedRecord {
            coordinate: format!("left@{version}"),
            artifact_id: format!("left@{version}/left-{version}.tar"),
            media_type: MEDIA_TYPE.into(),
            size_bytes: 1,
            sha256: vec![0; 32],
            file: None,
        };
        let list =
            |records: &[PublishedRecord]| Template::http_document("/left", "http://node/template", records, files.output());
        let lines = list(&[record("1.0.0"), record("1.1.0")]).unwrap().body;
        assert_eq!(lines, b"1.0.0 http://node/template/left-1.0.0.tar\n1.1.0 http://node/template/left-1.1.0.tar\n");
        assert_eq!(list(&[]).unwrap_err().code, "not-published");
    }

    #[test]
    fn an_output_is_one_archive_with_the_name_of_the_package() {
        let files = archive(&[("a", "1")], 0);
        let published = Template::check("left@1.0.0", files.output()).unwrap();
        assert_eq!(published[0].artifact_id, "left@1.0.0/left-1.0.0.tar");
        assert_eq!(Template::check("right@1.0.0", files.output()).unwrap_err().code, "wrong-name");
    }
}
