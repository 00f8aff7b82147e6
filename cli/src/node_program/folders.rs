//! What `pyrsia_node` is told by environment variables: where its data is, and the address others are told.

use crate::exit::Failure;
use crate::size;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// The folder in the working directory that is used when no variable names one.
const DEFAULT_FOLDER: &str = "pyrsia";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment {
    pub(super) artifact_path: PathBuf,
    pub(super) artifact_path_is_given: bool,
    pub(super) ledger_path: PathBuf,
    pub(super) keypair_path: PathBuf,
    pub(super) verifiers_path: PathBuf,
    pub(super) external_ip: Option<Ipv4Addr>,
    pub(super) artifact_budget: Option<u64>,
    /// DEV_MODE: whether a folder that is missing is made.
    pub(super) create_folders: bool,
}

impl Environment {
    pub(super) fn of_process() -> Result<Self, Failure> {
        Self::read(|name| std::env::var_os(name))
    }

    /// A variable that is set to nothing counts as not set.
    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, Failure> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let given = set("PYRSIA_ARTIFACT_PATH").map(PathBuf::from);
        let artifact_path = given.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FOLDER));
        let path = |name: &str, default: &str| set(name).map_or_else(|| artifact_path.join(default), PathBuf::from);
        let external_ip = match set("PYRSIA_EXTERNAL_IP") {
            None => None,
            Some(text) => Some(text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
                Failure::new(format!("PYRSIA_EXTERNAL_IP is {text:?}, which is no IPv4 address"))
                    .hint("write it like 192.0.2.1, or unset it")
            })?),
        };
        let budget = set("PYRSIA_ARTIFACT_BUDGET").map(|text| size::parse(&text.to_string_lossy())).transpose();
        let artifact_budget = budget.map_err(|error| Failure::new(format!("PYRSIA_ARTIFACT_BUDGET cannot be read: {error}")))?;
        let create_folders =
            set("DEV_MODE").is_some_and(|value| ["on", "true", "1"].iter().any(|word| value.eq_ignore_ascii_case(word)));
        Ok(Self {
            ledger_path: path("PYRSIA_BLOCKCHAIN_PATH", "blockchain"),
            keypair_path: path("PYRSIA_KEYPAIR", "p2p_keypair.ser"),
            verifiers_path: path("PYRSIA_VERIFIERS_PATH", "verifiers"),
            artifact_path_is_given: given.is_some(),
            artifact_path,
            external_ip,
            artifact_budget,
            create_folders,
        })
    }

    /// Makes the folders that may be made. One that was named and is missing is more likely a mistake, or a disk that is
    /// not mounted, than a wish.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if self.artifact_path_is_given && !self.create_folders && !self.artifact_path.is_dir() {
            let sentence = format!("PYRSIA_ARTIFACT_PATH is {}, which is no folder", self.artifact_path.display());
            return Err(Failure::new(sentence).hint("create it, or run with DEV_MODE=on to have missing folders created"));
        }
        create(&self.artifact_path)?;
        create(&self.ledger_path)?;
        create(&self.verifiers_path)?;
        create(self.keypair_path.parent().unwrap_or(Path::new("")))
    }
}

/// A folder for the node alone: it holds keys.
fn create(folder: &Path) -> Result<(), Failure> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    make_private(folder).map_err(|error| Failure::because(&format!("cannot create the folder {}", folder.display()), &error))
}

fn make_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, Failure> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        Environment::read(|name| variables.get(name).map(OsString::from))
    }

    #[test]
    fn without_variables_everything_is_below_one_folder() {
        let environment = read(&[("PYRSIA_KEYPAIR", "")]).unwrap();
        assert_eq!(environment.artifact_path, Path::new("pyrsia"));
        assert_eq!(environment.ledger_path, Path::new("pyrsia/blockchain"));
        assert_eq!(environment.keypair_path, Path::new("pyrsia/p2p_keypair.ser"));
        assert!(!environment.create_folders);
    }

    #[test]
    fn a_named_folder_that_is_missing_is_created_in_dev_mode_alone() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let named = [("PYRSIA_ARTIFACT_PATH", data.to_str().unwrap())];
        let failure = read(&named).unwrap().prepare().unwrap_err();
        assert!(failure.to_string().contains("DEV_MODE=on"), "{failure}");
        assert!(!data.exists());
        let keypair = root.path().join("keys/deep/p2p_keypair.ser");
        let on = [named[0], ("DEV_MODE", "on"), ("PYRSIA_KEYPAIR", keypair.to_str().unwrap())];
        read(&on).unwrap().prepare().unwrap();
        assert!(data.join("blockchain").is_dir() && keypair.parent().unwrap().is_dir());
        read(&named).unwrap().prepare().unwrap();
    }

    #[test]
    fn an_external_address_that_is_none_is_refused() {
        assert!(read(&[("PYRSIA_EXTERNAL_IP", "here")]).is_err());
        assert_eq!(read(&[("PYRSIA_EXTERNAL_IP", "192.0.2.1")]).unwrap().external_ip, Some([192, 0, 2, 1].into()));
    }

    #[test]
    fn a_budget_that_is_no_size_is_refused() {
        assert!(read(&[("PYRSIA_ARTIFACT_BUDGET", "much")]).unwrap_err().to_string().contains("PYRSIA_ARTIFACT_BUDGET"));
        assert_eq!(read(&[("PYRSIA_ARTIFACT_BUDGET", "2 GB")]).unwrap().artifact_budget, Some(2_000_000_000));
    }
}
