//! Clients that ask a server for one thing again and again: large answers are counted here, small ones by `wrk` and `ab`.

use super::servers::Server;
use crate::usage::Usage;
use anyhow::{Context, Result, ensure};
use pyrsia_tests::image::MANIFEST_TYPE;
use std::fmt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a server is asked before what it does is counted, and then how long it counts.
const WARM_UP: Duration = Duration::from_millis(300);
const COUNTED: Duration = Duration::from_secs(2);
/// What a client reads at once, as curl does.
const READ_BYTES: usize = 128 * 1_024;
const HEAD_BYTES_MAX: usize = 16 * 1_024;
const SMALL_CLIENTS: &str = "32";
const SMALL_SECONDS: u64 = 3;
/// More than any server answers in that time: `ab` ends at the first of both limits.
const AB_REQUESTS_MAX: &str = "10000000";
const MIB: f64 = 1_048_576.0;

/// Clients of one server that all ask for one blob.
pub(super) struct Load<'a> {
    pub(super) server: &'a Server,
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) clients: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    mib_per_second: f64,
    processor_seconds_per_gib: f64,
}

impl Rate {
    /// Each of the two by itself.
    pub(super) fn median(rates: Vec<Self>) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut values: Vec<f64> = rates.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Self {
            mib_per_second: middle(|rate| rate.mib_per_second),
            processor_seconds_per_gib: middle(|rate| rate.processor_seconds_per_gib),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} | {:.3}", self.mib_per_second, self.processor_seconds_per_gib)
    }
}

impl Load<'_> {
    pub(super) async fn run(&self) -> Result<Rate> {
        let received = Arc::new(AtomicU64::new(0));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..self.clients {
            let (address, path, received) = (self.server.address.clone(), self.path.clone(), received.clone());
            let size_bytes = self.size_bytes;
            clients.spawn(async move { ask_again_and_again(&address, &path, size_bytes, &received).await });
        }
        let ends_early = async |clients: &mut tokio::task::JoinSet<Result<()>>, within| match tokio::time::timeout(
            within,
            clients.join_next(),
        )
        .await
        {
            Ok(ended) => ended.context("there are clients")?.context("a client panicked")?,
            Err(_) => Ok(()),
        };
        ends_early(&mut clients, WARM_UP).await?;
        let (begun, usage, bytes) = (Instant::now(), Usage::of(self.server.process)?, received.load(Ordering::Relaxed));
        ends_early(&mut clients, COUNTED).await?;
        let (taken, used) = (begun.elapsed(), Usage::of(self.server.process)?.since(usage));
        let mib = (received.load(Ordering::Relaxed) - bytes) as f64 / MIB;
        ensure!(mib > 0.0, "{} sent nothing", self.server.name);
        Ok(Rate {
            mib_per_second: mib / taken.as_secs_f64(),
            processor_seconds_per_gib: used.processor.as_secs_f64() / (mib / 1_024.0),
        })
    }
}

/// Never ends by itself but with an error.
async fn ask_again_and_again(address: &str, path: &str, size_bytes: u64, received: &AtomicU64) -> Result<()> {
    let mut socket = TcpStream::connect(address).await?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        receive(&mut socket, &mut buffer, address, path, size_bytes, |count| {
            received.fetch_add(count as u64, Ordering::Relaxed);
        })
        .await?;
    }
}

/// Asks once for what must be so long.
pub(super) async fn receive(
    socket: &mut TcpStream,
    buffer: &mut [u8],
    address: &str,
    path: &str,
    size_bytes: u64,
    mut received: impl FnMut(usize),
) -> Result<()> {
    socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).await?;
    let head = head(socket, buffer).await?;
    let text = String::from_utf8_lossy(&buffer[..head.bytes]).to_lowercase();
    ensure!(text.starts_with("http/1.1 200"), "{text}");
    ensure!(text.contains(&format!("content-length: {size_bytes}\r\n")), "not {size_bytes} bytes: {text}");
    let mut rest = size_bytes;
    let mut count = head.filled - head.bytes;
    loop {
        received(count);
        rest = rest.checked_sub(count as u64).context("more bytes than were announced")?;
        if rest == 0 {
            return Ok(());
        }
        count = socket.read(buffer).await?;
        ensure!(count > 0, "{rest} of {size_bytes} bytes are missing");
    }
}
struct Head {
    bytes: usize,
    /// How much was read with it.
    filled: usize,
}

