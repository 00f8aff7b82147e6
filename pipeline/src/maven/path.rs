//! A path of a Maven repository, as a build asks for it: checked, and told apart by how long it stays what it is.

/// As long as file systems allow, several times over.
const MAX_PATH_CHARS: usize = 1024;
const CHECKSUMS: [(&str, Checksum); 2] = [(".sha1", Checksum::Sha1), (".sha256", Checksum::Sha256)];
/// Not computed here, but handed through.
const OTHER_CHECKSUMS: [&str; 2] = [".md5", ".sha512"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksum {
    Sha1,
    Sha256,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Never changes once it is there.
    Released,
    /// The checksum of a released file.
    ChecksumOf(String, Checksum),
    /// Lists of versions, snapshots, and what belongs to the repository rather than to a package.
    Changing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RepositoryPath {
    /// Without a slash at its beginning.
    pub(super) text: String,
    pub(super) kind: Kind,
}

impl RepositoryPath {
    /// The path of a request's URL. None for one that leads anywhere else than down.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let text = decoded(path.strip_prefix('/')?)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~+@!$,=()".contains(c);
        let is_step = |step: &str| !step.trim_matches('.').is_empty() && step.chars().all(is_plain);
        if text.len() > MAX_PATH_CHARS || !text.split('/').all(is_step) {
            return None;
        }
        let kind = kind_of(&text);
        Some(Self { text, kind })
    }
}

fn kind_of(text: &str) -> Kind {
    let (folders, file) = text.rsplit_once('/').unwrap_or(("", text));
    // GROUP/ARTIFACT/VERSION/FILE
    let is_of_package = folders.split('/').count() >= 3 && !is_metadata(file);
    let is_fixed = is_of_package && folders.split('/').all(|step| !step.ends_with("-SNAPSHOT") && !step.starts_with('.'));
    if !is_fixed || OTHER_CHECKSUMS.iter().any(|ending| file.ends_with(ending)) {
        return Kind::Changing;
    }
    let checksum = CHECKSUMS.iter().find_map(|(ending, checksum)| Some((text.strip_suffix(ending)?, *checksum)));
    checksum.map_or(Kind::Released, |(of, checksum)| Kind::ChecksumOf(of.to_owned(), checksum))
}

/// Whether it is the list of versions of a folder, or a checksum of that.
pub(super) fn is_metadata(file: &str) -> bool {
    file.strip_prefix("maven-metadata.xml").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// With what `%` and two digits stand for in their places.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_elsewhere_are_none() {
        let long = format!("/a/b/{}", "c".repeat(MAX_PATH_CHARS));
        for path in [
            "",
            "/",
            "a/b",
            "//a/b",
            "/a//b",
            "/a/../b",
            "/a/./b",
            "/a/%2e%2e/b",
            "/a%2f..%2fb",
            "/a/b%00",
            "/a/b%0",
            "/a/b%zz",
            "/a\\b",
            "/a/b c",
            "/a/b?c",
            "/a/b/",
            "/a/%ff",
            "/http://x/y",
            &long,
        ] {
            assert_eq!(RepositoryPath::parse(path), None, "{path:?}");
        }
        assert_eq!(RepositoryPath::parse("/g/a/1%2B2/a-1%2B2.jar").unwrap().text, "g/a/1+2/a-1+2.jar");
    }

    #[test]
    fn only_files_of_released_packages_stay_what_they_are() {
        let kind = |path: &str| RepositoryPath::parse(path).unwrap().kind;
        for path in [
            "/org/example/a/1.0/a-1.0.jar",
            "/g/a/1/a-1-sources.jar",
            "/g/a/1/a-1.pom.asc",
            "/g/maven-metadata-a/1/maven-metadata-a-1.jar",
        ] {
            assert_eq!(kind(path), Kind::Released, "{path}");
        }
        assert_eq!(kind("/g/a/1/a-1.jar.sha1"), Kind::ChecksumOf("g/a/1/a-1.jar".into(), Checksum::Sha1));
        assert_eq!(kind("/g/a/1/a-1.jar.sha256"), Kind::ChecksumOf("g/a/1/a-1.jar".into(), Checksum::Sha256));
        for path in [
            "/g/a/maven-metadata.xml",
            "/org/g/a/maven-metadata.xml.sha1",
            "/g/a/1-SNAPSHOT/maven-metadata.xml",
            "/g/a/1-SNAPSHOT/a-1-20260102.030405-6.jar",
            "/.meta/prefixes.txt",
            "/archetype-catalog.xml",
            "/g/a/1/a-1.jar.md5",
        ] {
            assert_eq!(kind(path), Kind::Changing, "{path}");
        }
    }
}
