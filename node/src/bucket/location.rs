//! Where the bucket is: what an operator writes down, checked and opened.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use pyrsia_ledger::Sha256Digest;
use std::fmt::Display;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use url::{Host, Url};

/// How long a service may take to take a connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a service may say nothing while it sends.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long one request may take: 8 MiB at 70 KB/s.
const REQUEST_TIME: Duration = Duration::from_secs(120);
/// A request that a service asks to repeat is repeated at once; what lasts longer is for the pauses between the attempts.
const RETRIES_MAX: usize = 2;
const RETRY_TIME: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// The largest file of credentials that is read, in bytes.
const CREDENTIALS_BYTES_MAX: u64 = 64 << 10;
/// Permissions of anybody but the owner (POSIX).
const OTHERS: u32 = 0o077;

/// Where the bucket is, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketConfig {
    /// `s3://name/prefix`, `gs://name/prefix`, `az://container/prefix` or `file:///folder`.
    pub url: Url,
    /// Where the service is, if it is not that of the cloud the URL is for.
    pub endpoint: Option<Url>,
    pub region: Option<String>,
    /// Lines `NAME=value` with the names that the clouds' own tools use; none: they stand in the environment.
    pub credentials: Option<PathBuf>,
    /// Whether the endpoint may be reached over plain HTTP, on this machine.
    pub allow_http: bool,
}

impl BucketConfig {
    /// Whether a node would start with it, as far as can be said without asking the service.
    pub fn check(&self) -> Result<(), BucketUrlError> {
        open(self).map(drop)
    }
}

/// What is wrong with the words of a bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketUrlError {
    #[error("{url} names no bucket: write s3://name/prefix, gs://name/prefix, az://container/prefix or file:///folder")]
    NoBucket { url: Url },
    #[error(
        "the URL of a bucket or of its endpoint holds a user, a password, a query or a fragment: credentials belong in a file or in the environment"
    )]
    Surplus,
    #[error("the prefix of the bucket {url} cannot be used")]
    Prefix {
        url: Url,
        #[source]
        source: Box<object_store::path::Error>,
    },
    #[error("a bucket at {url} has no {what}")]
    NotForThis { url: Url, what: &'static str },
    #[error(
        "the endpoint {endpoint} of the bucket is no https URL; plain http is for an endpoint on this machine (a loopback address), where it is allowed (--bucket-allow-http)"
    )]
    Plain { endpoint: Url },
    #[error("the credentials of the bucket cannot be read from {path:?}")]
    Credentials {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path:?} can be read by others than its owner; 'chmod 600' makes it private")]
    Exposed { path: PathBuf },
    #[error("line {line} of {path:?} is no setting of {service}, such as {example}=…")]
    Setting { path: PathBuf, line: usize, service: &'static str, example: &'static str },
    #[error("the bucket {url} cannot be used")]
    Service {
        url: Url,
        #[source]
        source: Box<object_store::Error>,
    },
}

/// An opened bucket.
pub(super) struct Location {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) prefix: object_store::path::Path,
    /// For the log of the operator.
    pub(super) url: String,
    /// What tells it from other buckets.
    pub(super) id: Sha256Digest,
}

