//! JSON that means the same to every reader, or is refused.
//!
//! Two readers of one manifest must not see two images. Parsers differ in what a repeated key means, and some match the names of
//! fields without regard to case (`Layers` for `layers`), so both are refused before anything is read. Bounded memory: nothing but the keys of the objects
//! that are open is kept, and the parser limits the depth.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

/// Reads `bytes` as a `T`. `fields` are the names that may not occur in another spelling anywhere in the document.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8], fields: &[&str]) -> Result<T, serde_json::Error> {
    let mut document = serde_json::Deserializer::from_slice(bytes);
    Unambiguous { fields }.deserialize(&mut document)?;
    document.end()?;
    serde_json::from_slice(bytes)
}

#[derive(Clone, Copy)]
struct Unambiguous<'f> {
    fields: &'f [&'f str],
}

impl<'de> DeserializeSeed<'de> for Unambiguous<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(field) = self.fields.iter().find(|field| key != **field && reads_as(&key, field)) {
                return Err(serde::de::Error::custom(format_args!("the key `{key}` can be read as `{field}`")));
            }
            map.next_value_seed(self)?;
            if let Some(key) = keys.replace(key) {
                return Err(serde::de::Error::custom(format_args!("the key `{key}` occurs twice in one object")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Whether a reader that ignores case, by Unicode's simple folding, takes `key` for the ASCII word `field`.
fn reads_as(key: &str, field: &str) -> bool {
    let fold = |c: char| match c {
        'ſ' => 's',
        '\u{212A}' => 'k', // Kelvin sign
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).eq(field.chars().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, accepted: bool) {
        let read = from_slice::<serde_json::Value>(json.as_bytes(), &["layers", "mediaType", "platform"]);
        assert_eq!(read.is_ok(), accepted, "{json}: {read:?}");
    }

    #[test]
    fn repeated_keys_are_refused_at_any_depth() {
        check(r#"{"a":1,"b":[{"a":1},{"a":2}]}"#, true);
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":1}"#, false);
        check(r#"[{"b":{"c":[{"a":1,"x":2,"a":1}]}}]"#, false);
    }

    #[test]
    fn another_spelling_of_a_field_is_refused() {
        check(r#"{"layers":[],"mediaType":"m"}"#, true);
        for key in ["Layers", "LAYERS", "layerſ", "MediaType", "mediatype"] {
            check(&format!(r#"{{"{key}":[]}}"#), false);
        }
    }

    #[test]
    fn what_is_not_one_json_document_is_refused() {
        for json in ["", "{", "{}{}", "{} x", "\u{feff}{}", "{\"a\":1,}", &"[".repeat(1000)] {
            check(json, false);
        }
        assert!(from_slice::<serde_json::Value>(b"{\"a\":\"\xff\"}", &[]).is_err(), "invalid UTF-8");
    }
}
