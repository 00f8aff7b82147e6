//! The tree of the ledger as a client reads it that knows the specification of tlog-tiles and nothing of Pyrsia.

use super::fixture::Fixture;
use pyrsia_ledger::Sha256Digest;
use serde_json::json;

type Hash = [u8; 32];

/// More than fit into one tile.
const EVENTS_MIN: u64 = 300;
const WIDTH: u64 = 256;

fn sha256(parts: &[&[u8]]) -> Hash {
    *Sha256Digest::of_parts(parts).as_bytes()
}

/// MTH of RFC 6962 over hashes of leaves.
fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => sha256(&[]),
        [hash] => *hash,
        _ => {
            let (left, right) = hashes.split_at(hashes.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left), &root(right)])
        }
    }
}

/// `N` of a path: 1234067 is x001/x234/067.
fn path_of(mut index: u64) -> String {
    let mut path = format!("{:03}", index % 1_000);
    while index >= 1_000 {
        index /= 1_000;
        path = format!("x{:03}/{path}", index % 1_000);
    }
    path
}

/// Every tile of one kind that a tree has of `count` items, as paths with their widths.
fn paths(kind: &str, count: u64) -> Vec<(String, u64)> {
    let full = (0..count / WIDTH).map(|index| (format!("/log/tile/{kind}/{}", path_of(index)), WIDTH));
    let partial = (!count.is_multiple_of(WIDTH))
        .then(|| (format!("/log/tile/{kind}/{}.p/{}", path_of(count / WIDTH), count % WIDTH), count % WIDTH));
    full.chain(partial).collect()
}

async fn fetch(fixture: &Fixture, path: &str) -> Vec<u8> {
    let response = fixture.get(path).await;
    assert_eq!(response.status(), 200, "{path}");
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    let is_immutable = response.headers()["cache-control"].to_str().expect("text").contains("immutable");
    assert_eq!(is_immutable, !path.contains(".p/"), "{path}");
    response.bytes().await.expect("bytes").to_vec()
}

async fn hashes(fixture: &Fixture, level: u32, size: u64) -> Vec<Hash> {
    let mut hashes = vec![];
    for (path, width) in paths(&level.to_string(), size >> (8 * level)) {
        let tile = fetch(fixture, &path).await;
        assert_eq!(tile.len() as u64, 32 * width, "{path}");
        hashes.extend(tile.chunks_exact(32).map(|hash| Hash::try_from(hash).expect("32 bytes")));
    }
    hashes
}

async fn entries(fixture: &Fixture, size: u64) -> Vec<Vec<u8>> {
    let mut entries = vec![];
    for (path, width) in paths("entries", size) {
        let before = entries.len() as u64;
        let bundle = fetch(fixture, &path).await;
        let mut rest = bundle.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (entry, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            rest = behind;
        }
        assert_eq!(entries.len() as u64 - before, width, "{path}");
    }
    entries
}

/// The newest block's tree: its size and its root.
fn newest(fixture: &Fixture) -> (u64, Hash) {
    let view = fixture.node.handle().ledger();
    let state = view.state.as_ref().expect("a network");
    (state.tree_size(), *state.tree_root().as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_any_transparency_log_comes_to_the_root_of_the_newest_block() {
    let fixture = Fixture::founded("http://127.0.0.1:9").await;
    fixture.authorize().await;
    // The pipeline cannot be reached: each build is asked for, committed to and revealed as one that came to nothing.
    for number in 0..EVENTS_MIN / 3 {
        let wish = json!({"package_type": "docker", "package": format!("package{number}:1")});
        fixture.until("a build is taken", async || fixture.post("/api/v1/builds", &wish).await.0 < 300).await;
    }
    let is_over = || fixture.node.handle().ledger().state.as_ref().is_some_and(|state| state.builds.unfinished_count() == 0);
    fixture.until("the builds are over", async || is_over() && newest(&fixture).0 >= EVENTS_MIN).await;
    let (size, expected) = newest(&fixture);
    for _ in 0..2 {
        let note = fixture.get("/log/checkpoint").await.text().await.expect("text");
        assert_eq!(note.lines().nth(1), Some(size.to_string().as_str()), "the checkpoint is of the newest block: {note}");
    }
    let leaves = hashes(&fixture, 0, size).await;
    assert_eq!(leaves.len() as u64, size);
    assert_eq!(root(&leaves), expected, "the leaves lead to the root that the block states");
    let full: Vec<Hash> = leaves.chunks_exact(WIDTH as usize).map(root).collect();
    assert_eq!(hashes(&fixture, 1, size).await, full, "the next level has the roots of full tiles");
    let entries = entries(&fixture, size).await;
    let of_entries: Vec<Hash> = entries.iter().map(|entry| sha256(&[&[0], entry])).collect();
    assert_eq!(of_entries, leaves, "the leaves are the hashes of the entries");

    for beyond in ["2/000", "0/x001/000", "63/000", "entries/x001/000", "0/001", "entries/001"] {
        assert_eq!(fixture.get(&format!("/log/tile/{beyond}")).await.status(), 404, "{beyond}");
    }
    for wrong in ["0/1", "64/000", "0/000.p/256", "0/000.p/0", "entries", "x/000"] {
        assert_eq!(fixture.get(&format!("/log/tile/{wrong}")).await.status(), 400, "{wrong}");
    }
    assert_eq!(fixture.head("/log/tile/0/000").await.status(), 200);
    fixture.stop().await;
}
