//! Finding the first peers: an HTTP endpoint names addresses, and each of them is dialed.
//!
//! The endpoint is any node's `/status`. It is asked until it answers, and again while this node has no peer; what it says is only
//! a list of addresses to try, never anything this node believes.

use std::time::Duration;

use libp2p::Multiaddr;
use reqwest::Client;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::http_client;
use crate::p2p::P2pHandle;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 10;
const ADDRESSES_MAX: usize = 64;
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
enum BootstrapError {
    #[error("the bootstrap URL does not answer")]
    Request(#[from] reqwest::Error),
    #[error("its answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its answer is no JSON with `peer_addrs`")]
    Malformed(#[from] serde_json::Error),
    #[error("none of the {named} addresses it names can be reached")]
    Unreachable { named: usize },
}

#[derive(Deserialize)]
struct Answer {
    peer_addrs: Vec<String>,
}

pub(crate) fn client() -> Result<Client, reqwest::Error> {
    http_client::client(|builder| builder.connect_timeout(REQUEST_TIMEOUT).timeout(REQUEST_TIMEOUT))
}

/// Sees to it that this node has a peer, until `stop` is cancelled.
pub(crate) async fn keep_connected(http: Client, url: Url, p2p: P2pHandle, stop: CancellationToken) {
    let work = async {
        let (mut pause, mut peers) = (PAUSE_FIRST, p2p.watch_peers());
        loop {
            while !p2p.peers().is_empty() {
                pause = PAUSE_FIRST;
                if peers.changed().await.is_err() {
                    return;
                }
            }
            if let Err(error) = dial_all(&http, &url, &p2p).await {
                tracing::warn!(url = %without_password(&url), %error, cause = std::error::Error::source(&error), retry_after_s = pause.as_secs(), "no peer by the bootstrap URL");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// As it may stand in a log.
fn without_password(url: &Url) -> Url {
    let mut url = url.clone();
    // These fail only for URLs that have no host, and so no user either.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url
}

async fn dial_all(http: &Client, url: &Url, p2p: &P2pHandle) -> Result<(), BootstrapError> {
    let mut response = http.get(url.clone()).send().await?.error_for_status()?;
    let mut body = Vec::new();
    while let Some(bytes) = response.chunk().await? {
        if body.len() + bytes.len() > ANSWER_BYTES_MAX {
            return Err(BootstrapError::TooLarge);
        }
        body.extend_from_slice(&bytes);
    }
    let addresses = addresses(&body)?;
    let named = addresses.len();
    let dialed = futures::future::join_all(addresses.into_iter().map(|address| p2p.dial(address))).await;
    if dialed.iter().any(Result::is_ok) { Ok(()) } else { Err(BootstrapError::Unreachable { named }) }
}

/// The addresses in an answer; what is no address is left out.
fn addresses(body: &[u8]) -> Result<Vec<Multiaddr>, serde_json::Error> {
    let Answer { peer_addrs } = serde_json::from_slice(body)?;
    Ok(peer_addrs.iter().filter_map(|address| address.parse().ok()).take(ADDRESSES_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_of_a_bootstrap_url_is_not_logged() {
        let url = Url::parse("https://me:secret@boot.example/status").unwrap();
        assert_eq!(without_password(&url).as_str(), "https://boot.example/status");
    }

    #[test]
    fn all_addresses_of_a_status_are_tried_and_nothing_else() {
        let status =
            br#"{"peers_count":1,"peer_id":"x","peer_addrs":["/ip4/127.0.0.1/tcp/1","nonsense","/dns4/node.example/tcp/2"]}"#;
        assert_eq!(addresses(status).unwrap().len(), 2);
        assert!(addresses(b"<html>").is_err());
        let many = serde_json::json!({ "peer_addrs": vec!["/ip4/127.0.0.1/tcp/1"; 1000] });
        assert_eq!(addresses(many.to_string().as_bytes()).unwrap().len(), ADDRESSES_MAX);
    }
}
