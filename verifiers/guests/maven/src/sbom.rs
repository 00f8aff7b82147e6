//! Bills of materials in CycloneDX's JSON form: the number and the time of the run that wrote one.

use pyrsia_verifier_kit::unreadable::Result;

use crate::json_values::{Document, Value};

/// Larger ones are compared as they are.
pub const BYTES_MAX: u64 = 16 << 20;

const BUILD_INFO: [&[&str]; 2] = [&["serialNumber"], &["metadata", "timestamp"]];

/// The names that the plugins of CycloneDX give them, as a file of a package or in an archive.
pub fn is_name(name: &[u8]) -> bool {
    name.ends_with(b"-cyclonedx.json") || name.ends_with(b".cdx.json")
}

/// Without number and time; none when it has neither or is another kind of document.
pub fn canonical(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    let document = Document::parse(bytes)?;
    if document.at(&["bomFormat"]).and_then(|value| document.string(value)) != Some("CycloneDX") {
        return Ok(None);
    }
    let told = |value: &&Value| document.string(value).is_some_and(|text| !text.is_empty());
    let mut values: Vec<&Value> = BUILD_INFO.iter().filter_map(|path| document.at(path)).filter(told).collect();
    values.sort_by_key(|value| value.span.start);
    Ok((!values.is_empty()).then(|| document.without(values).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bom(number: &str, time: &str, component: &str) -> String {
        format!(
            r#"{{"bomFormat":"CycloneDX","serialNumber":"urn:uuid:{number}","metadata":{{"timestamp":"{time}","component":{{"name":"a"}}}},"components":[{{"name":"{component}"}}]}}"#
        )
    }

    #[test]
    fn number_and_time_mean_nothing_and_components_do() {
        let form = |text: String| canonical(text.as_bytes()).unwrap().unwrap();
        assert_eq!(form(bom("1", "2026", "x")), form(bom("2", "2027", "x")));
        assert_ne!(form(bom("1", "2026", "x")), form(bom("1", "2026", "y")));
        assert_eq!(canonical(&form(bom("1", "2026", "x"))).unwrap(), None, "the canonical form is its own");
        assert_eq!(canonical(br#"{"serialNumber":"1"}"#).unwrap(), None);
        assert!(canonical(b"{").is_err());
    }
}
