//! Who may change the network: callers that know the node's admin token.

use poem::http::{HeaderMap, header};
use pyrsia_ledger::Sha256Digest;

/// Only the digest is kept: comparing digests takes the same time whatever the caller guessed.
pub(crate) struct AdminToken(Option<Sha256Digest>);

impl AdminToken {
    pub(crate) fn new(token: &str) -> Self {
        let token = token.trim();
        Self((!token.is_empty()).then(|| Sha256Digest::of(token.as_bytes())))
    }

    /// Whether the request carries the token (RFC 6750, section 2.1).
    pub(crate) fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else { return false };
        let Some((scheme, token)) = value.split_once(' ') else { return false };
        scheme.eq_ignore_ascii_case("bearer") && self.0 == Some(Sha256Digest::of(token.trim().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens_and_no_token_lets_nobody_in() {
        let with = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("a header"))]);
        let admin = AdminToken::new("secret\n");
        assert!(admin.is_known_to(&with("Bearer secret")));
        assert!(admin.is_known_to(&with("bearer secret")));
        for wrong in ["secret", "Basic secret", "Bearer", "Bearer ", "Bearer secre", "Bearer secret2"] {
            assert!(!admin.is_known_to(&with(wrong)), "{wrong}");
        }
        assert!(!admin.is_known_to(&HeaderMap::new()));
        assert!(!AdminToken::new("").is_known_to(&with("Bearer ")));
    }
}
