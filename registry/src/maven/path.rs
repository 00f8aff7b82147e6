//! What a path below `/maven2` names (Maven's repository layout `default`).
//!
//! Reads the steps of a path and nothing of what they mean: whether they are the name of a package is said by the verifier of the type. Nothing but what this
//! module lets through is asked about.

use super::checksum::Algorithm;
use crate::uri::decode_segment;

/// The longest path, with its escapes: an artifact id of 512 bytes fits with each byte escaped.
pub(super) const PATH_BYTES_MAX: usize = 2_048;
const METADATA: &str = "maven-metadata.xml";
/// The groups that a repository has (Maven resolver, "Remote Repository Filtering").
const PREFIXES: &str = ".meta/prefixes.txt";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    File(FilePath),
    Checksum { of: FilePath, algorithm: Algorithm },
    Metadata { package: Package, checksum: Option<Algorithm> },
}

/// A file in the folder of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePath {
    pub(super) package: Package,
    pub(super) version: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// As it stands in the path, with slashes.
    group_path: String,
    pub(super) artifact: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PathError {
    #[error("the path has {0} bytes, at most {PATH_BYTES_MAX} are read")]
    TooLong(usize),
    #[error("`{0}` is no step of a path here: letters, digits, `.`, `_`, `-`, `+` and `~`, but not `.` and `..`")]
    Step(String),
    #[error("/maven2/{0} is a folder, and no folders are listed; the versions of a package are in GROUP/ARTIFACT/{METADATA}")]
    Folder(String),
    #[error("no list of prefixes is kept here: what is in none of them could not be asked for")]
    Prefixes,
    #[error("there is nothing at /maven2/{0}: files are at GROUP/ARTIFACT/VERSION/FILE, with the dots of the group as slashes")]
    Unknown(String),
}

impl Target {
    /// Reads what follows `/maven2`.
    pub(super) fn parse(path: &str) -> Result<Self, PathError> {
        if path.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(path.len()));
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (path, is_folder) = path.strip_suffix('/').map_or((path, path.is_empty()), |folder| (folder, true));
        let step = |step: &str| decode_segment(step).filter(|step| is_step(step)).ok_or_else(|| PathError::Step(shown(step)));
        let steps: Vec<String> = match path {
            "" => vec![],
            path => path.split('/').map(step).collect::<Result<_, _>>()?,
        };
        if is_folder {
            return Err(PathError::Folder(shown(path)));
        }
        let (file, folders) = steps.split_last().ok_or_else(|| PathError::Folder(shown(path)))?;
        if steps.join("/") == PREFIXES {
            return Err(PathError::Prefixes);
        }
        let unknown = || PathError::Unknown(shown(path));
        let (checksum, name) =
            Algorithm::of_file(file).map_or((None, file.as_str()), |(algorithm, name)| (Some(algorithm), name));
        // Without its ending, `..sha1` is a dot.
        if !is_step(name) {
            return Err(PathError::Step(shown(file)));
        }
        if name == METADATA {
            return Ok(Self::Metadata { package: Package::of(folders).ok_or_else(unknown)?, checksum });
        }
        let (version, folders) = folders.split_last().ok_or_else(unknown)?;
        let package = Package::of(folders).ok_or_else(unknown)?;
        let of = FilePath { package, version: version.clone(), name: name.to_owned() };
        Ok(match checksum {
            None => Self::File(of),
            // Nobody publishes one, and a checksum file that was published is not the one that is served.
            Some(_) if Algorithm::of_file(name).is_some() => return Err(unknown()),
            Some(algorithm) => Self::Checksum { of, algorithm },
        })
    }
}

impl Package {
    fn of(steps: &[String]) -> Option<Self> {
        let (artifact, group) = steps.split_last().filter(|(_, group)| !group.is_empty())?;
        Some(Self { group_path: group.join("/"), artifact: artifact.clone() })
    }

    pub(super) fn group(&self) -> String {
        self.group_path.replace('/', ".")
    }

    pub(super) fn coordinate(&self, version: &str) -> String {
        format!("{}:{}:{version}", self.group(), self.artifact)
    }

    /// The package and the version that a path of metadata would be of, were it of a version: only snapshots have such metadata.
    pub(super) fn as_version(&self) -> Option<(Self, &str)> {
        let (group, artifact) = self.group_path.rsplit_once('/')?;
        Some((Self { group_path: group.to_owned(), artifact: artifact.to_owned() }, &self.artifact))
    }
}

impl FilePath {
    /// As the type's verifier reads paths.
    pub(super) fn for_verifier(&self) -> String {
        let Self { package: Package { group_path, artifact }, version, name } = self;
        format!("/{group_path}/{artifact}/{version}/{name}")
    }

    pub(super) fn coordinate(&self) -> String {
        self.package.coordinate(&self.version)
    }

    /// Whether its name is that of the package and an extension: a pom, a jar, module metadata, and none of the files beside them.
    pub(super) fn is_main(&self) -> bool {
        let rest = self.name.strip_prefix(&self.package.artifact).and_then(|rest| rest.strip_prefix('-'));
        rest.and_then(|rest| rest.strip_prefix(&self.version)).is_some_and(|rest| rest.starts_with('.'))
    }
}

fn is_step(step: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
    !step.is_empty() && step != "." && step != ".." && step.bytes().all(allowed)
}

