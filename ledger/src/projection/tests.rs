use super::builds::BuildStatus;
use super::*;
use crate::block::{Block, SealedBlock};
use crate::certificate::CommitCertificate;
use crate::coordinate::{ArtifactId, PackageType};
use crate::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultCommitted, BuildResultRevealed, BuildSource, BuildWaitEnded,
    BuiltArtifact, NodeActivated, NodeAuthorizationApproved, NodeRevocationApproved, PinnedSource, TEXT_BYTES_MAX,
    VerifierApproved, WaitPhase, commitment,
};
use crate::signed::{UnsignedEvent, node_id_of};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A network of test keys, its log, and the state after it.
pub(crate) struct Bench {
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) log: Vec<SealedBlock>,
    pub(crate) state: Projections,
}

pub(crate) const MODULE: Sha256Digest = Sha256Digest::new([7; 32]);

pub(crate) fn alpine() -> PackageCoordinate {
    PackageCoordinate::new("docker", "alpine:3.16.0").expect("a coordinate")
}

pub(crate) fn artifact(id: &str, bytes: &[u8]) -> BuiltArtifact {
    let sha256 = Sha256Digest::of(bytes);
    BuiltArtifact {
        artifact_id: ArtifactId::new(id).expect("an id"),
        media_type: "application/octet-stream".into(),
        size_bytes: bytes.len() as u64,
        sha256,
        canonical: sha256,
        chunk_root: crate::tree::chunk_root(&[sha256]),
    }
}

pub(crate) fn source(location: &str) -> BuildSource {
    BuildSource { kind: "git".into(), location: location.into(), revision: "c0ffee".into() }
}

pub(crate) fn built(contents: &[u8]) -> BuildOutcome {
    let source = source("file:///alpine");
    BuildOutcome::Built { source, artifacts: vec![artifact("alpine:3.16.0", contents), artifact("alpine@sha256:00", b"layer")] }
}

impl Bench {
    /// A network founded by key 0 that nobody is authorized on.
    pub(crate) fn founded() -> Self {
        let keys: Vec<SigningKey> = (1..=9).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect();
        let sealed = genesis(&keys[0], "test", [1; 32], 1_000);
        let state = Projections::from_genesis(&sealed).expect("genesis is valid");
        Self { keys, log: vec![sealed], state }
    }

    /// The first `n` keys authorized, and the verifier approved.
    pub(crate) fn with_members(n: usize) -> Self {
        let mut bench = Self::founded();
        bench.commit(
            0,
            Event::VerifierApproved(VerifierApproved {
                package_type: PackageType::new("docker").expect("a type"),
                module: MODULE,
                contract_version: 1,
            }),
        );
        for candidate in 0..n {
            for approver in 0..absolute_majority_of(candidate) {
                bench.commit(approver, bench.approval(candidate));
            }
            bench.activate(candidate);
        }
        bench
    }

    pub(crate) fn node(&self, key: usize) -> NodeId {
        node_id_of(&self.keys[key])
    }

