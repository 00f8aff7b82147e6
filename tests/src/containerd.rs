//! A containerd of the test's own, asked with `ctr`: its data, its state and its socket lie in the test's folder.

use crate::clients::find;
use crate::deadline::{SOON, wait_for};
use crate::program::{Ended, Program, run};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Containerd {
    socket: PathBuf,
    _program: Program,
}

impl Containerd {
    pub async fn start(folder: &Path) -> Self {
        let folder = folder.join("containerd");
        std::fs::create_dir_all(&folder).expect("a folder for containerd");
        let (socket, configuration) = (folder.join("c.sock"), folder.join("config.toml"));
        // Kubernetes' side needs a network of its own.
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {socket:?}\n",
            folder.join("root"),
            folder.join("state")
        );
        std::fs::write(&configuration, text).expect("the configuration of containerd");
        let mut command = Command::new(find("containerd").expect("the test asked for containerd"));
        command.arg("--config").arg(configuration);
        let containerd = Self { socket, _program: Program::start("containerd", command) };
        wait_for("containerd to answer", SOON, || async { (containerd.ctr(&["version"]).code == 0).then_some(()) }).await;
        containerd
    }

    /// `ctr …`, however it ends.
    pub fn ctr(&self, arguments: &[&str]) -> Ended {
        run(Command::new("ctr").arg("--address").arg(&self.socket).args(arguments))
    }

    /// `ctr images pull …` without a storage driver of the kernel: it runs wherever the tests run.
    pub fn pull(&self, arguments: &[&str]) -> Ended {
        self.ctr(&[&["images", "pull", "--snapshotter", "native"], arguments].concat())
    }
}
