//! A mapping service: asked at every request for a build, under the prototype's paths.

use std::time::Duration;

use url::Url;

use super::MappingError;
use crate::docker::image_name::ImageName;
use crate::http_client;
use crate::package::{Package, PackageType};
use crate::wire::MappingInfo;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request for a build waits for the mapping, so the service has to be quick.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_MAPPING_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct MappingService {
    base: Url,
    http: reqwest::Client,
}

impl MappingService {
    pub(super) fn new(base: Url) -> Self {
        let http = http_client::client(|builder| builder.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT));
        Self { base, http }
    }

    /// `Docker/{repository}/{reference}/{last word}-{reference}.mapping`
    pub(super) async fn ask_about_image(&self, image: &ImageName) -> Result<Option<MappingInfo>, MappingError> {
        let last = image.repository().rsplit('/').next().unwrap_or_default();
        let (repository, reference) = (image.repository(), image.reference());
        let Some(info) = self.ask(&format!("Docker/{repository}/{reference}/{last}-{reference}.mapping")).await? else {
            return Ok(None);
        };
        let answered = info.package_specific_id.parse::<ImageName>().ok();
        let fits = answered.as_ref() == Some(image) && PackageType::parse(&info.package_type)?.is_docker();
        if fits { Ok(Some(info)) } else { Err(self.unusable(about(&info))) }
    }

    /// `{type}/{name}/{version}/{last part of name}-{version}.mapping`; of Maven's name the group is divided at its dots.
    pub(super) async fn ask_about_package(&self, package: &Package) -> Result<Option<MappingInfo>, MappingError> {
        let version = package.version.as_deref().ok_or_else(|| MappingError::NoVersion(package.to_string()))?;
        let name = match package.name.rsplit_once(':') {
            Some((group, artifact)) if package.package_type.is_maven() => format!("{}/{artifact}", group.replace('.', "/")),
            _ => package.name.clone(),
        };
        let (word, last) = (package.package_type.wire_name(), package.last_part());
        let Some(info) = self.ask(&format!("{word}/{name}/{version}/{last}-{version}.mapping")).await? else {
            return Ok(None);
        };
        let fits = info.package_specific_id == package.id && PackageType::parse(&info.package_type)? == package.package_type;
        if fits { Ok(Some(info)) } else { Err(self.unusable(about(&info))) }
    }

    async fn ask(&self, path: &str) -> Result<Option<MappingInfo>, MappingError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        let unreachable =
            |source: reqwest::Error| MappingError::ServiceUnreachable { location: self.location(), source: source.without_url() };
        let mut response = self.http.get(url).send().await.map_err(unreachable)?;
        match response.status().as_u16() {
            404 => return Ok(None),
            200 => {}
            status => return Err(MappingError::ServiceStatus { location: self.location(), status }),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_MAPPING_BYTES {
                return Err(self.unusable(format!("it is larger than {MAX_MAPPING_BYTES} bytes")));
            }
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| self.unusable(error.to_string()))
    }

    fn unusable(&self, problem: String) -> MappingError {
        MappingError::ServiceAnswer { location: self.location(), problem }
    }

    fn location(&self) -> String {
        self.base.host_str().unwrap_or("without a host").to_owned()
    }
}

fn about(info: &MappingInfo) -> String {
    format!("it is about {} {}", info.package_type, info.package_specific_id)
}
