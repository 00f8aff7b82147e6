//! Proofs that somebody put together who has more than a text editor: keys, other proofs, blocks of the same network.

use super::*;
use crate::certificate::CertificateError;
use crate::signed::{Signature, node_id_of};
use ed25519_dalek::SigningKey;

/// Why an altered proof is refused, whatever it says in words.
fn refused(proof: &PublicationProof, change: impl FnOnce(&mut Evidence)) -> ProofError {
    let mut evidence = proof.evidence.clone();
    change(&mut evidence);
    assert_ne!(evidence, proof.evidence, "something is altered");
    evidence.verify(None).map(|verified| verified.published.height).expect_err("an altered proof")
}

fn signed_by<'k>(header: &BlockHeader, keys: impl IntoIterator<Item = &'k SigningKey>) -> CommitCertificate {
    CommitCertificate::signed(header, 0, keys)
}

#[test]
fn a_proof_is_for_its_own_network() {
    let (bench, id) = published(4);
    let proof = proof_of(&bench, &id);
    let pinned = NetworkId::new(Sha256Digest::of(b"another"));
    let error = proof.verify(Some(pinned)).expect_err("another network");
    assert!(matches!(&error, ProofError::Network { found, pinned: other } if found == bench.state.network() && *other == pinned));
    // The same founder and name, another network: nothing of the one fits into the other.
    let other = crate::projection::genesis(&bench.keys[0], "test", [2; 32], 1_000);
    assert!(matches!(refused(&proof, |evidence| evidence.genesis = other), ProofError::Block { .. }));
    assert!(matches!(refused(&proof, |evidence| evidence.genesis.block.events.clear()), ProofError::Genesis(_)));
    // A second block with the event that founded this network, by its founder.
    let again = refused(&proof, |evidence| {
        evidence.genesis.block.header.time_ms += 1;
        evidence.genesis.certificate = signed_by(&evidence.genesis.block.header, [&bench.keys[0]]);
    });
    assert!(matches!(again, ProofError::Genesis(_)), "{again}");
}

#[test]
fn only_a_quorum_of_the_validators_of_that_height_makes_a_block_final() {
    let (bench, id) = published(4);
    let proof = proof_of(&bench, &id);
    let header = proof.evidence.publication.header.clone();
    let with = |keys: &[usize]| {
        let certificate = signed_by(&header, keys.iter().map(|key| &bench.keys[*key]));
        let mut evidence = proof.evidence.clone();
        evidence.publication.certificate = certificate;
        evidence.verify(None)
    };
    assert_eq!(with(&[0, 1, 3]).expect("three of four are a quorum").cosigners.len(), 3);
    let too_few = with(&[0, 1]).expect_err("two of four");
    assert!(matches!(too_few, ProofError::Certificate { source: CertificateError::NoQuorum { signed: 2, .. }, .. }), "{too_few}");
    let stranger = with(&[0, 1, 2, 8]).expect_err("a foreign signer");
    assert!(matches!(stranger, ProofError::Certificate { source: CertificateError::Stranger(_), .. }), "{stranger}");
    let forged = refused(&proof, |evidence| evidence.publication.certificate.signatures[2].1 = Signature::from_bytes([7; 64]));
    assert!(matches!(forged, ProofError::Certificate { source: CertificateError::Signature(_), .. }), "{forged}");
    let round = refused(&proof, |evidence| evidence.publication.certificate.round += 1);
    assert!(matches!(round, ProofError::Certificate { source: CertificateError::Signature(_), .. }), "{round}");
    let twice = refused(&proof, |evidence| {
        let first = evidence.request.certificate.signatures[0];
        evidence.request.certificate.signatures.insert(0, first);
    });
    assert!(matches!(twice, ProofError::Certificate { source: CertificateError::Order, .. }), "{twice}");
}

#[test]
fn the_cosignature_of_a_revoked_member_is_that_of_a_stranger() {
    let (mut bench, _) = published(4);
    bench.revoke(3, None);
    let id = bench.open_build(0);
    bench.judge(id, &[(0, built(b"image")), (1, built(b"image")), (2, built(b"image"))]);
    publish(&mut bench, id, 0);
    let proof = proof_of(&bench, &id);
    assert_eq!(proof.verify(None).expect("holds").validators, 3);
    let error = refused(&proof, |evidence| {
        evidence.publication.certificate = signed_by(&evidence.publication.header, &bench.keys[..4]);
    });
    let revoked = bench.node(3);
    assert!(
        matches!(&error, ProofError::Certificate { source: CertificateError::Stranger(node), .. } if *node == revoked),
        "{error}"
    );
}

