//! How runs of build programs end other than well: by themselves, by a limit, by who asked, or with the pipeline. In each
//! case nothing of them goes on.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pyrsia_pipeline::{BuildStatus, BuildView, Phase, Pipeline};
use serde_json::Value;

use super::fixture::{Fixture, Repository, SOON, build_with, config, namespaces_work};

const SLEEP: &str = "flock \"$lock\" sh -c 'echo asleep; sleep 600' &\n";

/// A build program with a child that sleeps for ever and holds a lock for as long as it lives.
struct Sleeper {
    fixture: Fixture,
    request: Value,
    lock: PathBuf,
}

async fn sleeper(script: &str, change: impl FnOnce(&mut pyrsia_pipeline::Config)) -> Sleeper {
    program(&format!("{SLEEP}{script}"), change).await
}

async fn program(script: &str, change: impl FnOnce(&mut pyrsia_pipeline::Config)) -> Sleeper {
    let mut lock = PathBuf::new();
    let fixture = Fixture::start(|config| {
        lock = config.data_dir.parent().unwrap().join("lock");
        File::create(&lock).unwrap();
        build_with(config, "cargo", &format!("lock={}\n{script}", lock.display()));
        change(config);
    })
    .await;
    let request = Repository::new(fixture.folder.path(), &[("a", "a")]).package_request("cargo", "a@1");
    Sleeper { fixture, request, lock }
}

impl Sleeper {
    /// Starts a build and returns its id when the child sleeps.
    async fn start(&self) -> String {
        let id = self.fixture.request(self.request.clone()).await;
        wait_for(async || self.fixture.log(&id).await.contains("asleep")).await;
        assert!(File::open(&self.lock).unwrap().try_lock().is_err());
        id
    }

    async fn child_is_gone(&self) {
        wait_for(async || File::open(&self.lock).unwrap().try_lock().is_ok()).await;
    }
}

