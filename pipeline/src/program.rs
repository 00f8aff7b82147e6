//! The builder for packages of any type: an executable of the operator's choice, run on the files of one git commit.
//!
//! It owns the contract with that program (docs/pipeline-api.md, "Builder programs"): folders, variables, limits, and what
//! becomes of its output. It knows no ecosystem, and believes nothing a program says about its result but the files.

use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use self::environment::Folders;
use self::isolation::{Network, SHARED_FOLDERS};
use self::output::OutputError;
use crate::builders::{BuildContext, BuildError};
use crate::git::Checkout;
use crate::mapping::ProgramRecipe;
use crate::process::{self, ProcessError, Stdout};
use crate::wire::Phase;

#[cfg(target_os = "linux")]
mod confinement;
pub(crate) mod environment;
#[cfg(target_os = "linux")]
pub(crate) mod gate;
pub(crate) mod isolation;
pub(crate) mod output;
pub(crate) mod source_tree;

#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("the build program failed")]
    Failed(#[source] ProcessError),
    #[error("the output of the build program is refused")]
    Output(#[from] OutputError),
    #[error("cannot prepare the build program's folders")]
    Folders(#[source] io::Error),
}

/// The folders of one run, all below the scratch folder of the build.
struct Workplace {
    folders: Folders,
    source: PathBuf,
    output: PathBuf,
    recipe: PathBuf,
}

pub(crate) async fn build(recipe: &ProgramRecipe, context: &BuildContext) -> Result<(), BuildError> {
    let log = &context.log;
    log.line(format!("building {} from {} of {}", recipe.package, recipe.revision, recipe.url));
    let checkout = context.fetch(&recipe.url, &recipe.revision).await?;
    let (root, committed_at, abandoned) = (checkout.root.clone(), checkout.committed_at, context.abandoned.clone());
    context.blocking(move || source_tree::make_uniform(&root, committed_at, &abandoned)).await?.map_err(ProgramError::Folders)?;
    let workplace = prepare(recipe, &checkout, context).await.map_err(ProgramError::Folders)?;

    context.enter(Phase::Building);
    if !context.isolation.has_network_barrier() && !recipe.options.network {
        log.line("note: this machine has no unshare to keep the program from the network");
    }
    if !context.isolation.hides_folders() {
        log.line(SHARED_FOLDERS);
    }
    let name = recipe.program.display().to_string();
    log.line(format!("running {name}"));
    let run = process::run_as(name, command(recipe, &checkout, &workplace, context), Stdout::Log, log);
    tokio::select! {
        ended = run => drop(ended.map_err(ProgramError::Failed)?),
        refused = output::watch(&workplace.output, &context.artifacts) => return Err(ProgramError::Output(refused).into()),
    }

    context.enter(Phase::Collecting);
    let (artifacts, abandoned) = (context.artifacts.clone(), context.abandoned.clone());
    let kept = context.blocking(move || output::keep(&workplace.output, &artifacts, &abandoned)).await?;
    Ok(kept.map_err(ProgramError::Output)?)
}

async fn prepare(recipe: &ProgramRecipe, checkout: &Checkout, context: &BuildContext) -> io::Result<Workplace> {
    let below = |name: &str| context.work.join(name);
    let workplace = Workplace {
        folders: Folders { home: below("home"), temporary: below("tmp") },
        source: checkout.root.clone(),
        output: below("output"),
        recipe: below("recipe.json"),
    };
    for folder in [&workplace.output, &workplace.folders.home, &workplace.folders.temporary] {
        tokio::fs::create_dir(folder).await?;
    }
    tokio::fs::write(&workplace.recipe, serde_json::to_vec_pretty(&recipe.options.recipe)?).await?;
    Ok(workplace)
}

fn command(recipe: &ProgramRecipe, checkout: &Checkout, workplace: &Workplace, context: &BuildContext) -> Command {
    let package = &recipe.package;
    let network = if recipe.options.network { Network::Open } else { Network::None };
    let prefix = context.isolation.prefix(network, &context.work);
    let mut command = environment::clean_command(prefix, &workplace.source, &workplace.folders, checkout.committed_at);
    command
        .arg(&recipe.program)
        .env("PYRSIA_PACKAGE_TYPE", package.package_type.as_str())
        .env("PYRSIA_PACKAGE_ID", &package.id)
        .env("PYRSIA_PACKAGE_NAME", &package.name)
        .env("PYRSIA_PACKAGE_VERSION", package.version.as_deref().unwrap_or_default())
        .env("PYRSIA_SOURCE_URL", recipe.url.to_string())
        .env("PYRSIA_SOURCE_COMMIT", &checkout.commit)
        .env("PYRSIA_SOURCE_DIR", &workplace.source)
        .env("PYRSIA_OUTPUT_DIR", &workplace.output)
        .env("PYRSIA_RECIPE", &workplace.recipe);
    command
}

/// Whether a path is a real folder, and no link to one.
fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}