    pub(crate) fn approval(&self, candidate: usize) -> Event {
        Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node: self.node(candidate) })
    }

    pub(crate) fn activation(&self) -> Event {
        Event::NodeActivated(NodeActivated { recent_height: self.state.height().0, recent_block: self.state.tip().0 })
    }

    pub(crate) fn activate(&mut self, key: usize) {
        self.commit(key, self.activation());
    }

    fn members(&self) -> Vec<usize> {
        (0..self.keys.len()).filter(|key| self.state.members.contains(&self.node(*key))).collect()
    }

    pub(crate) fn revocation(&self, node: usize, compromised_since: Option<Height>) -> Event {
        let compromised_since = compromised_since.map(|since| since.0);
        Event::NodeRevocationApproved(NodeRevocationApproved { node: self.node(node), compromised_since })
    }

    /// As many members as it takes revoke a node.
    pub(crate) fn revoke(&mut self, node: usize, compromised_since: Option<Height>) {
        let members = self.members();
        for author in &members[..absolute_majority_of(members.len())] {
            self.commit(*author, self.revocation(node, compromised_since));
        }
        assert!(!self.state.members.contains(&self.node(node)));
    }

    /// As many members as it takes authorize a node, which comes.
    pub(crate) fn reauthorize(&mut self, node: usize) {
        let members = self.members();
        for author in &members[..absolute_majority_of(members.len())] {
            self.commit(*author, self.approval(node));
        }
        self.activate(node);
    }

    pub(crate) fn sign(&self, author: usize, event: Event) -> SignedEvent {
        let sequence = self.state.next_sequence(&self.node(author));
        SignedEvent::new(&self.keys[author], UnsignedEvent::new(*self.state.network(), self.node(author), sequence, 5, event))
    }

    pub(crate) fn seal(&self, block: Block) -> SealedBlock {
        let validators = self.state.validators();
        let keys = self.keys.iter().filter(|key| validators.contains(&node_id_of(key)));
        let certificate = CommitCertificate::signed(&block.header, 0, keys);
        SealedBlock { block, certificate }
    }

    pub(crate) fn try_commit(&mut self, author: usize, event: Event) -> Result<(), Refusal> {
        let signed = self.sign(author, event);
        let proposer = self.state.validators().nodes()[0];
        let proposal = self.state.propose(proposer, self.state.time_ms() + 10, [&signed]);
        if let Some((_, refusal)) = proposal.refused.into_iter().next() {
            return Err(refusal);
        }
        let sealed = self.seal(proposal.block);
        let next = self.state.apply_sealed(&sealed).expect("what is proposed is valid");
        assert_eq!(next.tip(), proposal.next.tip(), "proposer and follower fold alike");
        self.state = next;
        self.log.push(sealed);
        Ok(())
    }

    pub(crate) fn commit(&mut self, author: usize, event: Event) {
        self.try_commit(author, event).expect("the event is allowed");
    }

    pub(crate) fn request(&self) -> Event {
        let coordinate = alpine();
        let (attempt, build_id) = (self.state.next_attempt(&coordinate), self.state.next_build_id(&coordinate));
        // Both versions of the event, in turn.
        let source = (attempt % 2 == 1).then(pinned);
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier: MODULE, source })
    }

    pub(crate) fn open_build(&mut self, author: usize) -> BuildId {
        let build_id = self.state.next_build_id(&alpine());
        self.commit(author, self.request());
        build_id
    }

    /// What `judge` commits to before it reveals `outcome`.
    pub(crate) fn commitment(&self, judge: usize, build_id: BuildId, outcome: &BuildOutcome) -> Event {
        let commitment = commitment(self.state.network(), &build_id, &self.node(judge), &salt(judge), outcome);
        Event::BuildResultCommitted(BuildResultCommitted { build_id, commitment })
    }

    pub(crate) fn revelation(&self, judge: usize, build_id: BuildId, outcome: BuildOutcome) -> Event {
        Event::BuildResultRevealed(BuildResultRevealed { build_id, outcome: outcome.into(), salt: salt(judge) })
    }

    /// Every judge of `outcomes` commits to its own and reveals it; for the others the judges wait no longer.
    pub(crate) fn judge(&mut self, build_id: BuildId, outcomes: &[(usize, BuildOutcome)]) {
        for (judge, outcome) in outcomes {
            self.commit(*judge, self.commitment(*judge, build_id, outcome));
        }
        if self.status(build_id) == &BuildStatus::Committing {
            self.end_wait(build_id, WaitPhase::Committing);
        }
        for (judge, outcome) in outcomes {
            self.commit(*judge, self.revelation(*judge, build_id, outcome.clone()));
        }
    }

    /// The first judges, as many as it takes, end their wait.
    pub(crate) fn end_wait(&mut self, build_id: BuildId, phase: WaitPhase) {
        for judge in 0..self.keys.len() {
            let build = self.state.builds.get(&build_id).expect("the build is known");
            if build.status.wait_phase() == Some(phase) && build.is_active(&self.node(judge)) {
                self.commit(judge, Event::BuildWaitEnded(BuildWaitEnded { build_id, phase }));
            }
        }
    }

    pub(crate) fn additions(&self, build_id: BuildId) -> Vec<Event> {
        let (_, artifacts) = self.state.builds.chosen(&build_id).expect("agreed");
        let add = |artifact: &BuiltArtifact| {
            Event::AddArtifact(AddArtifact { build_id, coordinate: alpine(), artifact: artifact.clone() })
        };
        artifacts.iter().map(add).collect()
    }

    pub(crate) fn status(&self, build_id: BuildId) -> &BuildStatus {
        &self.state.builds.get(&build_id).expect("the build is known").status
    }
}

pub(crate) fn salt(judge: usize) -> [u8; 32] {
    [judge as u8 + 100; 32]
}

fn absolute_majority_of(members: usize) -> usize {
    if members == 0 { 1 } else { crate::certificate::absolute_majority(members) }
}

