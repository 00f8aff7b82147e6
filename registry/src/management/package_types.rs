//! The package types of this node, and the artifacts of each by their ids.

use super::{body, error::Refused, json};
use crate::mount;
use crate::server::Front;
use crate::wire::PackageTypeView;
use poem::http::StatusCode;
use poem::{Request, Response};
use pyrsia_ledger::{ArtifactId, PackageType};
use pyrsia_node::PackageTypeInfo;
use serde::Deserialize;
use std::fmt::Write;

/// What this node can read the names of, whether it follows a network or not.
pub(crate) fn list(front: &Front) -> Result<Response, Refused> {
    let views: Vec<PackageTypeView> = front.node.package_types().into_iter().map(view).collect();
    Ok(json(StatusCode::OK, &views))
}

pub(super) fn view(info: PackageTypeInfo) -> PackageTypeView {
    PackageTypeView {
        name: info.name,
        aliases: info.aliases,
        coordinate_syntax: info.coordinate_syntax,
        examples: info.examples,
        http_paths: info.http_paths,
        module: info.module,
    }
}

#[derive(Deserialize)]
struct ArtifactQuery {
    id: String,
}

/// The bytes of a published artifact of any type.
pub(crate) async fn artifact(front: &Front, word: &str, request: &Request) -> Result<Response, Refused> {
    let ArtifactQuery { id } = body::query(request)?;
    let package_type = front.node.package_type(word).await?;
    let id = ArtifactId::new(id).map_err(|error| Refused::bad_request(format!("this is the id of no artifact: {error}")))?;
    mount::artifact(front, request, &package_type, &id, None).await.map(mount::shielded)
}

/// Where [`artifact`] serves one.
pub(super) fn path_of(package_type: &PackageType, id: &ArtifactId) -> String {
    let mut path = format!("/api/v1/artifacts/{package_type}?id=");
    for byte in id.as_str().bytes() {
        // The unreserved characters of RFC 3986, section 2.3.
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            write!(path, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stands_in_its_path_whatever_it_is_made_of() {
        let package_type = PackageType::new("demo").expect("a type");
        let id = ArtifactId::new("@a/b+c&d=e:1.0%".to_owned()).expect("an id");
        assert_eq!(path_of(&package_type, &id), "/api/v1/artifacts/demo?id=%40a%2Fb%2Bc%26d%3De%3A1.0%25");
    }
}
