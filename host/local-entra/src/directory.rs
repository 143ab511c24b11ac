//! A running directory: its objects, its keys, its extensions' addresses and its sign-in log.

mod lookup;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::config::{Config, DirectoryConfig, ExtensionConfig, HandlerConfig, Secret, TokenVersion, UserFlowConfig};
use crate::extension::Extension;
use crate::keys::{self, KeyRing, Keys, SigningKey};
use crate::sign_in::Journal;
use crate::token::{self, AccessToken, TokenRequest};
use crate::users::Users;

/// One directory of a running [`LocalEntra`](crate::LocalEntra).
#[derive(Debug)]
pub struct Directory {
    config: DirectoryConfig,
    base_url: String,
    caller_app_id: Uuid,
    max_response_bytes: usize,
    client: reqwest::Client,
    secrets: HashMap<Uuid, Secret>,
    extensions: Vec<Extension>,
    keys: KeyRing,
    journal: Journal,
    users: Users,
    user_flows: Vec<UserFlowConfig>,
    handlers: Vec<HandlerConfig>,
}

/// Why a directory can't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A client secret can't be read.
    #[error("application {app_id}: {reason}")]
    Secret {
        /// The application.
        app_id: Uuid,
        /// Why, and what a secret looks like.
        reason: String,
    },
    /// There is no such extension.
    #[error("directory {directory} has no extension {extension}; it has: {known}")]
    UnknownExtension {
        /// The directory.
        directory: Uuid,
        /// The id asked for.
        extension: Uuid,
        /// The ids there are.
        known: String,
    },
    /// Passwords can't be encrypted for an extension.
    #[error("extension {extension}: {reason}")]
    Encryption {
        /// The extension.
        extension: Uuid,
        /// Why.
        reason: String,
    },
    /// There is no key.
    #[error(transparent)]
    Key(#[from] keys::Error),
    /// A token can't be signed.
    #[error(transparent)]
    Token(#[from] token::Error),
}

// === impl Directory ===

impl Directory {
    pub(crate) fn new(
        config: DirectoryConfig,
        host: &Config,
        base_url: &str,
        client: reqwest::Client,
        key: SigningKey,
    ) -> Result<Self, Error> {
        let mut secrets = HashMap::new();
        for application in &config.applications {
            let app_id = application.app_id;
            if let Some(secret) = &application.secret {
                secrets.insert(app_id, secret.clone());
            } else if let Some(reference) = &application.client_secret {
                let secret = Secret::resolve(reference).map_err(|reason| Error::Secret { app_id, reason })?;
                secrets.insert(app_id, secret);
            }
        }
        for listener in &config.listeners {
            if !config
                .extensions
                .iter()
                .any(|extension| extension.id == listener.extension)
            {
                tracing::warn!(listener = %listener.id, extension = %listener.extension,
                    "the listener names an extension that does not exist: its sign-ins will fail with 1003011");
            }
        }
        Ok(Self {
            base_url: format!("{base_url}/{}", config.id),
            caller_app_id: host.caller_app_id,
            max_response_bytes: host.max_response_bytes,
            client,
            secrets,
            extensions: lookup::extensions(&config, host)?,
            keys: KeyRing::new(key),
            journal: Journal::default(),
            users: Users::new(&config.users),
            user_flows: host
                .user_flows
                .iter()
                .filter(|flow| flow.directory == config.id)
                .cloned()
                .collect(),
            handlers: host.handlers.clone(),
            config,
        })
    }

    /// The directory's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.config.id
    }

    /// The directory as it was configured.
    #[must_use]
    pub fn config(&self) -> &DirectoryConfig {
        &self.config
    }

    /// `{address of the local Entra}/{directory id}`: what every URL of the directory begins with.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The `iss` of tokens of a version.
    #[must_use]
    pub fn issuer(&self, version: TokenVersion) -> String {
        match version {
            TokenVersion::V1 => format!("{}/", self.base_url),
            TokenVersion::V2 => format!("{}/v2.0", self.base_url),
        }
    }

    /// Address of the discovery document of a version.
    #[must_use]
    pub fn metadata_url(&self, version: TokenVersion) -> String {
        match version {
            TokenVersion::V1 => format!("{}/.well-known/openid-configuration", self.base_url),
            TokenVersion::V2 => format!("{}/v2.0/.well-known/openid-configuration", self.base_url),
        }
    }

    /// The key that new tokens are signed with.
    #[must_use]
    pub fn current_key(&self) -> Arc<SigningKey> {
        Arc::clone(&self.keys.load().current)
    }

    /// The current key's public half in PEM.
    #[must_use]
    pub fn public_key_pem(&self) -> String {
        self.current_key().public_key_pem()
    }

    /// Makes a new key the current one. The previous keys stay published, unless `remove_previous`.
    ///
    /// # Errors
    /// When the key can't be generated.
    pub async fn roll_keys(&self, remove_previous: bool) -> Result<Arc<SigningKey>, Error> {
        let key = generate_key().await?;
        self.keys.roll(key, remove_previous);
        let current = self.current_key();
        tracing::info!(directory = %self.id(), key_id = current.key_id(), remove_previous, "signing keys rolled");
        Ok(current)
    }

    /// A new token as Entra sends it with a callout of this extension, not yet signed: change what you like and
    /// [`mint`](Self::mint) it.
    ///
    /// # Errors
    /// When the directory has no such extension.
    pub fn callout_token(&self, extension: Uuid) -> Result<TokenRequest, Error> {
        let extension = self.extension(extension)?;
        Ok(self.token_request(&self.keys.load(), &extension.config))
    }

    /// The very token that the next callout of this extension carries. It is used until it is about to expire or the keys
    /// roll.
    ///
    /// # Errors
    /// When the directory has no such extension, or the token can't be signed.
    pub fn callout_bearer(&self, extension: Uuid) -> Result<String, Error> {
        self.bearer(self.extension(extension)?)
    }

    /// Signs a token.
    ///
    /// # Errors
    /// When it is to be signed with the previous key and there is none.
    pub fn mint(&self, request: &TokenRequest) -> Result<String, Error> {
        Ok(request.sign(&self.keys.load())?)
    }

    /// Changes where the callouts of an extension go.
    ///
    /// # Errors
    /// When the directory has no such extension.
    pub fn set_target_url(&self, extension: Uuid, target_url: &str) -> Result<(), Error> {
        self.extension(extension)?.set_target_url(target_url);
        Ok(())
    }

    /// Where the callouts of an extension go.
    ///
    /// # Errors
    /// When the directory has no such extension.
    pub fn target_url(&self, extension: Uuid) -> Result<String, Error> {
        Ok(self.extension(extension)?.target_url().to_string())
    }

    // What the other modules need.

    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.keys.load()
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(crate) fn http_client(&self) -> &reqwest::Client {
        &self.client
    }

    pub(crate) fn max_response_bytes(&self) -> usize {
        self.max_response_bytes
    }

    pub(crate) fn secret(&self, app_id: Uuid) -> Option<&Secret> {
        self.secrets.get(&app_id)
    }

    /// The token for a callout, from the cache or new.
    pub(crate) fn bearer(&self, extension: &Extension) -> Result<String, Error> {
        let keys = self.keys.load();
        Ok(extension.bearer(&keys, || self.token_request(&keys, &extension.config))?)
    }

    /// Signs claims as a token of a version with the current key.
    pub(crate) fn sign(&self, version: TokenVersion, claims: Map<String, Value>) -> Result<String, Error> {
        let keys = self.keys.load();
        Ok(TokenRequest::new(version, &keys.current, claims).sign(&keys)?)
    }

    fn token_request(&self, keys: &Keys, extension: &ExtensionConfig) -> TokenRequest {
        let app_id = extension.resource_app_id.to_string();
        let claims = AccessToken {
            issuer: self.issuer(extension.token_version),
            tenant_id: self.id(),
            version: extension.token_version,
            audience: match extension.token_version {
                TokenVersion::V1 => &extension.resource_id,
                TokenVersion::V2 => &app_id,
            },
            caller_app_id: self.caller_app_id,
            caller_object_id: token::stable_object_id(self.id(), self.caller_app_id),
            authentication: "2",
        }
        .claims();
        TokenRequest::new(extension.token_version, &keys.current, claims)
    }

    pub(crate) fn extension(&self, id: Uuid) -> Result<&Extension, Error> {
        self.find_extension(id).ok_or_else(|| Error::UnknownExtension {
            directory: self.id(),
            extension: id,
            known: list(self.extensions.iter().map(|extension| extension.config.id)),
        })
    }
}

/// Ids as one text for a message.
pub(crate) fn list(ids: impl Iterator<Item = Uuid>) -> String {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    if ids.is_empty() {
        "none".to_owned()
    } else {
        ids.join(", ")
    }
}

/// Makes a key where it does not hold up other work.
pub(crate) async fn generate_key() -> Result<SigningKey, Error> {
    let key = tokio::task::spawn_blocking(SigningKey::generate).await;
    Ok(key.unwrap_or(Err(keys::Error::Generate))?)
}
