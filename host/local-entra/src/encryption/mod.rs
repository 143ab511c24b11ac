//! The encrypted password of passwordSubmit.
//!
//! What the user typed travels as claims of an unsigned JWT (`alg` none), which is the plaintext of a compact JWE for the
//! key in the extension's application. A [`PasswordContext`] is all of that before it is encrypted. The good ones come from
//! [`Directory`](crate::Directory); a test takes one, changes any part of its headers or claims, and has it encrypted for
//! whatever key and with whatever [`Flaw`] it wants.

mod key;
mod seal;

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub use key::EncryptionKey;

use crate::token;

/// The inner token lives ten minutes.
const LIFETIME_SECONDS: u64 = 600;

/// How the key of the content is encrypted: the JWE's `alg`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum KeyAlgorithm {
    /// OAEP with SHA-1, as recorded from Entra.
    #[default]
    #[serde(rename = "RSA-OAEP")]
    RsaOaep,
    /// OAEP with SHA-256.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
}

/// How the content is encrypted: the JWE's `enc`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ContentAlgorithm {
    /// AES-128 in CBC mode with HMAC and SHA-256, as recorded from Entra.
    #[default]
    #[serde(rename = "A128CBC-HS256")]
    A128CbcHs256,
    /// AES-256 in Galois/Counter mode.
    #[serde(rename = "A256GCM")]
    A256Gcm,
}

/// A password before it is encrypted for an extension. Printing it does not show the password.
#[derive(Clone)]
pub struct PasswordContext {
    /// Header of the JWE: `enc`, `x5t`, `zip` and whatever is added. Its `alg` is [`key_algorithm`](Self::key_algorithm).
    pub header: Map<String, Value>,
    /// How the content's key is encrypted.
    pub key_algorithm: KeyAlgorithm,
    /// Header of the inner token. The inner token is never signed.
    pub token_header: Map<String, Value>,
    /// Claims of the inner token: `user-password`, `username`, `nonce`, `aud`, `iss`, `iat`, `nbf`, `exp`.
    pub claims: Map<String, Value>,
    /// The key it is encrypted for. Changing it does not change the header's `x5t`.
    pub key: EncryptionKey,
    /// What is wrong with it on purpose.
    pub flaw: Option<Flaw>,
}

/// What can be wrong with an encrypted password beside its headers and claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The last part, the authentication tag, has one bit changed.
    CorruptedTag,
    /// The fourth part, the ciphertext, has one bit changed.
    CorruptedCiphertext,
    /// The second part, the encrypted key, has one bit changed.
    CorruptedKey,
    /// The header says `zip`, but the content is not compressed.
    NotDeflated,
}

/// Why a password can't be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not a certificate or key that passwords can be encrypted for.
    #[error("not an RSA certificate or key to encrypt for: {0}")]
    Key(String),
    /// The library refused, for example because a header has a member of the wrong type.
    #[error("can't encrypt the password: {0}")]
    Encrypt(#[from] josekit::JoseError),
}

// === impl PasswordContext ===

impl PasswordContext {
    /// What Entra would encrypt: the recorded header, and the password in a token for the extension's application, whose
    /// issuer is its resource id.
    #[must_use]
    pub fn new(key: EncryptionKey, username: &str, password: &str, audience: Uuid, issuer: &str) -> Self {
        let issued_at = token::now();
        Self {
            header: Map::from_iter([("x5t".to_owned(), json!(key.thumbprint()))]),
            key_algorithm: KeyAlgorithm::default(),
            token_header: Map::from_iter([("typ".to_owned(), json!("JWT")), ("alg".to_owned(), json!("none"))]),
            claims: Map::from_iter([
                ("user-password".to_owned(), json!(password)),
                ("username".to_owned(), json!(username)),
                ("nonce".to_owned(), json!(Uuid::new_v4())),
                ("aud".to_owned(), json!(audience)),
                ("iss".to_owned(), json!(issuer)),
                ("iat".to_owned(), json!(issued_at)),
                ("nbf".to_owned(), json!(issued_at)),
                ("exp".to_owned(), json!(issued_at + LIFETIME_SECONDS)),
            ]),
            key,
            flaw: None,
        }
        .content_algorithm(ContentAlgorithm::default())
        .compressed(true)
    }

    /// Sets a claim of the inner token.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a claim out of the inner token.
    #[must_use]
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets a member of the JWE's header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Takes a member out of the JWE's header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Changes how the content's key is encrypted.
    #[must_use]
    pub fn key_algorithm(mut self, algorithm: KeyAlgorithm) -> Self {
        self.key_algorithm = algorithm;
        self
    }

    /// Changes how the content is encrypted.
    #[must_use]
    pub fn content_algorithm(self, algorithm: ContentAlgorithm) -> Self {
        self.header(
            "enc",
            match algorithm {
                ContentAlgorithm::A128CbcHs256 => "A128CBC-HS256",
                ContentAlgorithm::A256Gcm => "A256GCM",
            },
        )
    }

    /// Compresses the content, or not.
    #[must_use]
    pub fn compressed(self, compressed: bool) -> Self {
        if compressed {
            self.header("zip", "DEF")
        } else {
            self.without_header("zip")
        }
    }

    /// Encrypts for another key, keeping the header.
    #[must_use]
    pub fn encrypt_for(mut self, key: EncryptionKey) -> Self {
        self.key = key;
        self
    }

    /// Makes the result wrong in one more way.
    #[must_use]
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }

    /// A token that expired as long ago as it lived.
    #[must_use]
    pub fn expired(self) -> Self {
        let issued_at = token::now() - 2 * LIFETIME_SECONDS;
        self.claim("iat", issued_at)
            .claim("nbf", issued_at)
            .claim("exp", issued_at + LIFETIME_SECONDS)
    }

    /// The nonce that the extension has to answer; absent when it was taken out.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.claims.get("nonce").and_then(Value::as_str)
    }

    /// The inner token: an unsigned JWT.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}.{}.", token::encode(&self.token_header), token::encode(&self.claims))
    }

    /// The compact JWE: `encryptedPasswordContext`.
    ///
    /// # Errors
    /// When the library refuses a header.
    pub fn encrypt(&self) -> Result<String, Error> {
        self.encrypt_text(&self.token())
    }

    /// The compact JWE of something else than the inner token, so that a test can encrypt what Entra would not.
    ///
    /// # Errors
    /// When the library refuses a header.
    pub fn encrypt_text(&self, text: &str) -> Result<String, Error> {
        seal::seal(self, text)
    }
}

impl fmt::Debug for PasswordContext {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let claims: Vec<&String> = self.claims.keys().collect();
        formatter
            .debug_struct("PasswordContext")
            .field("header", &self.header)
            .field("claims", &claims)
            .field("key", &self.key)
            .field("flaw", &self.flaw)
            .finish_non_exhaustive()
    }
}
