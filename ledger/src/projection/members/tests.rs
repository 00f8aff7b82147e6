use super::Suspension;
use crate::Refusal;
use crate::block::{BlockHash, BlockId, Height};
use crate::certificate::{UnsignedVote, VoteKind};
use crate::coordinate::BuildId;
use crate::digest::Sha256Digest;
use crate::event::{BuildOutcome, EquivocationProved, Event, NodeAuthorizationApproved};
use crate::evidence::{Evidence, SignedCommitment, SignedVote};
use crate::policy::OPEN_CANDIDATES_PER_NODE_MAX;
use crate::projection::builds::BuildStatus;
use crate::projection::tests::{Bench, built};
use ed25519_dalek::SigningKey;

fn vote(bench: &Bench, key: &SigningKey, block: &[u8]) -> SignedVote {
    let digest = Sha256Digest::of(block);
    let block = BlockId { hash: BlockHash(digest), tree_size: 9, tree_root: digest, time_s: 1 };
    let vote = UnsignedVote { kind: VoteKind::Precommit, height: Height(9), round: 0, block: Some(block) };
    SignedVote::new(key, bench.state.network(), vote)
}

fn proved(bench: &Bench, accused: usize) -> Event {
    let key = &bench.keys[accused];
    let evidence = Evidence::Votes { first: vote(bench, key, b"one"), second: vote(bench, key, b"another") };
    Event::EquivocationProved(EquivocationProved { evidence: Box::new(evidence) })
}

fn publish(bench: &mut Bench, judges: &[usize]) -> BuildId {
    let id = bench.open_build(judges[0]);
    let outcomes: Vec<(usize, BuildOutcome)> = judges.iter().map(|judge| (*judge, built(b"image"))).collect();
    bench.judge(id, &outcomes);
    for event in bench.additions(id) {
        bench.commit(judges[0], event);
    }
    id
}

#[test]
fn the_cosigners_of_every_block_are_the_set_that_its_header_names() {
    let mut bench = Bench::with_members(5);
    bench.revoke(3, None);
    bench.commit(0, proved(&bench, 2));
    bench.reauthorize(3);
    bench.revoke(4, Some(Height(2)));
    let mut state = crate::Projections::from_genesis(&bench.log[0]).expect("genesis");
    for sealed in &bench.log[1..] {
        state = state.apply(&sealed.block).expect("the next block");
        assert_eq!(state.cosigners().hash(), sealed.block.header.validators, "block {}", sealed.height());
        assert_eq!(state.validators().hash(), sealed.block.header.next_validators, "block {}", sealed.height());
    }
    assert_eq!(state.cosigners().nodes().len(), 4, "the one who left cosigns the block that it left by");
}

#[test]
fn a_majority_revokes_and_the_set_changes_at_the_next_height() {
    let mut bench = Bench::with_members(4);
    for author in [0, 1] {
        bench.commit(author, bench.revocation(3, None));
    }
    let twice = bench.try_commit(1, bench.revocation(3, None));
    assert_eq!(twice, Err(Refusal::RevocationApprovedAlready { author: bench.node(1), node: bench.node(3) }));
    bench.commit(2, bench.revocation(3, Some(Height(1))));
    assert_eq!(bench.state.validators().nodes().len(), 4, "approvals of different heights do not add up");
    assert_eq!(bench.state.members.revocations().count(), 2);
    let before = bench.state.clone();
    bench.commit(2, bench.revocation(3, None));
    assert_eq!(bench.state.validators().nodes().len(), 3);
    let sealed = bench.log.last().expect("a block");
    assert_eq!(sealed.block.header.validators, before.validators().hash(), "the block that changes the set is the old set's");
    let (_, former) = bench.state.members.former().next().expect("it was a member");
    assert_eq!((former.until, former.compromised_since), (bench.state.height(), None));
    assert_eq!(bench.try_commit(3, bench.request()), Err(Refusal::NotAuthorized { author: bench.node(3) }));
    assert_eq!(bench.try_commit(0, bench.revocation(3, None)), Err(Refusal::RevokedAlready { node: bench.node(3) }));
    assert_eq!(bench.try_commit(0, bench.revocation(7, None)), Err(Refusal::NoMember { node: bench.node(7) }));
    assert_eq!(bench.try_commit(7, bench.revocation(2, None)), Err(Refusal::NotAuthorized { author: bench.node(7) }));
    bench.reauthorize(3);
    assert_eq!(bench.state.members.former().count(), 0);
    assert_eq!(bench.state.members.revocations().count(), 0, "approvals are about the time before");
}

