//! `pyrsia artifacts`: what is stored on the node, what stays there, and whether it is still what it was.

mod scrub;
mod words;

use super::{admin_failure, client, package_failure, print, print_json, request_failure, settings};
use crate::arguments::{AdminArguments, ArtifactsCommand, ChangeArtifactsArguments, CollectArguments, ListArtifactsArguments};
use crate::exit::Failure;
use crate::node_client::{NodeClient, path_segment};
use pyrsia_ledger::Sha256Digest;
use pyrsia_registry::wire::{
    ArtifactsPage, ArtifactsRequest, ArtifactsResponse, CollectRequest, CollectResponse, PackageView, StoreView,
    StoredArtifactView,
};
use serde::Serialize;
use std::collections::BTreeSet;

/// What one request may list.
const PAGE: usize = 1_000;
/// What one request may name: a body of a node's API has 8 KiB at most.
const NAMED_AT_ONCE: usize = 100;

pub(super) async fn run(command: ArtifactsCommand) -> Result<(), Failure> {
    match command {
        ArtifactsCommand::Ls(arguments) => list(arguments).await,
        ArtifactsCommand::Pin(arguments) => change("pins", "The artifacts cannot be pinned", arguments, false).await,
        ArtifactsCommand::Unpin(arguments) => change("unpins", "The artifacts cannot be unpinned", arguments, false).await,
        ArtifactsCommand::Rm(arguments) => {
            change("removals", "The artifacts cannot be removed", arguments.change, arguments.bucket).await
        }
        ArtifactsCommand::Scrub(arguments) => scrub::run(arguments).await,
        ArtifactsCommand::Gc(arguments) => collect(arguments).await,
    }
}

fn admin(arguments: AdminArguments) -> Result<NodeClient, Failure> {
    let settings = settings()?;
    Ok(client(&settings)?.with_admin_token(arguments.admin_token, &settings))
}

async fn store(node: &NodeClient) -> Result<StoreView, Failure> {
    node.get("/api/v1/store").await.map_err(|error| request_failure("The artifact store cannot be shown", &error))
}

#[derive(Serialize)]
struct Listing {
    store: StoreView,
    artifacts: Vec<StoredArtifactView>,
}

