//! The subcommands that run a server until they are told to stop.

use std::path::PathBuf;

use anyhow::Context as _;
use claimsmith_catalog::HostConfig;
use claimsmith_local_entra::{Config, LocalEntra};
use claimsmith_server::Server;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The host's configuration; tenants are found beside it.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LocalEntraArguments {
    /// The simulated directories, users, applications and extensions.
    #[arg(long, default_value = "local-entra.toml")]
    config: PathBuf,
}

/// `claimsmith serve`
pub(crate) async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let config = HostConfig::read(&arguments.config)?;
    let server = Server::start(config, &arguments.config).await?;
    tracing::info!(address = %server.address(), "listening");
    server.run(shutdown).await;
    Ok(())
}

/// Resolves at SIGTERM (service managers) or Ctrl-C. Installed before anything else, so that no signal is missed.
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("the signal SIGTERM cannot be handled")?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = interrupt.await;
    })
}

/// `claimsmith local-entra`
pub(crate) async fn local_entra(arguments: &LocalEntraArguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let entra = LocalEntra::start(Config::load(&arguments.config)?).await?;
    shutdown.await;
    entra.stop().await;
    Ok(())
}
