//! What is published of a package type, file by file, in one order whoever asks.

use super::{PACKAGE_TYPE, Pattern};
use crate::exit::Failure;
use pyrsia_ledger::{ArtifactId, Height, NetworkId, PackageType, Projections, Sha256Digest};
use pyrsia_node::verification::verdict;
use std::collections::BTreeSet;

/// Files that vouch for other files. Clients take them for what they are and resolve none of them.
const CHECKSUM_FILES: [&str; 4] = [".md5", ".sha1", ".sha256", ".sha512"];

/// One file, by the place it has in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct File {
    pub(super) group: String,
    pub(super) artifact: String,
    pub(super) version: String,
    pub(super) name: String,
    pub(super) sha256: Sha256Digest,
    /// The block that published it.
    pub(super) height: Height,
}

#[derive(Debug)]
pub(super) struct Published {
    pub(super) network: NetworkId,
    newest: Height,
    /// In the order of group, artifact, version and name.
    pub(super) files: Vec<File>,
    at_risk: usize,
    without_place: usize,
}

impl Published {
    /// Of the packages that `patterns` mean, or of all without any. Who means a package that is not published is told so.
    pub(super) fn of(state: &Projections, patterns: &[Pattern]) -> Result<Self, Failure> {
        let package_type = PackageType::new(PACKAGE_TYPE).expect("a package type");
        let first = ArtifactId::new("!").expect("the first of all ids");
        let mut published =
            Self { network: *state.network(), newest: state.height(), files: vec![], at_risk: 0, without_place: 0 };
        let mut in_use = BTreeSet::new();
        for id in state.packages.artifact_ids(&package_type, &first) {
            let (coordinate, record) = state.packages.artifact(&package_type, id).expect("every id has a record");
            let Some(file) = File::of(coordinate.id.as_str(), id.as_str(), record.artifact.sha256, record.height) else {
                published.without_place += 1;
                continue;
            };
            let meaning = || patterns.iter().enumerate().filter(|(_, pattern)| pattern.means(file.coordinate()));
            if file.is_checksum() || !patterns.is_empty() && meaning().next().is_none() {
                continue;
            }
            if verdict(state, &package_type, id).is_err() {
                published.at_risk += 1;
                continue;
            }
            in_use.extend(meaning().map(|(index, _)| index));
            published.files.push(file);
        }
        if let Some((_, unused)) = patterns.iter().enumerate().find(|(index, _)| !in_use.contains(index)) {
            let failure = Failure::new(format!("nothing that is published and not at risk is meant by '{unused}'"));
            return Err(failure.hint(format!("'pyrsia build {PACKAGE_TYPE} GROUP:ARTIFACT:VERSION --wait' asks for a build")));
        }
        published.files.sort();
        Ok(published)
    }

    pub(super) fn in_words(&self) -> String {
        let packages: BTreeSet<_> = self.files.iter().map(File::coordinate).collect();
        let (files, packages) = (counted(self.files.len(), "file"), counted(packages.len(), "package"));
        format!("the checksums of {files} of {packages}, published on network {} up to block {}", self.network, self.newest)
    }

    /// How many files were left out because they are at risk.
    pub(super) fn at_risk(&self) -> usize {
        self.at_risk
    }

    /// What was left out, for whoever would miss it.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = vec![];
        if self.at_risk > 0 {
            warnings.push(format!(
                "{} left out, at risk and not served ('pyrsia log at-risk' lists what is)",
                counted(self.at_risk, "file")
            ));
        }
        if self.without_place > 0 {
            warnings
                .push(format!("{} files are left out: no client would ask for them by the ids they have", self.without_place));
        }
        if self.files.is_empty() {
            warnings.push("nothing is published".to_owned());
        }
        warnings
    }
}

pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl File {
    /// None where the id is not the path of a file of this package. The clients read these names: what could mean something
    /// else to them is not written.
    fn of(coordinate: &str, id: &str, sha256: Sha256Digest, height: Height) -> Option<Self> {
        let parts: Vec<&str> = coordinate.split(':').collect();
        let &[group, artifact, version] = &parts[..] else { return None };
        let name = id.strip_prefix(&format!("{group}/{artifact}/{version}/"))?;
        let is_step = |text: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-+~".contains(&b);
            !text.is_empty() && text.bytes().all(plain) && text != "." && text != ".."
        };
        let is_place = group.split('.').all(is_step) && [artifact, version, name].into_iter().all(is_step);
        let [group, artifact, version, name] = [group, artifact, version, name].map(str::to_owned);
        is_place.then_some(Self { group, artifact, version, name, sha256, height })
    }

    pub(super) fn coordinate(&self) -> [&str; 3] {
        [&self.group, &self.artifact, &self.version]
    }

    /// Relative to the root of a repository.
    pub(super) fn path(&self) -> String {
        format!("{}/{}/{}/{}", self.group.replace('.', "/"), self.artifact, self.version, self.name)
    }

    fn is_checksum(&self) -> bool {
        CHECKSUM_FILES.iter().any(|ending| self.name.ends_with(ending))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn file(coordinate: &str, name: &str, height: u64) -> File {
        let id = format!("{}/{name}", coordinate.replace(':', "/"));
        File::of(coordinate, &id, Sha256Digest::of(name.as_bytes()), Height(height)).expect("a file with a place")
    }

    pub(in super::super) fn published(mut files: Vec<File>) -> Published {
        files.sort();
        let network = NetworkId::new(Sha256Digest::of(b"a network"));
        Published { network, newest: Height(9), files, at_risk: 0, without_place: 0 }
    }

    /// The same beside a file that is at risk.
    pub(in crate::commands::export) fn at_risk(published: Published) -> Published {
        Published { at_risk: 1, ..published }
    }

    #[test]
    fn a_file_has_its_place_in_a_repository_by_its_id() {
        let jar = file("org.example:demo:1.0", "demo-1.0.jar", 7);
        assert_eq!(jar.path(), "org/example/demo/1.0/demo-1.0.jar");
        assert_eq!(jar.coordinate(), ["org.example", "demo", "1.0"]);
        assert!(!jar.is_checksum() && file("org.example:demo:1.0", "demo-1.0.jar.sha1", 7).is_checksum());
    }

    #[test]
    fn what_a_client_could_take_for_another_place_has_none() {
        for (coordinate, id) in [
            ("org.example:demo", "org.example/demo/demo.jar"),
            ("org.example:demo:1.0", "org.example/demo/2.0/demo-2.0.jar"),
            ("org.example:demo:1.0", "org.example/demo/1.0/"),
            ("org.example:demo:1.0", "org.example/demo/1.0/.."),
            ("org.example:demo:1.0", "org.example/demo/1.0/a/b.jar"),
            ("org.example:demo:1.0", "org.example/demo/1.0/a\\b.jar"),
            ("org.example:demo:1.0", "org.example/demo/1.0/a\"/><trust/>.jar"),
            ("org..example:demo:1.0", "org..example/demo/1.0/demo-1.0.jar"),
            ("org/example:demo:1.0", "org/example/demo/1.0/demo-1.0.jar"),
            ("g:..:1.0", "g/../1.0/x.jar"),
        ] {
            assert_eq!(File::of(coordinate, id, Sha256Digest::of(b""), Height(1)), None, "{coordinate} {id}");
        }
    }

    #[test]
    fn what_was_left_out_is_told() {
        let mut published = published(vec![file("g:a:1", "a-1.jar", 3), file("g:a:1", "a-1.pom", 3)]);
        assert!(published.warnings().is_empty());
        assert!(published.in_words().starts_with("the checksums of 2 files of 1 package, "), "{}", published.in_words());
        (published.at_risk, published.without_place, published.files) = (1, 2, vec![]);
        let warnings = published.warnings();
        assert_eq!(warnings.len(), 3);
        assert!(warnings[0].starts_with("1 file left out, at risk"), "{warnings:?}");
    }
}
