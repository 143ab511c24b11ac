//! `claimsmith audit`: reading, checking and pruning the audit store, also while the service runs.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use claimsmith_audit::{Entry, Fault, Filter, Format, Reader, StoreError};
use claimsmith_catalog::HostConfig;
use claimsmith_token::OWN_KEY_ID;
use clap::{Subcommand, ValueEnum};
use serde_json::{Map, Value};
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print records, for people.
    Query {
        #[command(flatten)]
        store: StoreArguments,
        #[command(flatten)]
        filter: FilterArguments,
        /// Print each record as a JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Write records to standard output, as JSON Lines or CSV.
    Export {
        #[command(flatten)]
        store: StoreArguments,
        #[command(flatten)]
        filter: FilterArguments,
        /// The form.
        #[arg(long, value_enum, default_value = "jsonl")]
        format: ExportFormat,
    },
    /// Check that no record was removed, changed or reordered.
    Verify {
        #[command(flatten)]
        store: StoreArguments,
        /// A place in the chain and its hash, from the service's log (`audit closed`) or an earlier `verify`.
        #[arg(long, value_name = "SEQ:HASH", value_parser = place)]
        expect: Option<(i64, [u8; 32])>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Erase the personal data of one person from a tenant's records.
    Erase {
        #[command(flatten)]
        store: StoreArguments,
        /// The tenant.
        #[arg(long)]
        tenant: String,
        /// The person, as the records have them: an object id, or what the event has in its place.
        #[arg(long)]
        user: String,
    },
    /// Delete old records now; the running service does it by itself.
    Retain {
        #[command(flatten)]
        store: StoreArguments,
        /// How long records are kept; by default `audit.retention`.
        #[arg(long, value_parser = humantime::parse_duration)]
        keep: Option<Duration>,
    },
}

#[derive(Debug, clap::Args)]
struct StoreArguments {
    /// The host's configuration, which says where the store is.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// Another store than the configuration's, for example one that was set aside.
    #[arg(long, value_name = "FILE")]
    store: Option<PathBuf>,
}

impl StoreArguments {
    fn path(&self) -> anyhow::Result<PathBuf> {
        let path = match &self.store {
            Some(store) => store.clone(),
            None => HostConfig::read(&self.config)?.audit.path,
        };
        if !path.exists() {
            bail!(
                "there is no audit store {}; the service makes it at its first start",
                path.display()
            );
        }
        Ok(path)
    }
}

#[derive(Debug, clap::Args)]
struct FilterArguments {
    /// Of the sign-in with this correlation id.
    #[arg(long)]
    correlation_id: Option<Uuid>,
    /// Of this person, as the records have them: an object id, or what the event has in its place.
    #[arg(long)]
    user: Option<String>,
    /// Of this tenant.
    #[arg(long)]
    tenant: Option<String>,
    /// Of this extension.
    #[arg(long)]
    extension: Option<String>,
    /// Of sign-ins to this application (client) id.
    #[arg(long)]
    application: Option<Uuid>,
    /// With this outcome, for example `answered`.
    #[arg(long, value_parser = outcome)]
    outcome: Option<String>,
    /// With this version of a plugin: `1.2.3`, `name@1.2.3` or at least 8 digits of its digest.
    #[arg(long, value_parser = plugin_version)]
    plugin_version: Option<String>,
    /// From this time on: RFC 3339, or how long ago, such as `2h`.
    #[arg(long, value_parser = time)]
    since: Option<SystemTime>,
    /// Until this time.
    #[arg(long, value_parser = time)]
    until: Option<SystemTime>,
    /// Without the callouts that the service makes itself.
    #[arg(long)]
    without_probes: bool,
    /// So many records at most: the newest.
    #[arg(long)]
    limit: Option<usize>,
}

impl FilterArguments {
    fn filter(&self) -> Filter {
        Filter {
            correlation_id: self.correlation_id,
            user: self.user.clone(),
            tenant: self.tenant.clone(),
            extension: self.extension.clone(),
            application: self.application,
            outcome: self.outcome.clone(),
            version: self.plugin_version.clone(),
            since: self.since,
            until: self.until,
            without_key_id: self.without_probes.then(|| OWN_KEY_ID.to_owned()),
            limit: self.limit,
        }
    }

    /// Opens the store, and says when it knows nothing of a name: otherwise a typing error would look like no records.
    async fn open(&self, store: &StoreArguments) -> anyhow::Result<Reader> {
        let mut reader = Reader::open(&store.path()?, self.filter()).await?;
        if let Some(tenant) = &self.tenant {
            note_unknown("tenant", tenant, &reader.known_tenants().await?)?;
        }
        if let Some(extension) = &self.extension {
            note_unknown("extension", extension, &reader.known_extensions().await?)?;
        }
        Ok(reader)
    }

    /// Says of whom nothing was found, when so many records were.
    fn note_found(&self, records: u64) -> std::io::Result<()> {
        match &self.user {
            Some(user) if records == 0 => note_nobody(user),
            _ => Ok(()),
        }
    }
}

fn note_unknown(what: &str, name: &str, known: &[String]) -> std::io::Result<()> {
    if known.iter().any(|known| known == name) {
        return Ok(());
    }
    let known: Vec<_> = known
        .iter()
        .map(String::as_str)
        .filter(|known| !known.is_empty())
        .collect();
    let known = known.join(", ");
    let known = if known.is_empty() { "none" } else { &known };
    writeln!(
        std::io::stderr(),
        "note: no record is of the {what} `{name}`; there are records of: {known}"
    )
}

/// Says that nothing was found of a person, and who persons are.
fn note_nobody(user: &str) -> std::io::Result<()> {
    writeln!(
        std::io::stderr(),
        "note: nothing was found of the user `{user}`; records have a person by the object id where Entra sends one, not by \
         name or mail, and are nobody's once they were erased or where the tenant has audit.users = \"none\""
    )
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ExportFormat {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values; cells that a spreadsheet would take for formulas begin with an apostrophe.
    Csv,
}

/// A time, or how long ago it was.
fn time(text: &str) -> Result<SystemTime, String> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(time);
    }
    let ago = humantime::parse_duration(text).ok();
    ago.and_then(|ago| SystemTime::now().checked_sub(ago))
        .ok_or_else(|| "expected a time such as 2026-01-31T12:00:00Z, or how long ago it was, such as 2h".to_owned())
}

