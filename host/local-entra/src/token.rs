//! Tokens: what is in them, and how they are signed.
//!
//! A [`TokenRequest`] is a token before it is signed. The good ones come from [`Directory`](crate::Directory); a test takes
//! one, changes any part of its header or claims, and has it signed by whatever key it wants.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::config::TokenVersion;
use crate::keys::{Keys, SigningKey};

/// Entra's tokens live between 60 and 90 minutes, at random.
const LIFETIME_MIN_SECONDS: u64 = 60 * 60;
const LIFETIME_SPREAD_SECONDS: u128 = 30 * 60;

/// A token before it is signed.
#[derive(Debug, Clone)]
pub struct TokenRequest {
    /// The header. Its `alg` decides how an RSA key signs (RS256 if it names no RSA algorithm).
    pub header: Map<String, Value>,
    /// The payload.
    pub claims: Map<String, Value>,
    /// What it is signed with.
    pub sign_with: SignWith,
}

/// What a token is signed with. Changing it does not change the header's `kid` or `alg`.
#[derive(Clone)]
pub enum SignWith {
    /// The directory's current key.
    Current,
    /// The key that was current before the last roll, even if it is no longer published.
    Previous,
    /// A key that the directory does not know.
    Foreign(Box<SigningKey>),
    /// HMAC with this secret, such as the bytes of the public key's PEM: HS384 or HS512 if `alg` says so, else HS256.
    Hmac(Vec<u8>),
    /// Nothing: the signature is empty.
    Nothing,
}

/// Why a token can't be signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There has been no key roll.
    #[error("there is no previous key: roll the directory's keys first")]
    NoPreviousKey,
    /// The library refused to sign.
    #[error("can't sign the token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Who an access token is about.
pub(crate) struct AccessToken<'a> {
    /// Issuer of the token's version.
    pub(crate) issuer: String,
    pub(crate) tenant_id: Uuid,
    pub(crate) version: TokenVersion,
    pub(crate) audience: &'a str,
    /// Application id of the caller, and the object id of its service principal.
    pub(crate) caller_app_id: Uuid,
    pub(crate) caller_object_id: Uuid,
    /// "1" for a client secret, "2" for a certificate.
    pub(crate) authentication: &'static str,
}

// === impl TokenRequest ===

impl TokenRequest {
    /// Sets a claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a claim out.
    #[must_use]
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a member of the header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Changes what the token is signed with.
    #[must_use]
    pub fn sign_with(mut self, sign_with: SignWith) -> Self {
        self.sign_with = sign_with;
        self
    }

    /// A token with the header that Entra gives to tokens of a version.
    pub(crate) fn new(version: TokenVersion, key: &SigningKey, claims: Map<String, Value>) -> Self {
        let mut header = Map::from_iter([
            ("typ".to_owned(), json!("JWT")),
            ("alg".to_owned(), json!("RS256")),
            ("kid".to_owned(), json!(key.key_id())),
        ]);
        if version == TokenVersion::V1 {
            header.insert("x5t".to_owned(), json!(key.key_id()));
        }
        Self {
            header,
            claims,
            sign_with: SignWith::Current,
        }
    }

    /// The signed token.
    pub(crate) fn sign(&self, keys: &Keys) -> Result<String, Error> {
        let mut token = format!("{}.{}", encode(&self.header), encode(&self.claims));
        let signature = match &self.sign_with {
            SignWith::Current => self.rsa(&token, &keys.current)?,
            SignWith::Previous => self.rsa(&token, keys.previous.as_ref().ok_or(Error::NoPreviousKey)?)?,
            SignWith::Foreign(key) => self.rsa(&token, key)?,
            SignWith::Hmac(secret) => {
                let secret = EncodingKey::from_secret(secret);
                let algorithm = match self.header.get("alg").and_then(Value::as_str) {
                    Some("HS384") => Algorithm::HS384,
                    Some("HS512") => Algorithm::HS512,
                    _ => Algorithm::HS256,
                };
                jsonwebtoken::crypto::sign(token.as_bytes(), &secret, algorithm)?
            }
            SignWith::Nothing => String::new(),
        };
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    fn rsa(&self, message: &str, key: &SigningKey) -> Result<String, Error> {
        let algorithm = match self.header.get("alg").and_then(Value::as_str) {
            Some("RS384") => Algorithm::RS384,
            Some("RS512") => Algorithm::RS512,
            Some("PS256") => Algorithm::PS256,
            Some("PS384") => Algorithm::PS384,
            Some("PS512") => Algorithm::PS512,
            _ => Algorithm::RS256,
        };
        Ok(jsonwebtoken::crypto::sign(
            message.as_bytes(),
            key.private(),
            algorithm,
        )?)
    }
}

/// A part of a token: JSON in base64url.
pub(crate) fn encode(part: &Map<String, Value>) -> String {
    URL_SAFE_NO_PAD.encode(Value::Object(part.clone()).to_string())
}

// === impl SignWith ===

impl fmt::Debug for SignWith {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Current => "Current",
            Self::Previous => "Previous",
            Self::Foreign(_) => "Foreign",
            Self::Hmac(_) => "Hmac",
            Self::Nothing => "Nothing",
        })
    }
}

// === impl AccessToken ===

impl AccessToken<'_> {
    /// The claims of an app-only access token, issued now.
    pub(crate) fn claims(&self) -> Map<String, Value> {
        let issued_at = now();
        let (version, caller, authentication) = match self.version {
            TokenVersion::V1 => ("1.0", "appid", "appidacr"),
            TokenVersion::V2 => ("2.0", "azp", "azpacr"),
        };
        Map::from_iter([
            ("aud".to_owned(), json!(self.audience)),
            ("iss".to_owned(), json!(self.issuer)),
            ("iat".to_owned(), json!(issued_at)),
            ("nbf".to_owned(), json!(issued_at)),
            ("exp".to_owned(), json!(issued_at + lifetime_seconds())),
            (caller.to_owned(), json!(self.caller_app_id)),
            (authentication.to_owned(), json!(self.authentication)),
            ("oid".to_owned(), json!(self.caller_object_id)),
            ("sub".to_owned(), json!(self.caller_object_id)),
            ("tid".to_owned(), json!(self.tenant_id)),
            ("uti".to_owned(), json!(unique_token_id())),
            ("ver".to_owned(), json!(version)),
        ])
    }
}

/// Seconds since the epoch.
pub(crate) fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

pub(crate) fn lifetime_seconds() -> u64 {
    let spread = Uuid::new_v4().as_u128() % (LIFETIME_SPREAD_SECONDS + 1);
    LIFETIME_MIN_SECONDS + u64::try_from(spread).unwrap_or_default()
}

pub(crate) fn unique_token_id() -> String {
    URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes())
}

/// An identifier that is the same whenever the same parts are given.
pub(crate) fn stable_id(parts: &[&str]) -> [u8; 32] {
    Sha256::digest(parts.join("|").as_bytes()).into()
}

/// The object id of an application's service principal that the configuration does not name.
pub(crate) fn stable_object_id(tenant_id: Uuid, app_id: Uuid) -> Uuid {
    let digest = stable_id(&["service principal", &tenant_id.to_string(), &app_id.to_string()]);
    let mut bytes = [0; 16];
    for (byte, source) in bytes.iter_mut().zip(digest) {
        *byte = source;
    }
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
