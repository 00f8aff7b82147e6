//! One loaded component, and the calls it answers: each in a fresh instance, its answer checked before anyone sees it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use pyrsia_ledger::{ArtifactId, PackageId, PackageType, Sha256Digest};
use wasmtime::Store;

use crate::admission::TICK;
use crate::call::Call;
use crate::contract::{self, exports::pyrsia::verifier::verification};
use crate::host::{LoadError, Sandbox};
use crate::limits;
use crate::outcome::{Abstention, Description, InputFile, Outcome, PublishedArtifact, Refusal};

/// A cheap clone.
#[derive(Clone)]
pub struct Verifier(Arc<Loaded>);

struct Loaded {
    sandbox: Arc<Sandbox>,
    digest: Sha256Digest,
    component: contract::VerifierPre<Call>,
    description: Description,
}

impl Verifier {
    pub(crate) fn new(
        sandbox: Arc<Sandbox>,
        digest: Sha256Digest,
        component: contract::VerifierPre<Call>,
    ) -> Result<Self, LoadError> {
        let described = run(&sandbox, digest, &component, &[], |store, guest| guest.call_describe(store));
        let description = described.and_then(checked_description).map_err(LoadError::Describe)?;
        Ok(Self(Arc::new(Loaded { sandbox, digest, component, description })))
    }

    /// The sha256 of the module's bytes, by which the ledger pins it.
    pub fn digest(&self) -> Sha256Digest {
        self.0.digest
    }

    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// The canonical form of a coordinate.
    pub fn parse_coordinate(&self, text: &str) -> Outcome<String> {
        let answer = self.run(&[], |store, guest| guest.call_parse_coordinate(store, text));
        outcome(answer, |canonical| match PackageId::new(canonical) {
            Ok(id) => Ok(id.into()),
            Err(error) => Err(Abstention::BrokenContract(format!("its canonical coordinate cannot be recorded: {error}"))),
        })
    }

    /// Whether `files` are a complete, well-formed output of a build of `coordinate`, and what they publish.
    pub fn check(&self, coordinate: &str, files: &[InputFile]) -> Outcome<Vec<PublishedArtifact>> {
        if files.len() > limits::FILES_MAX {
            return Outcome::Abstained(Abstention::TooManyFiles { count: files.len(), limit: limits::FILES_MAX });
        }
        let answer = self.run(files, |store, guest| guest.call_check(store, coordinate));
        outcome(answer, |published| checked_artifacts(published, files.len()))
    }

    fn run<T>(
        &self,
        files: &[InputFile],
        call: impl FnOnce(&mut Store<Call>, &verification::Guest) -> wasmtime::Result<T>,
    ) -> Result<T, Abstention> {
        run(&self.0.sandbox, self.0.digest, &self.0.component, files, call)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Verifier").field(&self.0.description.package_type).field(&self.0.digest).finish()
    }
}

/// Runs one call in an instance of its own.
fn run<T>(
    sandbox: &Sandbox,
    digest: Sha256Digest,
    component: &contract::VerifierPre<Call>,
    files: &[InputFile],
    call: impl FnOnce(&mut Store<Call>, &verification::Guest) -> wasmtime::Result<T>,
) -> Result<T, Abstention> {
    let limits = sandbox.limits;
    let _place = sandbox.admission.enter();
    let mut store = Store::new(&sandbox.engine, Call::new(digest, limits, files.to_vec()));
    store.limiter(|call| call);
    store.set_hostcall_fuel(usize::try_from(limits.output_bytes).unwrap_or(usize::MAX));
    // One more, because the first tick may come at once.
    store.set_epoch_deadline(u64::try_from(limits.deadline.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX >> 1) + 1);
    let answer = store.set_fuel(limits.fuel).and_then(|()| {
        let instance = component.instantiate(&mut store)?;
        call(&mut store, instance.pyrsia_verifier_verification())
    });
    answer.map_err(|error| Call::abstention(limits, &error))
}

fn outcome<T, U>(
    answer: Result<Result<T, verification::Refusal>, Abstention>,
    check: impl FnOnce(T) -> Result<U, Abstention>,
) -> Outcome<U> {
    let checked = match answer {
        Ok(Ok(answer)) => check(answer).map(Outcome::Done),
        Ok(Err(refusal)) => checked_refusal(refusal).map(Outcome::Refused),
        Err(abstention) => Err(abstention),
    };
    checked.unwrap_or_else(Outcome::Abstained)
}

fn checked_description(described: verification::Description) -> Result<Description, Abstention> {
    let word = |text: String| {
        PackageType::new(text).map_err(|error| Abstention::BrokenContract(format!("its description is not one: {error}")))
    };
    if described.examples.is_empty() {
        return Err(Abstention::BrokenContract("its description has no example of a coordinate".into()));
    }
    Ok(Description {
        package_type: word(described.package_type)?,
        aliases: described.aliases.into_iter().map(word).collect::<Result<_, _>>()?,
        coordinate_syntax: reported(described.coordinate_syntax),
        examples: described.examples.into_iter().map(reported).collect(),
    })
}

fn checked_refusal(refusal: verification::Refusal) -> Result<Refusal, Abstention> {
    let verification::Refusal { code, subject, sentence } = refusal;
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let first = code.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    if !first || code.len() > REFUSAL_CODE_BYTES_MAX || !code.bytes().all(is_word) {
        return Err(Abstention::BrokenContract(format!("its refusal has the code {:?}", reported(code))));
    }
    Ok(Refusal { code, subject: reported(subject), sentence: reported(sentence) })
}

/// The contract's bound of a refusal's code.
const REFUSAL_CODE_BYTES_MAX: usize = 64;

fn checked_artifacts(
    published: Vec<verification::PublishedArtifact>,
    files: usize,
) -> Result<Vec<PublishedArtifact>, Abstention> {
    let broken = |what: String| Err(Abstention::BrokenContract(what));
    let mut ids = BTreeSet::new();
    let mut checked = Vec::with_capacity(published.len());
    for artifact in published {
        let verification::PublishedArtifact { artifact_id, file, media_type, canonical_digest, passes } = artifact;
        let artifact_id = match ArtifactId::new(artifact_id) {
            Ok(id) => String::from(id),
            Err(error) => return broken(format!("an artifact cannot be recorded: {error}")),
        };
        let file = file as usize;
        if file >= files {
            return broken(format!("{artifact_id} is file {file} of {files}"));
        }
        let Ok(canonical) = <[u8; 32]>::try_from(canonical_digest) else {
            return broken(format!("the canonical digest of {artifact_id} is not 32 bytes"));
        };
        if !ids.insert(artifact_id.clone()) {
            return broken(format!("{artifact_id} is published twice"));
        }
        checked.push(PublishedArtifact { artifact_id, file, media_type, canonical: Sha256Digest::new(canonical), passes });
    }
    if checked.is_empty() {
        return broken("it accepts an output that publishes nothing".into());
    }
    Ok(checked)
}

/// A text as it may be shown: bounded, and without control characters that a terminal obeys.
fn reported(text: String) -> String {
    text.chars().take(limits::REPORTED_CHARS_MAX).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
