use super::*;
use crate::tree::{Frontier, leaf_hash};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;

fn leaf(number: u64) -> Vec<u8> {
    number.to_le_bytes().to_vec()
}

fn tree(size: u64) -> TreeHashes {
    let mut tree = TreeHashes::default();
    for number in 0..size {
        tree.append(leaf_hash(&leaf(number)));
    }
    tree
}

fn oracle(size: u64) -> MemoryBackedTree<Sha256, Vec<u8>> {
    let mut oracle = MemoryBackedTree::new();
    for number in 0..size {
        oracle.push(leaf(number));
    }
    oracle
}

fn joined(proof: &[Sha256Digest]) -> Vec<u8> {
    proof.iter().flat_map(|hash| *hash.as_bytes()).collect()
}

/// The leaves of certificate transparency's own reference tests, and the roots and proofs published with them.
#[test]
fn the_known_proofs_of_certificate_transparency_come_out() {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let mut tree = TreeHashes::default();
    for leaf in leaves {
        tree.append(leaf_hash(&hex::decode(leaf).expect("hexadecimal")));
    }
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    for (size, root) in (0..).zip(roots) {
        assert_eq!(tree.root(size).expect("a root").to_string(), root, "{size}");
    }
    let first = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    let (second, third) = (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    );
    let (fourth, right) = (
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    );
    let sixth = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    let shown = |proof: Result<Vec<Sha256Digest>, ProofError>| {
        proof.expect("a proof").iter().map(Sha256Digest::to_string).collect::<Vec<_>>()
    };
    let inclusions: [(u64, u64, &[&str]); 5] = [
        (0, 1, &[]),
        (0, 8, &[first, second, right]),
        (5, 8, &[third, fourth, roots[4]]),
        (2, 3, &[roots[2]]),
        (1, 5, &[roots[1], second, third]),
    ];
    for (index, size, proof) in inclusions {
        assert_eq!(shown(tree.inclusion(index, size)), proof, "{index} in {size}");
    }
    let consistencies: [(u64, u64, &[&str]); 4] =
        [(1, 1, &[]), (1, 8, &[first, second, right]), (6, 8, &[sixth, fourth, roots[4]]), (2, 5, &[second, third])];
    for (old, size, proof) in consistencies {
        assert_eq!(shown(tree.consistency(old, size)), proof, "{old} to {size}");
    }
}

#[test]
fn every_proof_of_a_small_tree_is_that_of_another_implementation_and_holds() {
    let size = 40;
    let (tree, mut frontier) = (tree(size), Frontier::default());
    for size in 0..=size {
        let oracle = oracle(size);
        let root = tree.root(size).expect("a root");
        assert_eq!(root, frontier.root());
        assert_eq!(root.as_bytes().as_slice(), oracle.root().as_bytes().as_slice());
        for index in 0..size {
            let proof = tree.inclusion(index, size).expect("a proof");
            assert_eq!(joined(&proof), oracle.prove_inclusion(index as usize).as_bytes());
            assert_eq!(verify_inclusion(&leaf_hash(&leaf(index)), index, size, &proof, &root), Ok(()));
        }
        for old in 0..=size {
            let proof = tree.consistency(old, size).expect("a proof");
            let old_root = tree.root(old).expect("a root");
            if old > 0 && old < size {
                assert_eq!(joined(&proof), oracle.prove_consistency((size - old) as usize).as_bytes(), "{old} to {size}");
            }
            assert_eq!(verify_consistency((old, &old_root), (size, &root), &proof), Ok(()), "{old} to {size}");
        }
        frontier.append(leaf_hash(&leaf(size)));
    }
    assert_eq!(tree.inclusion(40, 40), Err(ProofError::NotInTree { index: 40, size: 40 }));
    assert_eq!(tree.consistency(3, 41), Err(ProofError::NotOlder { old: 3, size: 40 }));
}

/// What may be wrong with a proof, or with what is claimed beside it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    Flipped,
    Shorter,
    Longer,
    Swapped,
    Size(u64),
    Place(u64),
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        2 => Just(Fault::None),
        1 => Just(Fault::Flipped),
        1 => Just(Fault::Shorter),
        1 => Just(Fault::Longer),
        1 => Just(Fault::Swapped),
        2 => (1u64..1 << 40).prop_map(Fault::Size),
        2 => (1u64..300).prop_map(Fault::Size),
        2 => (0u64..300).prop_map(Fault::Place),
    ]
}

