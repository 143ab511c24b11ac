//! What is counted of extensions and bindings: handles that are made when a tenant is loaded, because finding a series by
//! its labels costs more than counting.
//!
//! Labels are names that operators and tenants configured, versions, and closed sets. A tenant can rename what it has as
//! often as it likes, so the names that it has had are bounded too: those beyond are [`OTHER`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use claimsmith_contract::Outcome;
use metrics::{Counter, Gauge, Histogram, Label, counter, gauge, histogram};

use crate::fared::Fared;

/// In place of names that are too many; no name is written so.
pub const OTHER: &str = "(other)";

/// So many extensions, versions of plugins in extensions, caches and upstreams does one tenant have series of since the start of the process.
const MAX_NAMED: usize = 4096;

/// A part of a callout's way whose time is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Validating the bearer token.
    Token,
    /// Waiting for the rest of the body.
    Body,
    /// Reading the body, and holding it against the token.
    Parse,
    /// passwordSubmit: opening the encrypted context.
    Password,
    /// The invocations, with waiting for their places, and the failure policy.
    Invoke,
    /// Of [`Self::Invoke`]: making instances.
    Instantiate,
    /// Of [`Self::Invoke`]: running guests, with their host calls, and ending them.
    Run,
    /// Holding the action against Entra's rules, and rendering it.
    Guard,
    /// Waiting for the audit record.
    Audit,
}

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Self; 9] = [
        Self::Token,
        Self::Body,
        Self::Parse,
        Self::Password,
        Self::Invoke,
        Self::Instantiate,
        Self::Run,
        Self::Guard,
        Self::Audit,
    ];

    /// Its name in metrics and traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Body => "body",
            Self::Parse => "parse",
            Self::Password => "password",
            Self::Invoke => "invoke",
            Self::Instantiate => "instantiate",
            Self::Run => "run",
            Self::Guard => "guard",
            Self::Audit => "audit",
        }
    }
}

/// What is counted of an extension's callouts, and how it has fared. Outlives its reloads.
#[derive(Debug)]
pub struct ExtensionMeters {
    labels: [Label; 2],
    /// Callouts by outcome.
    pub callouts: ByOutcome,
    /// Callouts that were refused for their token, by why.
    pub token_failures: ByOutcome,
    /// How long callouts took.
    pub seconds: Histogram,
    /// The share of the extension's deadline that they took.
    pub deadline_ratio: Histogram,
    /// When the last one came.
    pub last: Gauge,
    /// Probes by outcome.
    pub probes: ByOutcome,
    /// The tenant's.
    stages: [Histogram; Stage::ALL.len()],
    /// What `/status` tells.
    pub fared: Fared,
}

impl ExtensionMeters {
    /// Meters of an extension that has not been called.
    #[must_use]
    pub fn new(tenant: &Arc<str>, extension: &Arc<str>) -> Self {
        let [extension, ..] = bounded(tenant, [extension, "", ""]);
        let labels = [
            Label::new("tenant", Arc::clone(tenant)),
            Label::new("extension", extension),
        ];
        // Nine histograms are most of what an extension would hold: its tenant's share them. Traces tell of single callouts.
        let of_tenant = labels.split_at(1).0;
        let stage = |stage: Stage| {
            let stage = Label::from_static_parts("stage", stage.name());
            histogram!("claimsmith_stage_seconds", with(of_tenant, stage))
        };
        let callouts = ByOutcome::new("claimsmith_callouts_total", "outcome", &labels);
        callouts.register(Outcome::Answered);
        Self {
            callouts,
            token_failures: ByOutcome::new("claimsmith_token_failures_total", "reason", &labels),
            seconds: histogram!("claimsmith_callout_seconds", labels.iter()),
            deadline_ratio: histogram!("claimsmith_callout_deadline_ratio", labels.iter()),
            last: gauge!("claimsmith_last_callout_timestamp_seconds", labels.iter()),
            probes: ByOutcome::new("claimsmith_probes_total", "outcome", &labels),
            stages: Stage::ALL.map(stage),
            fared: Fared::default(),
            labels,
        }
    }

