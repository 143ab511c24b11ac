//! How loading, binding and invoking a plugin can fail.

use std::fmt;
use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::aot::CacheError;
use crate::guest_output::GuestWords;
use crate::guest_text::{clean, clean_to};
use crate::recording::Divergence;

/// The WebAssembly engine cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine cannot be started: {0}")]
pub struct EngineError(pub(crate) String);

/// Why bytes are not a plugin that can serve.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Larger than a component may be.
    #[error(
        "the component has {bytes} bytes, at most {limit} are accepted (claimsmith.toml, runtime.max_component_bytes); \
         build it in release mode, with `lto` and `strip = \"debuginfo\"`"
    )]
    TooLarge {
        /// The component's size.
        bytes: usize,
        /// `RuntimeOptions::max_component_bytes`
        limit: usize,
    },
    /// A core module, not a component.
    #[error(
        "this is a WebAssembly core module, not a component; build the plugin with `cargo build --target \
         wasm32-wasip2` (not wasm32-unknown-unknown or wasm32-wasip1)"
    )]
    CoreModule,
    /// Neither.
    #[error(
        "this is no WebAssembly component: it does not begin with a component's magic number and version; the file is \
         expected to be what `cargo build --target wasm32-wasip2` made"
    )]
    NotWasm,
    /// Code that was compiled ahead of time.
    #[error(
        "this is native code (an ELF file, such as a component compiled ahead of time), which could do anything to this \
         host and is not loaded; copy the WebAssembly component (.wasm) here, which the host compiles itself"
    )]
    Native,
    /// The file ends before the component does.
    #[error(
        "the component ends too early, it was probably copied in part; copy it again, then rename it into place: {0}"
    )]
    Truncated(String),
    /// The component is invalid or uses a feature that is switched off.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// Compiling it took too long.
    #[error(
        "the component takes longer than {limit:?} to compile (runtime.max_compile_time); usually it has one function that \
         is far too large, such as a generated table or match"
    )]
    CompileTime {
        /// `CompileLimits::max_time`
        limit: Duration,
    },
    /// Compiling it took too much memory.
    #[error(
        "compiling the component takes more than {limit} bytes of memory (runtime.max_compile_memory_bytes); usually it \
         has one function that is far too large, such as a generated table or match"
    )]
    CompileMemory {
        /// `CompileLimits::max_memory_bytes`
        limit: u64,
    },
    /// What it compiles to is too large.
    #[error("the component compiles to more than {limit} bytes of machine code (runtime.max_compiled_bytes)")]
    CompiledTooLarge {
        /// `CompileLimits::max_compiled_bytes`
        limit: usize,
    },
    /// The compiler ended without saying what is wrong with the component.
    #[error("the compiler crashed on the component, {0}; please report it with the component")]
    CompilerCrashed(String),
    /// The process that compiles could not be run.
    #[error("the component cannot be compiled now: {0}")]
    CompilerUnavailable(String),
    /// It is not in the cache, and nobody compiles.
    #[error(
        "the cache of compiled components has no usable entry of it for this build, and this service does not compile \
         (--no-compile)"
    )]
    NotCompiled {
        /// What puts it there, when its file is added.
        command: String,
    },
    /// It asks for something no plugin is given: the imports' names and the usual causes.
    #[error("the component imports {0}")]
    ForbiddenImports(String),
    /// It lacks what every plugin has.
    #[error(
        "the component does not export `claimsmith:plugin/lifecycle`: mark the plugin's settings type with \
         `#[claimsmith_plugin::settings]`"
    )]
    NoLifecycle,
    /// It answers no event.
    #[error(
        "the component exports no event's interface: mark a function with an event's attribute, such as \
         `#[claimsmith_plugin::token_issuance_start]`"
    )]
    NoEvent,
    /// An import or export has another type than this host's.
    #[error("the component was built for another version of claimsmith:plugin: {0}")]
    Incompatible(String),
    /// The probe instance did not start or describe itself.
    #[error("the component failed its probe: {error}{words}")]
    Probe {
        /// How the probe ended.
        #[source]
        error: InvocationError,
        /// What the plugin said then.
        words: Box<GuestWords>,
    },
    /// The description is not usable.
    #[error(
        "the component describes itself with version {version:?}, expected a semantic version of {limit} bytes at most, \
         such as 1.2.3"
    )]
    Version {
        /// What it says.
        version: String,
        /// Bytes that it may have.
        limit: usize,
    },
    /// The compiling thread was cancelled.
    #[error("loading was interrupted by the service's shutdown")]
    Interrupted,
}