pub(super) fn open(config: &BucketConfig) -> Result<Location, BucketUrlError> {
    let BucketConfig { url, endpoint, region, credentials, allow_http } = config;
    let surplus = !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some();
    let has_user = |endpoint: &Url| !endpoint.username().is_empty() || endpoint.password().is_some();
    if surplus || endpoint.as_ref().is_some_and(has_user) {
        return Err(BucketUrlError::Surplus);
    }
    let (scheme, name) = (url.scheme(), url.host_str().unwrap_or_default());
    if !matches!(scheme, "s3" | "gs" | "az" | "file") || (name.is_empty() != (scheme == "file")) {
        return Err(BucketUrlError::NoBucket { url: url.clone() });
    }
    let not_for_this = |what| BucketUrlError::NotForThis { url: url.clone(), what };
    if scheme != "s3" && region.is_some() {
        return Err(not_for_this("region"));
    }
    if scheme == "file" && (endpoint.is_some() || credentials.is_some()) {
        return Err(not_for_this("endpoint and no credentials"));
    }
    if let Some(endpoint) = endpoint {
        let is_here = match endpoint.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(domain)) => domain == "localhost",
            None => false,
        };
        if endpoint.scheme() != "https" && !(endpoint.scheme() == "http" && *allow_http && is_here) {
            return Err(BucketUrlError::Plain { endpoint: endpoint.clone() });
        }
    }
    let prefix = match scheme {
        "file" => Ok(object_store::path::Path::default()),
        _ => object_store::path::Path::from_url_path(url.path()),
    };
    let prefix = prefix.map_err(|source| BucketUrlError::Prefix { url: url.clone(), source: Box::new(source) })?;
    // What is given to the builders of a service: where it is, without the slash at its end, and how it is spoken to.
    let endpoint = endpoint.as_ref().map(|endpoint| endpoint.as_str().trim_end_matches('/').to_owned());
    let options = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIME)
        .with_read_timeout(SILENCE_MAX)
        .with_timeout(REQUEST_TIME)
        .with_allow_http(endpoint.is_some() && *allow_http);
    let backoff = BackoffConfig { init_backoff: RETRY_PAUSE, ..BackoffConfig::default() };
    let retry = RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIME };
    let opened: object_store::Result<Arc<dyn ObjectStore>> = match scheme {
        "s3" => {
            let settings = settings::<AmazonS3ConfigKey>(credentials.as_deref(), "AWS_ACCESS_KEY_ID", "Amazon S3")?;
            let new = || if credentials.is_some() { AmazonS3Builder::new() } else { AmazonS3Builder::from_env() };
            let builder = new().with_bucket_name(name).with_client_options(options).with_retry(retry);
            let builder = settings.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
            // Every service knows how to delete one object; not every one knows how to delete many.
            let builder = builder.with_disable_bulk_delete(true);
            let builder = region.iter().fold(builder, |builder, region| builder.with_region(region));
            let builder = match endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint),
                // Others may not know it; the signature covers the bytes of every request in any case.
                None => builder.with_checksum_algorithm(Checksum::SHA256),
            };
            builder.build().map(|bucket| Arc::new(bucket) as _)
        }
        "gs" => {
            let settings = settings::<GoogleConfigKey>(credentials.as_deref(), "GOOGLE_SERVICE_ACCOUNT", "Google Cloud Storage")?;
            let new =
                || if credentials.is_some() { GoogleCloudStorageBuilder::new() } else { GoogleCloudStorageBuilder::from_env() };
            let builder = new().with_bucket_name(name).with_client_options(options).with_retry(retry);
            let builder = settings.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
            let builder = endpoint.iter().fold(builder, |builder, endpoint| builder.with_base_url(endpoint));
            builder.build().map(|bucket| Arc::new(bucket) as _)
        }
        "az" => {
            let settings =
                settings::<AzureConfigKey>(credentials.as_deref(), "AZURE_STORAGE_ACCOUNT_NAME", "Azure Blob Storage")?;
            let new = || if credentials.is_some() { MicrosoftAzureBuilder::new() } else { MicrosoftAzureBuilder::from_env() };
            let builder = new().with_container_name(name).with_client_options(options).with_retry(retry);
            let builder = settings.into_iter().fold(builder, |builder, (key, value)| builder.with_config(key, value));
            let builder = endpoint.into_iter().fold(builder, MicrosoftAzureBuilder::with_endpoint);
            builder.build().map(|bucket| Arc::new(bucket) as _)
        }
        _ => {
            let folder = url.to_file_path().map_err(|()| BucketUrlError::NoBucket { url: url.clone() })?;
            // What is said to be there is there after a power cut as well.
            LocalFileSystem::new_with_prefix(folder).map(|folder| Arc::new(folder.with_fsync(true)) as _)
        }
    };
    let objects = opened.map_err(|source| BucketUrlError::Service { url: url.clone(), source: Box::new(source) })?;
    let id = Sha256Digest::of(format!("{url} {}", config.endpoint.as_ref().map_or("", Url::as_str)).as_bytes());
    Ok(Location { objects, prefix, url: url.to_string(), id })
}