#[test]
fn the_set_never_becomes_empty_and_changes_once_in_a_block() {
    let mut bench = Bench::with_members(1);
    assert_eq!(bench.try_commit(0, bench.revocation(0, None)), Err(Refusal::LastNode { node: bench.node(0) }));
    assert_eq!(bench.try_commit(0, proved(&bench, 0)), Err(Refusal::LastNode { node: bench.node(0) }));
    let mut bench = Bench::with_members(5);
    for author in [0, 1] {
        bench.commit(author, bench.revocation(3, None));
        bench.commit(author, bench.revocation(4, None));
    }
    let first = bench.sign(2, bench.revocation(3, None));
    let mut second = bench.sign(2, bench.revocation(4, None)).unsigned;
    second.sequence += 1;
    let second = crate::SignedEvent::new(&bench.keys[2], second);
    let other = bench.sign(0, proved(&bench, 1));
    let proposal = bench.state.propose(bench.node(0), 0, [&first, &second, &other]);
    assert_eq!(proposal.block.events.len(), 1);
    for (_, refusal) in &proposal.refused {
        assert_eq!((refusal, refusal.is_for_good()), (&Refusal::SetChangesInThisBlock, false));
    }
}

#[test]
fn of_each_member_one_opinion_stands_about_since_when_a_node_is_compromised() {
    let mut bench = Bench::with_members(5);
    for since in 1..=20 {
        bench.commit(0, bench.revocation(4, Some(Height(since))));
    }
    let rows = |bench: &Bench| bench.state.members.revocations().map(|(key, _)| *key).collect::<Vec<_>>();
    assert_eq!(rows(&bench), [(bench.node(4), Some(20))], "a newer approval takes the older back");
    bench.commit(1, bench.revocation(4, Some(Height(20))));
    bench.commit(0, bench.revocation(4, Some(Height(3))));
    bench.commit(2, bench.revocation(4, Some(Height(20))));
    assert!(bench.state.members.contains(&bench.node(4)), "one of three thinks otherwise by then");
    assert_eq!(rows(&bench).len(), 2);
    bench.commit(0, bench.revocation(4, Some(Height(20))));
    assert!(!bench.state.members.contains(&bench.node(4)));
    for (author, since) in [(0, 9), (1, 8), (2, 7)] {
        bench.commit(author, bench.revocation(4, Some(Height(since))));
    }
    assert_eq!(rows(&bench).len(), 3, "that it was earlier still is again for a majority to say");
    bench.commit(0, bench.revocation(4, Some(Height(7))));
    bench.commit(1, bench.revocation(4, Some(Height(7))));
    assert_eq!(rows(&bench), [], "what is decided leaves nothing open");
    bench.commit(0, bench.revocation(3, None));
    bench.commit(1, proved(&bench, 3));
    assert_eq!(rows(&bench), [], "evidence decides as well");
}

#[test]
fn one_member_cannot_open_candidacies_without_end() {
    let mut bench = Bench::with_members(5);
    let approval = |seed: usize| {
        let key = SigningKey::from_bytes(&[seed as u8 + 100; 32]);
        Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: crate::signed::node_id_of(&key) })
    };
    for seed in 0..OPEN_CANDIDATES_PER_NODE_MAX {
        bench.commit(0, approval(seed));
    }
    let refused = bench.try_commit(0, approval(OPEN_CANDIDATES_PER_NODE_MAX)).expect_err("that many");
    assert!(!refused.is_for_good(), "{refused}");
    bench.commit(1, approval(OPEN_CANDIDATES_PER_NODE_MAX));
    assert_eq!(bench.try_commit(0, approval(OPEN_CANDIDATES_PER_NODE_MAX)), Err(refused), "a second opinion opens one too");
    bench.commit(2, approval(OPEN_CANDIDATES_PER_NODE_MAX));
    bench.commit(0, approval(OPEN_CANDIDATES_PER_NODE_MAX));
    for author in [1, 2] {
        bench.commit(author, approval(0));
    }
    bench.commit(0, approval(OPEN_CANDIDATES_PER_NODE_MAX + 1));
}

