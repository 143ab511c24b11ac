//! The token that holds the password: an unsigned JWT (contract.md, section 1.5).
//!
//! That it is unsigned is Entra's choice; what vouches for it is the bearer token of the callout.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::error::PasswordError;

/// Longer nonces are not Entra's, which are GUIDs; the nonce becomes part of the answer.
const MAX_NONCE_BYTES: usize = 128;

/// What the token must say.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Accepted `aud` values: the extension's.
    pub audiences: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// What the user has typed. Wiped from memory when it is dropped.
pub struct PasswordContext {
    /// The sign-in name.
    pub username: Zeroizing<String>,
    /// The password.
    pub password: Zeroizing<String>,
    /// What the answer must return.
    pub nonce: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// Types are strict, and a repeated member is refused by the deserializer.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "user-password")]
    password: Zeroizing<String>,
    username: Zeroizing<String>,
    nonce: String,
    aud: String,
    nbf: u64,
    exp: u64,
}

/// Reads and checks the token.
pub(crate) fn read(token: &[u8], accepted: &Accepted, now: SystemTime) -> Result<PasswordContext, PasswordError> {
    let parts: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
    let [header, payload, signature] = parts[..] else {
        return Err(PasswordError::Token("it has not three parts separated by dots"));
    };
    let header: Header = decode(header, "its header is not as expected")?;
    if header.alg != "none" || !signature.is_empty() {
        return Err(PasswordError::Token("it is signed, which nothing here could verify"));
    }
    let claims: Claims = decode(
        payload,
        "expected `user-password`, `username`, `nonce` and `aud` as strings, `nbf` and `exp` as whole numbers, each once",
    )?;
    check_times(&claims, accepted.leeway, now)?;
    // Application ids are GUIDs, of which Microsoft's own checks ignore the case.
    if !accepted
        .audiences
        .iter()
        .any(|audience| audience.eq_ignore_ascii_case(&claims.aud))
    {
        return Err(PasswordError::Audience);
    }
    if claims.nonce.is_empty() || claims.nonce.len() > MAX_NONCE_BYTES {
        return Err(PasswordError::Token("its nonce is empty or has more than 128 bytes"));
    }
    Ok(PasswordContext {
        username: claims.username,
        password: claims.password,
        nonce: claims.nonce,
    })
}

fn check_times(claims: &Claims, leeway: Duration, now: SystemTime) -> Result<(), PasswordError> {
    let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    if now >= claims.exp.saturating_add(leeway.as_secs()) {
        let seconds_ago = now.saturating_sub(claims.exp);
        return Err(PasswordError::Expired { seconds_ago });
    }
    if claims.nbf > now.saturating_add(leeway.as_secs()) {
        let seconds_ahead = claims.nbf.saturating_sub(now);
        return Err(PasswordError::NotYetValid { seconds_ahead });
    }
    Ok(())
}

/// The deserializer's own messages can hold values, and what is decrypted is in no message.
fn decode<T: DeserializeOwned>(part: &[u8], expected: &'static str) -> Result<T, PasswordError> {
    let refused = PasswordError::Token(expected);
    let json = URL_SAFE_NO_PAD.decode(part).map(Zeroizing::new);
    let json = json.map_err(|_| refused.clone())?;
    serde_json::from_slice(&json).map_err(|_| refused)
}

impl fmt::Debug for PasswordContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PasswordContext")
            .field("nonce", &self.nonce)
            .finish_non_exhaustive()
    }
}
