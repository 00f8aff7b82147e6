//! Gradle's dependency verification file (of the schemas only 1.3 is well formed; what is written is known to every Gradle from 6.2 on).

use super::MARK;
use super::published::{File, Published};
use std::fmt::Write;

/// What to do with the file.
pub(super) const SETTINGS: &str = "
Gradle 6.2 or newer reads gradle/verification-metadata.xml of the root project by itself, and then refuses every artifact that is not in it, plugins included.
'gradle --write-verification-metadata sha256 help' adds what a build takes from elsewhere, as it is at that moment; the entries that are there stay.";

const HEAD: &str = r#"   <configuration>
      <verify-metadata>true</verify-metadata>
      <verify-signatures>false</verify-signatures>
   </configuration>
   <components>
"#;

pub(super) fn document(published: &Published) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- {MARK}: SHA-256 by the log of network {} -->\n\
         <verification-metadata xmlns=\"https://schema.gradle.org/dependency-verification\" \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
         xsi:schemaLocation=\"https://schema.gradle.org/dependency-verification \
         https://schema.gradle.org/dependency-verification/dependency-verification-1.3.xsd\">\n{HEAD}",
        published.network
    );
    for component in published.files.chunk_by(|a, b| a.coordinate() == b.coordinate()) {
        add(&mut text, component, published);
    }
    text.push_str("   </components>\n</verification-metadata>\n");
    text
}

fn add(text: &mut String, component: &[File], published: &Published) {
    let Some(first) = component.first() else { return };
    let [group, artifact, version] = first.coordinate().map(attribute);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "      <component group=\"{group}\" name=\"{artifact}\" version=\"{version}\">");
    for file in component {
        let _ = writeln!(
            text,
            "         <artifact name=\"{}\">\n            <sha256 value=\"{}\" origin=\"Pyrsia network {}, block {}\"/>\n         </artifact>",
            attribute(&file.name),
            file.sha256,
            published.network,
            file.height
        );
    }
    text.push_str("      </component>\n");
}

/// The value of an attribute (XML 1.0, section 3.3.3).
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::published::tests::{file, published};
    use super::*;

    #[test]
    fn each_package_is_a_component_with_its_files() {
        let published = published(vec![
            file("org.example:demo:1.0", "demo-1.0.pom", 3),
            file("org.example:other:2+a~b", "other-2+a~b.jar", 5),
            file("org.example:demo:1.0", "demo-1.0.jar", 3),
        ]);
        let text = document(&published);
        let begin = |line: &&str| line.trim_start().starts_with("<component ") || line.trim_start().starts_with("<artifact ");
        let named: Vec<&str> = text.lines().filter(begin).map(str::trim_start).collect();
        assert_eq!(
            named,
            [
                r#"<component group="org.example" name="demo" version="1.0">"#,
                r#"<artifact name="demo-1.0.jar">"#,
                r#"<artifact name="demo-1.0.pom">"#,
                r#"<component group="org.example" name="other" version="2+a~b">"#,
                r#"<artifact name="other-2+a~b.jar">"#,
            ]
        );
        let (network, sha256) = (published.network, published.files[2].sha256);
        assert!(text.contains(&format!(r#"<sha256 value="{sha256}" origin="Pyrsia network {network}, block 5"/>"#)), "{text}");
    }

    #[test]
    fn the_end_of_a_value_is_where_its_quote_is() {
        assert_eq!(attribute(r#"a"><b c='&'"#), "a&quot;>&lt;b c='&amp;'");
    }
}
