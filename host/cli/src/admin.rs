//! The subcommands that talk to the admin API of a running service: `push`, `activate`, `rollback`, `versions`, `status`,
//! `admin-log` and `forget`.

mod client;
mod print;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use self::client::Client;
pub(crate) use self::client::Connection;

#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(crate) struct PushArguments {
    /// The component. When there is a FILE.minisig beside it, that is pushed as its signature.
    file: PathBuf,
    /// The tenant, whose plugins must be managed through the admin API.
    #[arg(long)]
    tenant: String,
    /// The plugin's name in the tenant's bindings.
    #[arg(long)]
    plugin: String,
    /// The semantic version that it is to be known as. What was pushed as a version does not change.
    #[arg(long = "version", value_name = "VERSION")]
    label: String,
    /// Its signature, a file of minisign.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ActivateArguments {
    /// The versions that are to serve: they become active together, or none does.
    #[arg(required = true, value_name = "PLUGIN@VERSION", value_parser = plugin_version)]
    versions: Vec<(String, String)>,
    /// The tenant.
    #[arg(long)]
    tenant: String,
    /// How long to watch before it is called done: when a circuit breaker of these plugins opens meanwhile, the activation
    /// is taken back. At most 1m.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    verify_for: Duration,
    #[command(flatten)]
    why: WhyOrPlan,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RollbackArguments {
    /// The tenant.
    #[arg(long)]
    tenant: String,
    /// The plugin that goes back to the version that was active before.
    #[arg(long)]
    plugin: String,
    #[command(flatten)]
    why: WhyOrPlan,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VersionsArguments {
    /// The tenant.
    #[arg(long)]
    tenant: String,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct StatusArguments {
    /// One tenant alone.
    #[arg(long)]
    tenant: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LogArguments {
    /// One tenant alone.
    #[arg(long)]
    tenant: Option<String>,
    /// Lines with lower numbers than this: reads on from the last line's number.
    #[arg(long)]
    before: Option<u64>,
    /// How many lines, at most 1000.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ForgetArguments {
    /// The tenant, which has no directory any more.
    tenant: String,
    #[command(flatten)]
    why: Why,
    #[command(flatten)]
    connection: Connection,
}

/// What the admin log keeps beside who and when.
#[derive(Debug, clap::Args)]
struct Why {
    /// Why this is done; the admin log keeps it.
    #[arg(long)]
    reason: String,
}

/// The same of what can be only planned.
#[derive(Debug, clap::Args)]
struct WhyOrPlan {
    /// Only say what would change.
    #[arg(long, visible_alias = "dry-run")]
    plan: bool,
    /// Why this is done; the admin log keeps it. A plan needs none.
    #[arg(long, required_unless_present = "plan")]
    reason: Option<String>,
}

fn plugin_version(text: &str) -> Result<(String, String), String> {
    let parts = text
        .split_once('@')
        .filter(|(plugin, version)| !plugin.is_empty() && !version.is_empty());
    let (plugin, version) = parts.ok_or("expected a plugin and a version of it, such as loyalty-claims@1.4.0")?;
    Ok((plugin.to_owned(), version.to_owned()))
}

/// `claimsmith push`
pub(crate) async fn push(arguments: &PushArguments) -> Result<()> {
    let component = read(&arguments.file)?;
    let signature = if let Some(file) = &arguments.signature {
        Some(read(file)?)
    } else {
        let beside = claimsmith_catalog::signature_file(&arguments.file);
        beside.exists().then(|| read(&beside)).transpose()?
    };
    let client = Client::new(&arguments.connection)?;
    let parts = [
        "tenants",
        &arguments.tenant,
        "plugins",
        &arguments.plugin,
        "versions",
        &arguments.label,
    ];
    let reason = ("reason", arguments.why.reason.as_str());
    let mut answer = client.put(&parts, &[reason], "application/wasm", component).await?;
    if let Some(signature) = signature {
        let of = [&parts[..], &["signature"]].concat();
        let signed = client.put(&of, &[reason], "text/plain", signature).await;
        let signed =
            signed.with_context(|| format!("version {} was pushed, and its signature was refused", arguments.label))?;
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("has_signature".to_owned(), json!(true));
            answer.extend(signed.as_object().cloned().unwrap_or_default());
        }
    }
    print::answer(&answer, arguments.connection.json, print::pushed)
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))
}

/// `claimsmith activate`
pub(crate) async fn activate(arguments: &ActivateArguments) -> Result<()> {
    let mut versions = BTreeMap::new();
    for (plugin, version) in &arguments.versions {
        if let Some(other) = versions.insert(plugin, version) {
            bail!("plugin `{plugin}` is named twice, with {other} and {version}: only one version of it can be active");
        }
    }
    let client = Client::new(&arguments.connection)?;
    let request = json!({
        "versions": versions,
        "reason": arguments.why.reason.as_deref().unwrap_or_default(),
        "plan": arguments.why.plan,
        "verify_for": humantime::format_duration(arguments.verify_for).to_string(),
    });
    let path = ["tenants", &arguments.tenant, "activations"];
    let answer = client.post(&path, &request).await?;
    print::answer(&answer, arguments.connection.json, print::activated)
}

/// `claimsmith rollback`
pub(crate) async fn roll_back(arguments: &RollbackArguments) -> Result<()> {
    let client = Client::new(&arguments.connection)?;
    let request = json!({
        "plugin": arguments.plugin,
        "reason": arguments.why.reason.as_deref().unwrap_or_default(),
        "plan": arguments.why.plan,
    });
    let path = ["tenants", &arguments.tenant, "rollbacks"];
    let answer = client.post(&path, &request).await?;
    print::answer(&answer, arguments.connection.json, print::activated)
}

/// `claimsmith forget`
pub(crate) async fn forget(arguments: &ForgetArguments) -> Result<()> {
    let client = Client::new(&arguments.connection)?;
    let reason = ("reason", arguments.why.reason.as_str());
    let answer = client.delete(&["tenants", &arguments.tenant], &[reason]).await?;
    print::answer(&answer, arguments.connection.json, print::forgotten)
}

/// `claimsmith versions`
pub(crate) async fn versions(arguments: &VersionsArguments) -> Result<()> {
    let client = Client::new(&arguments.connection)?;
    let answer = client.get(&["tenants", &arguments.tenant, "versions"], &[]).await?;
    print::answer(&answer, arguments.connection.json, print::versions)
}

/// `claimsmith status`
pub(crate) async fn status(arguments: &StatusArguments) -> Result<()> {
    let client = Client::new(&arguments.connection)?;
    let answer = match &arguments.tenant {
        // In the form of all tenants', so that whoever reads it needs one form.
        Some(tenant) => {
            let status = client.get(&["tenants", tenant, "status"], &[]).await?;
            json!({ "tenants": { tenant.as_str(): status } })
        }
        None => client.get(&["status"], &[]).await?,
    };
    print::answer(&answer, arguments.connection.json, print::status)
}

/// `claimsmith admin-log`
pub(crate) async fn log(arguments: &LogArguments) -> Result<()> {
    let client = Client::new(&arguments.connection)?;
    let path = match &arguments.tenant {
        Some(tenant) => vec!["tenants", tenant, "log"],
        None => vec!["log"],
    };
    let limit = arguments.limit.to_string();
    let before = arguments.before.map(|before| before.to_string());
    let before = before.as_deref().map(|before| ("before", before));
    let query: Vec<_> = [("limit", limit.as_str())].into_iter().chain(before).collect();
    let answer = client.get(&path, &query).await?;
    print::answer(&answer, arguments.connection.json, print::log)
}
