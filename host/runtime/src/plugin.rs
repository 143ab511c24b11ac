//! A plugin: a component that has been compiled, linked, type-checked and asked for its description.

use std::fmt;

use claimsmith_contract::Event;
use semver::Version;
use sha2::{Digest as _, Sha256};

use crate::exports::Exports;

/// The SHA-256 of a component's bytes: what identifies a version.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(crate) const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

/// A compiled component, shared by all bindings of one digest.
pub struct Plugin {
    pub(crate) digest: Digest,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) summary: Option<String>,
    pub(crate) exports: Exports,
}

impl Plugin {
    /// What identifies the version.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the plugin calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its semantic version.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// One sentence for people.
    #[must_use]
    pub fn summary(&self) -> Option<&str> {
        self.summary.as_deref()
    }

    /// Whether it answers an event.
    #[must_use]
    pub fn answers(&self, event: Event) -> bool {
        self.exports.answers(event)
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Plugin")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}
