//! Fetching a metadata document and the keys it points to.

use std::error::Error as _;
use std::time::Duration;

use reqwest::redirect;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::{Host, Url};

use super::keys::{KeySet, PublishedKeys};

/// Larger documents are refused. Entra's key sets have about 20 KiB.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// Why a document's keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The HTTP client could not be built.
    #[error("the HTTP client for metadata documents cannot be built")]
    Client(#[source] reqwest::Error),
    /// A URL is not https, nor http to this machine where that is allowed.
    #[error(
        "{0} is not https; plain http is accepted only for loopback addresses, and only when the operator sets \
         token.allow_loopback_http"
    )]
    Insecure(Url),
    /// A URL with a user name or password in it.
    #[error("a metadata URL must not hold a user name or password; keys are public")]
    Userinfo,
    /// No answer, or it broke off.
    #[error("{url} did not answer")]
    Unreachable {
        /// The URL asked for.
        url: Url,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// An answer other than 200.
    #[error("{url} answered {status}")]
    Status {
        /// The URL asked for.
        url: Url,
        /// Its answer.
        status: reqwest::StatusCode,
    },
    /// Too large an answer.
    #[error("{url} answered more than {MAX_DOCUMENT_BYTES} bytes")]
    TooLarge {
        /// The URL asked for.
        url: Url,
    },
    /// Not the JSON that belongs there.
    #[error("{url} did not answer with {expected}")]
    Malformed {
        /// The URL asked for.
        url: Url,
        /// What belongs there.
        expected: &'static str,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// No key of the set can verify tokens.
    #[error("{url} has no RSA or EC signing key with a kid")]
    NoKeys {
        /// The key set's URL.
        url: Url,
    },
}

impl FetchError {
    /// The error and its causes in one line.
    pub(super) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

/// The members of a metadata document that are used.
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: Url,
}

pub(super) fn client(timeout: Duration) -> Result<reqwest::Client, FetchError> {
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(timeout)
        // A proxy of the environment must not get between the host and keys that come over plain http.
        .no_proxy()
        .user_agent(concat!("claimsmith/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(FetchError::Client)
}

/// Fetches the document at `url`, then its keys.
pub(super) async fn fetch(
    client: &reqwest::Client,
    url: &Url,
    allow_loopback_http: bool,
) -> Result<KeySet, FetchError> {
    require_secure(url, allow_loopback_http)?;
    let metadata: Metadata = get(client, url, "a metadata document (issuer, jwks_uri)").await?;
    require_secure(&metadata.jwks_uri, allow_loopback_http)?;
    let published: PublishedKeys = get(client, &metadata.jwks_uri, "a JWK Set (keys)").await?;
    let keys = KeySet::new(metadata.issuer, published);
    if keys.is_empty() {
        return Err(FetchError::NoKeys { url: metadata.jwks_uri });
    }
    Ok(keys)
}

async fn get<T: DeserializeOwned>(
    client: &reqwest::Client,
    url: &Url,
    expected: &'static str,
) -> Result<T, FetchError> {
    let unreachable = |source: reqwest::Error| FetchError::Unreachable {
        url: url.clone(),
        source: source.without_url(),
    };
    let mut response = client.get(url.clone()).send().await.map_err(unreachable)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status {
            url: url.clone(),
            status: response.status(),
        });
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > MAX_DOCUMENT_BYTES {
            return Err(FetchError::TooLarge { url: url.clone() });
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|source| FetchError::Malformed {
        url: url.clone(),
        expected,
        source,
    })
}

/// Keys decide who may call, so they come over TLS, or from this machine where that is allowed.
pub(super) fn require_secure(url: &Url, allow_loopback_http: bool) -> Result<(), FetchError> {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(FetchError::Userinfo);
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if loopback && allow_loopback_http => Ok(()),
        _ => Err(FetchError::Insecure(url.clone())),
    }
}