#[test]
fn every_change_of_the_set_is_followed() {
    let (mut bench, _) = published(4);
    bench.revoke(3, None);
    bench.reauthorize(3);
    let id = bench.open_build(0);
    bench.judge(id, &(0..4).map(|judge| (judge, built(b"image"))).collect::<Vec<_>>());
    publish(&mut bench, id, 0);
    let proof = proof_of(&bench, &id);
    let sets = proof.verify(None).expect("holds").sets;
    let links = proof.evidence.links.len();
    assert_eq!((links, sets.len()), (5, 6), "three came behind the founder, one left and returned");
    assert_eq!(sets[3].members, sets[5].members);
    for at in 0..links {
        let error = refused(&proof, |evidence| drop(evidence.links.remove(at)));
        assert!(matches!(error, ProofError::Block { .. }), "without link {at}: {error}");
        let error = refused(&proof, |evidence| evidence.links[at].next.reverse());
        assert!(matches!(error, ProofError::Block { .. }), "link {at} with its set in another order: {error}");
        let error = refused(&proof, |evidence| evidence.links[at].next.push(node_id_of(&bench.keys[8])));
        assert!(matches!(error, ProofError::Block { .. }), "link {at} with one more: {error}");
        for other in at + 1..links {
            let error = refused(&proof, |evidence| evidence.links.swap(at, other));
            assert!(matches!(error, ProofError::Block { .. }), "links {at} and {other} swapped: {error}");
        }
        let error = refused(&proof, |evidence| evidence.links.insert(at, evidence.links[at].clone()));
        assert!(matches!(error, ProofError::Block { .. }), "link {at} twice: {error}");
    }
    // A link that changes nothing, by a block that is final.
    let block = &bench.log[bench.log.len() - 3];
    let idle = Link { header: block.block.header.clone(), certificate: block.certificate.clone(), next: sets[5].members.clone() };
    assert!(matches!(refused(&proof, |evidence| evidence.links.push(idle)), ProofError::Block { .. }));
}

#[test]
fn a_set_that_its_predecessor_did_not_name_is_nobody() {
    let (bench, id) = published_across_a_change(4);
    let proof = proof_of(&bench, &id);
    // Five keys of somebody else, and a header that names them, which they signed themselves.
    let keys: Vec<SigningKey> = (51..56).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
    let set = ValidatorSet::new(keys.iter().map(node_id_of).collect());
    let error = refused(&proof, |evidence| {
        let link = evidence.links.last_mut().expect("a link");
        link.header.next_validators = set.hash();
        link.next = set.nodes().to_vec();
        link.certificate = signed_by(&link.header, &keys);
    });
    assert!(matches!(error, ProofError::Certificate { source: CertificateError::Stranger(_), .. }), "{error}");
}

/// Two builds of one package, the proof of each, and the size of the tree of the newer one.
fn published_twice() -> (Bench, PublicationProof, PublicationProof, u64) {
    let (mut bench, first) = published(4);
    let again = bench.open_build(1);
    bench.judge(again, &(0..4).map(|judge| (judge, built(b"image"))).collect::<Vec<_>>());
    publish(&mut bench, again, 2);
    let (one, two) = (proof_of(&bench, &first), proof_of(&bench, &again));
    let size = two.evidence.publication.header.tree_size;
    (bench, one, two, size)
}

