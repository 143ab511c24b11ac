//! How loading, binding and invoking a plugin can fail.

use std::fmt;
use std::time::Duration;

use wasmtime::{Trap, WasmBacktrace};

use crate::aot::CacheError;
use crate::guest_text::clean;

/// The WebAssembly engine cannot be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine cannot be started: {0}")]
pub struct EngineError(pub(crate) String);

/// Why bytes are not a plugin that can serve.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Larger than a component may be.
    #[error("the component has {bytes} bytes, at most {limit} are accepted")]
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
    #[error("this is no WebAssembly component: it does not begin with a component's magic number and version")]
    NotWasm,
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
    /// It asks for something no plugin is given.
    #[error("the component imports `{import}`, which plugins are not given: {hint}")]
    ForbiddenImport {
        /// The import's name.
        import: String,
        /// The usual cause.
        hint: &'static str,
    },
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
    #[error("the component failed its probe: {0}")]
    Probe(#[source] InvocationError),
    /// The description is not usable.
    #[error("the component describes itself with version {version:?}, expected a semantic version such as 1.2.3")]
    Version {
        /// What it says.
        version: String,
    },
    /// The compiling thread was cancelled.
    #[error("loading was interrupted by the service's shutdown")]
    Interrupted,
}

impl LoadError {
    /// Whether the same bytes may load later: the failure is the host's, not theirs.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Probe(error) => error.passes(),
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
    #[error("the plugin failed while it checked the settings: {0}")]
    Failed(#[source] InvocationError),
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
    #[error("the plugin trapped: {reason}{}", frames(backtrace))]
    Trapped {
        /// The trap.
        reason: String,
        /// The guest's innermost functions, innermost first.
        backtrace: Vec<String>,
    },
    /// The plugin used its CPU time.
    #[error("the plugin used its {0:?} of CPU time")]
    CpuLimit(Duration),
    /// The plugin wanted more memory, tables or instances.
    #[error("the plugin reached its limit of {0}")]
    MemoryLimit(&'static str),
    /// The plugin handed the host too much at once.
    #[error("the plugin handed the host more than {0} bytes at once")]
    TransferLimit(usize),
    /// The deadline came first.
    #[error("the deadline came before the plugin's answer")]
    DeadlineExceeded,
    /// As many invocations are running as may.
    #[error("as many invocations are running as {0} allows")]
    Overloaded(&'static str),
    /// The component could not be instantiated.
    #[error("the plugin could not be instantiated: {0}")]
    Instantiation(String),
}

impl InvocationError {
    /// Whether the same invocation may succeed later, because the host was busy.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Overloaded(_) | Self::DeadlineExceeded)
    }
}

impl InvocationError {
    /// Whether the failure tells of the plugin: a defect, or a limit that it met. What it says of systems it needs or of
    /// callouts it does not accept is no failure of its own, and neither is a busy host.
    #[must_use]
    pub fn is_the_plugins(&self) -> bool {
        !matches!(self, Self::Unavailable(_) | Self::Rejected(_) | Self::Overloaded(_))
    }
}

fn frames(backtrace: &[String]) -> String {
    if backtrace.is_empty() {
        return String::new();
    }
    format!(" in {}", backtrace.join(" < "))
}

/// The guest's functions at a trap, innermost first.
pub(crate) fn backtrace(error: &wasmtime::Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let name = |frame: &wasmtime::FrameInfo| {
        let name = frame.func_name().unwrap_or("?");
        clean(&rustc_demangle::demangle(name).to_string())
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
        None => error.root_cause().to_string(),
    }
}
