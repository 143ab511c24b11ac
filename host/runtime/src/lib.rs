//! Runs plugins: WebAssembly components of the world `claimsmith:plugin`, each invocation in a fresh instance, unless
//! operator and tenant both want a binding's instances to be used again ([`Isolation::Reuse`]).
//!
//! Knows nothing of HTTP and of Entra's JSON. [`Runtime::load`] turns bytes into a [`Plugin`] that has been compiled,
//! linked, type-checked and asked for its description; [`Runtime::bind`] adds settings that the plugin has accepted and
//! limits, which makes a [`Binding`]; a binding's methods run one invocation each and say how it ended as an
//! [`InvocationError`] and what it used as [`Usage`].
//!
//! What a plugin can reach is what `linker` links, and nothing else: no filesystem, no sockets, an empty environment,
//! coarse clocks.

mod aot;
mod binding;
mod bindings;
mod breaker;
mod budget;
mod capability;
mod compiler;
mod components;
mod descriptors;
mod engine;
mod error;
mod exports;
mod guest_log;
mod guest_output;
mod guest_text;
mod journal;
mod kept_out;
mod limits;
mod linker;
#[cfg(feature = "native-plugins")]
pub mod native;
mod pagemap;
mod plugin;
mod recording;
mod reuse;
mod run;
mod runtime;
mod share;
mod sources;
mod state;
mod trace;
mod turns;

/// Whether this build can run plugins outside the sandbox (feature `native-plugins`): only a benchmark's can.
pub const HAS_NATIVE_PLUGINS: bool = cfg!(feature = "native-plugins");

pub use aot::{CacheError, CacheOptions, check_cache};
pub use binding::{Binding, PluginName};
pub use breaker::{Breaker, BreakerOptions, BreakerPermit, BreakerState};
/// The plugin interface's types, as the host gives and gets them: one module for each interface.
pub mod interface {
    pub use crate::bindings::{
        attribute_collection_start, attribute_collection_submit, cache, callout, directory, email_otp_send, http, mail,
        password_submit, sign_up, sql, token_issuance_start, verified_id_claim_validation,
    };
}
pub use capability::{
    Cache, CacheFuture, CacheLookup, CallContext, CapabilityFuture, DirectoryUpstream, Grants, HttpUpstream,
    MailUpstream, Reservation, ReservedKey, SqlUpstream, Upstream, trace_id,
};
pub use compiler::{ChildLimits, CompileLimits, Compiler, CompilerProgram, compile_for_parent};
pub use descriptors::raise_descriptor_limit;
pub use engine::EPOCH_TICK;
pub use error::{
    BindError, EngineError, Growth, HostResource, InvocationError, LoadError, PrecompileError, ReuseNotAllowed,
    RuntimeError, SettingsProblem, Whose,
};
pub use guest_log::LogRecord;
pub use guest_output::GuestWords;
pub use guest_text::clean_to;
pub use journal::{CapabilityCall, Journal};
pub use limits::{Limits, MAX_TABLE_ELEMENTS};
pub use pagemap::PagemapScan;
pub use plugin::{Digest, NotADigest, Plugin};
pub use recording::{Divergence, RecordedCall, Recording, RecordingError};
pub use reuse::{InstanceReuse, Isolation};
pub use run::{CutShort, Report, Usage};
pub use runtime::{Precompiled, Runtime, RuntimeOptions};
pub use share::TenantShare;
pub use trace::{Terms, TraceContext, UpstreamUse};