#[test]
fn the_blocks_of_a_proof_are_those_of_its_events() {
    let (bench, one, two, size) = published_twice();
    let consistency = |old| memory(&bench).consistency(old, size).expect("a proof");
    let error = refused(&two, |evidence| {
        evidence.request = one.evidence.request.clone();
        evidence.consistency = consistency(evidence.request.header.tree_size);
    });
    assert!(matches!(error, ProofError::Event { .. }), "the request of another block: {error}");
    let error = refused(&two, |evidence| evidence.request = one.evidence.request.clone());
    assert!(matches!(error, ProofError::Consistency(_)), "{error}");
    let error = refused(&two, |evidence| evidence.request.parent = one.evidence.request.parent.clone());
    assert!(matches!(error, ProofError::Block { .. }), "{error}");
    let error = refused(&two, |evidence| evidence.request.parent.tree_size = 0);
    assert!(matches!(error, ProofError::Block { .. }), "{error}");
    // A later block, final as well: the paths lead to its root, but the publication does not stand in it.
    let (parent, later) = (&bench.log[bench.log.len() - 2], bench.log.last().expect("a block"));
    let error = refused(&one, |evidence| {
        evidence.publication = FinalBlock {
            parent: parent.block.header.clone(),
            header: later.block.header.clone(),
            certificate: later.certificate.clone(),
        };
        evidence.consistency = consistency(evidence.request.header.tree_size);
        for placed in &mut evidence.events {
            placed.path = memory(&bench).inclusion(placed.index, size).expect("a path");
        }
    });
    assert!(matches!(error, ProofError::Event { .. }), "{error}");
}

#[test]
fn the_events_of_a_proof_are_those_of_its_build() {
    let (bench, one, two, size) = published_twice();
    let moved = |placed: &PlacedInTree| PlacedInTree {
        path: memory(&bench).inclusion(placed.index, size).expect("a path"),
        ..placed.clone()
    };
    for placed in &one.evidence.events {
        let error = refused(&two, |evidence| evidence.events.insert(0, moved(placed)));
        assert!(matches!(error, ProofError::Event { .. } | ProofError::Order), "an event of another build in front: {error}");
    }
    let error = refused(&two, |evidence| evidence.events[0] = moved(&one.evidence.events[0]));
    assert!(matches!(error, ProofError::Event { .. }), "the request of another build: {error}");
    let founding = moved(&PlacedInTree { index: 0, event: bench.log[0].block.events[0].clone(), path: vec![] });
    let error = refused(&two, |evidence| evidence.events.insert(0, founding));
    assert!(matches!(error, ProofError::Event { .. } | ProofError::Order), "{error}");
    let error = refused(&two, |evidence| evidence.events.swap(1, 2));
    assert!(matches!(error, ProofError::Order), "{error}");
    let error = refused(&two, |evidence| evidence.events[3].index += 1);
    assert!(matches!(error, ProofError::Inclusion { .. } | ProofError::Order), "{error}");
}

#[test]
fn a_proof_without_the_events_of_a_majority_proves_nothing() {
    let (bench, id) = published(4);
    let proof = proof_of(&bench, &id);
    let is_of = |author: usize, kind: &'static str| {
        let author = bench.node(author);
        move |placed: &PlacedInTree| placed.event.author() == author && placed.event.event().kind() == kind
    };
    let without = |judges: &[usize]| {
        let mut evidence = proof.evidence.clone();
        for judge in judges {
            for kind in ["BuildResultCommitted", "BuildResultRevealed"] {
                evidence.events.retain(|placed| !is_of(*judge, kind)(placed));
            }
        }
        evidence.verify(None)
    };
    let three = without(&[3]).expect("three of four are a majority");
    assert_eq!((three.standing, three.judges.iter().filter(|judge| judge.stand == Stand::Silent).count()), (3, 1));
    assert!(matches!(without(&[2, 3]), Err(ProofError::NoMajority { standing: 2, needed: 3, judges: 4 })));
    let mut late = proof.evidence.clone();
    late.events.retain(|placed| !is_of(1, "BuildResultCommitted")(placed) && !is_of(2, "BuildResultCommitted")(placed));
    assert!(
        matches!(late.verify(None), Err(ProofError::NoMajority { standing: 2, .. })),
        "what is bound to nothing does not count"
    );
    let unopened = refused(&proof, |evidence| evidence.events.retain(|placed| !is_of(1, "BuildResultRevealed")(placed)));
    assert!(matches!(unopened, ProofError::Event { .. }), "{unopened}");
    let nothing = refused(&proof, |evidence| evidence.events.retain(|placed| placed.event.event().kind() != "AddArtifact"));
    assert!(matches!(nothing, ProofError::NoArtifact), "{nothing}");
    let empty = refused(&proof, |evidence| evidence.events.clear());
    assert!(matches!(empty, ProofError::Order), "{empty}");
    let unrequested = refused(&proof, |evidence| drop(evidence.events.remove(0)));
    assert!(matches!(unrequested, ProofError::Order), "{unrequested}");
    // What is left out must be left out of the words as well.
    let mut shorter = proof.clone();
    shorter
        .evidence
        .events
        .retain(|placed| !is_of(3, "BuildResultRevealed")(placed) && !is_of(3, "BuildResultCommitted")(placed));
    assert!(matches!(shorter.verify(None), Err(ProofError::Says)));
}

