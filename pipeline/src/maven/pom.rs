//! What a pom says of itself before Maven reads it: its coordinate, its modules, and a few words that a build has to respect.
//!
//! A reader of names and texts only: no inheritance, no interpolation, and no document type, whose entities could make it
//! mean something else to every reader. What Maven makes of a pom is Maven's business.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deeper than any pom that people write.
const MAX_DEPTH: usize = 100;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum PomError {
    #[error("it has a document type: its entities are not expanded")]
    DocumentType,
    #[error("it is no well-formed XML: {0}")]
    Syntax(String),
}

/// As it is written; a group or version that is not there comes from the parent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Pom {
    pub(crate) group: Option<String>,
    pub(crate) artifact: Option<String>,
    pub(crate) version: Option<String>,
    /// Those of profiles too.
    pub(crate) modules: Vec<String>,
    /// Whether it decides itself which time the archives of the build show.
    pub(crate) has_output_timestamp: bool,
    /// The first of the repositories that it names.
    pub(crate) repository: Option<String>,
}

pub(crate) fn read(text: &str) -> Result<Pom, PomError> {
    let syntax = |error: &dyn std::fmt::Display| PomError::Syntax(error.to_string());
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let mut pom = Pom::default();
    let mut parent = Pom::default();
    let (mut open, mut said): (Vec<String>, String) = (Vec::new(), String::new());
    loop {
        match reader.read_event().map_err(|error| syntax(&error))? {
            Event::Eof => break,
            Event::DocType(_) => return Err(PomError::DocumentType),
            Event::Start(start) => {
                let name: &str = start.local_name().into_inner();
                open.push(name.to_owned());
                if open.len() > MAX_DEPTH {
                    return Err(PomError::Syntax(format!("its elements are nested more than {MAX_DEPTH} deep")));
                }
                said.clear();
            }
            Event::Text(text) => said.push_str(&text),
            Event::CData(text) => said.push_str(&text),
            Event::End(_) => {
                note(&open, said.trim(), &mut pom, &mut parent);
                open.pop();
                said.clear();
            }
            Event::Empty(_) | Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::GeneralRef(_) => {}
        }
    }
    pom.group = pom.group.or(parent.group);
    pom.version = pom.version.or(parent.version);
    Ok(pom)
}

fn note(open: &[String], text: &str, pom: &mut Pom, parent: &mut Pom) {
    let path: Vec<&str> = open.iter().map(String::as_str).collect();
    let told = || Some(text.to_owned());
    match path.as_slice() {
        ["project", "groupId"] => pom.group = told(),
        ["project", "artifactId"] => pom.artifact = told(),
        ["project", "version"] => pom.version = told(),
        ["project", "parent", "groupId"] => parent.group = told(),
        ["project", "parent", "version"] => parent.version = told(),
        ["project", .., "modules", "module"] | ["project", .., "subprojects", "subproject"] => pom.modules.push(text.to_owned()),
        ["project", "properties", "project.build.outputTimestamp"] => pom.has_output_timestamp = true,
        ["project", "repositories", "repository", "url"] if pom.repository.is_none() => pom.repository = told(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pom_tells_its_coordinate_its_modules_and_its_time() {
        let pom = read(
            r#"<?xml version="1.0"?><project xmlns="http://maven.apache.org/POM/4.0.0">
            <parent><groupId>org.example</groupId><artifactId>up</artifactId><version> 1.0 </version></parent>
            <artifactId>demo</artifactId><!-- <version>9</version> -->
            <dependencies><dependency><groupId>other</groupId><version>2</version></dependency></dependencies>
            <properties><project.build.outputTimestamp>2020-01-01T00:00:00Z</project.build.outputTimestamp></properties>
            <modules><module>a</module></modules>
            <profiles><profile><modules><module>b</module></modules></profile></profiles></project>"#,
        )
        .unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!((pom.group, pom.artifact, pom.version), (text("org.example"), text("demo"), text("1.0")));
        assert_eq!((pom.modules, pom.has_output_timestamp), (vec!["a".to_owned(), "b".to_owned()], true));
    }

    #[test]
    fn entities_are_refused_and_not_expanded() {
        let bomb = r#"<!DOCTYPE project [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><project><version>&b;</version></project>"#;
        assert_eq!(read(bomb), Err(PomError::DocumentType));
        let remote = r#"<?xml version="1.0"?><!DOCTYPE project SYSTEM "http://127.0.0.1:1/x.dtd"><project/>"#;
        assert_eq!(read(remote), Err(PomError::DocumentType));
        assert!(matches!(read("<project><version></project>"), Err(PomError::Syntax(_))));
        assert!(matches!(read(&"<a>".repeat(MAX_DEPTH + 1)), Err(PomError::Syntax(_))));
    }
}
