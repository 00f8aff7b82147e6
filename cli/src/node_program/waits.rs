//! How long a node waits for its pipeline and for the other judges: options for networks that are unlike most.
//!
//! No rule of the ledger: nodes may differ in them, and a majority of the judges decides when a phase is over.

use clap::Args;
use humantime::parse_duration;
use pyrsia_node::NodeConfig;
use std::time::Duration;

/// Only `--help` shows them, `-h` does not.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Waiting for builds (e.g. 90s, 10m; nodes may differ in these)")]
pub struct WaitArguments {
    /// Cancel a build that takes longer, and abstain from it [default: 3h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_timeout: Option<Duration>,
    /// Try a build pipeline that does not answer again for so long, then abstain [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub pipeline_patience: Option<Duration>,
    /// Leave slower judges at least so long once a majority has a result [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_commit_grace: Option<Duration>,
    /// Leave judges so long beyond the build time-out while no majority has a result [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_silence: Option<Duration>,
    /// Leave judges so long to show the result they committed to [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_reveal_wait: Option<Duration>,
    /// Leave the judges so long beyond the build time-out before nodes that do not judge the build end its phase [default: 1d]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_outsider_wait: Option<Duration>,
    /// Leave judges so long, and the time to move the bytes, to look at another judge's result [default: 10m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_vouch_wait: Option<Duration>,
    /// Leave the publication so long to each judge whose turn is earlier [default: 5s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_publish_turn: Option<Duration>,
    /// Leave the report of a dispute so long to each judge whose turn is earlier [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, hide_short_help = true)]
    pub build_dispute_turn: Option<Duration>,
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
            if let Some(given) = given {
                *wait = given;
            }
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
    fn the_defaults_that_the_help_tells_are_those_of_the_node() {
        let (defaults, mut told) = (NodeConfig::new(Path::new("/data")), NodeConfig::new(Path::new("/data")));
        let line = "pyrsia_node --build-timeout 3h --pipeline-patience 1m --build-commit-grace 30s --build-silence 5m \
                    --build-reveal-wait 1m --build-vouch-wait 10m --build-outsider-wait 1d --build-publish-turn 5s --build-dispute-turn 30s";
        let line = Line::try_parse_from(line.split_whitespace()).expect("every option is known");
        line.waits.apply(&mut told);
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
