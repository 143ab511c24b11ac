//! From an extension's configuration to what answers its callouts: its plugins, bound and checked, and its keys.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use claimsmith_audit::Privacy;
use claimsmith_contract::Event;
use claimsmith_password::{Accepted, DecryptionKey};
use claimsmith_runtime::{
    BindError, Binding, BreakerOptions, Grants, Limits, LoadError, Plugin, PluginName, Runtime, TenantShare,
};
use claimsmith_token::{MetadataStore, TokenPolicy};
use claimsmith_upstreams::Problem;
use claimsmith_upstreams::cache::{CacheOf, TenantCaches};
use claimsmith_upstreams::secret::SecretScope;
use claimsmith_upstreams::vault::VaultSecrets;

use crate::catalog::{BoundPlugin, Choice, Extension, Passwords};
use crate::error::{ConfigError, ConfigErrors};
use crate::failure_policy::{Composition, required};
use crate::files::{TenantFiles, read_regular};
use crate::last_known_good::Memory;
use crate::meters::{ExtensionMeters, cache_labels};
use crate::plugins::{PluginFiles, beside};
use crate::policy::policy;
use crate::rate_limit::{RateLimit, RateLimitConfig, RateLimits};
use crate::rules;

use crate::settings::to_json;
use crate::signature::TrustedKeys;
use crate::source::{Source, Step, steps};
use crate::tenant::{
    ApplicationConfig, BindingConfig, DecryptionKeyConfig, DirectoryConfig, ExtensionConfig, IsolationConfig,
};
use crate::upstreams::Upstreams;

/// What loading one extension needs.
#[derive(Clone, Copy)]
pub(crate) struct ExtensionLoader<'l> {
    pub(crate) runtime: &'l Runtime,
    pub(crate) metadata: &'l MetadataStore,
    pub(crate) limits: &'l Limits,
    pub(crate) breaker: &'l BreakerOptions,
    /// The extension as it has served so far.
    pub(crate) before: Option<&'l Extension>,
    /// What the tenant may take of what all tenants share.
    pub(crate) share: &'l Arc<TenantShare>,
    /// Where the tenant's last known good claims are.
    pub(crate) last_known_good: &'l Memory,
    /// The tenant's rate limit.
    pub(crate) rate_limit: Option<&'l Arc<RateLimit>>,
    /// The operator's rate limit of an extension.
    pub(crate) most_rate: Option<RateLimitConfig>,
    /// What the tenant's bindings can be granted.
    pub(crate) upstreams: &'l Upstreams,
    pub(crate) caches: &'l TenantCaches<'l>,
    /// What was read for the tenant from Vault.
    pub(crate) vault: Option<&'l VaultSecrets>,
    pub(crate) files: &'l TenantFiles,
    pub(crate) plugins: &'l PluginFiles,
    /// The keys that the tenant trusts.
    pub(crate) keys: &'l TrustedKeys,
    pub(crate) source: &'l Source,
    pub(crate) directories: &'l [DirectoryConfig],
    pub(crate) privacy: Privacy,
    pub(crate) tenant: &'l str,
    pub(crate) name: &'l str,
    pub(crate) config: &'l ExtensionConfig,
}

