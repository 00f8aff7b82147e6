//! The tags of an image (OCI distribution specification 1.1, "Listing Tags").

use super::error::DockerError;
use super::page::Page;
use super::path::{Name, PathError, is_tag, shown};
use super::{Query, artifact_id, package_type};
use crate::server::Front;
use poem::Response;
use pyrsia_ledger::{ArtifactId, Projections};
use serde::Serialize;

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: Vec<String>,
}

pub(super) fn answer(front: &Front, name: &Name, query: &Query) -> Result<Response, DockerError> {
    let page = Page::of(query);
    if let Some(last) = page.last().filter(|last| !is_tag(last)) {
        return Err(PathError::Last(shown(last)).into());
    }
    let ledger = front.node.ledger();
    let unknown = || DockerError::NameUnknown(format!("no image {name} is published in this network"));
    let state = ledger.state.as_deref().ok_or_else(unknown)?;
    if !is_known(state, name) {
        return Err(unknown());
    }
    let served = |id: &ArtifactId| front.node.artifact_record(&package_type(), id).is_ok();
    let mut tags = tags_after(state, name, page.last(), page.collected_max(), served);
    let response = page.cut(&format!("/v2/{name}/tags/list"), &mut tags);
    let list = TagList { name: name.as_str(), tags };
    Ok(response.body(serde_json::to_vec(&list).expect("text serializes")))
}

/// Whether anything of the image is published, by tag or by digest only.
fn is_known(state: &Projections, name: &Name) -> bool {
    [':', '@'].into_iter().any(|separator| {
        let prefix = artifact_id(format!("{name}{separator}"));
        state.packages.artifact_ids(&package_type(), &prefix).next().is_some_and(|id| id.as_str().starts_with(prefix.as_str()))
    })
}

fn tags_after(
    state: &Projections,
    name: &Name,
    last: Option<&str>,
    count_max: usize,
    served: impl Fn(&ArtifactId) -> bool,
) -> Vec<String> {
    let (package_type, prefix) = (package_type(), format!("{name}:"));
    let from = artifact_id(format!("{prefix}{}", last.unwrap_or_default()));
    let tags = state.packages.artifact_ids(&package_type, &from).map_while(|id| Some((id, id.as_str().strip_prefix(&prefix)?)));
    tags.filter(|(id, tag)| Some(*tag) != last && served(id)).map(|(_, tag)| tag.to_owned()).take(count_max).collect()
}
