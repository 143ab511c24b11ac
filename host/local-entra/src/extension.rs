//! A running extension: its registration, where it is now, and the token it is called with.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::config::{EncryptionConfig, ExtensionConfig, Secret};
use crate::encryption::{EncryptionKey, PasswordContext};
use crate::keys::Keys;
use crate::token::{self, TokenRequest};

/// A callout token is replaced when it has less than this left to live.
const TOKEN_RENEWAL_SECONDS: u64 = 5 * 60;

/// One extension of a directory.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) config: ExtensionConfig,
    pub(crate) encryption: Option<Encryption>,
    target_url: ArcSwap<String>,
    token: Mutex<Option<CachedToken>>,
}

/// How passwords are encrypted for an extension.
#[derive(Debug)]
pub(crate) struct Encryption {
    pub(crate) key: EncryptionKey,
    config: EncryptionConfig,
}

struct CachedToken {
    token: String,
    key_id: String,
    expires_at: u64,
}

// === impl Extension ===

impl Extension {
    pub(crate) fn new(config: ExtensionConfig, encryption: Option<Encryption>) -> Self {
        let target_url = ArcSwap::from_pointee(config.target_url.clone());
        Self {
            config,
            encryption,
            target_url,
            token: Mutex::new(None),
        }
    }

    /// Where callouts go now.
    pub(crate) fn target_url(&self) -> Arc<String> {
        self.target_url.load_full()
    }

    pub(crate) fn set_target_url(&self, target_url: &str) {
        self.target_url.store(Arc::new(target_url.to_owned()));
    }

    /// The token for a callout: the last one, unless it is about to expire or the keys have rolled, otherwise a new one.
    pub(crate) fn bearer(&self, keys: &Keys, new: impl FnOnce() -> TokenRequest) -> Result<String, token::Error> {
        let mut cached = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cached) = cached.as_ref()
            && cached.key_id == keys.current.key_id()
            && cached.expires_at > token::now() + TOKEN_RENEWAL_SECONDS
        {
            return Ok(cached.token.clone());
        }
        let request = new();
        let token = request.sign(keys)?;
        let expires_at = request.claims.get("exp").and_then(Value::as_u64).unwrap_or_default();
        let key_id = keys.current.key_id().to_owned();
        *cached = Some(CachedToken {
            token: token.clone(),
            key_id,
            expires_at,
        });
        Ok(token)
    }
}

// === impl Encryption ===

impl Encryption {
    /// Reads the configured key, or makes one.
    pub(crate) fn new(config: &EncryptionConfig) -> Result<Self, String> {
        let key = match &config.certificate {
            Some(reference) => EncryptionKey::from_pem(Secret::resolve(reference)?.reveal()),
            None => EncryptionKey::generate(),
        };
        Ok(Self {
            key: key.map_err(|error| error.to_string())?,
            config: config.clone(),
        })
    }

    /// A password for an extension, not yet encrypted.
    pub(crate) fn context(&self, extension: &ExtensionConfig, username: &str, password: &str) -> PasswordContext {
        let audience = extension.resource_app_id;
        PasswordContext::new(self.key.clone(), username, password, audience, &extension.resource_id)
            .key_algorithm(self.config.key_algorithm)
            .content_algorithm(self.config.content_algorithm)
            .compressed(self.config.compressed)
    }
}

// === impl CachedToken ===

impl fmt::Debug for CachedToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CachedToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
