//! The parts of a token, decoded but not trusted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::error::{TokenError, quoted};

/// Longer tokens are refused unread. Entra's app-only tokens have about 1.5 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token's header. Members that would name another key source (`jku`, `x5u`, `jwk`, `x5c`) are not read.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that a recipient must understand (RFC 7515, section 4.1.11): none is.
    crit: Option<IgnoredAny>,
}

/// The claims that Entra's app-only tokens carry and that are checked. Types are strict: an `aud` array or an `exp`
/// string is not what Entra sends. A repeated member is refused by the deserializer.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) exp: u64,
    pub(crate) nbf: u64,
    pub(crate) ver: String,
    pub(crate) tid: String,
    pub(crate) azp: Option<String>,
    pub(crate) appid: Option<String>,
}

/// A compact JWS (RFC 7515, section 7.1) taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub(crate) struct Unverified<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: String,
    pub(crate) claims: Claims,
    /// Header and payload as they were signed.
    pub(crate) message: &'t str,
    pub(crate) signature: &'t str,
}

/// Refuses a token that is too long to be one of Entra's.
pub(crate) fn check_length(token: &str) -> Result<(), TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed(format!("more than {MAX_TOKEN_BYTES} bytes")));
    }
    Ok(())
}

impl<'t> Unverified<'t> {
    pub(crate) fn parse(token: &'t str, allowed: &[Algorithm]) -> Result<Self, TokenError> {
        check_length(token)?;
        let (message, signature) = token
            .rsplit_once('.')
            .ok_or_else(|| malformed("it has no three parts separated by dots"))?;
        let (header, payload) = message
            .split_once('.')
            .filter(|(_, payload)| !payload.contains('.'))
            .ok_or_else(|| malformed("it has no three parts separated by dots"))?;

        let header: Header = decode("header", header)?;
        if header.crit.is_some() {
            return Err(malformed(
                "its header has critical extensions (crit), none is supported",
            ));
        }
        let algorithm = header
            .alg
            .parse::<Algorithm>()
            .ok()
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or_else(|| TokenError::Algorithm {
                found: quoted(&header.alg),
                allowed: allowed.to_vec(),
            })?;
        let kid = header.kid.ok_or_else(|| malformed("its header has no kid"))?;
        Ok(Self {
            algorithm,
            kid,
            claims: decode("payload", payload)?,
            message,
            signature,
        })
    }
}

fn decode<T: DeserializeOwned>(part: &str, text: &str) -> Result<T, TokenError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| malformed(format!("its {part} is not base64url without padding")))?;
    // The error's text can hold a value of the token; its category and the member are what helps.
    serde_json::from_slice(&bytes)
        .map_err(|error| malformed(format!("its {part} is not as expected: {}", safe(&error))))
}

/// A deserialisation error without the value it met.
fn safe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.split_once("invalid type: ") {
        Some((before, found)) => {
            let expected = found.split_once(", expected ").map_or("", |(_, expected)| expected);
            format!("{before}a member has the wrong type, expected {expected}")
        }
        None => quoted(&text),
    }
}

pub(crate) fn malformed(why: impl Into<String>) -> TokenError {
    TokenError::Malformed(why.into())
}
