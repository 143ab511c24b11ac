//! The runtime: loads plugins and binds them.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZero;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use claimsmith_contract::Event;
use semver::Version;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::{Instant, timeout_at};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::aot::CacheOptions;
use crate::binding::{Binding, PluginName};
use crate::capability::Grants;
use crate::compiler::{CompileLimits, Compiler};
use crate::components::Components;
use crate::engine;
use crate::error::{BindError, EngineError, LoadError, PrecompileError, RuntimeError};
use crate::exports::Exports;
use crate::guest_text::clean;
use crate::limits::Limits;
use crate::linker;
use crate::pagemap::PagemapScan;
use crate::plugin::{Digest, Plugin};
use crate::recording::Taping;
use crate::reuse::{InstanceReuse, Kept};
use crate::run::{Report, Run};
use crate::share::{Shared, TenantShare};
use crate::state::CallState;

/// How long a plugin may take to describe itself or to check settings.
pub(crate) const LIFECYCLE_TIME: Duration = Duration::from_secs(2);

/// What a version may have: it is in each of the plugin's log records, besides what those may hold.
const MAX_VERSION_BYTES: usize = 128;

/// How often the cache is looked through.
const TIDY_INTERVAL: Duration = Duration::from_hours(1);

/// What the operator decides for the whole process.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Invocations at the same time, of all bindings together; also the size of the instance pool. Default 256.
    pub max_concurrent_invocations: u32,
    /// Bytes of one component. Default 8 MiB.
    pub max_component_bytes: usize,
    /// How the memory of an instance is reset for the next one. Default [`PagemapScan::Auto`].
    pub pagemap_scan: PagemapScan,
    /// Who compiles. Default this process.
    pub compiler: Compiler,
    /// What compiling may use.
    pub compile_limits: CompileLimits,
    /// Where compiled components are kept. Default nowhere.
    pub cache: Option<CacheOptions>,
    /// Whether and how instances serve several invocations. Default not.
    pub instance_reuse: InstanceReuse,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self {
            max_concurrent_invocations: 256,
            max_component_bytes: 8 << 20,
            pagemap_scan: PagemapScan::Auto,
            compiler: Compiler::InProcess,
            compile_limits: CompileLimits::default(),
            cache: None,
            instance_reuse: InstanceReuse::default(),
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
    /// The digests that somebody is loading now, so that nobody else loads the same.
    being_loaded: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
    components: Components,
    /// The share of plugins that describe themselves, before a tenant has them.
    loading: TenantShare,
}

/// What became of a component that is to be in the cache.
#[derive(Clone, Copy, Debug)]
pub struct Precompiled {
    /// What identifies it.
    pub digest: Digest,
    /// Whether it had to be compiled; else it was there already.
    pub compiled: bool,
}

/// What bindings need to run.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) shared: Shared,
    /// Places of plugins that describe themselves or check settings, which the pool has besides the invocations'.
    pub(crate) lifecycle: Semaphore,
    pub(crate) instance_reuse: InstanceReuse,
    /// Places for instances that are idle.
    pub(crate) idle_places: Arc<Semaphore>,
    /// What the operator allows at the moment: bindings that were made when it was more are held to it all the same.
    pub(crate) most: ArcSwap<Limits>,
}

impl Host {
    /// Where a binding keeps its idle instances.
    pub(crate) fn keep(&self) -> Arc<Kept> {
        Kept::new(self.instance_reuse, &self.idle_places)
    }
}

impl Runtime {
    /// A runtime with its engine, pool and epoch thread, and its cache open.
    ///
    /// # Errors
    /// When the engine cannot be made on this machine, or the cache cannot be trusted.
    pub fn new(options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let failed = |error: wasmtime::Error| EngineError(format!("{error:#}"));
        let engine = engine::build(
            options.max_concurrent_invocations,
            options.instance_reuse.places(),
            options.pagemap_scan,
        )
        .map_err(failed)?;
        let linker = linker::build(&engine).map_err(failed)?;
        let components = Components::open(&engine, &options)?;
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let shared = Shared::new(options.max_concurrent_invocations as usize, cores);
        let instance_reuse = options.instance_reuse;
        Ok(Self {
            options,
            host: Arc::new(Host {
                engine,
                shared,
                lifecycle: Semaphore::new(engine::LIFECYCLE_PLACES as usize),
                instance_reuse,
                idle_places: Arc::new(Semaphore::new(instance_reuse.places() as usize)),
                most: ArcSwap::from_pointee(Limits::UNBOUNDED),
            }),
            linker,
            loaded: Mutex::default(),
            being_loaded: Mutex::default(),
            components,
            loading: TenantShare::new(1),
        })
    }

