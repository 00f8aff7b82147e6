//! Pyrsia's own programs as a test runs them: nodes, pipelines and the command line, each in a folder of its own.

use crate::deadline::{BUILT, SOON, wait_for};
use crate::engine::Engine;
use crate::image::MANIFEST_TYPE;
use crate::program::{Ended, Program, free_port, ours, run, succeed};
use crate::switch::Socket;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a node that may be gone is listened to.
const ANSWER: Duration = Duration::from_secs(30);

/// A `pyrsia_node` with its data folder, which outlives the program: it can be killed and started again.
pub struct Node {
    pub name: String,
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    /// What it writes to its log.
    log: String,
    /// Where it is plugged in, if it has a network namespace of its own.
    socket: Option<Socket>,
    program: Option<Program>,
    http: reqwest::Client,
}

impl Node {
    /// A node in `folder/name` on a free port; `arguments` are those of the program beside the port.
    pub async fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut node = Self::reserve(folder, name, None, arguments);
        node.start_again().await;
        node
    }

    /// A node that has its place and does not run.
    pub fn reserve(folder: &Path, name: &str, socket: Option<Socket>, arguments: &[&str]) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("a folder for the node");
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        // A connection to a program that was killed must not be used again.
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
        let log = "pyrsia=debug".to_owned();
        Self { name: name.to_owned(), port: free_port(), folder, arguments, log, socket, program: None, http }
    }

    /// Has it write other lines to its log from the next start on.
    pub fn log(&mut self, directives: &str) {
        directives.clone_into(&mut self.log);
    }

    /// Starts the program on the folder as it is, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.start_again_within(SOON).await;
    }

    /// The same on a ledger that takes long to open.
    pub async fn start_again_within(&mut self, within: Duration) {
        self.launch();
        self.wait_until_ready(within).await;
    }

    /// Starts the program and does not wait.
    pub fn launch(&mut self) {
        assert!(self.program.is_none(), "{} runs already", self.name);
        let mut command = match &self.socket {
            Some(socket) => socket.command(&ours("pyrsia_node")),
            None => Command::new(ours("pyrsia_node")),
        };
        command.current_dir(&self.folder).args(&self.arguments).args(["-p", &self.port.to_string()]);
        command.env("RUST_LOG", &self.log).env("DEV_MODE", "on").env("XDG_STATE_HOME", state_home(&self.folder));
        for name in ["PYRSIA_ARTIFACT_PATH", "PYRSIA_BLOCKCHAIN_PATH", "PYRSIA_KEYPAIR", "PYRSIA_EXTERNAL_IP"] {
            command.env_remove(name);
        }
        self.program = Some(Program::start(&self.name, command));
    }

    pub async fn wait_until_ready(&mut self, within: Duration) {
        wait_for(format!("{} to answer", self.name), within, || {
            let running = self.program.as_mut().is_some_and(Program::is_running);
            assert!(running, "{} ended early:\n{}", self.name, self.output().join("\n"));
            let status = self.http.get(self.url("/status")).send();
            async { status.await.ok().filter(|response| response.status().is_success()).map(drop) }
        })
        .await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.host(), self.port)
    }

    /// Where its HTTP side listens.
    pub fn host(&self) -> &str {
        self.socket.as_ref().map_or("127.0.0.1", Socket::host)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn program(&mut self) -> &mut Program {
        self.program.as_mut().expect("the node runs")
    }

    pub fn is_started(&self) -> bool {
        self.program.is_some()
    }

    pub fn process_id(&self) -> u32 {
        self.program.as_ref().expect("the node runs").id()
    }

    pub fn output(&self) -> Vec<String> {
        self.program.as_ref().map(Program::output).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.take().expect("the node runs").kill();
    }

    /// `kill -STOP`: it is there and does nothing.
    pub fn pause(&mut self) {
        self.program().pause();
    }

    /// `kill -CONT`.
    pub fn resume(&mut self) {
        self.program().resume();
    }

    /// Ends it as an operator does; it must end by itself with code 0.
    pub fn stop(&mut self) {
        let mut program = self.program.take().expect("the node runs");
        let status = program.stop();
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{} did not end well", self.name);
    }

    /// What it tells of itself; none while it does not answer.
    pub async fn try_status(&self) -> Option<Value> {
        self.ask("/status").await
    }

    pub async fn status(&self) -> Value {
        self.get_json("/status").await.unwrap_or_else(|error| panic!("status of {}: {error}", self.name))
    }

    pub async fn peer_id(&self) -> String {
        self.status().await["peer_id"].as_str().expect("a node tells its peer id").to_owned()
    }

    /// The address other nodes of this machine reach it at, from its log.
    pub async fn address(&mut self) -> String {
        let begin = format!("/ip4/{}/tcp/", self.socket.as_ref().map_or("127.0.0.1", Socket::peer_address));
        self.program()
            .line("the p2p address", SOON, |line| {
                let (_, rest) = line.split_once("Local node is listening on \"")?;
                let (address, _) = rest.split_once('"')?;
                (address.starts_with(&begin) && address.contains("/p2p/")).then(|| address.to_owned())
            })
            .await
    }

    /// Posts JSON; gives the status and the body, as JSON where it is.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.http.post(self.url(path)).json(body).send().await;
        let response = response.unwrap_or_else(|error| panic!("POST {path} to {}: {error}", self.name));
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// As [`Node::post`], for a node that may be gone: none when it does not answer in time.
    pub async fn try_post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let response = self.http.post(self.url(path)).timeout(ANSWER).json(body).send().await.ok()?;
        let status = response.status().as_u16();
        let text = response.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A build as this node sees it, judge by judge; none where it does not know it.
    pub async fn build(&self, id: &str) -> Option<Value> {
        self.ask(&format!("/api/v1/builds/{id}")).await
    }

    /// The authorized, wished for and former nodes.
    pub async fn nodes(&self) -> Value {
        self.get_json("/api/v1/nodes").await.unwrap_or_else(|error| panic!("nodes of {}: {error}", self.name))
    }

    /// The log records of an image, oldest first; none while it is not published.
    pub async fn records(&self, image: &str) -> Vec<Value> {
        let (status, body) = self.inspect(image).await;
        assert_eq!(status, 200, "inspect {image} on {}: {body}", self.name);
        records_in(&body)
    }

    async fn inspect(&self, image: &str) -> (u16, Value) {
        self.post("/inspect/docker", &serde_json::json!({ "image": image })).await
    }

    /// Waits until `count` records of an image are visible here, and first until there is a network to follow.
    pub async fn wait_for_records(&self, image: &str, count: usize, within: Duration) -> Vec<Value> {
        wait_for(format!("{count} records of {image} on {}", self.name), within, || async {
            let (status, body) = self.inspect(image).await;
            assert!(status == 200 || status == 503, "inspect {image} on {}: {status} {body}", self.name);
            (status == 200).then(|| records_in(&body)).filter(|records| records.len() >= count)
        })
        .await
    }

    /// An image's manifest and then every blob it names, as a client gets them; panics on a byte that is not what it should be.
    pub async fn pull(&self, repository: &str, reference: &str) -> Pulled {
        let response = self.get_manifest(repository, reference).await;
        assert_eq!(response.0, 200, "{repository}:{reference} from {}: {}", self.name, String::from_utf8_lossy(&response.1));
        let manifest: Value = serde_json::from_slice(&response.1).expect("a manifest is JSON");
        let layers = manifest["layers"].as_array().expect("a manifest lists layers").iter();
        let mut blobs = Vec::new();
        for described in std::iter::once(&manifest["config"]).chain(layers) {
            let digest = described["digest"].as_str().expect("a descriptor has a digest").to_owned();
            let response = self.http.get(self.url(&format!("/v2/{repository}/blobs/{digest}"))).send().await.expect("an answer");
            assert_eq!(response.status(), 200, "blob {digest} from {}", self.name);
            let bytes = response.bytes().await.expect("a whole blob");
            assert_eq!(Some(bytes.len() as u64), described["size"].as_u64());
            assert_eq!(crate::image::sha256(&bytes), digest);
            blobs.push(digest);
        }
        Pulled { manifest: crate::image::sha256(&response.1), blobs }
    }

    /// A manifest request as docker makes it: status and body.
    pub async fn get_manifest(&self, repository: &str, reference: &str) -> (u16, Vec<u8>) {
        let url = self.url(&format!("/v2/{repository}/manifests/{reference}"));
        let response = self.http.get(url).header("accept", MANIFEST_TYPE).send().await.expect("an answer");
        (response.status().as_u16(), response.bytes().await.expect("a body").to_vec())
    }

    /// How many connected peers it tells.
    pub async fn peers(&self) -> u64 {
        self.status().await["peers_count"].as_u64().expect("a count")
    }

    /// Waits until this node follows the network of `other` as far as that has come.
    pub async fn wait_until_synced(&self, other: &Node) {
        let reached = other.status().await["height"].as_u64().expect("a node of a network tells its height");
        wait_for(format!("{} to reach height {reached}", self.name), SOON, || async {
            (self.status().await["height"].as_u64()? >= reached).then_some(())
        })
        .await;
    }

    /// Members, verifiers, height and roots of the network.
    pub async fn network(&self) -> Value {
        self.get_json("/api/v1/network").await.unwrap_or_else(|error| panic!("network of {}: {error}", self.name))
    }

    async fn get_json(&self, path: &str) -> reqwest::Result<Value> {
        self.http.get(self.url(path)).send().await?.error_for_status()?.json().await
    }

    /// A JSON document of a node that may be gone.
    async fn ask(&self, path: &str) -> Option<Value> {
        let response = self.http.get(self.url(path)).timeout(ANSWER).send().await.ok()?;
        response.error_for_status().ok()?.json().await.ok()
    }
}

