//! `pyrsia verify`: whether a file or an image is what a proof shows to be published; without a network, a node or a ledger.
//!
//! Owns whose proofs are believed, what is said, and the exit codes. What a proof shows is said by the ledger's own rules.

mod engine;
mod image;
mod image_files;
mod proven;
mod subject;

use super::{on_this_thread, print, print_json, settings};
use crate::arguments::VerifyArguments;
use crate::exit::{Failure, chain};
use proven::Proven;
use pyrsia_ledger::NetworkId;
use pyrsia_ledger::event::{BuildSource, PinnedSource};
use pyrsia_ledger::publication_proof::{Judge, PROOF_BYTES_MAX, ProofError, PublicationProof, Stand, Verified};
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};
use subject::{Found, Subject};

/// The paragraph of `--help` about the codes.
pub(crate) const EXIT_HELP: &str = "Exit codes:\n  0  verified\n  1  not verified; the reason is on stderr\n  2  the verification could not run; the reason is on stderr";

const PROOF_HINT: &str = "name with --proof a file that 'pyrsia prove' wrote";

/// Why nothing was verified.
enum Unverified {
    /// The proof or what was held against it is wrong.
    Refused(Failure),
    CouldNotRun(Failure),
}

/// Who says which network is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PinnedBy {
    CommandLine,
    Settings,
    Nobody,
}

#[derive(Serialize)]
struct Answer {
    verified: bool,
    subject: Subject,
    pinned_by: PinnedBy,
    proof: Verified,
}

pub(super) fn run(arguments: VerifyArguments) -> Result<(), Failure> {
    let printed = match on_this_thread(async { Ok(check(&arguments).await) }).map_err(Failure::as_could_not_run)? {
        Ok(answer) if arguments.output.json => print_json(&answer),
        Ok(answer) => print(&in_words(&answer)),
        Err(Unverified::CouldNotRun(failure)) => return Err(failure.as_could_not_run()),
        Err(Unverified::Refused(failure)) => {
            if arguments.output.json {
                print_json(&json!({ "verified": false, "reason": failure.to_string() })).map_err(Failure::as_could_not_run)?;
            }
            return Err(failure);
        }
    };
    printed.map_err(Failure::as_could_not_run)
}

async fn check(arguments: &VerifyArguments) -> Result<Answer, Unverified> {
    let shown = arguments.proof.display();
    let unreadable =
        |error: io::Error| Unverified::CouldNotRun(Failure::because(&format!("{shown} cannot be read"), &error).hint(PROOF_HINT));
    let text = read(&arguments.proof).map_err(unreadable)?;
    let (pinned, pinned_by) = pinned(arguments.network, arguments.any_network).map_err(Unverified::CouldNotRun)?;
    let verified = PublicationProof::parse(&text).and_then(|proof| proof.verify(pinned));
    let proof = verified.map_err(|error| {
        let failure = Failure::new(format!("not verified: {shown} proves nothing here: {}", chain(&error)));
        Unverified::Refused(if let ProofError::Format(_) = error { failure.hint(PROOF_HINT) } else { failure })
    })?;
    if pinned_by == PinnedBy::Nobody && !arguments.any_network {
        return Err(Unverified::Refused(nobody_trusted(&proof)));
    }
    let proven = Proven::of(proof.artifacts.iter().map(|proved| {
        let artifact = &proved.artifact;
        (artifact.sha256, artifact.artifact_id.to_string())
    }));
    let subject = subject::check(&arguments.subject, &proven).await.map_err(|error| {
        if error.could_not_run() {
            return Unverified::CouldNotRun(Failure::new(chain(&error)));
        }
        let failure = Failure::new(format!("not verified: {}; the proof is of {}", chain(&error), proof.coordinate));
        Unverified::Refused(match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        })
    })?;
    Ok(Answer { verified: true, subject, pinned_by, proof })
}

