//! Runs plugins: WebAssembly components of the world `claimsmith:plugin`, each invocation in a fresh instance.
//!
//! Knows nothing of HTTP and of Entra's JSON. [`Runtime::load`] turns bytes into a [`Plugin`] that has been compiled,
//! linked, type-checked and asked for its description; [`Runtime::bind`] adds settings that the plugin has accepted and
//! limits, which makes a [`Binding`]; a binding's methods run one invocation each and say how it ended as an
//! [`InvocationError`] and what it used as [`Usage`].
//!
//! What a plugin can reach is what [`linker`] links, and nothing else: no filesystem, no sockets, an empty environment,
//! coarse clocks.

mod binding;
mod bindings;
mod engine;
mod error;
mod guest_log;
mod guest_text;
mod limits;
mod linker;
mod plugin;
mod run;
mod runtime;
mod state;

pub use binding::Binding;
pub use bindings::callout;
pub use bindings::token_issuance_start::{Claim, ClaimValue};
pub use engine::EPOCH_TICK;
pub use error::{BindError, EngineError, InvocationError, LoadError, SettingsProblem};
pub use limits::Limits;
pub use plugin::{Digest, Plugin};
pub use run::{Report, Usage};
pub use runtime::{Runtime, RuntimeOptions};
