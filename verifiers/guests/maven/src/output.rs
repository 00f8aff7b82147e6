//! The files of one build: what each is by its name, and the canonical form of each.
//!
//! Forms depend on each other in one direction: checksum files on all others, module metadata on what is neither, bills of materials on what is none of
//! these. So files are read in that order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use pyrsia_verifier_kit::hash::{Sha256, sha256};
use pyrsia_verifier_kit::tree::Tree;
use pyrsia_verifier_kit::{CanonicalFile, File, Finding, Output, Refusal, Unreadable};

use crate::archive::{self, Budget, Frame, Opened, Purpose};
use crate::checksum::{self, Algorithm, Checksum, Sums};
use crate::module::{self, Beside, Module};
use crate::passes::{Pass, PassSet};
use crate::pom::{self, Pom};
use crate::sbom::{self, Format};

/// What a file is, in the order in which forms are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Archive,
    Pom,
    Other,
    Sbom(Format),
    Module,
    Checksum(Algorithm),
}

impl Kind {
    pub fn of(name: &str) -> Self {
        if let Some((algorithm, base)) = Algorithm::of_file(name)
            && Algorithm::of_file(base).is_none()
        {
            return Self::Checksum(algorithm);
        }
        match name.rsplit_once('.') {
            _ if archive::is_archive_name(name.as_bytes()) => Self::Archive,
            Some((_, "pom")) => Self::Pom,
            Some((_, "module")) => Self::Module,
            _ => Format::of(name.as_bytes()).map_or(Self::Other, Self::Sbom),
        }
    }

    pub fn media_type(self, name: &str) -> &'static str {
        match self {
            Self::Archive => "application/java-archive",
            Self::Pom | Self::Sbom(Format::Xml) => "application/xml",
            Self::Sbom(Format::Json) | Self::Module => "application/json",
            Self::Checksum(_) => "text/plain",
            Self::Other => match name.rsplit_once('.') {
                Some((_, "xml")) => "application/xml",
                Some((_, "json")) => "application/json",
                Some((_, "zip")) => "application/zip",
                _ => "application/octet-stream",
            },
        }
    }
}

/// A file's canonical form.
pub struct Form {
    pub digest: Sha256,
    pub passes: PassSet,
    pub findings: Vec<Finding>,
    /// Of an archive, what a report needs to find what differs.
    pub entries: Option<(Tree, Frame)>,
    /// Of a bill of materials, what is compared where that are not its bytes.
    pub text: Option<Vec<u8>>,
}

impl Form {
    fn plain(digest: Sha256) -> Self {
        Self { digest, passes: PassSet::default(), findings: Vec::new(), entries: None, text: None }
    }
}

/// One output, being read.
pub struct Side<'a> {
    files: BTreeMap<String, File<'a>>,
    /// By which algorithms other files know a file.
    known_by: BTreeMap<String, BTreeSet<Algorithm>>,
    /// What was made so far of the files that others depend on.
    made: BTreeMap<String, Made>,
}

struct Made {
    canonical: Sha256,
    passes: PassSet,
    sums: RefCell<Option<Sums>>,
}

impl<'a> Side<'a> {
    pub fn open(output: Output<'a>) -> Result<Self, Refusal> {
        let mut side = Self { files: BTreeMap::new(), known_by: BTreeMap::new(), made: BTreeMap::new() };
        for file in output.files() {
            let name = file.name().to_owned();
            if let Kind::Checksum(algorithm) = Kind::of(&name)
                && let Some((_, base)) = Algorithm::of_file(&name)
            {
                side.known_by.entry(base.to_owned()).or_default().insert(algorithm);
            }
            match Kind::of(&name) {
                Kind::Module => {
                    let bytes = whole(&file, module::BYTES_MAX)?;
                    let module = Module::parse(&bytes).map_err(|fault| fault.refusal(&name))?;
                    for (described, algorithms) in module.described() {
                        side.known_by.entry(described.to_owned()).or_default().extend(algorithms);
                    }
                }
                Kind::Sbom(Format::Json) => {
                    let bytes = whole(&file, sbom::BYTES_MAX)?;
                    for (described, algorithm) in sbom::described(&bytes).map_err(|fault| fault.refusal(&name))? {
                        side.known_by.entry(described).or_default().insert(algorithm);
                    }
                }
                _ => {}
            }
            if side.files.insert(name.clone(), file).is_some() {
                return Err(Refusal::new("duplicate-file", &name, "Two files of the output have this name."));
            }
        }
        Ok(side)
    }

    pub fn file(&self, name: &str) -> Option<&File<'a>> {
        self.files.get(name)
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, &File<'a>)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }

    /// The names in the order in which their forms can be made.
    pub fn order(&self) -> Vec<String> {
        let mut names: Vec<String> = self.files.keys().cloned().collect();
        names.sort_by_cached_key(|name| (Kind::of(name), name.clone()));
        names
    }

