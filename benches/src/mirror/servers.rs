//! The servers that a node is compared with, and which core a process runs on.

use anyhow::{Context, Result};
use pyrsia_tests::clients::find;
use pyrsia_tests::deadline::{SOON, wait_for};
use pyrsia_tests::program::{Program, free_port, succeed};
use std::cell::RefCell;
use std::path::Path;
use std::process::Command;

/// Keeps all threads of a process, and what it starts, on one core.
pub(super) fn pin(process: u32, core: usize) -> Result<()> {
    affinity(process, &core.to_string())
}

pub(super) fn unpin(process: u32) -> Result<()> {
    affinity(process, &format!("0-{}", std::thread::available_parallelism()?.get().max(2) - 1))
}

fn affinity(process: u32, cores: &str) -> Result<()> {
    let taskset = find("taskset").context("taskset is not installed")?;
    succeed(Command::new(taskset).args(["--all-tasks", "--cpu-list", "--pid", cores, &process.to_string()]));
    Ok(())
}

/// Where a server has what is asked for.
enum Paths {
    /// As the OCI distribution specification says.
    Registry,
    /// Files as a node's store names them.
    Files,
}

pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: String,
    pub(super) process: u32,
    paths: Paths,
}

impl Server {
    pub(super) fn registry(name: &'static str, address: &str, process: u32) -> Self {
        Self { name, address: address.to_owned(), process, paths: Paths::Registry }
    }

    pub(super) fn files(name: &'static str, address: &str, process: u32) -> Self {
        Self { name, address: address.to_owned(), process, paths: Paths::Files }
    }

    pub(super) fn blob_path(&self, repository: &str, digest: &str) -> String {
        match self.paths {
            Paths::Registry => format!("/v2/{repository}/blobs/{digest}"),
            Paths::Files => file_path(digest),
        }
    }

    /// The manifest that `reference` names, whose digest is `digest`.
    pub(super) fn manifest_path(&self, repository: &str, reference: &str, digest: &str) -> String {
        match self.paths {
            Paths::Registry => format!("/v2/{repository}/manifests/{reference}"),
            Paths::Files => file_path(digest),
        }
    }
}

pub(super) fn file_path(digest: &str) -> String {
    let hex = digest.trim_start_matches("sha256:");
    format!("/{}/{hex}", &hex[..2])
}

/// nginx in front of a folder, with one worker and sendfile.
pub(super) struct Nginx {
    pub(super) address: String,
    program: RefCell<Program>,
}

impl Nginx {
    pub(super) async fn start(folder: &Path, root: &Path) -> Result<Self> {
        let folder = folder.join("nginx");
        std::fs::create_dir_all(&folder)?;
        let (config, address) = (folder.join("nginx.conf"), format!("127.0.0.1:{}", free_port()));
        let text = format!(
            "user root;\ndaemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n\
             http {{ access_log off; sendfile on; keepalive_requests 1000000000; server {{ listen {address}; root {root}; }} }}\n",
            folder = folder.display(),
            root = root.display(),
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new(find("nginx").context("nginx is not installed")?);
        command.arg("-p").arg(&folder).arg("-c").arg(&config);
        let program = Program::start("nginx", command);
        wait_for("nginx", SOON, || async { tokio::net::TcpStream::connect(&address).await.ok().map(drop) }).await;
        Ok(Self { address, program: RefCell::new(program) })
    }

    pub(super) fn process_id(&self) -> u32 {
        self.program.borrow().id()
    }

    pub(super) fn is_running(&self) -> bool {
        self.program.borrow_mut().is_running()
    }
}

pub(super) struct Nora {
    pub(super) url: String,
    program: Program,
}

impl Nora {
    pub(super) fn process_id(&self) -> u32 {
        self.program.id()
    }
}

/// A NORA with a store on this disk and no limit on requests, if its program is here.
pub(super) async fn nora(folder: &Path) -> Result<Option<Nora>> {
    let Some(nora) = find("nora") else {
        println!("NORA is not measured: no program `nora` on the path");
        return Ok(None);
    };
    let (port, store) = (free_port().to_string(), folder.join("nora"));
    std::fs::create_dir_all(&store)?;
    let mut command = Command::new(nora);
    command.arg("serve").current_dir(&store).env("NORA_HOST", "127.0.0.1").env("NORA_PORT", &port).env("RUST_LOG", "warn");
    command.env("NORA_STORAGE_MODE", "local").env("NORA_STORAGE_PATH", store.join("data"));
    command.env("NORA_RATE_LIMIT_ENABLED", "false").env("NORA_AUTH_ENABLED", "false");
    let (program, url) = (Program::start("nora", command), format!("http://127.0.0.1:{port}"));
    wait_for("nora to answer", SOON, || async { reqwest::get(format!("{url}/v2/")).await.ok().map(drop) }).await;
    Ok(Some(Nora { url, program }))
}
