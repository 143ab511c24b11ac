//! From a component's bytes to a component that can be linked: out of the cache, or compiled and put there.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::aot::{Cache, CacheError, CompiledCode, Found, Kept, Origin};
use crate::compiler::{CompileLimits, Compiler};
use crate::error::LoadError;
use crate::plugin::Digest;
use crate::runtime::RuntimeOptions;

/// Makes components.
pub(crate) struct Components {
    engine: Engine,
    origin: Origin,
    compiler: Compiler,
    limits: CompileLimits,
    cache: Option<Arc<Cache>>,
    /// The turns to compile: one for each core until callouts come, then one.
    compiling: Semaphore,
    /// The turns to take components out of the cache, each of which is in memory twice meanwhile.
    taking: Semaphore,
}

impl Components {
    /// Opens the cache, if there is to be one. A cache that the system does not let be used is warned about and done
    /// without: components compile all the same.
    ///
    /// # Errors
    /// When others could have put code into the cache.
    pub(crate) fn open(engine: &Engine, options: &RuntimeOptions) -> Result<Self, CacheError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let origin = Origin::of(engine);
        let limits = options.compile_limits;
        let open = |cache: &crate::aot::CacheOptions| {
            let origin = origin.tagged(&cache.build_tag);
            Cache::open(cache.clone(), origin, limits.max_compiled_bytes).map(Arc::new)
        };
        let cache = match options.cache.as_ref().map(open).transpose() {
            Err(error @ CacheError::Unusable { .. }) => {
                tracing::warn!("{error}; compiled components are not kept");
                None
            }
            opened => opened?,
        };
        Ok(Self {
            engine: engine.clone(),
            origin,
            compiler: options.compiler.clone(),
            limits,
            cache,
            compiling: Semaphore::new(cores),
            taking: Semaphore::new(cores),
        })
    }

    pub(crate) fn has_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// Waits for the turn to compile.
    ///
    /// # Errors
    /// [`LoadError::Interrupted`]
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, LoadError> {
        self.compiling.acquire().await.map_err(|_| LoadError::Interrupted)
    }

    /// Leaves one turn of those that nobody has: one compilation at a time leaves the other cores to callouts.
    pub(crate) fn leave_one_turn(&self) {
        self.compiling
            .forget_permits(self.compiling.available_permits().saturating_sub(1));
    }

    /// The component as it was compiled before.
    ///
    /// # Errors
    /// [`LoadError::Interrupted`]
    pub(crate) async fn cached(&self, digest: Digest) -> Result<Option<Component>, LoadError> {
        let Some(cache) = self.cache.clone() else {
            return Ok(None);
        };
        let _turn = self.taking.acquire().await.map_err(|_| LoadError::Interrupted)?;
        let engine = self.engine.clone();
        let found = spawn_blocking(move || match cache.get(digest) {
            Found::Hit(code) => load(&code, &engine)
                .inspect_err(|error| tracing::warn!(%digest, %error, "a compiled component is compiled again"))
                .ok(),
            Found::Miss => None,
        });
        let found = found.await.map_err(|_| LoadError::Interrupted)?;
        if found.is_some() {
            tracing::debug!(%digest, "component loaded from the cache");
        }
        Ok(found)
    }

    /// Compiles a component and keeps it, if there is a cache. For whoever has the [`Self::turn`].
    ///
    /// # Errors
    /// [`LoadError`], but not that it cannot be kept.
    pub(crate) async fn compile(&self, digest: Digest, wasm: &[u8]) -> Result<(Component, Option<Kept>), LoadError> {
        tracing::debug!(%digest, bytes = wasm.len(), "compiling a component");
        let started = Instant::now();
        let code = self
            .compiler
            .compile(&self.engine, self.origin, &self.limits, wasm)
            .await?;
        metrics::histogram!("claimsmith_compile_seconds").record(started.elapsed());
        tracing::info!(
            %digest,
            bytes = wasm.len(),
            compiled_bytes = code.bytes().len(),
            duration_ms = started.elapsed().as_millis(),
            "component compiled"
        );
        let (engine, cache) = (self.engine.clone(), self.cache.clone());
        let loaded = spawn_blocking(move || {
            let component = load(&code, &engine)?;
            Ok((component, cache.map(|cache| cache.put(digest, &code))))
        });
        loaded.await.map_err(|_| LoadError::Interrupted)?
    }

    /// Notes which components are in use and deletes what nobody needs from the cache.
    pub(crate) async fn tidy_cache(&self, in_use: Vec<Digest>) {
        if let Some(cache) = self.cache.clone() {
            let tidied = spawn_blocking(move || cache.tidy(&in_use));
            let _the_process_ends = tidied.await.is_err();
        }
    }
}

fn load(code: &CompiledCode, engine: &Engine) -> Result<Component, LoadError> {
    code.load(engine)
        .map_err(|error| LoadError::of_compiler(&format!("{error:#}")))
}
