//! Random lives of a store, held against a model: what is pinned, read or brought stays; within the budget whenever something may leave;
//! what is there is whole; and a process that is killed at any moment leaves a store that keeps all of this.

use super::*;
use proptest::prelude::*;
use pyrsia_ledger::{NetworkId, PackageCoordinate};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The artifacts of a life, of different sizes.
const ARTIFACTS: u8 = 8;
const BUDGET_BYTES: u64 = 2_000;

fn bytes_of(number: u8) -> Vec<u8> {
    vec![number; 100 + 90 * usize::from(number)]
}

fn name_of(number: u8) -> Sha256Digest {
    Sha256Digest::of(&bytes_of(number))
}

fn build(number: u8) -> BuildId {
    BuildId::of(&NetworkId::UNFOUNDED, &PackageCoordinate::new("docker", "alpine:1").expect("a coordinate"), number.into())
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// As a download does it: room first, what was used longest ago leaves.
    Fetch(u8),
    /// As a build does it: in any case.
    Build(u8, u8),
    EndBuild(u8),
    Read(u8),
    EndReads,
    Pin(u8),
    Unpin(u8),
    Remove(u8),
    Rot(u8),
    Scrub,
    OpenAgain,
}

fn step() -> impl Strategy<Value = Step> {
    let artifact = 0..ARTIFACTS;
    prop_oneof![
        6 => artifact.clone().prop_map(Step::Fetch),
        2 => (artifact.clone(), 0..2u8).prop_map(|(artifact, build)| Step::Build(artifact, build)),
        2 => (0..2u8).prop_map(Step::EndBuild),
        3 => artifact.clone().prop_map(Step::Read),
        2 => Just(Step::EndReads),
        1 => artifact.clone().prop_map(Step::Pin),
        1 => artifact.clone().prop_map(Step::Unpin),
        1 => artifact.clone().prop_map(Step::Remove),
        1 => artifact.prop_map(Step::Rot),
        1 => Just(Step::Scrub),
        1 => Just(Step::OpenAgain),
    ]
}

fn put_whole(store: &ArtifactStore, number: u8) {
    let mut ingest = store.begin().expect("begins");
    ingest.write_all(&bytes_of(number)).expect("writes");
    ingest.commit(Some(name_of(number))).expect("commits");
}

/// What a download does before it begins; whether there is room.
fn make_room(store: &ArtifactStore, number: u8) -> Option<Reservation> {
    let reserve = || store.reserve(&name_of(number), bytes_of(number).len() as u64, BUDGET_BYTES).expect("looks").ok();
    for stored in store.least_recently_used_first() {
        if let Some(reservation) = reserve() {
            return Some(reservation);
        }
        store.evict(&stored.sha256).expect("looks");
    }
    reserve()
}

#[derive(Default)]
struct Model {
    here: BTreeSet<u8>,
    rotten: BTreeSet<u8>,
    pinned: BTreeSet<u8>,
    brought: BTreeMap<u8, BTreeSet<u8>>,
    readers: BTreeMap<u8, File>,
}

impl Model {
    fn stays(&self, number: u8) -> bool {
        self.pinned.contains(&number)
            || self.brought.values().any(|brought| brought.contains(&number))
            || self.readers.contains_key(&number)
    }

