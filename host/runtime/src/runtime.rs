//! The runtime: loads plugins and binds them.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use claimsmith_contract::Event;
use semver::Version;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::binding::Binding;
use crate::engine::{self, PagemapScan};
use crate::error::{BindError, EngineError, LoadError};
use crate::exports::Exports;
use crate::guest_text::clean;
use crate::limits::Limits;
use crate::linker;
use crate::plugin::{Digest, Plugin};
use crate::run::Run;
use crate::share::{Shared, TenantShare};
use crate::state::CallState;

/// How long a plugin may take to describe itself or to check settings.
pub(crate) const LIFECYCLE_TIME: Duration = Duration::from_secs(2);

/// What the operator decides for the whole process.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Invocations at the same time, of all bindings together; also the size of the instance pool. Default 256.
    pub max_concurrent_invocations: u32,
    /// Bytes of one component. Default 8 MiB.
    pub max_component_bytes: usize,
    /// How the memory of ended invocations is reset. Default no.
    pub pagemap_scan: PagemapScan,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            max_concurrent_invocations: 256,
            max_component_bytes: 8 << 20,
            pagemap_scan: PagemapScan::No,
        }
    }
}

/// Loads plugins and binds them. One in a process: it owns the engine.
pub struct Runtime {
    options: RuntimeOptions,
    host: Arc<Host>,
    linker: Linker<CallState>,
    /// Every plugin somebody still uses, so that one digest is compiled once.
    loaded: Mutex<HashMap<Digest, Weak<Plugin>>>,
    /// The share of plugins that describe themselves, before a tenant has them.
    loading: TenantShare,
    /// One compilation at a time leaves the other core to callouts.
    compiling: tokio::sync::Mutex<()>,
}

/// What bindings need to run.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) shared: Shared,
}

impl Runtime {
    /// A runtime with its engine, pool and epoch thread.
    ///
    /// # Errors
    /// When the engine cannot be made on this machine.
    pub fn new(options: RuntimeOptions) -> Result<Self, EngineError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = engine::build(options.max_concurrent_invocations, options.pagemap_scan).map_err(failed)?;
        let linker = linker::build(&engine).map_err(failed)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Shared::new(options.max_concurrent_invocations as usize, cores);
        Ok(Self {
            options,
            host: Arc::new(Host { engine, shared }),
            linker,
            loaded: Mutex::default(),
            loading: TenantShare::new(1),
            compiling: tokio::sync::Mutex::default(),
        })
    }

    /// Makes a plugin of a component's bytes: compiles, links, type-checks and instantiates it once, and has it
    /// describe itself within `limits`. Bytes that are loaded already cost their hashing.
    ///
    /// # Errors
    /// [`LoadError`], whose messages tell the plugin's author what to do.
    pub async fn load(&self, bytes: Vec<u8>, limits: &Limits) -> Result<Arc<Plugin>, LoadError> {
        let limit = self.options.max_component_bytes;
        if bytes.len() > limit {
            return Err(LoadError::TooLarge {
                bytes: bytes.len(),
                limit,
            });
        }
        check_preamble(&bytes)?;
        let digest = Digest::of(&bytes);
        let _one_at_a_time = self.compiling.lock().await;
        if let Some(plugin) = self.find(digest) {
            return Ok(plugin);
        }

        let engine = self.host.engine.clone();
        let compiled = tokio::task::spawn_blocking(move || Component::new(&engine, bytes)).await;
        let component = compiled
            .map_err(|error| {
                if error.is_panic() {
                    LoadError::Compile("the compiler panicked".to_owned())
                } else {
                    LoadError::Interrupted
                }
            })?
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?;
        linker::check_imports(&component)?;
        let exports = self.link(&component)?;
        let plugin = Arc::new(self.describe(digest, exports, limits).await?);

        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        loaded.insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// Component instances that are alive now; `None` when instances are not pooled.
    #[must_use]
    pub fn live_instances(&self) -> Option<u64> {
        let metrics = self.host.engine.pooling_allocator_metrics()?;
        Some(metrics.component_instances())
    }

    fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.get(&digest).and_then(Weak::upgrade)
    }

    fn link(&self, component: &Component) -> Result<Exports, LoadError> {
        let incompatible = |error: wasmtime::Error| LoadError::Incompatible(format!("{error:#}"));
        let pre = self.linker.instantiate_pre(component).map_err(incompatible)?;
        let exports = Exports::find(component, pre).map_err(incompatible)?;
        let exports = exports.ok_or(LoadError::NoLifecycle)?;
        if !Event::ALL.into_iter().any(|event| exports.answers(event)) {
            return Err(LoadError::NoEvent);
        }
        Ok(exports)
    }

    /// Instantiates the component once: shows that it starts, that its exports have the right types, and what it is.
    async fn describe(&self, digest: Digest, exports: Exports, limits: &Limits) -> Result<Plugin, LoadError> {
        let label: Arc<str> = format!("sha256:{digest}").into();
        let deadline = Instant::now() + LIFECYCLE_TIME;
        let mut run = Run::new(&self.host.engine, &exports, label, "{}".into(), *limits, deadline);
        let call = async {
            let instance = run.instantiate().await?;
            let guest = exports.lifecycle.load(&mut run.store, &instance)?;
            exports.check(&mut run.store, &instance)?;
            guest.call_describe(&mut run.store).await
        };
        let mut turns = self.host.shared.turns(&self.loading);
        let ended = timeout_at(deadline, turns.run(call)).await;
        let described = run.finish(ended).result.map_err(LoadError::Probe)?;

        let version = Version::parse(&described.version).map_err(|_| LoadError::Version {
            version: clean(&described.version),
        })?;
        let name = clean(&described.name);
        Ok(Plugin {
            digest,
            label: format!("{name}@{version}").into(),
            name,
            version,
            summary: described.summary.as_deref().map(clean),
            exports,
        })
    }

    /// Binds a plugin to settings (one JSON object), which the plugin checks, and to limits. `tenant` is shared
    /// by all bindings of a tenant.
    ///
    /// # Errors
    /// [`BindError`] when the plugin refuses the settings or fails to check them.
    pub async fn bind(
        &self,
        plugin: Arc<Plugin>,
        settings: String,
        limits: Limits,
        tenant: Arc<TenantShare>,
    ) -> Result<Binding, BindError> {
        let binding = Binding {
            host: Arc::clone(&self.host),
            plugin,
            settings: settings.into(),
            limits,
            permits: Arc::new(Semaphore::new(limits.concurrency)),
            tenant,
        };
        binding.checked().await
    }
}

/// Tells the usual mistakes apart before the compiler is asked, whose messages are for compiler authors.
fn check_preamble(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes.first_chunk() {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(LoadError::CoreModule),
        _ => Err(LoadError::NotWasm),
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Runtime")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
