//! User and password for an upstream, as they stand in its url and as they go into a header.

use url::Url;

pub(super) struct Credentials {
    user: String,
    password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    /// Those in the url, if there are any.
    pub(super) fn of(url: &Url) -> Option<Self> {
        (!url.username().is_empty())
            .then(|| Self { user: percent_decode(url.username()), password: percent_decode(url.password().unwrap_or_default()) })
    }

    /// RFC 7617.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", base64(format!("{}:{}", self.user, self.password).as_bytes()))
    }
}

/// RFC 4648 section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = (group >> (18 - 6 * place)) as usize & 63;
            text.push(if place <= chunk.len() { ALPHABET[index] as char } else { '=' });
        }
    }
    text
}

/// User and password stand percent-encoded in a url.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| first == b'%').and_then(|pair| hex::decode(pair).ok());
        bytes.push(escaped.as_ref().map_or(first, |pair| pair[0]));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_encoded_as_the_rfc_shows() {
        let aladdin = Credentials::of(&Url::parse("https://Aladdin:open%20sesame@registry.example").unwrap()).unwrap();
        assert_eq!(aladdin.basic(), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(["", "f", "fo", "foo", "foob"].map(|text| base64(text.as_bytes())), ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg=="]);
        assert_eq!(percent_decode("p%40ss%2"), "p@ss%2");
    }
}