    /// The form of a file of this output; those it depends on come before it in [`Side::order`].
    pub fn form(&mut self, name: &str) -> Result<Form, Refusal> {
        let file = self.files.get(name).expect("the name is one of this output's").clone();
        let unreadable = |fault: Unreadable| fault.refusal(name);
        let form = match Kind::of(name) {
            Kind::Archive => {
                let opened = Opened::open(&file, Purpose::of_file(name), 0).map_err(unreadable)?;
                let form = opened.form(&mut Budget::for_file(file.size())).map_err(unreadable)?;
                let entries = Some((form.entries, form.frame));
                Form { digest: form.digest, passes: form.passes, findings: form.findings, entries, text: None }
            }
            Kind::Pom => {
                let bytes = whole(&file, pom::BYTES_MAX)?;
                Pom::parse(&bytes).map_err(unreadable)?;
                let text = pom::canonical(&bytes);
                let mut form = Form::plain(sha256(&text));
                form.passes.add_if(Pass::PomLines, text != bytes);
                form
            }
            Kind::Other => Form::plain(file.sha256()),
            Kind::Sbom(format) => self.sbom_form(&file, format)?,
            Kind::Module => self.module_form(&file).map_err(unreadable)?,
            Kind::Checksum(algorithm) => self.checksum_form(&file, algorithm)?,
        };
        let made = Made { canonical: form.digest, passes: form.passes, sums: RefCell::new(None) };
        self.made.insert(name.to_owned(), made);
        Ok(form)
    }

    fn module_form(&self, file: &File<'_>) -> Result<Form, Unreadable> {
        let bytes = file.read_whole(module::BYTES_MAX).ok_or_else(|| Unreadable::new("it is too large"))?;
        let module = Module::parse(&bytes)?;
        let beside = self.beside(module.described().map(|(name, _)| name), Kind::Module)?;
        let (digest, passes) = module.canonical(|name| beside.get(name))?;
        Ok(Form { passes, ..Form::plain(digest) })
    }

    fn sbom_form(&self, file: &File<'_>, format: Format) -> Result<Form, Refusal> {
        let unreadable = |fault: Unreadable| fault.refusal(file.name());
        let bytes = whole(file, sbom::BYTES_MAX)?;
        let described = match format {
            Format::Json => sbom::described(&bytes).map_err(unreadable)?,
            Format::Xml => Vec::new(),
        };
        let beside = self.beside(described.iter().map(|(name, _)| name.as_str()), Kind::Sbom(format)).map_err(unreadable)?;
        Ok(match sbom::canonical(&bytes, format, |name| beside.get(name)).map_err(unreadable)? {
            Some(canonical) => {
                Form { passes: canonical.passes, text: Some(canonical.text.clone()), ..Form::plain(sha256(&canonical.text)) }
            }
            None => Form::plain(sha256(&bytes)),
        })
    }

    /// Of the files with these names, those whose forms come before those of a kind.
    fn beside<'n>(&self, names: impl Iterator<Item = &'n str>, kind: Kind) -> Result<BTreeMap<String, Beside>, Unreadable> {
        let mut beside = BTreeMap::new();
        for name in names.filter(|name| Kind::of(name) < kind && !matches!(Kind::of(name), Kind::Sbom(_))) {
            if let Some((base, made)) = self.files.get(name).zip(self.made.get(name)) {
                let sums = self.sums(base, made)?;
                let described =
                    Beside { size: base.size(), sums, canonical: made.canonical, is_normalised: !made.passes.is_empty() };
                beside.insert(name.to_owned(), described);
            }
        }
        Ok(beside)
    }

    fn checksum_form(&self, file: &File<'_>, algorithm: Algorithm) -> Result<Form, Refusal> {
        let base = Algorithm::of_file(file.name()).map_or("", |(_, base)| base);
        let bytes = whole(file, checksum::BYTES_MAX)?;
        let checksum = Checksum::parse(&bytes, algorithm, base).map_err(|fault| fault.refusal(file.name()))?;
        let mut passes = PassSet::default();
        passes.add_if(Pass::Checksums, !checksum.is_plain);
        let Some((base_file, made)) = self.files.get(base).zip(self.made.get(base)) else {
            return Ok(Form { passes, ..Form::plain(checksum.canonical_alone()) });
        };
        let sums = self.sums(base_file, made).map_err(|fault| fault.refusal(base))?;
        if sums.get(algorithm) != checksum.digits {
            let sentence =
                format!("The file says {}, the {} of {base} is {}.", checksum.digits, algorithm.name(), sums.get(algorithm));
            return Err(Refusal::new("wrong-checksum", file.name(), sentence));
        }
        passes.add_if(Pass::Checksums, !made.passes.is_empty());
        Ok(Form { passes, ..Form::plain(checksum.canonical(&made.canonical)) })
    }

    /// All checksums by which others know a file, made in one pass over it.
    fn sums(&self, file: &File<'_>, made: &Made) -> Result<Sums, Unreadable> {
        if let Some(sums) = &*made.sums.borrow() {
            return Ok(sums.clone());
        }
        let algorithms: Vec<Algorithm> = self.known_by.get(file.name()).into_iter().flatten().copied().collect();
        let sums = Sums::of(file.reader(), &algorithms)?;
        *made.sums.borrow_mut() = Some(sums.clone());
        Ok(sums)
    }
}

/// The canonical form of every file, in the order of their numbers.
pub fn canonicalize(side: &mut Side<'_>) -> Result<Vec<CanonicalFile>, Refusal> {
    let mut canonical = Vec::new();
    for name in side.order() {
        let Form { digest, passes, findings, .. } = side.form(&name)?;
        let file = side.file(&name).expect("the order has the names of this output").index();
        canonical.push(CanonicalFile { file, canonical_digest: digest.into(), passes: passes.names(), findings });
    }
    canonical.sort_by_key(|canonical| canonical.file);
    Ok(canonical)
}

/// The whole of a file that has to lie in memory.
pub fn whole(file: &File<'_>, bytes_max: u64) -> Result<Vec<u8>, Refusal> {
    file.read_whole(bytes_max).ok_or_else(|| {
        let sentence = format!("The file has {} bytes; of its kind at most {bytes_max} are read.", file.size());
        Refusal::new("too-large", file.name(), sentence)
    })
}
