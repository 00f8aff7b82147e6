//! The project object model: what a published pom says it is, and its canonical form.
//!
//! Owns the reading of POM 4.0.0 as far as a package's identity goes (the pom reference, "The Basics"). Every pom is read whole as XML 1.0 without document type
//! and without entities of its own, which no build tool needs and which readers expand differently. Never resolves a parent or a property.

use pyrsia_verifier_kit::unreadable::Result;
use pyrsia_verifier_kit::{Refusal, Unreadable};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::coordinate::Coordinate;

pub const BYTES_MAX: u64 = 8 << 20;
const DEPTH_MAX: usize = 200;

/// Encodings in which the marks of XML and the characters of a coordinate are those of ASCII.
const SINGLE_BYTE_ENCODINGS: [&str; 5] = ["iso-8859-1", "iso-8859-15", "us-ascii", "ascii", "windows-1252"];

/// What identifies a package, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pom {
    pub group: Option<String>,
    pub artifact: Option<String>,
    pub version: Option<String>,
    pub packaging: Option<String>,
    parent_group: Option<String>,
    parent_version: Option<String>,
}

/// What a project has when its pom does not say.
const PACKAGING_DEFAULT: &str = "jar";

impl Pom {
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = decoded(bytes)?;
        let mut reader = Reader::from_str(&text);
        reader.config_mut().trim_markup_names_in_closing_tags = true;
        let mut walk = Walk::default();
        loop {
            let event = reader.read_event().map_err(|error| Unreadable::new(format!("it is not well-formed XML: {error}")))?;
            match event {
                Event::Eof => break,
                Event::Start(start) => {
                    check_attributes(&start)?;
                    walk.open(start.name().as_ref().into())?;
                }
                Event::Empty(start) => {
                    check_attributes(&start)?;
                    walk.open(start.name().as_ref().into())?;
                    walk.close()?;
                }
                Event::End(_) => walk.close()?,
                Event::Text(text) => walk.text(&text)?,
                Event::CData(data) => walk.text(&data)?,
                Event::GeneralRef(reference) => {
                    let character = match reference.resolve_char_ref() {
                        Ok(Some(character)) => Some(character),
                        Ok(None) => predefined(&reference),
                        Err(_) => None,
                    };
                    let character = character.ok_or_else(|| {
                        Unreadable::new(format!("it uses the entity {:?}, which XML does not have", &*reference))
                    })?;
                    walk.text(character.encode_utf8(&mut [0; 4]))?;
                }
                Event::DocType(_) => return Err(Unreadable::new("it has a document type, which could redefine what it says")),
                Event::Comment(_) | Event::PI(_) => walk.interrupt()?,
                Event::Decl(_) if walk.is_at_start() => {}
                Event::Decl(_) => return Err(Unreadable::new("it has an XML declaration that is not at its beginning")),
            }
            walk.begun = true;
        }
        walk.finish()
    }

    pub fn packaging(&self) -> &str {
        self.packaging.as_deref().unwrap_or(PACKAGING_DEFAULT)
    }

    /// Whether it is the pom of this package. A pom inherits group and version from its parent.
    pub fn check_coordinate(&self, file: &str, coordinate: &Coordinate) -> std::result::Result<(), Refusal> {
        let written = [
            ("groupId", self.group.as_ref().or(self.parent_group.as_ref()), coordinate.group()),
            ("artifactId", self.artifact.as_ref(), coordinate.artifact()),
            ("version", self.version.as_ref().or(self.parent_version.as_ref()), coordinate.version()),
        ];
        for (element, written, wanted) in written {
            match written {
                Some(written) if written == wanted => {}
                Some(written) if written.contains("${") => {
                    let sentence =
                        format!("The pom's {element} is {written:?}; a published pom has to say it without properties.");
                    return Err(Refusal::new("unresolved-pom", file, sentence));
                }
                Some(written) => {
                    let sentence = format!("The pom's {element} is {written:?}, the coordinate asks for {wanted:?}.");
                    return Err(Refusal::new("wrong-coordinate", file, sentence));
                }
                None => return Err(Refusal::new("incomplete-pom", file, format!("The pom has no {element}."))),
            }
        }
        Ok(())
    }
}

