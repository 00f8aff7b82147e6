//! `pyrsia prove`: a file that shows to whoever trusts the network that a package is published, and who stands for it.
//!
//! It is made by the running node, or of a ledger on this machine. Either is believed no more than the other: what is written was
//! checked here first, as 'pyrsia verify' checks it.

mod bundle;
mod ledger;
mod served;

use super::export::destination;
use super::verify::pinned;
use super::{on_this_thread, print};
use crate::arguments::{ProofFormat, ProveArguments, ProveCommand, ProveOptions};
use crate::exit::{Failure, chain};
use crate::terminal::visible;
use pyrsia_ledger::publication_proof::{PublicationProof, Verified};
use pyrsia_ledger::{ArtifactId, NetworkId, NodeId, Sha256Digest};
use std::io::{self, Write};

const FAILED: &str = "the publication cannot be proved";
/// What stands near the beginning of every file this command writes: such a file may be replaced.
const MARKS: [&str; 3] =
    ["\"format\": \"pyrsia-proof/", "c2sp.org/tlog-proof@", "\"payloadType\":\"application/vnd.in-toto+json\""];

/// What is to be proved.
enum Asked {
    /// A package, by the words of the command line.
    Package {
        package_type: String,
        package: String,
    },
    Bytes(Sha256Digest),
}

/// A proof that holds, with what it shows.
struct Proved {
    proof: PublicationProof,
    shown: Verified,
    /// In which form it is written.
    text: String,
    /// Who signed the attestations, where the text is that.
    attested_by: Option<NodeId>,
    /// What whoever is given it should know.
    warnings: Vec<String>,
}

pub(super) fn run(arguments: ProveArguments) -> Result<(), Failure> {
    let (asked, options) = asked(arguments);
    let (network, _) = pinned(options.network, false)?;
    let proved = match &options.ledger {
        Some(ledger) => ledger::prove(ledger, &asked, &options, network)?,
        None => on_this_thread(served::prove(&asked, &options, network))?,
    };
    for warning in &proved.warnings {
        tell(&format!("warning: {warning}"));
    }
    match &options.output {
        Some(file) => {
            destination::replace(file, &proved.text, &MARKS, options.force)?;
            tell(&format!("{} has {}", file.display(), in_words(&proved, options.format)));
        }
        None => {
            print(&proved.text)?;
            tell(&in_words(&proved, options.format));
        }
    }
    Ok(())
}

/// The command line has each of the words, however it was written.
fn asked(arguments: ProveArguments) -> (Asked, ProveOptions) {
    let ProveArguments { command, package_type, coordinate, sha256, options } = arguments;
    let of_type = |package_type: &str, package: Option<String>| Asked::Package {
        package_type: package_type.to_owned(),
        package: package.unwrap_or_default(),
    };
    match command {
        Some(ProveCommand::Docker { image, coordinate, options }) => (of_type("docker", image.or(coordinate)), options),
        Some(ProveCommand::Maven { gav, coordinate, options }) => (of_type("maven", gav.or(coordinate)), options),
        None => match sha256 {
            Some(sha256) => (Asked::Bytes(sha256), options),
            None => (of_type(&package_type.unwrap_or_default(), coordinate), options),
        },
    }
}

/// What a proof shows, if it holds and is about what was asked for.
fn checked(proof: &PublicationProof, asked: &Asked, network: Option<NetworkId>) -> Result<Verified, Failure> {
    let shown = proof
        .verify(network)
        .map_err(|error| Failure::new(format!("{FAILED}: the proof that was made does not hold: {}", chain(&error))))?;
    match asked {
        Asked::Bytes(sha256) if shown.artifacts.iter().all(|proved| proved.artifact.sha256 != *sha256) => {
            Err(Failure::new(format!("{FAILED}: the proof that was made is not about sha256 {sha256}")))
        }
        Asked::Bytes(_) | Asked::Package { .. } => Ok(shown),
    }
}

/// The one artifact that a proof for programs that know nothing of packages is of.
fn only_artifact(asked: &Asked, options: &ProveOptions, shown: &Verified) -> Result<ArtifactId, Failure> {
    if let [one] = &options.artifacts[..] {
        return Ok(one.clone());
    }
    if let [only] = &shown.artifacts[..] {
        return Ok(only.artifact.artifact_id.clone());
    }
    if let Asked::Bytes(sha256) = asked
        && let Some(proved) = shown.artifacts.iter().find(|proved| proved.artifact.sha256 == *sha256)
    {
        return Ok(proved.artifact.artifact_id.clone());
    }
    let known = shown.artifacts.iter().map(|proved| proved.artifact.artifact_id.to_string()).collect::<Vec<_>>().join(", ");
    Err(Failure::usage("a tlog-proof is of one artifact").hint(format!("choose one with --artifact: {known}")))
}

fn in_words(proved: &Proved, format: ProofFormat) -> String {
    let Proved { proof, shown, attested_by, .. } = proved;
    let what = match format {
        ProofFormat::Proof => "the proof".to_owned(),
        ProofFormat::TlogProof => "a proof for clients of transparency logs".to_owned(),
        ProofFormat::Slsa => {
            let signer = attested_by.map_or_else(|| "the node that was asked".to_owned(), |node| format!("node {node}"));
            format!("attestations, signed by {signer},")
        }
    };
    let artifacts = match shown.artifacts.len() {
        1 => "1 artifact is".to_owned(),
        many => format!("{many} artifacts are"),
    };
    format!(
        "{what} of {}: {artifacts} published on network {}, in block {}, with the word of {} of {} build nodes",
        shown.coordinate,
        proof.network(),
        shown.published.height,
        shown.standing,
        shown.judges.len()
    )
}

/// A line on stderr. Where nobody reads it, what was asked for is still written.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(line));
}

fn at_risk(height: impl std::fmt::Display) -> String {
    format!(
        "the build is at risk since block {height}: without nodes whose word counts no more no majority stands behind it. The proof holds, and no node serves the package"
    )
}
