use super::file::{decode, encode, keep, open};
use super::*;
use crate::p2p::peer_id::peer_of;
use ed25519_dalek::SigningKey;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use pyrsia_ledger::NodeId;
use pyrsia_ledger::signed::node_id_of;
use std::cmp::Reverse;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Nodes of which the tests speak by their number, and the one that remembers them.
static PEERS: LazyLock<Vec<PeerId>> = LazyLock::new(|| {
    let node = |number: u16| {
        let mut secret = [7; 32];
        secret[..2].copy_from_slice(&number.to_be_bytes());
        peer_of(&node_id_of(&SigningKey::from_bytes(&secret)))
    };
    (0..=ME).map(node).collect()
});
const ME: u16 = 500;

fn peer(number: u16) -> PeerId {
    PEERS[usize::from(number)]
}

/// Whom to keep and to dial first.
fn in_order(known: &KnownPeers) -> Vec<PeerId> {
    let mut peers: Vec<PeerId> = known.peers().copied().collect();
    peers.sort_by_key(|peer| Reverse(known.rank(peer)));
    peers
}

/// A network of its own for each number.
fn address(number: u16) -> Multiaddr {
    let [high, low] = number.to_be_bytes();
    format!("/ip4/10.{low}.{high}.1/tcp/44000").parse().expect("an address")
}

fn me() -> PeerId {
    peer(ME)
}

fn written_and_read(known: &KnownPeers) -> KnownPeers {
    decode(&encode(known), &me()).expect("it was written here")
}

#[test]
fn what_can_be_dialed_without_a_third_node_is_remembered_and_nothing_else() {
    let (there, other) = (peer(1), peer(2));
    let mut known = KnownPeers::default();
    let named = |at: &str, peer: &PeerId| format!("{at}/p2p/{peer}").parse::<Multiaddr>().expect("an address");
    for refused in [
        named("/ip4/192.0.2.1/tcp/1", &other),
        named(&format!("/ip4/192.0.2.1/tcp/1/p2p/{other}/p2p-circuit"), &there),
        format!("/ip4/192.0.2.1/tcp/1/p2p/{other}/p2p-circuit").parse().expect("an address"),
        named("/dnsaddr/node.example", &there),
        "/ip4/192.0.2.1/udp/1".parse().expect("an address"),
        "/ip4/192.0.2.1/tcp/1/ws".parse().expect("an address"),
        Multiaddr::empty(),
    ] {
        assert!(!known.reached(there, &refused, 0) && known == KnownPeers::default(), "{refused}");
    }
    for (number, taken) in
        ["/ip4/192.0.2.1/tcp/1", "/ip6/2001:db8::1/udp/1/quic-v1", "/dns4/node.example/tcp/1"].iter().enumerate()
    {
        assert!(known.reached(there, &named(taken, &there), number as u64));
        assert_eq!(known.addresses(&there).next(), Some(&taken.parse().expect("an address")));
    }
    assert_eq!((known.len(), known.addresses(&there).count()), (1, 3));
}

#[test]
fn a_node_with_a_weak_key_is_not_remembered() {
    let mut neutral_element = [0; 32];
    neutral_element[0] = 1;
    let mut known = KnownPeers::default();
    for weak in [[0; 32], neutral_element, [0xff; 32]] {
        assert!(!known.reached(peer_of(&NodeId::from_public_key(weak)), &address(1), 1));
    }
    assert_eq!(known, KnownPeers::default());
}

#[test]
fn authorized_nodes_are_kept_and_dialed_first_and_then_those_that_were_reached_last() {
    let mut known = KnownPeers::default();
    known.set_members(BTreeSet::from([peer(3)]));
    let count = PEERS_MAX as u16 + 10;
    for number in 0..count {
        known.reached(peer(number), &address(number), number.into());
    }
    let order = in_order(&known);
    assert_eq!(order.len(), PEERS_MAX);
    assert_eq!(order[..3], [peer(3), peer(count - 1), peer(count - 2)]);
    assert!(!order.contains(&peer(10)) && order.contains(&peer(11)));
}

