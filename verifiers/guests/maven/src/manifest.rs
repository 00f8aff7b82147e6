//! `META-INF/MANIFEST.MF`: sections of attributes, and their canonical form (the JAR File Specification, "Name-Value pairs and Sections").
//!
//! The order of attributes and sections and the folding of lines mean nothing, a few attributes only tell about the build, and a few OSGi headers are sets. All else
//! is compared byte for byte. What Java's own reader would refuse or resolve by order is [`Unreadable`]: equal names, equal sections, lines beyond its buffer.

use std::collections::{BTreeMap, BTreeSet};

use pyrsia_verifier_kit::Unreadable;
use pyrsia_verifier_kit::hash::{FieldHasher, Sha256};
use pyrsia_verifier_kit::unreadable::Result;

use crate::passes::{Pass, PassSet};

/// The one spelling that tools write; readers find it in any case.
pub const NAME: &[u8] = b"META-INF/MANIFEST.MF";
/// Some manifests have a section for each entry.
pub const BYTES_MAX: u64 = 8 << 20;
/// Java reads lines into a buffer of 512 bytes with their ends.
const LINE_BYTES_MAX: usize = 510;

/// Main attributes without a meaning for whoever runs the code; named one by one in the pass. In lower case.
const BUILD_INFO: [&str; 38] = [
    "ant-version",
    "archiver-version",
    "bnd-lastmodified",
    "build-date",
    "build-host",
    "build-id",
    "build-jdk",
    "build-job",
    "build-number",
    "build-os",
    "build-status",
    "build-time",
    "build-timestamp",
    "build-tool",
    "build-url",
    "build-user",
    "built-by",
    "built-date",
    "built-host",
    "built-jdk",
    "built-on",
    "built-os",
    "created-by",
    "dstamp",
    "hudson-build-number",
    "hudson-project",
    "hudson-version",
    "implementation-build-date",
    "implementation-build-time",
    "jenkins-build-number",
    "maven-version",
    "originally-created-by",
    "os-arch",
    "os-name",
    "os-version",
    "today",
    "tstamp",
    "tool",
];

/// OSGi headers that are sets of clauses. In lower case.
const CLAUSE_SETS: [&str; 4] = ["export-package", "include-resource", "private-package", "provide-capability"];

/// A manifest in canonical form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub main: Section,
    /// By the value of `Name`.
    pub sections: BTreeMap<Vec<u8>, Section>,
    /// Java's writer puts it first, and readers of signed archives insist.
    pub version_first: bool,
}

/// Values by the name of the attribute, as it is spelled.
pub type Section = BTreeMap<String, Vec<u8>>;

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<(Self, PassSet)> {
        let mut passes = PassSet::default();
        let mut sections = sections(bytes)?.into_iter();
        let main = sections.next().unwrap_or_default();
        let version_first = main.first().is_some_and(|(name, _)| is_version(name));
        let mut manifest = Self { main: section(main)?, sections: BTreeMap::new(), version_first };
        for attributes in sections {
            let mut attributes = attributes.into_iter();
            let (_, name) = attributes
                .next()
                .filter(|(name, _)| name == "Name")
                .ok_or_else(|| Unreadable::new("a section of the manifest does not begin with its name"))?;
            if manifest.sections.insert(name.clone(), section(attributes.collect())?).is_some() {
                let name = String::from_utf8_lossy(&name);
                return Err(Unreadable::new(format!("the manifest has two sections for {name:?}")));
            }
        }
        passes.add_if(Pass::ManifestForm, manifest.write() != bytes);
        let count = manifest.main.len();
        manifest.main.retain(|name, _| !BUILD_INFO.contains(&name.to_ascii_lowercase().as_str()));
        passes.add_if(Pass::ManifestBuildInfo, manifest.main.len() != count);
        for (name, value) in &mut manifest.main {
            if CLAUSE_SETS.contains(&name.to_ascii_lowercase().as_str()) {
                let sorted =
                    sorted_clauses(value).ok_or_else(|| Unreadable::new(format!("{name} has a quotation without end")))?;
                passes.add_if(Pass::OsgiOrder, sorted != *value);
                *value = sorted;
            }
        }
        Ok((manifest, passes))
    }

    pub fn digest(&self) -> Sha256 {
        let mut hasher = FieldHasher::new("maven-manifest");
        hasher.number("version-first", u64::from(self.version_first));
        for (name, value) in &self.main {
            hasher.field(name, value);
        }
        for (section, attributes) in &self.sections {
            hasher.field("name:", section);
            for (name, value) in attributes {
                hasher.field(name, value);
            }
        }
        hasher.finish()
    }

    /// The canonical form as a manifest: sorted, with the line ends and the folding of Java's writer.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let (first, rest): (Vec<_>, Vec<_>) = self.main.iter().partition(|(name, _)| self.version_first && is_version(name));
        for (name, value) in first.into_iter().chain(rest) {
            write_line(&mut out, name, value);
        }
        out.extend(b"\r\n");
        for (section, attributes) in &self.sections {
            write_line(&mut out, "Name", section);
            for (name, value) in attributes {
                write_line(&mut out, name, value);
            }
            out.extend(b"\r\n");
        }
        out
    }
}

