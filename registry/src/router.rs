//! Every route on one page, the first that fits wins.
//!
//! Below `/v2` and `/maven2` the path itself has a grammar, and [`docker`] and [`maven`] read it. A slash at the end of any other path is ignored, and
//! what answers GET answers HEAD.

use crate::docker;
use crate::framing;
use crate::management::error::{Dialect, Refused};
use crate::management::{
    authorize, builds, inspect, log, members, package_types, predecessor, proofs, search, status, storage, verifiers,
};
use crate::maven;
use crate::metrics::Surface;
use crate::mount;
use crate::pages;
use crate::server::Front;
use crate::tlog;
use crate::tlog_tiles;
use crate::uri::decode_segment;
use poem::http::{Method, StatusCode};
use poem::{Request, Response};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Live,
    Ready,
    Metrics,
    Checkpoint,
    Policy,
    Tile,
    Status,
    Peers,
    Network,
    Authorize,
    Revoke,
    Nodes,
    AtRisk,
    ApproveVerifier,
    BuildDocker,
    BuildMaven,
    BuildStatus,
    BuildPackage,
    InspectDocker,
    InspectMaven,
    InspectPackage,
    RequestBuild,
    Builds,
    Build,
    PackageTypes,
    Package,
    Artifact,
    StoredArtifacts,
    Store,
    PinArtifacts,
    UnpinArtifacts,
    RemoveArtifacts,
    Scrub,
    CollectLeftovers,
    ProofOfDigest,
    ProofOfPackage,
    Blocks,
    Block,
    Search,
    LogKeys,
    OpenApi,
    Home,
    SearchPage,
    BuildPage,
    PackagePage,
    BlockPage,
    PageStyle,
}

const ROUTES: &[(Method, &str, Action)] = &[
    // Health, for those who run the node.
    (Method::GET, "/livez", Action::Live),
    (Method::GET, "/readyz", Action::Ready),
    (Method::GET, "/metrics", Action::Metrics),
    // The tree of the ledger, for clients of any transparency log.
    (Method::GET, "/log/checkpoint", Action::Checkpoint),
    (Method::GET, "/log/policy", Action::Policy),
    (Method::GET, "/log/tile/{path...}", Action::Tile),
    // Pages for people.
    (Method::GET, "", Action::Home),
    (Method::GET, "/explore/search", Action::SearchPage),
    (Method::GET, "/explore/builds/{build_id}", Action::BuildPage),
    (Method::GET, "/explore/packages/{package_type}", Action::PackagePage),
    (Method::GET, "/explore/blocks/{height}", Action::BlockPage),
    (Method::GET, "/explore/style.css", Action::PageStyle),
    // The surface of the seed documents.
    (Method::GET, "/status", Action::Status),
    (Method::GET, "/peers", Action::Peers),
    (Method::POST, "/authorized_node", Action::Authorize),
    (Method::POST, "/build/docker", Action::BuildDocker),
    (Method::POST, "/build/maven", Action::BuildMaven),
    (Method::POST, "/build/status", Action::BuildStatus),
    (Method::POST, "/build/{package_type}", Action::BuildPackage),
    (Method::POST, "/inspect/docker", Action::InspectDocker),
    (Method::POST, "/inspect/maven", Action::InspectMaven),
    (Method::POST, "/inspect/{package_type}", Action::InspectPackage),
    // What came after; `openapi.json` describes each of these.
    (Method::GET, "/api/v1/status", Action::Status),
    (Method::GET, "/api/v1/peers", Action::Peers),
    (Method::GET, "/api/v1/network", Action::Network),
    (Method::POST, "/api/v1/authorizations", Action::Authorize),
    (Method::POST, "/api/v1/revocations", Action::Revoke),
    (Method::GET, "/api/v1/nodes", Action::Nodes),
    (Method::GET, "/api/v1/at-risk", Action::AtRisk),
    (Method::POST, "/api/v1/verifiers", Action::ApproveVerifier),
    (Method::GET, "/api/v1/builds", Action::Builds),
    (Method::POST, "/api/v1/builds", Action::RequestBuild),
    (Method::GET, "/api/v1/builds/{build_id}", Action::Build),
    (Method::GET, "/api/v1/package-types", Action::PackageTypes),
    (Method::GET, "/api/v1/packages/{package_type}", Action::Package),
    (Method::GET, "/api/v1/artifacts/{package_type}", Action::Artifact),
    (Method::GET, "/api/v1/artifacts", Action::StoredArtifacts),
    (Method::GET, "/api/v1/store", Action::Store),
    (Method::POST, "/api/v1/store/pins", Action::PinArtifacts),
    (Method::POST, "/api/v1/store/unpins", Action::UnpinArtifacts),
    (Method::POST, "/api/v1/store/removals", Action::RemoveArtifacts),
    (Method::POST, "/api/v1/store/scrubs", Action::Scrub),
    (Method::POST, "/api/v1/store/collections", Action::CollectLeftovers),
    (Method::GET, "/api/v1/proofs", Action::ProofOfDigest),
    (Method::GET, "/api/v1/proofs/{package_type}", Action::ProofOfPackage),
    (Method::GET, "/api/v1/blocks", Action::Blocks),
    (Method::GET, "/api/v1/blocks/{height}", Action::Block),
    (Method::GET, "/api/v1/search", Action::Search),
    (Method::GET, "/api/v1/log/keys", Action::LogKeys),
    (Method::GET, "/api/v1/openapi.json", Action::OpenApi),
];