/// Digests of what a pull gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Pulled {
    pub manifest: String,
    pub blobs: Vec<String>,
}

fn records_in(body: &Value) -> Vec<Value> {
    body.as_array().expect("records").clone()
}

pub async fn get_json(url: &str) -> reqwest::Result<Value> {
    reqwest::get(url).await?.error_for_status()?.json().await
}

/// Shared by the nodes and the command line of one test: where the nodes leave the administrator's token.
fn state_home(node_folder: &Path) -> PathBuf {
    node_folder.parent().expect("a node's folder lies in the test's").join("state")
}

/// Who a program runs as.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    pub user: u32,
    pub umask: &'static str,
}

impl Account {
    /// These, if this process may become other users and they may run our programs and enter the folder.
    pub fn others(folder: &Path, accounts: &[Self]) -> Option<Vec<Self>> {
        let reach = |account: &Self| {
            let mut tried = account.set("test", "-x");
            let tried = tried.arg(ours("pyrsia_build")).arg("-a").arg("-x").arg(folder).stderr(std::process::Stdio::null());
            tried.status().is_ok_and(|status| status.success())
        };
        let all = accounts.iter().all(reach);
        if !all {
            println!("no other users: this process may not become them, or they may not enter its folders");
        }
        all.then(|| accounts.to_vec())
    }