fn is_version(name: &str) -> bool {
    ["manifest-version", "signature-version"].contains(&name.to_ascii_lowercase().as_str())
}

/// Folds to lines of 72 bytes, as the specification asks for.
fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let line = [name.as_bytes(), b": ", value].concat();
    let (first, rest) = line.split_at(line.len().min(72));
    out.extend(first);
    for part in rest.chunks(71) {
        out.extend(b"\r\n ");
        out.extend(part);
    }
    out.extend(b"\r\n");
}

type Attributes = Vec<(String, Vec<u8>)>;

/// Unfolded attributes, section by section; the main section comes first and may be empty.
fn sections(bytes: &[u8]) -> Result<Vec<Attributes>> {
    let mut sections: Vec<Attributes> = vec![Vec::new()];
    let mut is_open = true;
    for line in lines(bytes)? {
        if line.len() > LINE_BYTES_MAX {
            return Err(Unreadable::new("the manifest has a line of more than 510 bytes"));
        }
        if line.contains(&0) {
            return Err(Unreadable::new("the manifest has a zero byte"));
        }
        if line.is_empty() {
            is_open = false;
            continue;
        }
        if !is_open {
            sections.push(Vec::new());
            is_open = true;
        }
        let section = sections.last_mut().expect("there is a section from the beginning");
        if let Some(continuation) = line.strip_prefix(b" ") {
            let (_, value) =
                section.last_mut().ok_or_else(|| Unreadable::new("the manifest continues a line that is not there"))?;
            value.extend(continuation);
            continue;
        }
        let at = line.windows(2).position(|pair| pair == b": ");
        let (name, value) = at
            .map(|at| (&line[..at], &line[at + 2..]))
            .ok_or_else(|| Unreadable::new("the manifest has a line without a name"))?;
        let is_name =
            (1..=70).contains(&name.len()) && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !is_name {
            return Err(Unreadable::new("the manifest has a name with other characters than letters, digits, `-` and `_`"));
        }
        section.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    Ok(sections)
}

/// Lines end with CR LF, LF or CR; readers do not agree about a last one that does not end.
fn lines(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
            return Err(Unreadable::new("the last line of the manifest does not end"));
        };
        lines.push(&rest[..at]);
        let end = if rest[at..].starts_with(b"\r\n") { at + 2 } else { at + 1 };
        rest = &rest[end..];
    }
    Ok(lines)
}

/// Java takes names in any case.
fn section(attributes: Attributes) -> Result<Section> {
    let mut seen = BTreeSet::new();
    for (name, _) in &attributes {
        if !seen.insert(name.to_ascii_lowercase()) {
            return Err(Unreadable::new(format!("the manifest has the attribute {name:?} twice in one section")));
        }
    }
    Ok(attributes.into_iter().collect())
}

