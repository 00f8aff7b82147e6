//! Checks a proof, from the id of its network to the last signature.

use super::said::Said;
use super::walk::Walk;
use super::{
    BlockOfProof, Evidence, FinalBlock, NOT_SHOWN, PlacedInTree, ProofError, ProvedArtifact, ProvedEvent, ProvedSet, Verified,
};
use crate::certificate::CertificateError;
use crate::event::AddArtifact;
use crate::projection::Projections;
use crate::proof::{verify_consistency, verify_inclusion};
use crate::signed::{Claim, ENVELOPE_VERSION, EncodedEvent, EventId, NetworkId, SignedEvent, wrong_claims};
use crate::tree::leaf_hash;

impl Evidence {
    pub(super) fn network(&self) -> NetworkId {
        self.genesis.block.events.first().map_or(NetworkId::UNFOUNDED, |founded| NetworkId::new(*founded.id().digest()))
    }

    pub(super) fn verify(&self, pinned: Option<NetworkId>) -> Result<Verified, ProofError> {
        let network = self.network();
        if let Some(pinned) = pinned.filter(|pinned| *pinned != network) {
            return Err(ProofError::Network { found: network, pinned });
        }
        let founded = Projections::from_genesis(&self.genesis).map_err(|error| ProofError::Genesis(Box::new(error)))?;
        let walk = self.walk(&founded)?;
        let (request, publication) = (&self.request.header, &self.publication.header);
        let (old, new) = ((request.tree_size, &request.tree_root), (publication.tree_size, &publication.tree_root));
        verify_consistency(old, new, &self.consistency).map_err(ProofError::Consistency)?;
        let encoded: Vec<EncodedEvent<'_>> = self.events.iter().map(|placed| EncodedEvent::new(&placed.event)).collect();
        let events = self.place(&network, &encoded)?;
        // Before anything that takes longer the more is said: only who holds the keys of the network comes further.
        check_signatures(&walk, &encoded)?;
        let judges = walk.validators_of(request.height);
        let said = Said::of(&network, judges, &events)?;
        let count = said.count(judges, &walk.departures(judges, request.height))?;
        self.check_blocks_of(&said)?;
        let (requested, requested_by, body) = said.request;
        let artifact =
            |(at, added): &(ProvedEvent, &AddArtifact)| ProvedArtifact { artifact: added.artifact.clone(), published_by: *at };
        Ok(Verified {
            network,
            network_name: founded.name().to_owned(),
            coordinate: body.coordinate.clone(),
            build_id: body.build_id,
            attempt: body.attempt,
            verifier: body.verifier,
            source: count.source,
            requested_source: body.source.clone(),
            artifacts: said.added.iter().map(artifact).collect(),
            artifacts_of_build: count.artifacts,
            request: requested,
            requested_by,
            requested: self.request.shown(),
            published: self.publication.shown(),
            standing: count.judges.iter().filter(|judge| judge.stand.counts()).count(),
            judges: count.judges,
            needed: count.needed,
            cosigners: self.publication.certificate.signatures.iter().map(|(node, _)| *node).collect(),
            validators: walk.validators_of(publication.height).nodes().len(),
            sets: walk.sets().map(|(from, set)| ProvedSet { from, members: set.nodes().to_vec() }).collect(),
            not_shown: NOT_SHOWN,
        })
    }

    /// Which set signs at which height, and that the blocks of the proof are final by it.
    fn walk<'a>(&'a self, founded: &Projections) -> Result<Walk<'a>, ProofError> {
        let mut walk = Walk::from_genesis(founded, &self.genesis.block.header);
        let (request, publication) = (self.request.header.height, self.publication.header.height);
        for link in &self.links {
            if link.header.height >= publication {
                let height = link.header.height;
                return Err(ProofError::Block { height, what: "it changes the validators after the publication" });
            }
            walk.follow(link)?;
        }
        if request > publication {
            return Err(ProofError::Block { height: request, what: "the build is requested after its publication" });
        }
        walk.block(&self.request)?;
        walk.block(&self.publication)?;
        walk.check_order()?;
        Ok(walk)
    }

    /// The events, each at its place in the tree of the publication.
    fn place<'a>(
        &'a self,
        network: &NetworkId,
        encoded: &[EncodedEvent<'a>],
    ) -> Result<Vec<(ProvedEvent, &'a SignedEvent)>, ProofError> {
        let tree = &self.publication.header;
        if !self.events.is_sorted_by(|a, b| a.index < b.index) {
            return Err(ProofError::Order);
        }
        let place = |(placed, encoded): (&'a PlacedInTree, &EncodedEvent<'a>)| {
            let (event, unsigned) = (encoded.id, &placed.event.unsigned);
            if unsigned.version != ENVELOPE_VERSION || unsigned.network != *network {
                return Err(ProofError::Event { event, what: "it is for another network, or of another version" });
            }
            verify_inclusion(&leaf_hash(&encoded.bytes), placed.index, tree.tree_size, &placed.path, &tree.tree_root)
                .map_err(|source| ProofError::Inclusion { event, source })?;
            Ok((ProvedEvent { event, index: placed.index }, &placed.event))
        };
        self.events.iter().zip(encoded).map(place).collect()
    }

    /// That the request and the last publication stand in exactly the blocks that are shown as theirs.
    fn check_blocks_of(&self, said: &Said<'_>) -> Result<(), ProofError> {
        let last = said.added.last().ok_or(ProofError::NoArtifact)?.0;
        for (at, block, what) in [
            (said.request.0, &self.request, "it does not stand in the block that is shown as that of the request"),
            (last, &self.publication, "it does not stand in the block that is shown as that of the publication"),
        ] {
            if !(block.parent.tree_size..block.header.tree_size).contains(&at.index) {
                return Err(ProofError::Event { event: at.event, what });
            }
        }
        Ok(())
    }
}

impl FinalBlock {
    fn shown(&self) -> BlockOfProof {
        let header = &self.header;
        BlockOfProof {
            height: header.height,
            time_ms: header.time_ms,
            block: self.certificate.block,
            round: self.certificate.round,
            tree_size: header.tree_size,
            tree_root: header.tree_root,
        }
    }
}

/// Verifies every signature of a proof at once; the first wrong one, in their order, is told.
fn check_signatures(walk: &Walk<'_>, events: &[EncodedEvent<'_>]) -> Result<(), ProofError> {
    let of_events: Vec<(EventId, Claim)> = events.iter().map(|event| (event.id, event.claim())).collect();
    let claims = walk.claims.iter().map(|(_, claim)| claim).chain(of_events.iter().map(|(_, claim)| claim));
    let Some(wrong) = wrong_claims(claims).first().copied() else { return Ok(()) };
    Err(match walk.claims.get(wrong) {
        Some((height, claim)) => ProofError::Certificate { height: *height, source: CertificateError::Signature(claim.author()) },
        None => {
            let (event, claim) = &of_events[wrong - walk.claims.len()];
            ProofError::Signature { event: *event, author: claim.author() }
        }
    })
}