    /// Makes a folder this user's own: git reads no repository of somebody else.
    pub fn take(self, folder: &Path) {
        succeed(Command::new("chown").args(["--recursive", &self.user.to_string()]).arg(folder));
    }

    /// The program as this user, whose home is the folder.
    fn command(self, program: &Path, folder: &Path) -> Command {
        self.take(folder);
        let mut command = self.set("sh", "-c");
        command.arg(format!("umask {} && exec \"$0\" \"$@\"", self.umask)).arg(program).env("HOME", folder);
        command
    }

    fn set(self, program: &str, argument: &str) -> Command {
        let user = self.user.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", program, argument]);
        command
    }
}

/// A `pyrsia_build`.
pub struct Pipeline {
    pub url: String,
    folder: PathBuf,
    arguments: Vec<String>,
    port: u16,
    /// The engine that builds its Dockerfiles; without one it builds them itself.
    engine: Option<String>,
    /// Who it runs as, where that is not the user of the test.
    account: Option<Account>,
    program: Option<Program>,
}

impl Pipeline {
    /// A pipeline in `folder/name` on a free port, which builds with what is built into it.
    pub async fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut pipeline = Self::reserve(folder, name, arguments);
        pipeline.start_again().await;
        pipeline
    }

    /// A pipeline whose Dockerfiles are built by a docker engine.
    pub async fn start_with(engine: &Engine, folder: &Path, name: &str) -> Self {
        let mut pipeline = Self::reserve(folder, name, &[]);
        pipeline.engine = Some(engine.socket.clone());
        pipeline.start_again().await;
        pipeline
    }

    /// A pipeline of another user of this machine.
    pub async fn start_as(account: Account, folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut pipeline = Self::reserve(folder, name, arguments);
        pipeline.account = Some(account);
        pipeline.start_again().await;
        pipeline
    }

    /// A pipeline that has its address and does not run.
    pub fn reserve(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let port = free_port();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self {
            url: format!("http://localhost:{port}"),
            folder: folder.join(name),
            arguments,
            port,
            engine: None,
            account: None,
            program: None,
        }
    }

    pub async fn start_again(&mut self) {
        std::fs::create_dir_all(&self.folder).expect("a folder for the pipeline");
        let mut command = match &self.account {
            Some(account) => account.command(&ours("pyrsia_build"), &self.folder),
            None => Command::new(ours("pyrsia_build")),
        };
        command.current_dir(&self.folder).args(&self.arguments).args(["-p", &self.port.to_string()]);
        match &self.engine {
            Some(socket) => command.args(["--builder", "docker"]).env("DOCKER_HOST", socket),
            None => command.args(["--builder", "embedded"]),
        };
        command.env_remove("PYRSIA_BUILD_PATH").env_remove("PYRSIA_UPSTREAM");
        self.program = Some(Program::start("pyrsia_build", command));
        let url = format!("{}/status", self.url);
        wait_for("pyrsia_build to answer", SOON, || async { reqwest::get(&url).await.ok().map(drop) }).await;
    }

    /// Has `wish` built; gives the manifest's bytes.
    pub async fn build(&self, wish: &Value) -> Vec<u8> {
        let asked = reqwest::Client::new().put(format!("{}/build", self.url)).json(wish).send().await.expect("an answer");
        assert_eq!(asked.status(), 200, "{wish}");
        let id: String = asked.json().await.expect("the build's id");
        let urls = wait_for(format!("the build of {wish}"), BUILT, || async {
            let build = get_json(&format!("{}/build/{id}", self.url)).await.expect("the build");
            assert!(build["status"]["Failure"].is_null(), "{build:#}");
            build["status"]["Success"]["artifact_urls"].as_array().cloned()
        })
        .await;
        let manifest = format!("{}{}", self.url, urls[0].as_str().expect("a URL"));
        reqwest::get(manifest).await.expect("an answer").bytes().await.expect("the manifest").to_vec()
    }

    pub fn kill(&mut self) {
        self.program.take().expect("the pipeline runs").kill();
    }

    pub fn is_running(&self) -> bool {
        self.program.is_some()
    }
}

