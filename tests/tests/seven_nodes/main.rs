//! Seven nodes and two hundred packages, while nodes are killed, restarted, stopped and cut off, one builder corrupts every
//! artifact, and another one copies the corrupted ones: nothing wrong is published, and nothing right is lost.
//!
//! A test program of its own, because those of one program run side by side, and this one takes the whole machine.

use pyrsia_tests::deadline::{BUILT, wait_for};
use pyrsia_tests::fleet::{Fleet, is_closed, manifest_hash, tally};
use pyrsia_tests::instant_pipeline::{Conduct, honest_image};
use pyrsia_tests::random::Random;
use pyrsia_tests::switch::Switch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

const NODES: usize = 7;
const CORRUPTER: usize = 5;
const COPIER: usize = 6;
const PACKAGES: usize = 200;
/// How many packages are asked for at the same time.
const CLIENTS: usize = 16;
/// Longer than any fault, so that a fault takes nobody's vote away.
const WAITS: [&str; 8] = [
    "--build-commit-grace=15s",
    "--build-silence=60s",
    "--build-timeout=60s",
    "--build-reveal-wait=30s",
    "--build-vouch-wait=30s",
    "--build-publish-turn=2s",
    "--build-dispute-turn=2s",
    "--pipeline-patience=30s",
];
/// What a fault lasts, and the peace between two.
const FAULT_MS: std::ops::Range<u64> = 500..4_000;
const PEACE_MS: std::ops::Range<u64> = 300..2_000;
/// How long a client waits for a node that may be gone, and before it asks again.
const ANSWER: Duration = Duration::from_secs(25);
const ASK_AGAIN: Duration = Duration::from_millis(400);
const ALL_PUBLISHED: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn seven_nodes_under_load_and_faults_publish_everything_right_and_nothing_wrong() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut random = Random::seeded("seven nodes", 7);
    let switch = Switch::plug_in(NODES);
    let partitions = if switch.is_some() { "network namespaces that are parted" } else { "nodes that are stopped together" };
    println!("seven nodes: partitions are {partitions}");
    let start = Instant::now();
    let mut fleet = Fleet::start_on(switch, folder.path(), NODES, &WAITS).await;
    println!("seven nodes: all are authorized after {:.1?}", start.elapsed());
    fleet.pipelines[CORRUPTER].conduct(Conduct::Corrupt("with a back door".into()));
    fleet.pipelines[COPIER].conduct(Conduct::Copy(fleet.pipelines[CORRUPTER].url.clone()));

    let clients = Arc::new(Clients {
        nodes: fleet.nodes.iter().map(|node| node.url("")).collect(),
        http: reqwest::Client::builder().timeout(ANSWER).build().expect("a client"),
        next: AtomicUsize::new(0),
        asked_again: AtomicUsize::new(0),
        builds: Mutex::default(),
    });
    let (start, done) = (Instant::now(), AtomicBool::new(false));
    let mut work: JoinSet<()> = (0..CLIENTS).map(|client| clients.clone().ask_for_packages(client)).collect();
    let load = async {
        let ended = tokio::time::timeout(ALL_PUBLISHED, async { while let Some(Ok(())) = work.join_next().await {} }).await;
        done.store(true, Ordering::Relaxed);
        ended
    };
    let (ended, faults) = tokio::join!(load, commit_faults(&mut fleet, &mut random, &done));
    let builds = clients.builds.lock().expect("no client panics").clone();
    println!(
        "seven nodes: {} packages published in {:.1?}, through {faults:?}; {} asked for again",
        builds.len(),
        start.elapsed(),
        clients.asked_again.load(Ordering::Relaxed)
    );
    assert!(ended.is_ok(), "not everything was published within {ALL_PUBLISHED:?}");
    assert_eq!(builds.len(), PACKAGES, "a client gave up");
    assert!(faults.values().sum::<usize>() >= 4, "too few faults to mean anything");

    let artifacts = (PACKAGES * honest_image("").records()) as u64;
    for node in &fleet.nodes {
        wait_for(format!("all artifacts on {}", node.name), BUILT, || async {
            (node.network().await["artifacts"].as_u64()? >= artifacts).then_some(())
        })
        .await;
    }
    fleet.wait_until_level().await;
    check_every_package(&fleet, artifacts).await;
    check_the_record(&fleet, &builds).await;
    let events = fleet.stop_and_audit();
    println!("seven nodes: {events} events audited, clean and equal on all; {:.1?} in all", start.elapsed());
}

