//! What a mapping says: which package is built from what and how, in the JSON of the prototype.
//!
//! A node reads of it which package it is about, and where its source is pinned. How it is built is between the mapping and the
//! pipeline; the node hands that on as it came.

use pyrsia_ledger::PackageCoordinate;
use pyrsia_ledger::event::{PinnedSource, TEXT_BYTES_MAX};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The JSON of one package, checked to be about that package.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MappingInfo(Map<String, Value>);

impl MappingInfo {
    /// The one that leaves everything to the pipeline.
    pub(super) fn of(coordinate: &PackageCoordinate) -> Self {
        let (package_type, id) = (prototype_name(coordinate.package_type.as_str()), coordinate.id.as_str());
        let empty = [("source_repository", Value::Null), ("build_spec_url", Value::Null)];
        let named = [("package_type", json!(package_type)), ("package_specific_id", json!(id))];
        Self(named.into_iter().chain(empty).map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// Reads one; says what is wrong with one that cannot be used.
    pub(super) fn about(coordinate: &PackageCoordinate, json: &[u8]) -> Result<Self, String> {
        let info: Map<String, Value> = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let text = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or_default();
        let package_type = text("package_type").to_ascii_lowercase();
        let is_type = package_type == coordinate.package_type.as_str()
            || package_type == prototype_name(coordinate.package_type.as_str()).to_ascii_lowercase();
        let id = text("package_specific_id");
        if is_type && id == coordinate.id.as_str() { Ok(Self(info)) } else { Err(format!("it is about {package_type} {id}")) }
    }

    pub(super) const fn as_json(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// A mapping whose source says the same whenever it is looked at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PinnedMapping {
    pub(super) info: MappingInfo,
    pub(super) source: PinnedSource,
}

impl PinnedMapping {
    /// Takes the answer of a pipeline apart.
    pub(super) fn new(MappingInfo(mut info): MappingInfo) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Source {
            kind: String,
            location: String,
            revision: String,
            #[serde(default)]
            tree: Option<String>,
        }
        let source = info.remove("source").unwrap_or_default();
        let Source { kind, location, revision, tree } = serde_json::from_value(source).map_err(|error| error.to_string())?;
        let source = PinnedSource { kind, location, revision, tree };
        let texts = [&source.kind, &source.location, &source.revision].into_iter().chain(&source.tree);
        let fits = |text: &String| text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control);
        let is_pinned = !source.kind.is_empty() && !source.revision.is_empty();
        if is_pinned && texts.into_iter().all(fits) {
            Ok(Self { info: MappingInfo(info), source })
        } else {
            Err("the ledger does not take its source".into())
        }
    }
}

/// Why a judge builds nothing for a request: its own mapping says that the package is made from something else. Where it is
/// fetched from may differ, as long as the revision pins the same content; a requester that could choose the revision would
/// choose what is published. Two trees of one commit are a collision, or a lie.
pub(super) fn contradiction(requested: &PinnedSource, own: &PinnedSource) -> Option<String> {
    if requested.is_same_as(own) {
        return match (&requested.tree, &own.tree) {
            (Some(theirs), Some(ours)) if theirs != ours => Some(format!(
                "the request is for {requested} with the tree {theirs}, and this node's mapping finds the tree {ours}"
            )),
            _ => None,
        };
    }
    let is_one_place = (&requested.kind, &requested.location) == (&own.kind, &own.location);
    let hint = if is_one_place { " (was a tag moved?)" } else { "" };
    Some(format!("the request is for {requested}, this node's mapping says {own}{hint}"))
}

/// The prototype's spelling of its two types; every other type has the ledger's.
pub(super) fn prototype_name(package_type: &str) -> &str {
    match package_type {
        "docker" => "Docker",
        "maven" => "Maven2",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COORDINATE: &str = "org.example:demo:1.0";

    fn demo() -> PackageCoordinate {
        PackageCoordinate::new("maven", COORDINATE).unwrap()
    }

    fn pinned(source: Value) -> Result<PinnedMapping, String> {
        let mut answer = json!({ "package_type": "Maven2", "package_specific_id": COORDINATE, "program": { "network": true } });
        answer["source"] = source;
        PinnedMapping::new(MappingInfo::about(&demo(), answer.to_string().as_bytes())?)
    }

    #[test]
    fn package_types_are_written_as_the_prototype_wrote_them() {
        assert_eq!(["docker", "maven", "cargo"].map(prototype_name), ["Docker", "Maven2", "cargo"]);
        let info = Value::Object(MappingInfo::of(&demo()).as_json().clone());
        let prototype = json!({
            "package_type": "Maven2", "package_specific_id": COORDINATE, "source_repository": null, "build_spec_url": null
        });
        assert_eq!(info, prototype);
    }

    #[test]
    fn a_mapping_of_another_package_is_none() {
        for (package_type, id, fits) in [
            ("Maven2", COORDINATE, true),
            ("maven", COORDINATE, true),
            ("Docker", COORDINATE, false),
            ("Maven2", "org.example:demo:1.1", false),
        ] {
            let json = json!({ "package_type": package_type, "package_specific_id": id }).to_string();
            assert_eq!(MappingInfo::about(&demo(), json.as_bytes()).is_ok(), fits, "{json}");
        }
        for wrong in ["", "[]", "\"x\"", "{}", "<html>"] {
            assert!(MappingInfo::about(&demo(), wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pinned_answer_is_handed_back_without_what_the_node_has_read() {
        let mapping = pinned(json!({ "kind": "git", "location": "https://git.example/a", "revision": "c0ffee", "tree": "7ee" }));
        let mapping = mapping.unwrap();
        assert_eq!((mapping.source.revision.as_str(), mapping.source.tree.as_deref()), ("c0ffee", Some("7ee")));
        assert_eq!(mapping.info.as_json().get("program"), Some(&json!({ "network": true })));
        assert!(!mapping.info.as_json().contains_key("source"));
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        for source in [
            Value::Null,
            json!({ "kind": "git", "location": "https://git.example/a" }),
            json!({ "kind": "git", "location": "", "revision": "" }),
            json!({ "kind": "git", "location": "\u{1b}[2J", "revision": "c0ffee" }),
            json!({ "kind": "git", "location": long, "revision": "c0ffee" }),
        ] {
            assert!(pinned(source.clone()).is_err(), "{source}");
        }
    }

    #[test]
    fn one_commit_with_another_tree_is_another_source() {
        let source = |tree: Option<&str>| PinnedSource {
            kind: "git".into(),
            location: "https://git.example/a".into(),
            revision: "c0ffee".into(),
            tree: tree.map(str::to_owned),
        };
        for (theirs, ours) in [(Some("7ee"), Some("7ee")), (Some("7ee"), None), (None, Some("7ee")), (None, None)] {
            assert_eq!(contradiction(&source(theirs), &source(ours)), None, "{theirs:?} {ours:?}");
        }
        let reason = contradiction(&source(Some("7ee")), &source(Some("0a6"))).unwrap();
        assert_eq!(
            reason,
            "the request is for commit c0ffee of https://git.example/a with the tree 7ee, and this node's mapping finds the tree 0a6"
        );
    }

    #[test]
    fn a_judge_builds_what_its_own_mapping_says_and_nothing_else() {
        let requested = PinnedSource {
            kind: "git".into(),
            location: "https://git.example/a".into(),
            revision: "c0ffee".into(),
            tree: Some("7ee".into()),
        };
        let says = |kind: &str, location: &str, revision: &str| {
            let [kind, location, revision] = [kind, location, revision].map(str::to_owned);
            contradiction(&requested, &PinnedSource { kind, location, revision, tree: None })
        };
        assert_eq!(says("git", "https://git.example/a", "c0ffee"), None);
        assert_eq!(says("git", "https://mirror.example/a.git", "c0ffee"), None, "mirrors of one commit are one source");
        for (kind, location, revision, words) in [
            ("git", "https://git.example/a", "badc0de", "commit badc0de of https://git.example/a (was a tag moved?)"),
            ("git", "https://evil.example/a", "badc0de", "commit badc0de of https://evil.example/a"),
            ("import", "https://registry.example/a:1", "c0ffee", "manifest c0ffee of https://registry.example/a:1"),
            ("git", "https://git.example/a", "C0FFEE", "commit C0FFEE of https://git.example/a (was a tag moved?)"),
            ("git", "https://git.example/a", "c0ffe", "commit c0ffe of https://git.example/a (was a tag moved?)"),
        ] {
            let reason = format!("the request is for commit c0ffee of https://git.example/a, this node's mapping says {words}");
            assert_eq!(says(kind, location, revision), Some(reason));
        }
    }
}
