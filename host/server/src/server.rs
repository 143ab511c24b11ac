//! The service: started from its configuration, run until told to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{any, get};
use claimsmith_admin::{Admin, AdminError, Store};
use claimsmith_audit::{Auditor, StoreError};
use claimsmith_catalog::{ActiveVersions, Catalog, ConfigError, CurrentCatalog, HostConfig, Loader, watch};
use claimsmith_contract::Outcome;
use claimsmith_runtime::{Compiler, Runtime, RuntimeError, raise_descriptor_limit};
use claimsmith_token::{FetchError, MetadataStore};
use claimsmith_upstreams::Network;
use claimsmith_upstreams::Problems;
use claimsmith_upstreams::vault::Vault;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::answer::{self, Refusal};
use crate::repeats::Repeats;
use crate::service::Answers;
use crate::strangers::Strangers;
use crate::tls::Tls;
use crate::trace::Tracer;
use crate::{callout, controls, health, listener, openapi, probe, quiet, status, telemetry};

/// What every request can see.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) catalog: Arc<CurrentCatalog>,
    pub(crate) max_body_bytes: usize,
    /// Absent when the process counts elsewhere.
    pub(crate) metrics: Option<PrometheusHandle>,
    /// What `/openapi.json` answers.
    pub(crate) openapi: Bytes,
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) audit: Arc<Auditor>,
    /// Whose `x-forwarded-for` is believed.
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) repeats: Repeats,
    pub(crate) strangers: Strangers,
    /// Absent while no traces are made.
    pub(crate) tracer: Option<Tracer>,
    places: Arc<Semaphore>,
    all_places: usize,
    draining: AtomicBool,
    /// Whether the service has been ready once: then a new tenant's documents do not make it unready again.
    was_ready: AtomicBool,
}

impl App {
    /// A place among the callouts being answered.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let full = |_| Refusal::new(Outcome::Overloaded, "server.max_concurrent_callouts are being answered");
        Arc::clone(&self.places).try_acquire_owned().map_err(full)
    }

    /// Callouts that have a place now.
    pub(crate) fn callouts_in_flight(&self) -> usize {
        self.all_places.saturating_sub(self.places.available_permits())
    }

    /// Notes that every metadata document has been tried once.
    pub(crate) fn note_ready(&self) {
        self.was_ready.store(true, Ordering::Relaxed);
    }

    pub(crate) fn was_ready(&self) -> bool {
        self.was_ready.load(Ordering::Relaxed)
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}; change server.listen or stop what uses it")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The WebAssembly engine cannot be made, or its cache cannot be trusted.
    #[error(transparent)]
    Runtime(RuntimeError),
    /// The HTTP client for metadata cannot be made.
    #[error(transparent)]
    Metadata(FetchError),
    /// The certificate or its key cannot be used.
    #[error("TLS cannot be served: {0}")]
    Tls(String),
    /// Nothing can be counted, or no traces can be sent.
    #[error("telemetry cannot be set up: {0}")]
    Telemetry(String),
    /// The audit store's directory or key cannot be used. (A store that is full, locked or damaged does not keep the
    /// service from starting.)
    #[error("audit.path: {0}")]
    Audit(#[source] StoreError),
    /// The directory of tenants cannot be read.
    #[error(transparent)]
    Tenants(ConfigError),
    /// Vault cannot be asked as it is configured.
    #[error("claimsmith.toml: {0}")]
    Vault(String),
    /// The admin API's store, socket or address cannot be used.
    #[error(transparent)]
    Admin(AdminError),
}

impl StartError {
    fn vault(problems: Problems) -> Self {
        let problems = problems.into_iter();
        let told = problems.map(|problem| format!("vault.{}: {}", problem.path, problem.message));
        Self::Vault(told.collect::<Vec<_>>().join("; "))
    }
}

/// The service, listening but not yet answering.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    address: SocketAddr,
    config: HostConfig,
    config_file: PathBuf,
    loader: Loader,
    vault: Option<Arc<Vault>>,
    runtime: Arc<Runtime>,
    app: Arc<App>,
    admin: Option<Admin>,
}

