//! A node as a mirror, beside nginx, Debian's docker-registry and NORA: the same bytes, the servers pinned to one core in turn, the client to
//! another; then pulls of what a node has to fetch from its peers first.
//!
//! NORA takes part where its program `nora` is on the path.

mod cold;
mod load;
mod servers;

use anyhow::{Context, Result, ensure};
use load::{Load, Rate};
use pyrsia_tests::deadline::BUILT;
use pyrsia_tests::image::{Image, LayerFile, pseudo_random};
use pyrsia_tests::network::{Cli, Node, Pipeline};
use pyrsia_tests::upstream::Upstream;
use servers::{Server, pin};
use std::path::Path;

use crate::memory::Watched;

const MIB: usize = 1 << 20;
/// Blobs of these sizes are asked for when they are warm.
const WARM_BYTES: [usize; 4] = [MIB, 16 * MIB, 100 * MIB, 1_024 * MIB];
const CLIENTS: [usize; 3] = [1, 8, 64];
/// What is asked for cold: an image of 1 GiB.
const COLD_LAYERS: usize = 4;
const COLD_LAYER_BYTES: usize = 256 * MIB;
/// Each point is measured this often, the servers in turn; the median counts.
const ROUNDS: usize = 3;
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const CLIENT_CORE: usize = 1;
/// As a node is run where nobody reads a line for each request; the other servers write none either.
const LOG: &str = "warn,pyrsia_node=info,pyrsia_cli=info";

/// What a published image is to a client.
pub(crate) struct Published {
    pub(crate) name: &'static str,
    pub(crate) manifest: String,
    /// In the order of the layers.
    pub(crate) blobs: Vec<(String, u64)>,
}

/// A build node that has both images, and who would have to be asked for them otherwise.
struct Origin {
    node: Node,
    upstream: Upstream,
    _pipeline: Pipeline,
}

/// All of it, or only what has to be fetched first.
pub(crate) async fn measure(with_warm: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sizes = WARM_BYTES.map(|bytes| vec![bytes]);
    let cold = [COLD_LAYER_BYTES; COLD_LAYERS].map(|bytes| vec![bytes]);
    let upstream = on_one_core(Upstream::start(folder.path())).await?;
    let images = [("bench/warm", sizes.concat()), ("bench/cold", cold.concat())];
    let nora = if with_warm { on_one_core(servers::nora(folder.path())).await?? } else { None };
    let registries: Vec<&str> =
        [Some(upstream.url.as_str()), nora.as_ref().map(|nora| nora.url.as_str())].into_iter().flatten().collect();
    let mut published = vec![];
    for (name, sizes) in images {
        published.push(push(&registries, name, &sizes).await?);
    }
    let [warm, cold] = published.try_into().ok().context("two images")?;
    let mut origin = Origin::start(folder.path(), upstream, &[&warm, &cold]).await;
    if with_warm {
        warm_path(folder.path(), &mut origin, nora, &warm).await?;
    }
    cold::measure(folder.path(), &mut origin.node, &warm, &cold).await
}

/// What starts meanwhile sees one core and has threads for one, as it would on a machine that has no more.
async fn on_one_core<T>(start: impl Future<Output = T>) -> Result<T> {
    pin(std::process::id(), SERVER_CORE)?;
    let started = start.await;
    servers::unpin(std::process::id())?;
    Ok(started)
}

