//! Logs out of sound parts that are no sound whole, and blocks that only those can make who hold every key.

use super::*;
use crate::block::Block;
use crate::proof::TreeHashes;
use crate::signed::{Purpose, sign};
use crate::tree::leaf_hash;

/// What may be done to a log without a change of any block; the last one is never only left out, which is another log's end.
#[derive(Clone, Debug)]
enum Rearrangement {
    Swapped(usize, usize),
    Repeated(usize, usize),
    LeftOut(usize),
    Reversed(usize, usize),
    Moved(usize, usize),
}

fn rearrangement() -> impl Strategy<Value = Rearrangement> {
    let two = || (any::<usize>(), any::<usize>());
    prop_oneof![
        two().prop_map(|(a, b)| Rearrangement::Swapped(a, b)),
        two().prop_map(|(a, b)| Rearrangement::Repeated(a, b)),
        any::<usize>().prop_map(Rearrangement::LeftOut),
        two().prop_map(|(a, b)| Rearrangement::Reversed(a, b)),
        two().prop_map(|(a, b)| Rearrangement::Moved(a, b)),
    ]
}

fn rearranged(mut log: Vec<Vec<u8>>, rearrangement: &Rearrangement) -> Vec<Vec<u8>> {
    let length = log.len();
    match *rearrangement {
        Rearrangement::Swapped(a, b) => log.swap(a % length, b % length),
        Rearrangement::Repeated(a, b) => log.insert(b % (length + 1), log[a % length].clone()),
        Rearrangement::LeftOut(a) => drop(log.remove(a % (length - 1))),
        Rearrangement::Reversed(a, b) => log[(a % length).min(b % length)..=(a % length).max(b % length)].reverse(),
        Rearrangement::Moved(a, b) => {
            let block = log.remove(a % length);
            log.insert(b % length, block);
        }
    }
    log
}

/// Two logs of the same validators with one beginning: who holds all keys can make both.
fn forked() -> (Vec<Vec<u8>>, Vec<Vec<u8>>, usize) {
    let verifier = |module: &str| {
        let package_type = PackageType::new("docker").expect("a type");
        Event::VerifierApproved(VerifierApproved {
            package_type,
            module: Sha256Digest::of(module.as_bytes()),
            contract_version: 1,
        })
    };
    let ends = ["one", "two"].map(|end| {
        let mut bench = Bench::with_members(3);
        let common = bench.log.len();
        for number in 0..4 {
            bench.commit(number % 3, verifier(&format!("{end} {number}")));
        }
        (raw(&bench.log), common)
    });
    let [(one, common), (two, _)] = ends;
    assert_eq!(one[..common], two[..common]);
    (one, two, common)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_rearrangement_of_sound_blocks_is_a_sound_log(rearrangement in rearrangement()) {
        thread_local!(static LOG: Vec<Vec<u8>> = raw(&bench().log));
        let log = LOG.with(Clone::clone);
        let changed = rearranged(log.clone(), &rearrangement);
        prop_assert_eq!(audit(&changed).clean, changed == log);
    }

    /// From the fork on each block is taken from one of both logs.
    #[test]
    fn of_two_logs_that_fork_no_mixture_is_sound(taken in prop::collection::vec(any::<bool>(), 4)) {
        thread_local!(static FORKED: (Vec<Vec<u8>>, Vec<Vec<u8>>, usize) = forked());
        let (one, two, common) = FORKED.with(Clone::clone);
        let mixed: Vec<Vec<u8>> = one[..common]
            .iter()
            .chain(taken.iter().zip(one[common..].iter().zip(&two[common..])).map(|(first, (a, b))| if *first { a } else { b }))
            .cloned()
            .collect();
        prop_assert_eq!(audit(&mixed).clean, mixed == one || mixed == two);
        // Whoever knows how one of them ends finds the other.
        let mut pinned = Audit::new(None);
        let tip = SealedBlock::decode(one.last().expect("a block")).expect("decodes").block.hash();
        pinned.announce(Announced { height: Height(one.len() as u64 - 1), block: tip, exactness: Exactness::Exactly });
        (0..).zip(&mixed).for_each(|(height, raw)| pinned.feed(Height(height), raw));
        prop_assert_eq!(pinned.finish([]).clean, mixed == one);
    }
}