async fn wait_for(reached: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !reached().await {
        assert!(Instant::now() < deadline, "it did not happen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn work(data: &Path, id: &str) -> PathBuf {
    data.join("builds").join(id).join("work")
}

#[tokio::test]
async fn a_program_that_fails_is_quoted() {
    for (script, sentence) in [
        ("echo one >&2; echo two >&2; echo no such crate >&2; exit 3", "exit status: 3: one; two; no such crate"),
        ("echo said on the other stream; exit 1", "exit status: 1: said on the other stream"),
    ] {
        // The outcome counts, and not what was left before it.
        let script = format!("echo > \"$PYRSIA_OUTPUT_DIR/file\"\nexec sh -c '{script}'");
        let fixture = Fixture::start(|config| {
            build_with(config, "cargo", &script);
            // The one of the tests prints lines of its own.
            config.network_gate = None;
        })
        .await;
        let repository = Repository::new(fixture.folder.path(), &[("a", "a")]);
        let id = fixture.request(repository.package_request("cargo", "a@1")).await;
        let view = fixture.wait(&id).await;
        let BuildStatus::Failure(reason) = view.status else { panic!("{view:?}") };
        assert!(reason.starts_with("the build program failed: ") && reason.contains("/build-cargo ended with"), "{reason}");
        assert!(reason.ends_with(sentence), "{reason}");
    }
}

#[tokio::test]
async fn cancelling_ends_the_program_with_its_children() {
    let sleeper = sleeper("mkdir -p deep/er; touch deep/er/x; chmod 0 deep/er; wait", |_| {}).await;
    let id = sleeper.start().await;
    assert_eq!(sleeper.fixture.view(&id).await.phase, Phase::Building);
    let url = sleeper.fixture.url(&format!("/build/{id}"));
    let view: BuildView = sleeper.fixture.http.delete(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(view.status, BuildStatus::Failure("cancelled".into()));
    sleeper.child_is_gone().await;
    assert!(!work(&sleeper.fixture.data(), &id).exists());
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_its_children() {
    let sleeper = sleeper("wait", |config| config.build_timeout = Duration::from_secs(3)).await;
    let id = sleeper.start().await;
    let view = sleeper.fixture.wait(&id).await;
    let BuildStatus::Failure(reason) = view.status else { panic!("{view:?}") };
    assert_eq!(reason, "the build took longer than 3 seconds (--build-timeout)");
    sleeper.child_is_gone().await;
    assert!(!work(&sleeper.fixture.data(), &id).exists());
}

#[tokio::test]
async fn what_a_program_leaves_in_the_background_ends_with_it() {
    let sleeper = sleeper("echo > \"$PYRSIA_OUTPUT_DIR/file\"; while flock -n \"$lock\" true; do :; done", |_| {}).await;
    assert_eq!(sleeper.fixture.build_files(sleeper.request.clone()).await.len(), 1);
    sleeper.child_is_gone().await;
}

#[tokio::test]
async fn a_child_that_leaves_its_process_group_ends_with_the_program() {
    if !namespaces_work() {
        return;
    }
    let sleeper = program(&format!("setsid {SLEEP}wait"), |_| {}).await;
    let id = sleeper.start().await;
    let url = sleeper.fixture.url(&format!("/build/{id}"));
    assert_eq!(sleeper.fixture.http.delete(url).send().await.unwrap().status(), 200);
    sleeper.child_is_gone().await;
}

#[tokio::test]
async fn a_log_without_an_end_is_cut_and_the_program_can_still_be_ended() {
    let line = "x".repeat(8000);
    let sleeper = sleeper(&format!("while :; do echo {line}; done"), |_| {}).await;
    let id = sleeper.start().await;
    let log = sleeper.fixture.data().join("builds").join(&id).join("log");
    wait_for(async || {
        let text = std::fs::read(&log).unwrap();
        text.ends_with(b"the log is full, the rest of what is printed is left out\n")
    })
    .await;
    assert!(log.metadata().unwrap().len() < 17 << 20);
    let url = sleeper.fixture.url(&format!("/build/{id}"));
    assert_eq!(sleeper.fixture.http.delete(url).send().await.unwrap().status(), 200);
    sleeper.child_is_gone().await;
}

#[tokio::test]
async fn output_beyond_the_limits_ends_a_program_that_still_runs() {
    let script = "head -c 2000 /dev/zero > \"$PYRSIA_OUTPUT_DIR/large\"; wait";
    let sleeper = sleeper(script, |config| config.max_artifact_bytes = 1000).await;
    let id = sleeper.start().await;
    let BuildStatus::Failure(reason) = sleeper.fixture.wait(&id).await.status else { panic!("it was kept") };
    assert!(reason.contains("large has 2000 bytes, more than the limit of 1000"), "{reason}");
    sleeper.child_is_gone().await;
}

#[tokio::test]
async fn a_restart_in_the_middle_ends_the_program_and_the_build() {
    let mut sleeper = sleeper("echo > \"$PYRSIA_OUTPUT_DIR/file\"; wait", |_| {}).await;
    let id = sleeper.start().await;

    // What is on the disk at this moment is what a crash would leave.
    let left = sleeper.fixture.folder.path().join("left");
    let copied = std::process::Command::new("cp").arg("-r").args([&sleeper.fixture.data(), &left]).status().unwrap();
    assert!(copied.success() && work(&left, &id).join("output/file").exists());
    let survivor = Pipeline::start(config(&left)).await.unwrap();
    let url = format!("{}/build/{id}", survivor.url());
    let interrupted = BuildStatus::Failure("interrupted by a restart or a fault of the pipeline".into());
    let view: BuildView = sleeper.fixture.http.get(url).send().await.unwrap().json().await.unwrap();
    assert_eq!(view.status, interrupted);
    assert!(!work(&left, &id).exists());
    survivor.stop().await.unwrap();

    sleeper.fixture.restart().await;
    sleeper.child_is_gone().await;
    assert_eq!(sleeper.fixture.view(&id).await.status, interrupted);
    assert_eq!(sleeper.fixture.view(&id).await.package_type, "cargo");
}

const DOOMED_FOLDER: &str = "PYRSIA_TEST_DOOMED_FOLDER";

/// A pipeline in a process of its own, for the test that kills it.
#[tokio::test]
#[ignore = "only the next test runs it"]
async fn a_doomed_pipeline() {
    let Ok(folder) = std::env::var(DOOMED_FOLDER) else { return };
    let folder = Path::new(&folder);
    let mut config = config(&folder.join("data"));
    build_with(&mut config, "cargo", &format!("lock={}\n{SLEEP}wait", folder.join("lock").display()));
    let pipeline = Pipeline::start(config).await.unwrap();
    let request = Repository::new(folder, &[("a", "a")]).package_request("cargo", "a@1");
    let url = format!("{}/build", pipeline.url());
    assert_eq!(reqwest::Client::new().put(url).body(request.to_string()).send().await.unwrap().status(), 200);
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_pipeline_that_is_killed_takes_its_programs_along() {
    if !namespaces_work() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lock = folder.path().join("lock");
    File::create(&lock).unwrap();
    let mut doomed = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program_end::a_doomed_pipeline", "--ignored"])
        .env(DOOMED_FOLDER, folder.path())
        .spawn()
        .unwrap();
    wait_for(async || File::open(&lock).unwrap().try_lock().is_err()).await;
    doomed.kill().unwrap();
    doomed.wait().unwrap();
    wait_for(async || File::open(&lock).unwrap().try_lock().is_ok()).await;
}
