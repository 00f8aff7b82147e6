//! `pyrsia_node health`: one question to a running node, for the health check of a container.

use super::arguments::http_url;
use crate::exit::Failure;
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use url::Url;

/// A node that takes longer to say that it is well is not.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// More of an answer is not shown.
const SHOWN_CHARS_MAX: usize = 300;

#[derive(Clone, Debug, Args)]
pub struct HealthArguments {
    /// Address of the node's HTTP side [default: where the settings of a node that is started here let it listen]
    #[arg(long, value_name = "URL", value_parser = http_url)]
    pub url: Option<Url>,
    /// Ask only whether the node answers, not whether it can say what is published
    #[arg(long)]
    pub live: bool,
}

impl HealthArguments {
    /// Asks the node, by default the one that listens on `listens_on`, and prints one sentence.
    pub(super) fn run(&self, listens_on: SocketAddr) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::because("the node cannot be asked", &error))?;
        println!("{}", runtime.block_on(self.ask(listens_on))?);
        Ok(())
    }

    async fn ask(&self, listens_on: SocketAddr) -> Result<String, Failure> {
        let (path, word) = if self.live { ("livez", "alive") } else { ("readyz", "ready") };
        let base = self.url.as_ref().map_or_else(|| format!("http://{}", reachable(listens_on)), Url::to_string);
        let base = base.trim_end_matches('/');
        let asked = async {
            // A proxy is for the world outside; the node is at hand.
            let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_TIMEOUT).build()?;
            let answer = client.get(format!("{base}/{path}")).send().await?;
            Ok::<_, reqwest::Error>((answer.status(), answer.text().await?))
        };
        match asked.await {
            Ok((status, _)) if status.is_success() => Ok(format!("the node at {base} is {word}")),
            Ok((status, text)) => {
                let shown: String = text.trim().chars().take(SHOWN_CHARS_MAX).collect();
                Err(Failure::new(format!("the node at {base} is not {word}: it answers {status}, {shown}")))
            }
            Err(error) => Err(Failure::because(&format!("the node at {base} does not answer"), &error.without_url())),
        }
    }
}

/// Where a program on the same machine reaches what listens on every address.
fn reachable(listens_on: SocketAddr) -> SocketAddr {
    let ip = match listens_on.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listens_on.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_listens_everywhere_is_asked_on_loopback() {
        for (listens_on, asked) in
            [("0.0.0.0:7888", "127.0.0.1:7888"), ("[::]:7888", "[::1]:7888"), ("192.0.2.1:80", "192.0.2.1:80")]
        {
            assert_eq!(reachable(listens_on.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
