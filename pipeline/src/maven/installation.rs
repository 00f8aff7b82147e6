//! The installations of Maven and of JDKs that builds run with, as the operator names them or as the search path has them.
//!
//! Everything is looked at when the pipeline starts, so that a mistake shows there. What an installation is (its version, the
//! repository that its super POM names) is read from its own files; none of its code is run for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

use super::pom;
use crate::program::environment;

/// Files that are read from an installation have a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The jar of Maven that has its version, and that of its super POM in Maven 3 and in Maven 4.
const CORE_JAR: &str = "maven-core-";
const MODEL_JARS: [&str; 2] = ["maven-model-builder-", "maven-impl-"];
const CORE_PROPERTIES: &str = "META-INF/maven/org.apache.maven/maven-core/pom.properties";
const SUPER_POM: &str = "org/apache/maven/model/pom-4.0.0.xml";
const SYSTEM_PROPERTIES: &str = "conf/maven-system.properties";
const CENTRAL_PROPERTY: &str = "maven.repo.central";

#[derive(Debug, thiserror::Error)]
pub enum InstallationError {
    #[error("cannot use {path:?} as an installation of {what}")]
    Missing {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path:?} is no installation of {what}: {problem}")]
    Unusable { what: &'static str, path: PathBuf, problem: String },
    #[error("{0:?} is no repository: use an http or https url without a query")]
    Repository(String),
    #[error("the builder for Maven packages needs an installation of Maven: --maven HOME")]
    NoMaven,
    #[error("the builder for Maven packages needs a JDK: --jdk HOME")]
    NoJdk,
    #[error("the installation of Maven names no repository of its own: --maven-repository URL")]
    NoRepository,
}

/// One installation of Maven or of a JDK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Installation {
    /// What a recipe asks for: the version, or what the operator calls it.
    pub(crate) name: String,
    pub(crate) home: PathBuf,
}

impl Installation {
    /// Whether a recipe means it with this word: its name, or the beginning of it up to the end of a number.
    pub(crate) fn is(&self, wanted: &str) -> bool {
        // The first JDKs called themselves 1.8.
        [self.name.as_str(), self.name.strip_prefix("1.").unwrap_or(&self.name)].iter().any(|name| {
            name.strip_prefix(wanted).is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
        })
    }
}

/// An installation of Maven: `[NAME=]HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MavenHome(Installation);

/// A JDK: `[NAME=]HOME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JdkHome(Installation);

impl MavenHome {
    pub fn new(name: Option<&str>, home: impl AsRef<Path>) -> Result<Self, InstallationError> {
        let home = found("Maven", home.as_ref(), "bin/mvn")?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => version_of_maven(&home)?,
        };
        Ok(Self(Installation { name, home }))
    }

    /// The one whose `mvn` is on the search path.
    pub fn on_path() -> Option<Self> {
        Self::new(None, home_on_path("mvn")?).ok()
    }
}

impl JdkHome {
    pub fn new(name: Option<&str>, home: impl AsRef<Path>) -> Result<Self, InstallationError> {
        let home = found("a JDK", home.as_ref(), "bin/javac")?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => version_of_jdk(&home)?,
        };
        Ok(Self(Installation { name, home }))
    }

    /// The one whose `java` is on the search path.
    pub fn on_path() -> Option<Self> {
        Self::new(None, home_on_path("java")?).ok()
    }
}

impl FromStr for MavenHome {
    type Err = InstallationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, home) = named(text);
        Self::new(name, home)
    }
}

impl FromStr for JdkHome {
    type Err = InstallationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, home) = named(text);
        Self::new(name, home)
    }
}

/// What packages of the type `maven` are built with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MavenBuilder {
    pub(crate) mavens: Vec<Installation>,
    pub(crate) jdks: Vec<Installation>,
    /// Where builds find plugins and dependencies, in the order in which they are asked.
    pub(crate) repositories: Vec<Url>,
}