/// The settings in a private file of credentials.
fn settings<K: FromStr>(
    path: Option<&Path>,
    example: &'static str,
    service: &'static str,
) -> Result<Vec<(K, String)>, BucketUrlError> {
    let Some(path) = path else { return Ok(vec![]) };
    let unreadable = |source| BucketUrlError::Credentials { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.permissions().mode() & OTHERS != 0 {
        return Err(BucketUrlError::Exposed { path: path.to_owned() });
    }
    if metadata.len() > CREDENTIALS_BYTES_MAX {
        return Err(unreadable(io::Error::new(io::ErrorKind::FileTooLarge, too_large(CREDENTIALS_BYTES_MAX))));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    // The value of a line that is not understood may be a secret: the number of the line is said.
    let setting = |(line, text): (usize, &str)| {
        let parsed = text.split_once('=').and_then(|(name, value)| {
            let key = name.trim().to_ascii_lowercase().parse::<K>().ok()?;
            Some((key, value.trim().to_owned()))
        });
        parsed.ok_or_else(|| BucketUrlError::Setting { path: path.to_owned(), line, service, example })
    };
    lines.map(setting).collect()
}

fn too_large(bytes_max: impl Display) -> String {
    format!("it has more than {bytes_max} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> BucketConfig {
        let url = url.parse().expect("a URL");
        BucketConfig { url, endpoint: None, region: None, credentials: None, allow_http: false }
    }

    fn at(url: &str, endpoint: &str) -> BucketConfig {
        BucketConfig { endpoint: Some(endpoint.parse().expect("a URL")), ..config(url) }
    }

    #[track_caller]
    fn refused(config: BucketConfig, why: &str) {
        let error = open(&config).err().unwrap_or_else(|| panic!("{config:?} is taken"));
        let said = crate::handle::with_cause(&error);
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn words_that_name_no_bucket_are_refused_with_a_sentence() {
        for url in ["http://name/prefix", "s3:///prefix", "ftp://name", "file://host/folder"] {
            refused(config(url), "names no bucket");
        }
        for url in ["s3://key:secret@name", "s3://name/prefix?region=x", "gs://name#x"] {
            refused(config(url), "credentials belong in a file");
        }
        refused(at("s3://name", "https://key:secret@registry.example"), "credentials belong in a file");
        refused(config("file:///no/such/folder/here"), "cannot be used");
        refused(BucketConfig { region: Some("x".into()), ..config("gs://name") }, "has no region");
        refused(at("file:///tmp", "https://registry.example"), "has no endpoint");
    }

    #[test]
    fn plain_http_is_for_a_service_on_this_machine_and_only_where_it_is_allowed() {
        for endpoint in ["http://127.0.0.1:9000", "http://registry.example", "ftp://registry.example"] {
            refused(at("s3://name", endpoint), "is no https URL");
        }
        refused(BucketConfig { allow_http: true, ..at("s3://name", "http://registry.example") }, "is no https URL");
        for endpoint in ["http://127.0.0.1:9000", "http://[::1]:9000/", "http://localhost:9000", "https://registry.example"] {
            open(&BucketConfig { allow_http: true, ..at("s3://name", endpoint) }).map(drop).expect("is taken");
        }
    }

    #[test]
    fn credentials_stand_in_a_private_file_and_a_mistake_in_it_is_named_without_its_value() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("credentials");
        let with = |text: &str, mode: u32| {
            fs::write(&path, text).expect("writes");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("changes");
            BucketConfig { credentials: Some(path.clone()), ..at("s3://name/a/prefix", "https://registry.example") }
        };
        let good = "# of the nodes\nAWS_ACCESS_KEY_ID = key\n\nAWS_SECRET_ACCESS_KEY=a=b\n";
        open(&with(good, 0o600)).map(drop).expect("is taken");
        refused(with(good, 0o640), "chmod 600");
        refused(with("AWS_ACCESS_KEY_ID=key", 0o600), "cannot be used");
        for wrong in ["AWS_ACCESS_KEY_ID=key\nhunter2", "AWS_ACCESS_KEY_ID=key\nAWS_SECRET=hunter2"] {
            refused(with(wrong, 0o600), "line 2 of");
            let error = open(&with(wrong, 0o600)).err().expect("is refused").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        refused(BucketConfig { credentials: Some(folder.path().join("none")), ..config("s3://name") }, "cannot be read");
    }
}
