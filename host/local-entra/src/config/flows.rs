//! What sign-up, one-time codes and password migration need beside a directory's objects.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::callout::{AttributeType, Oddity};
use crate::encryption::{ContentAlgorithm, KeyAlgorithm};

/// One user flow of an external directory: what new users of its applications are asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserFlowConfig {
    /// Id of the directory.
    pub directory: Uuid,
    /// Application ids whose sign-ups have this page.
    pub applications: Vec<Uuid>,
    /// The page's attributes, in order. `email` has the address that the user signs up with.
    pub attributes: Vec<AttributeConfig>,
}

/// One attribute on a user flow's page.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributeConfig {
    /// A built-in name such as `city`, or `extension_{app id without hyphens}_{name}`.
    pub name: String,
    /// The type of its values.
    #[serde(default, rename = "type")]
    pub value_type: AttributeType,
    /// What the page shows before anything is filled in.
    #[serde(default)]
    pub default: Option<Value>,
}

/// How a listener's callouts look, and what happens when they fail.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerConfig {
    /// Object id of the listener.
    pub listener: Uuid,
    /// What happens when the callout fails; only emailOtpSend has a choice.
    #[serde(default)]
    pub behavior_on_error: Option<BehaviorOnError>,
    /// How the requests differ from the documented form.
    #[serde(default)]
    pub oddities: Vec<Oddity>,
}

/// What happens when a callout fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BehaviorOnError {
    /// Microsoft's own mail with the one-time code is sent (`fallbackToMicrosoftProviderOnError`).
    FallbackToMicrosoftProvider,
}

/// How passwords are encrypted for an extension.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionConfig {
    /// Object id of the extension.
    pub extension: Uuid,
    /// A certificate, public key or private key in PEM, by reference: `file:path` or `env:NAME`. Without it the local
    /// Entra makes a key pair when it starts, and gives out both halves.
    #[serde(default)]
    pub certificate: Option<String>,
    /// `RSA-OAEP`, as recorded from Entra, or `RSA-OAEP-256`.
    #[serde(default)]
    pub key_algorithm: KeyAlgorithm,
    /// `A128CBC-HS256`, as recorded from Entra, or `A256GCM`.
    #[serde(default)]
    pub content_algorithm: ContentAlgorithm,
    /// Whether the content is compressed, as recorded from Entra.
    #[serde(default = "default_compressed")]
    pub compressed: bool,
}

impl EncryptionConfig {
    /// A key made at start, and the algorithms recorded from Entra.
    #[must_use]
    pub fn new(extension: Uuid) -> Self {
        Self {
            extension,
            certificate: None,
            key_algorithm: KeyAlgorithm::default(),
            content_algorithm: ContentAlgorithm::default(),
            compressed: default_compressed(),
        }
    }
}

fn default_compressed() -> bool {
    true
}
