//! The programs of others that tests run against, and which of them this machine lacks.

use crate::{built, run};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program, the Debian package it comes in, and what is not tested without it.
const CLIENTS: [(&str, &str, &str); 12] = [
    ("dockerd", "docker.io", "pulls with the real docker engine"),
    ("docker", "docker.io", "pulls with the real docker engine"),
    ("docker-registry", "docker-registry", "imports from a real registry"),
    ("busybox", "busybox-static", "images that run as containers"),
    ("skopeo", "skopeo", "pulls with a second client"),
    ("git", "git", "builds from source and the demo"),
    ("npm", "npm, or nodejs where that brings it", "npm packages from source to their client"),
    ("node", "nodejs", "npm packages from source to their client"),
    ("mvn", "maven", "Maven packages from source to their client"),
    ("jar", "default-jdk-headless", "Maven packages from source to their client"),
    ("gradle", "gradle", "Maven packages with a second client"),
    ("ip", "iproute2", "networks that are parted by network namespaces"),
];

/// Releases of Maven that Debian has no package of, one for each transport that is maintained.
const MAVENS: [&str; 2] = ["3.9.11", "4.0.0-rc-4"];
/// An object storage that speaks S3 and checks signatures, with what it needs to keep its objects in a folder.
const S3PROXY: &str = "2.6.0";
/// What it needs for the storages of others alone.
const S3PROXY_WITHOUT: &str = "com.amazonaws,com.azure,com.microsoft.azure,com.nimbusds,io.netty,io.projectreactor,io.projectreactor.netty,net.java.dev.jna";
/// An object storage that speaks Azure's protocol and checks its signatures; the last release that Debian's Node.js runs.
const AZURITE: &str = "3.35.0";
/// What it depends on is of that day, whenever it is fetched.
const AZURITE_BEFORE: &str = "--before=2026-11-20";
/// Their folder in the target folder; what lies there stays between runs.
const FETCHED: &str = "clients";
/// How often a release is tried to be had.
const FETCH_TRIES: usize = 3;
/// The plugin and goal that fetch a program with all it needs.
const COPY_ALL: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";
/// The plugin and goal that fetch a file from the repository that Maven itself knows.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy";

/// Where distributions put programs that are no user's everyday tools.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// One line for each client that is missing.
pub(crate) fn missing() -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from)).collect();
    let here = |program: &str| folders.iter().any(|folder| folder.join(program).is_file());
    let missing = CLIENTS.iter().filter(|(program, ..)| !here(program));
    let mut missing: Vec<String> =
        missing.map(|(program, package, what)| format!("{program} (Debian package {package}): {what}")).collect();
    let fetched = |version: &&str| maven(version).is_ok_and(|folder| folder.is_dir());
    let mavens = MAVENS.iter().filter(|version| !fetched(version));
    missing.extend(mavens.map(|version| format!("Maven {version} (cargo xtask clients): Maven packages with a client of today")));
    if !s3proxy().is_ok_and(|folder| folder.is_dir()) {
        missing.push(format!("S3Proxy {S3PROXY} (cargo xtask clients): a bucket behind the store"));
    }
    if !azurite().is_ok_and(|folder| folder.is_dir()) {
        missing.push(format!("Azurite {AZURITE} (cargo xtask clients): a container of Azure behind the store"));
    }
    missing
}

