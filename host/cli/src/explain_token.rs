//! `claimsmith explain-token`: why a token is accepted or refused.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use claimsmith_catalog::{HostConfig, token_policy};
use claimsmith_token::{Explained, MetadataStore};
use tokio::time::Instant;

/// How long metadata documents may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The token, with or without `Authorization:` and `Bearer`; read from standard input when absent, which keeps it out of the shell's
    /// history.
    // Several words, as nobody quotes what was copied: as an unknown argument, the token would be printed.
    token: Vec<String>,
    /// The host's configuration; tenants are found beside it.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// The extension whose rules apply, as `tenant/extension`.
    #[arg(long, value_name = "TENANT/EXTENSION")]
    extension: String,
    /// Print the checks as one JSON array.
    #[arg(long)]
    json: bool,
}

/// Runs every check on the token and prints each; fails when the token would be refused. The token is sent nowhere: only
/// the configured metadata documents are fetched.
pub(crate) async fn explain_token(arguments: &Arguments) -> anyhow::Result<()> {
    let (tenant, extension) = arguments
        .extension
        .split_once('/')
        .context("`--extension` takes `tenant/extension`, as in the extension's URL")?;
    let config = HostConfig::read(&arguments.config)?;
    let store = MetadataStore::new(config.metadata_options())?;
    let policy = token_policy(&config.tenants, tenant, extension, &store)?;
    let text = if arguments.token.is_empty() {
        from_standard_input()?
    } else {
        arguments.token.join(" ")
    };
    let token = bare(&text);
    if token.is_empty() {
        bail!("there is no token: give it as an argument, or better on standard input");
    }
    let explained = policy.explain(token, Instant::now() + PATIENCE).await;
    print(&explained, arguments.json)?;
    if explained.iter().any(|check| check.passed != Some(true)) {
        bail!("{} would refuse this token", arguments.extension);
    }
    Ok(())
}

/// The token itself of what may have been copied with its header's name and scheme.
fn bare(text: &str) -> &str {
    ["authorization:", "bearer"]
        .into_iter()
        .fold(text.trim(), |text, word| {
            let (first, rest) = text.split_once(' ').unwrap_or((text, ""));
            if first.eq_ignore_ascii_case(word) {
                rest.trim()
            } else {
                text
            }
        })
}

fn from_standard_input() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .take(64 << 10)
        .read_to_string(&mut text)
        .context("the token cannot be read from standard input")?;
    Ok(text)
}

fn print(explained: &[Explained], json: bool) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    if json {
        writeln!(output, "{}", serde_json::to_string_pretty(explained)?)?;
        return Ok(());
    }
    // Checks that were not run for one reason share a line.
    for alike in explained.chunk_by(|one, next| one.passed.is_none() && one.message == next.message) {
        let Some(check) = alike.first() else { continue };
        let mark = match check.passed {
            Some(true) => "ok     ",
            Some(false) => "REFUSED",
            None => "-      ",
        };
        let names: Vec<_> = alike.iter().map(|check| check.check).collect();
        let outcome = check.outcome.map(|code| format!(" [{code}]")).unwrap_or_default();
        writeln!(output, "{mark} {:<10} {}{outcome}", names.join(", "), check.message)?;
    }
    Ok(())
}
