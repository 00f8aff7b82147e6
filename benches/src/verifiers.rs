//! The shipped verifiers in the sandbox, beside the same code compiled for this machine (`verifiers/guests/native`) in the same run.
//!
//! Both read the same files from the disk and must give the same canonical digests. Times are of the call alone; ways take turns and medians count.

mod samples;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pyrsia_verifiers::{
    Abstention, CompiledModules, HostOptions, InputFile, Limits, Outcome, SHIPPED, Verifier, VerifierHost, VerifierSet,
};

use samples::Sample;

const ROUNDS: usize = 5;
/// Calls whose mean is one sample of what a call costs by itself.
const SMALL_CALLS: u32 = 2_000;
const MB: f64 = 1_000_000.0;
const JAR_BYTES: u64 = 160 << 20;
const LAYER_BYTES: u64 = 512 << 20;
const LARGE_LAYER_BYTES: u64 = 2 << 30;
const HASHED_BYTES: u64 = 256 << 20;
/// What a guest may have for a layer of any size.
const GUEST_MEMORY_BYTES: u64 = 64 << 20;
/// How finely the memory it needs is told.
const MEMORY_STEP_BYTES: u64 = 1 << 20;

const SHIPS: &str = "the program ships this verifier";

pub(crate) fn measure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let host = VerifierHost::new(Limits::default())?;
    let shipped = VerifierSet::open(&host, None)?;
    measure_loading(folder.path())?;
    measure_small_call(shipped.preferred("docker").context(SHIPS)?)?;
    measure_hashing(shipped.preferred("maven").context(SHIPS)?, folder.path())?;
    measure_canonical_forms(&shipped, folder.path())?;
    measure_memory(folder.path())
}

/// Of the modules in a folder in place of the shipped ones: for whoever makes them faster.
pub(crate) fn measure_modules(modules: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let host = VerifierHost::new(Limits::default())?;
    measure_canonical_forms(&VerifierSet::open(&host, Some(Path::new(modules)))?, folder.path())
}

fn measure_canonical_forms(verifiers: &VerifierSet, folder: &Path) -> Result<()> {
    let (docker, maven) = (verifiers.preferred("docker").context(SHIPS)?, verifiers.preferred("maven").context(SHIPS)?);
    let jar = Sample::jar(&folder.join("jar"), JAR_BYTES)?;
    beside_native("a jar", maven, "maven", &jar)?;
    let layer = Sample::layer(&folder.join("layer"), LAYER_BYTES, samples::ORDINARY_LEVEL)?;
    beside_native("an image with a gzip layer", docker, "docker", &layer)
}

/// The same canonical forms in the sandbox and without.
fn beside_native(what: &str, verifier: &Verifier, package_type: &str, sample: &Sample) -> Result<()> {
    let (mut sandboxed, mut native) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (taken, digests) = canonicalize(verifier, &sample.files()?)?;
        sandboxed.push(taken);
        let (taken, expected) = canonicalize_natively(package_type, &sample.folder)?;
        ensure!(digests == expected, "the sandbox and native code disagree on {what}");
        native.push(taken);
    }
    let (sandboxed, native) = (median(sandboxed), median(native));
    let rate = |bytes: u64, taken: f64| bytes as f64 / MB / taken;
    println!(
        "| canonical form of {what} of {:.0} MB, {:.0} MB unpacked | {:.0} MB/s, {:.0} MB/s unpacked |",
        sample.packed_bytes as f64 / MB,
        sample.unpacked_bytes as f64 / MB,
        rate(sample.packed_bytes, sandboxed),
        rate(sample.unpacked_bytes, sandboxed)
    );
    println!(
        "| the same code natively | {:.0} MB/s unpacked, {:.2} times |",
        rate(sample.unpacked_bytes, native),
        sandboxed / native
    );
    Ok(())
}

fn canonicalize(verifier: &Verifier, files: &[InputFile]) -> Result<(f64, Vec<String>)> {
    let start = Instant::now();
    let outcome = verifier.canonicalize(None, files);
    let taken = start.elapsed().as_secs_f64();
    match outcome {
        Outcome::Done(forms) => Ok((taken, forms.iter().map(|form| form.canonical.to_string()).collect())),
        Outcome::Refused(refusal) => bail!("{refusal}"),
        Outcome::Abstained(abstention) => bail!("{abstention}"),
    }
}

fn canonicalize_natively(package_type: &str, folder: &Path) -> Result<(f64, Vec<String>)> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verifiers/guests/target/release/pyrsia-guests-native");
    let output =
        Command::new(&program).arg(package_type).arg(folder).output().context("`cargo xtask bench` builds this program")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (taken, digests) = text.split_once('\n').context("a line with the time")?;
    Ok((taken.parse()?, digests.lines().map(str::to_owned).collect()))
}

