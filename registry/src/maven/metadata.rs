//! `maven-metadata.xml` of a package: the versions that can be had, in Maven's order (Maven's repository metadata model 1.1).
//!
//! Made anew for each question from the ledger and from nothing else, so that two nodes at one height give the same bytes. There is none of a group: which
//! plugins have which prefix no build says.

use super::checksum::{Algorithm, Sums};
use super::error::MavenError;
use super::path::Package;
use super::version::Version;
use super::{PACKAGE_TYPE, document, package_type};
use crate::conditions::Validators;
use crate::content::etag;
use crate::server::Front;
use poem::{Request, Response};
use pyrsia_ledger::{PackageId, Projections, Sha256Digest};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Records that one document is made from.
const RECORDS_MAX: usize = 50_000;

/// The versions of a package that can be had, each with when it was published.
#[derive(Debug, Default, PartialEq, Eq)]
struct Versions {
    times_ms: BTreeMap<String, u64>,
    /// Whether there are others, which are not given out.
    is_partial: bool,
}

pub(super) async fn answer(
    front: &Front,
    request: &Request,
    package: &Package,
    checksum: Option<Algorithm>,
) -> Result<Response, MavenError> {
    let view = front.node.ledger();
    let versions = match view.state.as_deref() {
        Some(state) => published(front, state, package)?,
        None => return Err(MavenError::Unavailable(pyrsia_node::ArtifactError::NoNetwork.to_string())),
    };
    let Some(modified_ms) = versions.times_ms.values().max().copied() else { return Err(none(front, package).await) };
    let body = versions.document(package, modified_ms);
    // Of two answers with one date, one may have lacked a version that was not given out at the time.
    let modified_ms = (!versions.is_partial).then_some(modified_ms);
    let tag = etag(&Sha256Digest::of(body.as_bytes()));
    let now = SystemTime::now();
    Ok(match checksum {
        None => document(request, &Validators::new(tag, modified_ms, now), "application/xml", body.into_bytes()),
        Some(algorithm) => {
            let sums = Sums::of(body.as_bytes()).map_err(|error| MavenError::NoAnswer(error.to_string()))?;
            let tag = format!("{}+{}\"", tag.trim_end_matches('"'), algorithm.name());
            let digits = sums.get(algorithm).to_owned();
            document(request, &Validators::new(tag, modified_ms, now), "text/plain", digits.into_bytes())
        }
    })
}

/// A version is one of the list when its pom is given out, without which no client can use it.
fn published(front: &Front, state: &Projections, package: &Package) -> Result<Versions, MavenError> {
    let package_type = package_type();
    let prefix = package.coordinate("");
    let mut versions = Versions::default();
    // What is no id begins none.
    let Ok(first) = PackageId::new(prefix.clone()) else { return Ok(versions) };
    for (seen, (coordinate, record)) in state.packages.published_with_prefix(&package_type, &first).enumerate() {
        if seen == RECORDS_MAX {
            return Err(MavenError::NoAnswer(format!("more than {RECORDS_MAX} artifacts belong to this document")));
        }
        let id = &record.artifact.artifact_id;
        let Some(version) = coordinate.id.as_str().strip_prefix(&prefix) else { continue };
        if !id.as_str().ends_with(&format!("/{}-{version}.pom", package.artifact)) {
            continue;
        }
        if front.node.artifact_record(&package_type, id).is_ok() {
            versions.times_ms.insert(version.to_owned(), record.time_ms);
        } else {
            versions.is_partial = true;
        }
    }
    Ok(versions)
}

impl Versions {
    /// What a verifier lets into a coordinate has no character with a meaning in XML; what another one may let in is left out.
    fn document(&self, package: &Package, modified_ms: u64) -> String {
        let mut versions: Vec<&String> = self.times_ms.keys().filter(|version| !version.contains(['<', '>', '&'])).collect();
        versions.sort_by_cached_key(|version| (Version::parse(version), (*version).clone()));
        let list: String = versions.iter().map(|version| format!("      <version>{version}</version>\n")).collect();
        let newest = versions.last().map_or("", |version| version.as_str());
        // There are no snapshots here, so the newest version is the newest release.
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<metadata>\n  <groupId>{}</groupId>\n  <artifactId>{}</artifactId>\n  <versioning>\n    \
             <latest>{newest}</latest>\n    <release>{newest}</release>\n    <versions>\n{list}    </versions>\n    <lastUpdated>{}</lastUpdated>\n  \
             </versioning>\n</metadata>\n",
            package.group(),
            package.artifact,
            updated(modified_ms)
        )
    }
}

/// `yyyyMMddHHmmss` in UTC.
fn updated(time_ms: u64) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.unwrap_or_default().strftime("%Y%m%d%H%M%S").to_string()
}

/// Why there is no document. Metadata asks for no build: it names no version.
async fn none(front: &Front, package: &Package) -> MavenError {
    // Metadata of a version belongs to snapshots, of which the verifier says why there are none.
    if let Some((of_version, version)) = package.as_version()
        && let Err(pyrsia_node::WishError::Coordinate { sentence, .. }) =
            front.node.parse_coordinate(PACKAGE_TYPE, &of_version.coordinate(version)).await
    {
        return MavenError::NeverPublished(sentence);
    }
    MavenError::NotPublished(format!(
        "no version of {}:{} is published in this network; `pyrsia build maven --gav {}` asks for one",
        package.group(),
        package.artifact,
        package.coordinate("VERSION")
    ))
}

#[cfg(test)]
mod tests {
    use super::super::path::Target;
    use super::*;

    #[test]
    fn a_document_lists_the_versions_in_their_order_and_says_when_the_last_one_came() {
        let Ok(Target::Metadata { package, .. }) = Target::parse("/org/example/demo/maven-metadata.xml") else {
            panic!("no metadata");
        };
        let times = [("1.10", 1_000), ("1.9", 1_795_170_096_789), ("1.0-rc1", 0), ("1.0", 5), ("2.0-alpha-1", 0)];
        let versions = Versions { times_ms: times.map(|(version, ms)| (version.to_owned(), ms)).into(), is_partial: false };
        let document = versions.document(&package, 1_795_170_096_789);
        let expected = "\
<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<metadata>
  <groupId>org.example</groupId>
  <artifactId>demo</artifactId>
  <versioning>
    <latest>2.0-alpha-1</latest>
    <release>2.0-alpha-1</release>
    <versions>
      <version>1.0-rc1</version>
      <version>1.0</version>
      <version>1.9</version>
      <version>1.10</version>
      <version>2.0-alpha-1</version>
    </versions>
    <lastUpdated>20261120102136</lastUpdated>
  </versioning>
</metadata>
";
        assert_eq!(document, expected);
    }
}