#[test]
fn only_the_founder_authorizes_the_first_node_and_only_a_majority_the_others() {
    let mut bench = Bench::founded();
    let stranger = bench.try_commit(1, bench.approval(1));
    assert_eq!(stranger, Err(Refusal::NotAuthorized { author: bench.node(1) }));
    bench.commit(0, bench.approval(1));
    assert_eq!(bench.try_commit(2, bench.activation()), Err(Refusal::NotApproved { author: bench.node(2) }));
    bench.activate(1);
    assert_eq!(bench.state.validators().nodes(), [bench.node(1)]);
    // The founder was only the first: it is no member, so its word does not count any more.
    assert_eq!(bench.try_commit(0, bench.approval(2)), Err(Refusal::NotAuthorized { author: bench.node(0) }));
    bench.commit(1, bench.approval(2));
    bench.activate(2);
    bench.commit(1, bench.approval(3));
    assert_eq!(
        bench.try_commit(3, bench.activation()),
        Err(Refusal::NotApproved { author: bench.node(3) }),
        "one of two is no majority"
    );
    assert_eq!(
        bench.try_commit(1, bench.approval(3)),
        Err(Refusal::ApprovedAlready { author: bench.node(1), node: bench.node(3) })
    );
    bench.commit(2, bench.approval(3));
    bench.activate(3);
    assert_eq!(bench.state.validators().nodes().len(), 3);
    assert_eq!(bench.try_commit(1, bench.approval(3)), Err(Refusal::AuthorizedAlready { node: bench.node(3) }));
}

#[test]
fn an_activation_is_good_for_a_limited_number_of_blocks() {
    let mut bench = Bench::with_members(1);
    bench.commit(0, bench.approval(1));
    let early = bench.activation();
    for round in 0..ACTIVATION_WINDOW_BLOCKS {
        bench.commit(
            0,
            Event::VerifierApproved(VerifierApproved {
                package_type: PackageType::new("docker").expect("a type"),
                module: Sha256Digest::of(&round.to_le_bytes()),
                contract_version: 1,
            }),
        );
    }
    let refused = {
        let mut too_late = Bench { keys: bench.keys.clone(), log: vec![], state: bench.state.clone() };
        too_late.commit(0, too_late.approval(2));
        too_late.try_commit(1, early.clone())
    };
    assert!(matches!(refused, Err(Refusal::NotRecent { .. })), "one block more is too many");
    bench.commit(1, early);
    let mut later = Bench::with_members(1);
    later.commit(0, later.approval(1));
    let Event::NodeActivated(mut forged) = later.activation() else { panic!("an activation") };
    forged.recent_block = Sha256Digest::of(b"another chain");
    assert!(matches!(later.try_commit(1, Event::NodeActivated(forged)), Err(Refusal::NotRecent { .. })));
}

#[test]
fn the_set_changes_once_in_a_block() {
    let mut bench = Bench::with_members(1);
    bench.commit(0, bench.approval(1));
    bench.commit(0, bench.approval(2));
    let both = [bench.sign(1, bench.activation()), bench.sign(2, bench.activation())];
    let proposal = bench.state.propose(bench.node(0), 0, &both);
    assert_eq!(proposal.block.events.len(), 1);
    assert_eq!(proposal.refused[0].1, Refusal::SetChangesInThisBlock);
    assert!(!proposal.refused[0].1.is_for_good());
}

#[test]
fn an_event_stands_once_and_for_one_network() {
    let mut bench = Bench::with_members(1);
    let request = bench.sign(0, bench.request());
    let proposal = bench.state.propose(bench.node(0), 0, [&request, &request]);
    assert_eq!(proposal.block.events.len(), 1, "the second has the number of the first");
    let mut elsewhere = request.unsigned.clone();
    elsewhere.network = NetworkId::new(Sha256Digest::of(b"another"));
    let elsewhere = SignedEvent::new(&bench.keys[0], elsewhere);
    assert!(matches!(bench.state.check(&elsewhere), Err(Refusal::Network { .. })));
    bench.log.clear();
}

#[test]
fn a_proposer_that_lies_about_the_time_leaves_its_successors_a_valid_one() {
    let mut bench = Bench::with_members(1);
    let request = bench.sign(0, bench.request());
    let proposal = bench.state.propose(bench.node(0), u64::MAX, [&request]);
    assert_eq!(proposal.block.header.time_ms, TIME_MS_MAX);
    bench.state = bench.state.apply_sealed(&bench.seal(proposal.block)).expect("the last time there is");
    bench.commit(0, bench.approval(1));
    assert_eq!(bench.state.time_ms(), TIME_MS_MAX);
}

