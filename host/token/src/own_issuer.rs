//! Tokens that this process makes for callouts of its own (probes), and the policy that accepts them.
//!
//! They are validated as Entra's are: the same parsing, signature and checks, the same audiences, caller and directories.
//! What differs is the key, which exists in this process alone, and the issuer. No extension's own policy has either, so
//! such a token that comes over the network is refused like any other of an unknown issuer.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::metadata::{KeySet, MetadataDocument, PublishedKeys};
use crate::policy::{Directory, Policy, TokenPolicy, TrustedDocument};

/// The `kid` of the key, and the `uti` of its tokens: what marks a callout of the service's own in its audit record.
pub const OWN_KEY_ID: &str = "claimsmith-probe";

/// Nobody's: RFC 2606 reserves the name.
const ISSUER: &str = "https://claimsmith.invalid/probe";

/// How long a token is valid: a callout takes seconds at most.
const VALID_FOR: Duration = Duration::from_mins(5);

/// Why there is no issuer or no token.
#[derive(Debug, thiserror::Error)]
pub enum OwnIssuerError {
    /// The cryptography library makes no key.
    #[error("no key can be made for the service's own callouts")]
    Generate,
    /// The key cannot be used, or nothing can be signed with it.
    #[error("the key for the service's own callouts cannot be used: {0}")]
    Key(#[from] jsonwebtoken::errors::Error),
    /// The key cannot be published: a defect.
    #[error("the key for the service's own callouts cannot be written: {0}")]
    Publish(#[from] serde_json::Error),
    /// An extension has no audience or no directory.
    #[error("the extension accepts no token at all")]
    NothingAccepted,
}

/// Signs tokens that only the policies it makes accept.
pub struct OwnIssuer {
    key: EncodingKey,
    document: Arc<MetadataDocument>,
}

impl OwnIssuer {
    /// An issuer with a new key, which is kept in memory alone.
    ///
    /// # Errors
    /// [`OwnIssuerError`]: the cryptography library failed.
    pub fn new() -> Result<Self, OwnIssuerError> {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pair = pair.map_err(|_| OwnIssuerError::Generate)?;
        let key = EncodingKey::from_ec_der(pair.as_ref());
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256)?;
        public.common.key_id = Some(OWN_KEY_ID.to_owned());
        let published = PublishedKeys {
            keys: vec![serde_json::to_value(public)?],
        };
        let url = Url::parse(ISSUER).map_err(|_| OwnIssuerError::Generate)?;
        let document = MetadataDocument::of_own_keys(url, KeySet::new(ISSUER.to_owned(), published));
        Ok(Self { key, document })
    }

    /// A policy that accepts this issuer's tokens under the conditions that `like` has for Entra's.
    #[must_use]
    pub fn policy(&self, like: &TokenPolicy) -> TokenPolicy {
        let like = like.policy();
        let directory = |directory: &Directory| Directory {
            id: directory.id,
            documents: vec![TrustedDocument {
                document: Arc::clone(&self.document),
                issuers: Vec::new(),
            }],
        };
        TokenPolicy::new(Policy {
            // The issuer is the same for all: with one directory there is one reading of it.
            directories: like.directories.iter().take(1).map(directory).collect(),
            audiences: like.audiences.clone(),
            caller: like.caller,
            accept_callers: Vec::new(),
            algorithms: vec![Algorithm::ES256],
            leeway: like.leeway,
            app_only: like.app_only,
        })
    }

    /// A token as Entra would send it to what has this policy, and the directory that it speaks for.
    ///
    /// # Errors
    /// [`OwnIssuerError::NothingAccepted`], or that nothing can be signed.
    pub fn token(&self, like: &TokenPolicy) -> Result<(String, Uuid), OwnIssuerError> {
        let like = like.policy();
        let (directory, audience) = (like.directories.first(), like.audiences.first());
        let (Some(directory), Some(audience)) = (directory, audience) else {
            return Err(OwnIssuerError::NothingAccepted);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(OWN_KEY_ID.to_owned());
        let claims = json!({
            "iss": ISSUER,
            "aud": audience,
            "tid": directory.id,
            "ver": "2.0",
            "azp": like.caller,
            "nbf": now,
            "exp": now + VALID_FOR.as_secs(),
            "uti": OWN_KEY_ID,
        });
        Ok((encode(&header, &claims, &self.key)?, directory.id))
    }
}

impl fmt::Debug for OwnIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key is a secret.
        formatter.debug_struct("OwnIssuer").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use tokio::time::Instant;
    use uuid::uuid;

    use super::*;
    use crate::{Caller, ENTRA_CALLER, TokenError};

    const DIRECTORY: Uuid = uuid!("0d1e0001-0000-4000-8000-000000000001");

    fn extension(directories: Vec<Directory>) -> TokenPolicy {
        TokenPolicy::new(Policy {
            directories,
            audiences: vec!["api://127.0.0.1/claims".to_owned()],
            caller: ENTRA_CALLER,
            accept_callers: Vec::new(),
            algorithms: vec![Algorithm::RS256, Algorithm::ES256],
            leeway: Duration::ZERO,
            app_only: true,
        })
    }

    /// A policy as an extension has it, whose one document has other keys.
    fn of_entra() -> TokenPolicy {
        let url = Url::parse("https://login.example/metadata").unwrap();
        let keys = KeySet::new(ISSUER.to_owned(), PublishedKeys { keys: Vec::new() });
        let document = MetadataDocument::of_own_keys(url, keys);
        let documents = vec![TrustedDocument {
            document,
            issuers: Vec::new(),
        }];
        extension(vec![Directory {
            id: DIRECTORY,
            documents,
        }])
    }

    async fn validate(policy: &TokenPolicy, token: &str) -> Result<crate::ValidToken, TokenError> {
        policy.validate(token, Instant::now() + Duration::from_millis(50)).await
    }

    #[tokio::test]
    async fn its_own_policy_accepts_its_tokens_and_no_other_does() {
        let (issuer, entra) = (OwnIssuer::new().unwrap(), of_entra());
        let (token, directory) = issuer.token(&entra).unwrap();
        assert_eq!(directory, DIRECTORY);
        let accepted = validate(&issuer.policy(&entra), &token).await.unwrap();
        assert_eq!((accepted.directory, accepted.caller), (DIRECTORY, Caller::Entra));
        assert_eq!(&*accepted.key_id, OWN_KEY_ID);
        let refused = validate(&entra, &token).await.unwrap_err();
        assert!(matches!(refused, TokenError::UnknownKey { .. }), "{refused}");
        let other = OwnIssuer::new().unwrap();
        let refused = validate(&other.policy(&entra), &token).await.unwrap_err();
        assert!(matches!(refused, TokenError::Signature { .. }), "{refused}");
    }

    #[test]
    fn an_extension_that_accepts_nothing_is_not_called() {
        let nothing = OwnIssuer::new().unwrap().token(&extension(Vec::new()));
        assert!(matches!(nothing, Err(OwnIssuerError::NothingAccepted)));
    }
}
