//! A disk that is full in the middle of a download, that cannot be written, or that fails: a real one, in a mount namespace of a process of its own.

use crate::artifacts::StoreError;
use crate::p2p::FetchError;
use crate::p2p::tests::{Setup, TestNode, in_time, noise};
use pyrsia_ledger::event::BuiltArtifact;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Notify;

const FOLDER: &str = "PYRSIA_TEST_SMALL_DISK";
const MIB: usize = 1 << 20;
/// How many files a test opens at least to leave none for the node.
const FILES_TAKEN: u64 = 64;

/// A disk for one process, which the script mounts at its first argument before it runs the rest.
struct Disk {
    namespace: &'static [&'static str],
    script: &'static str,
}

/// 4 MiB of memory, which any user may have.
const SMALL: Disk =
    Disk { namespace: &["--user", "--map-root-user", "--mount"], script: r#"mount -t tmpfs -o size=4m small "$0" && exec "$@""# };

/// A file system in a file: what is cut off of the file cannot be read, as on a disk that is going. Needs root and loop devices.
const FAILING: Disk = Disk {
    namespace: &["--mount"],
    script: r#"PATH="$PATH:/usr/sbin:/sbin" && mount -t tmpfs behind "$0" && truncate -s 32M "$0/disk" && mkfs.ext4 -q -O ^has_journal "$0/disk" &&
        mkdir "$0/node" && mount -o loop,noatime "$0/disk" "$0/node" && exec "$@""#,
};
const FAIL: &str = r#"sync -f "$0/node" && cp --sparse=always "$0/disk" "$0/whole" && truncate -s 64K "$0/disk" &&
    blockdev --flushbufs "$(findmnt -no SOURCE "$0/node")""#;
const RECOVER: &str = r#"dd status=none conv=notrunc bs=1M if="$0/whole" of="$0/disk""#;

impl Disk {
    fn inside(&self, folder: &Path, command: &[&OsStr]) -> io::Result<Output> {
        let mut unshare = Command::new("unshare");
        unshare.args(self.namespace).args(["sh", "-c", self.script]).arg(folder).args(command);
        unshare.env(FOLDER, folder).output()
    }

    /// Whether such a disk is to be had here.
    fn is_here(&self) -> bool {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.inside(folder.path(), &["true".as_ref()]).is_ok_and(|probe| probe.status.success())
    }

    /// Runs a test of this module in a process that has the disk.
    fn run(&self, name: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (program, name) = (std::env::current_exe().expect("this program"), format!("p2p::exchange::full_disk::{name}"));
        let command = [program.as_ref(), "--ignored".as_ref(), "--exact".as_ref(), "--nocapture".as_ref(), name.as_ref()];
        let ended = self.inside(folder.path(), &command).expect("runs");
        let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success() && said.contains("1 passed"), "{said}");
    }
}

fn run_on_small_disk(name: &str) {
    if SMALL.is_here() {
        return SMALL.run(name);
    }
    let required = std::env::var_os("PYRSIA_REQUIRE_CLIENTS").is_some();
    assert!(!required, "a user may not mount a disk of its own here");
    eprintln!("skipped: a user may not mount a disk of its own here");
}

#[test]
fn on_a_disk_that_fails_nothing_is_taken_for_damaged_and_later_the_node_goes_on() {
    match FAILING.is_here() {
        true => FAILING.run("on_a_failing_disk"),
        false => eprintln!("skipped: there are no loop devices here, or this user may not have one"),
    }
}

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_download_leaves_nothing_behind_and_the_node_goes_on() {
    run_on_small_disk("on_a_small_disk");
}

#[test]
fn without_a_disk_to_write_to_or_a_file_to_open_a_node_serves_what_it_has_and_later_goes_on() {
    run_on_small_disk("on_a_read_only_disk_and_without_files");
}

/// A founder that has some published artifacts, and a node on the disk that has none of them.
struct Pair {
    founder: TestNode,
    node: TestNode,
    artifacts: Vec<BuiltArtifact>,
    /// The node's, which is not what these tests are about.
    _ledger: TempDir,
}

