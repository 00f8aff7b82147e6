//! What operators install: a Debian package, and the source of the container image.
//!
//! Owns how the files of `packaging/` and the programs are laid together; what is in those files is theirs. Makes everything below
//! `target/package`, the same bytes from the same programs and the same commit.

use crate::{built, cargo, root, run};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PROGRAMS: [&str; 3] = ["pyrsia", "pyrsia_node", "pyrsia_build"];
/// Where Debian, and most others, keep whom TLS believes.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

pub(crate) fn package(words: &[&str]) -> Result<()> {
    match words {
        ["deb"] => deb(&built_programs(Linking::Dynamic)?),
        ["deb", "--programs", folder] => deb(Path::new(folder)),
        ["image"] => image(&built_programs(Linking::Static)?),
        ["image", "--programs", folder] => image(Path::new(folder)),
        ["check"] => check(),
        _ => bail!("write `package deb|image [--programs FOLDER]` or `package check`"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Linking {
    /// With the C library of the system.
    Dynamic,
    /// With nothing: an image needs no other file.
    Static,
}

/// A folder with optimized programs.
fn built_programs(linking: Linking) -> Result<PathBuf> {
    let folder = fresh(&output()?.join(if linking == Linking::Static { "static" } else { "dynamic" }))?;
    run(&mut cargo(&["build", "--release", "--workspace", "--bins"]))?;
    for program in PROGRAMS {
        if linking == Linking::Static {
            // The flag goes to the program alone: the libraries are those that stand already.
            let linked = ["rustc", "--release", "--package", "pyrsia-cli", "--bin", program, "--"];
            run(cargo(&linked).args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"]))?;
        }
        copy(&built(&format!("release/{program}"))?, &folder.join(program))?;
    }
    Ok(folder)
}

fn deb(programs: &Path) -> Result<()> {
    let output = output()?;
    let tree = fresh(&output.join(format!("deb/pyrsia-{VERSION}")))?;
    let packaging = root().join("packaging");
    copy_tree(&packaging.join("debian"), &tree.join("debian"))?;
    for unit in ["pyrsia-node.service", "pyrsia-build.service"] {
        copy(&packaging.join("systemd").join(unit), &tree.join("debian").join(format!("pyrsia.{unit}")))?;
    }
    for name in ["node.toml", "build.env"] {
        fs::rename(tree.join("debian").join(name), tree.join(name)).with_context(|| format!("{name} of packaging/debian"))?;
    }
    for program in PROGRAMS {
        copy(&programs.join(program), &tree.join(program))?;
    }
    copy_tree(&root().join("pipeline/builders"), &tree.join("builders"))?;
    for file in git(&["ls-files", "docs"])?.lines() {
        copy(&root().join(file), &tree.join(file))?;
    }
    copy(&root().join("CHANGELOG.md"), &tree.join("CHANGELOG.md"))?;
    fs::write(tree.join("debian/changelog"), changelog()?)?;
    run(Command::new("dpkg-buildpackage").current_dir(&tree).args(["--build=binary", "--no-sign"]))?;
    let parent = tree.parent().context("the tree has a parent")?;
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            let made = output.join(path.file_name().context("a file has a name")?);
            fs::rename(&path, &made)?;
            println!("{}", made.display());
        }
    }
    Ok(())
}

/// One entry, which says which commit this is: what changed for users is in CHANGELOG.md.
fn changelog() -> Result<String> {
    let maintainer = fs::read_to_string(root().join("packaging/debian/control"))?;
    let maintainer = maintainer.lines().find_map(|line| line.strip_prefix("Maintainer: ")).context("a maintainer")?.to_owned();
    let (commit, date) = (git(&["rev-parse", "HEAD"])?, git(&["log", "-1", "--format=%cD"])?);
    Ok(format!(
        "pyrsia ({}-1) unstable; urgency=medium\n\n  * Commit {commit}; see CHANGELOG.md.\n\n -- {maintainer}  {date}\n",
        debian_version()?
    ))
}

/// That of a release where its tag is checked out; before it in the order of versions otherwise.
fn debian_version() -> Result<String> {
    let tags = git(&["tag", "--points-at", "HEAD"])?;
    if tags.lines().any(|tag| tag == format!("v{VERSION}")) {
        return Ok(VERSION.to_owned());
    }
    Ok(format!("{VERSION}~git{}", git(&["log", "-1", "--date=format:%Y%m%d%H%M%S", "--format=%cd.%h"])?))
}

/// A git repository whose Dockerfile gives the image, for a build pipeline to build: it needs nothing but the files beside it.
fn image(programs: &Path) -> Result<()> {
    let folder = fresh(&output()?.join("image"))?;
    copy_tree(&root().join("packaging/container"), &folder)?;
    for program in PROGRAMS {
        let path = programs.join(program);
        ensure!(is_static(&path)?, "{} needs a C library, which the image does not have", path.display());
        copy(&path, &folder.join("usr/bin").join(program))?;
    }
    copy(Path::new(CERTIFICATES), &folder.join(&CERTIFICATES[1..])).context("the Debian package ca-certificates has them")?;
    copy(&root().join("LICENSE"), &folder.join("usr/share/licenses/pyrsia/LICENSE"))?;
    let (commit, date) = (git(&["rev-parse", "HEAD"])?, git(&["log", "-1", "--format=%cI"])?);
    let message = format!("pyrsia {VERSION}\n\nThe programs are those of commit {commit}.");
    let tag = format!("v{VERSION}");
    for words in [
        &["init", "--quiet", "--initial-branch=main"][..],
        // No program is a small change of another one: looking for that takes longer than a pipeline waits for a source.
        &["config", "core.bigFileThreshold", "1m"],
        &["add", "--all"],
        &["commit", "--quiet", "--no-gpg-sign", "--message", &message],
        &["tag", "--no-sign", &tag],
    ] {
        let mut command = Command::new("git");
        command.current_dir(&folder).args(words);
        // The same commit whoever makes it, with whatever settings.
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "pyrsia").env(format!("GIT_{who}_EMAIL"), "");
            command.env(format!("GIT_{who}_DATE"), &date);
        }
        run(&mut command)?;
    }
    println!("{} ({tag}, commit {})", folder.display(), git_in(&folder, &["rev-parse", "HEAD"])?);
    Ok(())
}

