//! Who compiles plugins: this executable again, as a child for each component, or nobody.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use claimsmith_catalog::HostConfig;
use claimsmith_runtime::{ChildLimits, Compiler, CompilerProgram};

/// The arguments of [`ChildLimits`], in their order.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArguments {
    max_memory_bytes: u64,
    max_cpu_seconds: u64,
}

/// `claimsmith compile-for-parent`
pub(crate) fn compile_for_parent(arguments: &ChildArguments) -> ExitCode {
    claimsmith_runtime::compile_for_parent(ChildLimits {
        max_memory_bytes: arguments.max_memory_bytes,
        max_cpu_seconds: arguments.max_cpu_seconds,
    })
}

/// A child process of this executable.
///
/// # Errors
/// When the system does not say where that is.
pub(crate) fn child() -> anyhow::Result<Compiler> {
    Ok(Compiler::Child(CompilerProgram {
        program: executable()?,
        arguments: vec!["compile-for-parent".into()],
    }))
}

/// The file that is running, also after an upgrade has put another one in its place.
fn executable() -> std::io::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(running.to_owned());
    }
    std::env::current_exe()
}

/// Nobody: the cache has to have everything.
///
/// # Errors
/// When no cache is configured.
pub(crate) fn nobody(config: &HostConfig, config_file: &Path) -> anyhow::Result<Compiler> {
    if config.runtime.cache.directory.is_none() {
        bail!(
            "--no-compile needs a cache to load plugins from: set runtime.cache.directory and runtime.cache.key in {}",
            config_file.display()
        );
    }
    Ok(Compiler::Nobody {
        command: format!("claimsmith compile --config {}", config_file.display()),
    })
}
