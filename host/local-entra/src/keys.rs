//! Signing keys: how they are made, which are published, and what rolls.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// The most keys that are published at a time; a roll drops the oldest beyond it.
const MAX_PUBLISHED: usize = 4;

/// An RSA key pair that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    key_id: String,
    modulus: String,
    exponent: String,
    public_der: Vec<u8>,
    private: EncodingKey,
}

/// The keys of one directory.
#[derive(Debug)]
pub(crate) struct KeyRing {
    keys: ArcSwap<Keys>,
}

/// One state of a directory's keys.
#[derive(Debug)]
pub(crate) struct Keys {
    /// What the discovery endpoint shows: the current key and the previous ones.
    pub(crate) published: Vec<Arc<SigningKey>>,
    /// What new tokens are signed with.
    pub(crate) current: Arc<SigningKey>,
    /// What tokens were signed with before the last roll, published or not.
    pub(crate) previous: Option<Arc<SigningKey>>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cryptography library failed to make a key.
    #[error("can't generate an RSA key")]
    Generate,
    /// The text is not a private RSA key.
    #[error("not a private RSA key in PEM (PKCS#1 or PKCS#8): {0}")]
    Pem(#[source] jsonwebtoken::errors::Error),
    /// The library refused to sign.
    #[error("can't sign: {0}")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

// === impl SigningKey ===

impl SigningKey {
    /// Makes a new RSA key of 2,048 bits, which takes a noticeable part of a second.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn generate() -> Result<Self, Error> {
        let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| Error::Generate)?;
        let private: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| Error::Generate)?;
        Self::from_pem(&pem("PRIVATE KEY", private.as_ref()))
    }

    /// Takes a key from PEM, PKCS#1 or PKCS#8.
    ///
    /// # Errors
    /// When the text is not a private RSA key.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let private = EncodingKey::from_rsa_pem(text.as_bytes()).map_err(Error::Pem)?;
        let jwk = Jwk::from_encoding_key(&private, Algorithm::RS256).map_err(Error::Pem)?;
        let AlgorithmParameters::RSA(public) = jwk.algorithm else {
            return Err(Error::Generate);
        };
        let pair = KeyPair::from_der(private.as_bytes()).map_err(|_| Error::Generate)?;
        let public_der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| Error::Generate)?;
        let public_der = public_der.as_ref().to_vec();
        // As long as the certificate thumbprint that Entra uses as a key id; there is no certificate here.
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &public_der);
        Ok(Self {
            key_id: URL_SAFE_NO_PAD.encode(digest),
            modulus: public.n,
            exponent: public.e,
            public_der,
            private,
        })
    }

    /// The `kid`, and the `x5t` of version 1.0 tokens.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key in PEM (`SubjectPublicKeyInfo`).
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        pem("PUBLIC KEY", &self.public_der)
    }

    /// The public key as a key set publishes it, without an `issuer`.
    #[must_use]
    pub fn public_jwk(&self) -> Value {
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": self.key_id,
            "x5t": self.key_id,
            "n": self.modulus,
            "e": self.exponent,
        })
    }

    /// Signs any text with RS256: for tokens that no [`TokenRequest`](crate::TokenRequest) can express.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn sign(&self, message: &str) -> Result<String, Error> {
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, Algorithm::RS256).map_err(Error::Sign)
    }

    pub(crate) fn private(&self) -> &EncodingKey {
        &self.private
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

// === impl KeyRing ===

impl KeyRing {
    pub(crate) fn new(key: SigningKey) -> Self {
        let current = Arc::new(key);
        let keys = Keys {
            published: vec![Arc::clone(&current)],
            current,
            previous: None,
        };
        Self {
            keys: ArcSwap::from_pointee(keys),
        }
    }

    pub(crate) fn load(&self) -> Arc<Keys> {
        self.keys.load_full()
    }

    /// Makes `key` the current one. The others stay published, unless they are to be removed at once.
    pub(crate) fn roll(&self, key: SigningKey, remove_previous: bool) {
        let current = Arc::new(key);
        self.keys.rcu(|keys| {
            let mut published = vec![Arc::clone(&current)];
            if !remove_previous {
                published.extend(keys.published.iter().take(MAX_PUBLISHED - 1).cloned());
            }
            Keys {
                published,
                current: Arc::clone(&current),
                previous: Some(Arc::clone(&keys.current)),
            }
        });
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut body = String::new();
    for (position, character) in STANDARD.encode(der).chars().enumerate() {
        if position > 0 && position % 64 == 0 {
            body.push('\n');
        }
        body.push(character);
    }
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_roll_keeps_the_previous_key_published_unless_told_to_remove_it() {
        let ring = KeyRing::new(SigningKey::generate().unwrap());
        let first = ring.load().current.key_id().to_owned();
        ring.roll(SigningKey::generate().unwrap(), false);
        let keys = ring.load();
        assert_ne!(keys.current.key_id(), first);
        assert_eq!(keys.published.len(), 2);
        assert_eq!(keys.previous.as_ref().unwrap().key_id(), first);

        ring.roll(SigningKey::generate().unwrap(), true);
        let keys = ring.load();
        assert_eq!(keys.published.len(), 1);
        assert_eq!(keys.published[0].key_id(), keys.current.key_id());
        assert!(keys.previous.is_some());
    }

    #[test]
    fn a_printed_key_shows_only_its_id() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(
            format!("{key:?}"),
            format!("SigningKey {{ key_id: {:?}, .. }}", key.key_id())
        );
        assert!(key.public_key_pem().starts_with("-----BEGIN PUBLIC KEY-----\nMIIB"));
    }
}
