//! What a binding keeps when its tenant is loaded anew: its circuit breaker, the version before it, what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use claimsmith_runtime::{Binding, Breaker, BreakerState};
use uuid::Uuid;

use crate::catalog::{BoundPlugin, Previous};
use crate::extension::ExtensionLoader;
use crate::failure_policy::{OnFailure, OnFailureConfig, max_age};
use crate::last_known_good::LastKnownGood;
use crate::meters::BindingMeters;
use crate::rules;
use crate::tenant::BindingConfig;

impl ExtensionLoader<'_> {
    /// A binding with what is known of how it has fared: its breaker, and the version before it.
    pub(crate) fn with_history(
        self,
        place: (Option<Uuid>, usize),
        config: &BindingConfig,
        binding: Arc<Binding>,
    ) -> BoundPlugin {
        let before = self.before.and_then(|extension| {
            let mut bindings = extension.bindings();
            bindings.find(|(other, bound)| *other == place && *bound.name == *config.plugin)
        });
        let before = before.map(|(_, bound)| bound);
        let same_version = |bound: &&BoundPlugin| bound.binding.plugin().digest() == binding.plugin().digest();
        let previous = before.and_then(|before| {
            // A version that is out of service is nothing to fall back to.
            if same_version(&before) || before.breaker.state() == BreakerState::Open {
                return before.previous.clone();
            }
            Some(Previous {
                binding: Arc::clone(&before.binding),
                meters: Arc::clone(&before.meters),
                signed_by: before.signed_by.clone(),
            })
        });
        let unchanged = before
            .filter(same_version)
            .filter(|before| before.binding.settings() == binding.settings());
        let learns_from = self.upstreams.digest(config);
        BoundPlugin {
            name: config.plugin.as_str().into(),
            breaker: unchanged.map_or_else(
                || Arc::new(self.new_breaker(place.0, config, &binding)),
                |before| Arc::clone(&before.breaker),
            ),
            previous: previous.and_then(|previous| self.as_it_may_run_now(previous, config)),
            signed_by: self.signed_by(config),
            // Claims that came from elsewhere may be what a change of that was to put right.
            on_failure: self.on_failure(config, unchanged.filter(|before| before.learns_from == learns_from)),
            learns_from,
            since: before
                .filter(same_version)
                .map_or_else(SystemTime::now, |before| before.since),
            meters: self.meters(config, &binding),
            binding,
        }
    }

    /// The version before, with what the tenant grants now: an upstream that was taken away, or a credential that was
    /// replaced, is out of its reach too. None where the tenant does not want it, or no longer trusts who signed it.
    fn as_it_may_run_now(self, previous: Previous, config: &BindingConfig) -> Option<Previous> {
        if !config.fallback_to_previous || !self.keys.accept(previous.signed_by.as_deref()) {
            return None;
        }
        let grants = self
            .upstreams
            .grants(self.tenant, &config.upstreams, &config.statements);
        Some(Previous {
            binding: Arc::new(previous.binding.with_upstreams(grants.ok()?)),
            ..previous
        })
    }

    /// The key that a binding's plugin is signed with.
    fn signed_by(self, config: &BindingConfig) -> Option<Arc<str>> {
        let signed = self.plugins.get(&config.plugin).ok()?.signed.as_ref()?;
        Some(signed.key.as_str().into())
    }

    /// What happens when a binding fails. `unchanged` is the binding as it was with the same version, settings, upstreams and
    /// statements, whose last known good claims are its own.
    fn on_failure(self, config: &BindingConfig, unchanged: Option<&BoundPlugin>) -> OnFailure {
        let claims = || rules::default_claims(config).into();
        match config.on_failure {
            OnFailureConfig::Fail => OnFailure::Fail,
            OnFailureConfig::Omit => OnFailure::Omit,
            OnFailureConfig::Default => OnFailure::Default(claims()),
            OnFailureConfig::LastKnownGood => OnFailure::LastKnownGood {
                memory: match unchanged.map(|before| &before.on_failure) {
                    Some(OnFailure::LastKnownGood { memory, .. }) => memory.with_max_age(max_age(config)),
                    _ => LastKnownGood::new(self.last_known_good, max_age(config)),
                },
                otherwise: config.default_claims.is_some().then(claims),
            },
        }
    }

    fn meters(self, config: &BindingConfig, binding: &Binding) -> Arc<BindingMeters> {
        let version = binding.version();
        Arc::new(BindingMeters::new(
            &self.tenant.into(),
            self.name,
            &config.plugin,
            version,
        ))
    }

    /// A breaker whose changes are logged.
    fn new_breaker(self, application: Option<Uuid>, config: &BindingConfig, binding: &Binding) -> Breaker {
        let (tenant, extension, plugin) = (self.tenant.to_owned(), self.name.to_owned(), config.plugin.clone());
        let version = Arc::clone(binding.version());
        let digest = binding.plugin().digest().to_string();
        let first = AtomicBool::new(true);
        Breaker::new(self.breaker, move |state| {
            // Being closed at first is no change.
            if first.swap(false, Ordering::Relaxed) {
                return;
            }
            let application = application.map(tracing::field::display);
            let state = state.name();
            tracing::warn!(
                tenant,
                extension,
                application,
                plugin,
                version = &*version,
                digest,
                state,
                "circuit breaker changed"
            );
        })
    }
}
