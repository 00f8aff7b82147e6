//! Where a node keeps what it has: its folders, the file of its key, and which of them it may make.

use crate::exit::Failure;
use clap::{ArgAction, Args};
use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder in the working directory that is used when none is named.
const DEFAULT_FOLDER: &str = "pyrsia";

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Folders")]
pub struct FolderArguments {
    /// Folder of the artifacts and all else the node keeps [default: pyrsia, in the working directory]
    #[arg(long, value_name = "FOLDER")]
    pub artifact_path: Option<PathBuf>,
    /// Folder of the ledger [default: <artifact path>/blockchain]
    #[arg(long, value_name = "FOLDER")]
    pub blockchain_path: Option<PathBuf>,
    /// Folder of further verifiers [default: <artifact path>/verifiers]
    #[arg(long, value_name = "FOLDER")]
    pub verifiers_path: Option<PathBuf>,
    /// File of the node's key; made when it is not there [default: <artifact path>/p2p_keypair.ser]
    #[arg(long, value_name = "FILE")]
    pub keypair: Option<PathBuf>,
    /// Create the folder of the artifacts when it was named and is missing
    #[arg(long, env = "DEV_MODE", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value = "false", hide_default_value = true, action = ArgAction::Set, value_parser = dev_mode)]
    pub dev_mode: bool,
}

/// The variable has always been read so: what is not one of these words leaves the mode off.
fn dev_mode(text: &str) -> Result<bool, Infallible> {
    Ok(["on", "true", "1"].iter().any(|word| text.eq_ignore_ascii_case(word)))
}

/// The places that follow from the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folders {
    pub(super) artifact_path: PathBuf,
    pub(super) ledger_path: PathBuf,
    pub(super) verifiers_path: PathBuf,
    pub(super) keypair_path: PathBuf,
    artifact_path_is_given: bool,
    may_create: bool,
}

impl FolderArguments {
    pub(super) fn folders(&self) -> Folders {
        let artifact_path = self.artifact_path.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FOLDER));
        let below = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| artifact_path.join(name));
        Folders {
            ledger_path: below(&self.blockchain_path, "blockchain"),
            verifiers_path: below(&self.verifiers_path, "verifiers"),
            keypair_path: below(&self.keypair, "p2p_keypair.ser"),
            artifact_path_is_given: self.artifact_path.is_some(),
            may_create: self.dev_mode,
            artifact_path,
        }
    }
}

impl Folders {
    /// Each place under the name of the argument that moves it.
    pub(super) fn by_argument(&self) -> [(&'static str, &Path); 4] {
        [
            ("artifact_path", &self.artifact_path),
            ("blockchain_path", &self.ledger_path),
            ("verifiers_path", &self.verifiers_path),
            ("keypair", &self.keypair_path),
        ]
    }

    /// Whether the folder that was named is missing and may not be made. That is more likely a mistake, or a disk that is not
    /// mounted, than a wish.
    pub(super) fn is_missing(&self) -> bool {
        self.artifact_path_is_given && !self.may_create && !self.artifact_path.is_dir()
    }

    /// Whether no ledger was ever begun here.
    pub(super) fn has_no_ledger(&self) -> bool {
        fs::read_dir(&self.ledger_path).map_or(true, |mut entries| entries.next().is_none())
    }

    /// Makes the folders that may be made.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if self.is_missing() {
            let sentence = format!("the artifact path is {}, which is no folder", self.artifact_path.display());
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

    #[test]
    fn without_arguments_everything_is_below_one_folder() {
        let folders = FolderArguments::default().folders();
        assert_eq!(folders.artifact_path, Path::new("pyrsia"));
        assert_eq!(folders.ledger_path, Path::new("pyrsia/blockchain"));
        assert_eq!(folders.keypair_path, Path::new("pyrsia/p2p_keypair.ser"));
        assert!(!folders.may_create);
    }

    #[test]
    fn a_named_folder_that_is_missing_is_created_in_dev_mode_alone() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let named = FolderArguments { artifact_path: Some(data.clone()), ..FolderArguments::default() };
        let failure = named.folders().prepare().unwrap_err();
        assert!(failure.to_string().contains("DEV_MODE=on"), "{failure}");
        assert!(!data.exists());
        let keypair = root.path().join("keys/deep/p2p_keypair.ser");
        FolderArguments { dev_mode: true, keypair: Some(keypair.clone()), ..named.clone() }.folders().prepare().unwrap();
        assert!(data.join("blockchain").is_dir() && keypair.parent().unwrap().is_dir());
        named.folders().prepare().unwrap();
    }

    #[test]
    fn only_three_words_switch_dev_mode_on() {
        assert!(["on", "TRUE", "1"].iter().all(|word| dev_mode(word) == Ok(true)));
        assert!(["off", "yes", "0", ""].iter().all(|word| dev_mode(word) == Ok(false)));
    }
}