/// As much of what a client sent as an error repeats.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn package() -> Package {
        Package { group_path: "org/example".into(), artifact: "demo".into() }
    }

    fn file(name: &str) -> FilePath {
        FilePath { package: package(), version: "1.0".into(), name: name.into() }
    }

    #[test]
    fn files_checksums_and_metadata_are_told_apart() {
        let parse = |path: &str| Target::parse(path).expect("a path");
        assert_eq!(parse("/org/example/demo/1.0/demo-1.0.jar"), Target::File(file("demo-1.0.jar")));
        assert_eq!(parse("/org/%65xample/demo/1.0/demo-1.0%2Bx.jar"), Target::File(file("demo-1.0+x.jar")));
        for algorithm in Algorithm::ALL {
            let path = format!("/org/example/demo/1.0/demo-1.0.jar.{}", algorithm.name());
            assert_eq!(parse(&path), Target::Checksum { of: file("demo-1.0.jar"), algorithm });
            let path = format!("/org/example/demo/maven-metadata.xml.{}", algorithm.name());
            assert_eq!(parse(&path), Target::Metadata { package: package(), checksum: Some(algorithm) });
        }
        assert_eq!(parse("/org/example/demo/maven-metadata.xml"), Target::Metadata { package: package(), checksum: None });
        assert_eq!(package().coordinate("1.0"), "org.example:demo:1.0");
    }

    #[test]
    fn what_is_no_path_of_a_repository_is_refused_for_what_it_is() {
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        let cases = [
            ("/org/../demo/1.0/demo-1.0.jar", "step"),
            ("/org/%2e%2e/demo/1.0/demo-1.0.jar", "step"),
            ("/org/%2E./demo/1.0/demo-1.0.jar", "step"),
            ("/org/%252e%252e/demo/1.0/demo-1.0.jar", "step"),
            ("/org%2F..%2Fdemo/1.0/demo-1.0.jar", "step"),
            ("/org//demo/1.0/demo-1.0.jar", "step"),
            ("//org/demo/1.0/demo-1.0.jar", "step"),
            ("/./org/demo/1.0/demo-1.0.jar", "step"),
            ("/org/demo/1.0/..sha1", "step"),
            ("/org/demo/1.0/...sha512", "step"),
            ("/org\\..\\demo/1.0/demo-1.0.jar", "step"),
            ("/org%5C..%5Cdemo/1.0/demo-1.0.jar", "step"),
            ("/org/demo/1.0/demo-1.0.jar%00", "step"),
            ("/org/demo/1.0/demo-1.0.jar%00.pom", "step"),
            ("/org/d%C3%A9mo/1.0/d-1.0.jar", "step"),
            ("/org/d\u{e9}mo/1.0/d-1.0.jar", "step"),
            ("/org/demo/%FF/demo-1.0.jar", "step"),
            ("/org/demo/1.0;v=2/demo-1.0.jar", "step"),
            ("/org/demo/[1,2)/demo-1.0.jar", "step"),
            ("/org/demo/${v}/demo.jar", "step"),
            ("/org/demo/1.0/demo%2", "step"),
            ("/org/demo/1.0/demo 1.jar", "step"),
            ("/C:/demo/1.0/demo-1.0.jar", "step"),
            (&long, "long"),
            ("", "folder"),
            ("/", "folder"),
            ("/org/example/demo/", "folder"),
            ("/demo.jar", "unknown"),
            ("/1.0/demo.jar", "unknown"),
            ("/demo/1.0/demo-1.0.jar", "unknown"),
            ("/maven-metadata.xml", "unknown"),
            ("/example/maven-metadata.xml", "unknown"),
            ("/.meta/prefixes.txt", "prefixes"),
            ("/%2Emeta/prefixes.txt", "prefixes"),
            ("/.meta/prefixes.txt.sha1", "unknown"),
            ("/archetype-catalog.xml", "unknown"),
            ("/org/demo/1.0/demo-1.0.jar.sha1.md5", "unknown"),
        ];
        for (path, kind) in cases {
            let found = match Target::parse(path) {
                Err(PathError::TooLong(_)) => "long",
                Err(PathError::Step(_)) => "step",
                Err(PathError::Folder(_)) => "folder",
                Err(PathError::Prefixes) => "prefixes",
                Err(PathError::Unknown(_)) => "unknown",
                Ok(target) => panic!("{path}: {target:?}"),
            };
            assert_eq!(found, kind, "{path}");
        }
    }

    #[test]
    fn a_pom_and_a_jar_are_main_files_and_one_with_a_classifier_is_not() {
        for name in ["demo-1.0.pom", "demo-1.0.jar", "demo-1.0.module", "demo-1.0.tar.gz"] {
            assert!(file(name).is_main(), "{name}");
        }
        for name in ["demo-1.0-sources.jar", "other-1.0.jar", "demo-1.0", "demo-1.01.jar"] {
            assert!(!file(name).is_main(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn what_a_verifier_is_asked_about_leads_nowhere_else(path in "(/|[a-z0-9.%+~_-]|%2e|%2F|\\PC){0,60}") {
            if let Ok(Target::File(file) | Target::Checksum { of: file, .. }) = Target::parse(&path) {
                let asked = file.for_verifier();
                prop_assert!(asked.split('/').skip(1).all(is_step), "{asked}");
                prop_assert_eq!(Target::parse(&asked), Ok(Target::File(file)));
            }
        }
    }
}
