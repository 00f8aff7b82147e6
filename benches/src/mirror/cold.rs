//! Pulls of what a node has to fetch from its peers first, each by a node of its own with an empty store.

use super::servers::{Nginx, file_path};
use super::{MIB, Published, ROUNDS, load, start_node};
use crate::memory::Watched;
use anyhow::{Context, Result, ensure};
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::network::Node;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// What each of several peers may send: more is asked of them together than of any one.
const PEER_RATE: &str = "50MB";
const PEERS: usize = 4;
/// What the only peer may send where many clients want the same blob: the network, and not this machine's copying, is what they wait for.
const SHARED_RATE: &str = "10MB";
const MANY_CLIENTS: usize = 64;
/// The blob of 100 MiB.
const SHARED_BLOB: usize = 2;

pub(super) async fn measure(folder: &Path, origin: &mut Node, warm: &Published, cold: &Published) -> Result<()> {
    let address = origin.address().await;
    let nginx = Nginx::start(&folder.join("cold"), &origin.folder().join("pyrsia/blobs")).await?;
    let bytes: u64 = cold.blobs.iter().map(|(_, size)| size).sum();
    println!("\n| cold | measured |\n|---|---|");

    let (mut plain, mut kept, mut ours, mut above, mut idle) = (vec![], vec![], vec![], 0_f64, 0_f64);
    let (mut plain_in_turn, mut ours_in_turn) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let (expected, taken) = pull_in_turn(&nginx.address, cold, file_path)?;
        plain_in_turn.push(taken);
        let node = follower(folder, &format!("turn{round}"), &[&address], &[], cold).await;
        let (received, taken) = pull_in_turn(&address_of(&node), cold, |digest| blob_path(cold, digest))?;
        ensure!(received == expected, "a node and nginx gave different bytes: {received} and {expected}");
        ours_in_turn.push(taken);
        discard(node)?;

        plain.push(pull(&nginx.address, cold, file_path, None)?);
        let copies = tempfile::tempdir_in(folder)?;
        kept.push(pull(&nginx.address, cold, file_path, Some(copies.path()))?);
        drop(copies);
        let node = follower(folder, &format!("one{round}"), &[&address], &[], cold).await;
        let watched = Watched::from_idle(node.process_id())?;
        idle = idle.max(watched.idle_mib());
        ours.push(pull_from(&node, cold)?);
        above = above.max(watched.peak_above_idle_mib()?);
        discard(node)?;
    }
    let [plain, kept, ours] = [plain, kept, ours].map(|times| rate(bytes, times));
    let [plain_in_turn, ours_in_turn] = [plain_in_turn, ours_in_turn].map(|times| rate(bytes, times));
    println!("| 1 GiB in 4 layers, one `curl` from nginx piped to sha256sum | {plain_in_turn:.0} MiB/s |");
    println!(
        "| the same from a node that fetches it from one peer | {ours_in_turn:.0} MiB/s ({:.0} %) |",
        100.0 * ours_in_turn / plain_in_turn
    );
    println!("| the same from nginx, a `curl` for each layer, all at once | {plain:.0} MiB/s |");
    println!("| the same, each layer written to a file and synced as well | {kept:.0} MiB/s |");
    let [of_plain, of_kept] = [plain, kept].map(|yardstick| 100.0 * ours / yardstick);
    println!(
        "| the same from a node that fetches it from one peer | {ours:.0} MiB/s ({of_plain:.0} % of the first, {of_kept:.0} % of the second) |"
    );
    println!("| peak memory of that node above idle | {above:.0} MiB (idle {idle:.0} MiB) |");

    // Whoever built it would be asked as well: the peers get it first, and then they are alone.
    let (mut peers, mut addresses) = (vec![], vec![]);
    for peer in 0..PEERS {
        let mut node = follower(folder, &format!("peer{peer}"), &[&address], &["--upload-rate", PEER_RATE], cold).await;
        pull_from(&node, cold)?;
        addresses.push(node.address().await);
        peers.push(node);
    }
    let mut source = follower(folder, "source", &[&address], &["--upload-rate", SHARED_RATE], warm).await;
    let (digest, size_bytes) = &warm.blobs[SHARED_BLOB];
    ask(&source, warm, digest, *size_bytes, 1).await?;
    origin.stop();

    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let mut ours = vec![];
    for round in 0..ROUNDS {
        let node = follower(folder, &format!("four{round}"), &addresses, &[], cold).await;
        ours.push(pull_from(&node, cold)?);
        discard(node)?;
    }
    let megabytes = rate(bytes, ours) * MIB as f64 / 1e6;
    println!("| the same from {PEERS} peers that send {PEER_RATE} a second each | {megabytes:.0} MB/s |");
    peers.into_iter().try_for_each(discard)?;

    let source_address = source.address().await;
    let mut times = vec![];
    for (name, clients) in [("single", 1), ("many", MANY_CLIENTS)] {
        let node = follower(folder, name, &[&source_address], &[], warm).await;
        let before = sent(&source).await?;
        let taken = ask(&node, warm, digest, *size_bytes, clients).await?.as_secs_f64();
        let fetched = (sent(&source).await? - before) / *size_bytes as f64;
        println!(
            "| 100 MiB from one peer that sends {SHARED_RATE} a second, {clients} clients at once | {taken:.1} s, the peer sent it {fetched:.2} times |"
        );
        times.push(taken);
        discard(node)?;
    }
    println!("| all of them beside one | {:.2} times as long |", times[1] / times[0]);
    Ok(())
}

