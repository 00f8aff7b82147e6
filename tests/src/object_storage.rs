//! Object storages of others, which check signatures and which `cargo xtask clients` fetches: S3Proxy, and Azurite for the Blob Storage of Azure.

mod azure;

use crate::clients;
use crate::deadline::{SOON, wait_for};
use crate::maven::clients_folder;
use crate::program::{Program, free_port};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const BUCKET: &str = "artifacts";
const PREFIX: &str = "a/prefix";
const SECRET: &str = "a secret of this test";
const S3_KEY: &str = "the-nodes";
/// Its own default writes every byte of every request down.
const S3PROXY_LOGGING: &str = r#"<configuration>
  <appender name="stderr" class="ch.qos.logback.core.ConsoleAppender"><target>System.err</target>
    <encoder><pattern>%level %logger{0} %msg%n</pattern></encoder></appender>
  <root level="INFO"><appender-ref ref="stderr"/></root>
</configuration>
"#;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    S3,
    AzureBlob,
}

pub struct ObjectStorage {
    service: Service,
    port: u16,
    folder: PathBuf,
    /// Where the program that is the storage lies.
    fetched: PathBuf,
    program: Option<Program>,
}

impl ObjectStorage {
    /// Its place in `folder`; none, and the test is skipped, where the program is missing.
    pub async fn start(service: Service, test: &str, folder: &Path) -> Option<Self> {
        let (interpreter, name) = match service {
            Service::S3 => ("java", "s3proxy-"),
            Service::AzureBlob => ("node", "azurite-"),
        };
        if !clients::present(test, &[interpreter]) {
            return None;
        }
        let Some(fetched) = fetched(name) else {
            clients::lacking(test, &format!("{name}… (cargo xtask clients)"));
            return None;
        };
        let folder = folder.join("object-storage");
        fs::create_dir_all(folder.join("data").join(BUCKET)).expect("a folder for the bucket");
        let mut storage = Self { service, port: free_port(), folder, fetched, program: None };
        storage.write_credentials(SECRET);
        storage.start_again().await;
        if service == Service::AzureBlob {
            azure::create_container(&storage.container_url()).await;
        }
        Some(storage)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a file of the object storage");
        path
    }

    /// What nodes sign their requests with from their next start on: the secret of the bucket, or another one.
    pub fn write_credentials(&self, secret: &str) {
        let text = match self.service {
            Service::S3 => format!("AWS_ACCESS_KEY_ID={S3_KEY}\nAWS_SECRET_ACCESS_KEY={secret}\n"),
            Service::AzureBlob => {
                let key = azure::account_key(secret);
                format!("AZURE_STORAGE_ACCOUNT_NAME={}\nAZURE_STORAGE_ACCOUNT_KEY={key}\n", azure::ACCOUNT)
            }
        };
        let path = self.write("credentials", &text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a private file");
    }

    pub async fn start_again(&mut self) {
        let mut command = match self.service {
            Service::S3 => self.s3proxy(),
            Service::AzureBlob => azure::azurite(&self.fetched, self.port),
        };
        command.current_dir(&self.folder);
        let mut program = Program::start("object storage", command);
        let url = format!("http://127.0.0.1:{}", self.port);
        wait_for("the object storage to answer", SOON, || {
            assert!(program.is_running(), "the object storage ended early:\n{}", program.output().join("\n"));
            let asked = reqwest::get(&url);
            async { asked.await.ok().map(drop) }
        })
        .await;
        self.program = Some(program);
    }

    fn s3proxy(&self) -> Command {
        self.write("logback.xml", S3PROXY_LOGGING);
        self.write(
            "s3proxy.conf",
            &format!(
                "s3proxy.endpoint=http://127.0.0.1:{}\ns3proxy.authorization=aws-v4\ns3proxy.identity={S3_KEY}\ns3proxy.credential={SECRET}\n\
                 jclouds.provider=filesystem-nio2\njclouds.identity=none\njclouds.credential=none\njclouds.filesystem.basedir={}\n",
                self.port,
                self.folder.join("data").display(),
            ),
        );
        let mut command = Command::new("java");
        // It runs for seconds: what the JVM would gain by compiling well, it would not live to see.
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-cp"]).arg(self.fetched.join("*"));
        command.args(["-Dlogback.configurationFile=logback.xml", "org.gaul.s3proxy.Main", "--properties", "s3proxy.conf"]);
        command
    }

    /// Nobody answers any more.
    pub fn stop(&mut self) {
        let mut program = self.program.take().expect("the object storage runs");
        match self.service {
            Service::S3 => program.kill(),
            // It writes down every five seconds what it has; a service in the cloud has it from the moment it says so.
            Service::AzureBlob => {
                let ended = program.stop();
                let in_order = ended.is_some_and(|status| status.success());
                assert!(in_order, "Azurite ended with {ended:?}:\n{}", program.output().join("\n"));
            }
        }
    }

    /// What a node is started with to have its bucket here.
    pub fn arguments(&self) -> Vec<String> {
        let (scheme, endpoint) = match self.service {
            Service::S3 => ("s3", format!("http://127.0.0.1:{}", self.port)),
            Service::AzureBlob => ("az", azure::endpoint(self.port)),
        };
        let credentials = self.folder.join("credentials").display().to_string();
        let told = ["--bucket-url", &format!("{scheme}://{BUCKET}/{PREFIX}"), "--bucket-endpoint", &endpoint].map(str::to_owned);
        told.into_iter().chain(["--bucket-allow-http".to_owned(), "--bucket-credentials".to_owned(), credentials]).collect()
    }

    /// The object that is the copy of an artifact, if there is one.
    pub async fn object(&self, sha256: &str) -> Option<Vec<u8>> {
        match self.service {
            Service::S3 => fs::read(self.file(sha256)).ok(),
            Service::AzureBlob => azure::get(&self.object_url(sha256)).await,
        }
    }

    /// Writes other bytes into an object behind the back of every node.
    pub async fn overwrite(&self, sha256: &str, bytes: &[u8]) {
        match self.service {
            Service::S3 => fs::write(self.file(sha256), bytes).expect("the object is a file"),
            Service::AzureBlob => azure::put(&self.object_url(sha256), bytes).await,
        }
    }

    fn file(&self, sha256: &str) -> PathBuf {
        self.folder.join("data").join(BUCKET).join(object_name(sha256))
    }

    fn container_url(&self) -> String {
        format!("{}/{BUCKET}", azure::endpoint(self.port))
    }

    fn object_url(&self, sha256: &str) -> String {
        format!("{}/{}", self.container_url(), object_name(sha256))
    }
}

/// Where docs/object-storage.md says that an artifact is.
fn object_name(sha256: &str) -> String {
    format!("{PREFIX}/sha256/{}/{sha256}", &sha256[..2])
}

fn fetched(name: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(clients_folder()).ok()?.flatten();
    entries.map(|entry| entry.path()).find(|path| {
        let found = path.file_name().and_then(|found| found.to_str());
        found.is_some_and(|found| found.starts_with(name)) && path.is_dir()
    })
}
