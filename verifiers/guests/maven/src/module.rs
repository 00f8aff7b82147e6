//! Gradle module metadata (its specification, version 1.1): what a module says of itself and of the files beside it.
//!
//! It repeats size and checksums of the files it describes, so two builds whose jars differ in their times only differ here as well. Where what it says of a file
//! beside it is right, its canonical form has that file's canonical digest instead.

use pyrsia_verifier_kit::hash::{FieldHasher, Sha256};
use pyrsia_verifier_kit::unreadable::Result;
use pyrsia_verifier_kit::{Refusal, Unreadable};

use crate::checksum::{Algorithm, Sums};
use crate::coordinate::Coordinate;
use crate::json_values::{Document, Step, Value};
use crate::passes::{Pass, PassSet};

pub const BYTES_MAX: u64 = 8 << 20;

const BUILD_INFO: [&[&str]; 2] = [&["createdBy", "gradle", "buildId"], &["createdBy", "gradle", "version"]];

/// The steps to a field of a file: `variants`, its number, `files`, its number, the field.
const DESCRIBED_DEPTH: usize = 5;

/// Whether a value says what the package is, who built it, or what a file beside it is.
fn is_looked_at(path: &[Step]) -> bool {
    match path {
        [Step::Key(component), Step::Key(_)] => component == "component",
        [Step::Key(created), Step::Key(tool), Step::Key(_)] => created == "createdBy" && tool == "gradle",
        [Step::Key(variants), Step::Index(_), Step::Key(files), Step::Index(_), Step::Key(_)] => {
            variants == "variants" && files == "files"
        }
        _ => false,
    }
}

/// A file beside the metadata, as its output has it.
pub struct Beside {
    pub size: u64,
    pub sums: Sums,
    pub canonical: Sha256,
    /// Whether a pass changed anything in it.
    pub is_normalised: bool,
}

#[derive(Debug)]
pub struct Module<'b> {
    document: Document<'b>,
    files: Vec<Described>,
}

/// An element of `variants[].files[]`.
#[derive(Debug)]
struct Described {
    url: String,
    size: Option<Value>,
    sums: Vec<(Algorithm, Value)>,
}

impl<'b> Module<'b> {
    pub fn parse(bytes: &'b [u8]) -> Result<Self> {
        let document = Document::parse(bytes, |path, written| is_looked_at(path) && !written.starts_with(['{', '[']))?;
        let mut files: Vec<(&[Step], Described)> = Vec::new();
        for value in document.values() {
            let [.., Step::Key(field)] = &value.path[..] else { continue };
            if value.path.len() != DESCRIBED_DEPTH {
                continue;
            }
            let element = &value.path[..DESCRIBED_DEPTH - 1];
            if files.last().is_none_or(|(last, _)| *last != element) {
                files.push((element, Described { url: String::new(), size: None, sums: Vec::new() }));
            }
            let (_, described) = files.last_mut().expect("one was put there if there was none");
            match field.as_str() {
                "url" => described.url = document.string(value).unwrap_or_default().to_owned(),
                "size" => described.size = Some(value.clone()),
                _ => described.sums.extend(Algorithm::by_name(field).map(|algorithm| (algorithm, value.clone()))),
            }
        }
        let files = files.into_iter().map(|(_, described)| described).collect();
        Ok(Self { document, files })
    }

    /// The files it describes, and by which algorithms.
    pub fn described(&self) -> impl Iterator<Item = (&str, Vec<Algorithm>)> {
        self.files.iter().map(|file| (file.url.as_str(), file.sums.iter().map(|(algorithm, _)| *algorithm).collect()))
    }

    /// Whether it is the metadata of this package. One that is published elsewhere says where, and has no files.
    pub fn check_coordinate(&self, file: &str, coordinate: &Coordinate) -> std::result::Result<(), Refusal> {
        let wanted = [("group", coordinate.group()), ("module", coordinate.artifact()), ("version", coordinate.version())];
        for (field, wanted) in wanted {
            let written = self.document.at(&["component", field]).and_then(|value| self.document.string(value));
            if written != Some(wanted) {
                let written = written.map_or("nothing".to_owned(), |written| format!("{written:?}"));
                let sentence =
                    format!("The module's component has {written} as its {field}, the coordinate asks for {wanted:?}.");
                return Err(Refusal::new("wrong-coordinate", file, sentence));
            }
        }
        Ok(())
    }

