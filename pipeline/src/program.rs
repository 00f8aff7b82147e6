//! The builder for packages of any type: an executable of the operator's choice, run on the files of one git commit.
//!
//! It owns the contract with that program (docs/pipeline-api.md, "Builder programs"): folders, variables, limits, and what
//! becomes of its output. It knows no ecosystem, and believes nothing a program says about its result but the files.

use std::io;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use self::output::OutputError;
use crate::builders::{BuildContext, BuildError};
use crate::git::Checkout;
use crate::mapping::ProgramRecipe;
use crate::process::{self, ProcessError, Stdout};
use crate::wire::Phase;

pub(crate) mod isolation;
mod output;
mod source_tree;

/// Where the pipeline has no PATH itself.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Sets what only a process can set for itself, and becomes the program. The words after it are arguments, never read as
/// shell.
const LAUNCH: &str = "umask 022; exec \"$@\"";

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
struct Folders {
    source: PathBuf,
    output: PathBuf,
    home: PathBuf,
    temporary: PathBuf,
    recipe: PathBuf,
}

pub(crate) async fn build(recipe: &ProgramRecipe, context: &BuildContext) -> Result<(), BuildError> {
    let log = &context.log;
    log.line(format!("building {} from {} of {}", recipe.package, recipe.revision, recipe.url));
    let checkout = context.fetch(&recipe.url, &recipe.revision).await?;
    let (root, committed_at, abandoned) = (checkout.root.clone(), checkout.committed_at, context.abandoned.clone());
    context.blocking(move || source_tree::make_uniform(&root, committed_at, &abandoned)).await?.map_err(ProgramError::Folders)?;
    let folders = prepare(recipe, &checkout, context).await.map_err(ProgramError::Folders)?;

    context.enter(Phase::Building);
    if !context.isolation.has_network_barrier() && !recipe.options.network {
        log.line("note: this machine has no unshare to keep the program from the network");
    }
    let name = recipe.program.display().to_string();
    log.line(format!("running {name}"));
    let run = process::run_as(name, command(recipe, &checkout, &folders, context), Stdout::Log, log);
    tokio::select! {
        ended = run => drop(ended.map_err(ProgramError::Failed)?),
        refused = output::watch(&folders.output, &context.artifacts) => return Err(ProgramError::Output(refused).into()),
    }

    context.enter(Phase::Collecting);
    let (artifacts, abandoned) = (context.artifacts.clone(), context.abandoned.clone());
    let kept = context.blocking(move || output::keep(&folders.output, &artifacts, &abandoned)).await?;
    Ok(kept.map_err(ProgramError::Output)?)
}

async fn prepare(recipe: &ProgramRecipe, checkout: &Checkout, context: &BuildContext) -> io::Result<Folders> {
    let below = |name: &str| context.work.join(name);
    let folders = Folders {
        source: checkout.root.clone(),
        output: below("output"),
        home: below("home"),
        temporary: below("tmp"),
        recipe: below("recipe.json"),
    };
    for folder in [&folders.output, &folders.home, &folders.temporary] {
        tokio::fs::create_dir(folder).await?;
    }
    tokio::fs::write(&folders.recipe, serde_json::to_vec_pretty(&recipe.options.recipe)?).await?;
    Ok(folders)
}

/// Nothing of the pipeline's environment is handed on but the search path: the rest differs from machine to machine, and
/// may hold secrets.
fn command(recipe: &ProgramRecipe, checkout: &Checkout, folders: &Folders, context: &BuildContext) -> Command {
    let package = &recipe.package;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", LAUNCH, "sh"]).args(context.isolation.prefix(recipe.options.network)).arg(&recipe.program);
    command
        .current_dir(&folders.source)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into()))
        .env("HOME", &folders.home)
        .env("TMPDIR", &folders.temporary)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", checkout.committed_at.to_string())
        .env("PYRSIA_PACKAGE_TYPE", package.package_type.as_str())
        .env("PYRSIA_PACKAGE_ID", &package.id)
        .env("PYRSIA_PACKAGE_NAME", &package.name)
        .env("PYRSIA_PACKAGE_VERSION", package.version.as_deref().unwrap_or_default())
        .env("PYRSIA_SOURCE_URL", recipe.url.to_string())
        .env("PYRSIA_SOURCE_COMMIT", &checkout.commit)
        .env("PYRSIA_SOURCE_DIR", &folders.source)
        .env("PYRSIA_OUTPUT_DIR", &folders.output)
        .env("PYRSIA_RECIPE", &folders.recipe);
    command
}

/// Whether a path is a real folder, and no link to one.
fn is_folder(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
}
