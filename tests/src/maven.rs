//! Maven as users run it: the one that is installed, the releases that `cargo xtask clients` fetched, and projects of users.

use crate::clients;
use crate::program::{Ended, run};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The releases beside the installed one, by the beginning of their version.
const FETCHED: [&str; 2] = ["3.9.", "4."];

/// An installation.
#[derive(Clone, Debug)]
pub struct Maven {
    pub version: String,
    pub home: PathBuf,
}

impl Maven {
    /// That of the system.
    pub fn installed() -> Self {
        let program = clients::find("mvn").expect("the test asked for mvn");
        let program = program.canonicalize().expect("a program that is there");
        let home = program.ancestors().nth(2).expect("it lies in a bin folder").to_owned();
        Self { version: "installed".to_owned(), home }
    }

    /// The installed one and one of each line that is maintained; none, and the test is skipped, where one of them is missing.
    pub fn all(test: &str) -> Option<Vec<Self>> {
        if !clients::present(test, &["mvn", "jar", "git"]) {
            return None;
        }
        let mut all = vec![Self::installed()];
        for beginning in FETCHED {
            let Some(found) = fetched(beginning) else {
                clients::lacking(test, &format!("Maven {beginning}x (cargo xtask clients)"));
                return None;
            };
            all.push(found);
        }
        Some(all)
    }

    fn program(&self) -> PathBuf {
        self.home.join("bin/mvn")
    }
}

fn fetched(beginning: &str) -> Option<Maven> {
    let entries = std::fs::read_dir(clients_folder()).ok()?.flatten();
    entries.into_iter().find_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("apache-maven-")?.to_owned();
        version.starts_with(beginning).then(|| Maven { version, home: entry.path() })
    })
}

/// Where clients and what they need lie between runs, in the target folder.
pub fn clients_folder() -> PathBuf {
    let own = std::env::current_exe().expect("a running program has a path");
    let built = own.ancestors().find(|folder| folder.join("deps").is_dir()).expect("tests lie in a folder of the target folder");
    built.parent().expect("that has a parent").join("clients")
}

/// A user's project with an empty local repository and settings of its own.
pub struct Project {
    pub folder: PathBuf,
    settings: PathBuf,
}

impl Project {
    /// A copy of a folder in which each name of `texts`, as `@name@`, is replaced.
    pub fn copy(from: &Path, folder: &Path, texts: &[(&str, &str)], settings: &str) -> Self {
        copy_with(from, folder, texts);
        let home = folder.join(".home");
        std::fs::create_dir_all(&home).expect("a home for the project's user");
        let file = home.join("settings.xml");
        std::fs::write(&file, settings).expect("the settings");
        Self { folder: folder.to_owned(), settings: file }
    }

    pub fn local_repository(&self) -> PathBuf {
        self.folder.join(".home/repository")
    }

    /// Takes other settings from here on.
    pub fn settle(&self, settings: &str) {
        std::fs::write(&self.settings, settings).expect("the settings");
    }

    /// Forgets everything of a group that was resolved.
    pub fn forget(&self, group: &str) {
        let folder = self.local_repository().join(group.replace('.', "/"));
        if folder.exists() {
            std::fs::remove_dir_all(folder).expect("the local repository is the test's own");
        }
    }

    /// Takes everything that was resolved for its own, wherever it came from.
    pub fn adopt(&self) {
        forget_origins(&self.local_repository());
    }

    /// `mvn …` with strict checksums.
    pub fn mvn(&self, maven: &Maven, arguments: &[&str]) -> Ended {
        let mut command = self.command(&maven.program());
        command.args(["--batch-mode", "--strict-checksums", "--no-transfer-progress", "--settings"]).arg(&self.settings);
        command.arg(format!("-Dmaven.repo.local={}", self.local_repository().display())).args(arguments);
        run(&mut command)
    }

    #[track_caller]
    pub fn mvn_succeeds(&self, maven: &Maven, arguments: &[&str]) -> String {
        let ended = self.mvn(maven, arguments);
        assert_eq!(ended.code, 0, "mvn {} {arguments:?}\n{}{}", maven.version, ended.stdout, ended.stderr);
        ended.stdout
    }

    /// `gradle …` that leaves no daemon behind.
    pub fn gradle(&self, arguments: &[&str]) -> Ended {
        let mut command = self.command(Path::new("gradle"));
        command.args(["--no-daemon", "--console", "plain", "--gradle-user-home"]).arg(self.folder.join(".home/gradle"));
        run(command.args(arguments))
    }

    /// Neither settings nor caches of this machine's user.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let home = self.folder.join(".home");
        // It runs for seconds: what the JVM would gain by compiling well, it would not live to see.
        let options = format!("-Duser.home={} -XX:TieredStopAtLevel=1 -XX:+UseSerialGC", home.display());
        command.env("HOME", home).env("MAVEN_OPTS", &options).env("GRADLE_OPTS", options);
        command
    }
}

/// Maven uses files of a repository that is not configured only where it did not note that they are from there.
fn forget_origins(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("the local repository").flatten() {
        let path = entry.path();
        if path.is_dir() {
            forget_origins(&path);
        } else if entry.file_name() == "_remote.repositories" {
            std::fs::remove_file(path).expect("the local repository is the test's own");
        }
    }
}

/// Copies a folder of text files; `@name@` is replaced in all of them.
pub fn copy_with(from: &Path, to: &Path, texts: &[(&str, &str)]) {
    std::fs::create_dir_all(to).expect("a folder of the copy");
    for entry in std::fs::read_dir(from).unwrap_or_else(|error| panic!("{}: {error}", from.display())) {
        let path = entry.expect("an entry").path();
        let copy = to.join(path.file_name().expect("an entry has a name"));
        if path.is_dir() {
            copy_with(&path, &copy, texts);
            continue;
        }
        let mut text = std::fs::read_to_string(&path).expect("a fixture is text");
        for (name, value) in texts {
            text = text.replace(&format!("@{name}@"), value);
        }
        std::fs::write(&copy, text).expect("a file of the copy");
    }
}
