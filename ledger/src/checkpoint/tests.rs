use super::*;
use crate::certificate::{CertificateError, CommitCertificate, UnsignedVote, ValidatorSet, VoteKind, proposal_bytes};
use crate::note::NoteError;
use crate::projection::genesis;
use crate::signed::{Purpose, node_id_of, preimage};
use proptest::prelude::*;

fn keys() -> Vec<SigningKey> {
    (1..=4).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect()
}

/// A block of four validators, three of whom made it final.
fn sealed() -> SealedBlock {
    let mut sealed = genesis(&keys()[0], "test", [7; 32], 1_671_002_963_123);
    sealed.block.header.height = Height(12);
    sealed.certificate = CommitCertificate::signed(&sealed.block.header, 2, &keys()[..3]);
    sealed
}

fn validators() -> ValidatorSet {
    ValidatorSet::new(keys().iter().map(node_id_of).collect())
}

fn cosigners(sealed: &SealedBlock) -> Vec<NoteKey> {
    validators().nodes().iter().map(|node| cosigner_key(&sealed.block.header.network, *node)).collect()
}

/// Written by a program of its own from the specifications, without any code of this project.
const GOLDEN_NOTE: &str = include_str!("../../tests/golden/checkpoint.note");
const GOLDEN_KEYS: &str = include_str!("../../tests/golden/checkpoint.vkeys");

#[test]
fn a_checkpoint_and_its_keys_have_the_bytes_that_the_specifications_give_them() {
    let (key, network) = (&keys()[0], NetworkId::new(Sha256Digest::of(b"network")));
    let (hash, tree_root) = (BlockHash(Sha256Digest::of(b"block")), Sha256Digest::of(b"tree"));
    let block = BlockId { hash, tree_size: 42, tree_root, time_s: 1_671_002_963 };
    let vote = UnsignedVote { kind: VoteKind::Precommit, height: Height(12), round: 2, block: Some(block) };
    let (log, cosigner) = (log_key(&network, node_id_of(key)), cosigner_key(&network, node_id_of(key)));
    let text = Checkpoint::new(network, Height(12), 2, &block).to_string();
    let lines = vec![
        log.line(key.sign(text.as_bytes()).to_bytes().to_vec()),
        cosigner.cosignature_line(block.time_s, &vote.sign(key, &network)),
    ];
    assert_eq!(SignedNote::new(text, lines).to_string(), GOLDEN_NOTE);
    assert_eq!(format!("{log}\n{cosigner}\n"), GOLDEN_KEYS);
    let known: Vec<NoteKey> = GOLDEN_KEYS.lines().map(|line| line.parse().expect("a key")).collect();
    assert_eq!(known, [log, cosigner]);
    let note = SignedNote::parse(GOLDEN_NOTE.as_bytes()).expect("a note");
    assert_eq!(note.signers(&known), Ok(known.iter().collect()));
}

#[test]
fn a_certificate_is_the_checkpoint_that_its_signers_cosigned() {
    let sealed = sealed();
    let (network, note, known) = (sealed.block.header.network, sealed.checkpoint(), cosigners(&sealed));
    let signers: Vec<NodeId> = note.signers(&known).expect("holds").into_iter().map(NoteKey::node).collect();
    let certified: Vec<NodeId> = sealed.certificate.signatures.iter().map(|(node, _)| *node).collect();
    assert_eq!(signers, certified);
    assert_eq!(sealed.certificate.verify(&network, &sealed.block.header, &validators()), Ok(()));
    assert!(note.signatures().iter().all(|line| line.time_s() == Some(1_671_002_963)), "the time of the block");
    assert_eq!(SignedNote::parse(note.to_string().as_bytes()), Ok(note));
}

