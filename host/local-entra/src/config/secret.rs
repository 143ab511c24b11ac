//! Client secrets: where they come from, and that nobody prints them.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

/// A secret that shows nothing when printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Resolves `env:NAME` or `file:path`; a final line break of a file is not part of the secret.
    pub(crate) fn resolve(reference: &str) -> Result<Self, String> {
        let secret = if let Some(name) = reference.strip_prefix("env:") {
            std::env::var(name).map_err(|_| format!("the environment variable `{name}` is not set"))?
        } else if let Some(path) = reference.strip_prefix("file:") {
            std::fs::read_to_string(path)
                .map_err(|error| format!("can't read the secret from `{path}`: {error}"))?
                .trim_end_matches(['\r', '\n'])
                .to_owned()
        } else {
            return Err(
                "a secret is a reference, `env:NAME` or `file:path`; for a made-up secret of the local Entra \
                        use the member `secret`"
                    .to_owned(),
            );
        };
        if secret.is_empty() {
            Err(format!("`{reference}` holds an empty secret"))
        } else {
            Ok(Self(secret))
        }
    }

    /// The secret itself.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares digests, so that the time taken says nothing about the secret.
    pub(crate) fn matches(&self, candidate: &str) -> bool {
        Sha256::digest(self.0.as_bytes()) == Sha256::digest(candidate.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}
