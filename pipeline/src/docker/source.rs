//! The `source` builder: a git commit with a Dockerfile becomes an image.
//!
//! It fetches the source and hands it to the docker engine or to the embedded builder. Both date everything by the
//! commit (SOURCE_DATE_EPOCH, <https://reproducible-builds.org/specs/source-date-epoch/>).

use super::{BuildContext, BuildError, embedded, engine};
use crate::config::BuilderChoice;
use crate::git;
use crate::mapping::SourceRecipe;
use crate::wire::{Phase, SourceKind, SourceView};

pub(super) async fn build(recipe: &SourceRecipe, context: &BuildContext) -> Result<(), BuildError> {
    context.enter(Phase::Fetching);
    let log = &context.log;
    log.line(format!("building {} from {} of {}", recipe.image, recipe.revision, recipe.url));
    let root = context.work.join("source");
    let checkout = git::checkout(&recipe.url, &recipe.revision, &root, context.local_sources, log).await?;
    log.line(format!("commit {}, tree {}", checkout.commit, checkout.tree));
    context.found_source(SourceView {
        kind: SourceKind::Git,
        location: recipe.url.to_string(),
        revision: checkout.commit.clone(),
        tree: Some(checkout.tree.clone()),
    });
    let use_engine = match context.builder {
        BuilderChoice::Embedded => false,
        BuilderChoice::Docker => {
            engine::version(log).await?;
            true
        }
        BuilderChoice::Auto => match engine::version(log).await {
            Ok(version) => {
                log.line(format!("building with docker engine {version}"));
                true
            }
            Err(_) => {
                log.line("there is no docker engine, building with the embedded builder");
                false
            }
        },
    };
    context.enter(Phase::Building);
    if use_engine { engine::build(recipe, &checkout, context).await } else { embedded::build(recipe, &checkout, context).await }
}
