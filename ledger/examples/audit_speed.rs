//! How fast an audit is on one core, beside what its signatures and one hash of its bytes alone take in the same run.
//!
//! `cargo run --release -p pyrsia-ledger --example audit_speed [EVENTS]`
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement takes a clock; the ledger has none")]

use ed25519_dalek::SigningKey;
use pyrsia_ledger::audit::{Audit, SignatureWork};
use pyrsia_ledger::certificate::{VoteKind, vote_bytes};
use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, BuiltArtifact,
    NodeActivated, NodeAuthorizationApproved, VerifierApproved, commitment,
};
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::signed::{node_id_of, sign};
use pyrsia_ledger::{
    ArtifactId, BuildId, CommitCertificate, Event, NodeId, PackageCoordinate, PackageType, Projections, Purpose, SealedBlock,
    Sha256Digest, SignedEvent, UnsignedEvent,
};
use std::collections::BTreeMap;
use std::error::Error;
use std::time::Instant;

const MEMBERS: usize = 4;
/// Each package takes a request, a commitment and a result of each member, and an artifact: 10 events.
const PACKAGES_PER_BLOCK: u64 = 100;

struct Network {
    keys: Vec<SigningKey>,
    state: Projections,
    log: Vec<Vec<u8>>,
    /// Events of each author that wait for the next block.
    waiting: BTreeMap<NodeId, u64>,
    events: Vec<SignedEvent>,
}

impl Network {
    fn found() -> Result<Self, Box<dyn Error>> {
        let keys: Vec<SigningKey> = (1..=MEMBERS as u8).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let sealed = genesis(&keys[0], "speed", [0; 32], 1);
        let state = Projections::from_genesis(&sealed)?;
        let mut network = Self { keys, state, log: vec![sealed.encode()], waiting: BTreeMap::new(), events: vec![] };
        let package_type = PackageType::new("docker")?;
        network.add(0, Event::VerifierApproved(VerifierApproved { package_type, module: module(), contract_version: 1 }));
        for candidate in 0..MEMBERS {
            let node = node_id_of(&network.keys[candidate]);
            for author in 0..if candidate == 0 { 1 } else { candidate / 2 + 1 } {
                network.add(author, Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node }));
            }
            network.seal()?;
            let (recent_height, recent_block) = (network.state.height().0, network.state.tip().0);
            network.add(candidate, Event::NodeActivated(NodeActivated { recent_height, recent_block }));
            network.seal()?;
        }
        Ok(network)
    }

    fn add(&mut self, author: usize, event: Event) {
        let key = &self.keys[author];
        let node = node_id_of(key);
        let waiting = self.waiting.entry(node).or_default();
        let sequence = self.state.next_sequence(&node) + *waiting;
        *waiting += 1;
        self.events.push(SignedEvent::new(key, UnsignedEvent::new(*self.state.network(), node, sequence, 1, event)));
    }

    fn seal(&mut self) -> Result<(), Box<dyn Error>> {
        let proposal = self.state.propose(self.state.validators().nodes()[0], 0, &self.events);
        if let Some((_, refusal)) = proposal.refused.first() {
            return Err(refusal.to_string().into());
        }
        let (height, hash) = (proposal.block.height(), proposal.block.hash());
        let message = vote_bytes(VoteKind::Precommit, height, 0, Some(hash));
        let validators = self.state.validators();
        let mut signatures: Vec<_> = self
            .keys
            .iter()
            .filter(|key| validators.contains(&node_id_of(key)))
            .map(|key| (node_id_of(key), sign(key, Purpose::Vote, self.state.network(), &message)))
            .collect();
        signatures.sort();
        let certificate = CommitCertificate { height, round: 0, block: hash, signatures };
        self.log.push(SealedBlock { block: proposal.block, certificate }.encode());
        self.state = proposal.next;
        self.events.clear();
        self.waiting.clear();
        Ok(())
    }

    fn publish(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        let name = format!("library/package-{number}:1.0");
        let coordinate = PackageCoordinate::new("docker", &name)?;
        let build_id = BuildId::of(self.state.network(), &coordinate, 0);
        let judge = number as usize % MEMBERS;
        let request = BuildRequested { build_id, coordinate: coordinate.clone(), attempt: 0, verifier: module(), source: None };
        self.add(judge, Event::BuildRequested(request));
        let digest = Sha256Digest::of(name.as_bytes());
        let artifact = BuiltArtifact {
            artifact_id: ArtifactId::new(name)?,
            media_type: "application/vnd.oci.image.manifest.v1+json".into(),
            size_bytes: 528,
            sha256: digest,
            canonical: digest,
            chunk_root: digest,
        };
        let source =
            BuildSource { kind: "git".into(), location: "https://git.example/package".into(), revision: digest.to_string() };
        let outcome = BuildOutcome::Built { source, artifacts: vec![artifact.clone()] };
        let salt = [7; 32];
        for judge in 0..MEMBERS {
            let author = node_id_of(&self.keys[judge]);
            let commitment = commitment(self.state.network(), &build_id, &author, &salt, &outcome);
            self.add(judge, Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }));
        }
        for judge in 0..MEMBERS {
            let revealed = BuildResultRevealed { build_id, outcome: outcome.clone(), salt };
            self.add(judge, Event::BuildResultRevealed(revealed));
        }
        self.add(judge, Event::AddArtifact(AddArtifact { build_id, coordinate, artifact }));
        Ok(())
    }
}

fn module() -> Sha256Digest {
    Sha256Digest::of(b"module")
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted: u64 = std::env::args().nth(1).map_or(Ok(50_000), |text| text.parse())?;
    let mut network = Network::found()?;
    let mut number = 0;
    while network.state.tree_size() < wanted {
        for _ in 0..PACKAGES_PER_BLOCK {
            network.publish(number)?;
            number += 1;
        }
        network.seal()?;
    }

    let (mut audit, mut work) = (Audit::new(None), vec![]);
    let begin = Instant::now();
    for (position, raw) in network.log.iter().enumerate() {
        audit.feed(pyrsia_ledger::Height(position as u64), raw);
        work.extend(audit.take_work());
    }
    let folding = begin.elapsed();
    let begin = Instant::now();
    let reports: Vec<_> = work.iter().map(SignatureWork::verify).collect();
    let verifying = begin.elapsed();
    let signatures: usize = work.iter().map(SignatureWork::len).sum();
    let begin = Instant::now();
    let mut sum = 0u8;
    for raw in &network.log {
        sum ^= Sha256Digest::of(raw).as_bytes()[0];
    }
    let hashing = begin.elapsed();
    let report = audit.finish(reports);
    if !report.clean {
        return Err("the audit of a sound log is not clean".into());
    }

    let (events, limit, whole) = (report.summary.events as f64, hashing + verifying, folding + verifying);
    println!("{events} events in {} blocks, {signatures} signatures, on one core (check byte {sum:02x})", report.summary.blocks);
    println!("hashing    {hashing:?}");
    println!("verifying  {verifying:?}, {:.1} us for each signature", verifying.as_micros() as f64 / signatures as f64);
    println!("folding    {folding:?}, {:.1} us for each event", folding.as_micros() as f64 / events);
    println!("limit      {limit:?}, {:.0} events/s", events / limit.as_secs_f64());
    println!("audit      {whole:?}, {:.0} events/s", events / whole.as_secs_f64());
    println!("ratio      {:.0} %", 100.0 * limit.as_secs_f64() / whole.as_secs_f64());
    Ok(())
}
