use super::builds::BuildStatus;
use super::*;
use crate::coordinate::{ArtifactId, PackageType};
use crate::event::{
    AddArtifact, BuildOutcome, BuildRequested, BuildResultReported, BuildSource, BuiltArtifact, NodeActivated,
    NodeAuthorizationApproved, VerifierApproved,
};
use proptest::prelude::*;

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

fn source(location: &str) -> BuildSource {
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

    pub(crate) fn sign(&self, author: usize, event: Event) -> SignedEvent {
        let sequence = self.state.next_sequence(&self.node(author));
        SignedEvent::new(&self.keys[author], UnsignedEvent::new(*self.state.network(), self.node(author), sequence, 5, event))
    }

    pub(crate) fn seal(&self, block: Block) -> SealedBlock {
        let validators = self.state.validators();
        let message = vote_bytes(VoteKind::Precommit, block.height(), 0, Some(block.hash()));
        let mut signatures: Vec<_> = (0..self.keys.len())
            .filter(|key| validators.contains(&self.node(*key)))
            .map(|key| (self.node(key), sign(&self.keys[key], Purpose::Vote, self.state.network(), &message)))
            .collect();
        signatures.sort();
        let certificate = CommitCertificate { height: block.height(), round: 0, block: block.hash(), signatures };
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
        Event::BuildRequested(BuildRequested { build_id, coordinate, attempt, verifier: MODULE })
    }

    pub(crate) fn open_build(&mut self, author: usize) -> BuildId {
        let build_id = self.state.next_build_id(&alpine());
        self.commit(author, self.request());
        build_id
    }

    pub(crate) fn report(&mut self, judge: usize, build_id: BuildId, outcome: BuildOutcome) {
        self.commit(judge, Event::BuildResultReported(BuildResultReported { build_id, outcome }));
    }

    pub(crate) fn additions(&self, build_id: BuildId) -> Vec<Event> {
        let (_, artifacts) = self.state.builds.chosen(&build_id).expect("agreed");
        let add = |artifact: &BuiltArtifact| {
            Event::AddArtifact(AddArtifact { build_id, coordinate: alpine(), artifact: artifact.clone() })
        };
        artifacts.iter().map(add).collect()
    }

    fn status(&self, build_id: BuildId) -> &BuildStatus {
        &self.state.builds.get(&build_id).expect("the build is known").status
    }
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
fn nothing_is_published_without_an_absolute_majority_of_the_frozen_set() {
    let mut bench = Bench::with_members(4);
    let build_id = bench.open_build(2);
    let early = Event::AddArtifact(AddArtifact { build_id, coordinate: alpine(), artifact: artifact("alpine:3.16.0", b"image") });
    bench.report(0, build_id, built(b"image"));
    bench.report(1, build_id, built(b"image"));
    assert_eq!(bench.try_commit(0, early.clone()), Err(Refusal::NotAgreed(build_id)), "two of four is no majority");
    bench.report(2, build_id, built(b"evil"));
    assert_eq!(bench.try_commit(0, early.clone()), Err(Refusal::NotAgreed(build_id)));
    bench.report(3, build_id, built(b"image"));
    let forged = Event::AddArtifact(AddArtifact { build_id, coordinate: alpine(), artifact: artifact("alpine:3.16.0", b"evil") });
    assert!(matches!(bench.try_commit(2, forged), Err(Refusal::OtherArtifact { .. })));
    for event in bench.additions(build_id) {
        let id = ArtifactId::new("alpine:3.16.0").expect("an id");
        assert!(bench.state.packages.artifact(&alpine().package_type, &id).is_none(), "a package appears whole or not at all");
        bench.commit(3, event);
    }
    assert!(matches!(bench.status(build_id), BuildStatus::Published { .. }));
    let id = ArtifactId::new("alpine:3.16.0").expect("an id");
    let (_, record) = bench.state.packages.artifact(&alpine().package_type, &id).expect("published");
    assert_eq!(record.artifact.sha256, Sha256Digest::of(b"image"));
    assert_eq!(bench.state.builds.agreeing(&build_id).len(), 3);
    assert!(matches!(bench.try_commit(0, early), Err(Refusal::AddedAlready { .. })));
}

#[test]
fn a_build_without_a_possible_majority_is_closed_and_can_be_asked_for_again() {
    let mut bench = Bench::with_members(2);
    let build_id = bench.open_build(0);
    assert!(matches!(bench.try_commit(1, bench.request()), Err(Refusal::BuildOpen { .. })));
    bench.report(0, build_id, built(b"one"));
    bench.report(1, build_id, built(b"another"));
    assert_eq!(bench.status(build_id), &BuildStatus::Disputed);
    let again = bench.open_build(1);
    assert_ne!(again, build_id);
    bench.report(1, again, BuildOutcome::Failed { reason: "no such image".into() });
    assert_eq!(bench.status(again), &BuildStatus::Failed, "the one that is left cannot be a majority of two");
    bench.report(0, again, built(b"late"));
    assert_eq!(bench.status(again), &BuildStatus::Failed, "a late result is on record and changes nothing");
}

/// One of two judges claims the other's canonical digests for bytes of his own.
#[test]
fn a_liar_cannot_get_his_bytes_published_by_claiming_the_canonical_digest_of_others() {
    for liar in 0..2 {
        let mut bench = Bench::with_members(3);
        let build_id = bench.open_build(0);
        let lie = |contents: &[u8]| {
            let mut outcome = built(b"image");
            if let BuildOutcome::Built { artifacts, .. } = &mut outcome {
                artifacts[1].sha256 = Sha256Digest::of(contents);
            }
            outcome
        };
        let outcomes = if liar == 0 { [lie(b"evil"), built(b"image")] } else { [built(b"image"), lie(b"evil")] };
        for (judge, outcome) in outcomes.into_iter().enumerate() {
            bench.report(judge, build_id, outcome);
        }
        assert_eq!(bench.status(build_id), &BuildStatus::Open, "two judges, two results");
        bench.report(2, build_id, built(b"image"));
        let (_, chosen) = bench.state.builds.chosen(&build_id).expect("two honest judges of three");
        assert_eq!(BuildOutcome::Built { source: source("file:///alpine"), artifacts: chosen.to_vec() }, built(b"image"));
    }
}

#[test]
fn mirrors_of_one_source_are_the_same_and_no_single_judge_names_it() {
    let mut bench = Bench::with_members(3);
    let build_id = bench.open_build(0);
    for (judge, location) in ["a lie", "file:///alpine", "file:///alpine"].into_iter().enumerate() {
        let BuildOutcome::Built { artifacts, .. } = built(b"image") else { panic!("built") };
        bench.report(judge, build_id, BuildOutcome::Built { source: source(location), artifacts });
    }
    // The first two agree already; of two places that are named equally often the smaller counts.
    assert_eq!(bench.state.builds.chosen(&build_id).expect("agreed").0.location, "a lie");
    assert_eq!(bench.state.builds.agreeing(&build_id).len(), 3);
    let before = bench.additions(build_id);
    bench.commit(0, before[0].clone());
    assert_eq!(bench.additions(build_id), before, "nothing that comes late changes what is being published");
}

#[test]
fn judges_are_those_of_the_request_and_answer_once() {
    let mut bench = Bench::with_members(1);
    let build_id = bench.open_build(0);
    bench.commit(0, bench.approval(1));
    bench.activate(1);
    let result = |outcome| Event::BuildResultReported(BuildResultReported { build_id, outcome });
    assert_eq!(bench.try_commit(1, result(built(b"x"))), Err(Refusal::NotJudge { author: bench.node(1), build_id }));
    bench.report(0, build_id, built(b"x"));
    assert_eq!(bench.try_commit(0, result(built(b"y"))), Err(Refusal::ReportedAlready { author: bench.node(0), build_id }));
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
    refused(&|b| b.block.header.version = 2);
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
    Report(usize, u8),
    Publish(usize),
    Verifier(usize, u8),
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        3 => (0usize..5, 0usize..5).prop_map(|(a, b)| Wish::Approve(a, b)),
        3 => (0usize..5).prop_map(Wish::Activate),
        2 => (0usize..5).prop_map(Wish::Request),
        6 => (0usize..5, 0u8..3).prop_map(|(a, b)| Wish::Report(a, b)),
        4 => (0usize..5).prop_map(Wish::Publish),
        1 => (0usize..5, 0u8..2).prop_map(|(a, b)| Wish::Verifier(a, b)),
    ]
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
                (Wish::Report(author, contents), Some(build_id)) => {
                    let outcome = if contents == 2 { BuildOutcome::Failed { reason: "no".into() } } else { built(&[contents]) };
                    (author, Event::BuildResultReported(BuildResultReported { build_id, outcome }))
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
        let is_open = |(_, build): &(_, &builds::Build)| !build.status.is_closed();
        prop_assert!(bench.state.builds.unfinished().eq(bench.state.builds.iter().filter(is_open)));
        let mut replayed = Projections::from_genesis(&bench.log[0]).expect("genesis");
        for sealed in &bench.log[1..] {
            let decoded = SealedBlock::decode(&sealed.encode()).expect("decodes");
            replayed = replayed.apply_sealed(&decoded).expect("replays");
            prop_assert_eq!(replayed.state_root(), sealed.block.header.state_root);
        }
        prop_assert_eq!(replayed.tip(), bench.state.tip());
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

#[test]
fn a_text_that_would_move_a_terminals_cursor_is_refused() {
    let mut bench = Bench::with_members(1);
    bench.commit(0, bench.request());
    let build_id = BuildId::of(bench.state.network(), &alpine(), 0);
    for (reason, refusal) in [
        ("\u{1b}[2J".to_owned(), Refusal::ControlCharacter),
        ("two\nlines".to_owned(), Refusal::ControlCharacter),
        ("x".repeat(1_025), Refusal::Text { size_bytes: 1_025 }),
    ] {
        let report = Event::BuildResultReported(BuildResultReported { build_id, outcome: BuildOutcome::Failed { reason } });
        assert_eq!(bench.try_commit(0, report), Err(refusal));
    }
    let outcome = BuildOutcome::Failed { reason: "größer als erlaubt".into() };
    bench.commit(0, Event::BuildResultReported(BuildResultReported { build_id, outcome }));
}
