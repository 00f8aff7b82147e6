//! `pyrsia settings`: what to write into the settings of a client so that it asks this node, and what that can and cannot enforce.
//!
//! What is written is data, one file for each client in `cli/clients`; a client is added by adding its file.

use super::{print, settings};
use crate::arguments::SettingsArguments;
use crate::exit::Failure;
use crate::settings::is_host;
use crate::terminal::visible;
use serde::Deserialize;
use std::io::{self, Write};
use url::{Host, Url};

/// Each client's name, and its file.
const CLIENTS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/clients.rs"));
/// Stands for the note, as comments, on a line of its own.
const NOTE: &str = "{note}";
/// Begins a line that is there only for a node without TLS.
const HTTP_ONLY: &str = "{http}";

/// The file of a client. In its texts `{url}` is the address of the node, and `{authority}` its host and port.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    /// Where the text belongs.
    file: String,
    /// What surrounds a comment in it; none where it can have no comments.
    comment: Option<[String; 2]>,
    /// What the settings can and cannot enforce.
    note: String,
    text: String,
}

pub(super) fn run(arguments: SettingsArguments) -> Result<(), Failure> {
    let url = arguments.url.map_or_else(|| settings().map(|settings| settings.node_url()), Ok)?;
    let Some(name) = arguments.client else {
        let all: Vec<String> = CLIENTS.iter().map(|(name, file)| section(name, &client(file), &url)).collect();
        return print(&all.join("\n"));
    };
    let (_, file) = CLIENTS.iter().find(|(known, _)| *known == name).expect("the command line has taken the name");
    let client = client(file);
    if client.comment.is_none() {
        // Where nobody reads stderr, the text is still what was asked for.
        let _ = writeln!(io::stderr(), "{}", visible(&filled(&client.note, &url)));
    }
    print(&client.text(&url))
}

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CLIENTS.iter().map(|(name, _)| *name)
}

/// `scheme://host[:port]`: whatever else a URL can have would not survive in every client's settings.
pub(crate) fn base_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("it is no URL: {error}"))?;
    let is_plain_host = match url.host() {
        Some(Host::Domain(name)) => is_host(name),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    let has_more = !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    match url.scheme() {
        "http" | "https" if is_plain_host && !has_more && url.path() == "/" => Ok(url.as_str().trim_end_matches('/').to_owned()),
        _ => Err("it is http or https, a host and perhaps a port, such as https://node.example".to_owned()),
    }
}

fn client(file: &str) -> Client {
    toml::from_str(file).expect("the files of clients are tested")
}

/// One of all: with a heading, and with the note above it where it can have none inside.
fn section(name: &str, client: &Client, url: &str) -> String {
    let note = if client.comment.is_some() { String::new() } else { format!("{}\n\n", filled(&client.note, url)) };
    format!("== {name}: {}\n\n{note}{}", client.file, client.text(url))
}

impl Client {
    fn text(&self, url: &str) -> String {
        let mut text = String::new();
        for line in self.text.lines() {
            let line = match line.strip_prefix(HTTP_ONLY) {
                Some(_) if !url.starts_with("http:") => continue,
                Some(line) => line.to_owned(),
                None if line == NOTE => self.comments(),
                None => line.to_owned(),
            };
            text.push_str(&line);
            text.push('\n');
        }
        filled(&text, url)
    }

    fn comments(&self) -> String {
        let [open, close] = self.comment.as_ref().expect("the files of clients are tested");
        self.note.lines().map(|line| format!("{open}{line}{close}")).collect::<Vec<_>>().join("\n")
    }
}

fn filled(text: &str, url: &str) -> String {
    let authority = url.split_once("://").map_or(url, |(_, authority)| authority);
    text.replace("{url}", url).replace("{authority}", authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, url: &str) -> String {
        let (_, file) = CLIENTS.iter().find(|(known, _)| *known == name).expect("a client");
        client(file).text(url)
    }

    #[test]
    fn every_client_has_a_text_that_names_the_node_and_a_note_in_a_place_of_its_own() {
        assert!(names().is_sorted() && names().count() > 0);
        for (name, file) in CLIENTS {
            let client = client(file);
            let text = client.text("http://node.example:7889");
            assert!(text.contains("node.example:7889") && text.ends_with('\n'), "{name}: {text}");
            assert!(!["{note}", "{http}", "{url}", "{authority}"].iter().any(|word| text.contains(word)), "{name}: {text}");
            assert_eq!(client.comment.is_some(), client.text.lines().any(|line| line == NOTE), "{name}");
            // What ends a comment of XML early.
            assert!(!client.note.contains("--"), "{name}");
            for line in client.note.lines() {
                assert_eq!(client.comment.is_some(), text.contains(line), "{name}: {text}");
                assert!(section(name, &client, "http://[::1]:7888").contains(&filled(line, "http://[::1]:7888")), "{name}");
            }
        }
    }

    #[test]
    fn plain_http_is_allowed_only_where_the_node_speaks_it() {
        for name in ["gradle", "gradle-kts", "docker", "podman", "skopeo"] {
            let (plain, tls) = (text(name, "http://node.example"), text(name, "https://node.example"));
            assert!(plain.to_lowercase().contains("insecure") && !tls.to_lowercase().contains("insecure"), "{name}: {tls}");
        }
        for url in ["http://10.0.0.1:7888", "https://node.example"] {
            let daemon: serde_json::Value = serde_json::from_str(&text("docker", url)).expect("JSON, whatever it has");
            assert_eq!(daemon["registry-mirrors"][0], url);
            for name in ["podman", "skopeo", "containerd", "docker-containerd"] {
                toml::from_str::<toml::Table>(&text(name, url)).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }

    #[test]
    fn only_a_scheme_a_host_and_a_port_can_stand_in_every_settings_file() {
        for (given, taken) in [
            ("https://node.example", "https://node.example"),
            ("HTTP://Node.Example:80/", "http://node.example"),
            ("http://[::1]:7888", "http://[::1]:7888"),
        ] {
            assert_eq!(base_url(given).as_deref(), Ok(taken), "{given}");
        }
        for wrong in [
            "",
            "node.example",
            "ftp://node.example",
            "http://node.example/path",
            "http://node.example/?a",
            "http://node.example/#a",
            "http://user@node.example",
            "http://:secret@node.example",
            "http://a'b",
            "http://a\"b",
            "http://a&b",
            "http://a{b}",
            "http:///",
        ] {
            assert!(base_url(wrong).is_err(), "{wrong}: {:?}", base_url(wrong));
        }
    }
}