impl LoadError {
    /// What the compiler's words say.
    pub(crate) fn of_compiler(words: &str) -> Self {
        let words = clean(words);
        // A file that ends within a section, or within what a section says of its own length.
        if words.contains("unexpected end") || words.contains("section range") {
            return Self::Truncated(words);
        }
        Self::Compile(words)
    }

    /// Its name in metrics.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "max_component_bytes",
            Self::CompileTime { .. } => "max_compile_time",
            Self::CompileMemory { .. } => "max_compile_memory_bytes",
            Self::CompiledTooLarge { .. } => "max_compiled_bytes",
            _ => "refused",
        }
    }

    /// Whether the same bytes may load later: the failure is the host's, not theirs.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Probe { error, .. } => error.passes(),
            Self::Interrupted | Self::CompilerUnavailable(_) | Self::NotCompiled { .. } => true,
            _ => false,
        }
    }

    /// Whether compiling used all that it may: whatever else comes of the same hand is better not tried at once.
    #[must_use]
    pub fn is_compile_limit(&self) -> bool {
        matches!(
            self,
            Self::CompileTime { .. } | Self::CompileMemory { .. } | Self::CompiledTooLarge { .. }
        )
    }
}

/// Why the runtime cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The cache of compiled components is not safe.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// Why a component is not in the cache.
#[derive(Debug, thiserror::Error)]
pub enum PrecompileError {
    /// It is none that can be compiled.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// There is no cache; why is in the log.
    #[error("there is no cache to keep the compiled component in")]
    NoCache,
    /// It was compiled, and the cache does not take it.
    #[error("the compiled component cannot be kept: {0}")]
    NotKept(#[source] std::io::Error),
}

/// A binding's instances are not to serve several invocations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the operator does not allow instances to serve several invocations")]
pub struct ReuseNotAllowed;

/// Why a plugin does not serve a binding.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The plugin refuses the settings.
    #[error("the plugin does not accept the settings: {}", join(problems))]
    Settings {
        /// Every problem the plugin reported.
        problems: Vec<SettingsProblem>,
    },
    /// The plugin did not finish checking them.
    #[error("the plugin failed while it checked the settings: {error}{words}")]
    Failed {
        /// How the check ended.
        #[source]
        error: InvocationError,
        /// What the plugin said then.
        words: Box<GuestWords>,
    },
}

fn join(problems: &[SettingsProblem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// One thing wrong with a binding's settings, in the plugin's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Where, for example `tiers[2].name`; empty for all settings.
    pub path: String,
    /// What.
    pub message: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => formatter.write_str(&self.message),
            path => write!(formatter, "{path}: {}", self.message),
        }
    }
}

/// What a guest wanted more of than it may have, in its own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// Linear memory.
    Memory,
    /// Elements of tables.
    TableElements,
}

impl fmt::Display for Growth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Memory => "memory",
            Self::TableElements => "table elements",
        })
    }
}

/// What a guest asked the host for more of than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostResource {
    /// Calls of imported functions.
    Calls,
    /// Random bytes.
    RandomBytes,
    /// Handles of resources.
    Handles,
}

impl fmt::Display for HostResource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Calls => "calls of the host",
            Self::RandomBytes => "random bytes",
            Self::Handles => "handles",
        })
    }
}

/// Whose places are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The binding's.
    Binding,
    /// The tenant's.
    Tenant,
}

impl fmt::Display for Whose {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Binding => "the binding",
            Self::Tenant => "the tenant",
        })
    }
}

