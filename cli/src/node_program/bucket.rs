//! The object storage behind a node's store.

use clap::{ArgAction, Args};
use pyrsia_node::NodeConfig;
use pyrsia_node::bucket::{BucketConfig, BucketUrlError};
use std::path::PathBuf;
use url::Url;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Bucket")]
pub struct BucketArguments {
    /// Copy published artifacts there, so that they may leave the disk: s3://name/prefix, gs://name/prefix, az://container/prefix or
    /// file:///folder
    #[arg(long, value_name = "URL")]
    pub bucket_url: Option<Url>,
    /// Address of the service, where it is not that of the cloud itself
    #[arg(long, value_name = "URL", requires = "bucket_url")]
    pub bucket_endpoint: Option<Url>,
    /// Region of an s3:// bucket [default: AWS_REGION, else us-east-1]
    #[arg(long, value_name = "REGION", requires = "bucket_url")]
    pub bucket_region: Option<String>,
    /// Private file with lines such as AWS_ACCESS_KEY_ID=… and AWS_SECRET_ACCESS_KEY=… [default: the same variables of the environment]
    #[arg(long, value_name = "FILE", requires = "bucket_url")]
    pub bucket_credentials: Option<PathBuf>,
    /// Reach an endpoint on this machine over plain HTTP
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", default_value_t = false, hide_default_value = true, hide_possible_values = true, hide_short_help = true, action = ArgAction::Set)]
    pub bucket_allow_http: bool,
}

impl BucketArguments {
    pub(super) fn apply(&self, config: &mut NodeConfig) {
        config.bucket = self.bucket();
    }

    /// None where the node has no bucket.
    pub(super) fn bucket(&self) -> Option<BucketConfig> {
        self.bucket_url.clone().map(|url| BucketConfig {
            url,
            endpoint: self.bucket_endpoint.clone(),
            region: self.bucket_region.clone(),
            credentials: self.bucket_credentials.clone(),
            allow_http: self.bucket_allow_http,
        })
    }

    /// The argument that is to blame for what is wrong with the bucket.
    pub(super) fn wrong_argument(error: &BucketUrlError) -> &'static str {
        match error {
            BucketUrlError::Plain { .. } => "bucket_endpoint",
            BucketUrlError::Credentials { .. } | BucketUrlError::Exposed { .. } | BucketUrlError::Setting { .. } => {
                "bucket_credentials"
            }
            _ => "bucket_url",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::path::Path;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bucket: BucketArguments,
    }

    fn told(line: &str) -> Result<Option<BucketConfig>, clap::Error> {
        let mut config = NodeConfig::new(Path::new("/data"));
        Line::try_parse_from(line.split_whitespace())?.bucket.apply(&mut config);
        Ok(config.bucket)
    }

    #[test]
    fn a_node_has_a_bucket_where_its_url_is_given() {
        assert_eq!(told("pyrsia_node").unwrap(), None);
        let told_all = told(
            "pyrsia_node --bucket-url s3://name/prefix --bucket-endpoint http://[::1]:9000 --bucket-region here --bucket-allow-http \
             --bucket-credentials /etc/secret",
        );
        let bucket = BucketConfig {
            url: "s3://name/prefix".parse().unwrap(),
            endpoint: Some("http://[::1]:9000".parse().unwrap()),
            region: Some("here".into()),
            credentials: Some("/etc/secret".into()),
            allow_http: true,
        };
        assert_eq!(told_all.unwrap(), Some(bucket));
        for line in ["--bucket-url name", "--bucket-endpoint https://registry.example", "--bucket-credentials /etc/secret"] {
            assert!(told(&format!("pyrsia_node {line}")).is_err(), "{line}");
        }
    }
}