async fn list(arguments: ListArtifactsArguments) -> Result<(), Failure> {
    let node = super::node()?;
    let store = store(&node).await?;
    let mut artifacts = vec![];
    let mut after: Option<Sha256Digest> = None;
    loop {
        let from = after.map(|after| format!("&after={after}")).unwrap_or_default();
        let page = node.get(&format!("/api/v1/artifacts?limit={PAGE}{from}")).await;
        let page: ArtifactsPage = page.map_err(|error| request_failure("The stored artifacts cannot be listed", &error))?;
        artifacts.extend(page.artifacts.into_iter().filter(|artifact| artifact.pinned || !arguments.pinned));
        match page.next {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    if arguments.output.json { print_json(&Listing { store, artifacts }) } else { print(&words::listing(&store, &artifacts)) }
}

async fn change(path: &str, what_failed: &str, arguments: ChangeArtifactsArguments, bucket: bool) -> Result<(), Failure> {
    let node = admin(arguments.admin)?;
    let artifacts = named(&node, &arguments.what).await?;
    let (mut outcomes, mut failure) = (vec![], None);
    for artifacts in artifacts.chunks(NAMED_AT_ONCE) {
        let request = ArtifactsRequest { artifacts: artifacts.to_vec(), bucket };
        let answer = node.post::<ArtifactsResponse>(&format!("/api/v1/store/{path}"), &request).await;
        match answer {
            Ok(answer) => outcomes.extend(answer.artifacts),
            Err(error) => {
                failure = Some(admin_failure(what_failed, &error));
                break;
            }
        }
    }
    // What became of those before is said whatever ended the rest.
    if let Some(failure) = failure.take_if(|_| outcomes.is_empty()) {
        return Err(failure);
    }
    let refused = outcomes.iter().filter(|artifact| !artifact.outcome.is_done()).count();
    if arguments.output.json {
        print_json(&ArtifactsResponse { artifacts: outcomes.clone() })?;
    } else {
        print(&words::outcomes(&outcomes))?;
    }
    match (failure, refused) {
        (Some(failure), _) => Err(failure),
        (None, 0) => Ok(()),
        (None, refused) => Err(Failure::new(format!("{what_failed}: {refused} of {}", outcomes.len()))
            .hint("'pyrsia artifacts ls' shows what is pinned and why each artifact is there")),
    }
}

/// What words on the command line name.
#[derive(Debug, PartialEq, Eq)]
enum Named<'w> {
    Artifacts(Vec<Sha256Digest>),
    Package { package_type: &'w str, package: &'w str },
}

impl<'w> Named<'w> {
    fn by(words: &'w [String]) -> Result<Self, Failure> {
        let digest = |word: &String| word.strip_prefix("sha256:").unwrap_or(word).parse::<Sha256Digest>();
        let (digests, others): (Vec<_>, Vec<_>) = words.iter().partition(|word| digest(word).is_ok());
        match (&digests[..], &others[..]) {
            (_, []) => Ok(Self::Artifacts(digests.into_iter().flat_map(digest).collect())),
            ([], [package_type, package]) => Ok(Self::Package { package_type, package }),
            (_, [wrong, ..]) => Err(Failure::usage(format!("{wrong:?} is no SHA-256"))
                .hint("name artifacts by their SHA-256, or a package by its type and its name: docker alpine:3.16.0")),
        }
    }
}

async fn named(node: &NodeClient, words: &[String]) -> Result<Vec<Sha256Digest>, Failure> {
    let (package_type, package) = match Named::by(words)? {
        Named::Artifacts(artifacts) => return Ok(artifacts),
        Named::Package { package_type, package } => (package_type, package),
    };
    let found = node.get(&format!("/api/v1/packages/{}?id={}", path_segment(package_type), path_segment(package))).await;
    let found: PackageView = found.map_err(|error| package_failure("The package cannot be looked up", &error))?;
    let artifacts: BTreeSet<Sha256Digest> = found.records.iter().map(|record| record.artifact.sha256).collect();
    if artifacts.is_empty() {
        return Err(Failure::new(format!("{} {} is not published", found.package_type, found.package))
            .hint(format!("'pyrsia build {} {}' asks for it", found.package_type, found.package)));
    }
    Ok(artifacts.into_iter().collect())
}

async fn collect(arguments: CollectArguments) -> Result<(), Failure> {
    let request = CollectRequest { dry_run: arguments.dry_run };
    let answer = admin(arguments.admin)?.post("/api/v1/store/collections", &request).await;
    let answer: CollectResponse = answer.map_err(|error| admin_failure("The leftovers cannot be removed", &error))?;
    if arguments.output.json { print_json(&answer) } else { print(&words::collected(&answer)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_name_artifacts_or_a_package_and_a_mistyped_digest_is_told() {
        let (good, mistyped) = ("ab".repeat(32), "ab".repeat(31));
        let prefixed = format!("sha256:{good}");
        let check = |words: &[&str], wrong: Option<&str>| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            match (Named::by(&words), wrong) {
                (Err(failure), Some(wrong)) => assert!(format!("{failure:?}").contains(wrong), "{words:?}: {failure:?}"),
                (Ok(Named::Artifacts(artifacts)), None) => assert_eq!(artifacts.len(), words.len()),
                (Ok(Named::Package { package_type, package }), None) => assert_eq!([package_type, package], words[..]),
                (named, _) => panic!("{words:?}: {named:?}"),
            }
        };
        check(&[&good], None);
        check(&[&good, &prefixed], None);
        check(&["docker", "alpine:3.16.0"], None);
        for words in [&[good.as_str(), mistyped.as_str()][..], &[&mistyped, &prefixed], &[&good, &good, &mistyped], &[&mistyped]]
        {
            check(words, Some(&mistyped));
        }
    }
}
