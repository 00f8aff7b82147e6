//! What a verifier implements, and its way out of the component.

use std::marker::PhantomData;

use crate::compare;
use crate::contract::{
    CanonicalFile, Comparison, Description, Document, Guest, HttpTarget, PublishedArtifact, PublishedRecord, Refusal,
};
use crate::files::{File, Inputs, Output};
use crate::report::Report;

/// A package type. Each function is the one of the same name in `wit/v1/verifier.wit`; no state lasts from one call to another.
pub trait Verifier {
    fn describe() -> Description;
    fn parse_coordinate(text: &str) -> Result<String, Refusal>;
    fn check(coordinate: &str, output: Output<'_>) -> Result<Vec<PublishedArtifact>, Refusal>;
    fn canonicalize(coordinate: Option<&str>, output: Output<'_>) -> Result<Vec<CanonicalFile>, Refusal>;

    /// The default pairs files by name, compares them by canonical digest and lets [`Verifier::explain`] say what differs.
    fn compare(coordinate: Option<&str>, a: Output<'_>, b: Output<'_>) -> Comparison {
        compare::by_canonical_form::<Self>(coordinate, a, b)
    }

    /// Adds to the report what differs between two files of one name whose canonical digests differ. The default names no place inside the file.
    fn explain(a: &File<'_>, b: &File<'_>, report: &mut Report) {
        compare::explain_by_digest(a, b, report);
    }

    /// The default has no HTTP path.
    fn http_artifacts(_path: &str) -> Option<HttpTarget> {
        None
    }

    /// The default makes no document. `output` are the files that `records` name by number.
    fn http_document(path: &str, _mount: &str, _records: &[PublishedRecord], _output: Output<'_>) -> Result<Document, Refusal> {
        Err(Refusal::new("no-document", path, "No document stands under this path."))
    }
}

/// Makes a [`Verifier`] into what a component exports.
pub struct Exported<V>(PhantomData<V>);

/// The files the host lends. In a native program there is no host.
fn lent() -> &'static dyn Inputs {
    #[cfg(target_arch = "wasm32")]
    return &crate::files::Lent;
    #[cfg(not(target_arch = "wasm32"))]
    unreachable!("only a component is called by a host")
}

impl<V: Verifier> Guest for Exported<V> {
    fn describe() -> Description {
        V::describe()
    }

    fn parse_coordinate(text: String) -> Result<String, Refusal> {
        V::parse_coordinate(&text)
    }

    fn check(coordinate: String) -> Result<Vec<PublishedArtifact>, Refusal> {
        V::check(&coordinate, Output::all(lent()))
    }

    fn canonicalize(coordinate: Option<String>) -> Result<Vec<CanonicalFile>, Refusal> {
        V::canonicalize(coordinate.as_deref(), Output::all(lent()))
    }

    fn compare(coordinate: Option<String>, files_of_a: u32) -> Comparison {
        let (a, b) = Output::all(lent()).split(files_of_a);
        V::compare(coordinate.as_deref(), a, b)
    }

    fn http_artifacts(path: String) -> Option<HttpTarget> {
        V::http_artifacts(&path)
    }

    fn http_document(path: String, mount: String, records: Vec<PublishedRecord>) -> Result<Document, Refusal> {
        V::http_document(&path, &mount, &records, Output::all(lent()))
    }
}

/// Exports a [`Verifier`] from the component. Nothing happens in a native build, whose linkers do not take the names.
#[macro_export]
macro_rules! export_verifier {
    ($verifier:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::Exported<$verifier>;
    $crate::contract::export!(Component with_types_in $crate::contract);
        };
    };
}
