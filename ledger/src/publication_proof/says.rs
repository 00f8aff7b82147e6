//! The part of a proof that people read. It is derived from the evidence and compared, so it can say nothing else.

use super::verdict::{BlockOfProof, Stand, Verified};
use crate::block::Height;
use crate::coordinate::{ArtifactId, BuildId, PackageCoordinate};
use crate::digest::Sha256Digest;
use crate::event::BuildSource;
use crate::identity::NodeId;
use crate::signed::NetworkId;
use serde::{Deserialize, Serialize};

const MS_PER_SECOND: u64 = 1_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// The Gregorian calendar repeats itself after as many days.
const DAYS_PER_ERA: u64 = 146_097;
const YEARS_PER_ERA: u64 = 400;
/// From the first of March of year 0 to the first of January 1970.
const DAYS_BEFORE_1970: u64 = 719_468;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Says {
    network: NetworkId,
    network_name: String,
    package: PackageCoordinate,
    build: BuildId,
    source: BuildSource,
    artifacts: Vec<Artifact>,
    requested: Moment,
    published: Moment,
    /// Judges that built these bytes, and that looked at them and found the same as their own.
    built_the_same: Vec<NodeId>,
    vouched: Vec<NodeId>,
    judges: usize,
    needed: usize,
    cosigned: usize,
    validators: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Artifact {
    artifact: ArtifactId,
    sha256: Sha256Digest,
    size_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Moment {
    height: Height,
    time: String,
}

impl Says {
    pub(super) fn of(verified: &Verified) -> Self {
        let of_stand = |stand| {
            let judges = verified.judges.iter().filter(move |judge| judge.stand == stand);
            judges.map(|judge| judge.node).collect()
        };
        let moment = |block: &BlockOfProof| Moment { height: block.height, time: rfc3339(block.time_ms) };
        let artifacts = verified.artifacts.iter().map(|proved| Artifact {
            artifact: proved.artifact.artifact_id.clone(),
            sha256: proved.artifact.sha256,
            size_bytes: proved.artifact.size_bytes,
        });
        Self {
            network: verified.network,
            network_name: verified.network_name.clone(),
            package: verified.coordinate.clone(),
            build: verified.build_id,
            source: verified.source.clone(),
            artifacts: artifacts.collect(),
            requested: moment(&verified.requested),
            published: moment(&verified.published),
            built_the_same: of_stand(Stand::Same),
            vouched: of_stand(Stand::SameAfterPasses),
            judges: verified.judges.len(),
            needed: verified.needed,
            cosigned: verified.cosigners.len(),
            validators: verified.validators,
        }
    }
}

/// A time since the Unix epoch as RFC 3339 writes it, in UTC; it must lie before the year 10000.
fn rfc3339(time_ms: u64) -> String {
    let (seconds, ms) = (time_ms / MS_PER_SECOND, time_ms % MS_PER_SECOND);
    let days = seconds / SECONDS_PER_DAY + DAYS_BEFORE_1970;
    // In years that begin in March the leap day is the last of its year.
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (DAYS_PER_ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_since_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_since_march + 2) / 5 + 1;
    let month = if months_since_march < 10 { months_since_march + 3 } else { months_since_march - 9 };
    let year = era * YEARS_PER_ERA + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;
    use crate::projection::TIME_MS_MAX;

    #[test]
    fn times_are_those_of_the_calendar() {
        // Computed with GNU date.
        for (time_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_671_002_963_001, "2022-12-14T07:29:23.001Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (TIME_MS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(time_ms), text);
        }
    }
}
