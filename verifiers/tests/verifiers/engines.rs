//! The same verdict from every way of compiling and from many threads at once; compiled modules that outlast the process.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use pyrsia_verifiers::{CompiledModules, Compiler, HostOptions, Limits, Optimization, Outcome, SHIPPED, VerifierHost, limits};

use crate::DOCKER;
use crate::image::Output;
use crate::sandbox::{TIGHT, UNREACHABLE, component};

fn docker() -> &'static [u8] {
    SHIPPED.iter().find(|(name, _)| *name == "docker.wasm").unwrap().1
}

/// Sound outputs and broken ones.
fn outputs() -> Vec<Output> {
    let mut outputs = vec![Output::docker(), Output::index()];
    for cut in 0..3 {
        let mut broken = Output::index();
        broken.0.remove(cut);
        outputs.push(broken);
        let mut changed = Output::docker();
        let file = cut % changed.0.len();
        changed.0[file].1.push(b' ');
        outputs.push(changed);
    }
    outputs
}

/// Every answer about files, as text.
fn verdicts(verifier: &pyrsia_verifiers::Verifier) -> Vec<String> {
    let (_folder, sound) = Output::index().lend();
    let judge = |output: &Output| {
        let (_folder, files) = output.lend();
        let (check, forms) = (verifier.check("alpine:1", &files), verifier.canonicalize(None, &files));
        format!("{check:?} {forms:?} {:?}", verifier.compare(None, &sound, &files))
    };
    outputs().iter().map(judge).collect()
}

#[test]
fn verdicts_depend_neither_on_the_compiler_nor_on_the_limits() {
    let expected = verdicts(&DOCKER);
    for answer in ["Done([PublishedArtifact", "Refused(", "Done(Identical)", "Done(Different(", "Done(Undecidable("] {
        assert!(expected.iter().any(|verdict| verdict.contains(answer)), "none is {answer}: {expected:#?}");
    }
    assert!(expected.iter().all(|verdict| !verdict.contains("Abstained")), "{expected:#?}");
    let unoptimized = HostOptions { optimization: Optimization::None, ..HostOptions::default() };
    let unoptimized = VerifierHost::with_options(Limits::default(), unoptimized).unwrap();
    assert_eq!(verdicts(&unoptimized.load(docker()).unwrap()), expected);
    let tight = Limits { deadline: limits::DEADLINE, table_elements: limits::TABLE_ELEMENTS / 10, ..TIGHT };
    let tight = VerifierHost::new(tight).unwrap();
    assert_eq!(verdicts(&tight.load(docker()).unwrap()), expected);
}

#[test]
fn verdicts_are_the_same_from_many_threads_at_once() {
    let expected = verdicts(&DOCKER);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(verdicts(&DOCKER), expected));
        }
    });
}

const KEY: [u8; 32] = [7; 32];

fn host(folder: &Path, key: [u8; 32]) -> VerifierHost {
    let compiled = Some(CompiledModules::open(folder, key).unwrap());
    VerifierHost::with_options(TIGHT, HostOptions { compiled, ..HostOptions::default() }).unwrap()
}

/// Loads the module, and says whether what lay in the folder was used: whoever does not use it writes it anew.
#[track_caller]
fn check_used(folder: &Path, key: [u8; 32], module: &[u8], expected: bool) {
    let only_file = || fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let inode = fs::metadata(only_file()).unwrap().ino();
    // Keeps the inode from being given to the file that replaces it.
    let before = File::open(only_file()).unwrap();
    let outcome = host(folder, key).load(module).unwrap().parse_coordinate("x");
    assert_eq!(outcome, Outcome::Done("test".into()));
    assert_eq!(fs::metadata(only_file()).unwrap().ino() == inode, expected);
    drop(before);
}

#[test]
fn a_module_is_compiled_once_and_only_what_this_node_wrote_is_used() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    let module = component("(i32.const 600)", UNREACHABLE);
    host(&folder, KEY).load(&module).unwrap();
    let path = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let kept = fs::read(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    check_used(&folder, KEY, &module, true);

    // Somebody else's key, changed bytes anywhere, another module's code under this one's name, nothing at all.
    check_used(&folder, [8; 32], &module, false);
    for at in [0, 31, 32, kept.len() / 2, kept.len() - 1] {
        let mut changed = kept.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        check_used(&folder, KEY, &module, false);
    }
    fs::write(&path, &kept[..20]).unwrap();
    check_used(&folder, KEY, &module, false);
    let other = component("(nop) (unreachable)", UNREACHABLE);
    fs::write(&path, "").unwrap();
    host(&folder, KEY).load(&other).unwrap();
    let others: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|found| *found != path).collect();
    fs::rename(&others[0], &path).unwrap();
    check_used(&folder, KEY, &module, false);
    check_used(&folder, KEY, &module, true);
}

/// How long what takes a moment may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Leaves every module to this process, those with `slow` in them when `go` is there; `started` has a line for each of these.
#[expect(unsafe_code, reason = "another program stands in for the node's")]
fn holding_on(folder: &Path) -> Compiler {
    let slow = "grep -q slow && { echo >> $0/started; while [ -d $0 ] && [ ! -e $0/go ]; do sleep 0.02; done; }; exit 1";
    // SAFETY: it answers nothing.
    unsafe { Compiler::new("/bin/sh", ["-c", slow, folder.to_str().unwrap()]) }
}

#[test]
fn a_module_that_compiles_for_long_is_compiled_once_and_holds_up_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = Some(holding_on(folder.path()));
    let host = VerifierHost::with_options(TIGHT, HostOptions { compiler, ..HostOptions::default() }).unwrap();
    let other = component("(i32.const 600)", UNREACHABLE);
    let slow = [&other[..], b"\0\x05\x04slow"].concat();
    let (tell, told) = mpsc::channel();
    let (host, slow) = (&host, &slow);
    thread::scope(|scope| {
        let slowly = [(); 2].map(|()| scope.spawn(|| host.load(slow).map(drop)));
        let start = Instant::now();
        while !folder.path().join("started").exists() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        scope.spawn(move || tell.send(host.load(&other).map(drop)));
        let told = told.recv_timeout(PATIENCE);
        fs::write(folder.path().join("go"), "").unwrap();
        assert_eq!(told, Ok(Ok(())));
        assert_eq!(slowly.map(|slowly| slowly.join().unwrap()), [Ok(()), Ok(())]);
    });
    assert_eq!(fs::read_to_string(folder.path().join("started")).unwrap().lines().count(), 1);
}

#[test]
fn a_folder_that_others_could_change_is_not_used() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    CompiledModules::open(&folder, KEY).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o770)).unwrap();
    assert!(CompiledModules::open(&folder, KEY).is_err());
}

#[test]
fn what_is_not_used_for_long_makes_room() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("compiled");
    let compiled = CompiledModules::open(&folder, KEY).unwrap();
    drop(compiled);
    for number in 0..80 {
        let file = File::create(folder.join(format!("{number:02}.compiled"))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(number)).unwrap();
    }
    host(&folder, KEY).load(&component("(i32.const 600)", UNREACHABLE)).unwrap();
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 64);
    assert!(names.contains(&"79.compiled".into()) && !names.contains(&"00.compiled".into()));
}
