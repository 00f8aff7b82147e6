//! A network of four validators that builds one package after the other, as fast as it can be signed.
//!
//! Each package is asked for, committed to and revealed by all four, and published as three artifacts (manifest,
//! configuration, layer of an image): twelve events. The packages do not exist; everything the ledger checks is real.

use ed25519_dalek::SigningKey;
use pyrsia_ledger::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, BuiltArtifact,
    NodeActivated, NodeAuthorizationApproved, VerifierApproved, commitment,
};
use pyrsia_ledger::projection::genesis;
use pyrsia_ledger::signed::node_id_of;
use pyrsia_ledger::{
    ArtifactId, BuildId, CommitCertificate, Event, NodeId, PackageCoordinate, PackageType, Projections, SealedBlock,
    Sha256Digest, SignedEvent, UnsignedEvent,
};
use std::collections::BTreeMap;
use std::error::Error;

const MEMBERS: usize = 4;
const ARTIFACTS: [(&str, &str); 3] = [
    ("manifest", "application/vnd.oci.image.manifest.v1+json"),
    ("config", "application/vnd.oci.image.config.v1+json"),
    ("layer", "application/vnd.oci.image.layer.v1.tar+gzip"),
];
/// Fill a block to 960 of 1,000 events.
pub(crate) const PACKAGES_PER_BLOCK: u64 = 80;

pub(crate) struct Network {
    keys: Vec<SigningKey>,
    pub(crate) state: Projections,
    /// Sealed and not taken yet, oldest first.
    pub(crate) blocks: Vec<SealedBlock>,
    /// Events of each author that wait for the next block.
    waiting: BTreeMap<NodeId, u64>,
    events: Vec<SignedEvent>,
    packages: u64,
}

pub(crate) fn package_name(number: u64) -> String {
    format!("library/package-{number}")
}

pub(crate) fn artifact_id(number: u64, artifact: usize) -> Result<ArtifactId, Box<dyn Error>> {
    let name = package_name(number);
    let digest = digest_of(&name, ARTIFACTS[artifact].0);
    Ok(ArtifactId::new(format!("{name}@sha256:{digest}"))?)
}

fn digest_of(name: &str, part: &str) -> Sha256Digest {
    Sha256Digest::of(format!("{name} {part}").as_bytes())
}

fn module() -> Sha256Digest {
    Sha256Digest::of(b"module")
}

impl Network {
    pub(crate) fn found() -> Result<Self, Box<dyn Error>> {
        let keys: Vec<SigningKey> = (1..=MEMBERS as u8).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let sealed = genesis(&keys[0], "bench", [0; 32], 1);
        let state = Projections::from_genesis(&sealed)?;
        let mut network = Self { keys, state, blocks: vec![sealed], waiting: BTreeMap::new(), events: vec![], packages: 0 };
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
        if proposal.block.events.len() != self.events.len() {
            return Err("the events of one block do not fit into it".into());
        }
        let validators = self.state.validators();
        let keys = self.keys.iter().filter(|key| validators.contains(&node_id_of(key)));
        let certificate = CommitCertificate::signed(&proposal.block.header, 0, keys);
        self.blocks.push(SealedBlock { block: proposal.block, certificate });
        self.state = proposal.next;
        self.events.clear();
        self.waiting.clear();
        Ok(())
    }

    /// A full block more.
    pub(crate) fn fill_block(&mut self) -> Result<(), Box<dyn Error>> {
        for _ in 0..PACKAGES_PER_BLOCK {
            self.publish(self.packages)?;
            self.packages += 1;
        }
        self.seal()
    }

    fn publish(&mut self, number: u64) -> Result<(), Box<dyn Error>> {
        let name = package_name(number);
        let coordinate = PackageCoordinate::new("docker", &format!("{name}:1.0"))?;
        let build_id = BuildId::of(self.state.network(), &coordinate, 0);
        let requester = number as usize % MEMBERS;
        let request = BuildRequested { build_id, coordinate: coordinate.clone(), attempt: 0, verifier: module(), source: None };
        self.add(requester, Event::BuildRequested(request));
        let artifact = |(index, (part, media_type)): (usize, &(&str, &str))| {
            let digest = digest_of(&name, part);
            Ok(BuiltArtifact {
                artifact_id: artifact_id(number, index)?,
                media_type: (*media_type).into(),
                size_bytes: 528 + number,
                sha256: digest,
                canonical: Sha256Digest::of(digest.as_bytes()),
                chunk_root: Sha256Digest::of(part.as_bytes()),
            })
        };
        let artifacts = ARTIFACTS.iter().enumerate().map(artifact).collect::<Result<Vec<_>, Box<dyn Error>>>()?;
        let revision = digest_of(&name, "source").to_string()[..40].to_owned();
        let source = BuildSource { kind: "git".into(), location: format!("https://git.example/{name}"), revision };
        let outcome = BuildOutcome::Built { source, artifacts: artifacts.clone() };
        for judge in 0..MEMBERS {
            let author = node_id_of(&self.keys[judge]);
            let commitment = commitment(self.state.network(), &build_id, &author, &salt(number, judge), &outcome);
            self.add(judge, Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment }));
        }
        for judge in 0..MEMBERS {
            let revealed = BuildResultRevealed { build_id, outcome: outcome.clone().into(), salt: salt(number, judge) };
            self.add(judge, Event::BuildResultRevealed(revealed));
        }
        for artifact in artifacts {
            self.add(requester, Event::AddArtifact(AddArtifact { build_id, coordinate: coordinate.clone(), artifact }));
        }
        Ok(())
    }
}

fn salt(number: u64, judge: usize) -> [u8; 32] {
    *digest_of(&package_name(number), &format!("salt {judge}")).as_bytes()
}