/// Whose paths a path is one of.
pub(crate) fn surface(front: &Front, path: &str) -> Surface {
    if is_docker(path) {
        Surface::Docker
    } else if maven::rest_of(path).is_some() {
        Surface::Maven
    } else if mounted(front, path).is_some() {
        Surface::Packages
    } else {
        Surface::Management
    }
}

fn is_docker(path: &str) -> bool {
    path == "/v2" || path.starts_with("/v2/")
}

/// The package type and the rest of a path that is one of a package type.
fn mounted<'p>(front: &Front, path: &'p str) -> Option<(&'p str, &'p str)> {
    mount::of(front, path).filter(|(word, _)| !is_reserved(word))
}

pub(crate) async fn answer(front: &Front, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if let Err(refused) = framing::check_host(request.version(), request.headers()) {
        return refused.into_response(Dialect::of(&path));
    }
    if is_docker(&path) {
        return docker::answer(front, &request).await;
    }
    if maven::rest_of(&path).is_some() {
        return maven::answer(front, &request).await;
    }
    if let Some((package_type, rest)) = mounted(front, &path) {
        return mount::answer(front, &request, package_type, rest).await;
    }
    match dispatch(front, &path, request).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(Dialect::of(&path)),
    }
}

/// Whether a route above begins with this word: no package type can take it away.
fn is_reserved(word: &str) -> bool {
    ROUTES.iter().any(|(_, pattern, _)| pattern.split('/').nth(1) == Some(word))
}

async fn dispatch(front: &Front, path: &str, request: Request) -> Result<Response, Refused> {
    let (action, argument) = find(request.method(), path)?;
    match action {
        Action::Live => status::live(),
        Action::Ready => status::ready(front),
        Action::Metrics => status::metrics(front),
        Action::Tile => tlog_tiles::tile(front, &argument).await,
        Action::Checkpoint => tlog::checkpoint(front).await,
        Action::Policy => tlog::policy(front),
        Action::LogKeys => tlog::keys(front),
        Action::Status => status::status(front),
        Action::Peers => status::peers(front),
        Action::Network => status::network(front),
        Action::Authorize => authorize::authorize(front, request).await,
        Action::Revoke => members::revoke(front, request).await,
        Action::Nodes => members::nodes(front),
        Action::AtRisk => members::at_risk(front),
        Action::ApproveVerifier => verifiers::approve(front, request).await,
        Action::BuildDocker => predecessor::build_docker(front, request).await,
        Action::BuildMaven => predecessor::build_maven(front, request).await,
        Action::BuildStatus => builds::status(front, request).await,
        Action::BuildPackage => builds::request_package(front, &argument, request).await,
        Action::InspectDocker => predecessor::inspect_docker(front, request).await,
        Action::InspectMaven => predecessor::inspect_maven(front, request).await,
        Action::InspectPackage => inspect::inspect(front, &argument, request).await,
        Action::RequestBuild => builds::request(front, request).await,
        Action::Builds => builds::builds(front, &request).await,
        Action::Build => builds::build(front, &argument),
        Action::PackageTypes => package_types::list(front),
        Action::Package => inspect::package(front, &argument, &request).await,
        Action::Artifact => package_types::artifact(front, &argument, &request).await,
        Action::StoredArtifacts => storage::artifacts(front, &request),
        Action::Store => storage::store(front),
        Action::PinArtifacts => storage::change(front, storage::Wish::Pin, request).await,
        Action::UnpinArtifacts => storage::change(front, storage::Wish::Unpin, request).await,
        Action::RemoveArtifacts => storage::change(front, storage::Wish::Remove, request).await,
        Action::Scrub => storage::scrub(front, request).await,
        Action::CollectLeftovers => storage::collect(front, request).await,
        Action::ProofOfDigest => proofs::of_digest(front, &request).await,
        Action::ProofOfPackage => proofs::of_package(front, &argument, &request).await,
        Action::Blocks => log::blocks(front, &request).await,
        Action::Block => log::block(front, &argument).await,
        Action::Search => search::search(front, &request).await,
        Action::OpenApi => status::openapi(),
        Action::Home => pages::home(front).await,
        Action::SearchPage => pages::search(front, &request).await,
        Action::BuildPage => pages::build(front, &argument),
        Action::PackagePage => pages::package(front, &argument, &request).await,
        Action::BlockPage => pages::block(front, &argument).await,
        Action::PageStyle => Ok(pages::style()),
    }
}

