//! The source of a build as it lies on disk before Maven sees it: its poms, and what its `.mvn` folder tells Maven.
//!
//! Refuses what would take decisions out of the pipeline's hands, and poms that readers could understand differently. Code of
//! the source (plugins, extensions, options of the JVM) runs in the build anyway and is not judged here.

use std::borrow::Cow;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::pom::{self, Pom, PomError};
use super::recipe::check_property;

/// The largest pom, or file of options, that is read.
const MAX_FILE_BYTES: u64 = 4 << 20;
/// The largest builds of the world have a few thousand modules.
const MAX_MODULES: usize = 10_000;
/// What a pom can say it is written in. All of them read what XML is made of as ASCII does.
const ENCODINGS: [&str; 4] = ["utf-8", "iso-8859-1", "windows-1252", "us-ascii"];
/// Modules that an error names.
const NAMED_MODULES: usize = 10;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("the source has no pom.xml in {0}")]
    NoPom(String),
    #[error("{0} of the source leads out of it")]
    Outside(String),
    #[error("{path} of the source is refused: {source}")]
    Pom {
        path: String,
        #[source]
        source: PomError,
    },
    #[error("{path} of the source is refused: it is neither in UTF-8 nor in ISO-8859-1")]
    Encoding { path: String },
    #[error("{path} of the source has more than {MAX_FILE_BYTES} bytes")]
    TooLarge { path: String },
    #[error("the source has more than {MAX_MODULES} modules")]
    TooManyModules,
    #[error("the source's .mvn/maven.config has {word:?}: {problem}")]
    Option { word: String, problem: &'static str },
    #[error("cannot read the source")]
    Io(#[from] io::Error),
}

/// What is known of the source before the build.
#[derive(Debug)]
pub(crate) struct Source {
    /// Where Maven runs.
    pub(crate) folder: PathBuf,
    /// The poms that are found from the one in the folder through their lists of modules.
    modules: Vec<Pom>,
    /// Whether a pom sets the time that archives show.
    pub(crate) has_output_timestamp: bool,
}

impl Source {
    /// Looks at the checkout below `root`. Blocks.
    pub(crate) fn open(root: &Path, directory: &Path) -> Result<Self, SourceError> {
        let root = root.canonicalize()?;
        let shown = directory.display().to_string();
        let folder = root.join(directory).canonicalize().map_err(|_| SourceError::NoPom(shown.clone()))?;
        if !folder.starts_with(&root) {
            return Err(SourceError::Outside(shown));
        }
        if !folder.join("pom.xml").is_file() {
            return Err(SourceError::NoPom(shown));
        }
        let mut source = Self { folder: folder.clone(), modules: Vec::new(), has_output_timestamp: false };
        // Maven takes the first folder with a `.mvn` upwards for the project's, so that there has to be one before the
        // folders of the pipeline begin.
        let own = folder.ancestors().take_while(|above| above.starts_with(&root));
        match own.map(|above| above.join(".mvn")).find(|folder| folder.is_dir()) {
            Some(folder) => check_options(&folder.join("maven.config"))?,
            None => fs::create_dir(root.join(".mvn"))?,
        }
        source.read_modules(&root, folder.join("pom.xml"))?;
        // The parents of a reactor that begins further down.
        for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&root)) {
            if let Some(pom) = read_pom(&root, &above.join("pom.xml"))? {
                source.has_output_timestamp |= pom.has_output_timestamp;
            }
        }
        Ok(source)
    }

    fn read_modules(&mut self, root: &Path, first: PathBuf) -> Result<(), SourceError> {
        let mut poms = vec![first];
        let mut next = 0;
        while let Some(path) = poms.get(next).cloned() {
            next += 1;
            let Some(pom) = read_pom(root, &path)? else { continue };
            let folder = path.parent().unwrap_or(root);
            for module in &pom.modules {
                let below = folder.join(module);
                let path = if below.is_dir() { below.join("pom.xml") } else { below };
                // What leads elsewhere, or nowhere, is for Maven to refuse.
                let Ok(path) = path.canonicalize() else { continue };
                if path.starts_with(root) && !poms.contains(&path) {
                    poms.push(path);
                }
                if poms.len() > MAX_MODULES {
                    return Err(SourceError::TooManyModules);
                }
            }
            self.has_output_timestamp |= pom.has_output_timestamp;
            self.modules.push(pom);
        }
        Ok(())
    }

    /// What the poms say they are, for a sentence about a package that is not among them.
    pub(crate) fn coordinates(&self) -> String {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "?".to_owned());
        let named = self.modules.iter().map(|pom| format!("{}:{}:{}", part(&pom.group), part(&pom.artifact), part(&pom.version)));
        listed(&named.collect::<Vec<_>>())
    }
}

