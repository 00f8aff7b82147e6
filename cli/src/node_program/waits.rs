//! How long a node waits for its pipeline and for the other judges: options for networks that are unlike most.
//!
//! No rule of the ledger: nodes may differ in them, and a majority of the judges decides when a phase is over.

use clap::Args;
use humantime::parse_duration;
use pyrsia_node::NodeConfig;
use std::time::Duration;

pub(super) const HEADING: &str = "Builds (times are written like 90s or 10m; nodes may differ in them)";

/// Only `--help` shows them, `-h` does not.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = HEADING)]
pub struct WaitArguments {
    /// Cancel a build that takes longer, and abstain from it
    // The pipeline has a limit of its own under the shorter name.
    #[arg(long, env = "PYRSIA_NODE_BUILD_TIMEOUT", value_name = "TIME", default_value = "3h", value_parser = parse_duration, hide_short_help = true)]
    pub build_timeout: Duration,
    /// Try a build pipeline that does not answer again for so long, then abstain
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration, hide_short_help = true)]
    pub pipeline_patience: Duration,
    /// Leave slower judges at least so long once a majority has a result
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, hide_short_help = true)]
    pub build_commit_grace: Duration,
    /// Leave judges so long beyond the build time-out while no majority has a result
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration, hide_short_help = true)]
    pub build_silence: Duration,
    /// Leave judges so long to show the result they committed to
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration, hide_short_help = true)]
    pub build_reveal_wait: Duration,
    /// Leave the judges so long beyond the build time-out before nodes that do not judge the build end its phase
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = parse_duration, hide_short_help = true)]
    pub build_outsider_wait: Duration,
    /// Leave judges so long, and the time to move the bytes, to look at another judge's result
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration, hide_short_help = true)]
    pub build_vouch_wait: Duration,
    /// Leave the publication so long to each judge whose turn is earlier
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration, hide_short_help = true)]
    pub build_publish_turn: Duration,
    /// Leave the report of a dispute so long to each judge whose turn is earlier
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration, hide_short_help = true)]
    pub build_dispute_turn: Duration,
}

impl WaitArguments {
    pub(super) fn apply(&self, config: &mut NodeConfig) {
        let judges = &mut config.judge_patience;
        for (given, wait) in [
            (self.build_timeout, &mut config.build_timeout),
            (self.pipeline_patience, &mut config.pipeline_patience),
            (self.build_commit_grace, &mut judges.commit_grace),
            (self.build_silence, &mut judges.silence),
            (self.build_reveal_wait, &mut judges.reveal),
            (self.build_outsider_wait, &mut judges.outsider),
            (self.build_vouch_wait, &mut judges.vouch),
            (self.build_publish_turn, &mut judges.publish_rank),
            (self.build_dispute_turn, &mut judges.dispute_rank),
        ] {
            *wait = given;
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
        waits: WaitArguments,
    }

    #[test]
    fn the_defaults_are_those_of_the_node() {
        let (defaults, mut told) = (NodeConfig::new(Path::new("/data")), NodeConfig::new(Path::new("/data")));
        Line::try_parse_from(["pyrsia_node"]).expect("nothing is required").waits.apply(&mut told);
        assert_eq!(told.judge_patience, defaults.judge_patience);
        assert_eq!((told.build_timeout, told.pipeline_patience), (defaults.build_timeout, defaults.pipeline_patience));
    }

    #[test]
    fn a_wait_that_is_given_replaces_only_its_own_default() {
        let (defaults, mut told) = (NodeConfig::new(Path::new("/data")), NodeConfig::new(Path::new("/data")));
        let line = Line::try_parse_from(["pyrsia_node", "--build-silence", "700ms"]).expect("a duration");
        line.waits.apply(&mut told);
        assert_eq!(told.judge_patience.silence, Duration::from_millis(700));
        assert_eq!(told.judge_patience.commit_grace, defaults.judge_patience.commit_grace);
        assert!(Line::try_parse_from(["pyrsia_node", "--build-silence", "soon"]).is_err());
    }
}
