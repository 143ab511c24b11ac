//! What a binding keeps when its tenant is loaded anew: its circuit breaker, the version before it, what is counted of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use claimsmith_runtime::{Binding, Breaker, BreakerState};
use metrics::Label;
use uuid::Uuid;

use crate::catalog::BoundPlugin;
use crate::extension::ExtensionLoader;
use crate::failure_policy::{OnFailure, OnFailureConfig, max_age};
use crate::last_known_good::LastKnownGood;
use crate::meters::{BindingMeters, bounded};
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
            if same_version(&before) {
                return before.previous.clone();
            }
            // A version that is out of service is nothing to fall back to.
            let serves = before.breaker.state() != BreakerState::Open;
            if serves {
                Some(Arc::clone(&before.binding))
            } else {
                before.previous.clone()
            }
        });
        let previous_meters = previous.as_ref().map(|previous| self.meters(config, previous));
        let unchanged = before
            .filter(same_version)
            .filter(|before| before.binding.settings() == binding.settings());
        BoundPlugin {
            name: config.plugin.as_str().into(),
            breaker: unchanged.map_or_else(
                || Arc::new(self.new_breaker(place.0, config, &binding)),
                |before| Arc::clone(&before.breaker),
            ),
            previous: previous.filter(|_| config.fallback_to_previous),
            on_failure: self.on_failure(config, unchanged),
            since: before
                .filter(same_version)
                .map_or_else(SystemTime::now, |before| before.since),
            meters: self.meters(config, &binding),
            previous_meters: previous_meters.filter(|_| config.fallback_to_previous),
            binding,
        }
    }

    /// What happens when a binding fails. `unchanged` is the binding as it was with the same version and settings, whose
    /// last known good claims are its own.
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

    /// A breaker whose changes are logged and counted.
    fn new_breaker(self, application: Option<Uuid>, config: &BindingConfig, binding: &Binding) -> Breaker {
        let (tenant, extension, plugin) = (self.tenant.to_owned(), self.name.to_owned(), config.plugin.clone());
        let version = Arc::clone(binding.version());
        let digest = binding.plugin().digest().to_string();
        let [extension_label, plugin_label, _] = bounded(self.tenant, [self.name, &config.plugin, ""]);
        let first = AtomicBool::new(true);
        Breaker::new(self.breaker, move |state| {
            let labels = [
                Label::new("tenant", tenant.clone()),
                Label::new("extension", Arc::clone(&extension_label)),
                Label::new("plugin", Arc::clone(&plugin_label)),
            ];
            let open = match state {
                BreakerState::Closed => 0.0,
                BreakerState::HalfOpen => 0.5,
                BreakerState::Open => 1.0,
            };
            metrics::gauge!("claimsmith_breaker_open", labels.iter()).set(open);
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