/// The canonical form: lines end with a line feed, the last one too. XML itself takes the ends of lines for the same (section 2.11).
pub fn canonical(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 1);
    for (at, byte) in bytes.iter().enumerate() {
        if !bytes[at..].starts_with(b"\r\n") {
            out.push(*byte);
        }
    }
    if out.last().is_some_and(|byte| *byte != b'\n') {
        out.push(b'\n');
    }
    out
}

/// The elements that are open, and what was found so far.
#[derive(Default)]
struct Walk {
    open: Vec<String>,
    begun: bool,
    has_root: bool,
    /// The text of the field that is open.
    field: Option<String>,
    pom: Pom,
}

impl Walk {
    fn is_at_start(&self) -> bool {
        !self.begun
    }

    fn open(&mut self, name: String) -> Result<()> {
        if self.field.is_some() {
            return Err(Unreadable::new(format!("its element {:?} has elements within", self.open.last())));
        }
        if self.open.is_empty() && (self.has_root || name != "project") {
            return Err(Unreadable::new("it is not one project element"));
        }
        if self.open.len() == DEPTH_MAX {
            return Err(Unreadable::new(format!("its elements are nested more than {DEPTH_MAX} deep")));
        }
        self.has_root = true;
        self.open.push(name);
        if self.slot().is_some() {
            self.field = Some(String::new());
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(text) = self.field.take() {
            let slot = self.slot().expect("a field is open only where there is a place for it");
            if slot.replace(text.trim().to_owned()).is_some() {
                return Err(Unreadable::new(format!("it has the element {:?} twice", self.open.last())));
            }
        }
        // The reader has matched the names.
        self.open.pop().map(drop).ok_or_else(|| Unreadable::new("it closes an element that is not open"))
    }

    fn text(&mut self, text: &str) -> Result<()> {
        match &mut self.field {
            Some(field) => field.push_str(text),
            None if self.open.is_empty() && !text.trim().is_empty() => {
                return Err(Unreadable::new("it has text outside of its project element"));
            }
            None => {}
        }
        Ok(())
    }

    /// Readers differ in what they make of a text with something between its parts.
    fn interrupt(&self) -> Result<()> {
        match &self.field {
            Some(_) => Err(Unreadable::new(format!("its element {:?} has a comment or an instruction within", self.open.last()))),
            None => Ok(()),
        }
    }

    fn slot(&mut self) -> Option<&mut Option<String>> {
        let path: Vec<&str> = self.open.iter().map(String::as_str).collect();
        match &path[..] {
            ["project", "groupId"] => Some(&mut self.pom.group),
            ["project", "artifactId"] => Some(&mut self.pom.artifact),
            ["project", "version"] => Some(&mut self.pom.version),
            ["project", "packaging"] => Some(&mut self.pom.packaging),
            ["project", "parent", "groupId"] => Some(&mut self.pom.parent_group),
            ["project", "parent", "version"] => Some(&mut self.pom.parent_version),
            _ => None,
        }
    }

    fn finish(self) -> Result<Pom> {
        if !self.open.is_empty() || !self.has_root {
            return Err(Unreadable::new("it is not one whole project element"));
        }
        Ok(self.pom)
    }
}

fn predefined(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

fn check_attributes(start: &BytesStart<'_>) -> Result<()> {
    for attribute in start.attributes().with_checks(true) {
        attribute.map_err(|error| Unreadable::new(format!("an attribute is not well-formed XML: {error}")))?;
    }
    Ok(())
}

/// The text, by the encoding it declares. A single byte encoding is read as Latin 1: only ASCII is ever looked at.
fn decoded(bytes: &[u8]) -> Result<String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let head = &bytes[..bytes.len().min(256)];
    let declaration = head.strip_prefix(b"<?xml").and_then(|rest| rest.split(|byte| *byte == b'>').next()).unwrap_or_default();
    let declaration = String::from_utf8_lossy(declaration).to_ascii_lowercase();
    let encoding = declaration.split_once("encoding").and_then(|(_, rest)| rest.split(['"', '\'']).nth(1)).unwrap_or("utf-8");
    if SINGLE_BYTE_ENCODINGS.contains(&encoding) {
        return Ok(bytes.iter().copied().map(char::from).collect());
    }
    if encoding != "utf-8" && encoding != "utf8" {
        return Err(Unreadable::new(format!("its encoding {encoding:?} is not read here")));
    }
    String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable::new("it is not UTF-8, and does not say that it is something else"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(inner: &str) -> String {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n{inner}</project>\n"
        )
    }

    fn demo(extra: &str) -> String {
        project(&format!("<groupId>org.example</groupId><artifactId>demo</artifactId><version> 1.0 </version>{extra}"))
    }

    #[track_caller]
    fn check(text: &str, code: Option<&str>) {
        let coordinate = Coordinate::parse("org.example:demo:1.0").unwrap();
        let outcome = Pom::parse(text.as_bytes()).unwrap().check_coordinate("demo-1.0.pom", &coordinate);
        assert_eq!(outcome.as_ref().err().map(|refusal| refusal.code.as_str()), code, "{outcome:?}");
    }

    #[test]
    fn a_pom_is_of_the_package_it_names_itself_or_by_its_parent() {
        check(&demo("<dependencies><dependency><version>9</version></dependency></dependencies>"), None);
        let parent = "<parent><groupId>org.example</groupId><artifactId>p</artifactId><version>1.0</version></parent>";
        check(&project(&format!("{parent}<artifactId>demo</artifactId>")), None);
        check(&project(&format!("{parent}<artifactId>demo</artifactId><version>1.1</version>")), Some("wrong-coordinate"));
        check(&project(parent), Some("incomplete-pom"));
        check(&demo("").replace("> 1.0 <", ">${revision}<"), Some("unresolved-pom"));
        check(&demo("").replace("<artifactId>demo", "<artifactId>de&#109;o"), None);
        let latin = [
            demo("<name>").replace("UTF-8", "ISO-8859-1").replace("</project>", "").into_bytes(),
            b"\xe9</name></project>".to_vec(),
        ]
        .concat();
        assert_eq!(Pom::parse(&latin).unwrap().artifact.as_deref(), Some("demo"));
    }

    #[test]
    fn packaging_is_jar_when_the_pom_does_not_say() {
        assert_eq!(Pom::parse(demo("").as_bytes()).unwrap().packaging(), "jar");
        assert_eq!(Pom::parse(demo("<packaging>war</packaging>").as_bytes()).unwrap().packaging(), "war");
    }

    #[test]
    fn what_readers_understand_differently_is_not_read() {
        let faults = [
            demo("").replace("<project", "<!DOCTYPE project [<!ENTITY v \"1.0\">]><project"),
            demo("<name>&v;</name>"),
            demo("<version>1.0</version>"),
            demo("<packaging>j<!-- -->ar</packaging>"),
            demo("<packaging><a/></packaging>"),
            demo("").replace("</project>", ""),
            demo("").replace("</project>", "</projekt>"),
            format!("{}<project/>", demo("")),
            format!("{}text", demo("")),
            demo("").replace("project", "m:project"),
            demo("").replace("UTF-8", "UTF-16"),
            demo("<a b=\"1\" b=\"2\"/>"),
            demo(&"<a>".repeat(250)),
            String::new(),
        ];
        for text in faults {
            assert!(Pom::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Pom::parse(&[demo("<name>").as_bytes(), b"\xe9</name>"].concat()).is_err());
    }

    #[test]
    fn line_ends_mean_nothing_and_order_does() {
        let text = demo("\n<a/>\n<b/>\n");
        let windows = text.replace('\n', "\r\n");
        let form = canonical(text.as_bytes());
        assert_eq!(form, canonical(windows.as_bytes()));
        assert_eq!(form, canonical(text.trim_end().as_bytes()));
        assert_eq!(form, canonical(&form), "the canonical form is its own");
        assert_ne!(form, canonical(demo("\n<b/>\n<a/>\n").as_bytes()));
        assert_ne!(form, canonical(text.replace("<a/>", "<a />").as_bytes()));
    }
}
