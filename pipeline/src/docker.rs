//! The builders of Docker images: `import` from a registry, and `source` from a Dockerfile in a git repository.

use crate::builders::{BuildContext, BuildError};

mod context_files;
mod copy;
pub(crate) mod dockerfile;
mod embedded;
pub(crate) mod engine;
mod image;
pub(crate) mod image_name;
pub(crate) mod import;
mod layer;
mod manifest;
pub(crate) mod platform;
pub(crate) mod rootfs;
pub(crate) mod source;
pub(crate) mod upstream;