impl MavenBuilder {
    /// Without repositories it is the one that the super POM of the first Maven names.
    pub fn new(mavens: Vec<MavenHome>, jdks: Vec<JdkHome>, repositories: Vec<Url>) -> Result<Self, InstallationError> {
        let mavens: Vec<Installation> = mavens.into_iter().map(|home| home.0).collect();
        let jdks: Vec<Installation> = jdks.into_iter().map(|home| home.0).collect();
        let first = mavens.first().ok_or(InstallationError::NoMaven)?;
        jdks.first().ok_or(InstallationError::NoJdk)?;
        let repositories = if repositories.is_empty() { vec![repository_of_maven(&first.home)?] } else { repositories };
        for url in &repositories {
            let fits = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
            if !fits {
                return Err(InstallationError::Repository(url.to_string()));
            }
        }
        Ok(Self { mavens, jdks, repositories })
    }

    pub(crate) fn versions(&self) -> Vec<String> {
        self.mavens.iter().map(|maven| maven.name.clone()).collect()
    }

    pub(crate) fn jdk_versions(&self) -> Vec<String> {
        self.jdks.iter().map(|jdk| jdk.name.clone()).collect()
    }

    /// Without user and password.
    pub(crate) fn repository_names(&self) -> Vec<String> {
        self.repositories.iter().map(without_password).collect()
    }

    /// With the Maven and the JDK of the search path, where both are there.
    pub fn on_path() -> Option<Self> {
        Self::new(vec![MavenHome::on_path()?], vec![JdkHome::on_path()?], Vec::new()).ok()
    }
}

/// A repository as it is shown.
pub(super) fn without_password(url: &Url) -> String {
    let mut shown = url.clone();
    // They fail for URLs that have no place for them, which then have none.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string().trim_end_matches('/').to_owned()
}

fn named(text: &str) -> (Option<&str>, &str) {
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    text.split_once('=').filter(|(name, _)| is_name(name)).map_or((None, text), |(name, home)| (Some(name), home))
}

fn found(what: &'static str, home: &Path, program: &str) -> Result<PathBuf, InstallationError> {
    let missing = |source| InstallationError::Missing { what, path: home.to_owned(), source };
    let home = home.canonicalize().map_err(missing)?;
    if home.join(program).is_file() {
        Ok(home)
    } else {
        Err(InstallationError::Unusable { what, path: home, problem: format!("it has no {program}") })
    }
}

/// Two folders above where the program on the search path really is.
fn home_on_path(program: &str) -> Option<PathBuf> {
    let path = environment::search_path();
    let program = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())?;
    Some(program.canonicalize().ok()?.parent()?.parent()?.to_owned())
}

fn version_of_jdk(home: &Path) -> Result<String, InstallationError> {
    let text = std::fs::read_to_string(home.join("release")).unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="));
    version.map(|version| version.trim().trim_matches('"').to_owned()).filter(|version| !version.is_empty()).ok_or_else(|| {
        let problem = "its file `release` has no JAVA_VERSION; name it with NAME=HOME".to_owned();
        InstallationError::Unusable { what: "a JDK", path: home.to_owned(), problem }
    })
}

fn version_of_maven(home: &Path) -> Result<String, InstallationError> {
    let unusable = |problem: String| InstallationError::Unusable { what: "Maven", path: home.to_owned(), problem };
    let jar = jar_of(home, CORE_JAR).ok_or_else(|| unusable(format!("its folder lib has no {CORE_JAR}*.jar")))?;
    let text = entry_of(&jar, CORE_PROPERTIES).map_err(|error| unusable(format!("{}: {error}", jar.display())))?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("version="));
    version.map(str::to_owned).ok_or_else(|| unusable("it does not say its version; name it with NAME=HOME".to_owned()))
}