#[test]
fn whoever_serves_a_checkpoint_signs_it_as_the_log() {
    let (sealed, key) = (sealed(), &keys()[3]);
    let note = sealed.checkpoint_signed_by(key);
    let log = log_key(&sealed.block.header.network, node_id_of(key));
    assert_eq!(log.name(), note.text().lines().next().expect("an origin"), "the key is called like the log");
    let known = [vec![log.clone()], cosigners(&sealed)].concat();
    let signers = note.signers(&known).expect("holds");
    assert_eq!((signers[0], signers.len()), (&log, 4));
    assert_eq!(note.text(), sealed.checkpoint().text());
}

#[test]
fn a_precommit_cannot_stand_for_anything_else_that_is_signed() {
    let (network, block) = (sealed().block.header.network, sealed().block.id());
    let precommit = precommit_bytes(&network, Height(12), 2, &block);
    let served = sealed().checkpoint_text().to_string().into_bytes();
    assert!(precommit.starts_with(b"cosignature/v1\n") && served.starts_with(b"pyrsia/"));
    let network_digits = served[ORIGIN_START.len()..].split(|byte| *byte == b'\n').next().expect("an origin");
    assert!(network_digits.len() == 64 && network_digits.iter().all(u8::is_ascii_hexdigit));
    for purpose in Purpose::ALL {
        let prefix = purpose.prefix();
        assert!(!prefix.starts_with(b"c"), "{purpose:?} could begin like a cosignature");
        let role = prefix.strip_prefix(ORIGIN_START.as_bytes()).expect("the project's name");
        let differs = role.iter().take(64).any(|byte| !byte.is_ascii_hexdigit());
        assert!(differs, "{purpose:?} could begin like a checkpoint");
    }
    // A vote that carries a whole cosignature as its message is not one.
    let wrapped = preimage(Purpose::Vote, &network, &precommit);
    assert!(!wrapped.starts_with(b"cosignature/v1\n"));
    let others = [
        UnsignedVote { kind: VoteKind::Prevote, height: Height(12), round: 2, block: Some(block) },
        UnsignedVote { kind: VoteKind::Precommit, height: Height(12), round: 2, block: None },
    ];
    let (key, node) = (&keys()[0], node_id_of(&keys()[0]));
    let vote = UnsignedVote { kind: VoteKind::Precommit, ..others[0] };
    let signature = vote.sign(key, &network);
    assert!(vote.claim(node, &network, signature).holds());
    assert!(!vote.claim(node, &NetworkId::UNFOUNDED, signature).holds(), "another network");
    assert!(others.iter().all(|other| !other.claim(node, &network, signature).holds()));
    for purpose in Purpose::ALL {
        for message in [precommit.clone(), proposal_bytes(Height(12), 2, None, block)] {
            assert!(!crate::signed::verify(&node, purpose, &network, &message, &signature));
        }
    }
}

#[test]
fn a_certificate_is_good_for_its_header_and_round_only() {
    let sealed = sealed();
    let network = sealed.block.header.network;
    let verify = |change: &dyn Fn(&mut SealedBlock)| {
        let mut changed = sealed.clone();
        change(&mut changed);
        // Whoever forges a certificate says that it is for the block.
        changed.certificate.block = changed.block.hash();
        changed.certificate.height = changed.block.height();
        changed.certificate.verify(&network, &changed.block.header, &validators())
    };
    let wrong = || Err(CertificateError::Signature(sealed.certificate.signatures[0].0));
    assert_eq!(verify(&|_| {}), Ok(()));
    assert_eq!(verify(&|b| b.certificate.round += 1), wrong());
    assert_eq!(verify(&|b| b.block.header.height = Height(13)), wrong());
    assert_eq!(verify(&|b| b.block.header.tree_size += 1), wrong());
    assert_eq!(verify(&|b| b.block.header.tree_root = Sha256Digest::of(b"")), wrong());
    assert_eq!(verify(&|b| b.block.header.state_root = Sha256Digest::of(b"")), wrong());
    assert_eq!(verify(&|b| b.block.header.next_validators = Sha256Digest::of(b"")), wrong());
    assert_eq!(verify(&|b| b.block.header.time_ms += 1_000), wrong());
    assert_eq!(verify(&|b| b.block.header.time_ms += 1), wrong());
}

