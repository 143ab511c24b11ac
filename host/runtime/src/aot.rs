//! Compiled components, kept in a directory so that a start need not compile them again.
//!
//! What is in the directory becomes machine code of this process, so none of it is believed: an [`entry`] carries an
//! HMAC over all of itself, under a [`key`] that only this host's user can read, and names the component, the engine's
//! settings and the build it was made by and for. It is read once, into memory, and what was verified there is what is
//! loaded. File names say nothing. Whatever does not verify is deleted, and the component is compiled again.
//!
//! [`cache`] is the directory; [`code`] holds the one unsafe call, and a type that only what is ours can have.

mod cache;
mod code;
mod entry;
mod key;

pub(crate) use cache::{Cache, Found, Kept};
pub use cache::{CacheError, CacheOptions, check_cache};
pub(crate) use code::CompiledCode;

use std::hash::{Hash as _, Hasher};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

/// The versions of everything that code generation depends on. The engine's own hash names wasmtime's major version only,
/// and a patch release may be made because an earlier one compiled wrongly.
const LOCKED_DEPENDENCIES: &[u8] = include_bytes!("../../../Cargo.lock");

/// What compiled code is for: code of another origin is not loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The engine's settings, the machine's features among them.
    pub(crate) engine: [u8; 32],
    /// The build of the host.
    pub(crate) build: [u8; 32],
}

impl Origin {
    /// The length of [`Self::to_bytes`].
    pub(crate) const BYTES: usize = 64;

    /// What this process makes with an engine of these settings.
    pub(crate) fn of(engine: &Engine) -> Self {
        let build = Sha256::new()
            .chain_update(env!("CARGO_PKG_VERSION"))
            .chain_update([0])
            .chain_update(LOCKED_DEPENDENCIES);
        let mut engine_hash = Hash(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut engine_hash);
        Self {
            engine: engine_hash.0.finalize().into(),
            build: build.finalize().into(),
        }
    }

    /// The same, told from other builds by a tag; unchanged by none.
    pub(crate) fn tagged(self, tag: &str) -> Self {
        if tag.is_empty() {
            return self;
        }
        let build = Sha256::new().chain_update(self.build).chain_update(tag);
        Self {
            build: build.finalize().into(),
            ..self
        }
    }

    /// How it is written down.
    pub(crate) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let (engine, build) = bytes.split_at_mut(32);
        engine.copy_from_slice(&self.engine);
        build.copy_from_slice(&self.build);
        bytes
    }
}

/// Takes what a value hashes with SHA-256: the standard hashers are neither the same in every process nor safe from
/// collisions.
struct Hash(Sha256);

impl Hasher for Hash {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // Nobody asks for it: the digest is taken whole.
        0
    }
}
