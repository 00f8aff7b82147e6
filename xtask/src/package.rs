//! What operators install: a Debian package, and the source of the container image.
//!
//! Owns how the files of `packaging/` and the programs are laid together; what is in those files is theirs. Makes everything below
//! `target/package`, the same bytes from the same programs and the same commit.

use crate::{built, cargo, requires_clients, root, run};
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
        ["deb", "--programs", folder] => deb(&Programs { folder: folder.into(), provenance: Provenance::given()? }),
        ["image"] => image(&built_programs(Linking::Static)?),
        ["image", "--programs", folder] => image(&Programs { folder: folder.into(), provenance: Provenance::given()? }),
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

struct Programs {
    folder: PathBuf,
    provenance: Provenance,
}

/// What a package says of where it comes from.
enum Provenance {
    /// Built here from this commit, and nothing but it.
    Built { commit: String },
    /// Programs that were there already, with the other files of this commit; `changed`: of a tree with changes beside it.
    Given { commit: String, changed: bool },
}

impl Provenance {
    fn built() -> Result<Self> {
        let changes = git(&["status", "--porcelain"])?;
        ensure!(changes.is_empty(), "what is built would not be that of a commit; commit or remove first:\n{changes}");
        Ok(Self::Built { commit: git(&["rev-parse", "HEAD"])? })
    }

    fn given() -> Result<Self> {
        Ok(Self::Given { commit: git(&["rev-parse", "HEAD"])?, changed: !git(&["status", "--porcelain"])?.is_empty() })
    }

    fn sentence(&self) -> String {
        match self {
            Self::Built { commit } => format!("The programs are those of commit {commit}."),
            Self::Given { commit, changed } => {
                let changed = if *changed { ", with changes that are in no commit" } else { "" };
                format!("The programs were given by whoever made this; the other files are those of commit {commit}{changed}.")
            }
        }
    }
}

/// A folder with optimized programs.
fn built_programs(linking: Linking) -> Result<Programs> {
    let provenance = Provenance::built()?;
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
    Ok(Programs { folder, provenance })
}

fn deb(programs: &Programs) -> Result<()> {
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
        copy(&programs.folder.join(program), &tree.join(program))?;
    }
    copy_tree(&root().join("pipeline/builders"), &tree.join("builders"))?;
    for file in git(&["ls-files", "docs"])?.lines() {
        copy(&root().join(file), &tree.join(file))?;
    }
    copy(&root().join("CHANGELOG.md"), &tree.join("CHANGELOG.md"))?;
    fs::write(tree.join("debian/changelog"), changelog(&programs.provenance)?)?;
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

/// One entry, which says what this is made from: what changed for users is in CHANGELOG.md.
fn changelog(provenance: &Provenance) -> Result<String> {
    let maintainer = fs::read_to_string(root().join("packaging/debian/control"))?;
    let maintainer = maintainer.lines().find_map(|line| line.strip_prefix("Maintainer: ")).context("a maintainer")?.to_owned();
    let date = git(&["log", "-1", "--format=%cD"])?;
    Ok(format!(
        "pyrsia ({}-1) unstable; urgency=medium\n\n  * {}\n  * See CHANGELOG.md.\n\n -- {maintainer}  {date}\n",
        debian_version()?,
        wrapped(&provenance.sentence())
    ))
}

