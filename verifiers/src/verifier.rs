//! One loaded component, and the calls it answers: each in a fresh instance, its answer checked before anyone sees it.

use std::fmt;
use std::sync::Arc;

use pyrsia_ledger::Sha256Digest;
use wasmtime::Store;

use crate::admission::TICK;
use crate::answer;
use crate::call::Call;
use crate::contract::{self, exports::pyrsia::verifier::verification};
use crate::host::{LoadError, Sandbox};
use crate::limits;
use crate::outcome::{
    Abstention, CanonicalFile, Comparison, Description, Document, HttpTarget, InputFile, Outcome, PublishedArtifact,
    PublishedRecord,
};

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
        let described = run(&sandbox, digest, &component, vec![], |store, guest| guest.call_describe(store));
        let description = described.and_then(answer::description).map_err(LoadError::Describe)?;
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
        let answered = self.run(vec![], |store, guest| guest.call_parse_coordinate(store, text));
        outcome(answered, answer::coordinate)
    }

    /// Whether `files` are a complete, well-formed output of a build of `coordinate`, and what they publish.
    pub fn check(&self, coordinate: &str, files: &[InputFile]) -> Outcome<Vec<PublishedArtifact>> {
        let answered = self.run(files.to_vec(), |store, guest| guest.call_check(store, coordinate));
        outcome(answered, |published| answer::artifacts(self.description(), published, files.len()))
    }

    /// The canonical form of each of `files`, which are one output.
    pub fn canonicalize(&self, coordinate: Option<&str>, files: &[InputFile]) -> Outcome<Vec<CanonicalFile>> {
        let answered = self.run(files.to_vec(), |store, guest| guest.call_canonicalize(store, coordinate));
        outcome(answered, |canonical| answer::canonical_files(self.description(), canonical, files.len()))
    }

    /// What two outputs are to each other. There is no refusal: what cannot be decided is an answer.
    pub fn compare(&self, coordinate: Option<&str>, a: &[InputFile], b: &[InputFile]) -> Outcome<Comparison> {
        let files_of_a = a.len() as u32;
        let answered = self.run([a, b].concat(), |store, guest| guest.call_compare(store, coordinate, files_of_a));
        outcome(answered.map(Ok), |comparison| answer::comparison(self.description(), comparison))
    }

    /// What a path below the type's mount stands for.
    pub fn http_artifacts(&self, path: &str) -> Outcome<Option<HttpTarget>> {
        let answered = self.run(vec![], |store, guest| guest.call_http_artifacts(store, path));
        outcome(answered.map(Ok), |target| target.map(answer::http_target).transpose())
    }

    /// The document for a path that [`Verifier::http_artifacts`] called one.
    pub fn http_document(&self, path: &str, mount: &str, records: &[PublishedRecord], files: &[InputFile]) -> Outcome<Document> {
        let lent: Vec<_> = records.iter().map(lent_record).collect();
        let answered = self.run(files.to_vec(), |store, guest| guest.call_http_document(store, path, mount, &lent));
        outcome(answered, answer::document)
    }

    fn run<T>(
        &self,
        files: Vec<InputFile>,
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
    files: Vec<InputFile>,
    call: impl FnOnce(&mut Store<Call>, &verification::Guest) -> wasmtime::Result<T>,
) -> Result<T, Abstention> {
    if files.len() > limits::FILES_MAX {
        return Err(Abstention::TooManyFiles { count: files.len(), limit: limits::FILES_MAX });
    }
    let limits = sandbox.limits;
    let _place = sandbox.admission.enter();
    let mut store = Store::new(&sandbox.engine, Call::new(digest, limits, files));
    store.limiter(|call| call);
    store.set_hostcall_fuel(usize::try_from(limits.output_bytes).unwrap_or(usize::MAX));
    // One more, because the first tick may come at once.
    store.set_epoch_deadline(u64::try_from(limits.deadline.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX >> 1) + 1);
    let answer = store.set_fuel(store.data().fuel()).and_then(|()| {
        let instance = component.instantiate(&mut store)?;
        call(&mut store, instance.pyrsia_verifier_verification())
    });
    answer.map_err(|error| store.data().abstention(&error))
}

fn outcome<T, U>(
    answer: Result<Result<T, verification::Refusal>, Abstention>,
    check: impl FnOnce(T) -> Result<U, Abstention>,
) -> Outcome<U> {
    let checked = match answer {
        Ok(Ok(answer)) => check(answer).map(Outcome::Done),
        Ok(Err(refusal)) => answer::refusal(refusal).map(Outcome::Refused),
        Err(abstention) => Err(abstention),
    };
    checked.unwrap_or_else(Outcome::Abstained)
}

fn lent_record(record: &PublishedRecord) -> verification::PublishedRecord {
    verification::PublishedRecord {
        coordinate: record.coordinate.to_string(),
        artifact_id: record.artifact_id.to_string(),
        media_type: record.media_type.clone(),
        size_bytes: record.size_bytes,
        sha256: record.sha256.as_bytes().to_vec(),
        file: record.file.map(|file| file as u32),
    }
}
