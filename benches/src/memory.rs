//! How much memory a process has, from the kernel; what idle nodes have.

use anyhow::{Context, Result};
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::image::{Image, LayerFile, pseudo_random};
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::upstream::Upstream;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const KIB_PER_MIB: f64 = 1024.0;
/// What an idle node may have.
const IDLE_MIB_MAX: f64 = 40.0;
/// How long after its work a node may take to be idle, …
const IDLE_WAIT: Duration = Duration::from_secs(60);
/// … and how long it has to be, so that what comes back by itself is counted.
const IDLE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);
/// What is built and pulled before.
const LAYER_BYTES: usize = 100 << 20;
/// As a node is run where nobody reads a line for each request.
const LOG: &str = "warn,pyrsia_node=info,pyrsia_cli=info";

/// A process whose memory is watched.
pub(crate) struct Watched {
    id: u32,
    idle_mib: f64,
}

impl Watched {
    /// Notes what the process has, and sets its peak back to that.
    pub(crate) fn from_idle(id: u32) -> Result<Self> {
        // proc(5): 5 resets the peak resident set size.
        std::fs::write(format!("/proc/{id}/clear_refs"), "5").context("resetting the peak needs the process' owner")?;
        Ok(Self { id, idle_mib: field(id, "VmRSS:")? })
    }

    pub(crate) fn idle_mib(&self) -> f64 {
        self.idle_mib
    }

    /// The most it has had since, above idle. Counts mapped files too.
    pub(crate) fn peak_above_idle_mib(&self) -> Result<f64> {
        Ok(field(self.id, "VmHWM:")? - self.idle_mib)
    }
}

/// Idle nodes of each kind. The memory is what `ps` shows as RSS.
pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let upstream = Upstream::start(folder).await;
    let contents = pseudo_random(12, LAYER_BYTES);
    let image = Image::new(&[&[LayerFile { path: "large", contents: &contents, mode: 0o644 }]], &["/large"]);
    image.push(&upstream.url, "bench/idle", "1").await?;
    drop((image, contents));
    let pipeline = Pipeline::start(folder, "pipeline", &["--upstream", &upstream.url]).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--init-blockchain"];
    let mut origin = Node::reserve(folder, "origin", None, &arguments);
    origin.log(LOG);
    origin.start_again().await;
    report("at its first start, which compiles the verifiers", &origin).await?;
    origin.stop();
    origin.start_again().await;
    report("started again", &origin).await?;

    let cli = Cli::new(folder);
    cli.authorize(&origin, &origin).await;
    cli.succeed(&["build", "docker", "--image", "bench/idle:1"]);
    origin.wait_for_records("bench/idle:1", 4, BUILT).await;
    report("after building an image of 100 MiB", &origin).await?;
    let address = origin.address().await;
    let mut follower = Node::reserve(folder, "follower", None, &["--peer", &address]);
    follower.log(LOG);
    follower.start_again().await;
    follower.wait_for_records("bench/idle:1", 4, BUILT).await;
    follower.pull("bench/idle", "1").await;
    report("that joined and fetched it", &follower).await?;
    report("that it was fetched from", &origin).await
}

async fn report(which: &str, node: &Node) -> Result<()> {
    let id = node.process_id();
    let until = Instant::now() + IDLE_WAIT;
    while field(id, "VmRSS:")? >= IDLE_MIB_MAX && Instant::now() < until {
        sleep(LOOK).await;
    }
    sleep(IDLE).await;
    let [all, own, files] = ["VmRSS:", "RssAnon:", "RssFile:"].map(|name| field(id, name));
    let (all, own, files) = (all?, own?, files?);
    println!("| idle node {which} (goal: under {IDLE_MIB_MAX} MiB) | {all:.1} MiB: {own:.1} its own, {files:.1} of files |");
    Ok(())
}

fn field(id: u32, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{name} of process {id}"))?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / KIB_PER_MIB)
}
