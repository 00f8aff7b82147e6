//! Which node the CLI talks to: a small TOML file in the user's configuration folder.
//!
//! Owns the file, its place, and what each value may be. The words of the fields are those of every earlier version of
//! the file, so that one written years ago still reads.

use pyrsia_ledger::{NetworkId, Sha256Digest};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The longest name that DNS can hold (RFC 1035, section 2.3.4).
const HOST_NAME_CHARS_MAX: usize = 253;
/// The longest label of a name, from the same place.
const HOST_LABEL_CHARS_MAX: usize = 63;
/// The largest disk budget a node may be promised.
const DISK_GB_MAX: u16 = 4096;
/// A settings file has a few lines; what is larger is something else.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// What the file holds, all of it text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    pub host: String,
    pub port: String,
    pub disk_allocated: String,
    /// The id of the one network whose proofs are believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { host: "localhost".into(), port: "7888".into(), disk_allocated: "10 GB".into(), network: None }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("there is no folder for it: neither {0} nor a home folder is set")]
    NoFolder(&'static str),
    #[error("cannot read {path}")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write {path}")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is not a settings file: {problem}")]
    Syntax { path: PathBuf, problem: String },
    #[error("Invalid pyrsia config")]
    Invalid(Vec<InvalidValue>),
}

/// A value that cannot be used, in the words the user is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidValue {
    #[error("Invalid value for Hostname")]
    Host,
    #[error("Invalid value for Port Number")]
    Port,
    #[error("Invalid value for Disk Allocation")]
    Disk,
    #[error("Invalid value for Network ID")]
    Network,
}

impl Settings {
    /// The values that cannot be used, in the order of the fields.
    pub fn check(&self) -> Result<(), SettingsError> {
        let checks = [
            (is_host(&self.host), InvalidValue::Host),
            (is_port(&self.port), InvalidValue::Port),
            (is_disk(&self.disk_allocated), InvalidValue::Disk),
            (self.network.as_deref().is_none_or(|id| network_id(id).is_some()), InvalidValue::Network),
        ];
        let wrong: Vec<InvalidValue> = checks.into_iter().filter(|(valid, _)| !valid).map(|(_, wrong)| wrong).collect();
        if wrong.is_empty() { Ok(()) } else { Err(SettingsError::Invalid(wrong)) }
    }

    /// `http://host:port`, with an IPv6 address in brackets.
    pub fn node_url(&self) -> String {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(host)) => format!("http://[{host}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => format!("http://{}:{}", self.host, self.port),
        }
    }

    /// Whether the node runs on this machine, as far as its name tells.
    pub fn node_is_local(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified())
    }

    /// The network whose proofs are believed, once [`Settings::check`] found nothing wrong.
    pub fn pinned_network(&self) -> Option<NetworkId> {
        self.network.as_deref().and_then(network_id)
    }

    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("strings can be written as TOML")
    }
}

fn network_id(text: &str) -> Option<NetworkId> {
    text.parse::<Sha256Digest>().ok().map(NetworkId::new)
}

pub fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let inside = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=HOST_LABEL_CHARS_MAX).contains(&label.len()) && label.chars().all(inside) && !label.starts_with('-')
    };
    text.parse::<IpAddr>().is_ok() || text.len() <= HOST_NAME_CHARS_MAX && text.split('.').all(label)
}

pub fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

pub fn is_disk(text: &str) -> bool {
    let Some((amount, unit)) = text.split_once(char::is_whitespace) else { return false };
    unit.trim_start() == "GB"
        && amount.bytes().all(|b| b.is_ascii_digit())
        && amount.parse::<u16>().is_ok_and(|gb| (1..=DISK_GB_MAX).contains(&gb))
}

/// The file on disk.
#[derive(Debug, Clone)]
pub struct SettingsFile {
    path: PathBuf,
}

