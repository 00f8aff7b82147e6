//! Making HTTP clients that work on any machine.
//!
//! A client reads the machine's certificates when it is made, which takes a while and fails where there are none; so a
//! service makes each of its clients once.

use reqwest::{Client, ClientBuilder};

/// The client that `configure` describes. On a machine without certificates it trusts nobody: plain http works, and
/// https fails with an error of its own at the first use.
pub(crate) fn client(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Client {
    let agent = concat!("pyrsia_build/", env!("CARGO_PKG_VERSION"));
    let builder = || configure(Client::builder().user_agent(agent));
    builder().build().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine has no certificates: https will not work, install the package ca-certificates");
        builder().tls_certs_only([]).build().expect("without certificates nothing of the machine is read")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_certificates_can_be_made() {
        assert!(Client::builder().tls_certs_only([]).build().is_ok());
    }
}
