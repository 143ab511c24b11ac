//! `claimsmith healthcheck`: whether the service answers, for containers that have no shell and no other program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use claimsmith_catalog::HostConfig;
use reqwest::Client;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The service's configuration, which says where it listens and whether it speaks TLS.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// Ask this address in place of `server.listen`.
    #[arg(long)]
    address: Option<SocketAddr>,
    /// Ask whether callouts should be sent there (`/readyz`), and not only whether the process lives (`/healthz`).
    #[arg(long)]
    ready: bool,
    /// How long the service may take.
    #[arg(long, default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// Asks the service.
///
/// # Errors
/// When nobody answers in time, or the answer is no.
pub(crate) async fn healthcheck(arguments: &Arguments) -> Result<()> {
    let config = HostConfig::read(&arguments.config)?;
    let address = reachable(arguments.address.unwrap_or(config.server.listen));
    ensure!(
        address.port() != 0,
        "the system picks the port of server.listen; say by --address which it is"
    );
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let path = if arguments.ready { "readyz" } else { "healthz" };
    let url = format!("{scheme}://{address}/{path}");
    // Its certificate is for another name than an address. Nothing secret is sent, and nothing but a yes or no is taken.
    let client = Client::builder()
        .no_proxy()
        .danger_accept_invalid_certs(true)
        .timeout(arguments.timeout);
    let answer = client.build()?.get(&url).send().await;
    let answer = answer.with_context(|| format!("the service does not answer at {url}"))?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    bail!("{url} answers {status}: {}", answer.text().await.unwrap_or_default())
}

/// Where a service can be asked from its own machine that listens to all of its addresses.
fn reachable(listens: SocketAddr) -> SocketAddr {
    let address = match listens.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listens.port())
}
