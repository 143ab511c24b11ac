//! `claimsmith check`: a whole configuration, as a start would load it, without serving.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;
use claimsmith_admin::Store;
use claimsmith_catalog::{Catalog, ConfigError, ConfigErrors, HostConfig, Loader};
use claimsmith_runtime::Runtime;
use claimsmith_token::MetadataStore;
use claimsmith_upstreams::vault::Vault;
use serde::Serialize;

use crate::compiler;

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
    let mut problems = Vec::new();
    if let Some(tls) = &config.server.tls
        && let Err(message) = claimsmith_server::check_tls(tls)
    {
        problems.push(of_host(arguments, format!("server.tls: {message}")));
    }
    let vault = config
        .vault
        .as_ref()
        .map(Vault::load)
        .transpose()
        .unwrap_or_else(|found| {
            let problem = |found: &claimsmith_upstreams::Problem| {
                of_host(arguments, format!("vault.{}: {}", found.path, found.message))
            };
            problems.extend(found.iter().map(problem));
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
            Err(error) => problems.push(of_host(arguments, format!("admin.state: {error}"))),
        }
    }
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
    let mut tenants: Vec<_> = catalog.extensions().map(|(tenant, ..)| tenant).collect();
    tenants.dedup();
    Ok(Report {
        valid: problems.is_empty(),
        problems,
        tenants: tenants.len(),
        extensions: catalog.extensions().count(),
        bindings: catalog
            .extensions()
            .map(|(.., extension)| extension.bindings().count())
            .sum(),
    })
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