/// Who asks for the packages: knows the nodes by their addresses, whether they answer or not.
struct Clients {
    nodes: Vec<String>,
    http: reqwest::Client,
    next: AtomicUsize,
    asked_again: AtomicUsize,
    /// The build that published each package.
    builds: Mutex<BTreeMap<String, String>>,
}

impl Clients {
    async fn ask_for_packages(self: Arc<Self>, client: usize) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= PACKAGES {
                return;
            }
            let package = package(number);
            let build = self.publish(client + number, &package).await;
            self.builds.lock().expect("no client panics").insert(package, build);
        }
    }

    /// Asks one node after the other until one of them has the package published; gives the build that did it.
    async fn publish(&self, first: usize, package: &str) -> String {
        let (mut turn, mut again) = (first, false);
        loop {
            turn += 1;
            let node = &self.nodes[turn % NODES];
            let wish = json!({ "package_type": "docker", "package": package, "again": again });
            let Some(answer) = self.post(&format!("{node}/api/v1/builds"), &wish).await else {
                sleep(ASK_AGAIN).await;
                continue;
            };
            match (answer["state"].as_str(), answer["build_id"].as_str()) {
                (Some("requested" | "already_open"), Some(id)) => {
                    let build = self.follow(turn, id).await;
                    if build["state"] == "published" {
                        return id.to_owned();
                    }
                    again = true;
                }
                (Some("not_published"), _) => again = true,
                // It was published between two questions.
                (Some("already_published"), _) => return self.published_by(node, package).await.unwrap_or_default(),
                _ => sleep(ASK_AGAIN).await,
            }
            if again {
                self.asked_again.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until the build is closed, on whichever node answers.
    async fn follow(&self, first: usize, id: &str) -> Value {
        let mut turn = first;
        loop {
            let node = &self.nodes[turn % NODES];
            match self.get(&format!("{node}/api/v1/builds/{id}")).await {
                Some(build) if is_closed(&build) => return build,
                Some(_) => {}
                None => turn += 1,
            }
            sleep(ASK_AGAIN).await;
        }
    }

    async fn published_by(&self, node: &str, package: &str) -> Option<String> {
        let view = self.get(&format!("{node}/api/v1/packages/docker?id={package}")).await?;
        view["builds"].as_array()?.first()?.as_str().map(str::to_owned)
    }

    async fn get(&self, url: &str) -> Option<Value> {
        self.http.get(url).send().await.ok()?.error_for_status().ok()?.json().await.ok()
    }

    async fn post(&self, url: &str, body: &Value) -> Option<Value> {
        self.http.post(url).json(body).send().await.ok()?.error_for_status().ok()?.json().await.ok()
    }
}

fn package(number: usize) -> String {
    format!("seven/package{number}:1.{number}")
}

/// One fault after the other until the load is done; says how many of each.
async fn commit_faults(fleet: &mut Fleet, random: &mut Random, done: &AtomicBool) -> BTreeMap<&'static str, usize> {
    let mut faults = BTreeMap::new();
    let between = |random: &mut Random, range: &std::ops::Range<u64>| {
        Duration::from_millis(range.start + random.number() % (range.end - range.start))
    };
    while !done.load(Ordering::Relaxed) {
        // The moments of the faults, not waits for conditions.
        sleep(between(random, &PEACE_MS)).await;
        let (node, lasts) = (random.below(NODES), between(random, &FAULT_MS));
        let fault = match random.below(4) {
            0 => {
                fleet.nodes[node].kill();
                sleep(lasts).await;
                fleet.nodes[node].start_again().await;
                "killed"
            }
            1 => {
                fleet.nodes[node].stop();
                fleet.nodes[node].start_again().await;
                "restarted"
            }
            2 => {
                fleet.nodes[node].pause();
                sleep(lasts).await;
                fleet.nodes[node].resume();
                "stopped"
            }
            _ => {
                // Two leave a quorum behind; three leave nobody who could make a block.
                let group: Vec<usize> = (0..2 + random.below(2)).map(|place| (node + place) % NODES).collect();
                part(fleet, &group);
                sleep(lasts).await;
                rejoin(fleet, &group);
                "parted"
            }
        };
        *faults.entry(fault).or_default() += 1;
    }
    faults
}

fn part(fleet: &mut Fleet, group: &[usize]) {
    match &fleet.switch {
        Some(switch) => switch.part(group),
        None => group.iter().for_each(|node| fleet.nodes[*node].pause()),
    }
}

fn rejoin(fleet: &mut Fleet, group: &[usize]) {
    match &fleet.switch {
        Some(switch) => switch.rejoin(group),
        None => group.iter().for_each(|node| fleet.nodes[*node].resume()),
    }
}

/// Every node has exactly the honest artifacts of every package, and clients get their bytes.
async fn check_every_package(fleet: &Fleet, artifacts: u64) {
    for node in &fleet.nodes {
        assert_eq!(node.network().await["artifacts"].as_u64(), Some(artifacts), "{} knows something else as well", node.name);
        for number in 0..PACKAGES {
            let (package, honest) = (package(number), honest_image(&package(number)));
            let records = node.records(&package).await;
            assert_eq!(manifest_hash(&records), honest.manifest.digest, "{package} on {}", node.name);
            assert_eq!(records.len() % honest.records(), 0, "{package} on {}: {records:#?}", node.name);
            let published: Vec<_> = records.iter().filter_map(|record| record["artifact_hash"].as_str()).collect();
            let is_honest = |hash: &&str| {
                let mut objects = std::iter::once(&honest.manifest).chain(honest.blobs());
                objects.any(|object| object.digest == format!("sha256:{hash}"))
            };
            assert!(published.iter().all(is_honest), "{package} on {}: {records:#?}", node.name);
        }
    }
    for number in 0..PACKAGES {
        let (name, tag) = (format!("seven/package{number}"), format!("1.{number}"));
        let pulled = fleet.nodes[number % NODES].pull(&name, &tag).await;
        assert_eq!(pulled.manifest, honest_image(&package(number)).manifest.digest);
    }
}

/// What the two dishonest builders did stands on record, and `pyrsia nodes` shows it.
async fn check_the_record(fleet: &Fleet, builds: &BTreeMap<String, String>) {
    let nodes = fleet.nodes[0].nodes().await;
    for dishonest in [CORRUPTER, COPIER] {
        let peer_id = &fleet.peer_ids[dishonest];
        let told = tally(&nodes, peer_id);
        println!("seven nodes: on record of {}: {told}", fleet.nodes[dishonest].name);
        assert_eq!(told["agreed"], 0, "{told}");
        assert!(told["dissented"].as_u64().is_some_and(|dissented| dissented > PACKAGES as u64 / 2), "{told}");
        let printed = fleet.succeed_at(0, &["nodes"]);
        let line = printed.lines().find(|line| line.contains(peer_id)).unwrap_or_else(|| panic!("{peer_id}: {printed}"));
        assert!(line.contains("dissenting") && !line.contains("with the majority"), "{line}");
        let mut results = 0;
        for id in builds.values().filter(|id| !id.is_empty()) {
            let build = fleet.nodes[1].build(id).await.unwrap_or_else(|| panic!("build {id} is unknown"));
            let judges = build["judges"].as_array().expect("judges");
            let judge = judges.iter().find(|judge| judge["node"] == peer_id.as_str()).expect("it is a judge");
            results += usize::from(judge["outcome"] == "built" && judge["agrees"] == false);
        }
        assert!(results > PACKAGES / 2, "{results} results of {} on record", fleet.nodes[dishonest].name);
    }
    for honest in 0..CORRUPTER {
        let told = tally(&nodes, &fleet.peer_ids[honest]).clone();
        assert_eq!(told["dissented"], 0, "{}: {told}", fleet.nodes[honest].name);
    }
}
