//! The subcommands that run a server until they are told to stop.

use std::path::PathBuf;

use anyhow::Context as _;
use claimsmith_catalog::HostConfig;
use claimsmith_local_entra::{Config, LocalEntra};
use claimsmith_server::{Server, controls};

use crate::compiler;
use crate::service_manager::ServiceManager;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The host's configuration; tenants are found beside it.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// Compile nothing: a plugin that is not in the cache (`[runtime.cache]`) is an error. `claimsmith compile` puts it
    /// there.
    #[arg(long)]
    no_compile: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LocalEntraArguments {
    /// The simulated directories, users, applications and extensions.
    #[arg(long, default_value = "local-entra.toml")]
    config: PathBuf,
}

/// `claimsmith serve`. With `log_is_given` the command line says what is logged, until the configuration is changed.
pub(crate) async fn serve(arguments: &Arguments, log_is_given: bool) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    reload_on_hangup(arguments.config.clone())?;
    let config = HostConfig::read(&arguments.config)?;
    controls::begin(&config, log_is_given)?;
    let compiler = if arguments.no_compile {
        compiler::nobody(&config, &arguments.config)?
    } else {
        compiler::child()?
    };
    let mut shutdown = std::pin::pin!(shutdown);
    let server = tokio::select! {
        started = Server::start(config, &arguments.config, compiler) => started?,
        () = &mut shutdown => return Ok(()),
    };
    tracing::info!(address = %server.address(), "listening");
    let _manager = ServiceManager::ready(&format!("listening on {}", server.address()));
    let stopping = async {
        shutdown.await;
        ServiceManager::stopping();
    };
    server.run(stopping).await;
    Ok(())
}

/// Resolves at SIGTERM (service managers) or Ctrl-C. Handlers are installed at once, so that no signal is missed.
#[cfg(unix)]
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("the signal SIGINT cannot be handled")?;
    let mut terminate = signal(SignalKind::terminate()).context("the signal SIGTERM cannot be handled")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Resolves at Ctrl-C.
#[cfg(not(unix))]
fn shutdown_signal() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "Ctrl-C cannot be handled");
        }
    })
}

/// Applies what can change without a restart of the configuration when SIGHUP comes, also where files are not watched.
#[cfg(unix)]
fn reload_on_hangup(config: PathBuf) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup()).context("the signal SIGHUP cannot be handled")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let path = config.clone();
            match tokio::task::spawn_blocking(move || HostConfig::read(&path)).await {
                Ok(Ok(config)) => controls::apply(&config),
                Ok(Err(errors)) => tracing::error!("{errors}; the service goes on as it was configured"),
                Err(error) => tracing::error!(%error, "the configuration could not be read"),
            }
        }
    });
    Ok(())
}

/// There is no such signal.
#[cfg(not(unix))]
fn reload_on_hangup(_: PathBuf) -> anyhow::Result<()> {
    Ok(())
}

/// `claimsmith local-entra`
pub(crate) async fn local_entra(arguments: &LocalEntraArguments) -> anyhow::Result<()> {
    let shutdown = shutdown_signal()?;
    let entra = LocalEntra::start(Config::load(&arguments.config)?).await?;
    shutdown.await;
    entra.stop().await;
    Ok(())
}