    /// The labels of the extension's series.
    #[must_use]
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// Counts a callout that was answered as the one it repeats, which was running (`joined`) or over (`remembered`).
    pub fn count_repeat(&self, repeat: &'static str) {
        let labels = with(&self.labels, Label::from_static_parts("repeat", repeat));
        counter!("claimsmith_repeated_callouts_total", labels).increment(1);
    }

    /// Counts a callout that a rate limit refused: the `tenant`'s or the `extension`'s.
    pub fn count_rate_limited(&self, limit: &'static str) {
        let labels = with(&self.labels, Label::from_static_parts("limit", limit));
        counter!("claimsmith_rate_limited_total", labels).increment(1);
    }

    /// Notes how long a stage of a callout took.
    pub fn note_stage(&self, stage: Stage, took: Duration) {
        if let Some(seconds) = self.stages.get(stage as usize) {
            seconds.record(took);
        }
    }
}

/// What is counted of a version's invocations in a binding.
#[derive(Debug)]
pub struct BindingMeters {
    labels: [Label; 4],
    /// Invocations by outcome.
    pub invocations: ByOutcome,
    /// How long they took.
    pub seconds: Histogram,
    /// Their CPU time.
    pub cpu_seconds: Histogram,
    /// Their linear memory.
    pub memory_bytes: Histogram,
}

impl BindingMeters {
    /// Meters of a version of a plugin in an extension.
    #[must_use]
    pub fn new(tenant: &Arc<str>, extension: &str, plugin: &str, version: &str) -> Self {
        let [extension, plugin, version] = bounded(tenant, [extension, plugin, version]);
        let labels = [
            Label::new("tenant", Arc::clone(tenant)),
            Label::new("extension", extension),
            Label::new("plugin", plugin),
            Label::new("version", version),
        ];
        let invocations = ByOutcome::new("claimsmith_invocations_total", "outcome", &labels);
        invocations.register(Outcome::Answered);
        Self {
            invocations,
            seconds: histogram!("claimsmith_invocation_seconds", labels.iter()),
            cpu_seconds: histogram!("claimsmith_invocation_cpu_seconds", labels.iter()),
            memory_bytes: histogram!("claimsmith_invocation_memory_bytes", labels.iter()),
            labels,
        }
    }

    /// The labels of what is the same for all versions: tenant, extension and plugin.
    #[must_use]
    pub fn names(&self) -> [&str; 3] {
        let [tenant, extension, plugin, _] = &self.labels;
        [tenant, extension, plugin].map(Label::value)
    }

    /// Counts a failure that a failure policy answered for.
    pub fn count_failure_policy(&self, policy: &'static str) {
        let labels = with(&self.labels, Label::from_static_parts("policy", policy));
        counter!("claimsmith_failure_policy_total", labels).increment(1);
    }

    /// Counts an invocation that has reached a limit.
    pub fn count_limit(&self, limit: &'static str) {
        let labels = with(&self.labels, Label::from_static_parts("limit", limit));
        counter!("claimsmith_limit_reached_total", labels).increment(1);
    }
}

/// A counter for each outcome. Of the fifty there are, only those that have happened have a series.
pub struct ByOutcome {
    name: &'static str,
    key: &'static str,
    labels: Box<[Label]>,
    answered: OnceLock<Counted>,
    others: OnceLock<Box<[OnceLock<Counted>]>>,
}

struct Counted {
    counter: Counter,
    /// The same for `/status`: a counter cannot be read.
    count: AtomicU64,
}

impl ByOutcome {
    fn new(name: &'static str, key: &'static str, labels: &[Label]) -> Self {
        Self {
            name,
            key,
            labels: labels.into(),
            answered: OnceLock::new(),
            others: OnceLock::new(),
        }
    }