/// The first of many, and how many more there are.
pub(super) fn listed(words: &[String]) -> String {
    let first = words.iter().take(NAMED_MODULES).cloned().collect::<Vec<_>>().join(", ");
    match words.len().saturating_sub(NAMED_MODULES) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// `None` where there is none, and where only Maven can say what is wrong with it (broken XML).
fn read_pom(root: &Path, path: &Path) -> Result<Option<Pom>, SourceError> {
    let shown = || path.strip_prefix(root).unwrap_or(path).display().to_string();
    let Some(bytes) = read_bytes(path, shown)? else { return Ok(None) };
    let text = pom_text(&bytes).ok_or_else(|| SourceError::Encoding { path: shown() })?;
    match pom::read(&text) {
        Ok(pom) => Ok(Some(pom)),
        Err(source @ PomError::DocumentType) => Err(SourceError::Pom { path: shown(), source }),
        Err(PomError::Syntax(_)) => Ok(None),
    }
}

/// `None` for one that is something else when it is read as what it says it is written in.
fn pom_text(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let text = String::from_utf8_lossy(bytes);
    // Maven looks for it there, wherever the declaration begins.
    let head = text.split('>').next().unwrap_or_default();
    let mut is_utf8 = true;
    for (at, word) in head.match_indices("encoding") {
        let rest = head[at + word.len()..].trim_start().strip_prefix('=').unwrap_or_default().trim_start();
        let said = rest.split(['"', '\'']).nth(1).unwrap_or_default().trim().to_ascii_lowercase();
        if !ENCODINGS.contains(&said.as_str()) {
            return None;
        }
        is_utf8 &= said == ENCODINGS[0];
    }
    // UTF-16 without a mark at its beginning has them.
    let is_plain = !bytes.contains(&0) && (!is_utf8 || matches!(text, Cow::Borrowed(_)));
    is_plain.then_some(text)
}

fn read_text(path: &Path, shown: impl Fn() -> String + Copy) -> Result<Option<String>, SourceError> {
    let Some(bytes) = read_bytes(path, shown)? else { return Ok(None) };
    String::from_utf8(bytes).map(Some).map_err(|_| SourceError::Encoding { path: shown() })
}

fn read_bytes(path: &Path, shown: impl Fn() -> String) -> Result<Option<Vec<u8>>, SourceError> {
    // A pipe of that name would be waited for.
    if !path.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(SourceError::TooLarge { path: shown() });
    }
    Ok(Some(bytes))
}

/// Options of the source that say how it is built; all others say where things are, or what is done.
const PLAIN_OPTIONS: [&str; 20] = [
    "-B",
    "--batch-mode",
    "-ntp",
    "--no-transfer-progress",
    "-e",
    "--errors",
    "-X",
    "--debug",
    "-V",
    "--show-version",
    "-U",
    "--update-snapshots",
    "-nsu",
    "--no-snapshot-updates",
    "-C",
    "--strict-checksums",
    "-c",
    "--lax-checksums",
    "-ff",
    "--fail-fast",
];
/// Those that take a word, behind them or as the next one.
const WORD_OPTIONS: [&str; 6] = ["-T", "--threads", "-P", "--activate-profiles", "-b", "--builder"];
const PROPERTY_OPTIONS: [&str; 2] = ["-D", "--define"];

fn check_options(file: &Path) -> Result<(), SourceError> {
    let Some(text) = read_text(file, || ".mvn/maven.config".to_owned())? else { return Ok(()) };
    // Maven 3.8 divides at blanks and 3.9 at ends of lines: a file is read in both ways.
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    check_words(lines.clone(), Bare::IsGoal)?;
    check_words(lines.flat_map(str::split_whitespace), Bare::MayBeRest)
}

/// What a word is that begins with no dash and belongs to no option.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bare {
    IsGoal,
    /// Of a value with blanks.
    MayBeRest,
}

