//! `pyrsia build`: asks for builds, follows them, and says what became of them.

mod follow;
mod list;
mod outcome;

use super::{node, package_failure, print, print_json, request_failure};
use crate::arguments::{BuildArguments, BuildCommand, BuildOptions, OutputArguments, WaitArguments};
use crate::exit::Failure;
use crate::node_client::{NodeClient, RequestError, path_segment};
use follow::{Beginning, follow};
pub(super) use outcome::in_words;
use outcome::settled;
use pyrsia_registry::wire::{
    BuildStatusRequest, BuildStatusResponse, BuildView, RequestBuild, RequestedBuild, RequestedState, name_in_log,
};
use reqwest::StatusCode;
use serde::Serialize;
use std::path::PathBuf;

pub(super) async fn run(arguments: BuildArguments) -> Result<(), Failure> {
    let BuildArguments { command, package_type, coordinate, from_file, options } = arguments;
    match command {
        Some(BuildCommand::Docker { image, coordinate, from_file, options }) => {
            packages("docker", image.or(coordinate), from_file, options).await
        }
        Some(BuildCommand::Maven { gav, coordinate, from_file, options }) => {
            packages("maven", gav.or(coordinate), from_file, options).await
        }
        Some(BuildCommand::Status { id, wait, output }) => status(id, wait, output).await,
        None => packages(&package_type.unwrap_or_default(), coordinate, from_file, options).await,
    }
}

async fn packages(
    package_type: &str,
    package: Option<String>,
    from_file: Option<PathBuf>,
    options: BuildOptions,
) -> Result<(), Failure> {
    let node = node()?;
    match (package, from_file) {
        (Some(package), _) => {
            one(&node, RequestBuild { package_type: package_type.into(), package, again: options.again }, options).await
        }
        (None, Some(path)) => list::run(&node, package_type, &path, options).await,
        (None, None) => Err(Failure::usage("name a package, or a list of them with --from-file")),
    }
}

/// What was asked, and with `--wait` what became of it.
#[derive(Debug, Serialize)]
struct Asked {
    #[serde(flatten)]
    request: RequestedBuild,
    #[serde(skip_serializing_if = "Option::is_none")]
    build: Option<BuildView>,
}

async fn one(node: &NodeClient, wish: RequestBuild, options: BuildOptions) -> Result<(), Failure> {
    let requested = request(node, &wish).await;
    let request = requested.map_err(|error| package_failure("Build request failed with error", &error))?;
    let came_to_nothing = request.state == RequestedState::NotPublished;
    if !options.output.json && !came_to_nothing {
        print(&format!("{}\n", said_of(&request)))?;
    }
    let build = match request.build_id {
        Some(id) if options.wait.wait && !came_to_nothing => {
            let progress = follow::Progress::start(&request.package, options.output.json);
            let (id, timeout) = (id.to_string(), options.wait.timeout);
            Some(follow(node, &id, Beginning::Accepted, timeout, |view| progress.show(view)).await?)
        }
        _ => None,
    };
    let result = match &build {
        _ if came_to_nothing => Err(nothing(&request)),
        Some(view) => settled(view),
        None => Ok(()),
    };
    if options.output.json {
        print_json(&Asked { request, build })?;
    } else if let (Some(view), Ok(())) = (&build, &result) {
        print(&format!("{}\n", in_words(view)))?;
    }
    result
}

async fn request(node: &NodeClient, wish: &RequestBuild) -> Result<RequestedBuild, RequestError> {
    node.post("/api/v1/builds", wish).await
}

fn said_of(request: &RequestedBuild) -> String {
    let id = request.build_id.map(|id| id.to_string()).unwrap_or_default();
    match request.state {
        RequestedState::Requested => format!("Build request successfully handled. Build with ID '{id}' has been started."),
        RequestedState::AlreadyOpen => format!("Build request successfully handled. Build with ID '{id}' is running already."),
        RequestedState::NotPublished => nothing(request).to_string(),
        RequestedState::AlreadyPublished => {
            let package_type = name_in_log(&request.package_type);
            format!(
                "Artifact already exists. Fresh build not required: Artifact ID {} for type {package_type} already exists in transparency log",
                request.package
            )
        }
    }
}

/// Nobody asks a network twice by accident: another attempt is asked for in so many words.
fn nothing(request: &RequestedBuild) -> Failure {
    let id = request.build_id.map(|id| id.to_string()).unwrap_or_default();
    Failure::new(format!("The newest build of {}, '{id}', came to nothing.", request.package))
        .hint(format!("'pyrsia build status --id {id}' says why; --again asks for another attempt"))
}

async fn status(id: String, wait: WaitArguments, output: OutputArguments) -> Result<(), Failure> {
    let node = node()?;
    if wait.wait {
        let progress = follow::Progress::start(&id, output.json);
        follow(&node, &id, Beginning::Named, wait.timeout, |view| progress.show(view)).await?;
    }
    let answer: Result<BuildStatusResponse, _> = node.post("/build/status", &BuildStatusRequest { build_id: id.clone() }).await;
    let status = answer.map_err(|error| match error.status() {
        // What the node says of an id that is none, and of one that it does not know.
        Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND) => {
            request_failure(&format!("Build status for '{id}' was not found"), &error)
                .hint("Additional info related to the build might be available via 'pyrsia inspect-log' command")
        }
        _ => request_failure(&format!("Build status for '{id}' cannot be shown"), &error),
    })?;
    if output.json {
        print_json(&status)?;
    } else {
        print(&format!("Build status for '{id}' is '{status}'\n"))?;
        // Who has the answer does without this, as from a node that does not tell.
        let view: Result<BuildView, _> = node.get(&format!("/api/v1/builds/{}", path_segment(&id))).await;
        if let Ok(view) = view {
            // A failure has said all this.
            if !matches!(status, BuildStatusResponse::Failure(_)) {
                print(&format!("{}\n", in_words(&view)))?;
            }
            if let Some(source) = &view.source {
                let tree = source.tree.as_ref().map(|tree| format!(", tree {tree}")).unwrap_or_default();
                print(&format!("It was requested from {source}{tree}\n"))?;
            }
        }
    }
    match status {
        // Without --wait the question was answered, whatever the answer.
        BuildStatusResponse::Failure(_) if wait.wait => Err(Failure::new(format!("the build '{id}' did not succeed"))),
        BuildStatusResponse::Running | BuildStatusResponse::Success { .. } | BuildStatusResponse::Failure(_) => Ok(()),
    }
}
