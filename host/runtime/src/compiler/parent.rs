//! The parent's side: starts the child, feeds it, waits for it no longer than it may take, and says how it ended.

use std::io;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::child::{ChildLimits, OUT_OF_MEMORY, REFUSED};
use super::{CompileLimits, CompilerProgram};
use crate::aot::{CompiledCode, Origin};
use crate::error::LoadError;
use crate::guest_text::clean;

/// What is read of a child's last words.
const MAX_TEXT_BYTES: u64 = 4096;
/// What Rust's standard library says before it aborts for want of memory.
const ALLOCATION_FAILED: &str = "memory allocation of";

/// What a child said, and how it ended.
struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    text: String,
}

/// Compiles in a child. Dropping the future kills it.
pub(super) async fn compile(
    program: &CompilerProgram,
    origin: Origin,
    limits: &CompileLimits,
    wasm: &[u8],
) -> Result<CompiledCode, LoadError> {
    let unavailable = |error: io::Error| LoadError::CompilerUnavailable(error.to_string());
    let mut child = start(program, limits).map_err(unavailable)?;
    let ended = timeout(limits.max_time, converse(&mut child, limits, wasm)).await;
    let Ok(ended) = ended else {
        return Err(LoadError::CompileTime { limit: limits.max_time });
    };
    let ended = ended.map_err(unavailable)?;
    let most = limits.max_compiled_bytes;
    if ended.output.len() > most.saturating_add(Origin::BYTES) {
        return Err(LoadError::CompiledTooLarge { limit: most });
    }
    if !ended.status.success() {
        return Err(failure(&ended, limits));
    }
    take_code(ended.output, origin)
}

fn start(program: &CompilerProgram, limits: &CompileLimits) -> io::Result<Child> {
    Command::new(&program.program)
        .args(&program.arguments)
        .args(ChildLimits::of(limits).to_arguments())
        // It needs nothing of it, and tenants' secrets are in it.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Feeds the child and takes what it says, at the same time: either pipe may be full. Output beyond the limit is not
/// waited for.
async fn converse(child: &mut Child, limits: &CompileLimits, wasm: &[u8]) -> io::Result<Ended> {
    let lost = || io::Error::other("the child has no pipes");
    let mut stdin = child.stdin.take().ok_or_else(lost)?;
    let stdout = child.stdout.take().ok_or_else(lost)?;
    let stderr = child.stderr.take().ok_or_else(lost)?;
    let most = limits.max_compiled_bytes.saturating_add(Origin::BYTES) as u64;
    let feed = async {
        // A child that has ended says why in another way than by not reading.
        let _ended_early = stdin.write_all(wasm).await.is_err();
        drop(stdin);
    };
    let ((), output, text) = tokio::join!(feed, read(stdout, most.saturating_add(1)), read(stderr, MAX_TEXT_BYTES));
    let output = output?;
    if output.len() as u64 > most {
        child.start_kill()?;
    }
    Ok(Ended {
        status: child.wait().await?,
        output,
        text: clean(String::from_utf8_lossy(&text?).trim()),
    })
}

async fn read(from: impl AsyncRead + Unpin, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Why a child did not succeed.
fn failure(ended: &Ended, limits: &CompileLimits) -> LoadError {
    let code = ended.status.code();
    if code == Some(OUT_OF_MEMORY.into()) || ended.text.contains(ALLOCATION_FAILED) {
        return LoadError::CompileMemory {
            limit: limits.max_memory_bytes,
        };
    }
    if code == Some(REFUSED.into()) {
        return LoadError::of_compiler(&ended.text);
    }
    LoadError::CompilerCrashed(format!("{}: {}", ended.status, ended.text))
}

/// The code, if it is of this build and for this engine.
fn take_code(mut output: Vec<u8>, origin: Origin) -> Result<CompiledCode, LoadError> {
    if !output.starts_with(&origin.to_bytes()) {
        return Err(LoadError::CompilerUnavailable(
            "the program that compiles is not this service's build any more; restart the service".to_owned(),
        ));
    }
    output.drain(..Origin::BYTES);
    Ok(CompiledCode::vouched(output))
}
