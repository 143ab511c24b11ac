//! The signing keys of one metadata document.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::claims::Unverified;
use crate::error::{TokenError, quoted};

/// What tenant-independent metadata writes where a tenant's id belongs (contract.md, section 2.2).
const TENANT_PLACEHOLDER: &str = "{tenantid}";

/// The keys of one document at one time, and the issuer that the document names.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct KeySet {
    issuer: String,
    keys: Vec<Arc<Key>>,
}

/// A public key that tokens may be signed with.
#[derive(Debug)]
pub(crate) struct Key {
    kid: String,
    /// The only issuer it signs for, when the key says so.
    issuer: Option<String>,
    /// The only algorithm it signs with, when the key says so (RFC 7517, section 4.4).
    algorithm: Option<Algorithm>,
    decoding: DecodingKey,
    /// The key as it was published, to see whether it has changed.
    published: Value,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.published == other.published
    }
}

/// A JWK Set (RFC 7517, section 5), its keys not yet interpreted: an unusual key must not spoil the others.
#[derive(Debug, Deserialize)]
pub(crate) struct PublishedKeys {
    pub(crate) keys: Vec<Value>,
}

impl KeySet {
    /// Reads published keys; those that cannot verify a token's signature are left out.
    pub(crate) fn new(issuer: String, published: PublishedKeys) -> Self {
        let keys = published.keys.into_iter().filter_map(Key::new).map(Arc::new).collect();
        Self { issuer, keys }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(crate) fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.kid.as_str()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The issuer that the document names, for one directory.
    pub(crate) fn issuer_of(&self, directory: Uuid) -> String {
        for_directory(&self.issuer, directory)
    }

    /// The key with this id, if it may sign for this issuer, which the document is trusted for. A key that says that
    /// it signs for the document's own issuer also signs for the other names that the issuer is configured to have.
    pub(crate) fn find(&self, kid: &str, issuer: &str, directory: Uuid) -> Option<Arc<Key>> {
        let may_sign = |key: &Key| {
            key.issuer.as_deref().is_none_or(|only| {
                let only = for_directory(only, directory);
                only == issuer || only == self.issuer_of(directory)
            })
        };
        self.keys.iter().find(|key| key.kid == kid && may_sign(key)).cloned()
    }
}

fn for_directory(issuer: &str, directory: Uuid) -> String {
    issuer.replace(TENANT_PLACEHOLDER, &directory.to_string())
}

impl Key {
    /// `None` for a key that cannot verify a token's signature, or that says of itself what is not understood: a limit
    /// that cannot be read must not be one that is not kept.
    fn new(published: Value) -> Option<Self> {
        let jwk = Jwk::deserialize(&published).ok()?;
        let asymmetric = matches!(
            jwk.algorithm,
            AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_)
        );
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        let verifies = |operations: &Vec<_>| operations.contains(&KeyOperations::Verify);
        if !asymmetric || !signs || !jwk.common.key_operations.as_ref().is_none_or(verifies) {
            return None;
        }
        let algorithm = match published.get("alg") {
            None => None,
            Some(named) => Some(named.as_str()?.parse().ok()?),
        };
        let issuer = match published.get("issuer") {
            None => None,
            Some(named) => Some(named.as_str()?.to_owned()),
        };
        Some(Self {
            issuer,
            algorithm,
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
            kid: jwk.common.key_id?,
            published,
        })
    }

    /// Verifies a token's signature. The key must be one for the algorithm, which the policy has allowed.
    pub(crate) fn verify(&self, unverified: &Unverified<'_>, algorithm: Algorithm) -> Result<(), TokenError> {
        if let Some(only) = self.algorithm.filter(|only| *only != algorithm) {
            return Err(TokenError::Algorithm {
                found: quoted(&unverified.alg),
                allowed: vec![only],
            });
        }
        let verified = crypto::verify(
            unverified.signature,
            unverified.message.as_bytes(),
            &self.decoding,
            algorithm,
        );
        if matches!(verified, Ok(true)) {
            return Ok(());
        }
        Err(TokenError::Signature { kid: quoted(&self.kid) })
    }
}
