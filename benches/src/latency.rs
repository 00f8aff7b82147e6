//! From the wish for a build to its record on the other node, with a pipeline that has every build ready at once.

use anyhow::{Context, Result};
use pyrsia_tests::instant_pipeline::InstantPipeline;
use pyrsia_tests::network::{Cli, Node};
use serde_json::json;
use std::time::{Duration, Instant};

const BUILDS: usize = 20;
/// How often the other node is asked; the figures are that coarse.
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const WITHIN: Duration = Duration::from_secs(30);

pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pipeline = InstantPipeline::start().await?;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let mut node_a = Node::start(folder.path(), "nodeA", &arguments).await;
    Cli::new(folder.path()).authorize(&node_a, &node_a).await;
    let node_b = Node::start(folder.path(), "nodeB", &["--peer", &node_a.address().await]).await;
    node_b.wait_until_synced(&node_a).await;

    let mut samples = Vec::with_capacity(BUILDS);
    for build in 0..BUILDS {
        let image = format!("bench/latency:{build}");
        let start = Instant::now();
        let (status, answer) = node_a.post("/build/docker", &json!({ "image": image })).await;
        anyhow::ensure!(status == 200, "the build was refused: {status} {answer}");
        while node_b.records(&image).await.is_empty() {
            anyhow::ensure!(start.elapsed() < WITHIN, "no record of {image} on the other node");
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        samples.push(start.elapsed());
    }
    samples.sort_unstable();
    let (median, worst) = (samples[BUILDS / 2], samples.last().context("there are samples")?);
    println!("| request of a build to its record on the other node, median of {BUILDS} | {} ms |", median.as_millis());
    println!("| the same, worst | {} ms |", worst.as_millis());
    Ok(())
}