impl ExtensionLoader<'_> {
    /// Loads the extension.
    ///
    /// # Errors
    /// Everything that is wrong with its bindings, applications and keys.
    pub(crate) async fn load(self) -> Result<Extension, ConfigErrors> {
        let config = self.config;
        let mut errors = Vec::new();
        let mut bindings = Vec::new();
        for (index, binding) in config.bindings.iter().enumerate() {
            match self.load_binding(index, binding).await {
                Ok(bound) => bindings.push(bound),
                Err(more) => errors.extend(more.0),
            }
        }
        let passwords = collect(&mut errors, self.load_keys());
        let otherwise = Choice {
            bindings,
            claims: config.claims.clone().map(Arc::new),
            required_claims: required(config, config.claims.as_ref()),
        };
        let mut applications = HashMap::new();
        if errors.is_empty() {
            for (index, application) in config.applications.iter().enumerate() {
                let choice = self.load_application(index, application, &otherwise).await;
                if let Some(choice) = collect(&mut errors, choice) {
                    let choice = Arc::new(choice);
                    applications.extend(application.client_ids.iter().map(|id| (*id, Arc::clone(&choice))));
                }
            }
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let (tenant, name) = (self.tenant.into(), self.name.into());
        let known = self.before.map(|before| Arc::clone(&before.meters));
        Ok(Extension {
            meters: known.unwrap_or_else(|| Arc::new(ExtensionMeters::new(&tenant, &name))),
            tenant,
            name,
            event: config.event,
            privacy: self.privacy,
            token_policy: TokenPolicy::new(policy(config, self.directories, self.metadata)),
            deadline: config.deadline,
            max_claim_bytes: config.max_claim_bytes,
            max_response_bytes: config.max_response_bytes,
            mapped_claims: config.mapping.as_ref().map(|mapping| mapping.keys().cloned().collect()),
            passwords: passwords.flatten().map(Arc::new),
            composition: Composition::of(config),
            rate_limits: RateLimits {
                tenant: self.rate_limit.map(Arc::clone),
                extension: RateLimit::following(
                    config.rate_limit.or(self.most_rate),
                    self.before.and_then(|before| before.rate_limits.extension.as_ref()),
                ),
            },
            expect_callouts_within: config.expect_callouts_within,
            probe: config.probe.map(Into::into),
            otherwise,
            applications,
        })
    }

    /// An error at a place of the extension, such as `bindings[0].plugin`.
    fn error(self, place: &str, message: impl Into<String>) -> ConfigError {
        let mut way = vec![Step::Key("extensions"), Step::Key(self.name)];
        way.extend(steps(place));
        let message = format!("extension `{}`: {}", self.name, message.into());
        self.source.error_at_path(&way, message)
    }

    async fn load_binding(self, index: usize, config: &BindingConfig) -> Result<BoundPlugin, ConfigErrors> {
        let place = format!("bindings[{index}]");
        let error = |member: &str, message: String| self.error(&format!("{place}.{member}"), message);
        rules::check_name("plugin", &config.plugin).map_err(|message| error("plugin", message))?;
        if let Some((limit, asked, most)) = config.limits.exceeding(self.limits) {
            let message = format!(
                "{asked} is larger than the operator allows, which is {most} (claimsmith.toml, runtime.limits); ask for \
                 no more, or leave it out"
            );
            return Err(error(&format!("limits.{limit}"), message).into());
        }
        let limits = config.limits.over(self.limits);
        if limits.concurrency == 0 {
            return Err(error("limits.concurrency", "expected at least 1".to_owned()).into());
        }
        self.check_isolation(config.isolation)
            .map_err(|message| error("isolation", message))?;
        let grants = self
            .upstreams
            .grants(self.tenant, &config.upstreams, &config.statements);
        let grants = grants.map_err(|message| error("upstreams", message))?;
        let problems = self
            .upstreams
            .check_statements(&config.upstreams, &config.statements)
            .await;
        if !problems.is_empty() {
            let errors = problems
                .into_iter()
                .map(|problem| error(&problem.path, problem.message));
            return Err(ConfigErrors(errors.collect()));
        }
        let plugin = self.load_plugin(&place, config).await?;
        let settings = format!("{place}.settings");
        let json = self.settings(&settings, &config.settings)?;
        let grants = self.with_cache(grants, index, config, &plugin, &json)?;
        let name = PluginName {
            name: &config.plugin,
            version: self
                .plugins
                .get(&config.plugin)
                .ok()
                .and_then(|file| file.version.clone()),
        };
        let share = Arc::clone(self.share);
        let bound = self.runtime.bind(plugin, name, json, limits, share, grants).await;
        let binding = self.bound(&settings, &config.plugin, bound)?;
        let binding = binding.with_isolation(config.isolation.into()).map_err(|refused| {
            let message = format!(
                "{refused}: what one callout leaves in memory, the next could read; leave `isolation` out, or have the \
                 operator set `runtime.instance_reuse.allowed = true` in claimsmith.toml"
            );
            error("isolation", message)
        })?;
        Ok(self.with_history((None, index), config, Arc::new(binding)))
    }

    /// What a binding is granted, with the cache for its version and settings.
    fn with_cache(
        self,
        mut grants: Grants,
        index: usize,
        config: &BindingConfig,
        plugin: &Plugin,
        settings: &str,
    ) -> Result<Arc<Grants>, ConfigErrors> {
        if let Some(cache) = &config.cache {
            let of = CacheOf {
                extension: self.name,
                place: index,
                plugin: &config.plugin,
                version: plugin.digest(),
                settings,
                labels: &cache_labels(self.tenant, self.name, &config.plugin),
            };
            let error =
                |problem: Problem| self.error(&format!("bindings[{index}].cache.{}", problem.path), problem.message);
            let cache = self.caches.cache(of, cache);
            let cache = cache.map_err(|problems| ConfigErrors(problems.into_iter().map(error).collect()))?;
            grants.grant_cache(cache);
        }
        Ok(Arc::new(grants))
    }

    /// Whether a binding may ask for this isolation at all.
    fn check_isolation(self, isolation: IsolationConfig) -> Result<(), String> {
        let secret = matches!(self.config.event, Event::EmailOtpSend | Event::PasswordSubmit);
        if isolation == IsolationConfig::Reuse && secret {
            return Err(format!(
                "plugins of {} are given secrets, which must not be left for the next callout; leave `isolation` out",
                self.config.event
            ));
        }
        Ok(())
    }

    /// A binding's settings as JSON.
    fn settings(self, place: &str, settings: &toml::Table) -> Result<String, ConfigError> {
        to_json(settings).map_err(|(path, message)| self.error(&format!("{place}.{path}"), message))
    }

    /// What came of binding a plugin to the settings at `place`.
    fn bound(self, place: &str, plugin: &str, bound: Result<Binding, BindError>) -> Result<Binding, ConfigErrors> {
        if matches!(&bound, Err(BindError::Failed { error, .. }) if error.passes()) {
            self.files.note_failed_for_now();
        }
        bound.map_err(|error| match error {
            BindError::Settings { problems } => {
                let problems = problems.into_iter().map(|problem| {
                    let message = format!("plugin `{plugin}` does not accept the settings: {problem}");
                    self.error(&format!("{place}.{}", problem.path), message)
                });
                ConfigErrors(problems.collect())
            }
            failed @ BindError::Failed { .. } => self.error(place, failed.to_string()).into(),
        })
    }

    async fn load_plugin(self, place: &str, config: &BindingConfig) -> Result<Arc<Plugin>, ConfigError> {
        let file = self.plugins.get(&config.plugin);
        let file = &file
            .map_err(|message| self.error(&format!("{place}.plugin"), message))?
            .path;
        if self.files.has_met_compile_limit() {
            let message = "not loaded, because compiling another plugin of the tenant met its limit";
            return Err(ConfigError::in_file(file, message));
        }
        let Some((digest, bytes)) = self.files.found(file) else {
            // What was not found cannot be read either, which says why.
            let unread = self.read_plugin(place, file).await.err();
            return Err(unread.unwrap_or_else(|| ConfigError::in_file(file, "it appeared while it was read")));
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let read = async { self.read_plugin(place, file).await.map_err(NotLoaded::Unread) };
        let plugin = self.runtime.load_found(digest, bytes, self.limits, read).await;
        let plugin = plugin.map_err(|error| match error {
            NotLoaded::Unread(error) => error,
            NotLoaded::Refused(error) => self.load_error(file, &error),
        })?;
        if plugin.answers(self.config.event) {
            return Ok(plugin);
        }
        let answered: Vec<_> = Event::ALL.into_iter().filter(|event| plugin.answers(*event)).collect();
        let message = format!(
            "plugin `{}` does not answer {}: it answers {}",
            config.plugin,
            self.config.event,
            answered.iter().map(|event| event.name()).collect::<Vec<_>>().join(", ")
        );
        Err(self.error(&format!("{place}.plugin"), message))
    }

    async fn read_plugin(self, place: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
        let read = {
            let file = file.to_owned();
            let read = move || {
                let read = read_regular(&file);
                let others = if read.is_err() { beside(&file) } else { String::new() };
                (read, others)
            };
            tokio::task::spawn_blocking(read).await
        };
        let interrupted = |_| ConfigError::in_file(file, "reading was interrupted");
        let (read, others) = read.map_err(interrupted)?;
        self.files.as_found(file, read).map_err(|error| {
            let message = format!("the plugin's file {} cannot be read: {error}{others}", file.display());
            self.error(&format!("{place}.plugin"), message)
        })
    }

    /// What is wrong with a plugin's file.
    fn load_error(self, file: &Path, error: &LoadError) -> ConfigError {
        if error.passes() {
            self.files.note_failed_for_now();
        }
        if error.is_compile_limit() {
            self.files.note_compile_limit();
        }
        let message = match error {
            LoadError::NotCompiled { command } => format!("{error}; run `{command} {}`", file.display()),
            _ => error.to_string(),
        };
        ConfigError::in_file(file, message)
    }

    /// What differs for some applications: bindings whose settings do are made anew, the others are shared.
    async fn load_application(
        self,
        index: usize,
        config: &ApplicationConfig,
        otherwise: &Choice,
    ) -> Result<Choice, ConfigErrors> {
        let mut bindings = Vec::with_capacity(otherwise.bindings.len());
        let first = config.client_ids.first().copied();
        for (number, (bound, of_all)) in otherwise.bindings.iter().zip(&self.config.bindings).enumerate() {
            let place = format!("applications[{index}].settings.{}", bound.name);
            let json = match config.settings.get(&*bound.name) {
                Some(settings) => self.settings(&place, settings)?,
                // Its instances are its own all the same.
                None if of_all.isolation == IsolationConfig::Reuse => bound.binding.settings().to_owned(),
                None => {
                    bindings.push(bound.clone());
                    continue;
                }
            };
            let grants = self
                .upstreams
                .grants(self.tenant, &of_all.upstreams, &of_all.statements);
            let grants = grants.map_err(|message| self.error(&place, message))?;
            let grants = self.with_cache(grants, number, of_all, bound.binding.plugin(), &json)?;
            let again = bound.binding.with_settings(json, grants).await;
            let binding = Arc::new(self.bound(&place, &bound.name, again)?);
            bindings.push(self.with_history((first, number), of_all, binding));
        }
        Ok(Choice {
            bindings,
            required_claims: config.claims.as_ref().map_or_else(
                || Arc::clone(&otherwise.required_claims),
                |allowed| required(self.config, Some(allowed)),
            ),
            claims: config.claims.clone().map(Arc::new).or_else(|| otherwise.claims.clone()),
        })
    }

    /// The keys of passwordSubmit; none for other events.
    fn load_keys(self) -> Result<Option<Passwords>, ConfigErrors> {
        let configs = &self.config.decryption_keys;
        if self.config.event != Event::PasswordSubmit {
            return Ok(None);
        }
        let mut errors = Vec::new();
        let mut keys = Vec::with_capacity(configs.len());
        for (index, config) in configs.iter().enumerate() {
            let key = self.load_key(config);
            let key = key.map_err(|(member, message)| {
                ConfigErrors::from(self.error(&format!("decryption_keys[{index}].{member}"), message))
            });
            keys.extend(collect(&mut errors, key));
        }
        if !errors.is_empty() {
            return Err(ConfigErrors(errors));
        }
        let accepted = Accepted {
            audiences: self.config.audiences.clone(),
            leeway: self.config.clock_leeway,
        };
        Ok(Some(Passwords { keys, accepted }))
    }

    /// One key, or the member that is wrong and why.
    fn load_key(self, config: &DecryptionKeyConfig) -> Result<DecryptionKey, (&'static str, String)> {
        let scope = SecretScope {
            tenant: self.tenant,
            directory: &self.files.directory,
            vault: self.vault,
        };
        let at = |member: &'static str| move |message: String| (member, message);
        let password = config.password.as_ref().map(|password| password.read_text(scope));
        let password = password.transpose().map_err(at("password"))?;
        let password = password.as_ref().map(|password| password.as_str());
        let key_id = config.key_id.clone();
        match (&config.private_key, &config.pkcs12) {
            (Some(private_key), None) => {
                let private_key = private_key.read(scope).map_err(at("private_key"))?;
                let certificate = config.certificate.as_ref().map(|certificate| certificate.read(scope));
                let certificate = certificate.transpose().map_err(at("certificate"))?;
                let certificate = certificate.as_ref().map(|certificate| certificate.as_slice());
                let key = DecryptionKey::from_pem(&private_key, certificate, password, key_id);
                key.map_err(|error| ("private_key", error.to_string()))
            }
            (None, Some(pkcs12)) if config.certificate.is_none() => {
                let file = pkcs12.read(scope).map_err(at("pkcs12"))?;
                let key = DecryptionKey::from_pkcs12(&file, password, key_id);
                key.map_err(|error| ("pkcs12", error.to_string()))
            }
            _ => Err((
                "private_key",
                "expected either `private_key` with its `certificate`, or `pkcs12`, which holds both".to_owned(),
            )),
        }
    }
}

/// Why there is no plugin: its file cannot be read, or it is refused.
enum NotLoaded {
    Unread(ConfigError),
    Refused(LoadError),
}

impl From<LoadError> for NotLoaded {
    fn from(error: LoadError) -> Self {
        Self::Refused(error)
    }
}

/// What was made, or nothing and its errors added.
fn collect<T>(errors: &mut Vec<ConfigError>, made: Result<T, ConfigErrors>) -> Option<T> {
    made.map_err(|more| errors.extend(more.0)).ok()
}