impl Pair {
    async fn start(disk: &Path, contents: &[Vec<u8>]) -> Self {
        let large = tempfile::tempdir().expect("a temporary folder");
        symlink(large.path(), disk.join("ledger")).expect("links");
        let founder = Setup::new(1).start().await;
        founder.found().await;
        let mut artifacts = vec![];
        for (number, bytes) in contents.iter().enumerate() {
            founder.keep(bytes);
            artifacts.push(founder.publish(&format!("alpine:{number}"), bytes).await);
        }
        let node = Setup::new(2).peer(&founder).start_in(disk).await;
        let newest = artifacts.last().expect("there are some").sha256;
        node.wait_for_state(|state| state.packages.digest(&newest).is_some()).await;
        Self { founder, node, artifacts, _ledger: large }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it on a disk of 4 MiB"]
async fn on_a_small_disk() {
    let small = PathBuf::from(std::env::var_os(FOLDER).expect("run by the other test"));
    let [too_large, fits] = [(8 * MIB, 1), (2 * MIB, 3)].map(|(size, seed)| noise(size, seed));
    let Pair { founder, node, artifacts, _ledger } = Pair::start(&small, &[too_large, fits.clone()]).await;
    for _ in 0..2 {
        let full = in_time(node.p2p.fetch(&artifacts[0], vec![founder.id])).await.expect_err("there is no room");
        assert!(matches!(&full, FetchError::Store(error) if error.is_disk_full()), "{full:?}");
        assert_eq!((entries(&small.join("partial")), entries(&small.join("tmp"))), (vec![], vec![]));
        assert!(!node.store.contains(&artifacts[0].sha256));
    }
    in_time(node.p2p.fetch(&artifacts[1], vec![founder.id])).await.expect("the smaller one finds room");
    assert_eq!(node.stored(&artifacts[1]), Some(fits));
    node.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it on a disk of its own"]
async fn on_a_read_only_disk_and_without_files() {
    let small = PathBuf::from(std::env::var_os(FOLDER).expect("run by the other test"));
    let bytes = [1, 3, 5].map(|seed| noise(MIB / 2, seed));
    let Pair { founder, node, artifacts, _ledger } = Pair::start(&small, &bytes).await;
    in_time(node.p2p.fetch(&artifacts[0], vec![founder.id])).await.expect("the disk can be written");

    let mount = async |options: &str| {
        let mounted = || Command::new("mount").args(["-o", options]).arg(&small).status().expect("runs").success();
        // A file that is being closed still counts as one that is written to.
        in_time(async {
            while !mounted() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    };
    mount("remount,ro").await;
    let refused = in_time(node.p2p.fetch(&artifacts[1], vec![founder.id])).await.expect_err("nothing can be written");
    assert!(matches!(&refused, FetchError::Store(_)), "{refused:?}");
    assert_eq!(node.stored(&artifacts[0]).as_ref(), Some(&bytes[0]), "what is here can be read");
    mount("remount,rw").await;
    in_time(node.p2p.fetch(&artifacts[1], vec![founder.id])).await.expect("the disk can be written again");

    let before = getrlimit(Resource::Nofile);
    let limit = fs::read_dir("/proc/self/fd").expect("lists").count() as u64 + FILES_TAKEN;
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before }).expect("a lower limit");
    let (is_over, all_taken) = (AtomicBool::new(false), Notify::new());
    let refused = std::thread::scope(|scope| {
        // Whatever is closed meanwhile is taken at once.
        scope.spawn(|| {
            let mut taken = vec![];
            while !is_over.load(Ordering::Relaxed) {
                match fs::File::open("/dev/null") {
                    Ok(file) => taken.push(file),
                    Err(_) => all_taken.notify_one(),
                }
            }
        });
        let refused = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                all_taken.notified().await;
                in_time(node.p2p.fetch(&artifacts[2], vec![founder.id])).await
            })
        });
        is_over.store(true, Ordering::Relaxed);
        refused
    });
    let refused = refused.expect_err("no file can be opened");
    setrlimit(Resource::Nofile, before).expect("the limit as it was");
    // Both nodes are of this process: it may be the one that has the artifact that finds no file for it.
    assert!(matches!(&refused, FetchError::Store(_) | FetchError::Unavailable { .. }), "{refused:?}");
    assert!(!node.store.contains(&artifacts[2].sha256));
    in_time(node.p2p.fetch(&artifacts[2], vec![founder.id])).await.expect("files can be opened again");
    for (artifact, bytes) in artifacts.iter().zip(bytes) {
        assert_eq!(node.stored(artifact), Some(bytes));
    }
    assert_eq!((entries(&small.join("partial")), entries(&small.join("tmp"))), (vec![], vec![]));
    node.stop().await;
    founder.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it on a disk of its own"]
async fn on_a_failing_disk() {
    let behind = PathBuf::from(std::env::var_os(FOLDER).expect("run by the other test"));
    let bytes = [1, 3].map(|seed| noise(MIB, seed));
    let Pair { founder, node, artifacts, _ledger } = Pair::start(&behind.join("node"), &bytes).await;
    in_time(node.p2p.fetch(&artifacts[0], vec![founder.id])).await.expect("the disk is sound");

    let run = |script: &str| {
        let ended = Command::new("sh").args(["-c", script]).arg(&behind).output().expect("runs");
        assert!(ended.status.success(), "{script}: {}", String::from_utf8_lossy(&ended.stderr));
    };
    let fails = |error: &io::Error| error.raw_os_error() == Some(Errno::IO.raw_os_error());
    run(FAIL);
    // What the system remembers of the file would hide the disk.
    let blob = fs::File::open(node.store.blob_path(&artifacts[0].sha256)).expect("opens");
    fadvise(&blob, 0, None, Advice::DontNeed).expect("advises");
    let mut opened = node.store.open_inspected(&artifacts[0].sha256).expect("is known").expect("is not taken for damaged");
    let read = io::Read::read(&mut opened, &mut [0; MIB]).expect_err("the disk cannot be read");
    assert!(fails(&read), "{read:?}");
    let refused = in_time(node.p2p.fetch(&artifacts[1], vec![founder.id])).await.expect_err("the disk cannot be used");
    let FetchError::Store(store) = &refused else { panic!("{refused:?}") };
    assert!(matches!(&**store, StoreError::Disk { source, .. } if fails(source)), "{refused:?}");

    run(RECOVER);
    in_time(node.p2p.fetch(&artifacts[1], vec![founder.id])).await.expect("the disk is sound again");
    for (artifact, bytes) in artifacts.iter().zip(bytes) {
        assert_eq!(node.stored(artifact), Some(bytes));
    }
    node.stop().await;
    founder.stop().await;
}