    fn live(&mut self, store: &mut ArtifactStore, step: Step) {
        match step {
            Step::Fetch(number) => {
                if store.contains(&name_of(number)) {
                    return;
                }
                let staying: Vec<u8> = self.here.iter().copied().filter(|number| self.stays(*number)).collect();
                let staying_bytes: u64 = staying.iter().map(|number| bytes_of(*number).len() as u64).sum();
                let fits = staying_bytes + bytes_of(number).len() as u64 <= BUDGET_BYTES;
                match make_room(store, number) {
                    Some(_room) => {
                        assert!(fits);
                        put_whole(store, number);
                        self.rotten.remove(&number);
                        self.here.insert(number);
                        assert!(store.usage().bytes <= BUDGET_BYTES, "beyond the budget");
                    }
                    None => assert!(!fits, "there would have been room"),
                }
                assert!(staying.iter().all(|number| store.get(&name_of(*number)).is_some()), "what was to stay left");
                self.here.retain(|number| store.get(&name_of(*number)).is_some());
                self.rotten.retain(|number| self.here.contains(number));
            }
            Step::Build(number, of) => {
                store.note_brought(&build(of), &name_of(number)).expect("notes");
                put_whole(store, number);
                self.brought.entry(of).or_default().insert(number);
                self.here.insert(number);
            }
            Step::EndBuild(of) => {
                store.release(&build(of), |_| true).expect("releases");
                self.brought.remove(&of);
            }
            Step::Read(number) => {
                let file = store.open_inspected(&name_of(number)).expect("opens");
                let whole = self.here.contains(&number) && !self.rotten.contains(&number);
                assert_eq!(file.is_some(), whole, "{number}");
                match file {
                    Some(mut file) => {
                        let mut bytes = vec![];
                        file.read_to_end(&mut bytes).expect("reads");
                        assert_eq!(bytes, bytes_of(number));
                        self.readers.insert(number, file);
                    }
                    None => self.lose(number),
                }
            }
            Step::EndReads => self.readers.clear(),
            Step::Pin(number) => {
                store.pin(&name_of(number)).expect("pins");
                self.pinned.insert(number);
            }
            Step::Unpin(number) => assert_eq!(store.unpin(&name_of(number)).expect("unpins"), self.pinned.remove(&number)),
            Step::Remove(number) => {
                let needed = self.brought.values().any(|brought| brought.contains(&number));
                let expected = match (self.pinned.contains(&number), needed, self.here.contains(&number)) {
                    (true, ..) => Leaving::Pinned,
                    (_, true, _) => Leaving::Needed,
                    (.., true) => Leaving::Gone,
                    _ => Leaving::NotHere,
                };
                assert_eq!(store.remove_unneeded(&name_of(number)).expect("looks"), expected);
                if expected == Leaving::Gone {
                    self.lose(number);
                }
            }
            Step::Rot(number) => {
                if self.here.contains(&number) && !self.readers.contains_key(&number) {
                    fs::write(store.blob_path(&name_of(number)), vec![!number; bytes_of(number).len()]).expect("rots");
                    self.rotten.insert(number);
                }
            }
            Step::Scrub => {
                let mut after = None;
                while let Some(stored) = store.page(after.as_ref(), 1).pop() {
                    store.inspect(&stored.sha256, |_| true).expect("reads");
                    after = Some(stored.sha256);
                }
                std::mem::take(&mut self.rotten).into_iter().for_each(|number| self.lose(number));
            }
            Step::OpenAgain => {
                self.readers.clear();
                *store = ArtifactStore::open(&store.folder.path).expect("opens again");
            }
        }
    }

    fn lose(&mut self, number: u8) {
        self.here.remove(&number);
        self.rotten.remove(&number);
        self.readers.remove(&number);
    }

    fn check(&self, store: &ArtifactStore) {
        let found: BTreeSet<Sha256Digest> = store.page(None, usize::MAX).into_iter().map(|stored| stored.sha256).collect();
        assert_eq!(found, self.here.iter().map(|number| name_of(*number)).collect());
        let bytes: u64 = self.here.iter().map(|number| bytes_of(*number).len() as u64).sum();
        assert_eq!(store.usage(), Usage { artifacts: self.here.len() as u64, bytes, reserved_bytes: 0 });
        assert_eq!(store.pins(), self.pinned.iter().map(|number| name_of(*number)).collect());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_a_store_lives_through_it_keeps_its_promises(steps in prop::collection::vec(step(), 1..60)) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut store = ArtifactStore::open(folder.path()).expect("opens");
        let mut model = Model::default();
        for step in steps {
            model.live(&mut store, step);
            model.check(&store);
        }
    }
}

