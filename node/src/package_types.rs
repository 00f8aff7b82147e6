//! The package types of this node: which verifiers it has, and coordinates read by the one the network uses.
//!
//! Knows no package type itself. Verifiers block, so each call goes to a thread that may.

use pyrsia_ledger::{PackageCoordinate, PackageType};
use pyrsia_verifiers::{Description, Outcome, Verifier};

use crate::builds::wish::{PackageTypeInfo, WishError};
use crate::consensus::ConsensusHandle;
use crate::verifiers::Verifiers;

/// Longer texts are refused before a verifier reads them: the longest id, with room for what normalising removes.
const COORDINATE_BYTES_MAX: usize = 1024;

#[derive(Clone)]
pub(crate) struct PackageTypes {
    verifiers: Verifiers,
    consensus: ConsensusHandle,
}

impl PackageTypes {
    pub(crate) fn new(verifiers: Verifiers, consensus: ConsensusHandle) -> Self {
        Self { verifiers, consensus }
    }

    /// One entry for each package type, with the verifier that this node prefers.
    pub(crate) fn infos(&self) -> Vec<PackageTypeInfo> {
        let mut infos: Vec<PackageTypeInfo> = vec![];
        for verifier in self.verifiers.set().iter() {
            let described = verifier.description();
            if infos.iter().all(|info| info.name != described.package_type) {
                infos.push(PackageTypeInfo {
                    name: described.package_type.clone(),
                    aliases: described.aliases.clone(),
                    coordinate_syntax: described.coordinate_syntax.clone(),
                    examples: described.examples.clone(),
                    http_paths: described.http_paths.clone(),
                    module: verifier.digest(),
                });
            }
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// The coordinate that a text of a caller means.
    pub(crate) async fn parse(&self, package_type: &str, text: &str) -> Result<PackageCoordinate, WishError> {
        let verifier = self.verifier(package_type).await?;
        let package_type = verifier.description().package_type.clone();
        let refused = |sentence: String| WishError::Coordinate { text: text.chars().take(80).collect(), sentence };
        if text.len() > COORDINATE_BYTES_MAX {
            return Err(refused(format!("it has {} bytes, at most {COORDINATE_BYTES_MAX} are read", text.len())));
        }
        let described = verifier.description().clone();
        let given = text.to_owned();
        match tokio::task::spawn_blocking(move || verifier.parse_coordinate(&given)).await {
            Ok(Outcome::Done(id)) => {
                PackageCoordinate::new(package_type.as_str(), &id).map_err(|error| refused(error.to_string()))
            }
            Ok(Outcome::Refused(refusal)) => Err(refused(advice(&refusal.sentence, &described))),
            Ok(Outcome::Abstained(abstention)) => Err(WishError::Refused(abstention.to_string())),
            Err(_) => Err(WishError::Stopped),
        }
    }

    /// The verifier that the network uses for a type, if this node has it or can get it soon, else the one it prefers itself.
    pub(crate) async fn verifier(&self, package_type: &str) -> Result<Verifier, WishError> {
        let word = package_type.to_ascii_lowercase();
        let preferred = self.verifiers.set().preferred(&word).cloned();
        let name = match &preferred {
            Some(verifier) => Some(verifier.description().package_type.clone()),
            None => PackageType::new(word).ok(),
        };
        let view = self.consensus.view();
        let agreed = view.state.as_deref().zip(name).and_then(|(state, name)| state.verifiers.current(&name));
        let found = || package_type.chars().take(80).collect();
        let Some(digest) = agreed else {
            return preferred.ok_or_else(|| WishError::UnknownPackageType { found: found(), known: self.known() });
        };
        match self.verifiers.module_soon(&digest).await {
            Ok(verifier) => Ok(verifier),
            Err(error) => preferred.ok_or_else(|| WishError::ModuleUnavailable { found: found(), sentence: error.to_string() }),
        }
    }

    fn known(&self) -> Vec<PackageType> {
        self.infos().into_iter().map(|info| info.name).collect()
    }
}

/// What is wrong with a coordinate, and how one is written where that does not say it already.
fn advice(sentence: &str, described: &Description) -> String {
    let Description { coordinate_syntax, examples, .. } = described;
    let mut advice = sentence.to_owned();
    if !sentence.contains(coordinate_syntax) {
        advice = format!("{advice} {coordinate_syntax}");
    }
    format!("{advice} For example: {}", examples.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_on_a_coordinate_has_its_syntax_once_and_the_examples() {
        let described = Description {
            package_type: PackageType::new("demo").expect("a package type"),
            aliases: vec![],
            coordinate_syntax: "A package is written NAME@VERSION.".into(),
            examples: vec!["left@1.0".into(), "right@2.0".into()],
            passes: vec![],
            http_paths: vec![],
        };
        let whole = "A package is written NAME@VERSION. For example: left@1.0, right@2.0";
        assert_eq!(advice("A package is written NAME@VERSION.", &described), whole);
        assert_eq!(advice("The name is empty.", &described), format!("The name is empty. {whole}"));
    }
}