/// Whoever makes up blocks needs no key to get as far as this: nothing may panic before the signatures are looked at.
#[test]
fn numbers_at_the_end_of_their_range_are_refused() {
    let (bench, id) = published_across_a_change(4);
    let proof = proof_of(&bench, &id);
    type Change = fn(&mut BlockHeader);
    let changes: [Change; 5] = [
        |header| header.height = Height(u64::MAX),
        |header| header.tree_size = u64::MAX,
        |header| header.tree_size = 0,
        |header| header.time_ms = u64::MAX,
        |header| header.version = u16::MAX,
    ];
    for change in changes {
        let forge = |block: &mut FinalBlock| {
            change(&mut block.parent);
            block.header.parent = block.parent.hash();
            change(&mut block.header);
            block.certificate = signed_by(&block.header, &bench.keys[..5]);
        };
        refused(&proof, |evidence| forge(&mut evidence.publication));
        refused(&proof, |evidence| forge(&mut evidence.request));
        refused(&proof, |evidence| {
            let link = evidence.links.last_mut().expect("a link");
            change(&mut link.header);
            link.certificate = signed_by(&link.header, &bench.keys[..4]);
        });
        refused(&proof, |evidence| {
            change(&mut evidence.genesis.block.header);
            evidence.genesis.certificate = signed_by(&evidence.genesis.block.header, &bench.keys[..1]);
        });
    }
    refused(&proof, |evidence| evidence.events.last_mut().expect("an event").index = u64::MAX);
    refused(&proof, |evidence| evidence.events[1].path = vec![Sha256Digest::of(b""); 1_000]);
}

/// Validators that put on the ledger what a judge never signed: the rest of the proof is as it must be.
#[test]
fn an_event_that_its_author_did_not_sign_proves_nothing_whatever_the_validators_signed() {
    let mut bench = Bench::with_members(3);
    let id = bench.open_build(0);
    for judge in 0..2 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    bench.end_wait(id, WaitPhase::Committing);
    bench.commit(0, bench.revelation(0, id, built(b"image")));
    let mut forged = bench.sign(1, bench.revelation(1, id, built(b"image")));
    forged.signature = Signature::from_bytes([9; 64]);
    let proposal = bench.state.propose(bench.node(0), 0, [&forged]);
    let sealed = bench.seal(proposal.block);
    assert!(bench.state.apply_sealed(&sealed).is_err());
    bench.state = bench.state.apply(&sealed.block).expect("but for the signature it is valid");
    bench.log.push(sealed);
    publish(&mut bench, id, 0);
    let error = prove(&memory(&bench), &bench.state, &id, None).expect_err("no proof");
    let author = bench.node(1);
    assert!(matches!(&error, ProveError::Unsound(ProofError::Signature { author: found, .. }) if *found == author), "{error:?}");
}

/// The documented limit: links that lead away and back tell nothing that the rest depends on.
#[test]
fn links_that_lead_away_and_back_can_be_left_out() {
    let (mut bench, _) = published(4);
    bench.revoke(3, None);
    bench.reauthorize(3);
    bench.commit(0, bench.approval(5));
    let id = bench.open_build(0);
    bench.judge(id, &(0..4).map(|judge| (judge, built(b"image"))).collect::<Vec<_>>());
    publish(&mut bench, id, 0);
    let proof = proof_of(&bench, &id);
    let mut shorter = proof.evidence.clone();
    shorter.links.truncate(3);
    let (all, fewer) = (proof.verify(None).expect("holds"), shorter.verify(None).expect("holds"));
    assert_eq!((all.judges, all.cosigners, all.published), (fewer.judges, fewer.cosigners, fewer.published));
}
