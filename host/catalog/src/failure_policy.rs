//! How the answers of an extension's bindings become one answer, and what happens when one fails: what a tenant writes, the
//! rules of it, and what callouts are served with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_contract::Event;
use claimsmith_contract::token_issuance_start::Claim;
use serde::Deserialize;

use crate::last_known_good::LastKnownGood;
use crate::tenant::{BindingConfig, ExtensionConfig};

/// How old claims may be that are answered in place of a failed plugin's, when nothing is said.
const DEFAULT_MAX_AGE: Duration = Duration::from_hours(1);
/// Shorter ages help nobody; longer ones are no failure policy but a directory of one's own.
const MAX_AGES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(30 * 24);
/// Of `required_claims` and `merge_claims`: far more than fit into Entra's 3 KB.
const MAX_CLAIM_RULES: usize = 256;

/// What happens when a plugin fails.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnFailureConfig {
    /// The callout fails.
    #[default]
    Fail,
    /// The callout is answered without the plugin: without its claims, or with Entra's default behaviour.
    Omit,
    /// The callout is answered with what the user last had; with `default_claims` if that is not known, or else it fails.
    LastKnownGood,
    /// The callout is answered with `default_claims` in place of the plugin's.
    Default,
}

/// In which order an extension's plugins are invoked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// One after another, each with its share of what is left of the callout's time.
    #[default]
    InOrder,
    /// At the same time, each with all of the callout's time.
    InParallel,
}

/// What becomes of a claim that several bindings answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The callout fails.
    #[default]
    Error,
    /// The binding's that comes first in the configuration.
    First,
    /// The binding's that comes last in the configuration.
    Last,
    /// An array of all values, each once, in the order of the bindings.
    Append,
}

/// What becomes of callouts that repeat.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RepeatsConfig {
    /// They join the run in flight, or get its answer.
    Join,
    /// The plugins are invoked again.
    Invoke,
}

/// How the answers of an extension's bindings become one.
#[derive(Clone, Debug, Default)]
pub struct Composition {
    /// In which order they are invoked.
    pub order: Order,
    /// Of claims that `merge_claims` does not name.
    pub merge: Merge,
    /// By the claim's id.
    pub merge_claims: BTreeMap<String, Merge>,
    /// Whether callouts that repeat are answered as one.
    pub joins_repeats: bool,
}

impl Composition {
    pub(crate) fn of(config: &ExtensionConfig) -> Self {
        // Plugins of these events do something: send a mail, try a password, create an account.
        let acts = matches!(
            config.event,
            Event::EmailOtpSend | Event::PasswordSubmit | Event::AttributeCollectionSubmit
        );
        Self {
            order: config.invoke.unwrap_or_default(),
            merge: config.merge.unwrap_or_default(),
            merge_claims: config.merge_claims.clone(),
            joins_repeats: config
                .repeated_callouts
                .map_or(acts, |repeats| repeats == RepeatsConfig::Join),
        }
    }

    /// What becomes of a claim that several bindings answer.
    #[must_use]
    pub fn merge(&self, claim: &str) -> Merge {
        self.merge_claims.get(claim).copied().unwrap_or(self.merge)
    }
}

/// The claims without which a callout fails, of those that may be answered.
pub(crate) fn required(config: &ExtensionConfig, allowed: Option<&BTreeSet<String>>) -> Arc<BTreeSet<String>> {
    let required = config.required_claims.iter();
    let required = required.filter(|id| allowed.is_none_or(|allowed| allowed.contains(*id)));
    Arc::new(required.cloned().collect())
}

/// What happens when a plugin fails.
#[derive(Clone, Debug)]
pub enum OnFailure {
    /// The callout fails.
    Fail,
    /// The callout is answered without the plugin.
    Omit,
    /// The callout is answered with what the user last had.
    LastKnownGood {
        /// Where that is remembered.
        memory: LastKnownGood,
        /// The claims where nothing is; without them the callout fails.
        otherwise: Option<Arc<[Claim]>>,
    },
    /// The callout is answered with these claims in place of the plugin's.
    Default(Arc<[Claim]>),
}

