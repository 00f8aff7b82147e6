use super::*;
use crate::consensus::memory::{AfterLoss, KeyAge};
use pyrsia_ledger::event::{NodeAuthorizationApproved, VerifierApproved};
use pyrsia_ledger::{PackageType, Refusal, Sha256Digest};
use std::path::Path;

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(30);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn start(folder: &Path, seed: u8) -> (ConsensusHandle, ConsensusTask, mpsc::Receiver<Outgoing>) {
    start_with(folder, seed, KeyAge::Fresh)
}

fn start_with(folder: &Path, seed: u8, age: KeyAge) -> (ConsensusHandle, ConsensusTask, mpsc::Receiver<Outgoing>) {
    let (store, state) = NodeStore::open(folder, node_id_of(&key(seed)), age).expect("the store opens");
    let (outgoing, frames) = mpsc::channel(1_000);
    let (handle, task) = Consensus::start(key(seed), store, state, ConsensusConfig::default(), outgoing).expect("starts");
    (handle, task, frames)
}

/// Carries everything one node sends to the other, as a network would.
fn connect(from: &ConsensusHandle, mut frames: mpsc::Receiver<Outgoing>, to: &ConsensusHandle) {
    let (id, to) = (from.node_id(), to.clone());
    let hello = from.hello();
    tokio::spawn(async move {
        to.deliver(id, hello).await;
        while let Some(frame) = frames.recv().await {
            match frame {
                Outgoing::Broadcast(bytes) => to.deliver(id, bytes).await,
                Outgoing::Send(peer, bytes) if peer == to.node_id() => to.deliver(id, bytes).await,
                Outgoing::Send(..) => {}
            }
        }
    });
}

async fn wait_for(handle: &ConsensusHandle, what: &str, stands: impl Fn(&Projections) -> bool) {
    let mut ledger = handle.watch();
    let stands = |view: &Arc<LedgerView>| view.state.as_deref().is_some_and(&stands);
    let waited = tokio::time::timeout(DEADLINE, ledger.wait_for(stands)).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}")).expect("consensus runs");
}

fn approval(node: NodeId) -> Event {
    Event::NodeAuthorizationApproved(NodeAuthorizationApproved { node })
}

fn some_verifier(seed: u8) -> Event {
    let package_type = PackageType::new("docker").expect("a package type");
    Event::VerifierApproved(VerifierApproved { package_type, module: Sha256Digest::of(&[seed]), contract_version: 1 })
}

#[tokio::test]
async fn a_lone_founder_authorizes_itself_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let (handle, task, _frames) = start(folder.path(), 1);
    assert_eq!(handle.propose(some_verifier(1)).await, Err(ProposeError::NoNetwork));
    let network = handle.found("test".into()).await.expect("founds");
    let me = handle.node_id();
    handle.propose(approval(me)).await.expect("is taken");
    wait_for(&handle, "the founder activates itself", |state| state.members.contains(&me)).await;
    let before = handle.view().state.as_ref().map(|state| (state.height(), state.state_root()));
    task.stop().await.expect("stops");
    assert_eq!(handle.propose(some_verifier(1)).await, Err(ProposeError::Stopped));

    let (handle, task, _frames) = start(folder.path(), 1);
    assert_eq!(handle.view().state.as_ref().map(|state| (state.height(), state.state_root())), before);
    assert_eq!(handle.found("test".into()).await.expect("is founded"), network);
    let height = handle.view().state.as_ref().map_or(Height::GENESIS, |state| state.height());
    for seed in 0..20 {
        handle.propose(some_verifier(seed)).await.expect("is taken");
    }
    wait_for(&handle, "all events are in blocks", |state| state.next_sequence(&me) == 23).await;
    let blocks = handle.blocks(height.next(), 1 << 20).await;
    assert_eq!(blocks.iter().map(|sealed| sealed.block.events.len()).sum::<usize>(), 20);
    assert!(blocks.len() < 20, "events that come together share a block");
    task.stop().await.expect("stops");
}

#[tokio::test]
async fn an_empty_node_adopts_the_network_of_its_peer_joins_it_and_agrees_with_it() {
    let (first_folder, second_folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, first_task, first_frames) = start(first_folder.path(), 1);
    let (second, second_task, second_frames) = start(second_folder.path(), 2);
    first.found("test".into()).await.expect("founds");
    let (me, other) = (first.node_id(), second.node_id());
    first.propose(approval(me)).await.expect("is taken");
    wait_for(&first, "the founder is active", |state| state.members.contains(&me)).await;
    connect(&first, first_frames, &second);
    connect(&second, second_frames, &first);
    wait_for(&second, "the newcomer follows", |state| state.members.contains(&me)).await;

    let refused = second.propose(some_verifier(1)).await;
    assert_eq!(refused, Err(ProposeError::Refused(Refusal::NotAuthorized { author: other })));
    assert!(matches!(second.found("other".into()).await, Err(FoundError::OtherNetwork { founder, .. }) if founder == me));

    first.propose(approval(other)).await.expect("is taken");
    wait_for(&second, "the newcomer activates itself", |state| state.members.contains(&other)).await;
    second.propose(some_verifier(2)).await.expect("is taken");
    wait_for(&first, "both agree on an event of the second", |state| state.next_sequence(&other) == 2).await;
    let height = first.view().state.as_ref().map_or(Height::GENESIS, |state| state.height());
    wait_for(&second, "both are at the same height", |state| state.height() >= height).await;
    let newest = second.blocks(height, 1).await;
    assert_eq!(newest[0].certificate.signatures.len(), 2, "both signed");
    first_task.stop().await.expect("stops");
    second_task.stop().await.expect("stops");
}