/// What Maven itself takes for the repository of everything: the super POM of Maven 3 has it, and Maven 4 a property.
fn repository_of_maven(home: &Path) -> Result<Url, InstallationError> {
    let of_super_pom = || {
        let jars = MODEL_JARS.iter().filter_map(|name| jar_of(home, name));
        let super_pom = jars.into_iter().find_map(|jar| entry_of(&jar, SUPER_POM).ok())?;
        pom::read(&super_pom).ok()?.repository
    };
    let of_properties = || {
        let text = std::fs::read_to_string(home.join(SYSTEM_PROPERTIES)).ok()?;
        let mut values = text.lines().filter_map(|line| line.split_once('='));
        let (_, value) = values.rfind(|(name, _)| name.trim() == CENTRAL_PROPERTY)?;
        // `${env.NAME:-URL}`: builds do not have that variable.
        Some(value.trim().rsplit(":-").next()?.trim_end_matches('}').to_owned())
    };
    let found = of_super_pom().or_else(of_properties).and_then(|url| Url::parse(&url).ok());
    found.ok_or(InstallationError::NoRepository)
}

fn jar_of(home: &Path, name: &str) -> Option<PathBuf> {
    let files = std::fs::read_dir(home.join("lib")).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_it = |path: &PathBuf| {
        path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(name) && file.ends_with(".jar"))
    };
    files.filter(is_it).min()
}

fn entry_of(jar: &Path, name: &str) -> io::Result<String> {
    let mut archive = zip::ZipArchive::new(File::open(jar)?).map_err(io::Error::other)?;
    let entry = archive.by_name(name).map_err(io::Error::other)?;
    let mut text = String::new();
    entry.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named_like(name: &str) -> Installation {
        Installation { name: name.into(), home: PathBuf::new() }
    }

    #[test]
    fn a_word_of_a_recipe_means_every_version_that_begins_with_it() {
        for (name, wanted) in
            [("3.9.9", "3.9.9"), ("3.9.9", "3.9"), ("17.0.15", "17"), ("4.0.0-rc-5", "4"), ("1.8.0_392", "8"), ("lts", "lts")]
        {
            assert!(named_like(name).is(wanted), "{name} {wanted}");
        }
        for (name, wanted) in [("3.10.1", "3.1"), ("17.0.15", "1"), ("3.8.7", "3.9"), ("17", "17.0.15"), ("25", "2")] {
            assert!(!named_like(name).is(wanted), "{name} {wanted}");
        }
    }

    #[test]
    fn a_maven_without_repositories_in_its_super_pom_names_one_in_a_property() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("conf")).unwrap();
        for value in ["https://maven.example/all", "${env.SOMETHING:-https://maven.example/all}"] {
            let text = format!("# maven.repo.central = no\nmaven.home = x\nmaven.repo.central = {value}\n");
            std::fs::write(folder.path().join(SYSTEM_PROPERTIES), text).unwrap();
            assert_eq!(repository_of_maven(folder.path()).unwrap().as_str(), "https://maven.example/all");
        }
        std::fs::remove_dir_all(folder.path().join("conf")).unwrap();
        assert!(matches!(repository_of_maven(folder.path()), Err(InstallationError::NoRepository)));
    }

    #[test]
    fn a_jdk_says_its_version_and_a_folder_without_a_compiler_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("jdk");
        std::fs::create_dir_all(home.join("bin")).unwrap();
        assert!(JdkHome::new(None, &home).unwrap_err().to_string().contains("it has no bin/javac"));
        std::fs::write(home.join("bin/javac"), "").unwrap();
        assert!(JdkHome::new(None, &home).unwrap_err().to_string().contains("name it with NAME=HOME"));
        std::fs::write(home.join("release"), "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"21.0.1\"\n").unwrap();
        let text = format!("lts={}", home.display());
        assert_eq!(text.parse::<JdkHome>().unwrap().0.name, "lts");
        assert_eq!(home.to_str().unwrap().parse::<JdkHome>().unwrap().0.name, "21.0.1");
        assert!(MavenHome::new(None, folder.path().join("none")).unwrap_err().to_string().contains("cannot use"));
    }
}