/// The `pyrsia` command line with a configuration of its own.
pub struct Cli {
    folder: PathBuf,
}

impl Cli {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ours("pyrsia"));
        command.current_dir(&self.folder).args(arguments).env_remove("PYRSIA_ADMIN_TOKEN");
        command.env("XDG_CONFIG_HOME", self.folder.join("config")).env("XDG_STATE_HOME", self.folder.join("state"));
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        run(&mut self.command(arguments))
    }

    /// `pyrsia …`, which must end with code 0; gives what it printed.
    pub fn succeed(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "pyrsia {arguments:?}\n{}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// `pyrsia …`, however it ends, talking to this node with its admin token.
    pub fn run_at(&self, node: &Node, arguments: &[&str]) -> Ended {
        self.succeed(&["config", "-e", "--host", node.host(), "--port", &node.port.to_string()]);
        let mut command = self.command(arguments);
        // The program looks for the token by itself only where the node is on its own host.
        if let Ok(token) = std::fs::read_to_string(node.folder().join("pyrsia/admin.token")) {
            command.env("PYRSIA_ADMIN_TOKEN", token.trim());
        }
        run(&mut command)
    }

    /// `pyrsia …` talking to this node, which must end with code 0; gives what it printed.
    pub fn succeed_at(&self, node: &Node, arguments: &[&str]) -> String {
        let ended = self.run_at(node, arguments);
        assert_eq!(ended.code, 0, "pyrsia {arguments:?} at {}\n{}{}", node.name, ended.stdout, ended.stderr);
        ended.stdout
    }

    /// `pyrsia authorize` on each of `by`, which must be enough; waits until the node is authorized and everybody knows.
    pub async fn authorize_by(&self, by: &[&Node], node: &Node) {
        let peer_id = node.peer_id().await;
        for approver in by {
            let printed = self.succeed_at(approver, &["authorize", "--peer", &peer_id]);
            assert!(printed.contains("Authorize request successfully handled."), "{printed}");
        }
        for seen_by in by.iter().copied().chain([node]) {
            wait_for(format!("{} to be authorized in the eyes of {}", node.name, seen_by.name), SOON, || async {
                let nodes = seen_by.nodes().await;
                nodes["nodes"].as_array()?.iter().any(|authorized| authorized["node"] == peer_id.as_str()).then_some(())
            })
            .await;
        }
    }

    /// `pyrsia authorize` of a node, by itself or by the node the configuration names; waits until it judges builds.
    pub async fn authorize(&self, by: &Node, node: &Node) {
        self.succeed(&["config", "-e", "--port", &by.port.to_string()]);
        let peer_id = node.peer_id().await;
        let printed = self.succeed(&["authorize", "--peer", &peer_id]);
        assert!(printed.contains("Authorize request successfully handled."), "{printed}");
        wait_for(format!("{} to be authorized", node.name), SOON, || async {
            (node.status().await["authorized"] == true).then_some(())
        })
        .await;
    }
}
