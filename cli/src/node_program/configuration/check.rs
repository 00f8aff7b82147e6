//! `pyrsia_node config check`: what is wrong with the settings, as far as can be known without starting.
//!
//! Beside each value by itself it looks at values that do not go together, at the folders and the bucket they name, and at `RUST_LOG`.

use super::finding::{Finding, Place, Severity};
use super::layers::Layers;
use crate::exit::chain;
use crate::logging;
use crate::node_program::arguments::NodeArguments;
use crate::node_program::bucket::BucketArguments;
use pyrsia_ledger::policy;
use pyrsia_node::Multiaddr;
use std::fmt;
use std::net::IpAddr;

pub(super) struct Outcome {
    findings: Vec<Finding>,
    file: Option<String>,
}

/// With the names of all variables that are set, and the value of `RUST_LOG`.
pub(super) fn outcome(layers: &Layers, variables: &[String], directives: Option<&str>) -> Outcome {
    let mut findings = layers.findings.clone();
    if let Err(error) = logging::filter(directives, logging::NODE_DEFAULT) {
        findings.push(Finding::error(Place::Variable("RUST_LOG".into()), chain(&error)));
    }
    let known = || layers.settings.iter().map(|setting| setting.variable.as_str());
    for name in variables {
        if let Some(meant) = misspelled(name, known()) {
            let finding = Finding::warning(Place::Variable(name.clone()), "no setting has this variable");
            findings.push(finding.hint(format!("did you mean {meant}?")));
        }
    }
    if !layers.has_errors() {
        match layers.arguments() {
            Ok((arguments, _)) => findings.extend(together(&arguments, layers)),
            // Rules between arguments that the parser itself knows.
            Err(error) => findings.push(Finding::error(Place::Together, sentence(&error))),
        }
    }
    Outcome { findings, file: layers.file.as_ref().map(|path| path.display().to_string()) }
}

/// What the parser says about arguments that do not go together, in one line and without its advice.
fn sentence(error: &clap::Error) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

impl Outcome {
    pub(super) fn is_usable(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Warning)
    }

    pub(super) fn to_json(&self) -> String {
        let findings: Vec<serde_json::Value> = self.findings.iter().map(Finding::to_json).collect();
        let json = serde_json::json!({ "file": self.file, "findings": findings, "usable": self.is_usable() });
        format!("{json:#}\n")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            };
            writeln!(f, "{severity}: {finding}")?;
        }
        let of = self.file.as_ref().map_or_else(|| "no configuration file was named".to_owned(), |file| format!("file: {file}"));
        writeln!(f, "the settings can{} be used ({of})", if self.is_usable() { "" } else { "not" })
    }
}

/// Values that do not go together, and folders that are none.
fn together(arguments: &NodeArguments, layers: &Layers) -> Vec<Finding> {
    let mut findings = Vec::new();
    let warning = |id: &str, problem: &str| Finding::warning(layers.place(id), problem).about(name(layers, id));
    let error = |id: &str, problem: String| Finding::error(layers.place(id), problem).about(name(layers, id));
    let folders = arguments.folders.folders();
    if folders.is_missing() {
        let problem = format!("{} is no folder", folders.artifact_path.display());
        findings.push(error("artifact_path", problem).hint("create it, or set dev_mode to have it created"));
    }
    for (id, path) in folders.by_argument() {
        let is_file_wanted = id == "keypair";
        let is_other = if is_file_wanted { path.is_dir() } else { path.exists() && !path.is_dir() };
        if is_other && !(id == "artifact_path" && folders.is_missing()) {
            let (found, wanted) = if is_file_wanted { ("a folder", "a file") } else { ("a file", "a folder") };
            findings.push(error(id, format!("{} is {found}, where {wanted} is wanted", path.display())));
        }
    }
    if let Some(listen) = arguments.listen.iter().find(|listen| is_same_port(listen, arguments.host, arguments.port)) {
        let problem = format!("{listen} takes the port of the HTTP side, {}", arguments.port);
        findings.push(error("listen", problem));
    }
    if arguments.listen_only && !(arguments.peer.is_empty() && arguments.bootstrap_url.is_none()) {
        findings.push(warning("listen_only", "nobody is dialed: peer and bootstrap_url have no effect"));
    }
    if !arguments.init_blockchain && layers.is_given("network_name") {
        findings.push(warning("network_name", "only a network that is founded takes this name, and init_blockchain is off"));
    }
    if arguments.init_blockchain && arguments.network_id.is_some() {
        findings.push(if folders.has_no_ledger() {
            error("network_id", "a network that this node founds has another id, so that it is not founded".to_owned())
        } else {
            warning("network_id", "where the ledger's folder holds no network, none is founded: it would have another id")
        });
    }
    if arguments.init_blockchain
        && folders.has_no_ledger()
        && let Err(refusal) = policy::network_name(&arguments.network_name)
    {
        findings.push(error("network_name", chain(&refusal)));
    }
    if let Some(Err(problem)) = arguments.bucket.bucket().map(|bucket| bucket.check()) {
        findings.push(error(BucketArguments::wrong_argument(&problem), chain(&problem)));
    }
    findings
}