fn outcome(text: &str) -> Result<String, String> {
    if claimsmith_audit::outcomes().any(|outcome| outcome == text) {
        return Ok(text.to_owned());
    }
    let outcomes: Vec<_> = claimsmith_audit::outcomes().collect();
    Err(format!("there is no such outcome; there are {}", outcomes.join(", ")))
}

fn plugin_version(text: &str) -> Result<String, String> {
    let is_digest = text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_version = |text: &str| text.starts_with(|digit: char| digit.is_ascii_digit()) && text.contains('.');
    let is_named = text
        .split_once('@')
        .is_some_and(|(name, version)| !name.is_empty() && is_version(version));
    if is_digest {
        return Ok(text.to_lowercase());
    }
    if is_version(text) || is_named {
        return Ok(text.to_owned());
    }
    Err("expected a version such as 1.2.3, name@1.2.3 or at least 8 digits of a component's digest".to_owned())
}

fn place(text: &str) -> Result<(i64, [u8; 32]), String> {
    let parsed = text.split_once(':').and_then(|(seq, hash)| {
        let hash = hex::decode(hash).ok()?;
        Some((seq.parse().ok()?, hash.try_into().ok()?))
    });
    parsed.ok_or_else(|| "expected a record's number, a colon and its hash of 64 hexadecimal digits".to_owned())
}