/// Whether an ELF file asks for no loader (no program header PT_INTERP; elf(5), 64 bit, little endian).
fn is_static(program: &Path) -> Result<bool> {
    const PT_INTERP: u32 = 3;
    let bytes = fs::read(program).with_context(|| program.display().to_string())?;
    ensure!(bytes.len() > 64 && bytes.starts_with(b"\x7fELF\x02\x01"), "{} is no program of Linux", program.display());
    let number = |at: usize, width: usize| -> Option<usize> {
        bytes
            .get(at..at.checked_add(width)?)?
            .iter()
            .rev()
            .try_fold(0_usize, |sum, byte| sum.checked_mul(256)?.checked_add((*byte).into()))
    };
    let header = || Some((number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?));
    let (start, size, count) = header().context("the header of a program")?;
    for index in 0..count {
        let kind = size.checked_mul(index).and_then(|offset| number(start.checked_add(offset)?, 4));
        if kind.context("a program header")? == PT_INTERP as usize {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What can be known of the files of `packaging/` without installing them, as far as the tools for it are here.
pub(crate) fn check() -> Result<()> {
    let packaging = root().join("packaging");
    let chart = fs::read_to_string(packaging.join("helm/pyrsia/Chart.yaml"))?;
    ensure!(chart.contains(&format!("appVersion: \"{VERSION}\"")), "the chart is for another version than {VERSION}");
    let compose = packaging.join("compose/compose.yaml");
    let image = format!("pyrsia:{VERSION}");
    ensure!(fs::read_to_string(&compose)?.contains(&image), "the compose file is for another image than {image}");
    let chart = packaging.join("helm/pyrsia");
    when_there("systemd-analyze", || {
        // The programs of an installed package are not here: another one stands in for them.
        let folder = fresh(&output()?.join("units"))?;
        let stand_in = std::env::current_exe()?.display().to_string();
        let mut verify = Command::new("systemd-analyze");
        verify.args(["--man=no", "verify"]);
        for (unit, program) in
            [("pyrsia-node.service", "/usr/bin/pyrsia_node"), ("pyrsia-build.service", "/usr/bin/pyrsia_build")]
        {
            let text = fs::read_to_string(packaging.join("systemd").join(unit))?;
            ensure!(text.contains(program), "{unit} does not start {program}");
            fs::write(folder.join(unit), text.replace(program, &stand_in))?;
            verify.arg(folder.join(unit));
        }
        // What it does not know it says, and calls it a success.
        let verified = verify.output()?;
        let said = String::from_utf8_lossy(&verified.stderr);
        // Other units of this machine may be at fault as well.
        let own: Vec<&str> = said.lines().filter(|line| line.contains("pyrsia-")).collect();
        ensure!(own.is_empty(), "systemd-analyze verify:\n{}", own.join("\n"));
        Ok(())
    })?;
    when_there("docker-compose", || run(Command::new("docker-compose").arg("--file").arg(&compose).args(["config", "--quiet"])))?;
    when_there("helm", || run(Command::new("helm").args(["lint", "--strict"]).arg(&chart)))
}

fn when_there(program: &str, task: impl FnOnce() -> Result<()>) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return task();
    }
    println!("SKIPPED: {program} is not installed");
    Ok(())
}

fn output() -> Result<PathBuf> {
    built("package")
}

/// The folder, empty.
fn fresh(folder: &Path) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    Ok(folder.to_owned())
}

/// With the permissions that every checkout has, whatever the umask of the one at hand.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a file lies in a folder")?;
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    let runs = fs::metadata(from)?.permissions().mode() & 0o100 != 0;
    fs::set_permissions(to, fs::Permissions::from_mode(if runs { 0o755 } else { 0o644 }))?;
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_tree(&entry.path(), &to)? } else { copy(&entry.path(), &to)? }
    }
    Ok(())
}

fn git(words: &[&str]) -> Result<String> {
    git_in(&root(), words)
}

fn git_in(folder: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new("git").current_dir(folder).args(words).output().context("git does not start")?;
    ensure!(output.status.success(), "git {} ended with {}", words.join(" "), output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
