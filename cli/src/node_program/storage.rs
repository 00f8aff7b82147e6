//! What the store of a node may take of the disk, and how it is looked after.

use crate::size;
use clap::Args;
use humantime::parse_duration;
use pyrsia_node::NodeConfig;
use std::time::Duration;

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Artifact store")]
pub struct StorageArguments {
    /// The most that artifacts from other nodes may bring the store to, such as 500GB: what was used longest ago leaves while
    /// others keep it [default: as much as the disk has]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub artifact_budget: Option<u64>,
    /// How often every stored artifact is read again; 0s: only when it is asked for
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration, hide_short_help = true)]
    pub scrub_interval: Duration,
    /// How much of them is read in a second; 0: as fast as the disk allows
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size::parse, hide_short_help = true)]
    pub scrub_rate: u64,
}

impl StorageArguments {
    pub(super) fn apply(&self, config: &mut NodeConfig) {
        let storage = &mut config.storage;
        storage.artifact_budget = self.artifact_budget;
        storage.scrub_interval = Some(self.scrub_interval).filter(|interval| !interval.is_zero());
        storage.scrub_bytes_per_second = self.scrub_rate;
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

    fn told(line: &str) -> NodeConfig {
        let mut config = NodeConfig::new(Path::new("/data"));
        let line = Line::try_parse_from(line.split_whitespace()).expect("every option is known");
        line.storage.apply(&mut config);
        config
    }

    #[test]
    fn the_defaults_are_those_of_the_node() {
        assert_eq!(told("pyrsia_node").storage, NodeConfig::new(Path::new("/data")).storage);
    }

    #[test]
    fn a_budget_is_a_size_and_no_interval_means_no_schedule() {
        let told = told("pyrsia_node --artifact-budget 2GiB --scrub-interval 0s").storage;
        assert_eq!((told.artifact_budget, told.scrub_interval), (Some(2 << 30), None));
        assert!(Line::try_parse_from(["pyrsia_node", "--artifact-budget", "much"]).is_err());
    }
}
