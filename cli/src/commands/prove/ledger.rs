//! A proof out of a ledger on this machine: a data folder, a ledger folder or an exported log, each block of which is checked.

use super::super::compare;
use super::super::log::{checked as log, open_ledger, refused as damaged};
use super::{Asked, FAILED, Proved, at_risk, checked, only_artifact};
use crate::arguments::{ProofFormat, ProveOptions, VerifierSource};
use crate::exit::{Failure, chain};
use pyrsia_ledger::log::export::ExportedBlocks;
use pyrsia_ledger::log::{LedgerReader, SoundBlocks, StoredTree};
use pyrsia_ledger::publication_proof::{ProveError, prove as prove_build};
use pyrsia_ledger::{ArtifactId, BuildId, NetworkId, PackageCoordinate, Projections};
use pyrsia_node::verification::newest_publication;
use std::io;
use std::path::Path;

pub(super) fn prove(path: &Path, asked: &Asked, options: &ProveOptions, network: Option<NetworkId>) -> Result<Proved, Failure> {
    if options.format == ProofFormat::Slsa {
        let failure = Failure::usage("attestations are signed by the node that makes them, and a ledger has no key");
        return Err(failure.hint("leave --ledger out, so that the running node is asked"));
    }
    let (_scratch, reader) = open_ledger(path)?;
    let Some(mut source) = Source::of(&reader, path)? else { return Err(without_tree(reader, path)) };
    let state = log::of_blocks(FAILED, network, path, SoundBlocks::new(reader), |block| {
        if let Source::File(exported) = &mut source {
            exported.add(block.leaves(), block.bytes.len());
        }
    })?;
    let build = published(&state, asked)?;
    let artifacts = (!options.artifacts.is_empty()).then_some(&options.artifacts[..]);
    let proof = match &source {
        Source::Folder(tree) => prove_build(tree, &state, &build, artifacts),
        Source::File(exported) => prove_build(exported, &state, &build, artifacts),
    };
    let proof = proof.map_err(|error| refused(path, &error))?;
    let shown = checked(&proof, asked, network)?;
    let text = match options.format {
        ProofFormat::TlogProof => tlog_proof(&proof, &only_artifact(asked, options, &shown)?),
        ProofFormat::Proof | ProofFormat::Slsa => proof.to_text(),
    };
    let warnings = state.builds.at_risk(&build).map(|risk| at_risk(risk.height)).into_iter().collect();
    Ok(Proved { proof, shown, text, attested_by: None, warnings })
}

/// What gives single blocks, and paths in the tree.
enum Source {
    Folder(StoredTree),
    /// Knows where the blocks stand once it was told of each.
    File(ExportedBlocks),
}

impl Source {
    /// None where a folder has no tree beside its blocks.
    fn of(reader: &LedgerReader, path: &Path) -> Result<Option<Self>, Failure> {
        let Some(file) = reader.file() else { return Ok(reader.tree().cloned().map(Self::Folder)) };
        let unreadable = |error: io::Error| Failure::because(&format!("{FAILED}: {} cannot be read", path.display()), &error);
        if !file.metadata().map_err(unreadable)?.is_file() {
            let failure = Failure::new(format!("{FAILED}: {} is no file, and a proof takes reading it twice", path.display()));
            return Err(failure.hint("write the log to a file first"));
        }
        Ok(Some(Self::File(ExportedBlocks::new(file.try_clone().map_err(unreadable)?))))
    }
}

/// Why nothing can be proved out of a folder with no tree: where its database cannot be opened, that is the reason.
fn without_tree(reader: LedgerReader, path: &Path) -> Failure {
    if let Some(Err(error)) = SoundBlocks::new(reader).next() {
        return damaged(FAILED, path, &error);
    }
    let failure = Failure::new(format!("{FAILED}: the tree that a node keeps beside its blocks is missing"));
    failure.hint(format!("'pyrsia log export {} FILE' writes a file to prove from", path.display()))
}

pub(super) fn tlog_proof(proof: &pyrsia_ledger::publication_proof::PublicationProof, artifact: &ArtifactId) -> String {
    proof.tlog_proof(artifact).expect("the artifact is one of the proof")
}

fn published(state: &Projections, asked: &Asked) -> Result<BuildId, Failure> {
    let as_of = format!("as of block {}", state.height());
    match asked {
        Asked::Bytes(sha256) => match state.packages.digest(sha256) {
            Some((_, record)) => Ok(record.build_id),
            None => Err(Failure::new(format!("{FAILED}: nothing with sha256 {sha256} is published, {as_of}"))),
        },
        Asked::Package { package_type, package } => {
            let written = PackageCoordinate::new(package_type, package).ok();
            let build = written.and_then(|coordinate| newest_publication(state, &coordinate));
            let build = match build {
                Some(build) => Some(build),
                None => newest_publication(state, &canonical(package_type, package)?),
            };
            build.ok_or_else(|| {
                let failure = Failure::new(format!("{FAILED}: {package_type} {package} is not published, {as_of}"));
                failure.hint(format!("'pyrsia build {package_type} {package} --wait' asks the running node for a build"))
            })
        }
    }
}

/// As the verifier of its type writes it: the ledger knows no other form.
fn canonical(package_type: &str, package: &str) -> Result<PackageCoordinate, Failure> {
    let source = VerifierSource { package_type: Some(package_type.to_owned()), verifiers: None, module: None };
    let verifier = compare::load(&source)?;
    let failed = |said: String| Failure::new(format!("{FAILED}: {package} is no {package_type} package: {said}"));
    let parsed = match verifier.parse_coordinate(package) {
        pyrsia_verifiers::Outcome::Done(id) => id,
        pyrsia_verifiers::Outcome::Refused(refusal) => return Err(failed(refusal.to_string())),
        pyrsia_verifiers::Outcome::Abstained(abstention) => return Err(failed(abstention.to_string())),
    };
    PackageCoordinate::new(verifier.description().package_type.as_str(), &parsed).map_err(|error| failed(error.to_string()))
}

fn refused(path: &Path, error: &ProveError) -> Failure {
    let failure = Failure::new(format!("{FAILED}: {}", chain(error)));
    match error {
        ProveError::Missing(_) | ProveError::Source(_) | ProveError::Unsound(_) => {
            failure.hint(format!("'pyrsia audit {}' shows everything that is wrong", path.display()))
        }
        ProveError::UnknownArtifact { .. } => {
            failure.hint("artifacts are named as 'pyrsia inspect-log' names them, without --artifact all are proved")
        }
        _ => failure,
    }
}
