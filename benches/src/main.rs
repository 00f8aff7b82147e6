//! The measurements of docs/performance.md: `cargo xtask bench [transfer|latency|verifiers]`.
//!
//! Each figure stands beside that of an ordinary tool on the same machine in the same run, because absolute figures of a
//! shared machine say little. Starts the optimized programs as a user does, on loopback, in a temporary folder.

mod latency;
mod memory;
mod transfer;
mod verifiers;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["verifiers", modules] = words.as_slice() {
        return verifiers::measure_modules(modules);
    }
    let (transfer, latency, verifiers) = match words.as_slice() {
        [] => (true, true, true),
        ["transfer"] => (true, false, false),
        ["latency"] => (false, true, false),
        ["verifiers"] => (false, false, true),
        _ => bail!("usage: pyrsia-benches [transfer|latency|verifiers]"),
    };
    println!("| what | measured |\n|---|---|");
    if transfer {
        transfer::measure().await?;
    }
    if latency {
        latency::measure().await?;
    }
    if verifiers {
        verifiers::measure()?;
    }
    Ok(())
}
