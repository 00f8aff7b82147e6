use super::*;
use arc_malachitebft_core_types::{Context as _, Validator as _};
use pyrsia_ledger::{BlockHash, Sha256Digest};

const HEIGHT: Height = Height(1);

fn lone() -> (Engine, ValidatorSet) {
    let key = SigningKey::from_bytes(&[1; 32]);
    let validators = ValidatorSet::new(vec![node_id_of(&key)]);
    let network = NetworkId::new(Sha256Digest::of(b"network"));
    (Engine::new(key, network, HEIGHT, &validators), validators)
}

fn block() -> BlockId {
    let digest = Sha256Digest::of(b"block");
    BlockId { hash: BlockHash(digest), tree_size: 3, tree_root: digest, time_s: 1 }
}

#[test]
fn both_sides_of_the_border_agree_whose_turn_it_is() {
    let nodes = (1..=5).map(|seed| node_id_of(&SigningKey::from_bytes(&[seed; 32]))).collect();
    let validators = ValidatorSet::new(nodes);
    for (height, round) in [(1, 0), (1, 1), (7, 0), (8, 3), (u64::MAX, 2)] {
        let set = Validators::new(&validators);
        let theirs = Context.select_proposer(&set, context::Height(height), Round::new(round)).address().0;
        assert_eq!(super::super::ballot::proposer(&validators, Height(height), round), Some(theirs));
    }
}

#[test]
fn a_lone_validator_decides_its_own_block_and_journals_before_it_publishes() {
    let (mut engine, validators) = lone();
    let outputs = engine.step(Input::StartHeight { height: HEIGHT, validators }).expect("starts");
    assert!(outputs.iter().any(|output| matches!(output, Output::GetBlock { round: 0, .. })));
    let outputs = engine.step(Input::Propose { height: HEIGHT, round: 0, block: block() }).expect("decides");
    let place = |wanted: fn(&Output) -> bool| outputs.iter().position(wanted).expect("the output is there");
    let journaled = place(|output| matches!(output, Output::Journal(..)));
    let decided = place(|output| matches!(output, Output::Decide(certificate) if certificate.block == block().hash));
    let published = place(|output| matches!(output, Output::PublishProposal(_)));
    assert!(journaled < decided && decided < published, "publishing comes after deciding: {outputs:?}");
}

#[test]
fn a_restarted_node_says_what_its_journal_says_and_a_damaged_entry_stops_it() {
    let (mut engine, validators) = lone();
    engine.step(Input::StartHeight { height: HEIGHT, validators: validators.clone() }).expect("starts");
    let outputs = engine.step(Input::Propose { height: HEIGHT, round: 0, block: block() }).expect("decides");
    let mut entries: Vec<Vec<u8>> = outputs
        .into_iter()
        .filter_map(|output| if let Output::Journal(_, entry) = output { Some(entry) } else { None })
        .collect();

    let (mut again, _) = lone();
    let outputs = again.recover(HEIGHT, validators.clone(), entries.clone()).expect("recovers");
    assert!(outputs.iter().any(|output| matches!(output, Output::Decide(certificate) if certificate.block == block().hash)));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Journal(..))), "nothing is journaled twice");

    entries[0].push(0);
    let (mut damaged, _) = lone();
    assert!(matches!(damaged.recover(HEIGHT, validators, entries), Err(EngineError::Journal { index: 0, .. })));
}
