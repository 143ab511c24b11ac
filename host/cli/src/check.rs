//! `claimsmith check`: a whole configuration, as a start would load it, without serving.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::bail;
use claimsmith_admin::Store;
use claimsmith_catalog::{AdminConfig, Catalog, ConfigError, ConfigErrors, HostConfig, Loader};
use claimsmith_runtime::Runtime;
use claimsmith_token::MetadataStore;
use claimsmith_upstreams::vault::Vault;
use serde::Serialize;

use crate::{compiler, logging};

/// How long the path of a unix socket can be.
const MAX_SOCKET_BYTES: usize = 107;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The host's configuration; tenants are found beside it.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// Print what was found as JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Default, Serialize)]
struct Report {
    valid: bool,
    problems: Vec<Problem>,
    /// What keeps nothing from starting, or only this user.
    warnings: Vec<Problem>,
    /// What would be served.
    tenants: usize,
    extensions: usize,
    bindings: usize,
}

#[derive(Debug, Serialize)]
struct Problem {
    /// Absent when it is of the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    file: PathBuf,
    /// From 1, as `column`; absent when the file as a whole is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    message: String,
    #[serde(skip)]
    text: String,
}

/// `claimsmith check`; fails when anything is wrong.
pub(crate) async fn check(arguments: &Arguments) -> anyhow::Result<()> {
    let report = match HostConfig::read(&arguments.config) {
        Ok(config) => load(config, arguments).await?,
        Err(ConfigErrors(errors)) => Report {
            problems: errors.iter().map(|error| problem(None, error)).collect(),
            ..Report::default()
        },
    };
    print(&report, arguments.json)?;
    match report.problems.len() {
        0 => Ok(()),
        1 => bail!("there is a problem"),
        count => bail!("there are {count} problems"),
    }
}

/// Loads all tenants as a start would. Nothing is written, nothing listens, and nobody is asked but Vault.
async fn load(mut config: HostConfig, arguments: &Arguments) -> anyhow::Result<Report> {
    let Found {
        problems: mut found,
        warnings,
    } = of_the_host(&config);
    let vault = config
        .vault
        .as_ref()
        .map(Vault::load)
        .transpose()
        .unwrap_or_else(|problems| {
            let told = problems
                .iter()
                .map(|problem| format!("vault.{}: {}", problem.path, problem.message));
            found.extend(told);
            None
        });
    // Components are compiled for their settings to be checked; another user's cache is not to be written to.
    config.runtime.cache = claimsmith_catalog::CacheConfig::default();
    let runtime = Arc::new(Runtime::new(config.runtime_options(compiler::child()?))?);
    let metadata = MetadataStore::offline(config.metadata_options());
    let mut loader = Loader::new(
        config.tenants.clone(),
        config.limits(),
        config.breaker_options(),
        config.egress.clone(),
        config.tenant_concurrency(),
        runtime,
        Arc::new(metadata),
    )
    .with(config.rate_limits.clone(), config.last_known_good)
    .with_max_cache_bytes(config.runtime.max_binding_cache_bytes_per_tenant)
    .with_vault(vault.map(Arc::new))
    .offline();
    if let Some(admin) = &config.admin {
        match Store::read_active_versions(&admin.state).await {
            Ok(versions) => loader = loader.with_versions(Arc::new(versions)),
            Err(error) => found.push(format!("admin.state: {error}")),
        }
    }
    let in_file = |messages: Vec<String>| -> Vec<_> {
        messages
            .into_iter()
            .map(|message| of_host(arguments, message))
            .collect()
    };
    let mut problems = in_file(found);
    let catalog = match loader.load(&Catalog::default()).await {
        Ok(catalog) => catalog.unwrap_or_default(),
        Err(error) => {
            problems.push(problem(None, &error));
            Catalog::default()
        }
    };
    for (tenant, errors) in catalog.problems() {
        problems.extend(errors.iter().map(|error| problem(Some(tenant), error)));
    }
    let mut warnings = in_file(warnings);
    for (tenant, found) in catalog.warnings() {
        warnings.extend(found.iter().map(|warning| problem(Some(tenant), warning)));
    }
    let mut tenants: Vec<_> = catalog.extensions().map(|(tenant, ..)| tenant).collect();
    tenants.dedup();
    Ok(Report {
        valid: problems.is_empty(),
        problems,
        warnings,
        tenants: tenants.len(),
        extensions: catalog.extensions().count(),
        bindings: catalog
            .extensions()
            .map(|(.., extension)| extension.bindings().count())
            .sum(),
    })
}

/// What was found in `claimsmith.toml`, each with its key.
#[derive(Default)]
struct Found {
    problems: Vec<String>,
    warnings: Vec<String>,
}