#[test]
fn one_host_with_many_keys_takes_the_places_of_no_others() {
    let mut known = KnownPeers::default();
    known.set_members((100..120).map(peer).collect());
    known.reached(peer(0), &address(0), 0);
    for (number, host) in (1..400).zip(["/ip4/192.0.2.1", "/ip6/2001:db8:0:1::NUMBER", "/dns4/nNUMBER.example"].iter().cycle()) {
        let host = host.replace("NUMBER", &number.to_string());
        known.reached(peer(number), &format!("{host}/tcp/{number}").parse().expect("an address"), number.into());
    }
    assert_eq!(known.len(), 1 + 3 * PEERS_PER_SOURCE_MAX + 20, "authorized nodes are not counted");
    assert!(in_order(&known).contains(&peer(0)) && in_order(&known).contains(&peer(399)));
    // Who is authorized is not known when the file is read.
    let read = written_and_read(&known);
    assert_eq!(read.len(), known.len());
}

#[test]
fn an_address_is_forgotten_when_it_was_not_reached_for_long_and_sooner_when_nobody_answers_there() {
    let start = 1_000 * DAY_MS;
    let mut known = KnownPeers::default();
    for number in [1, 2, 3] {
        known.reached(peer(number), &address(number), start);
    }
    assert!(known.failed(&peer(1), &address(1), start + 1), "that it fails is news");
    assert!(!known.failed(&peer(1), &address(1), start + 6 * DAY_MS), "that it goes on failing is none");
    known.failed(&peer(2), &address(2), start + 1);
    assert!(known.reached(peer(2), &address(2), start + 2), "that it answers again is news");
    assert!(!known.reached(peer(3), &address(3), start + 2), "that it answers as before is none");
    assert!(!known.forget_the_old(start + 8 * DAY_MS, |_| false), "it was not dialed in all this time");
    assert!(!known.failed(&peer(1), &address(1), start + 7 * DAY_MS) && known.len() == 3);
    assert!(known.failed(&peer(1), &address(1), start + 7 * DAY_MS + 1));
    assert_eq!(known.len(), 2);
    assert!(known.reached(peer(3), &address(3), start + 8 * DAY_MS));
    assert!(known.forget_the_old(start + 31 * DAY_MS, |_| false));
    assert_eq!(in_order(&known), [peer(3)]);
    assert!(!known.forget(&peer(3), &address(4)) && known.forget(&peer(3), &address(3)) && known.len() == 0);
}

#[test]
fn who_is_here_is_not_forgotten_for_not_being_dialed() {
    let start = 1_000 * DAY_MS;
    let mut known = KnownPeers::default();
    known.reached(peer(1), &address(1), start);
    known.failed(&peer(1), &address(1), start + 1);
    let is_here = |other: &PeerId| *other == peer(1);
    assert!(known.forget_the_old(start + 40 * DAY_MS, is_here), "that nobody answered there is forgotten");
    assert!(!known.forget_the_old(start + 40 * DAY_MS, is_here));
    assert!(known.failed(&peer(1), &address(1), start + 40 * DAY_MS) && known.len() == 1, "it was the first time since");
    assert!(known.forget_the_old(start + 40 * DAY_MS, |_| false) && known.len() == 0);
}

#[test]
fn a_host_that_leads_to_others_takes_the_places_of_none_of_their_own_addresses() {
    let mut known = KnownPeers::default();
    let through = |port: u16| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Multiaddr>().expect("an address");
    let led = 2 * PEERS_PER_SOURCE_MAX as u16;
    for number in 0..led {
        known.reached(peer(number), &address(number), 1);
        for port in 0..10 {
            known.reached(peer(number), &through(1_000 + 10 * number + port), 2 + u64::from(number));
        }
    }
    let has = |known: &KnownPeers, number: u16, at: &Multiaddr| known.addresses(&peer(number)).any(|other| other == at);
    assert!((0..led).all(|number| has(&known, number, &address(number))));
    let is_led = |number: &u16| (0..10).any(|port| has(&known, *number, &through(1_000 + 10 * number + port)));
    assert_eq!((0..led).filter(is_led).count(), PEERS_PER_SOURCE_MAX);
    assert_eq!(known.addresses(&peer(led - 1)).count(), ADDRESSES_PER_PEER_MAX);
}