/// A file that is longer than a proof can be is cut off where that shows.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = vec![];
    File::open(path)?.take(PROOF_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The one network that is trusted, by the command line or else by the settings.
pub(super) fn pinned(given: Option<NetworkId>, any: bool) -> Result<(Option<NetworkId>, PinnedBy), Failure> {
    if any {
        return Ok((None, PinnedBy::Nobody));
    }
    if let Some(network) = given {
        return Ok((Some(network), PinnedBy::CommandLine));
    }
    let network = settings()?.pinned_network();
    Ok((network, if network.is_some() { PinnedBy::Settings } else { PinnedBy::Nobody }))
}

fn nobody_trusted(proof: &Verified) -> Failure {
    let Verified { network, network_name, .. } = proof;
    let sentence = format!(
        "not verified: the proof holds for network {network}, which calls itself {network_name:?}, and no network is trusted here; anybody can found one"
    );
    Failure::new(sentence).hint(format!(
        "if that is the id its operators tell you, say so: '--network {network}', or for good 'pyrsia config -e --network {network}'"
    ))
}

fn in_words(answer: &Answer) -> String {
    let Answer { subject, pinned_by, proof, .. } = answer;
    let mut text = format!("Verified: {}\n\n", found(subject));
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    let trusted = match pinned_by {
        PinnedBy::CommandLine => "the one of --network",
        PinnedBy::Settings => "the one of 'pyrsia config'",
        PinnedBy::Nobody => "NOT pinned: anybody can found a network that says this",
    };
    line("package", proof.coordinate.to_string());
    line("artifact", subject.artifact.clone());
    line("sha256", subject.sha256.to_string());
    line("network", format!("{} ({:?}), {trusted}", proof.network, proof.network_name));
    line("published", format!("in block {}, {}", proof.published.height, time(proof.published.time_ms)));
    line("built from", source(&proof.source));
    let Verified { standing, needed, .. } = proof;
    line("agreed", format!("{standing} of {} build nodes, of whom it takes {needed}", proof.judges.len()));
    for judge in &proof.judges {
        line("", format!("{} {}", judge.node, stand(judge)));
    }
    line("final by", format!("{} of {} validators", proof.cosigners.len(), proof.validators));
    for node in &proof.cosigners {
        line("", node.to_string());
    }
    let _ = write!(
        text,
        "\nThis holds as of block {}. What came after no proof shows, such as that the package came to be at risk: \
         'pyrsia inspect-log {}' asks a node.\n",
        proof.published.height, proof.coordinate
    );
    text
}

fn found(subject: &Subject) -> String {
    let Subject { found, name, sha256, .. } = subject;
    match found {
        Found::File => format!("{name} is published"),
        Found::Image { configurations, layers, absent, uncompressed } => {
            let with = if *uncompressed { "configuration, which names its uncompressed layers" } else { "manifest" };
            let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            let elsewhere =
                if *absent == 0 { String::new() } else { format!("; {} it names lie elsewhere", count(*absent, "file")) };
            let files = format!("{} and {}", count(*configurations, "configuration"), count(*layers, "layer"));
            format!("the image in {name} is published, by its {with}: {files} have their digests{elsewhere}")
        }
        Found::Digest => format!("sha256:{sha256} is published; there were no bytes to look at"),
        Found::LocalImage { engine } => {
            format!("{name} is sha256:{sha256}, by the word of {engine}, and published; what lies in its store was not looked at")
        }
    }
}

fn source(source: &BuildSource) -> String {
    let BuildSource { kind, location, revision } = source.clone();
    PinnedSource { kind, location, revision, tree: None }.to_string()
}

fn stand(judge: &Judge) -> &'static str {
    match judge.stand {
        Stand::Same => "built the same, to the last bit",
        Stand::SameAfterPasses => "looked at these bytes and vouches for them",
        Stand::SameByItsWord => "built the same but for noise, and did not vouch for these bytes",
        Stand::Other => "built something else",
        Stand::Failed => "could not build it",
        Stand::Abstained => "came to no result",
        Stand::Late => "showed a result that does not count",
        Stand::Left => "was authorized no more",
        Stand::Silent => "is not shown to have said anything",
    }
}

fn time(time_ms: u64) -> String {
    let mut text = String::new();
    // A time that no calendar has is shown as it stands.
    match write!(text, "{}", humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(time_ms))) {
        Ok(()) => text,
        Err(_) => format!("{time_ms} ms after the epoch"),
    }
}