/// Whatever is changed in a sealed block, it is refused.
#[test]
fn a_changed_block_is_refused() {
    let mut bench = Bench::with_members(4);
    let before = bench.state.clone();
    bench.open_build(0);
    let good = bench.log.last().expect("a block").clone();
    assert!(before.apply_sealed(&good).is_ok());
    let refused = |change: &dyn Fn(&mut SealedBlock)| {
        let mut changed = good.clone();
        change(&mut changed);
        before.apply_sealed(&changed).map(|_| ()).expect_err("a changed block")
    };
    refused(&|b| b.block.header.parent = BlockHash::NONE);
    refused(&|b| b.block.header.state_root = Sha256Digest::of(b""));
    refused(&|b| b.block.header.tree_root = Sha256Digest::of(b""));
    refused(&|b| b.block.header.tree_size += 1);
    refused(&|b| b.block.header.time_ms = before.time_ms() - 1);
    refused(&|b| b.block.header.time_ms = TIME_MS_MAX + 1);
    refused(&|b| b.block.header.height = Height(99));
    refused(&|b| b.block.header.validators = Sha256Digest::of(b""));
    refused(&|b| b.block.header.next_validators = Sha256Digest::of(b""));
    refused(&|b| b.block.header.version = 1);
    refused(&|b| b.block.header.time_ms += 1);
    refused(&|b| b.block.events.clear());
    refused(&|b| b.block.events[0].signature = crate::signed::Signature::from_bytes([1; 64]));
    refused(&|b| b.certificate.signatures.truncate(2));
    refused(&|b| b.certificate.signatures.swap(0, 1));
    refused(&|b| b.certificate.signatures[1] = b.certificate.signatures[0]);
    refused(&|b| b.certificate.round = 1);
    refused(&|b| b.certificate.signatures[0].1 = b.certificate.signatures[1].1);
}

#[derive(Clone, Debug)]
enum Wish {
    Approve(usize, usize),
    Activate(usize),
    Request(usize),
    Commit(usize, u8),
    Reveal(usize, u8),
    Wait(usize),
    Publish(usize),
    Verifier(usize, u8),
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => (0usize..5, 0usize..5).prop_map(|(a, b)| Wish::Approve(a, b)),
        3 => (0usize..5).prop_map(Wish::Activate),
        2 => (0usize..5).prop_map(Wish::Request),
        6 => (0usize..5, 0u8..3).prop_map(|(a, b)| Wish::Commit(a, b)),
        6 => (0usize..5, 0u8..3).prop_map(|(a, b)| Wish::Reveal(a, b)),
        2 => (0usize..5).prop_map(Wish::Wait),
        4 => (0usize..5).prop_map(Wish::Publish),
        1 => (0usize..5, 0u8..2).prop_map(|(a, b)| Wish::Verifier(a, b)),
    ]
}