#[test]
fn who_is_connected_by_a_dial_of_this_node_loses_its_place_to_nobody() {
    let mut known = KnownPeers::default();
    let at_one_host = |port: u16| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Multiaddr>().expect("an address");
    known.reached(peer(0), &at_one_host(1), 0);
    known.set_open(BTreeSet::from([peer(0)]));
    for number in 1..50 {
        known.reached(peer(number), &at_one_host(number), number.into());
    }
    for number in 50..450 {
        known.reached(peer(number), &address(number), number.into());
    }
    assert!(known.len() == PEERS_MAX && known.peers().any(|other| *other == peer(0)));
    known.set_open(BTreeSet::new());
    known.reached(peer(450), &address(450), 450);
    assert!(known.len() == PEERS_MAX && known.peers().all(|other| *other != peer(0)));
}

#[test]
fn who_has_many_addresses_of_a_network_takes_a_part_of_the_places() {
    for network in ["/ip4/192.0.2.NUMBER", "/ip6/2001:db8:7:NUMBER::1"] {
        let mut known = KnownPeers::default();
        known.reached(peer(0), &address(0), 0);
        for number in 1..250 {
            let host = network.replace("NUMBER", &number.to_string());
            known.reached(peer(number), &format!("{host}/tcp/1").parse().expect("an address"), number.into());
        }
        assert_eq!(known.len(), 1 + PEERS_PER_NETWORK_MAX);
        assert!(known.peers().any(|other| *other == peer(0)));
    }
}

#[test]
fn a_clock_that_stood_wrong_makes_nobody_forgotten_at_once() {
    let now = 20_000 * DAY_MS;
    for (reached_ms, failed_ms) in [(now + 9_000 * DAY_MS, now), (now, now + 9_000 * DAY_MS), (now - DAY_MS, 5)] {
        let mut known = KnownPeers::default();
        known.reached(peer(1), &address(1), reached_ms);
        known.failed(&peer(1), &address(1), failed_ms);
        // From here on the clock is right.
        assert!(!known.forget_the_old(now, |_| false));
        known.failed(&peer(1), &address(1), now);
        assert_eq!(known.len(), 1);
        known.failed(&peer(1), &address(1), now + 8 * DAY_MS);
        assert_eq!(known.len(), 0);
    }
}

#[test]
fn the_most_that_is_remembered_is_written_and_read() {
    let mut known = KnownPeers::default();
    known.set_members((0..PEERS_MAX as u16).map(peer).collect());
    for number in 0..PEERS_MAX as u16 {
        for port in 60_000..60_000 + ADDRESSES_PER_PEER_MAX {
            let name = "n".repeat(DNS_NAME_BYTES_MAX);
            let longest = format!("/dns4/{name}/udp/{port}/quic-v1").parse().expect("an address");
            known.reached(peer(number), &longest, u64::MAX);
            known.failed(&peer(number), &longest, u64::MAX);
        }
    }
    let read = written_and_read(&known);
    assert_eq!(read, KnownPeers { members: BTreeSet::new(), ..known });
    assert_eq!(read.peers.values().map(Vec::len).sum::<usize>(), PEERS_MAX * ADDRESSES_PER_PEER_MAX);
}

#[test]
fn of_what_somebody_wrote_by_hand_is_taken_what_could_have_been_remembered() {
    let (there, own) = (peer(1), me());
    let entry = |peer: &PeerId, address: &str| {
        format!(r#"{{ "peer_id": "{peer}", "addresses": [ {{ "address": "{address}", "reached_ms": 5 }} ], "note": "mine" }}"#)
    };
    let relayed = format!("/ip4/192.0.2.1/tcp/1/p2p/{}/p2p-circuit", peer(2));
    let entries = [entry(&there, "/ip4/192.0.2.1/tcp/1"), entry(&own, "/ip4/192.0.2.2/tcp/1"), entry(&peer(3), &relayed)];
    let text = format!(r#"{{ "version": 1, "peers": [ {} ] }}"#, entries.join(","));
    let known = decode(text.as_bytes(), &own).expect("it is sound");
    assert_eq!(in_order(&known), [there]);
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").file_name());
    entries.map(|name| name.into_string().expect("UTF-8")).collect()
}

#[test]
fn a_file_that_cannot_be_used_is_set_aside_and_stops_no_start() {
    let mut known = KnownPeers::default();
    known.reached(peer(1), &address(1), 1);
    let sound = String::from_utf8(encode(&known)).expect("JSON");
    for unusable in [
        sound.replace("\"version\": 1", "\"version\": 2"),
        sound.replace("/ip4/", "/ip5/"),
        sound[..sound.len() / 2].to_owned(),
        format!("{sound}{}", " ".repeat(512 << 10)),
        String::new(),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("known_peers.json");
        assert_eq!(open(&path, &me()).len(), 0, "there is no file");
        fs::write(&path, &sound).expect("writes");
        assert_eq!(open(&path, &me()), known);
        fs::write(&path, &unusable).expect("writes");
        assert_eq!(open(&path, &me()).len(), 0);
        assert_eq!(names(folder.path()), BTreeSet::from(["known_peers.json.unusable".to_owned()]));
        assert_eq!(fs::read_to_string(path.with_extension("json.unusable")).expect("reads"), unusable);
    }
}

/// To open a pipe would wait for ever, and a folder cannot be read.
#[test]
fn what_is_no_file_is_left_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (pipe, below) = (folder.path().join("pipe"), folder.path().join("folder"));
    fs::create_dir(&below).expect("a folder");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).expect("a pipe");
    assert_eq!([open(&pipe, &me()).len(), open(&below, &me()).len()], [0, 0]);
    assert_eq!(names(folder.path()), BTreeSet::from(["folder", "pipe"].map(str::to_owned)));
}