/// As an entry of a changelog of Debian has it, in lines of 80 characters.
fn wrapped(sentence: &str) -> String {
    const WIDTH: usize = 76;
    let mut lines = vec![String::new()];
    for word in sentence.split(' ') {
        let line = lines.last_mut().expect("there is a line");
        match line.len() {
            0 => line.push_str(word),
            length if length + 1 + word.len() <= WIDTH => line.extend([" ", word]),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n    ")
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
fn image(programs: &Programs) -> Result<()> {
    let folder = fresh(&output()?.join("image"))?;
    copy_tree(&root().join("packaging/container"), &folder)?;
    for program in PROGRAMS {
        let path = programs.folder.join(program);
        ensure!(is_static(&path)?, "{} needs a C library, which the image does not have", path.display());
        copy(&path, &folder.join("usr/bin").join(program))?;
    }
    copy(Path::new(CERTIFICATES), &folder.join(&CERTIFICATES[1..])).context("the Debian package ca-certificates has them")?;
    copy(&root().join("LICENSE"), &folder.join("usr/share/licenses/pyrsia/LICENSE"))?;
    let tag = format!("v{VERSION}");
    let message = format!("pyrsia {VERSION}\n\n{}", programs.provenance.sentence());
    commit_all(&folder, &message, &git(&["log", "-1", "--format=%cI"])?, &tag)?;
    println!("{} ({tag}, commit {})", folder.display(), git_in(&folder, &["rev-parse", "HEAD"])?);
    Ok(())
}

/// Makes a repository of a folder, with one commit of every file in it: the same commit whoever makes it, with whatever settings.
fn commit_all(folder: &Path, message: &str, date: &str, tag: &str) -> Result<()> {
    for words in [
        &["init", "--quiet", "--initial-branch=main", "--template=", "--object-format=sha1"][..],
        // No program is a small change of another one: looking for that takes longer than a pipeline waits for a source.
        &["config", "core.bigFileThreshold", "1m"],
        &["add", "--all", "--force"],
        &["commit", "--quiet", "--no-gpg-sign", "--message", message],
        &["tag", "--no-sign", tag],
    ] {
        let mut command = Command::new("git");
        // These two are read from the user's folders even where no settings are.
        command
            .current_dir(folder)
            .args(["-c", "core.excludesFile=/dev/null", "-c", "core.attributesFile=/dev/null"])
            .args(words);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null").env("GIT_ATTR_NOSYSTEM", "1");
        for who in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{who}_NAME"), "pyrsia")
                .env(format!("GIT_{who}_EMAIL"), "")
                .env(format!("GIT_{who}_DATE"), date);
        }
        run(&mut command)?;
    }
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
    when_there("systemd-analyze", Debian::Has, || {
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
            // What a program started would otherwise be ended together with it, and count as having failed.
            ensure!(text.lines().any(|line| line == "KillMode=mixed"), "{unit} ends more than its own program at a stop");
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
    when_there("docker-compose", Debian::Has, || {
        run(Command::new("docker-compose").arg("--file").arg(&compose).args(["config", "--quiet"]))
    })?;
    when_there("helm", Debian::HasNot, || {
        run(Command::new("helm").args(["lint", "--strict"]).arg(&chart))?;
        // No cluster: its version is only held against what the chart asks for.
        let rendered =
            Command::new("helm").args(["template", "check"]).arg(&chart).args(["--kube-version", "1.30.0"]).output()?;
        ensure!(rendered.status.success(), "helm template: {}", String::from_utf8_lossy(&rendered.stderr));
        let settings = fresh(&output()?.join("chart"))?.join("node.toml");
        fs::write(&settings, literal(&String::from_utf8(rendered.stdout)?, "node.toml")?)?;
        run(cargo(&["run", "--quiet", "--package", "pyrsia-cli", "--bin", "pyrsia_node", "--", "config", "check"]).arg(&settings))
    })
}

/// The lines of a YAML block `name: |`, without what indents them.
fn literal(yaml: &str, name: &str) -> Result<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = yaml.lines().skip_while(|line| line.trim() != format!("{name}: |"));
    let outer = lines.next().map(indent).with_context(|| format!("no block {name}"))?;
    Ok(lines
        .take_while(|line| line.trim().is_empty() || indent(line) > outer)
        .map(|line| line.trim().to_owned() + "\n")
        .collect())
}

/// Whether Debian has a package of a program: then CI has it too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Debian {
    Has,
    HasNot,
}

fn when_there(program: &str, debian: Debian, task: impl FnOnce() -> Result<()>) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
        return task();
    }
    ensure!(debian == Debian::HasNot || !requires_clients(), "PYRSIA_REQUIRE_CLIENTS=1, and {program} is not installed");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_says_that_its_programs_are_of_a_commit_only_where_they_were_built_from_it() {
        let commit = || "0".repeat(40);
        let built = Provenance::Built { commit: commit() }.sentence();
        assert!(built.starts_with("The programs are those of commit 000"), "{built}");
        for changed in [false, true] {
            let given = Provenance::Given { commit: commit(), changed }.sentence();
            assert!(
                !given.contains("programs are those") && given.contains("changes that are in no commit") == changed,
                "{given}"
            );
        }
    }

    #[test]
    fn a_changelog_keeps_to_its_width() {
        let sentence = Provenance::Given { commit: "0".repeat(40), changed: true }.sentence();
        let entry = format!("  * {}", wrapped(&sentence));
        assert!(entry.lines().count() > 1 && entry.lines().all(|line| line.len() <= 80), "{entry}");
        assert_eq!(entry.split_whitespace().skip(1).collect::<Vec<_>>().join(" "), sentence);
    }

    #[test]
    fn every_file_of_a_folder_is_in_its_commit_which_is_the_same_each_time() {
        let commits = ["first", "second"].map(|name| {
            let folder = std::env::temp_dir().join(format!("pyrsia-package-{}-{name}", std::process::id()));
            fresh(&folder).unwrap();
            fs::write(folder.join(".gitignore"), "*.o\n").unwrap();
            fs::write(folder.join("program.o"), "1").unwrap();
            commit_all(&folder, "message", "2026-01-02T03:04:05+00:00", "v1").unwrap();
            let (commit, files) = (git_in(&folder, &["rev-parse", "v1"]), git_in(&folder, &["ls-files"]));
            fs::remove_dir_all(&folder).unwrap();
            assert_eq!(files.unwrap(), ".gitignore\nprogram.o");
            commit.unwrap()
        });
        assert_eq!(commits[0], commits[1]);
    }

    #[test]
    fn a_block_of_a_document_ends_where_the_next_key_begins() {
        let yaml = "data:\n  node.toml: |\n    [http]\n\n    port = 1\n  other: 2\n---\n";
        assert_eq!(literal(yaml, "node.toml").unwrap(), "[http]\n\nport = 1\n");
        assert!(literal(yaml, "other").is_err());
    }
}
