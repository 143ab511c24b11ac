//! Compiling components, which takes time and memory that a hostile component can drive up: in a child process that can
//! be killed, one at a time, away from everything that serves.

mod child;
mod parent;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use wasmtime::Engine;

pub use child::{ChildLimits, compile_for_parent};

use crate::aot::{CompiledCode, Origin};
use crate::error::LoadError;

/// Who compiles.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// This process, without limits of time and memory: for tools and tests whose components are trusted.
    InProcess,
    /// A child process for each component, within [`CompileLimits`].
    Child(CompilerProgram),
    /// Nobody: what is not in the cache does not load.
    Nobody {
        /// The command that puts components into the cache when their files are added to it; for messages.
        command: String,
    },
}

/// A program that calls [`compile_for_parent`]: the same build as this one.
#[derive(Clone, Debug)]
pub struct CompilerProgram {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments; the members of [`ChildLimits`] come after them, in their order.
    pub arguments: Vec<OsString>,
}

/// What compiling one component may use.
#[derive(Clone, Copy, Debug)]
pub struct CompileLimits {
    /// From the child's start to its end. Default 30 s.
    pub max_time: Duration,
    /// Bytes of the child's address space. Default 1 GiB.
    pub max_memory_bytes: u64,
    /// Bytes of what comes out. Default 128 MiB.
    pub max_compiled_bytes: usize,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            max_time: Duration::from_secs(30),
            max_memory_bytes: 1 << 30,
            max_compiled_bytes: 128 << 20,
        }
    }
}

impl Compiler {
    /// Compiles a component for `engine`, whose origin is `origin`.
    ///
    /// # Errors
    /// [`LoadError`]: what is wrong with the component, which limit it met, or why nobody compiles.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        origin: Origin,
        limits: &CompileLimits,
        wasm: &[u8],
    ) -> Result<CompiledCode, LoadError> {
        match self {
            Self::InProcess => in_process(engine.clone(), wasm.to_vec(), limits).await,
            Self::Child(program) => parent::compile(program, origin, limits, wasm).await,
            Self::Nobody { command } => Err(LoadError::NotCompiled {
                command: command.clone(),
            }),
        }
    }
}

async fn in_process(engine: Engine, wasm: Vec<u8>, limits: &CompileLimits) -> Result<CompiledCode, LoadError> {
    let compiled = tokio::task::spawn_blocking(move || engine.precompile_component(&wasm)).await;
    let code = compiled
        .map_err(|error| {
            if error.is_panic() {
                LoadError::Compile("the compiler panicked".to_owned())
            } else {
                LoadError::Interrupted
            }
        })?
        .map_err(|error| LoadError::of_compiler(&format!("{error:#}")))?;
    if code.len() > limits.max_compiled_bytes {
        return Err(LoadError::CompiledTooLarge {
            limit: limits.max_compiled_bytes,
        });
    }
    Ok(CompiledCode::vouched(code))
}