/// Why an invocation gave no answer. Texts are for the log: some hold what the plugin said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvocationError {
    /// The plugin says that a system it needs did not answer.
    #[error("the plugin is missing something it needs: {0}")]
    Unavailable(String),
    /// The plugin says that it does not accept the callout.
    #[error("the plugin does not accept the callout: {0}")]
    Rejected(String),
    /// The plugin says that it has a defect.
    #[error("the plugin failed: {0}")]
    Internal(String),
    /// The plugin panicked or trapped. A panic's message is in the plugin's log.
    #[error("the plugin trapped: {0}")]
    Trapped(String),
    /// The plugin used its CPU time.
    #[error("the plugin used its {0:?} of CPU time")]
    CpuLimit(Duration),
    /// The plugin wanted more memory, tables or instances.
    #[error("the plugin reached its limit of {0}")]
    MemoryLimit(Growth),
    /// The plugin handed the host too much at once.
    #[error("the plugin handed the host more than {0} bytes at once")]
    TransferLimit(usize),
    /// The plugin handed the host too much in all.
    #[error("the plugin handed the host more than {0} bytes in all")]
    TotalTransferLimit(usize),
    /// The plugin asked the host for more of something than it may have.
    #[error("the plugin reached its limit of {1} {0}")]
    HostCallLimit(HostResource, usize),
    /// The plugin's answer has too many claims, values or messages.
    #[error("the plugin answered {items} claims, values or messages, at most {most} are accepted")]
    AnswerLimit {
        /// How many it answered.
        items: usize,
        /// The limit.
        most: usize,
    },
    /// The deadline came first.
    #[error("the deadline came before the plugin's answer")]
    DeadlineExceeded,
    /// As many invocations are running as the binding or the tenant may have.
    #[error("as many invocations are running as {0} may have at once")]
    Throttled(Whose),
    /// As many invocations are running as the host has places for.
    #[error("as many invocations are running as {0} has places for")]
    Overloaded(&'static str),
    /// The component could not be instantiated.
    #[error("the plugin could not be instantiated: {0}")]
    Instantiation(String),
    /// A replay did not go as recorded.
    #[error(transparent)]
    Diverged(Divergence),
}

impl InvocationError {
    /// Whether the same invocation may succeed later, because the host was busy.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Throttled(_) | Self::Overloaded(_) | Self::DeadlineExceeded)
    }

    /// Whether the failure tells of the plugin: a defect, or a limit that it met. What it says of systems it needs or of
    /// callouts it does not accept is no failure of its own, and neither is a busy host.
    #[must_use]
    pub fn is_the_plugins(&self) -> bool {
        !matches!(
            self,
            Self::Unavailable(_) | Self::Rejected(_) | Self::Throttled(_) | Self::Overloaded(_)
        )
    }

    /// The limit that was met, as `[runtime.limits]` calls it where it is there.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        Some(match self {
            Self::CpuLimit(_) => "cpu",
            Self::MemoryLimit(Growth::Memory) => "memory_bytes",
            Self::MemoryLimit(Growth::TableElements) => "table_elements",
            Self::TransferLimit(_) => "transfer_bytes",
            Self::TotalTransferLimit(_) => "total_transfer_bytes",
            Self::HostCallLimit(HostResource::Handles, _) => "handles",
            Self::HostCallLimit(HostResource::RandomBytes, _) => "random_bytes",
            Self::HostCallLimit(HostResource::Calls, _) => "host_calls",
            Self::AnswerLimit { .. } => "answer_items",
            Self::DeadlineExceeded => "deadline",
            Self::Throttled(Whose::Binding) => "concurrency",
            Self::Throttled(Whose::Tenant) => "max_concurrent_invocations_per_tenant",
            Self::Overloaded(_) => "max_concurrent_invocations",
            Self::Unavailable(_)
            | Self::Rejected(_)
            | Self::Internal(_)
            | Self::Trapped(_)
            | Self::Instantiation(_)
            | Self::Diverged(_) => return None,
        })
    }
}

/// A function's name is cut here: generic ones can be very long.
const MAX_NAME_BYTES: usize = 256;

/// The guest's functions at a trap, innermost first.
pub(crate) fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let name = |frame: &wasmtime::FrameInfo| {
        let name = frame.func_name().unwrap_or("?");
        // Without the hash that ends a Rust symbol.
        clean_to(&format!("{:#}", rustc_demangle::demangle(name)), MAX_NAME_BYTES)
    };
    backtrace.frames().iter().map(name).collect()
}

/// The trap's own words.
pub(crate) fn trap_reason(error: &wasmtime::Error) -> String {
    if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
        return format!("it called exit({})", exit.0);
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::UnreachableCodeReached) => "it panicked or aborted".to_owned(),
        Some(trap) => trap.to_string(),
        None => clean(&error.root_cause().to_string()),
    }
}