/// The next block with this event, as those make it who hold all keys and ask no rule: tree, parent and signatures are right.
fn sealed_in_spite(bench: &Bench, events: Vec<SignedEvent>, change: impl Fn(&mut Block)) -> SealedBlock {
    let mut tree = TreeHashes::default();
    let before = bench.log.iter().flat_map(|sealed| &sealed.block.events);
    before.chain(&events).for_each(|event| tree.append(leaf_hash(&event.encode())));
    let mut block = bench.state.propose(bench.node(0), bench.state.time_ms() + 10, []).block;
    block.events = events;
    block.header.tree_size = tree.size();
    block.header.tree_root = tree.root(tree.size()).expect("it is that large");
    change(&mut block);
    bench.seal(block)
}

#[test]
fn what_no_rule_allows_is_found_although_every_validator_signed_it() {
    let bench = bench();
    let state = &bench.state;
    let approval = |number: u8| {
        Event::VerifierApproved(VerifierApproved {
            package_type: PackageType::new("docker").expect("a type"),
            module: Sha256Digest::of(&[number]),
            contract_version: 1,
        })
    };
    let numbered = |author: usize, sequence: u64, number: u8| {
        let unsigned = UnsignedEvent::new(*state.network(), bench.node(author), sequence, 1, approval(number));
        SignedEvent::new(&bench.keys[author], unsigned)
    };
    let next = state.next_sequence(&bench.node(0));
    let good = numbered(0, next, 1);
    let mut elsewhere = good.unsigned.clone();
    elsewhere.network = NetworkId::new(Sha256Digest::of(b"another"));
    let replayed = bench.log[bench.log.len() - 2].block.events[0].clone();
    let mut borrowed = good.clone();
    borrowed.signature = numbered(1, next, 1).signature;
    let as_proposal = sign(&bench.keys[0], Purpose::Proposal, state.network(), b"event");
    let cases: [(&str, Vec<SignedEvent>, FindingKind); 8] = [
        ("replayed", vec![replayed], FindingKind::Rule),
        ("twice in a block", vec![good.clone(), good.clone()], FindingKind::Rule),
        ("a gap in the numbers of its author", vec![numbered(0, next + 1, 1)], FindingKind::Rule),
        ("two of one number", vec![good.clone(), numbered(0, next, 2)], FindingKind::Rule),
        ("of a stranger", vec![numbered(7, 0, 1)], FindingKind::Rule),
        ("of another network", vec![SignedEvent::new(&bench.keys[0], elsewhere)], FindingKind::Rule),
        ("signed by another key", vec![borrowed], FindingKind::Signature),
        ("signed as something else", vec![SignedEvent { signature: as_proposal, ..good.clone() }], FindingKind::Signature),
    ];
    let height = bench.log.len() as u64;
    let found = |sealed: &SealedBlock| {
        let log: Vec<SealedBlock> = bench.log.iter().chain([sealed]).cloned().collect();
        let report = audit(&raw(&log));
        assert!(report.findings.iter().all(|finding| finding.height.0 == height), "{:#?}", report.findings);
        report.findings.iter().map(|finding| finding.what).collect::<Vec<_>>()
    };
    for (what, events, kind) in cases {
        let sealed = sealed_in_spite(&bench, events, |_| {});
        assert!(state.apply_sealed(&sealed).is_err(), "{what}");
        let kinds = found(&sealed);
        assert!(kinds.contains(&kind) && !kinds.contains(&FindingKind::Certificate), "{what}: {kinds:?}");
    }
    let sound = state.propose(bench.node(0), state.time_ms() + 10, [&good]).block;
    assert_eq!(found(&bench.seal(sound.clone())), []);
    let earlier = sealed_in_spite(&bench, vec![], |block| block.header.time_ms = state.time_ms() - 1);
    assert!(state.apply_sealed(&earlier).is_err() && found(&earlier).contains(&FindingKind::Chain), "time goes back");
    let mut other_set = sound;
    other_set.header.next_validators = Sha256Digest::of(b"friends");
    let other_set = bench.seal(other_set);
    assert!(state.apply_sealed(&other_set).is_err() && !found(&other_set).is_empty(), "validators whom nobody authorized");
}

#[test]
fn a_kind_of_event_that_this_program_does_not_know_is_no_sound_block() {
    let bench = bench();
    let mut log = raw(&bench.log);
    let last = log.len() - 1;
    let encoded = bench.log[last].block.events[0].encode();
    let at = log[last].windows(encoded.len()).position(|window| window == encoded).expect("the event stands in its block");
    // Behind version, network, author, sequence and time.
    log[last][at + 2 + 32 + 32 + 8 + 8] = 99;
    let report = audit(&log);
    assert_eq!(kinds(&report).first(), Some(&(last as u64, FindingKind::Decode)), "{:#?}", report.findings);
    assert!(report.findings[0].sentence.contains("not known to this program"), "{}", report.findings[0].sentence);
}
