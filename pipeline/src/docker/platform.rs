//! A platform of an image: operating system, architecture, variant.
//!
//! Reference: OCI image specification, "Image Index", `platform`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

const MAX_WORD_CHARS: usize = 32;

/// `linux/amd64` unless said otherwise, whatever machine the pipeline runs on: all pipelines have to build the same.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Platform {
    pub(crate) os: String,
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no platform: write os/architecture or os/architecture/variant, for example linux/amd64")]
pub(crate) struct PlatformError(String);

impl Platform {
    /// Whether an image for `other` can be used here; a platform without a variant takes any.
    pub(crate) fn accepts(&self, other: &Platform) -> bool {
        self.os == other.os
            && self.architecture == other.architecture
            && (self.variant.is_none() || self.variant == other.variant)
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self { os: "linux".to_owned(), architecture: "amd64".to_owned(), variant: None }
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words: Vec<&str> = text.split('/').collect();
        let well_formed = matches!(words.len(), 2 | 3)
            && words.iter().all(|word| {
                (1..=MAX_WORD_CHARS).contains(&word.len())
                    && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            });
        if !well_formed {
            return Err(PlatformError(text.to_owned()));
        }
        Ok(Self {
            os: words[0].to_owned(),
            architecture: words[1].to_owned(),
            variant: words.get(2).map(|&word| word.to_owned()),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}
