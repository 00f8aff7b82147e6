//! A mapping service: says which source a package is built from, under the prototype's paths.
//!
//! It is asked for each request and by each judge, because a mapping may be added at any time. Its answer is checked to be about
//! the package and bounded; whether it can be built is the pipeline's to say.

use std::time::Duration;

use pyrsia_ledger::PackageCoordinate;
use reqwest::{Client, StatusCode};
use url::Url;

use super::mapping_info::{MappingInfo, prototype_name};
use crate::request_context;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Whoever asks for a build waits for the mapping, so the service has to be quick.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const MAPPING_BYTES_MAX: usize = 64 << 10;

/// What is wrong with the service; to whom it is addressed can do nothing about it.
#[derive(Debug, thiserror::Error)]
#[error("the mapping service at {host} (this node's --mapping-service-endpoint) {problem}")]
pub(super) struct MappingServiceError {
    host: String,
    problem: String,
}

/// A cheap clone.
#[derive(Clone)]
pub(super) struct MappingService {
    base: Url,
    http: Client,
}

impl MappingService {
    pub(super) fn new(base: Url) -> Result<Self, reqwest::Error> {
        let http = crate::http_client::client(|builder| {
            let builder = builder.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT);
            // What is configured is asked; where else it would like to send the node is not.
            builder.redirect(reqwest::redirect::Policy::none())
        })?;
        Ok(Self { base, http })
    }

    /// The mapping of a package; none when the service has none of it.
    pub(super) async fn ask(&self, coordinate: &PackageCoordinate) -> Result<Option<MappingInfo>, MappingServiceError> {
        let Some(path) = path(coordinate) else { return Ok(None) };
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        // The URL is the operator's own and may carry a password.
        let broken = |error: reqwest::Error| self.problem(format!("does not answer: {}", error.without_url()));
        let mut response = self.http.get(url).headers(request_context::outgoing_headers()).send().await.map_err(broken)?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => {}
            status => return Err(self.problem(format!("answered with status {status}"))),
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(broken)? {
            if body.len() + part.len() > MAPPING_BYTES_MAX {
                return Err(self.problem(format!("gave an answer of more than {MAPPING_BYTES_MAX} bytes")));
            }
            body.extend_from_slice(&part);
        }
        let unusable = |problem| self.problem(format!("gave an answer that cannot be used: {problem}"));
        MappingInfo::about(coordinate, &body).map(Some).map_err(unusable)
    }

    fn problem(&self, problem: String) -> MappingServiceError {
        MappingServiceError { host: self.base.host_str().unwrap_or_default().to_owned(), problem }
    }
}

/// `{type}/{name}/{version}/{last part of name}-{version}.mapping`; of Maven's name the group is divided at its dots, and an
/// image of one word is in `library`. None for ids that have no version, or would not stay below their type.
fn path(coordinate: &PackageCoordinate) -> Option<String> {
    let (package_type, id) = (coordinate.package_type.as_str(), coordinate.id.as_str());
    // The `@` of a scope stands at the very beginning.
    let divided = id.rsplit_once('@').filter(|(name, _)| !name.is_empty()).or_else(|| id.rsplit_once(':'));
    let (name, version) = divided.filter(|(_, version)| !version.is_empty() && !version.contains('/'))?;
    let last = name.rsplit(['/', ':']).next().unwrap_or_default();
    let name = match (package_type, name.rsplit_once(':')) {
        ("maven", Some((group, artifact))) => format!("{}/{artifact}", group.replace('.', "/")),
        ("docker", _) if !name.contains('/') => format!("library/{name}"),
        _ => name.to_owned(),
    };
    let path = format!("{}/{name}/{version}/{last}-{version}.mapping", prototype_name(package_type));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._+~@:/".contains(&b);
    let fits = path.bytes().all(plain) && path.split('/').all(|part| !part.trim_matches('.').is_empty());
    fits.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_paths_are_the_prototypes() {
        for (package_type, id, expected) in [
            (
                "maven",
                "org.apache.commons:commons-codec:1.15",
                "Maven2/org/apache/commons/commons-codec/1.15/commons-codec-1.15.mapping",
            ),
            ("docker", "alpine:3.16.0", "Docker/library/alpine/3.16.0/alpine-3.16.0.mapping"),
            ("docker", "team/app:1", "Docker/team/app/1/app-1.mapping"),
            ("cargo", "@scope/left-pad@1.3.0", "cargo/@scope/left-pad/1.3.0/left-pad-1.3.0.mapping"),
        ] {
            let coordinate = PackageCoordinate::new(package_type, id).unwrap();
            assert_eq!(path(&coordinate).as_deref(), Some(expected));
        }
    }

    #[test]
    fn no_id_leads_out_of_the_service() {
        for (package_type, id) in [
            ("cargo", "left-pad"),
            ("cargo", "../../a@1"),
            ("cargo", "a@.."),
            ("maven", "..:a:1"),
            ("maven", "a..b:c:1"),
            ("cargo", "a b@1"),
            ("cargo", "a?b@1"),
            ("cargo", "%2e%2e@1"),
        ] {
            if let Ok(coordinate) = PackageCoordinate::new(package_type, id) {
                assert_eq!(path(&coordinate), None, "{id}");
            }
        }
    }
}