fn spoilt(mut proof: Vec<Sha256Digest>, fault: Fault) -> Vec<Sha256Digest> {
    match fault {
        Fault::Flipped => {
            if let Some(hash) = proof.last_mut() {
                *hash = leaf_hash(hash.as_bytes());
            }
        }
        Fault::Shorter => drop(proof.pop()),
        Fault::Longer => proof.push(leaf_hash(b"more")),
        Fault::Swapped => proof.reverse(),
        Fault::None | Fault::Size(_) | Fault::Place(_) => {}
    }
    proof
}

proptest! {
    /// Two programs that were written apart accept the same proofs, also those of sizes and places that they are not of.
    #[test]
    fn another_implementation_accepts_and_refuses_the_same_proofs(size in 2u64..200, at in any::<u64>(), fault in fault()) {
        let tree = tree(size);
        let root = tree.root(size).expect("a root");
        let (index, old) = (at % size, at % (size - 1) + 1);
        let (claimed_size, place) = match fault {
            Fault::Size(claimed) => (claimed, None),
            Fault::Place(place) => (size, Some(place)),
            _ => (size, None),
        };
        let theirs = |root: &Sha256Digest, size| RootHash::<Sha256>::new((*root.as_bytes()).into(), size);

        let path = spoilt(tree.inclusion(index, size).expect("a proof"), fault);
        let place_of_leaf = place.unwrap_or(index);
        let ours = verify_inclusion(&leaf_hash(&leaf(index)), place_of_leaf, claimed_size, &path, &root).is_ok();
        let proof = InclusionProof::try_from_bytes(joined(&path)).expect("whole hashes");
        let accepted = theirs(&root, claimed_size).verify_inclusion(&leaf(index), place_of_leaf, &proof).is_ok();
        prop_assert_eq!(ours, accepted, "leaf {} of {}", place_of_leaf, claimed_size);
        prop_assert!(ours || !matches!(fault, Fault::None));

        let path = spoilt(tree.consistency(old, size).expect("a proof"), fault);
        let (old_root, claimed_old) = (tree.root(old).expect("a root"), place.unwrap_or(old).max(1));
        let ours = verify_consistency((claimed_old, &old_root), (claimed_size, &root), &path).is_ok();
        let proof = ConsistencyProof::try_from_bytes(joined(&path)).expect("whole hashes");
        let accepted = theirs(&root, claimed_size).verify_consistency(&theirs(&old_root, claimed_old), &proof).is_ok();
        prop_assert_eq!(ours, accepted, "{} to {}", claimed_old, claimed_size);
        prop_assert!(ours || !matches!(fault, Fault::None));
    }

    #[test]
    fn a_proof_that_is_changed_in_any_way_does_not_hold(size in 2u64..200, at in any::<u64>(), other in any::<u64>(), byte in 0usize..32, hash in any::<prop::sample::Index>()) {
        let tree = tree(size);
        let root = tree.root(size).expect("a root");
        let (index, other) = (at % size, other % size);
        let (old, leaf) = (at % (size - 1) + 1, leaf_hash(&leaf(index)));
        let old_root = tree.root(old).expect("a root");
        let inclusion = tree.inclusion(index, size).expect("a proof");
        let consistency = tree.consistency(old, size).expect("a proof");
        prop_assert!(other == index || verify_inclusion(&leaf, other, size, &inclusion, &root).is_err());
        prop_assert!(other == 0 || other == old || verify_consistency((other, &old_root), (size, &root), &consistency).is_err());
        let changes = |proof: &[Sha256Digest]| {
            let mut flipped = proof.to_vec();
            let at = hash.index(proof.len());
            let mut bytes = *flipped[at].as_bytes();
            bytes[byte] ^= 1;
            flipped[at] = Sha256Digest::new(bytes);
            [flipped, proof[1..].to_vec(), [proof, &[root]].concat()]
        };
        for changed in changes(&inclusion) {
            prop_assert!(verify_inclusion(&leaf, index, size, &changed, &root).is_err());
        }
        for changed in changes(&consistency) {
            prop_assert!(verify_consistency((old, &old_root), (size, &root), &changed).is_err());
        }
        prop_assert!(verify_inclusion(&leaf, index, size, &inclusion, &old_root).is_err());
        prop_assert!(verify_consistency((old, &root), (size, &old_root), &consistency).is_err());
    }
}
