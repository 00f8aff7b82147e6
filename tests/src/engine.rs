//! A docker engine of the test's own: its data, its socket and its containerd lie in the test's folder.

use crate::clients::find;
use crate::deadline::{SOON, wait_for};
use crate::program::{Ended, Program, run, succeed};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Engine {
    /// What `DOCKER_HOST` is for it.
    pub socket: String,
    configuration: PathBuf,
    _program: Program,
}

impl Engine {
    /// Starts an engine that asks `mirror` first for every image of the public registry.
    pub async fn start(folder: &Path, mirror: &str) -> Self {
        let folder = folder.join("engine");
        let configuration = folder.join("client");
        std::fs::create_dir_all(&configuration).expect("a folder for the engine");
        let socket = format!("unix://{}", folder.join("d.sock").display());
        let mut command = Command::new(find("dockerd").expect("the test asked for dockerd"));
        command.arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(folder.join("exec"));
        command.arg("--pidfile").arg(folder.join("pid")).args(["--host", &socket]);
        // No storage driver of the kernel and no network of its own: it runs wherever the tests run, and leaves nothing behind.
        command.args(["--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args(["--registry-mirror", mirror]);
        let program = Program::start("dockerd", command);
        let engine = Self { socket, configuration, _program: program };
        wait_for("dockerd to answer", SOON, || async { (engine.docker(&["version"]).code == 0).then_some(()) }).await;
        engine
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.env("DOCKER_HOST", &self.socket).env("DOCKER_CONFIG", &self.configuration).args(arguments);
        command
    }

    /// `docker …`, however it ends.
    pub fn docker(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    /// `docker …`, which must succeed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        succeed(&mut self.command(arguments))
    }

    /// The digest of an image's configuration: what docker calls its id.
    pub fn image_id(&self, image: &str) -> String {
        self.succeed(&["image", "inspect", "--format", "{{.Id}}", image]).trim().to_owned()
    }
}