fn name(layers: &Layers, id: &str) -> String {
    layers.settings.iter().find(|setting| setting.id == id).map_or_else(|| id.to_owned(), |setting| setting.name())
}

/// Whether a node's own address takes the TCP port of the HTTP side.
fn is_same_port(listen: &Multiaddr, host: IpAddr, port: u16) -> bool {
    let text = listen.to_string();
    let parts: Vec<&str> = text.split('/').collect();
    let ["", "ip4" | "ip6", ip, "tcp", listen_port, ..] = parts.as_slice() else { return false };
    let (Ok(ip), Ok(listen_port)) = (ip.parse::<IpAddr>(), listen_port.parse::<u16>()) else { return false };
    let is_same_host = ip == host || ip.is_ipv4() == host.is_ipv4() && (ip.is_unspecified() || host.is_unspecified());
    port != 0 && port == listen_port && is_same_host
}

/// What a variable was probably meant to be called. Only what is one slip away is said: other programs have variables that
/// begin alike.
fn misspelled<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    const SLIPS_MAX: usize = 2;
    let is_theirs = !name.starts_with("PYRSIA_") || known.clone().any(|known| known == name);
    if is_theirs { None } else { known.into_iter().find(|known| strsim::damerau_levenshtein(name, known) <= SLIPS_MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::path::PathBuf;

    fn check(line: &str) -> Outcome {
        let line = format!("pyrsia_node {line} config check");
        outcome(
            &Layers::gather(line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect(), &|_| None).unwrap(),
            &[],
            None,
        )
    }

    fn said(line: &str) -> String {
        check(line).to_string()
    }

    #[test]
    fn settings_that_do_not_go_together_are_named() {
        assert!(check("").is_usable() && check("").findings.is_empty());
        let clash = said("--port 7888 --listen /ip4/0.0.0.0/tcp/7888");
        assert!(
            clash.contains("error: --listen: network.listen: ")
                && clash.ends_with("cannot be used (no configuration file was named)\n"),
            "{clash}"
        );
        for apart in ["--listen /ip4/0.0.0.0/udp/7888/quic-v1", "--listen /ip6/::1/tcp/7888", "--listen /ip4/192.0.2.1/tcp/7888"]
        {
            assert!(check(apart).findings.is_empty(), "{apart}");
        }
        for (line, word) in
            [("--listen-only --peer /ip4/192.0.2.1/tcp/1", "no effect"), ("--network-name home", "init_blockchain is off")]
        {
            assert!(check(line).is_usable() && said(line).contains("warning: ") && said(line).contains(word), "{}", said(line));
        }
    }

    #[test]
    fn a_node_does_not_found_a_network_that_it_was_told_the_id_of_or_that_cannot_have_its_name() {
        let ledger = tempfile::tempdir().unwrap();
        let pinned = format!("--init-blockchain --blockchain-path {} --network-id {}", ledger.path().display(), "ab".repeat(32));
        let named = |name: &str| format!("--init-blockchain --blockchain-path {} --network-name {name}", ledger.path().display());
        assert!(check(&named("home")).findings.is_empty(), "{}", said(&named("home")));
        for (line, setting) in [(&pinned, "ledger.network_id: "), (&named(&"x".repeat(100_000)), "ledger.network_name: ")] {
            assert!(!check(line).is_usable() && said(line).contains(setting), "{}", said(line));
        }
        std::fs::write(ledger.path().join("blocks"), "").unwrap();
        assert!(check(&pinned).is_usable() && said(&pinned).contains("warning: "), "{}", said(&pinned));
    }

    #[test]
    fn a_bucket_that_no_node_starts_with_is_named_with_the_setting_to_blame() {
        for (line, setting) in [
            ("--bucket-url ftp://name", "bucket.bucket_url: "),
            ("--bucket-url s3://key:hunter2@name", "bucket.bucket_url: "),
            ("--bucket-url gs://name --bucket-region here", "bucket.bucket_url: "),
            ("--bucket-url file:///no/such/folder/here", "bucket.bucket_url: "),
            ("--bucket-url s3://name --bucket-endpoint http://registry.example", "bucket.bucket_endpoint: "),
            ("--bucket-url s3://name --bucket-endpoint https://key:hunter2@registry.example", "bucket.bucket_url: "),
            ("--bucket-url s3://name --bucket-credentials /no/such/file", "bucket.bucket_credentials: "),
        ] {
            let said = said(line);
            assert!(!check(line).is_usable() && said.contains(setting) && !said.contains("hunter2"), "{line}: {said}");
        }
        let usable = "--bucket-url s3://name --bucket-endpoint https://registry.example";
        assert!(check(usable).findings.is_empty(), "{}", said(usable));
    }

    #[test]
    fn directives_of_rust_log_that_are_none_are_an_error() {
        let layers = Layers::gather(vec!["pyrsia_node".into()], &|_| None).unwrap();
        for (directives, is_usable) in [("pyrsia=debug,libp2p=info", true), (" ", true), ("pyrsia=loud", false)] {
            let outcome = outcome(&layers, &[], Some(directives));
            assert_eq!(outcome.is_usable(), is_usable, "{outcome}");
            assert_eq!(outcome.to_string().contains("environment variable RUST_LOG: "), !is_usable, "{outcome}");
        }
    }

    #[test]
    fn folders_that_are_none_are_named() {
        let root = tempfile::tempdir().unwrap();
        let (file, missing): (PathBuf, PathBuf) = (root.path().join("file"), root.path().join("missing"));
        std::fs::write(&file, "").unwrap();
        let line = format!("--artifact-path {}", missing.display());
        assert!(said(&line).contains("is no folder\n  hint: "), "{}", said(&line));
        assert!(check(&format!("{line} --dev-mode")).is_usable());
        let line = format!("--blockchain-path {} --keypair {}", file.display(), root.path().display());
        assert_eq!(check(&line).findings.len(), 2, "{}", said(&line));
    }

    #[test]
    fn a_variable_one_slip_away_is_recognized_and_those_of_other_programs_are_not() {
        let layers = Layers::gather(vec!["pyrsia_node".into()], &|_| None).unwrap();
        let names = ["PYRSIA_ARTEFACT_PATH", "PYRSIA_ADMIN_TOKEN", "PYRSIA_PORT", "PYRSIA_CONFIG", "PATH"].map(str::to_owned);
        let outcome = outcome(&layers, &names, None);
        assert!(outcome.is_usable() && outcome.findings.len() == 1, "{outcome}");
        assert!(outcome.to_string().contains("did you mean PYRSIA_ARTIFACT_PATH?"), "{outcome}");
    }
}
