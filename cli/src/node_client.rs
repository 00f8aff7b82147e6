//! Asks a node over HTTP, and turns what goes wrong into a sentence with what to do about it.
//!
//! Owns time limits, the size limit of an answer, and the admin token's place in a request. It knows paths and bodies
//! only through its callers.

use crate::admin_token;
use crate::exit::chain;
use crate::settings::Settings;
use reqwest::{Method, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A node answers a build or an authorization once a block holds it, which takes a few seconds at worst.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// A log of a hundred thousand records; the terminal is no place for more.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What is quoted of an answer that cannot be understood.
const QUOTED_CHARS_MAX: usize = 200;

#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("{}", chain(.0))]
    Transport(#[from] reqwest::Error),
    /// The message is quoted as JSON, as every client of this kind of node has shown it.
    #[error("HTTP status error ({status}) for url ({url}): {}", serde_json::json!(message))]
    Status {
        status: StatusCode,
        url: String,
        message: String,
        /// About the token, where one was looked for and the node wants another.
        remark: Option<String>,
    },
    #[error("the answer of {url} is not what a Pyrsia node says: {problem}")]
    Answer { url: String, problem: String },
}

impl RequestError {
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            Self::Transport(_) | Self::Answer { .. } => None,
        }
    }

    /// Whether the same request may well succeed a little later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Transport(_) => true,
            Self::Status { status, .. } => status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS,
            Self::Answer { .. } => false,
        }
    }
}

/// A node, as seen through its HTTP API.
#[derive(Debug, Clone)]
pub struct NodeClient {
    http: reqwest::Client,
    base: String,
    admin_token: Option<String>,
    /// What is said of the token to a person whose request is refused.
    token_remark: Option<String>,
}

impl NodeClient {
    pub fn new(settings: &Settings) -> Result<Self, RequestError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            // The node is a neighbour: a proxy between would only see the admin token.
            .no_proxy()
            // It speaks plain http, so that no certificates are needed, which some machines do not have.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("pyrsia/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, base: settings.node_url(), admin_token: None, token_remark: None })
    }

    /// Sends `token` with requests that change the network or, without one, the token that a node of this user on this
    /// machine left for its CLI. A token found that way never leaves the machine.
    pub fn with_admin_token(mut self, token: Option<String>, settings: &Settings) -> Self {
        let is_wanted = token.is_none() && settings.node_is_local();
        let found = if is_wanted { admin_token::shared(&settings.port) } else { admin_token::Shared::default() };
        self.admin_token = token.or(found.token);
        self.token_remark = found.remark;
        self
    }

    pub async fn get<Answer: DeserializeOwned>(&self, path: &str) -> Result<Answer, RequestError> {
        self.json(Method::GET, path, None::<&()>).await
    }

    pub async fn post<Answer: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<Answer, RequestError> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// Sends a request and takes whatever success says.
    pub async fn post_text(&self, path: &str, body: &impl Serialize) -> Result<String, RequestError> {
        Ok(self.text(Method::POST, path, Some(body)).await?.1)
    }

    pub async fn get_text(&self, path: &str) -> Result<String, RequestError> {
        Ok(self.text(Method::GET, path, None::<&()>).await?.1)
    }

    /// Asks for an answer that is no text.
    pub async fn get_bytes(&self, path: &str, media_type: &str) -> Result<Vec<u8>, RequestError> {
        Ok(self.send(Method::GET, path, None::<&()>, Some(media_type)).await?.1)
    }

    async fn json<Answer: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, RequestError> {
        let (url, text) = self.text(method, path, body).await?;
        serde_json::from_str(&text)
            .map_err(|error| RequestError::Answer { url, problem: format!("{error} in {:?}", quoted(&text)) })
    }

    async fn text(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<(String, String), RequestError> {
        let (url, bytes) = self.send(method, path, body, None).await?;
        match String::from_utf8(bytes) {
            Ok(text) => Ok((url, text)),
            Err(_) => Err(RequestError::Answer { url, problem: "it is not UTF-8".into() }),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        accept: Option<&str>,
    ) -> Result<(String, Vec<u8>), RequestError> {
        let url = format!("{}{path}", self.base);
        let mut request = self.http.request(method, &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(media_type) = accept {
            request = request.header(header::ACCEPT, media_type);
        }
        if let Some(token) = &self.admin_token {
            request = request.bearer_auth(token);
        }
        let mut response = request.send().await?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(RequestError::Answer { url, problem: format!("it is larger than {ANSWER_BYTES_MAX} bytes") });
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok((url, bytes));
        }
        let remark = self.token_remark.clone().filter(|_| status == StatusCode::UNAUTHORIZED);
        Err(RequestError::Status { status, url, message: message_of(&String::from_utf8_lossy(&bytes)), remark })
    }
}

/// What a user typed, as one segment of a path: whatever could lead elsewhere is escaped.
pub fn path_segment(text: &str) -> String {
    // A plus stands for a space in forms alone.
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// The sentence of an error body: `errors[0].message`, the `detail` or `title` of RFC 9457, or the beginning of the text.
fn message_of(text: &str) -> String {
    let body: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let known = [&body["errors"][0]["message"], &body["detail"], &body["title"]];
    let said = known.into_iter().filter_map(|value| value.as_str()).find(|value| !value.is_empty());
    said.map_or_else(|| quoted(text), str::to_owned)
}

fn quoted(text: &str) -> String {
    text.trim().chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_is_found_in_each_form_of_error_body() {
        assert_eq!(message_of(r#"{"errors":[{"code":"X","message":"no such build"}]}"#), "no such build");
        assert_eq!(message_of(r#"{"type":"about:blank","title":"Bad Request","detail":"no such type"}"#), "no such type");
        assert_eq!(message_of("<html>oops"), "<html>oops");
        assert_eq!(message_of(""), "");
    }

    #[test]
    fn no_word_of_a_user_leads_to_another_path() {
        assert_eq!(path_segment("c9ca3e57-aa84"), "c9ca3e57-aa84");
        assert_eq!(path_segment("../a b?c#d+"), "..%2Fa%20b%3Fc%23d%2B");
    }

    #[test]
    fn a_status_error_reads_as_it_always_has() {
        let error = RequestError::Status {
            status: StatusCode::BAD_REQUEST,
            url: "http://127.0.0.1:17889/authorized_node".into(),
            message: "PeerId has invalid format: notapeer".into(),
            remark: None,
        };
        let said = r#"HTTP status error (400 Bad Request) for url (http://127.0.0.1:17889/authorized_node): "PeerId has invalid format: notapeer""#;
        assert_eq!(error.to_string(), said);
    }
}
