//! The child's side: a component comes in on standard input, its compiled code goes out on standard output.
//!
//! The output begins with the [`Origin`], so that a parent whose executable was replaced while it ran does not take
//! another build's code for its own.

use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use super::CompileLimits;
use crate::aot::Origin;
use crate::engine;

/// The exit code of a component that does not compile; why is on standard error.
pub(super) const REFUSED: u8 = 1;
/// The exit code of a compilation that ran out of memory.
pub(super) const OUT_OF_MEMORY: u8 = 3;

/// What the child limits itself to before it reads anything.
#[derive(Clone, Copy, Debug)]
pub struct ChildLimits {
    /// Bytes of address space.
    pub max_memory_bytes: u64,
    /// CPU time in seconds. The parent kills the child by the clock; this ends a child whose parent was killed itself.
    pub max_cpu_seconds: u64,
}

impl ChildLimits {
    pub(super) fn of(limits: &CompileLimits) -> Self {
        // One second for the part of one, and one for the parent to be first.
        Self {
            max_memory_bytes: limits.max_memory_bytes,
            max_cpu_seconds: limits.max_time.saturating_add(Duration::from_secs(2)).as_secs(),
        }
    }

    /// As arguments: the bytes, then the seconds.
    pub(super) fn to_arguments(self) -> [OsString; 2] {
        [self.max_memory_bytes, self.max_cpu_seconds].map(|number| number.to_string().into())
    }
}

/// Compiles standard input to standard output, within limits that this process takes upon itself. What a program does that
/// [`super::CompilerProgram`] names, and all that it does.
#[must_use]
pub fn compile_for_parent(limits: ChildLimits) -> ExitCode {
    match limit(limits).and_then(|()| compile()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, text }) => {
            let _nobody_listens = writeln!(io::stderr(), "{text}").is_err();
            ExitCode::from(code)
        }
    }
}

struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    fn refused(text: impl Into<String>) -> Self {
        Self {
            code: REFUSED,
            text: text.into(),
        }
    }
}

#[cfg(unix)]
fn limit(limits: ChildLimits) -> Result<(), Failure> {
    use rustix::process::{Resource, Rlimit, nice, setrlimit};
    // Whoever serves goes first, but not so far that a busy host compiles nothing in time. It is no reason not to compile
    // if this cannot be had.
    let _already_lower = nice(5).is_err();
    // And if the machine runs out of memory, this process is to be killed rather than the one that serves.
    let _no_such_file = std::fs::write("/proc/self/oom_score_adj", "1000").is_err();
    let at_most = |resource, most| {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit).map_err(|error| Failure::refused(format!("a limit cannot be set: {error}")))
    };
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)?;
    at_most(Resource::Cpu, limits.max_cpu_seconds)?;
    at_most(Resource::As, limits.max_memory_bytes)
}

#[cfg(not(unix))]
fn limit(_limits: ChildLimits) -> Result<(), Failure> {
    Ok(())
}

fn compile() -> Result<(), Failure> {
    let engine = engine::compiling().map_err(|error| failure(&error))?;
    let mut wasm = Vec::new();
    io::stdin()
        .read_to_end(&mut wasm)
        .map_err(|error| Failure::refused(format!("the component cannot be read: {error}")))?;
    let code = engine.precompile_component(&wasm).map_err(|error| failure(&error))?;
    let mut output = io::stdout().lock();
    let written = output
        .write_all(&Origin::of(&engine).to_bytes())
        .and_then(|()| output.write_all(&code))
        .and_then(|()| output.flush());
    written.map_err(|error| Failure::refused(format!("the compiled code cannot be handed over: {error}")))
}

fn failure(error: &wasmtime::Error) -> Failure {
    let code = if error.is::<wasmtime::OutOfMemory>() {
        OUT_OF_MEMORY
    } else {
        REFUSED
    };
    Failure {
        code,
        text: format!("{error:#}"),
    }
}