fn wished(contents: u8) -> BuildOutcome {
    if contents == 2 { BuildOutcome::Failed { reason: "no".into() } } else { built(&[contents]) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Anything may be wished for in any order: what stands was allowed, nothing is published without a majority, and a
    /// replay of the log from genesis comes to the same state root at every height.
    #[test]
    fn a_replay_comes_to_the_same_state_and_nothing_is_published_without_a_majority(wishes in prop::collection::vec(wish(), 1..60)) {
        let mut bench = Bench::with_members(1);
        for wish in wishes {
            let open = bench.state.next_attempt(&alpine()).checked_sub(1).map(|attempt| BuildId::of(bench.state.network(), &alpine(), attempt));
            let (author, event) = match (wish, open) {
                (Wish::Approve(author, node), _) => (author, bench.approval(node)),
                (Wish::Activate(author), _) => (author, bench.activation()),
                (Wish::Request(author), _) => (author, bench.request()),
                (Wish::Verifier(author, module), _) => (author, Event::VerifierApproved(VerifierApproved {
                    package_type: PackageType::new("maven").expect("a type"), module: Sha256Digest::of(&[module]), contract_version: 1,
                })),
                (Wish::Commit(author, contents), Some(build_id)) => (author, bench.commitment(author, build_id, &wished(contents))),
                (Wish::Reveal(author, contents), Some(build_id)) => (author, bench.revelation(author, build_id, wished(contents))),
                (Wish::Wait(author), Some(build_id)) => {
                    let Some(phase) = bench.status(build_id).wait_phase() else { continue };
                    (author, Event::BuildWaitEnded(BuildWaitEnded { build_id, phase }))
                }
                (Wish::Publish(author), Some(build_id)) if bench.state.builds.chosen(&build_id).is_some() => {
                    let events = bench.additions(build_id);
                    let at = bench.log.len() % events.len();
                    (author, events[at].clone())
                }
                _ => continue,
            };
            let _ = bench.try_commit(author, event);
        }
        for (id, build) in bench.state.builds.iter() {
            if matches!(build.status, BuildStatus::Published { .. } | BuildStatus::Agreed { .. }) {
                prop_assert!(2 * bench.state.builds.agreeing(id).len() > build.judges.len());
            }
        }
        let is_unfinished = |(_, build): &(_, &builds::Build)| {
            !build.status.is_closed() || build.status == BuildStatus::Disputed { reports: 0 }
        };
        prop_assert!(bench.state.builds.unfinished().eq(bench.state.builds.iter().filter(is_unfinished)));
        for author in (0..5).map(|author| bench.node(author)) {
            let requested = bench.state.builds.unfinished().filter(|(_, build)| build.requested_by == author);
            prop_assert_eq!(bench.state.builds.unfinished_of(&author), requested.count());
        }
        let mut replayed = Projections::from_genesis(&bench.log[0]).expect("genesis");
        for sealed in &bench.log[1..] {
            let decoded = SealedBlock::decode(&sealed.encode()).expect("decodes");
            replayed = replayed.apply_sealed(&decoded).expect("replays");
            prop_assert_eq!(replayed.state_root(), sealed.block.header.state_root);
        }
        prop_assert_eq!(replayed.tip(), bench.state.tip());
        snapshot::check_round_trip(&replayed);
    }
}

#[test]
fn a_copy_of_a_block_with_other_events_or_signatures_is_not_whole() {
    let bench = Bench::with_members(2);
    let events = [bench.sign(0, bench.request()), bench.sign(1, bench.approval(2))];
    let block = bench.state.propose(bench.node(0), bench.state.time_ms(), &events).block;
    assert!(bench.state.is_whole(&block));
    let copy = |change: &dyn Fn(&mut Vec<SignedEvent>)| {
        let mut copy = block.clone();
        change(&mut copy.events);
        assert_eq!(copy.hash(), block.hash(), "the header is the same");
        bench.state.is_whole(&copy)
    };
    assert!(!copy(&Vec::clear));
    assert!(!copy(&|events| events.swap(0, 1)));
    assert!(!copy(&|events| events.push(events[0].clone())));
    assert!(!copy(&|events| events[0].signature = events[1].signature));
}

fn pinned() -> PinnedSource {
    let (kind, location) = ("git".to_owned(), "https://git.example/alpine".to_owned());
    PinnedSource { kind, location, revision: "c0ffee".into(), tree: Some("7ee".into()) }
}

#[test]
fn what_a_build_is_requested_to_be_made_from_is_kept_and_part_of_the_root() {
    let bench = Bench::with_members(1);
    let Event::BuildRequested(request) = bench.request() else { unreachable!("it is one") };
    let with = |source: Option<PinnedSource>| {
        let signed = bench.sign(0, Event::BuildRequested(BuildRequested { source, ..request.clone() }));
        let proposal = bench.state.propose(bench.node(0), 0, [&signed]);
        assert_eq!(proposal.refused, []);
        proposal.next
    };
    let other = PinnedSource { tree: None, ..pinned() };
    let states = [None, Some(pinned()), Some(other)].map(|source| (with(source.clone()), source));
    for (state, source) in &states {
        assert_eq!(state.builds.source(&request.build_id), source.as_ref());
        snapshot::check_round_trip(state);
    }
    let roots: BTreeSet<_> = states.iter().map(|(state, _)| state.state_root()).collect();
    assert_eq!(roots.len(), states.len());
}

#[test]
fn a_source_that_pins_nothing_or_is_no_text_is_refused() {
    let bench = Bench::with_members(1);
    let Event::BuildRequested(request) = bench.request() else { unreachable!("it is one") };
    let check = |source| {
        bench.state.check(&bench.sign(0, Event::BuildRequested(BuildRequested { source: Some(source), ..request.clone() })))
    };
    assert_eq!(check(pinned()), Ok(()));
    assert_eq!(check(PinnedSource { revision: String::new(), ..pinned() }), Err(Refusal::NotPinned));
    assert_eq!(check(PinnedSource { kind: String::new(), ..pinned() }), Err(Refusal::NotPinned));
    assert_eq!(check(PinnedSource { location: "two\nlines".into(), ..pinned() }), Err(Refusal::ControlCharacter));
    let long = "0".repeat(TEXT_BYTES_MAX + 1);
    for source in [PinnedSource { revision: long.clone(), ..pinned() }, PinnedSource { tree: Some(long), ..pinned() }] {
        assert!(matches!(check(source), Err(Refusal::Text { .. })));
    }
}