#[test]
fn a_block_of_the_version_before_is_refused_by_its_version() {
    let mut old = sealed();
    old.block.header.version = 2;
    let refused = SealedBlock::decode(&old.encode()).expect_err("an old block").to_string();
    assert_eq!(refused, "this block is of version 2, and this program reads version 3 only");
}

#[test]
fn what_is_no_checkpoint_of_a_ledger_is_refused_by_its_reason() {
    let text = sealed().checkpoint_text().to_string();
    assert_eq!(text.parse(), Ok(sealed().checkpoint_text()));
    let lines: Vec<&str> = text.lines().collect();
    let with = |at: usize, line: String| {
        let mut lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        lines[at] = line;
        lines.join("\n") + "\n"
    };
    for (changed, expected) in [
        (String::new(), CheckpointError::Lines),
        (text.trim_end().to_owned(), CheckpointError::Lines),
        (format!("{text}more\n"), CheckpointError::Lines),
        (format!("{}\n", lines[..3].join("\n")), CheckpointError::Lines),
        (with(0, "example.com/log".into()), CheckpointError::Origin),
        (with(0, lines[0].to_uppercase()), CheckpointError::Origin),
        (with(0, lines[0].replacen('/', "/A", 1)), CheckpointError::Origin),
        (with(1, "01".into()), CheckpointError::Size),
        (with(1, "+1".into()), CheckpointError::Size),
        (with(1, "18446744073709551616".into()), CheckpointError::Size),
        (with(2, "AAAA".into()), CheckpointError::Root),
        (with(2, lines[2].replace('=', "")), CheckpointError::Root),
        (with(3, lines[3].replace("block", "blocks")), CheckpointError::Block),
        (with(3, format!("{} 1", lines[3])), CheckpointError::Block),
        (with(3, lines[3].replace(" 12 ", " 012 ")), CheckpointError::Block),
        (with(3, lines[3].replace(" 2 ", " 4294967296 ")), CheckpointError::Block),
    ] {
        assert_eq!(changed.parse::<Checkpoint>(), Err(expected), "{changed}");
    }
}

proptest! {
    #[test]
    fn what_a_checkpoint_says_is_read_back(size: u64, height: u64, round: u32, bytes: [u8; 32]) {
        let digest = Sha256Digest::new(bytes);
        let block = BlockId { hash: BlockHash(Sha256Digest::of(&bytes)), tree_size: size, tree_root: digest, time_s: 0 };
        let checkpoint = Checkpoint::new(NetworkId::new(digest), Height(height), round, &block);
        prop_assert_eq!(checkpoint.to_string().parse::<Checkpoint>(), Ok(checkpoint));
    }

    #[test]
    fn no_text_makes_the_reader_panic_and_what_it_reads_it_writes(text in "(pyrsia/[0-9a-f]{64}\n)?[0-9]{0,3}\n?[A-Za-z0-9+/=\n ]{0,120}") {
        if let Ok(checkpoint) = text.parse::<Checkpoint>() {
            prop_assert_eq!(checkpoint.to_string(), text);
        }
    }

    /// Whatever is changed in a checkpoint that all three signed, they did not all sign the changed one.
    #[test]
    fn no_changed_checkpoint_is_accepted(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let sealed = sealed();
        let known = cosigners(&sealed);
        let mut bytes = sealed.checkpoint().to_string().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        let signed = SignedNote::parse(&bytes).and_then(|note| note.signers(&known).map(|signers| signers.len()));
        prop_assert!(matches!(signed, Err(_) | Ok(0..=2)), "byte {at}: {signed:?}");
        let is_signature_error = matches!(signed, Err(NoteError::Signature(_)));
        prop_assert!(at >= sealed.checkpoint().text().len() || signed.is_err(), "the text is changed: {is_signature_error}");
    }
}
