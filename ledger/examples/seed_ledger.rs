//! Gives the founder of a network of one a long history: builds of packages, each judged and published, on its own ledger.
//!
//! `seed_ledger LEDGER_FOLDER KEY_FILE RECORDS`, with the node stopped. For tests and measurements: the packages do not exist.

use ed25519_dalek::SigningKey;
use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, BuiltArtifact, commitment,
};
use pyrsia_ledger::log::BlockLog;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{
    ArtifactId, CommitCertificate, Event, NodeId, PackageCoordinate, PackageType, Projections, SealedBlock, Sha256Digest,
    SignedEvent, UnsignedEvent,
};
use std::error::Error;
use std::path::Path;

const ARTIFACTS_PER_PACKAGE: u64 = 40;
const PACKAGES_PER_BLOCK: u64 = 20;

struct Founder {
    key: SigningKey,
    id: NodeId,
    verifier: Sha256Digest,
    log: BlockLog,
    state: Projections,
    events: Vec<SignedEvent>,
}

impl Founder {
    fn open(folder: &Path, key_file: &Path) -> Result<Self, Box<dyn Error>> {
        let pair = <[u8; 64]>::try_from(std::fs::read(key_file)?).map_err(|_| "the key file does not have 64 bytes")?;
        let key = SigningKey::from_keypair_bytes(&pair)?;
        let (log, state) = BlockLog::open(folder)?;
        let state = state.ok_or("the ledger has no genesis")?;
        let id = node_id_of(&key);
        if state.validators().nodes() != [id] {
            return Err("the key is not that of the only authorized node".into());
        }
        let verifier = state.verifiers.current(&PackageType::new("docker")?).ok_or("the network has no verifier of images")?;
        Ok(Self { key, id, verifier, log, state, events: vec![] })
    }

    fn add(&mut self, event: Event) {
        let sequence = self.state.next_sequence(&self.id) + self.events.len() as u64;
        let unsigned = UnsignedEvent::new(*self.state.network(), self.id, sequence, self.state.time_ms(), event);
        self.events.push(SignedEvent::new(&self.key, unsigned));
    }

    fn publish(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        let name = format!("history/package{number}");
        let coordinate = PackageCoordinate::new("docker", &format!("{name}:1"))?;
        let (attempt, build_id) = (self.state.next_attempt(&coordinate), self.state.next_build_id(&coordinate));
        let artifacts = (0..ARTIFACTS_PER_PACKAGE).map(|place| artifact(&name, place)).collect::<Result<Vec<_>, _>>()?;
        let revision = Sha256Digest::of(name.as_bytes()).to_string();
        let source = BuildSource { kind: "git".into(), location: format!("https://git.example/{name}"), revision };
        let (outcome, salt) = (BuildOutcome::Built { source, artifacts: artifacts.clone() }, [7; 32]);
        let commitment = commitment(self.state.network(), &build_id, &self.id, &salt, &outcome);
        let verifier = self.verifier;
        self.add(Event::BuildRequested(BuildRequested {
            build_id,
            coordinate: coordinate.clone(),
            attempt,
            verifier,
            source: None,
        }));
        self.add(Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }));
        self.add(Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt }));
        for artifact in artifacts {
            self.add(Event::AddArtifact(AddArtifact { build_id, coordinate: coordinate.clone(), artifact }));
        }
        Ok(())
    }

    fn seal(&mut self) -> Result<(), Box<dyn Error>> {
        let proposal = self.state.propose(self.id, self.state.time_ms(), &self.events);
        if let Some((_, refusal)) = proposal.refused.first() {
            return Err(refusal.to_string().into());
        }
        if proposal.block.events.len() != self.events.len() {
            return Err("the events of one block do not fit into it".into());
        }
        let certificate = CommitCertificate::signed(&proposal.block.header, 0, [&self.key]);
        self.log.append(&SealedBlock { block: proposal.block, certificate })?;
        self.state = proposal.next;
        self.events.clear();
        Ok(())
    }
}

fn artifact(name: &str, place: u64) -> Result<BuiltArtifact, Box<dyn Error>> {
    let digest = Sha256Digest::of(format!("{name} {place}").as_bytes());
    Ok(BuiltArtifact {
        artifact_id: ArtifactId::new(format!("{name}@sha256:{digest}"))?,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        size_bytes: 4_096,
        sha256: digest,
        canonical: digest,
        chunk_root: digest,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, key_file, records] = arguments.as_slice() else {
        return Err("usage: seed_ledger LEDGER_FOLDER KEY_FILE RECORDS".into());
    };
    let records: u64 = records.parse()?;
    let mut founder = Founder::open(Path::new(folder), Path::new(key_file))?;
    let packages = records.div_ceil(ARTIFACTS_PER_PACKAGE);
    for number in 0..packages {
        founder.publish(number)?;
        if (number + 1).is_multiple_of(PACKAGES_PER_BLOCK) || number + 1 == packages {
            founder.seal()?;
        }
    }
    println!("{} records of {packages} packages, up to block {}", packages * ARTIFACTS_PER_PACKAGE, founder.state.height());
    Ok(())
}