/// Pushes an image of one file for each size, made here so that its bytes are given back before anything is measured.
async fn push(registries: &[&str], name: &'static str, sizes: &[usize]) -> Result<Published> {
    let contents: Vec<Vec<u8>> = (1..).zip(sizes).map(|(seed, size)| pseudo_random(seed * 1_000 + *size as u64, *size)).collect();
    let layers: Vec<[LayerFile<'_>; 1]> =
        contents.iter().map(|contents| [LayerFile { path: "large", contents, mode: 0o644 }]).collect();
    let layers: Vec<&[LayerFile<'_>]> = layers.iter().map(<[_; 1]>::as_slice).collect();
    let image = Image::new(&layers, &["/large"]);
    for registry in registries {
        image.push(registry, name, "1").await?;
    }
    let blobs = image.layers.iter().map(|layer| (layer.digest.clone(), layer.bytes.len() as u64)).collect();
    Ok(Published { name, manifest: image.manifest.digest.clone(), blobs })
}

impl Origin {
    async fn start(folder: &Path, upstream: Upstream, images: &[&Published]) -> Self {
        let pipeline = Pipeline::start(folder, "pipeline", &["--upstream", &upstream.url]).await;
        let arguments = ["--pipeline-service-endpoint", &pipeline.url, "--init-blockchain"];
        let node = start_node(folder, "origin", &arguments).await;
        let cli = Cli::new(folder);
        cli.authorize(&node, &node).await;
        for image in images {
            let tagged = format!("{}:1", image.name);
            cli.succeed(&["build", "docker", "--image", &tagged]);
            node.wait_for_records(&tagged, image.blobs.len() + 3, 4 * BUILT).await;
        }
        Self { node, upstream, _pipeline: pipeline }
    }
}

pub(crate) async fn start_node(folder: &Path, name: &str, arguments: &[&str]) -> Node {
    let mut node = Node::reserve(folder, name, None, arguments);
    node.log(LOG);
    node.start_again().await;
    node
}

async fn warm_path(folder: &Path, origin: &mut Origin, nora: Option<servers::Nora>, warm: &Published) -> Result<()> {
    origin.node.stop();
    on_one_core(origin.node.start_again()).await?;
    let blobs = origin.node.folder().join("pyrsia/blobs");
    let nginx = servers::Nginx::start(folder, &blobs).await?;
    let mut all = vec![
        Server::registry("pyrsia", &format!("127.0.0.1:{}", origin.node.port), origin.node.process_id()),
        Server::files("nginx", &nginx.address, nginx.process_id()),
        Server::registry("docker-registry", origin.upstream.url.trim_start_matches("http://"), origin.upstream.process_id()),
    ];
    all.extend(nora.as_ref().map(|nora| Server::registry("NORA", nora.url.trim_start_matches("http://"), nora.process_id())));
    for server in &all {
        pin(server.process, SERVER_CORE)?;
    }
    pin(std::process::id(), CLIENT_CORE)?;
    // What it has not looked at since its start a node reads once before it gives it out.
    for (digest, size_bytes) in &warm.blobs {
        cold::ask(&origin.node, warm, digest, *size_bytes, 1).await?;
    }
    let watched = Watched::from_idle(origin.node.process_id())?;

    println!("\n| warm, clients | {} |", heading(&all, &["MiB/s", "CPU-s/GiB"]));
    println!("|---|{}", "---|".repeat(2 * all.len()));
    for (digest, size_bytes) in &warm.blobs {
        for clients in CLIENTS {
            let mut rates = vec![vec![]; all.len()];
            for _ in 0..ROUNDS {
                for (server, rates) in all.iter().zip(&mut rates) {
                    let load = Load { server, path: server.blob_path(warm.name, digest), size_bytes: *size_bytes, clients };
                    rates.push(load.run().await.with_context(|| format!("{} of {size_bytes} bytes", server.name))?);
                }
            }
            let rates: Vec<String> = rates.into_iter().map(|rates| Rate::median(rates).to_string()).collect();
            println!("| {} MiB, {clients} | {} |", size_bytes / MIB as u64, rates.join(" | "));
        }
    }

    println!("\n| manifest, 32 clients | {} |", heading(&all, &["requests/s", "CPU-µs each", "p99 ms"]));
    println!("|---|{}", "---|".repeat(3 * all.len()));
    for (method, reference) in [("GET", "1"), ("GET", warm.manifest.as_str()), ("HEAD", "1")] {
        let mut cells = vec![];
        for server in &all {
            let path = server.manifest_path(warm.name, reference, &warm.manifest);
            let mut rates = vec![];
            for _ in 0..ROUNDS {
                rates.push(load::small(method, server, &path)?);
            }
            rates.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
            cells.push(rates[ROUNDS / 2].to_string());
        }
        let what = if reference == "1" { "by tag" } else { "by digest" };
        println!("| {method} {what} | {} |", cells.join(" | "));
    }

    println!("\n| memory | MiB |\n|---|---|");
    println!("| node, idle before | {:.0} |", watched.idle_mib());
    println!("| node, peak above that through all of it | {:.0} |", watched.peak_above_idle_mib()?);
    servers::unpin(std::process::id())?;
    ensure!(nginx.is_running(), "nginx ended early");
    origin.node.stop();
    origin.node.start_again().await;
    Ok(())
}

fn heading(servers: &[Server], units: &[&str]) -> String {
    let cells = servers.iter().flat_map(|server| units.iter().map(move |unit| format!("{} {unit}", server.name)));
    cells.collect::<Vec<_>>().join(" | ")
}