/// The action of a path, and what stands in the place of its parameter.
fn find(method: &Method, path: &str) -> Result<(Action, String), Refused> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let asked = if method == Method::HEAD { &Method::GET } else { method };
    let fits = ROUTES.iter().filter_map(|(method, pattern, action)| Some((method, *action, argument(pattern, path)?)));
    let fits: Vec<_> = fits.collect();
    if let Some((_, action, argument)) = fits.iter().find(|(method, ..)| *method == asked) {
        return Ok((*action, argument.clone()));
    }
    if fits.is_empty() {
        let message = format!("there is nothing at {path}; what there is stands in /api/v1/openapi.json");
        return Err(Refused::new(StatusCode::NOT_FOUND, "NOT_FOUND", message));
    }
    let mut allowed: Vec<&str> = fits.iter().map(|(method, ..)| method.as_str()).collect();
    allowed.dedup();
    Err(Refused::method_not_allowed(method, path, &allowed.join(", ")))
}

/// What stands for the parameter of `pattern`, which has one at most; empty when it has none. One that ends with dots, as the
/// last of a pattern, takes the rest of the path as it is.
fn argument(pattern: &str, path: &str) -> Option<String> {
    if let Some((before, _)) = pattern.strip_suffix("...}").and_then(|pattern| pattern.split_once('{')) {
        return path.strip_prefix(before).map(str::to_owned);
    }
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut argument = String::new();
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(argument),
            (Some(expected), Some(found)) if expected.starts_with('{') => {
                argument = decode_segment(found).filter(|found| !found.is_empty())?;
            }
            (Some(expected), Some(found)) if expected == found => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_its_action_with_or_without_a_slash_at_the_end() {
        for path in ["/build/docker", "/build/docker/"] {
            assert_eq!(find(&Method::POST, path).expect("a route"), (Action::BuildDocker, String::new()));
        }
        assert_eq!(find(&Method::HEAD, "/status").expect("a route").0, Action::Status);
        assert_eq!(find(&Method::POST, "/build/some-type").expect("a route"), (Action::BuildPackage, "some-type".into()));
        assert_eq!(find(&Method::GET, "/api/v1/blocks/%37").expect("a route"), (Action::Block, "7".into()));
    }

    #[test]
    fn unknown_paths_and_wrong_methods_are_told_apart() {
        let status = |method: Method, path: &str| find(&method, path).expect_err("no route").status();
        assert_eq!(find(&Method::GET, "/").expect("a route").0, Action::Home);
        for path in ["//", "//status", "/statuss", "/build", "/build/", "/api/v1/blocks/%2F", "/api/v1/builds/a/b"] {
            assert_eq!(status(Method::GET, path), StatusCode::NOT_FOUND, "{path}");
        }
        assert_eq!(status(Method::POST, "/status"), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(status(Method::DELETE, "/api/v1/builds"), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn openapi_json_describes_every_route_of_the_api_and_no_other() {
        let document: serde_json::Value = serde_json::from_str(status::OPENAPI).expect("openapi.json is JSON");
        let mut described: Vec<String> = vec![];
        for (path, item) in document["paths"].as_object().expect("paths") {
            let methods = item.as_object().expect("a path item").keys().filter(|key| *key != "parameters");
            described.extend(methods.map(|method| format!("{} {path}", method.to_uppercase())));
        }
        let mut routed: Vec<String> = ROUTES
            .iter()
            .filter(|(_, path, _)| path.starts_with("/api/v1/"))
            .map(|(method, path, _)| format!("{method} {path}"))
            .collect();
        described.sort();
        routed.sort();
        assert_eq!(described, routed);
    }
}
