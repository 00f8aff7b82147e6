//! A registry to import from: Debian's docker-registry on a free port, with its files in the test's folder.

use crate::deadline::{SOON, wait_for};
use crate::program::{Program, free_port};
use std::path::Path;
use std::process::Command;

pub struct Upstream {
    pub url: String,
    program: Program,
}

impl Upstream {
    pub async fn start(folder: &Path) -> Self {
        let port = free_port();
        let data = folder.join("upstream");
        std::fs::create_dir_all(&data).expect("a folder for the registry");
        let config = folder.join("upstream.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: warn\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\n",
            data.display()
        );
        std::fs::write(&config, text).expect("the registry's configuration");
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config);
        let program = Program::start("docker-registry", command);
        let url = format!("http://127.0.0.1:{port}");
        wait_for("docker-registry to answer", SOON, || async {
            reqwest::get(format!("{url}/v2/")).await.ok().filter(|response| response.status().is_success()).map(drop)
        })
        .await;
        Self { url, program }
    }

    pub fn process_id(&self) -> u32 {
        self.program.id()
    }
}
