//! Making HTTP clients that work on any machine: one without certificates speaks plain http.

use reqwest::{Client, ClientBuilder};

/// The client that `configure` describes. A client reads the machine's certificates when it is made; where there are none,
/// https fails with an error of its own at its first use, and nothing else does.
pub(crate) fn client(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, reqwest::Error> {
    let agent = concat!("pyrsia_node/", env!("CARGO_PKG_VERSION"));
    let builder = || configure(Client::builder().user_agent(agent));
    builder().build().or_else(|error| {
        tracing::warn!(%error, "this machine has no certificates: https will not work, install the package ca-certificates");
        builder().tls_certs_only([]).build()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_certificates_can_be_made() {
        assert!(client(|builder| builder.tls_certs_only([])).is_ok());
    }
}