    /// Holds every invocation that begins from now on to `most`, whatever its binding was given.
    pub fn set_most(&self, most: Limits) {
        self.host.most.store(Arc::new(most));
    }

    /// Makes a plugin of a component's bytes: takes it from the cache or compiles it, links, type-checks and instantiates
    /// it once, and has it describe itself within `limits`. Bytes that are loaded already cost their hashing.
    ///
    /// # Errors
    /// [`LoadError`], whose messages tell the plugin's author what to do.
    pub async fn load(&self, bytes: Vec<u8>, limits: &Limits) -> Result<Arc<Plugin>, LoadError> {
        let (digest, length) = (Digest::of(&bytes), bytes.len());
        self.load_found(digest, length, limits, async { Ok(bytes) }).await
    }

    /// The same for a component of so many bytes whose digest is known. It is read only if it has to be compiled, once it is
    /// its turn; whoever reads it sees to it that it has the digest.
    ///
    /// # Errors
    /// [`LoadError`], and those of reading.
    pub async fn load_found<E: From<LoadError> + Send>(
        &self,
        digest: Digest,
        bytes: usize,
        limits: &Limits,
        read: impl Future<Output = Result<Vec<u8>, E>> + Send,
    ) -> Result<Arc<Plugin>, E> {
        let mut unread = None;
        let read = async {
            let failed = |error| {
                unread = Some(error);
                LoadError::Interrupted
            };
            read.await.map_err(failed)
        };
        let loaded = self.find_or_load(digest, bytes, limits, read).await;
        if let Some(error) = unread {
            return Err(error);
        }
        let result = loaded.as_ref().map_or_else(LoadError::code, |_| "loaded");
        metrics::counter!("claimsmith_plugin_loads_total", "result" => result).increment(1);
        Ok(loaded?)
    }

    async fn find_or_load(
        &self,
        digest: Digest,
        bytes: usize,
        limits: &Limits,
        read: impl Future<Output = Result<Vec<u8>, LoadError>> + Send,
    ) -> Result<Arc<Plugin>, LoadError> {
        self.check_size(bytes)?;
        if let Some(plugin) = self.find(digest) {
            return Ok(plugin);
        }
        // Held until the plugin can be found, so that one digest is compiled once.
        let _alone = self.alone_with(digest).await;
        if let Some(plugin) = self.find(digest) {
            return Ok(plugin);
        }
        if let Some(component) = self.components.cached(digest).await? {
            return self.make_plugin(digest, &component, limits).await;
        }
        let component = {
            let _turn = self.components.turn().await?;
            let bytes = read.await?;
            check_preamble(&bytes)?;
            let (component, _kept) = self.components.compile(digest, &bytes).await?;
            component
        };
        self.make_plugin(digest, &component, limits).await
    }

    /// Sees to it that a component is in the cache.
    ///
    /// # Errors
    /// [`PrecompileError`]
    pub async fn precompile(&self, bytes: &[u8]) -> Result<Precompiled, PrecompileError> {
        if !self.components.has_cache() {
            return Err(PrecompileError::NoCache);
        }
        let digest = self.check(bytes)?;
        let compiled = self.components.cached(digest).await?.is_none();
        if compiled {
            let _turn = self.components.turn().await?;
            let (_component, kept) = self.components.compile(digest, bytes).await?;
            kept.unwrap_or(Ok(())).map_err(PrecompileError::NotKept)?;
        }
        Ok(Precompiled { digest, compiled })
    }

    /// Deletes from the cache what nobody has used for long, for as long as it is polled. What is loaded here is in use.
    pub async fn tend_cache(&self) {
        loop {
            let in_use = {
                let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
                let alive = loaded.iter().filter(|(_, plugin)| plugin.strong_count() > 0);
                alive.map(|(digest, _)| *digest).collect()
            };
            self.components.tidy_cache(in_use).await;
            tokio::time::sleep(TIDY_INTERVAL).await;
        }
    }

    /// From now on one component is compiled at a time, because callouts need the other cores.
    pub fn begin_callouts(&self) {
        self.components.leave_one_turn();
    }

