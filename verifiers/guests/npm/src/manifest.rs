//! `package.json`: read so that it means one thing to everybody, and what npm needs to know of it before it fetches a package.

use pyrsia_verifier_kit::{Finding, Refusal, Unreadable, strict_json};
use serde_json::{Map, Value};

use crate::coordinate::Coordinate;
use crate::package::MANIFEST_PATH;

/// The largest manifest that is read, in bytes.
pub const BYTES_MAX: u64 = 1 << 20;
/// What npm runs on the machine that installs a package.
const INSTALL_SCRIPTS: [&str; 3] = ["preinstall", "install", "postinstall"];
/// How much of a script a finding repeats.
const SCRIPT_CHARS_MAX: usize = 200;
/// What an installation reads before it has the package (npm's abbreviated metadata), and what `npm view` shows of it.
const LISTED: [&str; 20] = [
    "acceptDependencies",
    "bin",
    "bundleDependencies",
    "bundledDependencies",
    "cpu",
    "dependencies",
    "description",
    "directories",
    "engines",
    "funding",
    "homepage",
    "libc",
    "license",
    "name",
    "optionalDependencies",
    "os",
    "peerDependencies",
    "peerDependenciesMeta",
    "repository",
    "version",
];

#[derive(Clone, Debug, PartialEq)]
pub struct Manifest(Map<String, Value>);

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Self, Unreadable> {
        // JavaScript tells `Name` from `name`, so that no spelling is reserved.
        strict_json::from_slice(bytes, &[]).map(Self).map_err(|error| Unreadable::new(error.to_string()))
    }

    pub fn fields(&self) -> &Map<String, Value> {
        &self.0
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).and_then(Value::as_str)
    }

    /// Whether it names the package that was asked for, letter by letter.
    pub fn check(&self, coordinate: &Coordinate) -> Result<(), Refusal> {
        let version = coordinate.version().to_string();
        for (field, expected) in [("name", coordinate.name().as_str()), ("version", &version)] {
            if self.text(field) != Some(expected) {
                let found = self.0.get(field).map_or("nothing".to_owned(), |found| shown(&found.to_string()));
                let sentence = format!("The {field} of this package is {expected:?}, its manifest says {found}.");
                return Err(Refusal::new("wrong-coordinate", MANIFEST_PATH, sentence));
            }
        }
        Ok(())
    }

    /// What npm runs when it installs the package. One without a script for it is compiled where it has a `binding.gyp`.
    pub fn install_scripts(&self, has_gyp: bool) -> Vec<(&'static str, &str)> {
        let scripts = self.0.get("scripts").and_then(Value::as_object);
        let script = |name: &'static str| Some((name, scripts?.get(name)?.as_str()?)).filter(|(_, script)| !script.is_empty());
        let mut found: Vec<_> = INSTALL_SCRIPTS.iter().filter_map(|name| script(name)).collect();
        let is_compiled = has_gyp
            && self.0.get("gypfile") != Some(&Value::Bool(false))
            && !found.iter().any(|(name, _)| *name != "postinstall");
        if is_compiled {
            found.push(("install", "node-gyp rebuild"));
        }
        found
    }

    /// What a person should know of a package that is acceptable.
    pub fn findings(&self, has_gyp: bool) -> Vec<Finding> {
        let finding = |(name, script): (&str, &str)| {
            let sentence = format!("Whoever installs the package runs its {name} script: {}", shown(script));
            Finding::new("install-script", MANIFEST_PATH, sentence)
        };
        self.install_scripts(has_gyp).into_iter().map(finding).collect()
    }

    /// The part that a list of versions repeats.
    pub fn listed(&self) -> Map<String, Value> {
        let listed = LISTED.iter().filter_map(|field| Some(((*field).to_owned(), self.0.get(*field)?.clone())));
        listed.collect()
    }
}

fn shown(text: &str) -> String {
    let shown: String = text.chars().take(SCRIPT_CHARS_MAX).collect();
    if shown.len() < text.len() { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_means_one_thing_or_is_not_read() {
        for wrong in ["", "[]", "{\"name\":\"a\",\"name\":\"a\"}", "{\"a\":{\"b\":1,\"\\u0062\":2}}", "\u{feff}{}", "{} {}"] {
            assert!(Manifest::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(Manifest::parse(br#"{"name":"a","Name":"b"}"#).is_ok());
    }

    #[test]
    fn it_names_the_package_letter_by_letter() {
        let check = |text: &str| Manifest::parse(text.as_bytes()).unwrap().check(&Coordinate::parse("a@1.0.0").unwrap());
        assert_eq!(check(r#"{"name":"a","version":"1.0.0"}"#), Ok(()));
        for wrong in [
            r#"{"name":"b","version":"1.0.0"}"#,
            r#"{"name":"a","version":"v1.0.0"}"#,
            r#"{"name":"a"}"#,
            r#"{"name":["a"],"version":"1.0.0"}"#,
        ] {
            assert_eq!(check(wrong).unwrap_err().code, "wrong-coordinate", "{wrong}");
        }
    }

    #[test]
    fn scripts_that_run_on_installation_are_found() {
        let names = |text: &str, has_gyp| {
            let manifest = Manifest::parse(text.as_bytes()).unwrap();
            manifest.install_scripts(has_gyp).iter().map(|(name, _)| *name).collect::<Vec<_>>()
        };
        let scripts = r#"{"scripts":{"postinstall":"x","test":"y","preinstall":"z","install":""}}"#;
        assert_eq!(names(scripts, false), ["preinstall", "postinstall"]);
        assert_eq!(names(r#"{"scripts":{"prepare":"x"}}"#, false), [""; 0]);
        assert_eq!(names("{}", true), ["install"]);
        assert_eq!(names(r#"{"gypfile":false}"#, true), [""; 0]);
        assert_eq!(names(r#"{"scripts":{"install":"x"}}"#, true), ["install"]);
        assert_eq!(names(r#"{"scripts":7}"#, false), [""; 0]);
    }
}
