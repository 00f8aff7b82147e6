//! The folder that a build deploys to, a Maven repository on disk, and the one package in it that was asked for.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::coordinate::Coordinate;
use super::path::is_metadata;
use super::source::listed;

/// Files of the repository rather than of the package; whoever serves the package makes them again.
const CHECKSUMS: [&str; 4] = [".md5", ".sha1", ".sha256", ".sha512"];
/// A build that deploys more is not read any further.
const MAX_ENTRIES: usize = 100_000;

/// The folder of the package, with its own files and nothing else; or what was deployed in its place. Blocks.
pub(super) fn find(repository: &Path, wanted: &Coordinate) -> io::Result<Result<PathBuf, String>> {
    let folder = repository.canonicalize()?.join(wanted.folder());
    // A link on the way would lead to files that the build did not deploy.
    if !folder.canonicalize().is_ok_and(|real| real == folder) {
        return Ok(Err(listed(&coordinates(repository)?)));
    }
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_metadata(&name) || CHECKSUMS.iter().any(|ending| name.ends_with(ending)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(Ok(folder))
}

/// Every coordinate that has a pom.
fn coordinates(repository: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![repository.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            seen += 1;
            if seen > MAX_ENTRIES {
                return Ok(found);
            }
            if path.symlink_metadata()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "pom") {
                found.extend(coordinate_of(repository, &folder));
            }
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn coordinate_of(repository: &Path, folder: &Path) -> Option<String> {
    let steps: Vec<&str> = folder.strip_prefix(repository).ok()?.iter().filter_map(|step| step.to_str()).collect();
    let [group @ .., artifact, version] = steps.as_slice() else { return None };
    (!group.is_empty()).then(|| format!("{}:{artifact}:{version}", group.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_package_is_found_without_the_files_of_the_repository_and_another_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "org/example/demo/1.1/demo-1.1.pom",
            "org/example/demo/1.1/demo-1.1.pom.sha1",
            "org/example/demo/1.1/demo-1.1-sources.jar",
            "org/example/demo/1.1/demo-1.1-sources.jar.md5",
            "org/example/demo/maven-metadata.xml",
            "org/example/parent/1.1/parent-1.1.pom",
            "org/example/maven-metadata-plugin/2.1/maven-metadata-plugin-2.1.jar",
            "org/example/maven-metadata-plugin/2.1/maven-metadata.xml",
            "org/example/maven-metadata-plugin/2.1/maven-metadata.xml.sha1",
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let find = |text: &str| find(folder.path(), &Coordinate::parse(text).unwrap()).unwrap();
        let names = |coordinate: &str| {
            let entries = fs::read_dir(find(coordinate).unwrap()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert_eq!(names("org.example:demo:1.1"), ["demo-1.1-sources.jar", "demo-1.1.pom"]);
        assert_eq!(names("org.example:maven-metadata-plugin:2.1"), ["maven-metadata-plugin-2.1.jar"]);
        assert_eq!(find("org.example:demo:1.0").unwrap_err(), "org.example:demo:1.1, org.example:parent:1.1");
    }
}