/// A file and what is to be written to it, as [`keep`] does with this pause.
fn kept(path: &Path, pause: Duration) -> (watch::Sender<KnownPeers>, CancellationToken, JoinHandle<()>) {
    let ((sender, changes), stopping) = (watch::channel(KnownPeers::default()), CancellationToken::new());
    let keeping = tokio::spawn(keep(path.to_owned(), changes, pause, stopping.clone()));
    (sender, stopping, keeping)
}

async fn wait_for(what: impl Fn() -> bool) {
    let waiting = async {
        while !what() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("in time");
}

fn tell(sender: &watch::Sender<KnownPeers>, number: u16) {
    sender.send_modify(|known| assert!(known.reached(peer(number), &address(number), number.into()), "that is news"));
}

#[tokio::test]
async fn what_has_changed_is_written_at_a_stop_however_long_others_would_be_waited_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("known_peers.json");
    let (sender, stopping, keeping) = kept(&path, Duration::from_secs(60 * 60));
    tell(&sender, 1);
    tokio::task::yield_now().await;
    tell(&sender, 2);
    stopping.cancel();
    wait_for(|| open(&path, &me()).len() == 2).await;
    // The network ends after the word to stop, and what it has to say then is written as well.
    tell(&sender, 3);
    drop(sender);
    keeping.await.expect("it ends");
    assert_eq!(open(&path, &me()).len(), 3);
    assert_eq!(names(folder.path()), BTreeSet::from(["known_peers.json".to_owned()]));
}

#[tokio::test]
async fn what_cannot_be_written_is_written_when_that_is_possible_and_holds_up_no_stop() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("known_peers.json");
    fs::create_dir(&path).expect("a folder in its place");
    let (sender, _stopping, keeping) = kept(&path, Duration::from_millis(1));
    tell(&sender, 1);
    let aside = path.with_extension("json.new");
    for _ in 0..2 {
        wait_for(|| aside.exists()).await;
        fs::remove_file(&aside).expect("nothing takes it away");
    }
    fs::remove_dir(&path).expect("it is empty");
    wait_for(|| path.is_file()).await;
    assert_eq!(open(&path, &me()).len(), 1);
    drop(sender);
    keeping.await.expect("it ends");

    fs::remove_file(&path).and_then(|()| fs::create_dir(&path)).expect("a folder in its place");
    let (sender, stopping, keeping) = kept(&path, Duration::from_millis(1));
    tell(&sender, 1);
    stopping.cancel();
    drop(sender);
    tokio::time::timeout(Duration::from_secs(60), keeping).await.expect("in time").expect("it ends");
    assert!(path.is_dir());
}