/// Compiling every shipped module, and loading them as an earlier start of the node compiled them.
fn measure_loading(folder: &Path) -> Result<()> {
    let compiled = folder.join("compiled");
    let load = |host: &VerifierHost| -> Result<Vec<Duration>> {
        let load = |(_, module): &(&str, &[u8])| {
            let start = Instant::now();
            host.load(module)?;
            Ok(start.elapsed())
        };
        SHIPPED.iter().map(load).collect()
    };
    let host = || {
        let compiled = Some(CompiledModules::open(&compiled, [1; 32])?);
        anyhow::Ok(VerifierHost::with_options(Limits::default(), HostOptions { compiled, ..HostOptions::default() })?)
    };
    let cold = load(&host()?)?;
    let warm = (0..ROUNDS).map(|_| load(&host()?)).collect::<Result<Vec<_>>>()?;
    for (at, (name, module)) in SHIPPED.iter().enumerate() {
        let warm = median(warm.iter().map(|times| times[at].as_secs_f64()).collect());
        println!(
            "| {name} ({} KB): compiled once; loaded after a restart | {} ms; {:.1} ms |",
            module.len() / 1000,
            cold[at].as_millis(),
            warm * 1e3
        );
    }
    Ok(())
}

fn measure_small_call(docker: &Verifier) -> Result<()> {
    let round = || {
        let start = Instant::now();
        for _ in 0..SMALL_CALLS {
            ensure!(docker.parse_coordinate("alpine:1").done().is_some(), "an example is a coordinate");
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(SMALL_CALLS))
    };
    let samples = (0..ROUNDS).map(|_| round()).collect::<Result<Vec<f64>>>()?;
    println!("| a fresh instance and a small call (`parse-coordinate`) | {:.0} µs |", median(samples) * 1e6);
    Ok(())
}

/// A file that is compared bit for bit is hashed by the host; the SHA-512 of a checksum file is not one of the host's, so the guest computes it.
fn measure_hashing(maven: &Verifier, folder: &Path) -> Result<()> {
    let (plain, checked) = (folder.join("plain"), folder.join("checked"));
    let by_host = Sample::bytes(&plain, HASHED_BYTES)?;
    let by_guest = Sample::bytes_with_sha512(&checked, HASHED_BYTES)?;
    let rate = |sample: &Sample| -> Result<(f64, Vec<f64>)> {
        let times = (0..ROUNDS).map(|_| Ok(canonicalize(maven, &sample.files()?)?.0)).collect::<Result<Vec<_>>>()?;
        Ok((HASHED_BYTES as f64 / MB / median(times.clone()), times))
    };
    let (host, host_times) = rate(&by_host)?;
    let (_, both_times) = rate(&by_guest)?;
    let guest = HASHED_BYTES as f64 / MB / (median(both_times) - median(host_times));
    println!("| hashing by the host, SHA-256 | {host:.0} MB/s |");
    println!("| hashing in the guest, SHA-512 of a checksum file | {guest:.0} MB/s |");
    Ok(())
}

/// A large layer within [`GUEST_MEMORY_BYTES`], and with how little it does.
fn measure_memory(folder: &Path) -> Result<()> {
    let sample = Sample::layer(&folder.join("large"), LARGE_LAYER_BYTES, samples::FAST_LEVEL)?;
    let mut memory_bytes = MEMORY_STEP_BYTES * 4;
    let (limit, taken) = loop {
        let host = VerifierHost::new(Limits { memory_bytes, ..Limits::default() })?;
        let shipped = VerifierSet::open(&host, None)?;
        let start = Instant::now();
        match shipped.preferred("docker").context(SHIPS)?.canonicalize(None, &sample.files()?) {
            Outcome::Done(_) => break (memory_bytes, start.elapsed()),
            Outcome::Abstained(Abstention::OutOfMemory { asked, .. }) => {
                memory_bytes = asked.max(memory_bytes).next_multiple_of(MEMORY_STEP_BYTES) + MEMORY_STEP_BYTES;
            }
            other => bail!("{other:?}"),
        }
        ensure!(memory_bytes <= GUEST_MEMORY_BYTES, "a layer needs more than {GUEST_MEMORY_BYTES} bytes of memory");
    };
    println!(
        "| a gzip layer of {:.1} GiB unpacked: guest memory that is enough; time | {} MiB; {:.0} s |",
        sample.unpacked_bytes as f64 / (1u64 << 30) as f64,
        limit >> 20,
        taken.as_secs_f64()
    );
    Ok(())
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples[samples.len() / 2]
}