/// How many bytes of artifacts a node says it sent to others.
async fn sent(node: &Node) -> Result<f64> {
    let text = reqwest::get(node.url("/metrics")).await?.text().await?;
    let line = text.lines().find_map(|line| line.strip_prefix("pyrsia_p2p_artifact_sent_bytes_total "));
    Ok(line.context("a node counts the bytes it sends")?.trim().parse()?)
}

/// A node that knows of the image and has nothing of it.
async fn follower(folder: &Path, name: &str, peers: &[&str], arguments: &[&str], image: &Published) -> Node {
    let peers = peers.iter().flat_map(|address| ["--peer", address]);
    let arguments: Vec<&str> = peers.chain(arguments.iter().copied()).collect();
    let node = start_node(folder, name, &arguments).await;
    node.wait_for_records(&format!("{}:1", image.name), image.blobs.len() + 3, BUILT).await;
    node
}

/// Ends a node and gives back its disk: a dozen of them have the image.
fn discard(node: Node) -> Result<()> {
    let folder = node.folder().to_owned();
    drop(node);
    Ok(std::fs::remove_dir_all(folder)?)
}

/// All layers at once, each hashed by its client.
fn pull_from(node: &Node, image: &Published) -> Result<Duration> {
    pull(&address_of(node), image, |digest| blob_path(image, digest), None)
}

fn address_of(node: &Node) -> String {
    format!("127.0.0.1:{}", node.port)
}

fn blob_path(image: &Published, digest: &str) -> String {
    format!("/v2/{}/blobs/{digest}", image.name)
}

/// All layers one after the other by one client, and the digest of them all.
fn pull_in_turn(address: &str, image: &Published, path: impl Fn(&str) -> String) -> Result<(String, Duration)> {
    let urls = image.blobs.iter().map(|(digest, _)| format!("http://{address}{}", path(digest)));
    let begun = Instant::now();
    let pulled =
        Command::new("bash").args(["-c", "set -o pipefail; curl -sSf \"$@\" | sha256sum", "bash"]).args(urls).output()?;
    let taken = begun.elapsed();
    ensure!(pulled.status.success(), "a client ended with {}: {}", pulled.status, String::from_utf8_lossy(&pulled.stderr));
    Ok((String::from_utf8(pulled.stdout)?, taken))
}

/// `copies` is where each client writes what it hashes.
fn pull(address: &str, image: &Published, path: impl Fn(&str) -> String, copies: Option<&Path>) -> Result<Duration> {
    let script = match copies {
        None => "curl -sSf \"$0\" | sha256sum",
        Some(_) => "set -o pipefail; curl -sSf \"$0\" | tee \"$1\" | sha256sum && sync --data \"$1\"",
    };
    let begun = Instant::now();
    let started = image.blobs.iter().map(|(digest, _)| {
        let mut command = Command::new("bash");
        command.args(["-c", script, &format!("http://{address}{}", path(digest))]).args(copies.map(|folder| folder.join(digest)));
        Ok((digest, command.stdout(Stdio::piped()).spawn()?))
    });
    let started: Vec<(&String, Child)> = started.collect::<Result<_>>()?;
    for (digest, child) in started {
        let output = child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{digest}: a client ended with {}", output.status);
        ensure!(printed.split_whitespace().next() == digest.strip_prefix("sha256:"), "{digest}: curl brought {printed}");
    }
    Ok(begun.elapsed())
}

/// How long it takes until so many clients have all of a blob.
pub(super) async fn ask(node: &Node, image: &Published, digest: &str, size_bytes: u64, clients: usize) -> Result<Duration> {
    let (address, path) = (address_of(node), blob_path(image, digest));
    let begun = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let (address, path) = (address.clone(), path.clone());
        asking.spawn(async move {
            let mut socket = TcpStream::connect(&address).await?;
            load::receive(&mut socket, &mut vec![0; MIB / 8], &address, &path, size_bytes, |_| {}).await
        });
    }
    while let Some(ended) = asking.join_next().await {
        ended??;
    }
    Ok(begun.elapsed())
}

fn rate(bytes: u64, mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    bytes as f64 / MIB as f64 / times[times.len() / 2].as_secs_f64()
}
