//! Clients of a node that has to get an artifact from another one first.

use super::fixture::{Fixture, TOKEN};
use super::image::Image;
use super::pipeline::Pipeline;
use super::pull::publish;
use pyrsia_ledger::Sha256Digest;
use pyrsia_ledger::tree::CHUNK_BYTES;
use reqwest::Method;
use serde_json::json;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

const CLIENTS: usize = 64;
const CHUNKS: usize = 5;

pub(super) fn metric(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{name} in {metrics}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_cold_blob_share_one_download_and_none_takes_a_part_for_the_whole() {
    let layer: Vec<u8> = (0..(CHUNKS * CHUNK_BYTES + 777) as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
    let image = Image::of(layer.clone());
    let pipeline = Pipeline::start(image.files()).await;
    let founder = Fixture::founded(&pipeline.url).await;
    publish(&founder, "library/hello:1.0").await;
    let mirror = Fixture::following(&founder).await;
    let sha256 = Sha256Digest::of(&layer);
    let path = format!("/v2/hello/blobs/{}", sha256.to_oci());
    mirror.until("the mirror knows the blob", async || mirror.head(&path).await.status() == 200).await;

    let clients = (0..CLIENTS).map(async |number| {
        let (first, last) = match number % 3 {
            0 => (0, layer.len() - 1),
            1 => (number * CHUNK_BYTES / 20, layer.len() - 1 - number),
            _ => (number * 7_001, number * 7_001 + CHUNK_BYTES),
        };
        let asked = mirror.client.get(mirror.url(&path)).header("range", format!("bytes={first}-{last}")).send();
        let response = asked.await.expect("an answer");
        assert_eq!((response.status().as_u16(), response.content_length()), (206, Some((last - first + 1) as u64)));
        assert!(response.bytes().await.expect("the whole part") == layer[first..=last], "client {number}");
    });
    futures::future::join_all(clients).await;
    let metrics = mirror.get("/metrics").await.text().await.expect("text");
    assert_eq!(metric(&metrics, "pyrsia_p2p_fetches_total{result=\"fetched\"}"), 1);
    assert_eq!(metric(&metrics, "pyrsia_p2p_artifact_received_bytes_total"), layer.len() as u64);

    // Once more, with a byte of the fourth chunk changed where it comes from.
    let (status, answer) =
        mirror.send(Method::POST, "/api/v1/store/removals", Some(TOKEN), &json!({"artifacts": [sha256]}).to_string()).await;
    assert_eq!((status, &answer["artifacts"][0]["outcome"]), (200, &json!("removed")), "{answer}");
    let name = sha256.to_string();
    let stored = OpenOptions::new().write(true).open(founder.folder.path().join("blobs").join(&name[..2]).join(&name));
    stored.expect("is stored").write_all_at(&[!layer[3 * CHUNK_BYTES]], (3 * CHUNK_BYTES) as u64).expect("damages");
    let mut response = mirror.get(&path).await;
    assert_eq!((response.status().as_u16(), response.content_length()), (200, Some(layer.len() as u64)));
    let mut got = vec![];
    let broken_off = loop {
        match response.chunk().await {
            Ok(Some(piece)) => got.extend(piece),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken_off && !got.is_empty() && got.len() <= 3 * CHUNK_BYTES && layer.starts_with(&got), "{}", got.len());
    let refused = mirror.get(&path).await;
    assert_eq!(refused.status(), 503, "nobody else has it");
    assert!(refused.text().await.expect("text").contains("UNAVAILABLE"));
    mirror.stop().await;
    founder.stop().await;
}
