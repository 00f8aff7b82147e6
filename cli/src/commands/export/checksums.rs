//! The trusted checksums of Maven Resolver 1.9 and 2.0: one file with a line for each artifact (`summaryFile`), or a file for
//! each (`sparseDirectory`); and the options that make Maven check them.
//!
//! Paths are those of the repository layout, whatever the repository. Only SHA-256 is written: it stands in the ledger.

use super::MARK;
use super::published::Published;
use crate::exit::Failure;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const EXTENSION: &str = "sha256";
const NAME: &str = "checksums";
/// Where a project keeps them, and Maven's own word for the folder that holds it.
const PROJECT_FOLDER: &str = ".mvn/checksums";
const PROJECT_ROOT: &str = "${session.rootDirectory}";

/// The file of a summary: Maven finds it by its name, which may tell the one repository it holds for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
    is_of_one_repository: bool,
}

impl Default for Place {
    fn default() -> Self {
        Self { file: Path::new(PROJECT_FOLDER).join(format!("{NAME}.{EXTENSION}")), is_of_one_repository: false }
    }
}

impl Place {
    /// A file where the name is that of one, else a folder.
    pub(super) fn of(output: &Path) -> Result<Self, Failure> {
        if output.is_dir() || output.extension().is_none_or(|extension| extension != EXTENSION) {
            return Ok(Self { file: output.join(format!("{NAME}.{EXTENSION}")), is_of_one_repository: false });
        }
        let stem = output.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let repository = stem.strip_prefix(NAME).and_then(|rest| rest.strip_prefix('-'));
        match repository {
            _ if stem == NAME => Ok(Self { file: output.to_owned(), is_of_one_repository: false }),
            Some(repository) if !repository.is_empty() => Ok(Self { file: output.to_owned(), is_of_one_repository: true }),
            _ => Err(Failure::usage(format!(
                "Maven does not look for {}: it is {NAME}.{EXTENSION}, or {NAME}-REPOSITORY.{EXTENSION} for one repository alone",
                output.display()
            ))),
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

/// In the order of the paths, as Maven writes it itself.
pub(super) fn summary(published: &Published) -> String {
    let mut text = format!("# {MARK}: SHA-256 by the log of network {}\n", published.network);
    for (path, sha256) in by_path(published) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{sha256}  {path}");
    }
    text
}

pub(super) fn sparse(published: &Published) -> Vec<(String, String)> {
    by_path(published).into_iter().map(|(path, sha256)| (format!("{path}.{EXTENSION}"), format!("{sha256}\n"))).collect()
}

fn by_path(published: &Published) -> Vec<(String, String)> {
    let mut lines: Vec<_> = published.files.iter().map(|file| (file.path(), file.sha256.to_string())).collect();
    lines.sort();
    lines
}

pub(super) fn summary_settings(place: &Place) -> String {
    let folder = place.file.parent().unwrap_or(Path::new(""));
    settings("summaryFile", folder, place.is_of_one_repository)
}

pub(super) fn sparse_settings(folder: &Path) -> String {
    settings("sparseDirectory", folder, false)
}

/// The names are the same in both versions of the resolver; a scope is known to 2.0 alone.
fn settings(source: &str, folder: &Path, is_of_one_repository: bool) -> String {
    let folder = if folder.starts_with(".mvn") {
        format!("{PROJECT_ROOT}/{}", folder.display())
    } else {
        // A relative path would be one of Maven's local repository.
        std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()).display().to_string()
    };
    let check = "-Daether.artifactResolver.postProcessor.trustedChecksums";
    let take = format!("-Daether.trustedChecksumsSource.{source}");
    format!(
        "\nMaven 3.9.2 or newer, and Maven 4, check them with these lines in the project's .mvn/maven.config:\n\
         {take}=true\n{take}.basedir={folder}\n{take}.originAware={is_of_one_repository}\n\
         {check}=true\n{check}.checksumAlgorithms=SHA-256\n\n\
         What is not listed is then still taken unchecked. With this line nothing else resolves, plugins included:\n\
         {check}.failIfMissing=true\n\
         and with this one too, Maven 4 takes unlisted plugins, and only those:\n\
         {check}.scope=project"
    )
}

#[cfg(test)]
mod tests {
    use super::super::published::tests::{file, published};
    use super::*;

    #[test]
    fn a_summary_has_a_line_for_each_file_in_the_order_of_the_paths() {
        let published = published(vec![
            file("org.example.b:demo:1.0", "demo-1.0.jar", 4),
            file("org.example:demo:1.0", "demo-1.0.pom", 3),
            file("org.example:demo:1.0", "demo-1.0-sources.jar", 3),
        ]);
        let text = summary(&published);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some(format!("# {MARK}: SHA-256 by the log of network {}", published.network).as_str()));
        let paths: Vec<&str> = lines
            .map(|line| {
                let (sha256, path) = line.split_once("  ").expect("two columns");
                assert!(sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{line}");
                path
            })
            .collect();
        assert_eq!(
            paths,
            [
                "org/example/b/demo/1.0/demo-1.0.jar",
                "org/example/demo/1.0/demo-1.0-sources.jar",
                "org/example/demo/1.0/demo-1.0.pom"
            ]
        );
        let files = sparse(&published);
        let same: String = files
            .iter()
            .map(|(path, text)| format!("{}  {}\n", text.trim_end(), path.strip_suffix(".sha256").expect("its extension")))
            .collect();
        assert!(text.ends_with(&same) && files.len() == 3, "{same}");
    }

    #[test]
    fn the_file_has_a_name_that_maven_looks_for() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Place::of(folder.path()).unwrap().file, folder.path().join("checksums.sha256"));
        assert_eq!(Place::of(Path::new(PROJECT_FOLDER)).unwrap(), Place::default());
        assert_eq!(Place::of(Path::new("x/checksums.sha256")).unwrap().file, Path::new("x/checksums.sha256"));
        let of_one = Place::of(Path::new("x/checksums-pyrsia.sha256")).unwrap();
        assert!(of_one.is_of_one_repository && summary_settings(&of_one).contains("originAware=true"));
        for wrong in ["sums.sha256", "checksums-.sha256", "checksums2.sha256"] {
            assert!(Place::of(Path::new(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_folder_of_the_project_is_named_from_its_root_and_another_from_that_of_the_machine() {
        let text = summary_settings(&Place::default());
        for line in [
            "-Daether.trustedChecksumsSource.summaryFile=true",
            "-Daether.trustedChecksumsSource.summaryFile.basedir=${session.rootDirectory}/.mvn/checksums",
            "-Daether.trustedChecksumsSource.summaryFile.originAware=false",
            "-Daether.artifactResolver.postProcessor.trustedChecksums=true",
            "-Daether.artifactResolver.postProcessor.trustedChecksums.checksumAlgorithms=SHA-256",
            "-Daether.artifactResolver.postProcessor.trustedChecksums.failIfMissing=true",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        let text = sparse_settings(Path::new("sums"));
        let here = std::env::current_dir().unwrap().join("sums");
        assert!(text.contains(&format!("sparseDirectory.basedir={}\n", here.display())), "{text}");
    }
}