    /// Makes a series that begins at 0, so that its first increment is seen as one.
    fn register(&self, outcome: Outcome) {
        self.counted(outcome);
    }

    /// Counts one more.
    pub fn increment(&self, outcome: Outcome) {
        let Some(counted) = self.counted(outcome) else { return };
        counted.counter.increment(1);
        counted.count.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted since the start of the process or the tenant's first load, whichever was later.
    pub fn counts(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let others = self.others.get().into_iter().flatten().map(OnceLock::get);
        let answered = (Outcome::Answered, self.answered.get());
        let all = Outcome::ALL.iter().copied().zip(others).chain([answered]);
        all.filter_map(|(outcome, counted)| Some((outcome, counted?.count.load(Ordering::Relaxed))))
            .filter(|(_, count)| *count > 0)
    }

    fn counted(&self, outcome: Outcome) -> Option<&Counted> {
        let make = || Counted {
            counter: counter!(
                self.name,
                with(&self.labels, Label::from_static_parts(self.key, outcome.code()))
            ),
            count: AtomicU64::new(0),
        };
        if outcome == Outcome::Answered {
            return Some(self.answered.get_or_init(make));
        }
        let others = self
            .others
            .get_or_init(|| Outcome::ALL.iter().map(|_| OnceLock::new()).collect());
        Some(others.get(outcome as usize)?.get_or_init(make))
    }
}

impl fmt::Debug for ByOutcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.counts()).finish()
    }
}

/// Labels and one more.
fn with(labels: &[Label], more: Label) -> Vec<Label> {
    labels.iter().cloned().chain([more]).collect()
}

/// What metrics name an upstream of a tenant that a binding is granted.
pub(crate) fn upstream_label(tenant: &str, upstream: &str) -> Arc<str> {
    let [_, label, _] = bounded(tenant, ["", upstream, ""]);
    label
}

/// What metrics name the extension and the plugin that a cache is of.
pub(crate) fn cache_labels(tenant: &str, extension: &str, plugin: &str) -> [Arc<str>; 2] {
    let [extension, plugin, _] = bounded(tenant, [extension, plugin, ""]);
    [extension, plugin]
}

/// A tenant's names as label values: as they are, until there have been too many.
fn bounded(tenant: &str, names: [&str; 3]) -> [Arc<str>; 3] {
    type Known = BTreeSet<[Arc<str>; 3]>;
    static KNOWN: Mutex<BTreeMap<String, Known>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let of_tenant = known.entry(tenant.to_owned()).or_default();
    let names = names.map(Arc::<str>::from);
    if of_tenant.len() < MAX_NAMED {
        of_tenant.insert(names.clone());
        return names;
    }
    if of_tenant.contains(&names) {
        return names;
    }
    names.map(|_| OTHER.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_that_renames_for_ever_has_a_bounded_number_of_series() {
        let names = |version: usize| bounded("renames", ["claims", "loyalty", &version.to_string()]);
        for version in 0..MAX_NAMED {
            assert_eq!(&*names(version)[2], version.to_string());
        }
        assert_eq!(names(MAX_NAMED).map(|name| name.to_string()), [OTHER; 3]);
        assert_eq!(&*names(7)[2], "7", "what has a series keeps it");
        assert_eq!(&*bounded("other", ["claims", "", ""])[0], "claims");
    }

    #[test]
    fn an_outcome_is_its_place_among_all() {
        for (place, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, place, "{}", outcome.code());
        }
    }

    #[test]
    fn outcomes_are_counted_each_for_itself() {
        let meters = ExtensionMeters::new(&"counted".into(), &"claims".into());
        assert_eq!(meters.callouts.counts().count(), 0);
        for outcome in [Outcome::Answered, Outcome::TokenMissing, Outcome::Answered] {
            meters.callouts.increment(outcome);
        }
        let counts: Vec<_> = meters.callouts.counts().collect();
        assert_eq!(counts, [(Outcome::TokenMissing, 1), (Outcome::Answered, 2)]);
    }
}
