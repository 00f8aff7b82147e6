//! The command line of `pyrsia settings`.

use crate::commands::client_settings;
use clap::Args;
use clap::builder::PossibleValuesParser;

#[derive(Debug, Args)]
pub struct SettingsArguments {
    /// The client; without one, all of them are shown
    #[arg(value_name = "CLIENT", value_parser = PossibleValuesParser::new(client_settings::names()))]
    pub client: Option<String>,
    /// The address that clients reach the node at, where that is not the one of 'pyrsia config'
    #[arg(long, value_name = "URL", value_parser = client_settings::base_url)]
    pub url: Option<String>,
}
