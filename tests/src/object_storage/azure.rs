//! Azurite with an account of the test's own, and what a test asks it: requests with a shared access signature of the account.

use super::SECRET;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Client, RequestBuilder};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::process::Command;

pub(super) const ACCOUNT: &str = "thenodes";
/// A version of the protocol whose signatures are made as [`signature`] makes them.
const VERSION: &str = "2023-11-03";
/// The bytes that SHA-256 takes at once, which HMAC pads its key to (RFC 2104).
const HMAC_BLOCK_BYTES: usize = 64;

/// The keys of accounts are written in Base64.
pub(super) fn account_key(secret: &str) -> String {
    BASE64_STANDARD.encode(secret)
}

/// An account has a host of its own in the cloud, and a path elsewhere.
pub(super) fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}/{ACCOUNT}")
}

pub(super) fn azurite(fetched: &Path, port: u16) -> Command {
    let mut command = Command::new("node");
    command.arg(fetched.join("node_modules/azurite/dist/src/blob/main.js"));
    command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location", "data"]);
    // It would tell its maker that it runs, and refuse protocols that are newer than it is.
    command.args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"]);
    command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", account_key(SECRET)));
    command
}

pub(super) async fn create_container(url: &str) {
    done(Client::new().put(format!("{}&restype=container", signed(url)))).await;
}

pub(super) async fn put(url: &str, bytes: &[u8]) {
    done(Client::new().put(signed(url)).header("x-ms-blob-type", "BlockBlob").body(bytes.to_vec())).await;
}

pub(super) async fn get(url: &str) -> Option<Vec<u8>> {
    let answer = Client::new().get(signed(url)).send().await.expect("Azurite answers");
    match answer.status().as_u16() {
        404 => None,
        200 => Some(answer.bytes().await.expect("an object").to_vec()),
        other => panic!("{url}: {other}"),
    }
}

async fn done(request: RequestBuilder) {
    let answer = request.send().await.expect("Azurite answers");
    assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
}

/// A URL with the signature that allows the account everything, until long after the test.
fn signed(url: &str) -> String {
    const UNTIL: &str = "2100-01-01T00:00:00Z";
    let (permissions, services, types) = ("rwdlac", "b", "sco");
    // Empty: since when, from which addresses, and with which encryption; over HTTP as well.
    let lines = [ACCOUNT, permissions, services, types, "", UNTIL, "", "https,http", VERSION, "", ""];
    let signature = signature(&lines.join("\n")).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("{url}?sp={permissions}&ss={services}&srt={types}&se={UNTIL}&spr=https,http&sv={VERSION}&sig={signature}")
}

/// HMAC (RFC 2104) with SHA-256 under the key of the account.
fn signature(text: &str) -> String {
    let pad = |with: u8| -> Vec<u8> {
        let key = SECRET.bytes().chain(std::iter::repeat(0)).take(HMAC_BLOCK_BYTES);
        key.map(|byte| byte ^ with).collect()
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    BASE64_STANDARD.encode(Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize())
}