    /// `beside` finds a file by its name; none where the output does not have it.
    pub fn canonical<'f>(&self, beside: impl Fn(&str) -> Option<&'f Beside>) -> Result<(Sha256, PassSet)> {
        let mut passes = PassSet::default();
        let build_info = BUILD_INFO.iter().filter_map(|path| self.document.at(path));
        let mut left_out: Vec<&Value> = build_info.filter(|value| self.document.string(value).is_some()).collect();
        passes.add_if(Pass::ModuleBuildInfo, left_out.iter().any(|value| self.document.string(value) != Some("")));
        let mut files = Vec::new();
        for file in &self.files {
            let Some(beside) = beside(&file.url) else { continue };
            self.check_described(file, beside)?;
            passes.add_if(Pass::ModuleChecksums, beside.is_normalised);
            left_out.extend(file.size.iter().chain(file.sums.iter().map(|(_, value)| value)));
            files.push((&file.url, &beside.canonical));
        }
        left_out.sort_by_key(|value| value.span.start);
        let mut hasher = FieldHasher::new("maven-module");
        hasher.field("text", self.document.without(left_out).as_bytes());
        for (url, canonical) in files {
            hasher.field(url, canonical);
        }
        Ok((hasher.finish(), passes))
    }

    /// The text that is compared line by line in a report: without what the canonical form leaves out in any case.
    pub fn text(&self) -> String {
        let mut left_out: Vec<&Value> = BUILD_INFO.iter().filter_map(|path| self.document.at(path)).collect();
        left_out.retain(|value| self.document.string(value).is_some());
        left_out.sort_by_key(|value| value.span.start);
        self.document.without(left_out)
    }

    fn check_described(&self, file: &Described, beside: &Beside) -> Result<()> {
        let fault = |what: &str| Unreadable::new(format!("its {what} of {:?} is not that of the file", file.url));
        if let Some(size) = &file.size
            && self.document.written(size).parse() != Ok(beside.size)
        {
            return Err(fault("size"));
        }
        for (algorithm, value) in &file.sums {
            if self.document.string(value) != Some(beside.sums.get(*algorithm)) {
                return Err(fault(algorithm.name()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JAR: &[u8] = b"a jar";

    fn beside(content: &[u8], canonical: u8) -> Beside {
        Beside {
            size: content.len() as u64,
            sums: Sums::of(content, &Algorithm::ALL).unwrap(),
            canonical: [canonical; 32],
            is_normalised: true,
        }
    }

    fn text(content: &[u8], gradle: &str) -> String {
        let sums = Sums::of(content, &Algorithm::ALL).unwrap();
        format!(
            "{{\n  \"formatVersion\": \"1.1\",\n  \"component\": {{\"group\": \"g\", \"module\": \"a\", \"version\": \"1\"}},\n  \
             \"createdBy\": {{\"gradle\": {{\"version\": \"{gradle}\", \"buildId\": \"{gradle}x\"}}}},\n  \"variants\": [{{\"name\": \"api\", \"files\": [\n    \
             {{\"name\": \"a-1.jar\", \"url\": \"a-1.jar\", \"size\": {}, \"sha512\": \"{}\", \"sha1\": \"{}\"}}]}}]\n}}\n",
            content.len(),
            sums.get(Algorithm::Sha512),
            sums.get(Algorithm::Sha1),
        )
    }

    fn canonical(text: &str, beside: Option<&Beside>) -> Result<(Sha256, PassSet)> {
        Module::parse(text.as_bytes()).unwrap().canonical(|name| beside.filter(|_| name == "a-1.jar"))
    }

    #[test]
    fn builds_whose_jars_have_one_canonical_form_have_one_module() {
        let (one, passes) = canonical(&text(JAR, "8.5"), Some(&beside(JAR, 1))).unwrap();
        let (other, _) = canonical(&text(b"the same jar", "8.6"), Some(&beside(b"the same jar", 1))).unwrap();
        assert_eq!(one, other);
        assert_eq!(passes.names(), ["module-build-info", "module-checksums"]);
        let (different, _) = canonical(&text(b"other", "8.5"), Some(&beside(b"other", 2))).unwrap();
        assert_ne!(one, different);
    }

    #[test]
    fn checksums_of_an_absent_file_are_compared_and_wrong_ones_are_not_read() {
        let (one, passes) = canonical(&text(JAR, "8.5"), None).unwrap();
        assert_eq!(passes.names(), ["module-build-info"]);
        assert_ne!(canonical(&text(b"other", "8.5"), None).unwrap().0, one);
        assert!(canonical(&text(b"other", "8.5"), Some(&beside(JAR, 1))).is_err());
        let wrong_size = text(JAR, "8.5").replace("\"size\": 5", "\"size\": 6");
        assert!(canonical(&wrong_size, Some(&beside(JAR, 1))).is_err());
    }

    #[test]
    fn what_the_canonical_form_leaves_out_is_left_out_once() {
        let once = Module::parse(text(JAR, "8.5").as_bytes()).unwrap().text();
        let again = Module::parse(once.as_bytes()).unwrap();
        assert_eq!(again.text(), once);
        assert!(again.canonical(|_| None).unwrap().1.is_empty());
    }

    #[test]
    fn every_byte_outside_of_build_info_and_right_checksums_counts() {
        let text = text(JAR, "8.5");
        let beside = beside(JAR, 1);
        let (digest, _) = canonical(&text, Some(&beside)).unwrap();
        let noise = text.find("8.5").unwrap()..text.find("x\"}").unwrap() + 1;
        for at in (0..text.len()).filter(|at| !noise.contains(at)) {
            for bit in [0x01, 0x04] {
                let mut changed = text.clone().into_bytes();
                changed[at] ^= bit;
                let Ok(module) = Module::parse(&changed) else { continue };
                let found = module.canonical(|name| (name == "a-1.jar").then_some(&beside)).map(|(digest, _)| digest);
                assert_ne!(found, Ok(digest), "bit {bit:#x} of byte {at}");
            }
        }
    }

    #[test]
    fn a_module_is_of_the_package_it_names() {
        let coordinate = |text: &str| Coordinate::parse(text).unwrap();
        let text = text(JAR, "8.5");
        let module = Module::parse(text.as_bytes()).unwrap();
        assert_eq!(module.check_coordinate("a-1.module", &coordinate("g:a:1")), Ok(()));
        for other in ["h:a:1", "g:b:1", "g:a:2"] {
            assert_eq!(module.check_coordinate("a-1.module", &coordinate(other)).unwrap_err().code, "wrong-coordinate");
        }
    }
}
