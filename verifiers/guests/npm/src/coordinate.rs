//! Coordinates: `name@version` and `@scope/name@version`, under npm's rules for the names of new packages.

use std::fmt;

use pyrsia_verifier_kit::Refusal;

use crate::version::Version;

pub const SYNTAX: &str = "A package is written name@version or @scope/name@version, with lower-case names and a whole version, such as left-pad@1.3.0.";

/// The longest name, scope included, that npm takes for a new package, in bytes.
const NAME_BYTES_MAX: usize = 214;
/// The contract's bound of a coordinate and of an artifact id, in bytes.
const ID_BYTES_MAX: usize = 512;
/// Names that would lead to something else in a folder of packages or on a web server.
const NAMES_TAKEN: [&str; 2] = ["node_modules", "favicon.ico"];
/// What stands for a place and not for a package of a registry.
const PLACES: [&str; 7] = ["/", "./", "../", "file:", "git", "npm:", "workspace:"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinate {
    name: Name,
    version: Version,
}

impl Coordinate {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let is_place = text.contains("://")
            || PLACES.iter().any(|place| text.starts_with(place) && (text.contains(':') || place.ends_with('/')));
        if is_place {
            let sentence = format!("This is a place from which something can be fetched. {SYNTAX}");
            return Err(Refusal::new("not-a-name", text, sentence));
        }
        // The first character may be the `@` of a scope.
        let at = text.char_indices().skip(1).find(|(_, character)| *character == '@').map(|(at, _)| at);
        let Some(at) = at else {
            return Err(Refusal::new("no-version", text, format!("There is no version. {SYNTAX}")));
        };
        let (name, version) = (&text[..at], &text[at + 1..]);
        if version.is_empty() {
            return Err(Refusal::new("no-version", text, format!("There is no version behind the `@`. {SYNTAX}")));
        }
        let name = Name::parse(name).map_err(|(code, sentence)| Refusal::new(code, text, sentence))?;
        let Some(version) = Version::parse(version) else {
            let (code, sentence) = not_a_version(version);
            return Err(Refusal::new(code, text, sentence));
        };
        let coordinate = Self { name, version };
        if coordinate.artifact_id().len() > ID_BYTES_MAX {
            let sentence = format!("The id of its archive would have more than {ID_BYTES_MAX} bytes.");
            return Err(Refusal::new("too-long", text, sentence));
        }
        Ok(coordinate)
    }

    pub fn name(&self) -> &Name {
        &self.name
    }

    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The path of the archive below the mount, as npm forms it.
    pub fn artifact_id(&self) -> String {
        format!("{}/-/{}-{}.tgz", self.name, self.name.base(), self.version)
    }

    /// What `npm pack` calls the archive.
    pub fn file_name(&self) -> String {
        format!("{}-{}.tgz", self.name.0.replace('/', "-").trim_start_matches('@'), self.version)
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// The name of a package, with its scope if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// The name, or the code and the sentence of a refusal.
    pub fn parse(text: &str) -> Result<Self, (&'static str, String)> {
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            let sentence = format!("Names are written in lower case: `{}`.", text.to_ascii_lowercase());
            return Err(("upper-case", sentence));
        }
        let parts: Vec<&str> = match text.strip_prefix('@') {
            Some(rest) => rest.split('/').collect(),
            None => vec![text],
        };
        let is_name = parts.len() == 1 + usize::from(text.starts_with('@')) && parts.iter().all(|part| is_part(part));
        if !is_name || text.len() > NAME_BYTES_MAX {
            let sentence = format!(
                "`{text}` is no name of a package: it has up to {NAME_BYTES_MAX} letters a to z, digits, `-`, `.` and `_`, begins with a letter or a digit, and \
                 stands behind `@scope/` or for itself."
            );
            return Err(("malformed-name", sentence));
        }
        Ok(Self(text.into()))
    }

    /// Without the scope.
    pub fn base(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    part.bytes().next().is_some_and(is_plain)
        && part.bytes().all(|byte| is_plain(byte) || matches!(byte, b'-' | b'.' | b'_'))
        && !NAMES_TAKEN.contains(&part)
}

/// Why a text is no version, for the person who meant something by it.
fn not_a_version(text: &str) -> (&'static str, String) {
    let bare = text.trim_start_matches(['v', '=']);
    if bare != text && Version::parse(bare).is_some() {
        return ("malformed-version", format!("Write the version as `{bare}`."));
    }
    if let Some((version, _)) = text.split_once('+').filter(|(version, _)| Version::parse(version).is_some()) {
        let sentence = format!("npm publishes a version without what follows the `+`: write `{version}`.");
        return ("build-metadata", sentence);
    }
    if text.starts_with(|character: char| character.is_ascii_alphabetic()) && !text.starts_with(['x', 'X']) {
        let sentence = format!("`{text}` is a tag, which stands for another version tomorrow; give the version you mean.");
        return ("tag", sentence);
    }
    let is_part = |part: &str| matches!(part, "x" | "X" | "*") || part.bytes().all(|byte| byte.is_ascii_digit());
    let has_gaps = text.split('.').count() < 3 || text.contains(['x', 'X', '*']);
    let is_partial = has_gaps && text.split('.').all(is_part);
    if is_partial || text.contains(['^', '~', '<', '>', '=', '*', '|', ' ']) {
        let sentence =
            format!("`{text}` is a range, which stands for another version tomorrow; give the one you mean, such as 1.3.0.");
        return ("range", sentence);
    }
    let sentence = format!(
        "`{text}` is no version: it has three numbers without leading zeros, and `-` and a pre-release where there is one."
    );
    ("malformed-version", sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coordinate_parses_to_itself_and_names_its_archive() {
        let cases = [
            ("left-pad@1.3.0", "left-pad/-/left-pad-1.3.0.tgz", "left-pad-1.3.0.tgz"),
            ("@babel/core@7.24.0-rc.1", "@babel/core/-/core-7.24.0-rc.1.tgz", "babel-core-7.24.0-rc.1.tgz"),
            ("lodash.merge@0.0.0", "lodash.merge/-/lodash.merge-0.0.0.tgz", "lodash.merge-0.0.0.tgz"),
        ];
        for (text, artifact_id, file_name) in cases {
            let coordinate = Coordinate::parse(text).unwrap();
            assert_eq!((coordinate.to_string().as_str(), coordinate.artifact_id().as_str()), (text, artifact_id));
            assert_eq!(coordinate.file_name(), file_name);
        }
    }

    #[test]
    fn what_is_no_fixed_package_is_refused_by_name() {
        let long = format!("{}@1.0.0", "a".repeat(215));
        let cases = [
            ("", "no-version"),
            ("left-pad", "no-version"),
            ("@babel/core", "no-version"),
            ("@", "no-version"),
            ("left-pad@", "no-version"),
            ("left-pad@latest", "tag"),
            ("left-pad@^1.3.0", "range"),
            ("left-pad@1", "range"),
            ("left-pad@1.x", "range"),
            ("left-pad@1 || 2", "range"),
            ("left-pad@v1.3.0", "malformed-version"),
            ("left-pad@1.03.0", "malformed-version"),
            ("left-pad@1.3.0+x", "build-metadata"),
            ("left-pad@1.3.0@1.3.0", "malformed-version"),
            ("Left-Pad@1.3.0", "upper-case"),
            ("left pad@1.3.0", "malformed-name"),
            (".left@1.3.0", "malformed-name"),
            ("-@1.3.0", "malformed-name"),
            ("_left@1.3.0", "malformed-name"),
            ("left/pad@1.3.0", "malformed-name"),
            ("@scope@1.3.0", "malformed-name"),
            ("@scope/a/b@1.3.0", "malformed-name"),
            ("@/a@1.3.0", "malformed-name"),
            ("@scope/..@1.3.0", "malformed-name"),
            ("node_modules@1.3.0", "malformed-name"),
            ("left\0pad@1.3.0", "malformed-name"),
            ("ünder@1.3.0", "malformed-name"),
            (&long, "malformed-name"),
            ("https://registry.example/left-pad/-/left-pad-1.3.0.tgz", "not-a-name"),
            ("git@example.org:left/pad", "not-a-name"),
            ("file:../left-pad", "not-a-name"),
            ("./left-pad@1.3.0", "not-a-name"),
            ("npm:left-pad@1.3.0", "not-a-name"),
        ];
        for (text, code) in cases {
            assert_eq!(Coordinate::parse(text).unwrap_err().code, code, "{text}");
        }
        assert!(Coordinate::parse("git@2.0.0").is_ok(), "a package may have the name of a place");
    }

    #[test]
    fn the_refusal_says_what_to_write() {
        assert!(Coordinate::parse("a@v1.0.0").unwrap_err().sentence.contains("`1.0.0`"));
        assert!(Coordinate::parse("JSONStream@1.3.5").unwrap_err().sentence.contains("`jsonstream`"));
    }
}