/// Reads until the head of an answer is there, and maybe more.
async fn head(socket: &mut TcpStream, buffer: &mut [u8]) -> Result<Head> {
    let mut filled = 0;
    loop {
        let count = socket.read(&mut buffer[filled..]).await?;
        ensure!(count > 0, "no answer");
        filled += count;
        let seen = &buffer[..filled.min(HEAD_BYTES_MAX)];
        if let Some(end) = seen.windows(4).position(|end| end == b"\r\n\r\n") {
            return Ok(Head { bytes: end + 4, filled });
        }
        ensure!(filled < HEAD_BYTES_MAX, "the head of the answer does not end");
    }
}

/// How a server did with small requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Small {
    pub(super) per_second: f64,
    processor_us_each: f64,
    /// What 99 of 100 stay within.
    p99_ms: f64,
}

impl fmt::Display for Small {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0} | {:.1} | {:.2}", self.per_second, self.processor_us_each, self.p99_ms)
    }
}

/// GET by `wrk`; HEAD by `ab`, which knows that the answer has no body, and tells whole milliseconds.
pub(super) fn small(method: &str, server: &Server, path: &str) -> Result<Small> {
    let url = format!("http://{}{path}", server.address);
    let accept = format!("Accept: {MANIFEST_TYPE}");
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", &super::CLIENT_CORE.to_string()]);
    let seconds = SMALL_SECONDS.to_string();
    match method {
        "HEAD" => {
            command.args(["ab", "-q", "-k", "-i", "-c", SMALL_CLIENTS, "-t", &seconds, "-n", AB_REQUESTS_MAX, "-H", &accept])
        }
        _ => command.args(["wrk", "-t", "1", "-c", SMALL_CLIENTS, "-d", &seconds, "--latency", "-H", &accept]),
    };
    let usage = Usage::of(server.process)?;
    let output = command.arg(&url).output().context("wrk, ab and taskset must be installed")?;
    let used = Usage::of(server.process)?.since(usage);
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && !text.contains("Non-2xx"), "{method} {url}: {text}");
    let after = |begin: &str| text.lines().find_map(|line| line.trim().strip_prefix(begin)).map(str::trim);
    let first = |text: &str| text.split_whitespace().next().and_then(|word| word.parse::<f64>().ok());
    let rate = after("Requests/sec:").or_else(|| after("Requests per second:")).and_then(first);
    let requests = text.lines().find(|line| line.contains(" requests in ")).or_else(|| after("Complete requests:"));
    let requests = requests.and_then(first).filter(|count| *count > 0.0).with_context(|| format!("no answers: {text}"))?;
    Ok(Small {
        per_second: rate.context("a rate")?,
        processor_us_each: used.processor.as_secs_f64() * 1e6 / requests,
        p99_ms: milliseconds(after("99%").context("the 99th percentile")?)?,
    })
}

/// Without a unit, as `ab` writes it, or with one of `wrk`'s.
fn milliseconds(text: &str) -> Result<f64> {
    let (number, unit) = text.split_at(text.find(|character: char| character.is_alphabetic()).unwrap_or(text.len()));
    let factor = match unit {
        "us" => 0.001,
        "ms" | "" => 1.0,
        "s" => 1_000.0,
        _ => anyhow::bail!("{text} is no time"),
    };
    Ok(number.parse::<f64>()? * factor)
}
