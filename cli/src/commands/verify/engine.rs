//! Asks the docker or podman of this machine which image it has under a name.
//!
//! It is the engine's word: what lies in its store is not looked at.

use super::image;
use pyrsia_ledger::Sha256Digest;
use serde::Deserialize;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::process::Command;

const ENGINES: [&str; 2] = ["docker", "podman"];
/// An engine that does not answer by then is not waited for.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(30);
/// What is quoted of an engine's complaint.
const QUOTED_CHARS_MAX: usize = 200;

/// What an engine says of an image.
#[derive(Debug)]
pub(super) struct LocalImage {
    pub(super) engine: &'static str,
    /// Of its manifest under each name it was pulled as, of its manifest, and its id.
    pub(super) digests: Vec<Sha256Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    #[serde(default)]
    digest: Option<String>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

/// Of the first engine that has it; what each of them said where none has.
pub(super) async fn inspect(name: &str) -> Result<LocalImage, String> {
    let mut said = vec![];
    for engine in ENGINES {
        match ask(engine, name).await {
            Ok(digests) => return Ok(LocalImage { engine, digests }),
            Err(problem) => said.push(format!("{engine}: {problem}")),
        }
    }
    Err(said.join("; "))
}

async fn ask(engine: &str, name: &str) -> Result<Vec<Sha256Digest>, String> {
    let mut command = Command::new(engine);
    command.args(["image", "inspect", name]).stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout, stderr } = match tokio::time::timeout(ENGINE_TIMEOUT, command.output()).await {
        Ok(output) => output.map_err(|error| format!("it cannot be run: {error}"))?,
        Err(_) => return Err(format!("it did not answer within {} s", ENGINE_TIMEOUT.as_secs())),
    };
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        return Err(said.trim().chars().take(QUOTED_CHARS_MAX).collect());
    }
    digests(&stdout).map_err(|error| format!("its answer cannot be understood: {error}"))
}

fn digests(answer: &[u8]) -> Result<Vec<Sha256Digest>, serde_json::Error> {
    let mut found = vec![];
    for image in serde_json::from_slice::<Vec<Inspected>>(answer)? {
        let pulled = image.repo_digests.unwrap_or_default();
        let pulled = pulled.iter().filter_map(|name| name.split_once('@')).map(|(_, digest)| digest);
        found.extend(pulled.chain(image.digest.as_deref()).filter_map(|text| image::digest(text).ok()));
        // Podman leaves out what the digits are of.
        let id = image.id.strip_prefix("sha256:").unwrap_or(&image.id);
        found.extend(id.parse::<Sha256Digest>().ok());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_both_engines_are_understood() {
        let [manifest, config] = [b"manifest", b"config__"].map(|bytes| Sha256Digest::of(bytes));
        let docker = format!("[{{ \"Id\": \"sha256:{config}\", \"RepoDigests\": [\"localhost:7888/a@sha256:{manifest}\"] }}]");
        assert_eq!(digests(docker.as_bytes()).unwrap(), [manifest, config]);
        let podman = format!("[{{ \"Id\": \"{config}\", \"Digest\": \"sha256:{manifest}\", \"RepoDigests\": null }}]");
        assert_eq!(digests(podman.as_bytes()).unwrap(), [manifest, config]);
        assert!(digests(b"{}").is_err());
    }
}
