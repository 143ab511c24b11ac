//! `claimsmith compile`: fills the cache of compiled components, so that a start need not compile.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use claimsmith_catalog::{CacheConfig, HostConfig, plugin_files};
use claimsmith_runtime::{Limits, Runtime};
use serde::Serialize;

use crate::compiler;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plugins' files.
    #[arg(required_unless_present = "all")]
    files: Vec<PathBuf>,
    /// Every plugin of every tenant.
    #[arg(long, conflicts_with_all = ["files", "directory"])]
    all: bool,
    /// The host's configuration, whose `[runtime.cache]` is filled.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// The cache's directory, in place of a configuration.
    #[arg(long, requires = "key")]
    directory: Option<PathBuf>,
    /// The key that its entries are authenticated with.
    #[arg(long, requires = "directory")]
    key: Option<PathBuf>,
    /// Print what was done as one JSON array.
    #[arg(long)]
    json: bool,
}

/// What became of one file.
#[derive(Debug, Serialize)]
struct Done {
    file: String,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plugin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    duration_ms: u128,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    /// It was not in the cache, and is now.
    Compiled,
    /// It was in the cache.
    Cached,
    /// It is not in the cache, or does not load from it.
    Failed,
}

/// `claimsmith compile`; fails when any file's component is not in the cache or is no plugin.
pub(crate) async fn compile(arguments: &Arguments) -> anyhow::Result<()> {
    let config = config(arguments)?;
    let files = if arguments.all {
        plugin_files(&config.tenants)?
    } else {
        arguments.files.clone()
    };
    let runtime = Runtime::new(config.runtime_options(compiler::child()?))?;
    let mut all = Vec::with_capacity(files.len());
    for file in &files {
        let done = one(&runtime, file, &config.limits()).await;
        if !arguments.json {
            print(&done)?;
        }
        all.push(done);
    }
    if arguments.json {
        writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&all)?)?;
    }
    let failed = all.iter().filter(|done| done.status == Status::Failed).count();
    if failed > 0 {
        bail!(
            "{failed} of {} plugins are not ready to be loaded from the cache",
            all.len()
        );
    }
    Ok(())
}

/// The configuration, or the defaults with the cache of the command line.
fn config(arguments: &Arguments) -> anyhow::Result<HostConfig> {
    let mut config = if arguments.directory.is_some() {
        let mut config = HostConfig::default();
        config.runtime.cache = CacheConfig {
            directory: arguments.directory.clone(),
            key: arguments.key.clone(),
            ..CacheConfig::default()
        };
        config
    } else {
        HostConfig::read(&arguments.config)?
    };
    if config.runtime.cache.directory.is_none() {
        bail!(
            "{} names no cache: set runtime.cache.directory and runtime.cache.key in it, or give --directory and --key",
            arguments.config.display()
        );
    }
    // One plugin at a time describes itself here.
    config.runtime.max_concurrent_invocations = 1;
    Ok(config)
}

/// Puts one file's component into the cache and loads it from there, as a start would.
async fn one(runtime: &Runtime, file: &Path, limits: &Limits) -> Done {
    let started = Instant::now();
    let mut done = Done {
        file: file.display().to_string(),
        status: Status::Failed,
        digest: None,
        plugin: None,
        version: None,
        error: None,
        duration_ms: 0,
    };
    if let Err(error) = fill(runtime, file, limits, &mut done).await {
        done.status = Status::Failed;
        done.error = Some(format!("{error:#}"));
    }
    done.duration_ms = started.elapsed().as_millis();
    done
}

async fn fill(runtime: &Runtime, file: &Path, limits: &Limits, done: &mut Done) -> anyhow::Result<()> {
    let bytes = std::fs::read(file).context("cannot be read")?;
    let precompiled = runtime.precompile(&bytes).await?;
    done.digest = Some(precompiled.digest.to_string());
    done.status = if precompiled.compiled {
        Status::Compiled
    } else {
        Status::Cached
    };
    let plugin = runtime.load(bytes, limits).await?;
    done.plugin = Some(plugin.name().to_owned());
    done.version = Some(plugin.version().to_string());
    Ok(())
}

fn print(done: &Done) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    let status = match done.status {
        Status::Compiled => "compiled",
        Status::Cached => "cached  ",
        Status::Failed => "FAILED  ",
    };
    // A file's name is a tenant's, and may hold anything.
    let file = done.file.escape_debug();
    match (&done.error, &done.plugin, &done.version, &done.digest) {
        (Some(error), ..) => writeln!(output, "{status} {file}: {error}")?,
        (None, Some(plugin), Some(version), Some(digest)) => {
            let took = done.duration_ms;
            writeln!(
                output,
                "{status} {file}: {plugin}@{version} sha256:{digest} ({took} ms)"
            )?;
        }
        _ => {}
    }
    Ok(())
}