/// `claimsmith audit`
pub(crate) async fn audit(arguments: &Arguments) -> anyhow::Result<()> {
    let (Command::Query { store, .. }
    | Command::Export { store, .. }
    | Command::Verify { store, .. }
    | Command::Erase { store, .. }
    | Command::Retain { store, .. }) = &arguments.command;
    run(&arguments.command).await.map_err(|error| explained(error, store))
}

async fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Query { store, filter, json } => query(store, filter, *json).await,
        Command::Export { store, filter, format } => {
            let mut reader = filter.open(store).await?;
            let format = match format {
                ExportFormat::Jsonl => Format::JsonLines,
                ExportFormat::Csv => Format::Csv,
            };
            let output = BufWriter::new(std::io::stdout().lock());
            let records = claimsmith_audit::export(&mut reader, format, output).await?;
            filter.note_found(records)?;
            Ok(())
        }
        Command::Verify { store, expect, json } => verify(store, *expect, *json).await,
        Command::Erase { store, tenant, user } => erase(&store.path()?, tenant, user).await,
        Command::Retain { store, keep } => {
            let keep = match keep {
                Some(keep) => *keep,
                None => HostConfig::read(&store.config)?.audit.retention,
            };
            let deleted = claimsmith_audit::retain(&store.path()?, keep).await?;
            let mut output = std::io::stdout().lock();
            writeln!(output, "deleted {deleted} records")?;
            Ok(())
        }
    }
}

/// Erases, and says when there was nothing to erase: otherwise a typing error would look like a person without records.
async fn erase(store: &Path, tenant: &str, user: &str) -> anyhow::Result<()> {
    // Erasing leaves a record of the tenant, whatever it is called.
    let known = Reader::open(store, Filter::default()).await?.known_tenants().await?;
    let erased = claimsmith_audit::erase(store, tenant, user).await?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "erased the personal data of {} records", erased.records)?;
    note_unknown("tenant", tenant, &known)?;
    if erased.records == 0 {
        note_nobody(user)?;
    }
    Ok(())
}

/// Adds what becomes of a damaged store, where it is the service's.
fn explained(error: anyhow::Error, store: &StoreArguments) -> anyhow::Error {
    match error.downcast_ref() {
        Some(StoreError::Corrupt(_)) if store.store.is_none() => {
            error.context("a start of the service that finds this sets the store aside")
        }
        _ => error,
    }
}

async fn query(store: &StoreArguments, filter: &FilterArguments, json: bool) -> anyhow::Result<()> {
    let mut reader = filter.open(store).await?;
    let mut output = BufWriter::new(std::io::stdout().lock());
    if json {
        let records = claimsmith_audit::export(&mut reader, Format::JsonLines, output).await?;
        filter.note_found(records)?;
        return Ok(());
    }
    let mut records = 0;
    while let Some(entry) = reader.next().await? {
        if entry.detail.contains_key("status") {
            write_callout(&mut output, &entry)?;
        } else {
            write_event(&mut output, &entry)?;
        }
        records += 1;
    }
    output.flush()?;
    filter.note_found(records)?;
    Ok(())
}

/// A value as people read it: a text without quotes, and a dash for what is missing or empty.
fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn write_callout(output: &mut impl Write, entry: &Entry) -> std::io::Result<()> {
    let id = |id: Option<Uuid>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    writeln!(
        output,
        "{} {} {}/{} {} {} {} us correlation {} application {} user {}",
        entry.seq,
        entry.time,
        plain(entry.context.get("tenant")),
        plain(entry.context.get("extension")),
        entry.outcome,
        plain(entry.detail.get("status")),
        plain(entry.detail.get("duration_us")),
        id(entry.correlation_id),
        id(entry.application),
        entry.user_pseudonym.as_deref().unwrap_or("-"),
    )?;
    write_failure_policies(output, entry)?;
    write_calls(output, &entry.detail)
}