impl OnFailure {
    /// Its name in the configuration, in metrics and in records.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Omit => "omit",
            Self::LastKnownGood { .. } => "last_known_good",
            Self::Default(_) => "default",
        }
    }
}

/// How old claims may be that are answered in place of the plugin's.
pub(crate) fn max_age(binding: &BindingConfig) -> Duration {
    binding.last_known_good_max_age.unwrap_or(DEFAULT_MAX_AGE)
}

/// What is wrong with how an extension's bindings become one answer: the member, and why.
pub(crate) fn check_composition(extension: &ExtensionConfig, wrong: &mut impl FnMut(&str, String)) {
    let event = extension.event;
    if event != Event::TokenIssuanceStart {
        for (member, _) in [
            ("invoke", extension.invoke.is_some()),
            ("merge", extension.merge.is_some()),
            ("merge_claims", !extension.merge_claims.is_empty()),
            ("required_claims", !extension.required_claims.is_empty()),
        ]
        .iter()
        .filter(|(_, there)| *there)
        {
            wrong(
                member,
                format!("{event} has one binding and is not answered with claims"),
            );
        }
        return;
    }
    for (list, found) in [
        ("required_claims", extension.required_claims.len()),
        ("merge_claims", extension.merge_claims.len()),
    ] {
        if found > MAX_CLAIM_RULES {
            wrong(
                list,
                format!("`{list}` has {found} entries: expected at most {MAX_CLAIM_RULES}"),
            );
        }
    }
    let Some(allowed) = &extension.claims else { return };
    let left_out = |id: &&String| !allowed.contains(*id);
    for id in extension.required_claims.iter().filter(left_out) {
        let id = id.escape_debug();
        wrong(
            "required_claims",
            format!("`{id}` is not in `claims`, so that it is never answered; name it there, or do not require it"),
        );
    }
}

/// What is wrong with a binding's failure policy, and in which member: not every event has an answer that needs no plugin.
pub(crate) fn wrong_policy(event: Event, binding: &BindingConfig) -> Option<(&'static str, String)> {
    let may_be_omitted = matches!(
        event,
        Event::TokenIssuanceStart | Event::AttributeCollectionStart | Event::AttributeCollectionSubmit
    );
    let policy = binding.on_failure;
    let max_age = binding.last_known_good_max_age;
    if let Some(age) = max_age.filter(|age| policy == OnFailureConfig::LastKnownGood && !MAX_AGES.contains(age)) {
        let message = format!("{age:?} is no age of claims: expected 1 s to 30 days");
        return Some(("last_known_good_max_age", message));
    }
    if max_age.is_some() && policy != OnFailureConfig::LastKnownGood {
        let message = "`last_known_good_max_age` is for on_failure = \"last_known_good\"".to_owned();
        return Some(("last_known_good_max_age", message));
    }
    let message = match (policy, binding.default_claims.is_some()) {
        (OnFailureConfig::Omit, _) if !may_be_omitted => {
            format!("{event} has no answer without a plugin: expected \"fail\"")
        }
        (OnFailureConfig::Default | OnFailureConfig::LastKnownGood, _) if event != Event::TokenIssuanceStart => {
            let others = if may_be_omitted { " or \"omit\"" } else { "" };
            format!("{event} is not answered with claims: expected \"fail\"{others}")
        }
        (OnFailureConfig::Default, false) => {
            "\"default\" needs `default_claims = { … }`: the claims to answer with instead".to_owned()
        }
        (OnFailureConfig::Fail | OnFailureConfig::Omit, true) => {
            "`default_claims` are for on_failure = \"default\" or \"last_known_good\"".to_owned()
        }
        _ => return None,
    };
    Some(("on_failure", message))
}
