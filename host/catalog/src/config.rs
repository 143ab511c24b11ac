//! `claimsmith.toml`: the operator's configuration of the host.

mod admin;
mod audit;
mod breaker;
mod cache;
mod egress;
mod instance_reuse;
mod limits;
mod repeats;
mod telemetry;
mod tls;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use claimsmith_runtime::{BreakerOptions, CompileLimits, Compiler, Limits, PagemapScan, RuntimeOptions};
use claimsmith_token::MetadataOptions;
use claimsmith_upstreams::Network;
use claimsmith_upstreams::vault::VaultConfig;
use serde::Deserialize;

pub use self::admin::{AdminConfig, AdminRole, AdminTokenConfig};
pub use self::audit::{AuditConfig, AuditMode};
use self::breaker::BreakerConfig;
pub use self::cache::CacheConfig;
pub use self::egress::EgressConfig;
pub use self::instance_reuse::InstanceReuseConfig;
pub(crate) use self::limits::LimitsConfig;
pub use self::repeats::RepeatsConfig;
pub use self::telemetry::{LogConfig, ProbesConfig, TelemetryConfig, TracesConfig};
pub use self::tls::TlsConfig;
use crate::error::{ConfigError, ConfigErrors};
use crate::last_known_good::LastKnownGoodConfig;
use crate::rate_limit::RateLimitsConfig;
use crate::source::Source;

/// `runtime.max_binding_cache_bytes_per_tenant`: sixteen caches that say nothing.
pub(crate) const DEFAULT_MAX_CACHE_BYTES: u64 = 64 << 20;

/// The host's configuration. Every member has a default.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct HostConfig {
    /// The directory that holds one directory for each tenant; relative to the configuration file. Default `tenants`.
    pub tenants: PathBuf,
    /// The HTTP server.
    pub server: ServerConfig,
    /// Plugins.
    pub runtime: RuntimeConfig,
    /// Token validation.
    pub token: TokenConfig,
    /// What upstreams may connect to.
    pub egress: EgressConfig,
    /// Where tenants' secrets may be besides files and variables. Default nowhere.
    pub vault: Option<VaultConfig>,
    /// Hot reload.
    pub watch: WatchConfig,
    /// The records of callouts.
    pub audit: AuditConfig,
    /// How many callouts tenants and extensions may be sent.
    pub rate_limits: RateLimitsConfig,
    /// Callouts that repeat.
    pub repeated_callouts: RepeatsConfig,
    /// What is remembered for bindings that fail.
    pub last_known_good: LastKnownGoodConfig,
    /// Traces.
    pub telemetry: TelemetryConfig,
    /// Log lines.
    pub log: LogConfig,
    /// Callouts that the service makes itself.
    pub probe: ProbesConfig,
    /// The admin API; absent where there is none.
    pub admin: Option<AdminConfig>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            tenants: PathBuf::from("tenants"),
            server: ServerConfig::default(),
            runtime: RuntimeConfig::default(),
            token: TokenConfig::default(),
            egress: EgressConfig::default(),
            vault: None,
            watch: WatchConfig::default(),
            audit: AuditConfig::default(),
            rate_limits: RateLimitsConfig::default(),
            repeated_callouts: RepeatsConfig::default(),
            last_known_good: LastKnownGoodConfig::default(),
            telemetry: TelemetryConfig::default(),
            log: LogConfig::default(),
            probe: ProbesConfig::default(),
            admin: None,
        }
    }
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one. Default `127.0.0.1:8080`.
    pub listen: SocketAddr,
    /// Bytes of a request body; larger ones get 413. Default 262144.
    pub max_body_bytes: usize,
    /// Requests being answered at once; further ones get 503. Bounds the memory that bodies take. Default 1024.
    pub max_concurrent_callouts: usize,
    /// Connections at once; further ones wait to be accepted. Default 4096.
    pub max_connections: usize,
    /// How long a client may take to send a request's headers, and how long a connection may be idle. Default 1 min.
    /// Shorter times cut off slow attackers sooner, but also the connections that Entra would use again.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a client may take to read what it was sent; then its connection ends. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub write_timeout: Duration,
    /// How long new callouts are still answered at shutdown, while `/readyz` says 503 and load balancers notice. Default
    /// none.
    #[serde(with = "humantime_serde")]
    pub drain_delay: Duration,
    /// How long callouts in flight may take to finish at shutdown. Default 10 s.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// TLS. Default none: plain HTTP, for what is behind a proxy.
    pub tls: Option<TlsConfig>,
    /// Networks of the proxies whose `x-forwarded-for` says who the client is. Default none.
    pub trusted_proxies: Vec<Network>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            max_body_bytes: 256 << 10,
            max_concurrent_callouts: 1024,
            max_connections: 4096,
            header_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
            tls: None,
            trusted_proxies: Vec::new(),
        }
    }
}