impl Server {
    /// Loads all tenants and binds the address. A tenant whose files are not valid does not keep the others from
    /// serving; its errors are in the log. Plugins that are not in the cache are compiled by `compiler`.
    ///
    /// # Errors
    /// [`StartError`]: nothing could be served.
    pub async fn start(config: HostConfig, config_file: &Path, compiler: Compiler) -> Result<Self, StartError> {
        let metrics = telemetry::begin().map_err(|error| StartError::Telemetry(error.to_string()))?;
        controls::apply(&config);
        let tls = config.server.tls.clone().map(Tls::load).transpose();
        let tls = tls.map_err(StartError::Tls)?.map(Arc::new);
        let tracer = Tracer::start(&config.telemetry.traces);
        let tracer = tracer.map_err(|error| StartError::Telemetry(error.to_string()))?;
        raise_descriptor_limit();
        let runtime = Runtime::new(config.runtime_options(compiler)).map_err(StartError::Runtime)?;
        let runtime = Arc::new(runtime);
        let metadata = MetadataStore::new(config.metadata_options()).map_err(StartError::Metadata)?;
        let metadata = Arc::new(metadata);
        let vault = config.vault.as_ref().map(Vault::load).transpose();
        let vault = vault.map_err(StartError::vault)?.map(Arc::new);
        let mut loader = Loader::new(
            config.tenants.clone(),
            config.limits(),
            config.breaker_options(),
            config.egress.clone(),
            config.tenant_concurrency(),
            Arc::clone(&runtime),
            Arc::clone(&metadata),
        )
        .with(config.rate_limits.clone(), config.last_known_good)
        .with_max_cache_bytes(config.runtime.max_binding_cache_bytes_per_tenant)
        .with_vault(vault.clone());
        let store = open_store(&config).await.map_err(StartError::Admin)?;
        if let Some((_, versions)) = &store {
            loader = loader.with_versions(Arc::clone(versions));
        }
        let empty = Catalog::default();
        let catalog = loader.load(&empty).await.map_err(StartError::Tenants)?.unwrap_or(empty);
        runtime.begin_callouts();
        if !catalog.serves() {
            tracing::warn!(tenants = %config.tenants.display(), "no tenant serves yet");
        }

        let address = config.server.listen;
        let listen_error = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let audit = Auditor::start(config.audit.options())
            .await
            .map_err(StartError::Audit)?;
        let catalog = Arc::new(CurrentCatalog::new(catalog));
        let admin = match (store, &config.admin, loader.activator(Arc::clone(&catalog))) {
            (Some((store, _)), Some(of), Some(activator)) => {
                let (most, write) = (config.runtime.max_component_bytes, config.server.write_timeout);
                let admin = Admin::start(of, store, activator, &metadata, most, write);
                Some(admin.await.map_err(StartError::Admin)?)
            }
            _ => None,
        };
        let app = App {
            audit: Arc::new(audit),
            repeats: Repeats::new(config.repeated_callouts),
            strangers: Strangers::default(),
            tracer,
            catalog,
            max_body_bytes: config.server.max_body_bytes,
            metrics,
            openapi: openapi::document().to_string().into(),
            runtime: Arc::clone(&runtime),
            trusted_proxies: config.server.trusted_proxies.clone(),
            places: Arc::new(Semaphore::new(config.server.max_concurrent_callouts)),
            all_places: config.server.max_concurrent_callouts,
            draining: AtomicBool::new(false),
            was_ready: AtomicBool::new(false),
        };
        Ok(Self {
            listener,
            tls,
            address,
            config,
            config_file: config_file.to_owned(),
            loader,
            vault,
            runtime,
            app: Arc::new(app),
            admin,
        })
    }

    /// Where the service listens: with `listen` port 0, the port that was free.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the service answers requests with: for callers in this process, which need no connection.
    pub fn router(&self) -> Router {
        router(Arc::clone(&self.app))
    }

    /// The catalog that callouts are served from.
    #[must_use]
    pub fn catalog(&self) -> &Arc<CurrentCatalog> {
        &self.app.catalog
    }

    /// Answers callouts until `shutdown`, then drains: no new connections, and callouts in flight finish within
    /// `server.drain_timeout`.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            listener,
            tls,
            config,
            app,
            runtime,
            vault,
            ..
        } = self;
        let tending = tokio::spawn(async move { runtime.tend_cache().await });
        let refreshing = vault.map(|vault| tokio::spawn(async move { vault.keep_fresh().await }));
        let reload = config.watch.enabled.then(|| {
            let catalog = Arc::clone(&app.catalog);
            let watched = watch(self.config_file, config.clone(), self.loader, catalog, controls::apply);
            tokio::spawn(async move {
                // In a task of its own, so that a defect there is told instead of ending hot reload in silence.
                let ended = tokio::spawn(watched).await;
                tracing::error!(?ended, "hot reload is off: restart the service to apply changes");
            })
        });
        let watching = tokio::spawn(quiet::watch(Arc::clone(&app)));
        let probing = tokio::spawn(probe::probe(Arc::clone(&app), config.probe.interval));
        let (stop_admin, admin_stops) = oneshot::channel::<()>();
        let stop = async {
            let _was_dropped = admin_stops.await.is_err();
        };
        let admin = self.admin.map(|admin| tokio::spawn(admin.run(stop)));
        let draining = Arc::clone(&app);
        let drain_delay = config.server.drain_delay;
        let shutdown = async move {
            shutdown.await;
            draining.draining.store(true, Ordering::Relaxed);
            tracing::info!("shutting down: callouts in flight may finish");
            tokio::time::sleep(drain_delay).await;
        };
        let answers = Answers::new(Arc::clone(&app), router(Arc::clone(&app)));
        let renewing = tls.clone().map(|tls| tokio::spawn(tls.tend()));
        listener::serve(listener, answers, tls, &config.server, shutdown).await;
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        watching.abort();
        probing.abort();
        app.repeats.close(config.server.drain_timeout).await;
        app.audit.close(config.server.drain_timeout).await;
        if let Some(tracer) = &app.tracer {
            tracer.stop().await;
        }
        if let Some(reload) = reload {
            reload.abort();
        }
        if let Some(refreshing) = refreshing {
            refreshing.abort();
        }
        drop(stop_admin);
        if let Some(admin) = admin {
            let _the_process_ends = admin.await.is_err();
        }
        tending.abort();
        tracing::info!("stopped");
    }
}

/// The version store and what is active, where there is an admin API.
async fn open_store(config: &HostConfig) -> Result<Option<(Store, Arc<ActiveVersions>)>, AdminError> {
    let Some(admin) = &config.admin else { return Ok(None) };
    let store = Store::open(&admin.state).await?;
    let versions = Arc::new(store.active_versions().await?);
    Ok(Some((store, versions)))
}

fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(callout::PATH, any(callout::handle_unusual))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(telemetry::render))
        .route("/status", get(status::status))
        .route("/openapi.json", get(openapi::render))
        .fallback(async || {
            let detail = "callouts go to /tenants/{tenant}/extensions/{extension}";
            answer::refusal(
                &Refusal::with_errors(Outcome::UnknownExtension, vec![detail.to_owned()]),
                None,
            )
        })
        .with_state(app)
}