#[tokio::test]
async fn frames_that_are_no_messages_are_counted_and_harm_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let (handle, task, _frames) = start(folder.path(), 1);
    handle.found("test".into()).await.expect("founds");
    for bytes in [vec![], vec![255; 100], vec![0; 10]] {
        handle.deliver(NodeId::from_public_key([9; 32]), bytes).await;
    }
    let me = handle.node_id();
    handle.propose(approval(me)).await.expect("is taken");
    wait_for(&handle, "the node goes on", |state| state.members.contains(&me)).await;
    let counted = tokio::time::timeout(DEADLINE, async {
        while handle.counters().malformed_frames < 3 {
            tokio::task::yield_now().await;
        }
    });
    counted.await.expect("all three are counted");
    task.stop().await.expect("stops");
}

#[tokio::test]
async fn only_the_pinned_network_is_adopted() {
    let (first_folder, second_folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, first_task, first_frames) = start(first_folder.path(), 1);
    first.found("test".into()).await.expect("founds");
    let (store, state) = NodeStore::open(second_folder.path(), node_id_of(&key(2)), KeyAge::Fresh).expect("the store opens");
    let pinned = NetworkId::new(Sha256Digest::of(b"another network"));
    let config = ConsensusConfig { pinned_network: Some(pinned), ..ConsensusConfig::default() };
    let (outgoing, second_frames) = mpsc::channel(1_000);
    let (second, second_task) = Consensus::start(key(2), store, state, config, outgoing).expect("starts");
    connect(&first, first_frames, &second);
    connect(&second, second_frames, &first);
    assert!(second.blocks(Height::GENESIS, 1).await.is_empty());
    assert!(second.view().state.is_none());
    assert!(matches!(second.found("mine".into()).await, Err(FoundError::Pinned(id)) if id == pinned));
    first_task.stop().await.expect("stops");
    second_task.stop().await.expect("stops");
}

#[tokio::test]
async fn a_validator_whose_ledger_is_gone_is_silent_and_says_so_until_its_operator_lets_it_vote() {
    let (first_folder, second_folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let (first, first_task, first_frames) = start(first_folder.path(), 1);
    let (second, second_task, second_frames) = start(second_folder.path(), 2);
    first.found("test".into()).await.expect("founds");
    let (me, other) = (first.node_id(), second.node_id());
    first.propose(approval(me)).await.expect("is taken");
    connect(&first, first_frames, &second);
    connect(&second, second_frames, &first);
    wait_for(&first, "the founder is active", |state| state.members.contains(&me)).await;
    first.propose(approval(other)).await.expect("is taken");
    wait_for(&second, "the newcomer is active", |state| state.members.contains(&other)).await;
    wait_for(&first, "the founder knows it", |state| state.members.contains(&other)).await;
    assert_eq!(second.silent_to(), None);
    second_task.stop().await.expect("stops");
    first_task.stop().await.expect("stops");

    let emptied = tempfile::tempdir().expect("a folder");
    for (after_loss, votes) in [(AfterLoss::Wait, false), (AfterLoss::Rejoin, true)] {
        let (first, first_task, first_frames) = start(first_folder.path(), 1);
        let (store, state) = NodeStore::open(emptied.path(), other, KeyAge::Older).expect("the store opens");
        let (outgoing, second_frames) = mpsc::channel(1_000);
        let config = ConsensusConfig { after_loss, ..ConsensusConfig::default() };
        let (second, second_task) = Consensus::start(key(2), store, state, config, outgoing).expect("starts");
        assert!(second.silent_to().is_some());
        connect(&first, first_frames, &second);
        connect(&second, second_frames, &first);
        let tip = first.view().state.as_ref().map_or(Height::GENESIS, |state| state.height());
        let mut ledger = second.watch();
        let knows = |view: &Arc<LedgerView>| view.forgotten_until == Some(Height(tip.0 + 2));
        let waited = tokio::time::timeout(DEADLINE, ledger.wait_for(knows)).await;
        waited.expect("it learns how far the network is").expect("consensus runs");
        first.propose(some_verifier(u8::from(votes))).await.expect("is taken");
        if votes {
            wait_for(&first, "both agree again", |state| state.height() > tip).await;
        } else {
            let mut progress = second.progress.clone();
            let is_silent = |view: &Arc<ConsensusView>| view.silence.is_some() && view.is_halted;
            let waited = tokio::time::timeout(DEADLINE, progress.wait_for(is_silent)).await;
            waited.expect("it says that it is silent").expect("consensus runs");
            assert_eq!(first.view().state.as_ref().map(|state| state.height()), Some(tip));
        }
        second_task.stop().await.expect("stops");
        first_task.stop().await.expect("stops");
    }
}
