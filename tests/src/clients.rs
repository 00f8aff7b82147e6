//! Programs of others that a test needs: found, or the test is skipped by name.
//!
//! `PYRSIA_REQUIRE_CLIENTS=1` turns a skip into a failure; `cargo xtask test` collects the `SKIPPED` lines.

use std::path::{Path, PathBuf};

/// Set by CI, where every client is installed.
pub const REQUIRE_CLIENTS: &str = "PYRSIA_REQUIRE_CLIENTS";

/// Where distributions put programs that are no user's everyday tools.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// The path of a program, from `PATH` and the folders of system programs.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_FOLDERS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(program)).find(|candidate| candidate.is_file())
}

/// Whether all of `programs` are here. If not, says so for `test`, or panics when clients are required.
pub fn present(test: &str, programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    let missing = match missing.as_slice() {
        [] if programs.contains(&"dockerd") && !may_run_an_engine() => "root, to run dockerd".to_owned(),
        [] => return true,
        missing => missing.join(", "),
    };
    lacking(test, &missing);
    false
}

/// Says that `test` is skipped for want of something, or panics when clients are required.
pub fn lacking(test: &str, missing: &str) {
    assert!(std::env::var_os(REQUIRE_CLIENTS).is_none_or(|value| value != "1"), "{test} needs {missing}");
    println!("SKIPPED (needs {missing}): {test}");
}

/// A docker engine of one's own needs root and a kernel with control groups.
fn may_run_an_engine() -> bool {
    use std::os::unix::fs::MetadataExt;
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    root && Path::new("/sys/fs/cgroup").is_dir()
}
