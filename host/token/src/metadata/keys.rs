//! The signing keys of one metadata document.

use std::sync::Arc;

use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, PublicKeyUse};
use jsonwebtoken::{DecodingKey, crypto};
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
pub(super) struct PublishedKeys {
    keys: Vec<Value>,
}

impl KeySet {
    /// Reads published keys; those that cannot verify a token's signature are left out.
    pub(super) fn new(issuer: String, published: PublishedKeys) -> Self {
        let keys = published.keys.into_iter().filter_map(Key::new).map(Arc::new).collect();
        Self { issuer, keys }
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn ids(&self) -> Vec<&str> {
        self.keys.iter().map(|key| key.kid.as_str()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The issuer that the document names, for one directory.
    pub(crate) fn issuer_of(&self, directory: Uuid) -> String {
        for_directory(&self.issuer, directory)
    }

    /// The key with this id, if it may sign for this issuer.
    pub(crate) fn find(&self, kid: &str, issuer: &str, directory: Uuid) -> Option<Arc<Key>> {
        let may_sign = |key: &Key| {
            key.issuer
                .as_deref()
                .is_none_or(|only| for_directory(only, directory) == issuer)
        };
        self.keys.iter().find(|key| key.kid == kid && may_sign(key)).cloned()
    }
}

fn for_directory(issuer: &str, directory: Uuid) -> String {
    issuer.replace(TENANT_PLACEHOLDER, &directory.to_string())
}

impl Key {
    fn new(published: Value) -> Option<Self> {
        let jwk = Jwk::deserialize(&published).ok()?;
        let asymmetric = matches!(
            jwk.algorithm,
            AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_)
        );
        let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
        if !asymmetric || !signs {
            return None;
        }
        Some(Self {
            decoding: DecodingKey::from_jwk(&jwk).ok()?,
            kid: jwk.common.key_id?,
            issuer: published.get("issuer").and_then(Value::as_str).map(str::to_owned),
            published,
        })
    }

    /// Verifies a token's signature. The key's type must fit the algorithm, which the policy has allowed.
    pub(crate) fn verify(&self, unverified: &Unverified<'_>) -> Result<(), TokenError> {
        let verified = crypto::verify(
            unverified.signature,
            unverified.message.as_bytes(),
            &self.decoding,
            unverified.algorithm,
        );
        if matches!(verified, Ok(true)) {
            return Ok(());
        }
        Err(TokenError::Signature { kid: quoted(&self.kid) })
    }
}