impl SettingsFile {
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file of this user, where the platform keeps such files.
    pub fn of_user() -> Result<Self, SettingsError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || set("HOME").or_else(|| set("USERPROFILE"));
        let (folder, variable) = if cfg!(windows) {
            (set("APPDATA").map(|data| data.join("pyrsia-cli").join("config")), "APPDATA")
        } else if cfg!(target_os = "macos") {
            (home().map(|home| home.join("Library/Preferences/rs.pyrsia-cli")), "HOME")
        } else {
            // A relative path here is to be ignored (XDG base directory specification).
            let config = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
            (
                config.or_else(|| home().map(|home| home.join(".config"))).map(|config| config.join("pyrsia-cli")),
                "XDG_CONFIG_HOME",
            )
        };
        folder.map(|folder| Self::at(folder.join("default-config.toml"))).ok_or(SettingsError::NoFolder(variable))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings in the file, or the defaults where there is none.
    pub fn read(&self) -> Result<Settings, SettingsError> {
        let read_error = |source| SettingsError::Read { path: self.path.clone(), source };
        match fs::metadata(&self.path) {
            Ok(found) if found.len() > FILE_BYTES_MAX => {
                let problem = format!("it has {} bytes", found.len());
                return Err(SettingsError::Syntax { path: self.path.clone(), problem });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
            Err(error) => return Err(read_error(error)),
        }
        let text = fs::read_to_string(&self.path).map_err(read_error)?;
        toml::from_str(&text)
            .map_err(|error| SettingsError::Syntax { path: self.path.clone(), problem: error.message().to_owned() })
    }

    /// Replaces the file in one step, so that no reader meets half of it.
    pub fn write(&self, settings: &Settings) -> Result<(), SettingsError> {
        settings.check()?;
        let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
        let replace = || {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(settings.to_toml().as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map_err(|error| error.error)
        };
        replace().map(drop).map_err(|source| SettingsError::Write { path: self.path.clone(), source })
    }

    /// Removes the file; that there is none is as good.
    pub fn remove(&self) -> Result<(), SettingsError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(SettingsError::Write { path: self.path.clone(), source: error })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = SettingsFile::at(folder.path().join("pyrsia-cli/default-config.toml"));
        assert_eq!(file.read().unwrap(), Settings::default());
        let settings = Settings {
            host: "node.example".into(),
            port: "7889".into(),
            disk_allocated: "5 GB".into(),
            network: Some("ab".repeat(32)),
        };
        file.write(&settings).unwrap();
        assert_eq!(file.read().unwrap(), settings);
        file.remove().unwrap();
        file.remove().unwrap();
        assert_eq!(file.read().unwrap(), Settings::default());
    }

    #[test]
    fn a_file_with_single_quotes_reads_like_one_with_double_quotes() {
        let folder = tempfile::tempdir().unwrap();
        let file = SettingsFile::at(folder.path().join("default-config.toml"));
        fs::write(file.path(), "host = '0.0.0.0'\nport = '7888'\ndisk_allocated = '10 GB'\n").unwrap();
        assert_eq!(file.read().unwrap().node_url(), "http://0.0.0.0:7888");
        fs::write(file.path(), "host = 7\n").unwrap();
        assert!(matches!(file.read(), Err(SettingsError::Syntax { .. })));
    }

    #[test]
    fn values_outside_their_range_are_named_one_by_one() {
        let wrong = Settings {
            host: "not a host".into(),
            port: "65536".into(),
            disk_allocated: "10GB".into(),
            network: Some("ab".into()),
        };
        let Err(SettingsError::Invalid(values)) = wrong.check() else { panic!("{wrong:?} was taken") };
        assert_eq!(values, [InvalidValue::Host, InvalidValue::Port, InvalidValue::Disk, InvalidValue::Network]);
        assert_eq!(wrong.pinned_network(), None);
        for host in ["", "-a.example", "a..b", "a_b", "::g", &"a".repeat(64)] {
            assert!(!is_host(host), "{host:?}");
        }
        for host in ["localhost", "10.0.0.1", "::1", "a-1.example"] {
            assert!(is_host(host), "{host:?}");
        }
        for disk in ["5.84 GB", "0 GB", "4097 GB", "10 gb", "+5 GB", "GB"] {
            assert!(!is_disk(disk), "{disk:?}");
        }
        assert!(is_disk("4096 GB") && is_port("65535") && !is_port("0") && !is_port("+80"));
    }

    #[test]
    fn an_ipv6_node_is_reached_by_a_url_in_brackets() {
        let settings = Settings { host: "::1".into(), ..Settings::default() };
        assert_eq!(settings.node_url(), "http://[::1]:7888");
        assert!(settings.node_is_local());
        assert!(!Settings { host: "node.example".into(), ..Settings::default() }.node_is_local());
    }
}