fn check_words<'a>(mut words: impl Iterator<Item = &'a str>, bare: Bare) -> Result<(), SourceError> {
    let refuse = |word: &str, problem| Err(SourceError::Option { word: word.to_owned(), problem });
    while let Some(word) = words.next() {
        let word = word.trim_matches(['"', '\'']);
        if !word.starts_with('-') && bare == Bare::MayBeRest {
            continue;
        }
        if let Some(option) = PROPERTY_OPTIONS.iter().find(|option| word.starts_with(**option)) {
            let rest = word[option.len()..].trim_start_matches(['=', ' ']);
            let property = if rest.is_empty() { words.next().unwrap_or_default() } else { rest };
            let (name, value) = property.split_once('=').unwrap_or((property, "true"));
            if let Err(problem) = check_property(name.trim(), value) {
                return refuse(word, problem);
            }
        } else if PLAIN_OPTIONS.contains(&word) {
        } else if WORD_OPTIONS.contains(&word) {
            words.next();
        } else if !WORD_OPTIONS.iter().any(|option| {
            word.strip_prefix(option)
                .is_some_and(|value| value.starts_with(|c: char| c == '=' || c.is_ascii_alphanumeric() || c == ' '))
        }) {
            return refuse(word, "a source decides neither what is built nor where things are");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkout(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    const ROOT: &str = "<project><groupId>g</groupId><artifactId>root</artifactId><version>1</version>
        <modules><module>a</module><module>../out</module><module>none</module></modules></project>";
    const A: &str = "<project><parent><groupId>g</groupId><artifactId>root</artifactId><version>1</version></parent>
        <artifactId>a</artifactId><modules><module>..</module></modules></project>";

    #[test]
    fn the_modules_of_a_source_are_found_and_none_twice() {
        let folder = checkout(&[("java/pom.xml", ROOT), ("java/a/pom.xml", A), ("pom.xml", "not xml <")]);
        let source = Source::open(folder.path(), Path::new("java")).unwrap();
        assert_eq!(source.coordinates(), "g:root:1, g:a:1");
        assert!(!source.has_output_timestamp);
        assert!(folder.path().join(".mvn").is_dir(), "nothing above the checkout is the project's");
    }

    #[test]
    fn a_time_of_a_parent_counts() {
        let parent =
            "<project><properties><project.build.outputTimestamp>1</project.build.outputTimestamp></properties></project>";
        let folder = checkout(&[("java/pom.xml", ROOT), ("pom.xml", parent)]);
        assert!(Source::open(folder.path(), Path::new("java")).unwrap().has_output_timestamp);
    }

    #[test]
    fn a_source_that_cannot_be_built_is_refused_by_name() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"a\">]><project>&a;</project>";
        let refused = |files: &[(&str, &str)], directory: &str| {
            crate::builds::with_causes(&Source::open(checkout(files).path(), Path::new(directory)).unwrap_err())
        };
        assert_eq!(refused(&[("a", "")], "."), "the source has no pom.xml in .");
        assert_eq!(refused(&[("pom.xml", ROOT)], "java"), "the source has no pom.xml in java");
        assert_eq!(
            refused(&[("pom.xml", ROOT), ("a/pom.xml", bomb)], "."),
            "a/pom.xml of the source is refused: it has a document type: its entities are not expanded"
        );
        let outside = checkout(&[("pom.xml", ROOT)]);
        let folder = checkout(&[]);
        std::os::unix::fs::symlink(outside.path(), folder.path().join("out")).unwrap();
        assert!(matches!(Source::open(folder.path(), Path::new("out")), Err(SourceError::Outside(_))));
    }

    #[test]
    fn a_pom_that_could_be_read_as_another_is_refused() {
        let bomb = "<!DOCTYPE x [<!ENTITY a \"a\">]><project>&a;</project>";
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect::<Vec<_>>();
        let declared = |encoding: &str| format!("<?xml version='1.0' encoding = '{encoding}'?>");
        let seven = bomb.replace('<', "+ADw-");
        for (refused, bytes) in [
            (false, ROOT.as_bytes().to_vec()),
            (false, format!("\u{feff}{}{ROOT}<!-- ü -->", declared("UTF-8")).into_bytes()),
            (false, [declared("ISO-8859-1").as_bytes(), ROOT.as_bytes(), b"<!-- \xfc -->"].concat()),
            (true, [declared("UTF-8").as_bytes(), ROOT.as_bytes(), b"<!-- \xfc -->"].concat()),
            (true, [ROOT.as_bytes(), b"<!-- \xfc -->"].concat()),
            (true, [&[0xfe, 0xff], utf16(bomb).as_slice()].concat()),
            (true, utf16(&format!("{}{bomb}", declared("UTF-16BE")))),
            (true, format!("{}{seven}", declared("UTF-7")).into_bytes()),
            (true, ROOT.replacen("<project>", &format!("{}<project>", declared("x-other")), 1).into_bytes()),
        ] {
            let folder = checkout(&[]);
            fs::write(folder.path().join("pom.xml"), &bytes).unwrap();
            let opened = Source::open(folder.path(), Path::new("."));
            let text = String::from_utf8_lossy(&bytes).into_owned();
            assert_eq!(
                matches!(opened, Err(SourceError::Encoding { ref path }) if path == "pom.xml"),
                refused,
                "{text}: {opened:?}"
            );
            assert_eq!(opened.is_ok(), !refused, "{text}");
        }
    }

    #[test]
    fn options_of_a_source_that_say_how_are_taken_and_those_that_say_where_refused() {
        let with = |text: &str| Source::open(checkout(&[("pom.xml", ROOT), (".mvn/maven.config", text)]).path(), Path::new("."));
        for text in ["", "-T1C -B\n", "-T\n2\n-Pfast,slow\n--threads=2", "-Drevision=1.0 -DskipITs", "-Dname=a b", "# why\n-ntp"]
        {
            assert!(with(text).is_ok(), "{text}");
        }
        for text in [
            "-s\nother.xml",
            "-sother.xml",
            "--settings=other.xml",
            "-gs x",
            "-o",
            "-f other.xml",
            "-l file",
            "-fn",
            "-Dmaven.repo.local=x",
            "-D maven.repo.local=x",
            "-D\nmaven.repo.local=x",
            "--define=maven.repo.local=x",
            "\"-DaltDeploymentRepository=x\"",
            "-Dname=a -s x",
            "-Pfast -s x",
            "-T 2 -s x",
            "clean",
            "-pl a",
        ] {
            let refused = with(text).unwrap_err().to_string();
            assert!(refused.starts_with("the source's .mvn/maven.config has "), "{text}: {refused}");
        }
    }
}