/// `[runtime]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RuntimeConfig {
    /// Invocations at once, of all bindings; the size of the instance pool. Each takes 4 GiB of address space, which
    /// costs no memory. Default 256.
    pub max_concurrent_invocations: u32,
    /// Invocations at once of one tenant, so that its slow plugins leave places to others. Default half of all.
    pub max_concurrent_invocations_per_tenant: Option<u32>,
    /// Bytes that the caches of one tenant's bindings may have together. Default 67108864.
    pub max_binding_cache_bytes_per_tenant: u64,
    /// Bytes of one component. Default 8388608.
    pub max_component_bytes: usize,
    /// How the memory of an instance is reset for the next one. Default `auto`.
    pub pagemap_scan: PagemapScanConfig,
    /// How long one component may take to compile. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub max_compile_time: Duration,
    /// Bytes of memory (address space) that compiling one component may take. Default 1073741824.
    pub max_compile_memory_bytes: u64,
    /// Bytes of machine code that one component may compile to. Default 134217728.
    pub max_compiled_bytes: usize,
    /// Where compiled components are kept.
    pub cache: CacheConfig,
    /// Whether instances may serve several invocations.
    pub instance_reuse: InstanceReuseConfig,
    /// When a plugin that fails is no longer invoked, and for how long.
    pub breaker: BreakerConfig,
    /// What a binding has when it says nothing, and the most it can ask for.
    pub limits: LimitsConfig,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        let options = RuntimeOptions::default();
        Self {
            max_concurrent_invocations: options.max_concurrent_invocations,
            max_concurrent_invocations_per_tenant: None,
            max_binding_cache_bytes_per_tenant: DEFAULT_MAX_CACHE_BYTES,
            max_component_bytes: options.max_component_bytes,
            pagemap_scan: PagemapScanConfig::Auto,
            max_compile_time: options.compile_limits.max_time,
            max_compile_memory_bytes: options.compile_limits.max_memory_bytes,
            max_compiled_bytes: options.compile_limits.max_compiled_bytes,
            cache: CacheConfig::default(),
            instance_reuse: InstanceReuseConfig::default(),
            breaker: BreakerConfig::default(),
            limits: LimitsConfig::default(),
        }
    }
}

/// `runtime.pagemap_scan`
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum PagemapScanConfig {
    /// By asking the kernel what was written, where it can tell and nothing can be swapped out.
    #[default]
    Auto,
    /// By asking the kernel: for hosts that are known to have no swap. With swap, an instance could read what an
    /// earlier one has left.
    On,
    /// Without asking the kernel.
    Off,
}

impl From<PagemapScanConfig> for PagemapScan {
    fn from(config: PagemapScanConfig) -> Self {
        match config {
            PagemapScanConfig::Auto => Self::Auto,
            PagemapScanConfig::On => Self::On,
            PagemapScanConfig::Off => Self::Off,
        }
    }
}

/// `[token]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TokenConfig {
    /// How often metadata documents and keys are fetched again. Default 1 h.
    #[serde(with = "humantime_serde")]
    pub refresh_interval: Duration,
    /// How often at most, on average, an unknown key id causes a fetch. Default 5 min.
    #[serde(with = "humantime_serde")]
    pub unknown_key_interval: Duration,
    /// Whether documents may come over plain http from this machine: for a local Entra. Default false.
    pub allow_loopback_http: bool,
    /// How long one fetch may take. Default 5 s.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

impl Default for TokenConfig {
    fn default() -> Self {
        let options = MetadataOptions::default();
        Self {
            refresh_interval: options.refresh_interval,
            unknown_key_interval: options.unknown_key_interval,
            allow_loopback_http: options.allow_loopback_http,
            timeout: options.timeout,
        }
    }
}

/// `[watch]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct WatchConfig {
    /// Whether changed files are loaded without a restart. Default true.
    pub enabled: bool,
    /// How long files must be quiet before they are read. Default 200 ms.
    #[serde(with = "humantime_serde")]
    pub debounce: Duration,
    /// How often files are compared even without a notification, which network file systems do not send. Default 30 s.
    #[serde(with = "humantime_serde")]
    pub rescan: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            debounce: Duration::from_millis(200),
            rescan: Duration::from_secs(30),
        }
    }
}

/// More of anything at once than one machine serves.
const MAX_COUNT: usize = 1_000_000;

