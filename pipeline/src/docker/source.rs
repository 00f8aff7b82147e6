//! The `source` builder: a git commit with a Dockerfile becomes an image.
//!
//! It fetches the source and hands it to the docker engine or to the embedded builder. Both date everything by the
//! commit (SOURCE_DATE_EPOCH, <https://reproducible-builds.org/specs/source-date-epoch/>).

use std::fs;
use std::path::{Path, PathBuf};

use super::dockerfile::MAX_DOCKERFILE_BYTES;
use super::{BuildContext, BuildError, embedded, engine};
use crate::config::BuilderChoice;
use crate::git::Checkout;
use crate::mapping::SourceRecipe;
use crate::wire::Phase;

/// What is built, with every link resolved: both lie inside the checkout. A link that leads out of it would put files of
/// this machine into an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) context: PathBuf,
    pub(super) dockerfile: PathBuf,
}

pub(crate) async fn build(recipe: &SourceRecipe, context: &BuildContext) -> Result<(), BuildError> {
    let log = &context.log;
    log.line(format!("building {} from {} of {}", recipe.image, recipe.revision, recipe.url));
    let checkout = context.fetch(&recipe.url, &recipe.revision).await?;
    let place = locate(recipe, &checkout)?;
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
    if use_engine {
        engine::build(recipe, &checkout, &place, context).await
    } else {
        embedded::build(recipe, &checkout, &place, context).await
    }
}

fn locate(recipe: &SourceRecipe, checkout: &Checkout) -> Result<Place, BuildError> {
    let refused = |path: &Path, problem| BuildError::Place { path: path.to_owned(), problem };
    let root = fs::canonicalize(&checkout.root).map_err(|source| BuildError::Io { action: "find the checkout", source })?;
    let inside = |path: &Path, named: &Path| {
        let real = fs::canonicalize(path).map_err(|_| refused(named, "the repository has no such file or folder"))?;
        if real.starts_with(&root) { Ok(real) } else { Err(refused(named, "it leads out of the repository")) }
    };
    let context = inside(&root.join(&recipe.context), &recipe.context)?;
    let dockerfile = inside(&context.join(&recipe.dockerfile), &recipe.dockerfile)?;
    let size_bytes = fs::metadata(&dockerfile).map_or(0, |metadata| metadata.len());
    if !dockerfile.is_file() || size_bytes > MAX_DOCKERFILE_BYTES {
        return Err(refused(&recipe.dockerfile, "it is no file, or a very large one"));
    }
    Ok(Place { context, dockerfile })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LocalSources;
    use crate::docker::platform::Platform;
    use crate::git::{GitUrl, Revision};

    #[cfg(unix)]
    #[test]
    fn links_in_a_repository_lead_no_builder_out_of_it() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let (root, outside) = (folder.path().join("checkout"), folder.path().join("outside"));
        for folder in [&root.join("real"), &outside] {
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join("Dockerfile"), "FROM scratch\n").unwrap();
        }
        symlink("real", root.join("inner")).unwrap();
        symlink(&outside, root.join("outer")).unwrap();
        symlink(outside.join("Dockerfile"), root.join("real/Leaking")).unwrap();
        let checkout = Checkout { root: root.clone(), commit: String::new(), tree: String::new(), committed_at: 0 };
        let place = |context: &str, dockerfile: &str| {
            let recipe = SourceRecipe {
                image: "a:1".parse().unwrap(),
                url: GitUrl::parse("https://git.example/a", LocalSources::Refused).unwrap(),
                revision: Revision::new(Some("v1"), None).unwrap(),
                context: context.into(),
                dockerfile: dockerfile.into(),
                platform: Platform::default(),
                upstream: None,
            };
            locate(&recipe, &checkout).map_err(|error| error.to_string())
        };
        let real = fs::canonicalize(root.join("real")).unwrap();
        assert_eq!(place("inner", "Dockerfile"), Ok(Place { dockerfile: real.join("Dockerfile"), context: real }));
        for (context, dockerfile) in [("outer", "Dockerfile"), ("real", "Leaking")] {
            let refused = place(context, dockerfile).unwrap_err();
            assert!(refused.contains("leads out of the repository"), "{refused}");
        }
        assert!(place("real", "None").unwrap_err().contains("no such file"));
    }
}
