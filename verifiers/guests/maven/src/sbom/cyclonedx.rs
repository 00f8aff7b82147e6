//! Bills of materials of CycloneDX: the number and the time of the run that wrote one.

use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::{Canonical, is_key, told};
use crate::json_values::{Document, Step};
use crate::passes::{Pass, PassSet};

const BUILD_INFO: [&[&str]; 2] = [&["serialNumber"], &["metadata", "timestamp"]];
/// The elements of XML that lead to the time, and its own.
const METADATA: [&str; 2] = ["bom", "metadata"];
const TIMESTAMP: &str = "timestamp";
const FORMAT: &[&str] = &["bomFormat"];

pub(super) fn is_looked_at(path: &[Step]) -> bool {
    let is = |wanted: &[&str]| path.len() == wanted.len() && path.iter().zip(wanted).all(|(step, key)| is_key(step, key));
    is(FORMAT) || BUILD_INFO.iter().any(|wanted| is(wanted))
}

/// Without number and time; none for another kind of document.
pub(super) fn canonical_json(document: &Document<'_>) -> Option<Canonical> {
    if document.at(FORMAT).and_then(|value| document.string(value)) != Some("CycloneDX") {
        return None;
    }
    let mut values: Vec<_> = BUILD_INFO.iter().filter_map(|path| told(document, path)).collect();
    values.sort_by_key(|value| value.span.start);
    let mut passes = PassSet::default();
    passes.add_if(Pass::SbomBuildInfo, !values.is_empty());
    Some(Canonical { text: document.without(values).into_bytes(), passes })
}

/// The same for XML. None also for one that is not well-formed, has a document type or says a time twice.
pub(super) fn canonical_xml(bytes: &[u8]) -> Option<Canonical> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    let mut passes = PassSet::default();
    for span in build_info(text)? {
        passes.add_if(Pass::SbomBuildInfo, !span.is_empty());
        out.push_str(&text[at..span.start]);
        at = span.end;
    }
    out.push_str(&text[at..]);
    Some(Canonical { text: out.into_bytes(), passes })
}

/// Where number and time stand, in the order of the text.
fn build_info(text: &str) -> Option<Vec<Range<usize>>> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<String> = Vec::new();
    let (mut number, mut time) = (None, None);
    let (mut has_root, mut has_time) = (false, false);
    loop {
        let start = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let end = usize::try_from(reader.buffer_position()).ok()?;
        let is_time = open.split_last().is_some_and(|(last, before)| last == TIMESTAMP && before == METADATA);
        match event {
            Event::Eof => break,
            Event::DocType(_) => return None,
            Event::Start(tag) => {
                let name: String = tag.name().as_ref().into();
                if open == METADATA && name == TIMESTAMP && std::mem::replace(&mut has_time, true) {
                    return None;
                }
                if open.is_empty() {
                    if has_root || name != "bom" {
                        return None;
                    }
                    has_root = true;
                    number = serial_number(text.get(start..end)?, start);
                }
                if is_time {
                    return None;
                }
                open.push(name);
            }
            Event::End(_) => drop(open.pop()?),
            Event::Empty(tag) if open == METADATA && tag.name().as_ref() == TIMESTAMP => return None,
            Event::Text(_) if is_time && time.is_none() => time = Some(start..end),
            _ if is_time => return None,
            _ => {}
        }
    }
    (has_root && open.is_empty()).then(|| number.into_iter().chain(time).collect())
}

/// Where the value of the attribute stands in the first tag of a document.
fn serial_number(tag: &str, start: usize) -> Option<Range<usize>> {
    const NAME: &str = " serialNumber=";
    let (before, after) = tag.split_once(NAME)?;
    let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let value = after[1..].split(quote).next()?;
    // The name in the value of another attribute stands within quotes.
    let is_outside = before.matches(['"', '\'']).count().is_multiple_of(2);
    let begin = start + before.len() + NAME.len() + 1;
    is_outside.then(|| begin..begin + value.len())
}

#[cfg(test)]
mod tests {
    use crate::passes::PassSet;
    use crate::sbom::{Canonical, Format, canonical};
    use pyrsia_verifier_kit::unreadable::Result;

    fn json(number: &str, time: &str, component: &str) -> String {
        format!(
            r#"{{"bomFormat":"CycloneDX","serialNumber":"urn:uuid:{number}","metadata":{{"timestamp":"{time}","component":{{"name":"a"}}}},"components":[{{"name":"{component}"}}]}}"#
        )
    }

    fn xml(number: &str, time: &str, component: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?>\n<bom version=\"1\" serialNumber=\"urn:uuid:{number}\" xmlns=\"http://cyclonedx.org/schema/bom/1.5\">\n  <metadata>\n    \
             <timestamp>{time}</timestamp>\n  </metadata>\n  <components><component><name>{component}</name></component></components>\n</bom>\n"
        )
    }

    fn form(text: &str, format: Format) -> Result<Option<Canonical>> {
        canonical(text.as_bytes(), format, |_| None)
    }

    #[test]
    fn number_and_time_mean_nothing_and_components_do() {
        type Written = fn(&str, &str, &str) -> String;
        for (write, format) in [(json as Written, Format::Json), (xml as Written, Format::Xml)] {
            let form = |text: String| form(&text, format).unwrap().unwrap();
            let one = form(write("1", "2026", "x"));
            assert_eq!(one, form(write("2", "2027", "x")));
            assert_eq!(one.passes.names(), ["sbom-build-info"]);
            assert_ne!(one, form(write("1", "2026", "y")));
            let again = form(String::from_utf8(one.text.clone()).unwrap());
            assert_eq!((&again.text, again.passes), (&one.text, PassSet::default()), "the canonical form is its own");
        }
    }

    #[test]
    fn what_is_no_bill_of_materials_is_compared_as_it_is() {
        assert_eq!(form(r#"{"serialNumber":"1"}"#, Format::Json), Ok(None));
        assert!(form("{", Format::Json).is_err());
        let good = xml("1", "2026", "x");
        for text in [
            good.replace("bom", "other"),
            good.replace("<bom", "<!DOCTYPE bom [<!ENTITY e \"1\">]><bom"),
            good.replace("2026", "20<b/>26"),
            good.replace("2026", "20<!-- -->26"),
            good.replace("2026", "2026&lt;"),
            good.replace("</timestamp>", "</timestamp><timestamp>2027</timestamp>"),
            good.replace("<timestamp>", "<timestamp/><timestamp>"),
            good.replace("<timestamp>", "<timestamp></timestamp><timestamp>"),
            good.replace("</bom>", ""),
            format!("{good}{good}"),
            String::new(),
        ] {
            assert_eq!(form(&text, Format::Xml), Ok(None), "{text}");
        }
        assert_eq!(canonical(b"<bom>\xff</bom>", Format::Xml, |_| None), Ok(None));
    }

    #[test]
    fn a_number_in_another_place_counts() {
        let number = |text: &str| text.replace(" serialNumber=", " a:serialNumber=");
        let form = |text: &str| form(text, Format::Xml).unwrap().unwrap().text;
        assert_ne!(form(&number(&xml("1", "2026", "x"))), form(&number(&xml("2", "2026", "x"))));
        let quoted = |number: &str| format!("<bom a=\" serialNumber='{number}'\"></bom>");
        assert_ne!(form(&quoted("1")), form(&quoted("2")));
        let nested = |number: &str| format!("<bom><bom serialNumber=\"{number}\"/></bom>");
        assert_ne!(form(&nested("1")), form(&nested("2")));
    }
}