impl HostConfig {
    /// Reads `claimsmith.toml`. Paths in it are resolved against its directory.
    ///
    /// # Errors
    /// Every mistake in it, with its place.
    pub fn read(path: &Path) -> Result<Self, ConfigErrors> {
        let source = Source::read(path)?;
        let mut config: Self = source.parse()?;
        config.check(path)?;
        let directory = path.parent().unwrap_or(Path::new(""));
        config.tenants = directory.join(&config.tenants);
        config.runtime.cache.resolve(directory);
        config.audit.resolve(directory);
        if let Some(vault) = &mut config.vault {
            vault.resolve(directory);
        }
        if let Some(tls) = &mut config.server.tls {
            tls.resolve(directory);
        }
        config.telemetry.traces.resolve(directory);
        if let Some(admin) = &mut config.admin {
            admin.resolve(directory);
        }
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigErrors> {
        let limits = self.limits();
        let server = &self.server;
        let counts = [
            server.max_connections,
            server.max_concurrent_callouts,
            limits.concurrency,
            self.runtime.max_concurrent_invocations as usize,
        ];
        let rules = [
            (
                counts.iter().all(|count| *count <= MAX_COUNT),
                "counts of connections, callouts and invocations can be 1000000 at most",
            ),
            (
                self.runtime.max_concurrent_invocations > 0,
                "runtime.max_concurrent_invocations must be at least 1",
            ),
            (
                self.server.max_concurrent_callouts > 0,
                "server.max_concurrent_callouts must be at least 1",
            ),
            (
                self.server.max_connections > 0,
                "server.max_connections must be at least 1",
            ),
            (
                self.server.max_body_bytes > 0,
                "server.max_body_bytes must be at least 1",
            ),
            (
                !self.token.refresh_interval.is_zero(),
                "token.refresh_interval must not be zero",
            ),
            (!self.watch.rescan.is_zero(), "watch.rescan must not be zero"),
            (
                self.runtime.max_compile_time >= Duration::from_millis(100),
                "runtime.max_compile_time must be at least 100 ms",
            ),
        ];
        let errors: Vec<_> = rules
            .into_iter()
            .chain(LimitsConfig::rules(&limits))
            .chain(self.runtime.breaker.rules())
            .chain(self.runtime.cache.rules())
            .chain(self.runtime.instance_reuse.rules())
            .chain(self.audit.rules())
            .chain(self.server.tls.iter().flat_map(TlsConfig::rules))
            .chain(self.rate_limits.rules())
            .chain(self.repeated_callouts.rules())
            .chain(self.last_known_good.rules())
            .chain(self.telemetry.traces.rules())
            .chain(self.probe.rules())
            .chain(self.admin.iter().flat_map(AdminConfig::rules))
            .filter(|(holds, _)| !holds)
            .map(|(_, rule)| ConfigError::in_file(path, rule))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The circuit breakers' options.
    #[must_use]
    pub fn breaker_options(&self) -> BreakerOptions {
        self.runtime.breaker.options()
    }

    /// The limits of a binding that says nothing, which are the most it can ask for.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.runtime.limits.over(&Limits::default())
    }

    /// Invocations of one tenant at once.
    #[must_use]
    pub fn tenant_concurrency(&self) -> usize {
        let half = self.runtime.max_concurrent_invocations / 2;
        let asked = self.runtime.max_concurrent_invocations_per_tenant.unwrap_or(half);
        asked.clamp(1, self.runtime.max_concurrent_invocations.max(1)) as usize
    }

    /// What the runtime is made with, when it compiles so.
    #[must_use]
    pub fn runtime_options(&self, compiler: Compiler) -> RuntimeOptions {
        RuntimeOptions {
            max_concurrent_invocations: self.runtime.max_concurrent_invocations,
            max_component_bytes: self.runtime.max_component_bytes,
            pagemap_scan: self.runtime.pagemap_scan.into(),
            compiler,
            compile_limits: CompileLimits {
                max_time: self.runtime.max_compile_time,
                max_memory_bytes: self.runtime.max_compile_memory_bytes,
                max_compiled_bytes: self.runtime.max_compiled_bytes,
            },
            cache: self.runtime.cache.options(),
            instance_reuse: self.runtime.instance_reuse.options(),
        }
    }

    /// What the metadata store is made with.
    #[must_use]
    pub fn metadata_options(&self) -> MetadataOptions {
        MetadataOptions {
            refresh_interval: self.token.refresh_interval,
            unknown_key_interval: self.token.unknown_key_interval,
            allow_loopback_http: self.token.allow_loopback_http,
            timeout: self.token.timeout,
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]
mod tests;
