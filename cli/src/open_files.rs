//! How many files and connections the system lets this process have open.
//!
//! Systems start programs with a low limit, for the sake of those that cannot count beyond it, and allow a much higher one
//! to those that ask. A node that runs out of it can neither fetch artifacts nor write its ledger.

/// Connections of clients and peers, each with a file at times, and the ledger's own.
#[cfg(unix)]
const OPEN_FILES_WANTED: u64 = 16_384;

/// Raises the limit as far as it is wanted and may go.
#[cfg(unix)]
pub fn allow_many() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current: Some(current), maximum } = getrlimit(Resource::Nofile) else { return };
    let wanted = maximum.map_or(OPEN_FILES_WANTED, |maximum| maximum.min(OPEN_FILES_WANTED));
    if current < wanted
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::warn!(%error, current, wanted, "the limit of open files cannot be raised");
    }
}

#[cfg(not(unix))]
pub fn allow_many() {}

#[cfg(all(test, unix))]
mod tests {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    #[test]
    fn a_low_limit_is_raised_and_a_high_one_is_left_alone() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let highest = maximum.unwrap_or(u64::MAX).min(super::OPEN_FILES_WANTED);
        for (before, after) in [(highest / 2, highest), (highest, highest)] {
            setrlimit(Resource::Nofile, Rlimit { current: Some(before), maximum }).unwrap();
            super::allow_many();
            assert_eq!(getrlimit(Resource::Nofile).current, Some(after));
        }
    }
}