/// Fetches the releases of Maven and the object storages that are not here, by the Maven and the npm that are.
pub(crate) fn fetch() -> Result<()> {
    for version in MAVENS {
        let folder = maven(version)?;
        if folder.is_dir() {
            println!("{}", folder.display());
            continue;
        }
        let cache = folder.parent().context("it has a folder")?;
        let downloads = cache.join("downloads");
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--quiet", COPY, &format!("-Dartifact=org.apache.maven:apache-maven:{version}:tar.gz:bin")]);
        copy.arg(option("outputDirectory", &downloads)).arg(option("maven.repo.local", &cache.join("local")));
        // The network may fail where nothing is wrong.
        let fetched = (1..FETCH_TRIES).any(|_| run(&mut copy).is_ok());
        if !fetched {
            run(&mut copy)?;
        }
        // Complete or not there at all: a run that was interrupted unpacks again.
        let unpacked = empty_folder(cache, version)?;
        let archive = downloads.join(format!("apache-maven-{version}-bin.tar.gz"));
        run(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&unpacked))?;
        let inner = unpacked.join(format!("apache-maven-{version}"));
        ensure!(inner.join("bin/mvn").is_file(), "{} holds no bin/mvn", archive.display());
        std::fs::rename(&inner, &folder)?;
        std::fs::remove_dir_all(&unpacked)?;
        println!("{}", folder.display());
    }
    fetch_s3proxy()?;
    fetch_azurite()
}

fn fetch_s3proxy() -> Result<()> {
    let folder = s3proxy()?;
    if !folder.is_dir() {
        let cache = folder.parent().context("it has a folder")?;
        let unpacked = empty_folder(cache, S3PROXY)?;
        let (project, jars) = (unpacked.join("pom.xml"), unpacked.join("jars"));
        std::fs::write(
            &project,
            format!(
                "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>pyrsia</groupId>\
             <artifactId>object-storage</artifactId><version>1</version><dependencies><dependency><groupId>org.gaul</groupId>\
             <artifactId>s3proxy</artifactId><version>{S3PROXY}</version></dependency></dependencies></project>"
            ),
        )?;
        let mut copy = Command::new("mvn");
        copy.args(["--batch-mode", "--quiet", COPY_ALL, "-DincludeScope=runtime", "--file"]).arg(&project);
        copy.arg(format!("-DexcludeGroupIds={S3PROXY_WITHOUT}"));
        copy.arg(option("outputDirectory", &jars)).arg(option("maven.repo.local", &cache.join("local")));
        run_patiently(&mut copy)?;
        ensure!(jars.join(format!("s3proxy-{S3PROXY}.jar")).is_file(), "{} holds no S3Proxy", jars.display());
        std::fs::rename(&jars, &folder)?;
        std::fs::remove_dir_all(&unpacked)?;
    }
    println!("{}", folder.display());
    Ok(())
}

fn fetch_azurite() -> Result<()> {
    let folder = azurite()?;
    if !folder.is_dir() {
        let cache = folder.parent().context("it has a folder")?;
        let unpacked = empty_folder(cache, AZURITE)?;
        let mut install = Command::new("npm");
        install
            .args(["install", "--loglevel=error", "--no-audit", "--no-fund", "--ignore-scripts", AZURITE_BEFORE, "--prefix"])
            .arg(&unpacked);
        install.arg(format!("azurite@{AZURITE}"));
        run_patiently(&mut install)?;
        ensure!(unpacked.join("node_modules/azurite").is_dir(), "{} holds no Azurite", unpacked.display());
        std::fs::rename(&unpacked, &folder)?;
    }
    println!("{}", folder.display());
    Ok(())
}

/// The network may fail where nothing is wrong.
fn run_patiently(command: &mut Command) -> Result<()> {
    let ran = (1..FETCH_TRIES).any(|_| run(command).is_ok());
    if ran { Ok(()) } else { run(command) }
}

/// An empty folder to unpack in, beside the place of what is unpacked.
fn empty_folder(cache: &Path, version: &str) -> Result<PathBuf> {
    let folder = cache.join(format!("unpacked-{version}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(folder)
}

fn option(name: &str, folder: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(format!("-D{name}="));
    option.push(folder);
    option
}

fn s3proxy() -> Result<PathBuf> {
    built(&format!("{FETCHED}/s3proxy-{S3PROXY}"))
}

fn azurite() -> Result<PathBuf> {
    built(&format!("{FETCHED}/azurite-{AZURITE}"))
}

fn maven(version: &str) -> Result<PathBuf> {
    built(&format!("{FETCHED}/apache-maven-{version}"))
}
