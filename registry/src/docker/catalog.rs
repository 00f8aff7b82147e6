//! The images of the network: `GET /v2/_catalog`, as registries answered it before the OCI distribution specification.
//!
//! Ids in the ledger are not in the order of the names they begin with (`a-b:1` comes before `a:1`), so the sorted names are made
//! once for each block that somebody asks about, and kept.

use super::error::DockerError;
use super::page::Page;
use super::{Query, artifact_id, package_type, withheld};
use crate::server::Front;
use poem::Response;
use pyrsia_ledger::{ArtifactId, BlockHash, Projections};
use pyrsia_node::ArtifactError;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Serialize)]
struct Repositories {
    repositories: Vec<String>,
}

/// Every name that something is published under, in ascending order, as of the newest block somebody asked about.
#[derive(Default)]
pub(crate) struct Catalog {
    kept: Mutex<Option<(BlockHash, Arc<Vec<String>>)>>,
}

impl Catalog {
    async fn names(&self, state: Arc<Projections>) -> Arc<Vec<String>> {
        let tip = state.tip();
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, names)) = kept.filter(|(of, _)| *of == tip) {
            return names;
        }
        let names = tokio::task::spawn_blocking(move || Arc::new(names_of(&state))).await;
        let names = names.expect("collecting names does not panic");
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some((tip, names.clone()));
        names
    }
}

pub(super) async fn answer(front: &Front, query: &Query) -> Result<Response, DockerError> {
    let ledger = front.node.ledger();
    let none = || withheld(ArtifactError::NoNetwork, || DockerError::NameUnknown(String::new()));
    let state = ledger.state.clone().ok_or_else(none)?;
    let page = Page::of(query);
    let names = front.catalog.names(state.clone()).await;
    let from = page.last().map_or(0, |last| names.partition_point(|name| name.as_str() <= last));
    let served = names[from..].iter().filter(|name| is_served(front, &state, name));
    let mut repositories: Vec<String> = served.take(page.collected_max()).cloned().collect();
    let response = page.cut("/v2/_catalog", &mut repositories);
    Ok(response.body(serde_json::to_vec(&Repositories { repositories }).expect("text serializes")))
}

/// Whether anything of a name may be had: all of it can be at risk.
fn is_served(front: &Front, state: &Projections, name: &str) -> bool {
    let docker = package_type();
    [':', '@'].into_iter().any(|separator| {
        let prefix = artifact_id(format!("{name}{separator}"));
        let mut of_name = state.packages.artifact_ids(&docker, &prefix).take_while(|id| id.as_str().starts_with(prefix.as_str()));
        of_name.any(|id| front.node.artifact_record(&docker, id).is_ok())
    })
}

fn names_of(state: &Projections) -> Vec<String> {
    let docker = package_type();
    distinct_names(|from| state.packages.artifact_ids(&docker, from).next().cloned())
}

/// Jumps from name to name: an image has many ids.
fn distinct_names(next: impl Fn(&ArtifactId) -> Option<ArtifactId>) -> Vec<String> {
    let mut names = Vec::new();
    // The least graphic character: no id comes before it.
    let mut from = ArtifactId::new("!").ok();
    while let Some(id) = from.as_ref().and_then(&next) {
        let id = id.as_str();
        match id.split_once('@').or_else(|| id.split_once(':')) {
            Some((name, _)) => {
                // `A` is the first character after `:` and `@`, and no name has one.
                from = ArtifactId::new(format!("{name}A")).ok();
                names.push(name.to_owned());
            }
            None => from = ArtifactId::new(format!("{id}!")).ok(),
        }
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::ops::Bound;

    fn names(ids: &[String]) -> Vec<String> {
        let ids: BTreeSet<ArtifactId> = ids.iter().map(|id| ArtifactId::new(id.clone()).expect("an id")).collect();
        distinct_names(|from| ids.range((Bound::Included(from), Bound::Unbounded)).next().cloned())
    }

    #[test]
    fn every_name_is_listed_once_and_in_order() {
        let ids = ["a:1", "a:2", "a@sha256:00", "a-b:1", "a/b:1", "a_b@sha256:00", "b.c:1", "odd", "aa:1"].map(str::to_owned);
        assert_eq!(names(&ids), ["a", "a-b", "a/b", "a_b", "aa", "b.c"]);
        assert!(names(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn jumping_finds_what_reading_every_id_finds(ids in proptest::collection::vec("[ab]([-._/]?[ab0]){0,3}(:[a-zA-Z0-9]{1,2}|@sha256:[0-9a-f]{2})", 0..40)) {
            let read: BTreeSet<String> =
                ids.iter().filter_map(|id| id.split(['@', ':']).next()).map(str::to_owned).collect();
            prop_assert_eq!(names(&ids), read.into_iter().collect::<Vec<_>>());
        }
    }
}
