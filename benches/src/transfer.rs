//! One large blob from node to node, beside `curl` from nginx piped to `sha256sum` and a synced file.

use crate::memory::Watched;
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::image::{Blob, Image, LayerFile, pseudo_random};
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::program::{Program, free_port, succeed};
use pyrsia_tests::upstream::Upstream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const BLOB_BYTES: usize = 1 << 30;
/// Each way is measured this often, in turn; the median counts.
const ROUNDS: usize = 3;
const MIB: f64 = 1_048_576.0;

pub(crate) async fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::start(folder.path()).await;
    let (digest, size_bytes) = push_large(&upstream.url).await?;
    let pipeline = Pipeline::start(folder.path(), "pipeline", &["--upstream", &upstream.url]).await;
    let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--listen-only", "--init-blockchain"];
    let mut node_a = Node::start(folder.path(), "nodeA", &arguments).await;
    let cli = Cli::new(folder.path());
    cli.authorize(&node_a, &node_a).await;
    cli.succeed(&["build", "docker", "--image", "bench/large:1"]);
    node_a.wait_for_records("bench/large:1", 4, BUILT).await;
    let address = node_a.address().await;

    let nginx = Nginx::start(folder.path(), &blob_file(node_a.folder(), &digest)?).await?;
    let (mut plain, mut ours, mut above_a, mut above_b, mut idle_b) = (vec![], vec![], 0_f64, 0_f64, 0_f64);
    for round in 0..ROUNDS {
        plain.push(nginx.fetch(folder.path())?);
        // A node of its own each time: the blob is here only once.
        let node_b = Node::start(folder.path(), &format!("nodeB{round}"), &["--peer", &address]).await;
        node_b.wait_for_records("bench/large:1", 4, BUILT).await;
        let (a, b) = (Watched::from_idle(node_a.process_id())?, Watched::from_idle(node_b.process_id())?);
        ours.push(first_byte_of(&node_b, &digest, size_bytes).await?);
        (above_a, above_b) = (above_a.max(a.peak_above_idle_mib()?), above_b.max(b.peak_above_idle_mib()?));
        idle_b = idle_b.max(b.idle_mib());
    }
    let rate = |mut times: Vec<Duration>| {
        times.sort_unstable();
        size_bytes as f64 / MIB / times[ROUNDS / 2].as_secs_f64()
    };
    let (plain, ours) = (rate(plain), rate(ours));
    println!("| 1 GiB, `curl` from nginx piped to sha256sum, file synced | {plain:.0} MiB/s |");
    println!(
        "| 1 GiB, node to node: found, streamed, verified, stored | {ours:.0} MiB/s ({:.0} % of that) |",
        100.0 * ours / plain
    );
    println!("| peak memory above idle, node that sends | {above_a:.0} MiB |");
    println!("| peak memory above idle, node that receives and serves it on | {above_b:.0} MiB (idle {idle_b:.0} MiB) |");
    Ok(())
}

/// Pushes an image with the large layer, made here so that its gigabyte is given back before anything is measured.
async fn push_large(registry: &str) -> Result<(String, usize)> {
    let contents = pseudo_random(11, BLOB_BYTES);
    let image = Image::new(&[&[LayerFile { path: "large", contents: &contents, mode: 0o644 }]], &["/large"]);
    drop(contents);
    image.push(registry, "bench/large", "1").await?;
    let Blob { digest, bytes } = &image.layers[0];
    Ok((digest.clone(), bytes.len()))
}

/// How long the node takes until it serves the first byte, which it does once it has found, verified and stored all of them.
async fn first_byte_of(node: &Node, digest: &str, size_bytes: usize) -> Result<Duration> {
    let start = Instant::now();
    let response = reqwest::get(node.url(&format!("/v2/bench/large/blobs/{digest}"))).await?.error_for_status()?;
    let mut body = response.bytes_stream();
    let first = body.next().await.context("an empty body")??;
    let taken = start.elapsed();
    let mut received = first.len();
    while let Some(chunk) = body.next().await {
        received += chunk?.len();
    }
    ensure!(received == size_bytes, "{received} of {size_bytes} bytes arrived");
    Ok(taken)
}

/// The blob in the node's store: nginx serves the same file.
fn blob_file(node_folder: &Path, digest: &str) -> Result<std::path::PathBuf> {
    let hex = digest.strip_prefix("sha256:").context("a digest")?;
    let file = node_folder.join("pyrsia/blobs").join(&hex[..2]).join(hex);
    ensure!(file.is_file(), "{} is not there", file.display());
    Ok(file)
}

struct Nginx {
    url: String,
    _program: Program,
}

impl Nginx {
    async fn start(folder: &Path, file: &Path) -> Result<Self> {
        let port = free_port();
        let folder = folder.join("nginx");
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("nginx.conf");
        let (root, name) = (file.parent().context("a folder")?, file.file_name().context("a name")?.to_string_lossy());
        let text = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n\
             http {{ access_log off; sendfile on; server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n",
            folder = folder.display(),
            root = root.display(),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(pyrsia_tests::clients::find("nginx").context("nginx is not installed")?);
        command.arg("-p").arg(&folder).arg("-c").arg(&config);
        let program = Program::start("nginx", command);
        let address = ("127.0.0.1", port);
        pyrsia_tests::deadline::wait_for("nginx", pyrsia_tests::deadline::SOON, || async {
            tokio::net::TcpStream::connect(address).await.ok().map(drop)
        })
        .await;
        Ok(Self { url: format!("http://127.0.0.1:{port}/{name}"), _program: program })
    }

    fn fetch(&self, folder: &Path) -> Result<Duration> {
        let copy = folder.join("copy");
        let script = "set -e; curl -sS \"$0\" | tee \"$1\" | sha256sum; sync \"$1\"";
        let start = Instant::now();
        succeed(Command::new("bash").args(["-c", script, &self.url]).arg(&copy));
        let taken = start.elapsed();
        std::fs::remove_file(copy)?;
        Ok(taken)
    }
}