#[test]
fn a_majority_stops_a_candidate_before_it_comes_in() {
    let mut bench = Bench::with_members(3);
    for author in [0, 1] {
        bench.commit(author, bench.approval(5));
    }
    bench.commit(2, bench.approval(6));
    for node in [5, 6] {
        let of_a_candidate = bench.try_commit(2, bench.revocation(node, Some(Height(1))));
        assert_eq!(of_a_candidate, Err(Refusal::NoMember { node: bench.node(node) }), "it has said nothing that counts yet");
        bench.commit(2, bench.revocation(node, None));
        assert!(bench.state.members.candidate(&bench.node(node)).is_some());
        bench.commit(0, bench.revocation(node, None));
        assert_eq!(bench.state.members.candidate(&bench.node(node)), None);
    }
    assert_eq!(bench.state.members.revocations().count(), 0);
    assert_eq!(bench.state.members.former().count(), 0, "it was no member");
    assert_eq!(bench.try_commit(5, bench.activation()), Err(Refusal::NotApproved { author: bench.node(5) }));
    assert_eq!(bench.try_commit(0, bench.revocation(5, None)), Err(Refusal::NoMember { node: bench.node(5) }));
    // A former member on its way back is one as well.
    bench.revoke(2, None);
    for author in [0, 1] {
        bench.commit(author, bench.approval(2));
    }
    for author in [0, 1] {
        bench.commit(author, bench.revocation(2, None));
    }
    assert_eq!(bench.try_commit(2, bench.activation()), Err(Refusal::NotApproved { author: bench.node(2) }));
    for node in [2, 5] {
        bench.reauthorize(node);
    }
}

/// Approvals of members that left do not count, and those that stay may say it again.
#[test]
fn an_approval_that_was_one_too_few_decides_once_the_set_is_smaller() {
    let mut bench = Bench::with_members(5);
    for author in [0, 1] {
        bench.commit(author, bench.approval(6));
        bench.commit(author, bench.revocation(0, None));
    }
    assert_eq!(
        bench.try_commit(1, bench.approval(6)),
        Err(Refusal::ApprovedAlready { author: bench.node(1), node: bench.node(6) })
    );
    bench.revoke(4, None);
    bench.revoke(3, None);
    bench.commit(1, bench.approval(6));
    bench.activate(6);
    bench.revoke(2, None);
    bench.commit(1, bench.revocation(0, None));
    assert!(!bench.state.members.contains(&bench.node(0)));
}

#[test]
fn a_majority_that_rested_on_a_compromised_node_is_counted_again() {
    let mut bench = Bench::with_members(4);
    let early = publish(&mut bench, &[0, 1, 3]);
    let compromised = bench.state.height().next();
    let shaky = publish(&mut bench, &[0, 1, 3]);
    let safe = publish(&mut bench, &[0, 1, 2, 3]);
    assert_eq!(
        bench.try_commit(0, bench.revocation(3, Some(Height(999)))),
        Err(Refusal::SinceAhead { since: 999, newest: bench.state.height() })
    );
    bench.revoke(3, Some(compromised));
    let at_risk: Vec<_> = bench.state.builds.all_at_risk().map(|(id, risk)| (*id, risk.lost.clone())).collect();
    assert_eq!(at_risk, [(shaky, vec![bench.node(3)])]);
    assert!(bench.state.builds.at_risk(&safe).is_none() && bench.state.builds.at_risk(&early).is_none());
    // It turns out to have been earlier still.
    bench.revoke(3, Some(Height(1)));
    assert!(bench.state.builds.at_risk(&early).is_some());
    assert_eq!(bench.try_commit(0, bench.revocation(3, Some(Height(2)))), Err(Refusal::RevokedAlready { node: bench.node(3) }));
    let again = publish(&mut bench, &[0, 1, 2]);
    assert!(bench.state.builds.at_risk(&again).is_none(), "what is published anew is not at risk");
    assert!(matches!(bench.status(shaky), BuildStatus::Published { .. }), "nothing is deleted");
    // What it says after it is authorized again counts, and what it said before does not.
    bench.reauthorize(3);
    let later = publish(&mut bench, &[0, 1, 3]);
    bench.revoke(3, None);
    bench.reauthorize(3);
    bench.revoke(3, Some(bench.state.height()));
    assert!(bench.state.builds.at_risk(&later).is_none() && bench.state.builds.at_risk(&shaky).is_some());
}

#[test]
fn an_agreement_that_rested_on_a_compromised_node_is_not_published() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    bench.judge(id, &[(0, built(b"image")), (1, built(b"image")), (3, built(b"image"))]);
    let additions = bench.additions(id);
    bench.commit(0, additions[0].clone());
    bench.revoke(3, Some(Height(1)));
    assert_eq!(bench.status(id), &BuildStatus::Disputed { reports: 0 });
    assert_eq!(bench.try_commit(0, additions[1].clone()), Err(Refusal::NotAgreed(id)));
    publish(&mut bench, &[0, 1, 2]);
}

