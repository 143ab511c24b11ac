//! How the host says to an upstream who asks.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::config::AuthenticationConfig;
use super::headers;
use super::oauth::{Token, TokenSource, sensitive};
use crate::problem::Problem;
use crate::secret::SecretScope;

/// What is added to each request.
pub(super) enum Authentication {
    None,
    /// A header field.
    Fixed(HeaderName, Zeroizing<String>),
    /// A token that is had when it is needed.
    Token(TokenSource),
}

/// The credentials of one request.
pub(super) struct Credentials {
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    /// What to forget if the upstream does not take them.
    token: Option<Arc<Token>>,
}

impl Authentication {
    /// Reads the credentials.
    ///
    /// # Errors
    /// What is wrong with them, and nothing of them.
    pub(super) fn load(
        config: &AuthenticationConfig,
        scope: SecretScope<'_>,
        client: &reqwest::Client,
    ) -> Result<Self, Problem> {
        let at = |member: &'static str| move |message: String| Problem::at(format!("authentication.{member}"), message);
        match config {
            AuthenticationConfig::None => Ok(Self::None),
            AuthenticationConfig::Header { name, value } => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok();
                // `authorization` is what this is for.
                let name = name.filter(|name| *name == AUTHORIZATION || !headers::is_hosts(name.as_str()));
                let name = name.ok_or_else(|| at("header.name")("expected a header that can be set".to_owned()))?;
                let value = value.read_text(scope).map_err(at("header.value"))?;
                Self::fixed(name, value).map_err(at("header.value"))
            }
            AuthenticationConfig::Basic { username, password } => {
                if username.contains(':') {
                    return Err(at("basic.username")("cannot hold a `:` (RFC 7617)".to_owned()));
                }
                let password = password.read_text(scope).map_err(at("basic.password"))?;
                let pair = Zeroizing::new(format!("{username}:{}", *password));
                let encoded = Zeroizing::new(STANDARD.encode(pair.as_bytes()));
                let value = Zeroizing::new(format!("Basic {}", *encoded));
                Self::fixed(AUTHORIZATION, value).map_err(at("basic.password"))
            }
            AuthenticationConfig::Bearer { token } => {
                let token = token.read_text(scope).map_err(at("bearer.token"))?;
                let value = Zeroizing::new(format!("Bearer {}", *token));
                Self::fixed(AUTHORIZATION, value).map_err(at("bearer.token"))
            }
            AuthenticationConfig::Oauth2ClientCredentials(config) => {
                TokenSource::load(config, scope, client).map(Self::Token)
            }
        }
    }

    fn fixed(name: HeaderName, value: Zeroizing<String>) -> Result<Self, String> {
        if value.is_empty() || headers::value(&value).is_none() {
            return Err("the secret must not be empty, nor hold anything but visible ASCII characters".to_owned());
        }
        Ok(Self::Fixed(name, value))
    }

    /// The header field that it sets.
    pub(super) fn header_name(&self) -> Option<&HeaderName> {
        match self {
            Self::None => None,
            Self::Fixed(name, _) => Some(name),
            Self::Token(_) => Some(&AUTHORIZATION),
        }
    }

    /// The credentials of a request.
    ///
    /// # Errors
    /// Why there are none: the operator is told.
    pub(super) async fn credentials(&self) -> Result<Credentials, Arc<str>> {
        let with = |name: &HeaderName, value: &str| Some((name.clone(), sensitive(headers::value(value)?)));
        match self {
            Self::None => Ok(Credentials {
                header: None,
                token: None,
            }),
            Self::Fixed(name, value) => Ok(Credentials {
                header: with(name, value),
                token: None,
            }),
            Self::Token(source) => {
                let token = source.token().await?;
                Ok(Credentials {
                    header: with(&AUTHORIZATION, &token.authorization),
                    token: Some(token),
                })
            }
        }
    }

    /// Notes that the upstream has not taken them; whether others can be had.
    pub(super) fn refused(&self, credentials: &Credentials) -> bool {
        match (self, &credentials.token) {
            (Self::Token(source), Some(token)) => {
                source.forget(token);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Fixed(..) => "Fixed(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}
