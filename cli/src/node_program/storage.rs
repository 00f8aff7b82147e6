//! What the store of a node may take of the disk, and how it is looked after.

use super::environment::Environment;
use crate::size;
use clap::Args;
use humantime::parse_duration;
use pyrsia_node::NodeConfig;
use std::time::Duration;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Artifact store")]
pub struct StorageArguments {
    /// The most that artifacts from other nodes may bring the store to, such as 500GB: what was used longest ago leaves while
    /// others keep it [default: PYRSIA_ARTIFACT_BUDGET, else as much as the disk has]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub artifact_budget: Option<u64>,
    /// How often every stored artifact is read again; 0s: only when it is asked for [default: 30d]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub scrub_interval: Option<Duration>,
    /// How much of them is read in a second; 0: as fast as the disk allows [default: 16MiB]
    #[arg(long, value_name = "SIZE", value_parser = size::parse, hide_short_help = true)]
    pub scrub_rate: Option<u64>,
}

impl StorageArguments {
    pub(super) fn apply(&self, environment: &Environment, config: &mut NodeConfig) {
        let storage = &mut config.storage;
        storage.artifact_budget = self.artifact_budget.or(environment.artifact_budget);
        if let Some(interval) = self.scrub_interval {
            storage.scrub_interval = Some(interval).filter(|interval| !interval.is_zero());
        }
        if let Some(rate) = self.scrub_rate {
            storage.scrub_bytes_per_second = rate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::path::Path;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        storage: StorageArguments,
    }

    fn told(line: &str, budget: Option<u64>) -> NodeConfig {
        let environment = Environment { artifact_budget: budget, ..Environment::default() };
        let mut config = NodeConfig::new(Path::new("/data"));
        let line = Line::try_parse_from(line.split_whitespace()).expect("every option is known");
        line.storage.apply(&environment, &mut config);
        config
    }

    #[test]
    fn the_defaults_that_the_help_tells_are_those_of_the_node() {
        let defaults = NodeConfig::new(Path::new("/data"));
        assert_eq!(told("pyrsia_node --scrub-interval 30d --scrub-rate 16MiB", None).storage, defaults.storage);
        assert_eq!(told("pyrsia_node", None).storage, defaults.storage);
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_no_interval_means_no_schedule() {
        assert_eq!(told("pyrsia_node", Some(7)).storage.artifact_budget, Some(7));
        let told = told("pyrsia_node --artifact-budget 2GiB --scrub-interval 0s", Some(7)).storage;
        assert_eq!((told.artifact_budget, told.scrub_interval), (Some(2 << 30), None));
        assert!(Line::try_parse_from(["pyrsia_node", "--artifact-budget", "much"]).is_err());
    }
}
