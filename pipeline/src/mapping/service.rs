//! A mapping service, or a folder laid out as one: asked at every request for a build, under the prototype's paths.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::{MappingError, RulesError};
use crate::docker::image_name::ImageName;
use crate::http_client;
use crate::package::{Package, PackageType};
use crate::wire::MappingInfo;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A request for a build waits for the mapping, so the service has to be quick.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_MAPPING_BYTES: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct MappingService(Answers);

/// Where the answers come from.
#[derive(Debug)]
enum Answers {
    Http {
        base: Url,
        http: reqwest::Client,
    },
    /// Without links in its path.
    Folder(PathBuf),
}

impl MappingService {
    pub(super) fn at(base: Url) -> Self {
        let http = http_client::client(|builder| builder.connect_timeout(CONNECT_TIMEOUT).timeout(ANSWER_TIMEOUT));
        Self(Answers::Http { base, http })
    }

    pub(super) fn folder(folder: &Path) -> Result<Self, RulesError> {
        let read = |source| RulesError::Read { path: folder.to_owned(), source };
        let folder = folder.canonicalize().map_err(read)?;
        Ok(Self(Answers::Folder(folder)))
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
        let body = match &self.0 {
            Answers::Http { base, http } => self.get(base, http, path).await?,
            Answers::Folder(folder) => {
                let (folder, path) = (folder.clone(), path.to_owned());
                let read = tokio::task::spawn_blocking(move || read_below(&folder, Path::new(&path))).await;
                read.unwrap_or_else(|worker| Err(io::Error::other(worker))).map_err(|error| self.unusable(error.to_string()))?
            }
        };
        let Some(body) = body else { return Ok(None) };
        if body.len() > MAX_MAPPING_BYTES {
            return Err(self.unusable(format!("it is larger than {MAX_MAPPING_BYTES} bytes")));
        }
        serde_json::from_slice(&body).map(Some).map_err(|error| self.unusable(error.to_string()))
    }

    /// The answer, or as much of it as shows that it is too large.
    async fn get(&self, base: &Url, http: &reqwest::Client, path: &str) -> Result<Option<Vec<u8>>, MappingError> {
        let mut url = base.clone();
        url.set_path(&format!("{}/{path}", base.path().trim_end_matches('/')));
        let unreachable =
            |source: reqwest::Error| MappingError::ServiceUnreachable { location: self.location(), source: source.without_url() };
        let mut response = http.get(url).send().await.map_err(unreachable)?;
        match response.status().as_u16() {
            404 => return Ok(None),
            200 => {}
            status => return Err(MappingError::ServiceStatus { location: self.location(), status }),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_MAPPING_BYTES {
                break;
            }
        }
        Ok(Some(body))
    }

    fn unusable(&self, problem: String) -> MappingError {
        MappingError::ServiceAnswer { location: self.location(), problem }
    }

    fn location(&self) -> String {
        match &self.0 {
            Answers::Http { base, .. } => base.host_str().unwrap_or("without a host").to_owned(),
            Answers::Folder(folder) => folder.display().to_string(),
        }
    }
}

/// A file below the folder, not through a link that leads out of it; a byte more than an answer may have tells a large one.
fn read_below(folder: &Path, path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !path.components().all(|step| matches!(step, Component::Normal(_))) {
        return Ok(None);
    }
    let file = match folder.join(path).canonicalize() {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.starts_with(folder) {
        return Err(io::Error::other("it is a link that leads out of the folder"));
    }
    if !file.is_file() {
        return Ok(None);
    }
    let mut body = Vec::new();
    std::fs::File::open(file)?.take(MAX_MAPPING_BYTES as u64 + 1).read_to_end(&mut body)?;
    Ok(Some(body))
}

fn about(info: &MappingInfo) -> String {
    format!("it is about {} {}", info.package_type, info.package_specific_id)
}