/// What the store tells of itself, with all that it says: `records 3, up_to 7`.
fn write_event(output: &mut impl Write, entry: &Entry) -> std::io::Result<()> {
    let told: Vec<_> = entry
        .detail
        .iter()
        .map(|(member, value)| format!("{member} {}", plain(Some(value))))
        .collect();
    writeln!(
        output,
        "{} {} {}/{} {} {}",
        entry.seq,
        entry.time,
        plain(entry.context.get("tenant")),
        plain(entry.context.get("extension")),
        entry.outcome,
        told.join(", "),
    )
}

/// The plugins that failed and whose failure policy answered, a line each.
fn write_failure_policies(output: &mut impl Write, entry: &Entry) -> std::io::Result<()> {
    let list = |members: &Map<String, Value>, name: &str| -> Vec<Value> {
        let list = members.get(name).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let plugins = list(&entry.context, "plugins");
    for (invocation, plugin) in list(&entry.detail, "invocations").iter().zip(&plugins) {
        if let Some(policy) = invocation.get("failure_policy") {
            writeln!(
                output,
                "    {} {}: {}, answered by its failure policy {}",
                plain(plugin.get("plugin")),
                plain(plugin.get("version")),
                plain(invocation.get("outcome")),
                plain(Some(policy)),
            )?;
        }
    }
    Ok(())
}

/// The calls of upstreams that a record lists, a line each.
fn write_calls(output: &mut impl Write, detail: &Map<String, Value>) -> std::io::Result<()> {
    let calls = detail.get("calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        let text = |member: &str| call.get(member).and_then(Value::as_str).unwrap_or("-");
        let number = |member: &str| call.get(member).and_then(Value::as_u64);
        let count = |member: &str| number(member).unwrap_or_default();
        let status = number("status").map_or_else(String::new, |status| format!(" {status}"));
        writeln!(
            output,
            "    {} of {}: {}{status}, {} bytes sent, {} received, {} us, asked {}",
            text("function"),
            text("upstream"),
            text("result"),
            count("sent_bytes"),
            count("received_bytes"),
            count("duration_us"),
            text("arguments"),
        )?;
    }
    if let Some(unlisted) = detail.get("unlisted_calls") {
        writeln!(output, "    and {unlisted} more calls")?;
    }
    Ok(())
}

async fn verify(store: &StoreArguments, expect: Option<(i64, [u8; 32])>, json: bool) -> anyhow::Result<()> {
    let path = store.path()?;
    let verified = claimsmith_audit::verify(&path, expect).await?;
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(&verified)?)?;
    } else {
        for fault in &verified.faults {
            writeln!(output, "{}", told(fault))?;
        }
        writeln!(
            output,
            "{} records, {} to {}, sealed up to {}, {} erased; the chain ends with {}:{}",
            verified.records,
            verified.first,
            verified.last,
            verified.sealed,
            verified.erased,
            verified.last,
            verified.hash
        )?;
    }
    output.flush().context("the result cannot be printed")?;
    if !verified.faults.is_empty() {
        bail!("{} is not as it was written", path.display());
    }
    Ok(())
}

fn told(fault: &Fault) -> String {
    match fault {
        Fault::Removed { from, to } => format!("records {from} to {to} were removed"),
        Fault::Changed { seq } => format!("record {seq}, its context or its place was changed"),
        Fault::CutOff { expected } => format!("the end was cut off: there was a record {expected}"),
        Fault::Rewritten { seq } => {
            format!("the chain up to record {seq} is not the one that was there: it was rewritten")
        }
        Fault::Erasure { seq } => {
            format!("record {seq} was erased, or its data put back, without the store's key")
        }
        Fault::Retired { seq } => {
            format!("record {seq} has been retired: it cannot be compared with what was expected")
        }
        Fault::Mark { name } => format!("the mark `{name}` was not made with the store's key"),
        Fault::NoMark { name } => format!("the mark `{name}` is missing"),
    }
}