/// Clauses end at commas outside quotations, in which a backslash takes the next byte as it is.
fn sorted_clauses(value: &[u8]) -> Option<Vec<u8>> {
    let (mut quoted, mut escaped) = (false, false);
    let mut clauses: Vec<&[u8]> = value
        .split(|byte| {
            let ends = !quoted && *byte == b',';
            if quoted && !escaped && *byte == b'\\' {
                escaped = true;
                return false;
            }
            quoted ^= !escaped && *byte == b'"';
            escaped = false;
            ends
        })
        .collect();
    clauses.sort_unstable();
    let sorted = clauses.join(&b',');
    (!quoted).then_some(sorted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &[u8] = b"Manifest-Version: 1.0\r\nMain-Class: org.example.Main\r\nCreated-By: 17\r\nExport-Package: b;uses:=\"a,c\",a\r\n\r\nName: x/\r\nSealed: true\r\n\r\n\
        Name: y\r\nSHA-256-Digest: abc\r\n\r\n";

    fn digest(bytes: &[u8]) -> Sha256 {
        Manifest::parse(bytes).unwrap().0.digest()
    }

    #[test]
    fn order_folding_line_ends_and_build_info_mean_nothing() {
        let other: &[u8] = b"Manifest-Version: 1.0\nBuilt-By: someone\nExport-Package: a,b;us\n es:=\"a,c\"\nMain-Class: org.exam\n ple.Main\n\n\nName: y\n\
            SHA-256-Digest: abc\n\nName: x/\nSealed: true\n";
        assert_eq!(digest(MANIFEST), digest(other));
        let (_, passes) = Manifest::parse(MANIFEST).unwrap();
        assert_eq!(passes.names(), ["manifest-form", "manifest-build-info", "osgi-order"]);
    }

    #[test]
    fn the_canonical_form_is_its_own() {
        let (manifest, _) = Manifest::parse(MANIFEST).unwrap();
        let (again, passes) = Manifest::parse(&manifest.write()).unwrap();
        assert_eq!((&again, again.digest()), (&manifest, manifest.digest()));
        assert!(passes.is_empty(), "{:?}", passes.names());
    }

    #[test]
    fn every_byte_outside_of_build_info_counts() {
        let noise = MANIFEST.windows(16).position(|window| window == b"Created-By: 17\r\n").unwrap();
        for at in (0..MANIFEST.len()).filter(|at| !(noise..noise + 16).contains(at)) {
            for bit in [0x01, 0x04, 0x40] {
                let mut changed = MANIFEST.to_vec();
                changed[at] ^= bit;
                let Ok((manifest, _)) = Manifest::parse(&changed) else { continue };
                assert_ne!(manifest.digest(), digest(MANIFEST), "bit {bit:#x} of byte {at}");
            }
        }
    }

    #[test]
    fn what_runs_the_code_is_never_forgiven() {
        for name in [
            "Main-Class",
            "Class-Path",
            "Launcher-Agent-Class",
            "Premain-Class",
            "Agent-Class",
            "Boot-Class-Path",
            "Can-Redefine-Classes",
            "Add-Opens",
            "Add-Exports",
            "Enable-Native-Access",
            "Multi-Release",
            "Automatic-Module-Name",
            "Sealed",
            "Import-Package",
            "Require-Capability",
            "DynamicImport-Package",
            "Bundle-Activator",
            "Bundle-NativeCode",
            "Bundle-Version",
            "Start-Class",
            "Build-Jdk-Spec",
            "Implementation-Version",
            "SCM-Git-Commit-ID",
        ] {
            let with = |value: &str| digest(format!("Manifest-Version: 1.0\n{name}: {value}\n").as_bytes());
            assert_ne!(with("a"), with("b"), "{name}");
            assert_ne!(with("a"), digest(b"Manifest-Version: 1.0\n"), "{name}");
        }
        let classpath = |value: &str| digest(format!("Manifest-Version: 1.0\nClass-Path: {value}\n").as_bytes());
        assert_ne!(classpath("a.jar b.jar"), classpath("b.jar a.jar"));
        let in_section: fn(&str) -> Sha256 =
            |value| digest(format!("Manifest-Version: 1.0\n\nName: a\nCreated-By: {value}\n").as_bytes());
        assert_ne!(in_section("1"), in_section("2"), "build info is forgiven in the main section only");
    }

    #[test]
    fn what_readers_resolve_by_order_or_not_at_all_is_not_read() {
        for bytes in [
            &b"Manifest-Version: 1.0\nMain-Class: a\nmain-class: b\n"[..],
            b"Manifest-Version: 1.0\n\nName: a\n\nName: a\n",
            b"Manifest-Version: 1.0\n\nSealed: true\n",
            b"Manifest-Version: 1.0\n\nname: a\n",
            b"Manifest-Version: 1.0\nMain-Class: a",
            b" x\n",
            b"Main-Class:a\n",
            b"M\xe4in: a\n",
            b"Manifest-Version: 1.0\nExport-Package: a;v=\"1\n",
        ] {
            assert!(Manifest::parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
        let long = [b"A: ", &[b'a'; 508][..], b"\n"].concat();
        assert!(Manifest::parse(&long).is_err());
    }
}
