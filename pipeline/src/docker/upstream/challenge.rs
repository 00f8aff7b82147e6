//! What a registry demands before it gives something, and where credentials may go.
//!
//! References: RFC 9110 section 11.6.1 (`WWW-Authenticate`); the token authentication of the distribution project.
//! A registry names the server that gives tokens, so a hostile one could name any server; the rules about that are here.
//! They look at names and literal addresses, not at what a name resolves to.

use std::net::IpAddr;

use url::{Host, Url};

/// A demand that can be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Reads one header value; `None` for schemes that are not known.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (None, None, None);
        for (name, value) in parameters(rest) {
            match name.as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                "scope" => scope = Some(value),
                _ => {}
            }
        }
        Some(Self::Bearer { realm: realm?, service, scope })
    }
}

/// `name=value` and `name="value"`, divided by commas.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.peek().is_some() {
        let mut name = String::new();
        for c in chars.by_ref().take_while(|c| *c != '=') {
            if !matches!(c, ',' | ' ' | '\t') {
                name.push(c.to_ascii_lowercase());
            }
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => value.extend(chars.next()),
                    c => value.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| !matches!(c, ',' | ' ')) {
                value.push(c);
            }
        }
        if !name.is_empty() {
            found.push((name, value));
        }
    }
    found
}

/// The token server of a challenge, if it is one that an honest registry would name.
pub(super) fn token_server(upstream: &Url, realm: &str) -> Result<Url, &'static str> {
    let url = Url::parse(realm).map_err(|_| "it is no url")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it holds a user name");
    }
    if !is_in_reach(upstream, &url) {
        return Err("it is an address of this machine or its link");
    }
    let same_machine = url.host() == upstream.host() || (place(&url) == Place::Loopback && place(upstream) == Place::Loopback);
    match url.scheme() {
        "https" => Ok(url),
        "http" if upstream.scheme() == "http" && same_machine => Ok(url),
        _ => Err("it is not https"),
    }
}

/// Where a registry sends its clients on, if they may go there.
pub(super) fn redirect_target(upstream: &Url, from: &Url, location: &str) -> Result<Url, &'static str> {
    let url = from.join(location).map_err(|_| "it is no url")?;
    if !is_in_reach(upstream, &url) {
        return Err("it is an address of this machine or its link");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if upstream.scheme() == "http" => Ok(url),
        _ => Err("it is not https"),
    }
}

/// Whether a token server may see the user and password of the upstream: only on the same host or, for a registry
/// like `registry.brand.example`, on a sibling like `auth.brand.example`.
pub(super) fn may_see_credentials(upstream: &Url, server: &Url) -> bool {
    let (Some(own), Some(other)) = (upstream.host_str(), server.host_str()) else { return false };
    if own == other {
        return true;
    }
    if !matches!(upstream.host(), Some(Host::Domain(_))) || server.scheme() != "https" {
        return false;
    }
    let Some((_, parent)) = own.split_once('.') else { return false };
    let labels: Vec<&str> = parent.split('.').collect();
    // Under a country's second level, such as `co.uk`, siblings are strangers.
    let is_public_suffix = labels.len() < 2 || (labels.len() == 2 && labels[0].len() <= 3 && labels[1].len() == 2);
    !is_public_suffix && (other == parent || other.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.')))
}

pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.origin() == b.origin()
}

/// What kind of host a url names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Means the same machine to everybody.
    Network,
    /// Means another machine to everybody who reads it.
    Loopback,
    /// Means the neighbours, or a service of the cloud that holds secrets.
    Link,
}

fn is_in_reach(upstream: &Url, url: &Url) -> bool {
    match place(url) {
        Place::Network => true,
        Place::Loopback => place(upstream) == Place::Loopback,
        Place::Link => url.host() == upstream.host(),
    }
}

fn place(url: &Url) -> Place {
    let of = |address: IpAddr| match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_unspecified() => Place::Loopback,
        IpAddr::V6(v6) if v6.is_loopback() || v6.is_unspecified() => Place::Loopback,
        IpAddr::V4(v4) if v4.is_link_local() => Place::Link,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Place::Link,
        _ => Place::Network,
    };
    match url.host() {
        Some(Host::Ipv4(v4)) => of(v4.into()),
        Some(Host::Ipv6(v6)) => of(v6.into()),
        Some(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => Place::Loopback,
        Some(Host::Domain(_)) => Place::Network,
        None => Place::Link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn challenges_are_read_with_commas_inside_quotes() {
        assert_eq!(
            Challenge::parse(r#"Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push""#),
            Some(Challenge::Bearer {
                realm: "https://auth.example/token".into(),
                service: Some("r.example".into()),
                scope: Some("repository:a/b:pull,push".into()),
            })
        );
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Negotiate"), None);
        assert_eq!(Challenge::parse("Bearer service=x"), None);
    }

    #[test]
    fn a_lying_registry_cannot_point_at_the_machine_or_at_plain_http() {
        let registry = url("https://registry.example");
        for realm in [
            "http://registry.example/t",
            "https://127.0.0.1/t",
            "https://169.254.169.254/t",
            "https://[::1]/t",
            "https://[::ffff:127.0.0.1]/t",
            "https://localhost/t",
            "https://0.0.0.0/t",
            "file:///etc/passwd",
            "gopher://x/",
            "t",
            "https://me:secret@auth.example/t",
        ] {
            assert!(token_server(&registry, realm).is_err(), "{realm}");
        }
        assert!(token_server(&registry, "https://auth.other.example/t").is_ok());
        let loopback = url("http://127.0.0.1:5000");
        assert!(token_server(&loopback, "http://127.0.0.1:5001/t").is_ok());
        assert!(token_server(&loopback, "http://auth.example/t").is_err());
        assert!(token_server(&loopback, "http://169.254.169.254/t").is_err());
        assert!(redirect_target(&loopback, &loopback, "http://169.254.169.254/t").is_err());
        assert!(redirect_target(&registry, &registry, "http://cdn.example/x").is_err());
        assert!(redirect_target(&registry, &registry, "https://127.0.0.1/x").is_err());
        assert!(redirect_target(&registry, &registry, "/elsewhere").is_ok());
    }

    #[test]
    fn credentials_stay_with_the_host_and_its_siblings() {
        let check = |upstream: &str, server: &str| may_see_credentials(&url(upstream), &url(server));
        assert!(check("https://registry.example", "https://registry.example/token"));
        assert!(check("https://registry.brand.example", "https://auth.brand.example/token"));
        assert!(!check("https://registry.brand.example", "https://auth.evil.example/token"));
        assert!(!check("https://registry.brand.example", "https://evilbrand.example/token"));
        assert!(!check("https://registry.co.uk", "https://evil.co.uk/token"));
        assert!(!check("https://brand.example", "https://evil.example/token"));
        assert!(!check("http://10.0.0.1", "https://20.0.0.1/token"));
    }
}
