use super::*;
use crate::tree::{Frontier, leaf_hash};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
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
    let shown = |proof: Vec<Sha256Digest>| proof.iter().map(Sha256Digest::to_string).collect::<Vec<_>>();
    assert_eq!(tree.root(8).expect("a root").to_string(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    assert_eq!(tree.root(5).expect("a root").to_string(), "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4");
    assert_eq!(
        shown(tree.inclusion(0, 8).expect("a proof")),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ]
    );
    assert_eq!(
        shown(tree.consistency(6, 8).expect("a proof")),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
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

proptest! {
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