#[test]
fn a_result_that_was_committed_to_in_time_supports_what_it_comes_late_for() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    for judge in 0..4 {
        bench.commit(judge, bench.commitment(judge, id, &built(b"image")));
    }
    for judge in [0, 1, 3] {
        bench.commit(judge, bench.revelation(judge, id, built(b"image")));
    }
    for event in bench.additions(id) {
        bench.commit(0, event);
    }
    bench.revoke(3, Some(Height(1)));
    assert!(bench.state.builds.at_risk(&id).is_some());
    bench.commit(2, bench.revelation(2, id, built(b"image")));
    assert!(bench.state.builds.at_risk(&id).is_none(), "three of four, none of them compromised");
}

#[test]
fn a_key_that_signed_two_votes_of_a_round_is_suspended_for_good() {
    let mut bench = Bench::with_members(4);
    let stranger = bench.try_commit(7, proved(&bench, 3));
    assert_eq!(stranger, Err(Refusal::NotAuthorized { author: bench.node(7) }));
    assert_eq!(bench.try_commit(0, proved(&bench, 7)), Err(Refusal::NoMember { node: bench.node(7) }));
    let proof = bench.sign(1, proved(&bench, 3));
    bench.commit(1, proof.unsigned.event.clone());
    assert_eq!(bench.state.validators().nodes().len(), 3);
    let suspension = Suspension { height: bench.state.height(), event: proof.id() };
    assert_eq!(bench.state.members.suspended(&bench.node(3)), Some(&suspension));
    assert_eq!(bench.try_commit(0, bench.approval(3)), Err(Refusal::Suspended { node: bench.node(3) }));
    assert_eq!(bench.try_commit(0, proved(&bench, 3)), Err(Refusal::Suspended { node: bench.node(3) }));
    // One that is on its way in is stopped there.
    for author in [0, 1] {
        bench.commit(author, bench.approval(5));
    }
    bench.commit(2, proved(&bench, 5));
    assert_eq!(bench.try_commit(5, bench.activation()), Err(Refusal::NotApproved { author: bench.node(5) }));
    // How far back its word is worth nothing is for the majority to say.
    let id = publish(&mut bench, &[0, 1]);
    bench.revoke(3, Some(Height(1)));
    assert!(bench.state.builds.at_risk(&id).is_none());
    bench.revoke(2, None);
    bench.commit(0, proved(&bench, 2));
    assert!(bench.state.members.suspended(&bench.node(2)).is_some(), "a former member does not come back either");
}

#[test]
fn two_commitments_to_one_build_suspend_and_two_events_of_one_number_do_not() {
    let mut bench = Bench::with_members(4);
    let id = bench.open_build(0);
    let commitments = [b"one".as_slice(), b"another"].map(|contents| bench.commitment(2, id, &built(contents)));
    let signed = commitments.map(|event| bench.sign(2, event));
    assert_eq!(signed[0].unsigned.sequence, signed[1].unsigned.sequence);
    let [first, second] = [0, 1].map(|at| SignedCommitment::of(&signed[at]).expect("a commitment"));
    assert_eq!(SignedCommitment::of(&bench.sign(2, bench.revelation(2, id, built(b"one")))), None);
    let twice = Evidence::Commitments { first: first.clone(), second: first.clone() };
    let proves_nothing = bench.try_commit(0, Event::EquivocationProved(EquivocationProved { evidence: Box::new(twice) }));
    assert!(matches!(proves_nothing, Err(Refusal::Evidence(_))));
    let evidence = Evidence::Commitments { first, second };
    bench.commit(0, Event::EquivocationProved(EquivocationProved { evidence: Box::new(evidence) }));
    assert!(bench.state.members.suspended(&bench.node(2)).is_some());
    assert!(bench.state.builds.get(&id).expect("open").left.contains(&bench.node(2)));
}

/// What the predecessor allowed: a node authorized itself from a regular node.
#[test]
fn a_regular_node_can_neither_authorize_nor_revoke_nor_accuse() {
    let mut bench = Bench::with_members(2);
    for event in [bench.approval(7), bench.approval(8), bench.revocation(0, None), proved(&bench, 0)] {
        assert_eq!(bench.try_commit(7, event), Err(Refusal::NotAuthorized { author: bench.node(7) }));
    }
    assert_eq!(bench.try_commit(7, bench.activation()), Err(Refusal::NotApproved { author: bench.node(7) }));
    bench.commit(0, bench.approval(7));
    assert_eq!(bench.try_commit(7, bench.activation()), Err(Refusal::NotApproved { author: bench.node(7) }), "one of two");
}
