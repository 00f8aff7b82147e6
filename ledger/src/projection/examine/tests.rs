use super::*;
use crate::certificate::CommitCertificate;
use crate::coordinate::PackageType;
use crate::digest::Sha256Digest;
use crate::event::{Event, VerifierApproved};
use crate::identity::NodeId;
use crate::projection::tests::Bench;
use crate::signed::{Signature, SignedEvent, UnsignedEvent};

/// The next block of `bench`, with this many events of its first member, and signed by all.
fn sealed(bench: &Bench, events: usize, change: impl Fn(&mut [SignedEvent])) -> SealedBlock {
    let (author, state) = (bench.node(0), &bench.state);
    let package_type = PackageType::new("maven").expect("a type");
    let event = |at: u64| {
        let module = Sha256Digest::of(&at.to_le_bytes());
        let approved = VerifierApproved { package_type: package_type.clone(), module, contract_version: 1 };
        let sequence = state.next_sequence(&author) + at;
        SignedEvent::new(
            &bench.keys[0],
            UnsignedEvent::new(*state.network(), author, sequence, 1, Event::VerifierApproved(approved)),
        )
    };
    let mut events: Vec<_> = (0..events as u64).map(event).collect();
    change(&mut events);
    let block = state.propose(author, state.time_ms(), &events).block;
    assert_eq!(block.events.len(), events.len());
    let certificate = CommitCertificate::signed(&block.header, 0, &bench.keys[..4]);
    SealedBlock { block, certificate }
}

fn check(bench: &Bench, sealed: &SealedBlock, do_both: DoBoth) -> Result<Sha256Digest, BlockError> {
    bench.state.apply_sealed_by(sealed, do_both).map(|state| state.state_root())
}

/// What no block may lead to that anybody can make.
fn no_work(_: &mut (dyn FnMut() + Send), _: &mut dyn FnMut()) {
    panic!("a block that anybody can make leads to work for every event");
}

fn signatures_first(signatures: &mut (dyn FnMut() + Send), rest: &mut dyn FnMut()) {
    signatures();
    rest();
}

#[test]
fn a_block_with_forty_thousand_strangers_costs_no_verification() {
    let bench = Bench::with_members(4);
    for events in [0, SIGNATURES_APART_MIN] {
        let mut crowded = sealed(&bench, events, |_| ());
        let stranger = |n: u32| {
            let mut key = [7; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            (NodeId::from_public_key(key), Signature::from_bytes([n as u8; 64]))
        };
        crowded.certificate.signatures = (0..40_000).map(stranger).collect();
        let refused = check(&bench, &crowded, no_work);
        assert!(matches!(refused, Err(BlockError::Certificate { source: CertificateError::Stranger(_), .. })), "{refused:?}");
    }
}

#[test]
fn a_large_block_without_the_word_of_a_quorum_costs_no_verification_of_its_events() {
    let bench = Bench::with_members(4);
    let good = sealed(&bench, SIGNATURES_APART_MIN + 1, |_| ());
    let refused = |change: &dyn Fn(&mut SealedBlock)| {
        let mut changed = good.clone();
        change(&mut changed);
        check(&bench, &changed, no_work).expect_err("is refused")
    };
    let height = good.height();
    let junk =
        refused(&|sealed| sealed.certificate.signatures.iter_mut().for_each(|(_, one)| *one = Signature::from_bytes([1; 64])));
    assert!(matches!(junk, BlockError::Certificate { source: CertificateError::Signature(_), .. }), "{junk:?}");
    let few = refused(&|sealed| sealed.certificate.signatures.truncate(2));
    assert!(matches!(few, BlockError::Certificate { source: CertificateError::NoQuorum { .. }, .. }), "{few:?}");
    let other = refused(&|sealed| sealed.block.events[9].signature = Signature::from_bytes([1; 64]));
    assert_eq!(other, BlockError::Header { height, what: HeaderPart::TreeRoot });
    let fewer = refused(&|sealed| sealed.block.events.truncate(SIGNATURES_APART_MIN));
    assert_eq!(fewer, BlockError::Header { height, what: HeaderPart::TreeSize });
    let many = refused(&|sealed| sealed.block.events = vec![sealed.block.events[0].clone(); EVENTS_PER_BLOCK_MAX + 1]);
    assert!(matches!(many, BlockError::TooLarge { .. }), "{many:?}");
    let later = refused(&|sealed| sealed.block.header.height = height.next());
    assert!(matches!(later, BlockError::Height { .. }), "{later:?}");
}

#[test]
fn a_large_block_without_the_word_of_a_quorum_is_not_folded_by_who_verifies_signatures_elsewhere() {
    let bench = Bench::with_members(4);
    for events in [SIGNATURES_APART_MIN - 1, SIGNATURES_APART_MIN] {
        let good = sealed(&bench, events, |_| ());
        let folded = |sealed: &SealedBlock| {
            let next = bench.state.clone().advance_unverified(sealed, &EncodedEvent::all(&sealed.block.events));
            next.map(|state| state.state_root())
        };
        assert_eq!(folded(&good), Ok(good.block.header.state_root));
        let mut junk = good.clone();
        junk.certificate.signatures.iter_mut().for_each(|(_, one)| *one = Signature::from_bytes([1; 64]));
        let is_told = matches!(folded(&junk), Err(BlockError::Certificate { source: CertificateError::Signature(_), .. }));
        assert_eq!(is_told, events >= SIGNATURES_APART_MIN, "{events}");
    }
}

#[test]
fn a_wrong_signature_that_a_quorum_committed_to_is_named_in_either_order_of_work() {
    let bench = Bench::with_members(4);
    for events in [3, SIGNATURES_APART_MIN + 6] {
        let good = sealed(&bench, events, |_| ());
        let wrong = sealed(&bench, events, |events| events[2].signature = events[1].signature);
        for do_both in [one_after_the_other as DoBoth, signatures_first] {
            assert_eq!(check(&bench, &good, do_both), Ok(good.block.header.state_root));
            let refused = check(&bench, &wrong, do_both);
            assert!(matches!(refused, Err(BlockError::Signature { index: 2, .. })), "{refused:?}");
        }
    }
}
