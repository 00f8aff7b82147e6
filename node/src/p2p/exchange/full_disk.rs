//! A disk that is full in the middle of a download: a real one, small, in a mount namespace of a process of its own.

use crate::p2p::FetchError;
use crate::p2p::tests::{Setup, in_time, noise};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "PYRSIA_TEST_SMALL_DISK";
const MIB: usize = 1 << 20;
/// Has the disk mounted at its first argument, and runs the rest there.
const ON_SMALL_DISK: &str = r#"mount -t tmpfs -o size=4m small "$0" && exec "$@""#;

#[test]
fn a_disk_that_is_full_in_the_middle_of_a_download_leaves_nothing_behind_and_the_node_goes_on() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"];
    let inside = |script: &str, more: &[&std::ffi::OsStr]| {
        let mut command = Command::new(namespace[0]);
        command.args(&namespace[1..]).arg(script).arg(folder.path()).args(more).env(FOLDER, folder.path()).output()
    };
    let can_mount = inside(ON_SMALL_DISK, &["true".as_ref()]).is_ok_and(|probe| probe.status.success());
    if !can_mount {
        let required = std::env::var_os("PYRSIA_REQUIRE_CLIENTS").is_some();
        assert!(!required, "a user may not mount a disk of its own here");
        return eprintln!("skipped: a user may not mount a disk of its own here");
    }
    let program = std::env::current_exe().expect("this program");
    let test = ["--ignored", "--exact", "--nocapture", "p2p::exchange::full_disk::on_a_small_disk"];
    let arguments: Vec<&std::ffi::OsStr> =
        std::iter::once(program.as_os_str()).chain(test.iter().map(|word| word.as_ref())).collect();
    let ended = inside(ON_SMALL_DISK, &arguments).expect("runs");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("lists").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "another test runs it on a disk of 4 MiB"]
async fn on_a_small_disk() {
    let small = PathBuf::from(std::env::var_os(FOLDER).expect("run by the other test"));
    let large = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(large.path().join("ledger"))
        .and_then(|()| symlink(large.path().join("ledger"), small.join("ledger")))
        .expect("links");
    let founder = Setup::new(1).start().await;
    founder.found().await;
    let [too_large, fits] = [(8 * MIB, 1), (2 * MIB, 3)].map(|(size, seed)| noise(size, seed));
    let mut artifacts = vec![];
    for (number, bytes) in [&too_large, &fits].into_iter().enumerate() {
        founder.keep(bytes);
        artifacts.push(founder.publish(&format!("alpine:{number}"), bytes).await);
    }
    let node = Setup::new(2).peer(&founder).start_in(&small).await;
    node.wait_for_state(|state| state.packages.digest(&artifacts[1].sha256).is_some()).await;
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