const VICTIM_FOLDER: &str = "PYRSIA_TEST_VICTIM_FOLDER";
/// Kills of one run of the test.
const KILLS: u64 = 12;

/// The process that is killed: it lives fast, and says on a line of its own what it pinned and unpinned once that is done.
#[test]
#[ignore = "another test starts it as a process of its own and kills it"]
fn victim() {
    let folder = std::env::var(VICTIM_FOLDER).expect("started by the other test");
    let store = ArtifactStore::open(Path::new(&folder)).expect("opens");
    let mut random = std::process::id();
    loop {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let number = (random >> 16) as u8 % ARTIFACTS;
        match (random >> 24) % 8 {
            0 => {
                println!("\n+{number}?");
                store.pin(&name_of(number)).expect("pins");
                println!("\n+{number}");
            }
            1 => {
                println!("\n-{number}?");
                store.unpin(&name_of(number)).expect("unpins");
                println!("\n-{number}");
            }
            2 => drop(store.inspect(&name_of(number), |_| true).expect("reads")),
            3 => drop(store.evict(&name_of(number)).expect("looks")),
            _ if store.contains(&name_of(number)) => {}
            _ => {
                if let Some(_room) = make_room(&store, number) {
                    put_whole(&store, number);
                }
            }
        }
    }
}

#[test]
fn a_process_that_is_killed_at_any_moment_leaves_a_whole_store_and_every_pin_it_told_of() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (mut pinned, mut lived) = (BTreeSet::new(), 0);
    for turn in 0..KILLS {
        let mut victim = Command::new(std::env::current_exe().expect("this program"))
            .args(["--ignored", "--exact", "--nocapture", "artifacts::store::tests::model::victim"])
            .env(VICTIM_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut said = victim.stdout.take().expect("is piped");
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            said.read_to_string(&mut text).map(|_| text).expect("reads")
        });
        // From the first thing that it does, a little later each time.
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::read_dir(folder.path()).expect("lists").count() == 0 {
            assert!(Instant::now() < deadline, "the victim does not live");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(15 + turn * 9));
        victim.kill().expect("is killed");
        victim.wait().expect("has ended");
        let text = reader.join().expect("reads");

        // A wish that was not answered may have been fulfilled or not.
        let mut unsure = None;
        for line in text.lines().filter(|line| line.starts_with(['+', '-'])) {
            let (sign, rest) = line.split_at(1);
            let Ok(number) = rest.trim_end_matches('?').parse::<u8>() else { continue };
            if rest.ends_with('?') {
                unsure = Some(number);
                continue;
            }
            unsure = None;
            lived += 1;
            if sign == "+" {
                pinned.insert(number)
            } else {
                pinned.remove(&number)
            };
        }
        let store = ArtifactStore::open(folder.path()).expect("opens after a kill");
        let found: BTreeSet<u8> = (0..ARTIFACTS).filter(|number| store.is_pinned(&name_of(*number))).collect();
        for number in (0..ARTIFACTS).filter(|number| Some(*number) != unsure) {
            assert_eq!(found.contains(&number), pinned.contains(&number), "turn {turn}: the pin of {number}");
        }
        pinned = found;
        for stored in store.page(None, usize::MAX) {
            let inspected = store.inspect(&stored.sha256, |_| true).expect("reads");
            assert_eq!(inspected, crate::artifacts::Inspection::Whole, "turn {turn}");
            assert!(store.read_list(&stored.sha256).is_some(), "turn {turn}: a blob without its list");
        }
        assert_eq!(files_in(&folder.path().join("tmp")), 0, "turn {turn}");
        assert!(store.usage().bytes <= BUDGET_BYTES, "turn {turn}");
    }
    assert!(lived > 0, "no victim lived long enough to pin anything");
}