    /// Waits until nobody else loads a digest, and keeps others from it.
    async fn alone_with(&self, digest: Digest) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.being_loaded.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            let known = locks.get(&digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::default();
                locks.insert(digest, Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    /// What can be seen without compiling.
    fn check(&self, bytes: &[u8]) -> Result<Digest, LoadError> {
        self.check_size(bytes.len())?;
        check_preamble(bytes)?;
        Ok(Digest::of(bytes))
    }

    fn check_size(&self, bytes: usize) -> Result<(), LoadError> {
        let limit = self.options.max_component_bytes;
        if bytes > limit {
            return Err(LoadError::TooLarge { bytes, limit });
        }
        Ok(())
    }

    async fn make_plugin(
        &self,
        digest: Digest,
        component: &Component,
        limits: &Limits,
    ) -> Result<Arc<Plugin>, LoadError> {
        linker::check_imports(component)?;
        let exports = self.link(component)?;
        let mut plugin = self.describe(digest, exports, limits).await?;
        plugin.imports = linker::imports(component);
        let plugin = Arc::new(plugin);

        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|_, plugin| plugin.strong_count() > 0);
        if let Some(as_fast) = loaded.get(&digest).and_then(Weak::upgrade) {
            return Ok(as_fast);
        }
        loaded.insert(digest, Arc::downgrade(&plugin));
        Ok(plugin)
    }

    /// Component instances that are alive now; `None` when instances are not pooled.
    #[must_use]
    pub fn live_instances(&self) -> Option<u64> {
        let metrics = self.host.engine.pooling_allocator_metrics()?;
        Some(metrics.component_instances())
    }

    /// Invocations that have a place now, and how many places there are.
    #[must_use]
    pub fn places(&self) -> (usize, usize) {
        self.host.shared.places()
    }

    fn find(&self, digest: Digest) -> Option<Arc<Plugin>> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.get(&digest).and_then(Weak::upgrade)
    }

    fn link(&self, component: &Component) -> Result<Exports, LoadError> {
        let incompatible = |error: wasmtime::Error| LoadError::Incompatible(clean(&format!("{error:#}")));
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
        let _place = self
            .host
            .lifecycle
            .acquire()
            .await
            .map_err(|_| LoadError::Interrupted)?;
        let label: Arc<str> = format!("sha256:{digest}").into();
        let deadline = Instant::now() + LIFECYCLE_TIME;
        let mut run = Run::new(
            &self.host.engine,
            &exports,
            label,
            "{}".into(),
            Arc::default(),
            *limits,
            deadline,
        );
        let mut mistyped = None;
        let call = async {
            let instance = run.instantiate().await?;
            let guest = exports.lifecycle.load(&mut run.store, &instance);
            let guest = guest.and_then(|guest| exports.check(&mut run.store, &instance).map(|()| guest));
            let guest = guest.inspect_err(|error| mistyped = Some(clean(&format!("{error:#}"))))?;
            guest.call_describe(&mut run.store).await
        };
        let ended = timeout_at(deadline, self.host.shared.turns(&self.loading).run(call)).await;
        if let Some(mistyped) = mistyped {
            return Err(LoadError::Incompatible(mistyped));
        }
        let Report { result, words, .. } = run.finish(ended);
        let described = result.map_err(|error| LoadError::Probe {
            error,
            words: Box::new(words),
        })?;

        let version = Some(&described.version).filter(|version| version.len() <= MAX_VERSION_BYTES);
        let version = version.and_then(|version| Version::parse(version).ok());
        let version = version.ok_or_else(|| LoadError::Version {
            version: clean(&described.version),
            limit: MAX_VERSION_BYTES,
        })?;
        Ok(Plugin {
            digest,
            name: clean(&described.name),
            version_text: version.to_string().into(),
            version,
            summary: described.summary.as_deref().map(clean),
            imports: Vec::new(),
            exports,
        })
    }

    /// Binds a plugin to settings (one JSON object), which the plugin checks, and to limits. `name` is the configuration's
    /// for the plugin: its log is told by it, not by what the plugin calls itself. `tenant` is shared by all bindings of a
    /// tenant; `grants` are the upstreams that this one may use.
    ///
    /// # Errors
    /// [`BindError`] when the plugin refuses the settings or fails to check them.
    pub async fn bind(
        &self,
        plugin: Arc<Plugin>,
        name: impl Into<PluginName<'_>>,
        settings: String,
        limits: Limits,
        tenant: Arc<TenantShare>,
        grants: Arc<Grants>,
    ) -> Result<Binding, BindError> {
        let PluginName { name, version } = name.into();
        let version = version.unwrap_or_else(|| Arc::clone(&plugin.version_text));
        let binding = Binding {
            host: Arc::clone(&self.host),
            label: format!("{name}@{version}").into(),
            version,
            plugin,
            settings: settings.into(),
            limits,
            permits: Arc::new(Semaphore::new(limits.concurrency)),
            tenant,
            grants,
            kept: None,
            taping: Taping::Live,
        };
        binding.checked().await
    }
}

/// Tells the usual mistakes apart before the compiler is asked, whose messages are for compiler authors.
fn check_preamble(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes.first_chunk() {
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(()),
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Err(LoadError::CoreModule),
        // wasmtime's files of compiled components (.cwasm) are ELF files too.
        Some([0x7f, b'E', b'L', b'F', ..]) => Err(LoadError::Native),
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