/// Checks what a start uses besides tenants. Nothing is made or written, and nobody is asked.
fn of_the_host(config: &HostConfig) -> Found {
    let mut found = Found::default();
    let mut wrong = |key: &str, result: Result<(), String>| {
        found
            .problems
            .extend(result.err().map(|message| format!("{key}: {message}")));
    };
    let filter = config.log.filter.as_deref();
    wrong(
        "log.filter",
        filter.map_or(Ok(()), |filter| told(logging::check(filter))),
    );
    wrong(
        "telemetry.traces",
        claimsmith_server::check_traces(&config.telemetry.traces),
    );
    if let Some(cache) = config.runtime.cache.options() {
        wrong("runtime.cache", told(claimsmith_runtime::check_cache(&cache)));
    }
    let socket = config.admin.as_ref().map(AdminConfig::socket);
    wrong("admin.socket", socket.as_deref().map_or(Ok(()), fits_a_socket));
    match config.server.tls.as_ref().map(claimsmith_server::check_tls) {
        Some(Ok(warning)) => found
            .warnings
            .extend(warning.map(|warning| format!("server.tls: {warning}"))),
        Some(Err(message)) => found.problems.push(format!("server.tls: {message}")),
        None => {}
    }
    for (key, directory) in written(config) {
        match obstacle(&directory) {
            Some(Obstacle::ForAll(message)) => found.problems.push(format!("{key}: {message}")),
            Some(Obstacle::ForThisUser(message)) => found.warnings.push(format!("{key}: {message}")),
            None => {}
        }
    }
    if config.audit.path.is_dir() {
        let path = config.audit.path.display();
        found.problems.push(format!(
            "audit.path: {path} is a directory; expected the path of a file"
        ));
    }
    found
}

fn told<E: std::fmt::Display>(result: Result<(), E>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

/// The directories that are written to, by the keys that name them or a file in them.
fn written(config: &HostConfig) -> Vec<(&'static str, PathBuf)> {
    let parent = |file: &Path| file.parent().unwrap_or(Path::new("")).to_owned();
    let mut written = vec![("audit.path", parent(&config.audit.path))];
    if let Some(cache) = config.runtime.cache.options() {
        written.push(("runtime.cache.key", parent(&cache.key)));
        written.push(("runtime.cache.directory", cache.directory));
    }
    written.extend(config.admin.as_ref().map(|admin| ("admin.state", admin.state.clone())));
    written
}

fn fits_a_socket(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().len();
    if bytes <= MAX_SOCKET_BYTES {
        return Ok(());
    }
    Err(format!(
        "{} has {bytes} bytes, expected at most {MAX_SOCKET_BYTES}: set admin.socket to a shorter path",
        path.display()
    ))
}

/// What keeps a directory from being made or written to.
enum Obstacle {
    ForAll(String),
    /// The service's user may be another.
    ForThisUser(String),
}

fn obstacle(directory: &Path) -> Option<Obstacle> {
    let directory = std::path::absolute(directory).ok()?;
    let there = directory.ancestors().find(|ancestor| ancestor.exists())?;
    if !there.is_dir() {
        return Some(Obstacle::ForAll(format!(
            "{} cannot be made: {} is no directory",
            directory.display(),
            there.display()
        )));
    }
    can_write(there).err().map(|error| {
        Obstacle::ForThisUser(format!(
            "{} is written to, and this user may not write in {} ({error}): the service's user has to",
            directory.display(),
            there.display()
        ))
    })
}

#[cfg(unix)]
fn can_write(directory: &Path) -> std::io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(directory, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(unix))]
fn can_write(_: &Path) -> std::io::Result<()> {
    Ok(())
}

fn of_host(arguments: &Arguments, message: String) -> Problem {
    Problem {
        tenant: None,
        file: arguments.config.clone(),
        line: None,
        column: None,
        text: format!("{}: {message}", arguments.config.display()),
        message,
    }
}

fn problem(tenant: Option<&str>, error: &ConfigError) -> Problem {
    Problem {
        tenant: tenant.map(str::to_owned),
        file: error.file.clone(),
        line: error.position.map(|(line, _)| line),
        column: error.position.map(|(_, column)| column),
        message: error.message.clone(),
        text: error.to_string(),
    }
}

fn print(report: &Report, as_json: bool) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    if as_json {
        writeln!(output, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    for problem in &report.problems {
        writeln!(output, "{}", problem.text)?;
    }
    for warning in &report.warnings {
        writeln!(output, "warning: {}", warning.text)?;
    }
    writeln!(
        output,
        "{} would be served, with {} and {}",
        counted(report.tenants, "tenant"),
        counted(report.extensions, "extension"),
        counted(report.bindings, "binding")
    )?;
    Ok(())
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
