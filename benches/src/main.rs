//! The measurements of docs/performance.md: `cargo xtask bench [transfer|latency|memory|consensus|verifiers|sync|mirror [cold]]`.
//!
//! Each figure stands beside that of an ordinary tool on the same machine in the same run, because absolute figures of a
//! shared machine say little. Starts the optimized programs as a user does, on loopback, in a temporary folder.

mod consensus;
mod full_blocks;
mod latency;
mod memory;
mod mirror;
mod sync;
mod transfer;
mod usage;
mod validators;
mod verifiers;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["verifiers", modules] = words.as_slice() {
        return verifiers::measure_modules(modules);
    }
    if words == ["sync"] {
        println!("| what | measured |\n|---|---|");
        return sync::measure().await;
    }
    if words == ["mirror"] || words == ["mirror", "cold"] {
        return mirror::measure(words.len() == 1).await;
    }
    let tasks = match words.as_slice() {
        [] => vec!["transfer", "latency", "memory", "consensus", "verifiers"],
        [task @ ("transfer" | "latency" | "memory" | "consensus" | "verifiers")] => vec![*task],
        _ => bail!("usage: pyrsia-benches [transfer|latency|memory|consensus|verifiers|sync|mirror [cold]]"),
    };
    println!("| what | measured |\n|---|---|");
    for task in tasks {
        match task {
            "transfer" => transfer::measure().await?,
            "latency" => latency::measure().await?,
            "memory" => memory::measure().await?,
            "consensus" => consensus::measure().await?,
            _ => verifiers::measure()?,
        }
    }
    Ok(())
}