#[derive(Clone, Debug)]
enum Step {
    Reached(u16, u16, u64),
    Failed(u16, u16, u64),
    Forget(u16, u16),
    ForgetTheOld(u64, BTreeSet<u16>),
    Authorize(BTreeSet<u16>),
    Open(BTreeSet<u16>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (peers, places, times) = (|| 0..400u16, || 0..6u16, || 0..40 * DAY_MS);
    let some = move || proptest::collection::btree_set(peers(), 0..40);
    vec(
        prop_oneof![
            20 => (peers(), places(), times()).prop_map(|(peer, place, at)| Step::Reached(peer, place, at)),
            4 => (peers(), places(), times()).prop_map(|(peer, place, at)| Step::Failed(peer, place, at)),
            1 => (peers(), places()).prop_map(|(peer, place)| Step::Forget(peer, place)),
            1 => (times(), some()).prop_map(|(at, here)| Step::ForgetTheOld(at, here)),
            1 => some().prop_map(Step::Authorize),
            1 => some().prop_map(Step::Open),
        ],
        0..600,
    )
}

/// Where a peer of the steps is: some share a host, all have several addresses.
fn place_of(peer: u16, place: u16) -> Multiaddr {
    let [high, low] = (peer / 2).to_be_bytes();
    format!("/ip4/10.{high}.{low}.{}/tcp/{}", place % 3, 1 + peer * 6 + place).parse().expect("an address")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_bounds_hold_and_the_file_says_what_is_remembered(steps in steps()) {
        let mut known = KnownPeers::default();
        for step in steps {
            let before = known.clone();
            match step {
                Step::Reached(number, place, at) => {
                    let (who, place) = (peer(number), place_of(number, place));
                    known.reached(who, &place, at);
                    let is_first = known.addresses(&who).next() == Some(&place);
                    let is_safe = |peer: &PeerId| known.members.contains(peer) || known.open.contains(peer);
                    let is_out = !known.peers.contains_key(&who) && !is_safe(&who);
                    prop_assert!(is_first || is_out, "{who} is not remembered");
                    let gone: Vec<_> = before.peers.keys().filter(|peer| !known.peers.contains_key(peer)).collect();
                    prop_assert!(gone.len() <= 17 && !gone.iter().any(|peer| is_safe(peer)));
                }
                Step::Failed(number, place, at) => {
                    prop_assert_eq!(known.failed(&peer(number), &place_of(number, place), at), known != before);
                }
                Step::Forget(number, place) => {
                    let (who, place) = (peer(number), place_of(number, place));
                    let was_there = before.addresses(&who).any(|known| *known == place);
                    prop_assert_eq!(known.forget(&who, &place), was_there);
                    prop_assert!(known.addresses(&who).all(|known| *known != place));
                }
                Step::ForgetTheOld(at, here) => {
                    let here: BTreeSet<PeerId> = here.into_iter().map(peer).collect();
                    prop_assert_eq!(known.forget_the_old(at, |peer| here.contains(peer)), known != before);
                    prop_assert!(here.iter().all(|peer| known.addresses(peer).eq(before.addresses(peer))));
                }
                Step::Open(numbers) => known.set_open(numbers.into_iter().map(peer).collect()),
                Step::Authorize(numbers) => known.set_members(numbers.into_iter().map(peer).collect()),
            }
            prop_assert!(known.len() <= PEERS_MAX);
            prop_assert!(known.peers.values().all(|addresses| (1..=ADDRESSES_PER_PEER_MAX).contains(&addresses.len())));
        }
        let order = in_order(&known);
        prop_assert!(order.is_sorted_by_key(|peer| Reverse(known.rank(peer))) && order.len() == known.len());
        let read = written_and_read(&known);
        prop_assert_eq!(&read.peers, &known.peers);
    }

    #[test]
    fn a_damaged_file_is_refused_or_read_within_the_bounds(
        numbers in vec(0..ME, 1..20),
        changes in vec((any::<Index>(), any::<u8>()), 0..8),
        end in any::<Index>(),
    ) {
        let mut known = KnownPeers::default();
        for number in numbers {
            known.reached(peer(number), &address(number), number.into());
        }
        let mut bytes = encode(&known);
        let whole = bytes.len();
        for (place, byte) in &changes {
            bytes[place.index(whole)] = *byte;
        }
        bytes.truncate(whole - end.index(whole));
        if let Ok(read) = decode(&bytes, &me()) {
            prop_assert!(read.len() <= PEERS_MAX);
            prop_assert!(bytes.len() == whole || !changes.is_empty(), "what was cut off is noticed");
        }
    }

    #[test]
    fn no_bytes_stop_a_start(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(decode(&bytes, &me()).is_err());
    }
}
