//! An object storage that speaks S3 and checks signatures: S3Proxy before a folder, which `cargo xtask clients` fetches.

use crate::clients;
use crate::deadline::{SOON, wait_for};
use crate::maven::clients_folder;
use crate::program::{Program, free_port};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUCKET: &str = "artifacts";
const KEY: &str = "the-nodes";
const SECRET: &str = "a secret of this test";
/// Its own default writes every byte of every request down.
const LOGGING: &str = r#"<configuration>
  <appender name="stderr" class="ch.qos.logback.core.ConsoleAppender"><target>System.err</target>
    <encoder><pattern>%level %logger{0} %msg%n</pattern></encoder></appender>
  <root level="INFO"><appender-ref ref="stderr"/></root>
</configuration>
"#;

pub struct ObjectStorage {
    port: u16,
    folder: PathBuf,
    jars: PathBuf,
    program: Option<Program>,
}

impl ObjectStorage {
    /// Its place in `folder`; none, and the test is skipped, where the program is missing.
    pub async fn start(test: &str, folder: &Path) -> Option<Self> {
        if !clients::present(test, &["java"]) {
            return None;
        }
        let Some(jars) = fetched() else {
            clients::lacking(test, "S3Proxy (cargo xtask clients)");
            return None;
        };
        let folder = folder.join("object-storage");
        std::fs::create_dir_all(folder.join("data").join(BUCKET)).expect("a folder for the bucket");
        let mut storage = Self { port: free_port(), folder, jars, program: None };
        storage.write("logback.xml", LOGGING);
        storage.write(
            "s3proxy.conf",
            &format!(
                "s3proxy.endpoint=http://127.0.0.1:{}\ns3proxy.authorization=aws-v4\ns3proxy.identity={KEY}\ns3proxy.credential={SECRET}\n\
                 jclouds.provider=filesystem-nio2\njclouds.identity=none\njclouds.credential=none\njclouds.filesystem.basedir={}\n",
                storage.port,
                storage.folder.join("data").display(),
            ),
        );
        storage.write_credentials(SECRET);
        storage.start_again().await;
        Some(storage)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::write(&path, text).expect("a file of the object storage");
        path
    }

    /// What nodes sign their requests with from their next start on.
    pub fn write_credentials(&self, secret: &str) {
        let path = self.write("credentials", &format!("AWS_ACCESS_KEY_ID={KEY}\nAWS_SECRET_ACCESS_KEY={secret}\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a private file");
    }

    pub async fn start_again(&mut self) {
        let mut command = Command::new("java");
        // It runs for seconds: what the JVM would gain by compiling well, it would not live to see.
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-cp"]).arg(self.jars.join("*"));
        command.args(["-Dlogback.configurationFile=logback.xml", "org.gaul.s3proxy.Main", "--properties", "s3proxy.conf"]);
        command.current_dir(&self.folder);
        let mut program = Program::start("object storage", command);
        let url = self.endpoint();
        wait_for("the object storage to answer", SOON, || {
            assert!(program.is_running(), "the object storage ended early:\n{}", program.output().join("\n"));
            let asked = reqwest::get(&url);
            async { asked.await.ok().map(drop) }
        })
        .await;
        self.program = Some(program);
    }

    /// Nobody answers any more.
    pub fn stop(&mut self) {
        self.program.take().expect("the object storage runs").kill();
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a node is started with to have its bucket here.
    pub fn arguments(&self) -> Vec<String> {
        let credentials = self.folder.join("credentials").display().to_string();
        let told = ["--bucket-url", &format!("s3://{BUCKET}/a/prefix"), "--bucket-endpoint", &self.endpoint()].map(str::to_owned);
        told.into_iter().chain(["--bucket-allow-http".to_owned(), "--bucket-credentials".to_owned(), credentials]).collect()
    }

    /// The file that an artifact's object is.
    pub fn object(&self, sha256: &str) -> PathBuf {
        self.folder.join("data").join(BUCKET).join("a/prefix/sha256").join(&sha256[..2]).join(sha256)
    }
}

fn fetched() -> Option<PathBuf> {
    let entries = std::fs::read_dir(clients_folder()).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("s3proxy-")) && path.is_dir()
    })
}
