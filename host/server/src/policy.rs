//! Failure policies: which failures of a binding they cover, and what is answered instead.

use claimsmith_catalog::{BoundPlugin, OnFailure, Recalled, Subject};
use claimsmith_contract::token_issuance_start::Claim;
use claimsmith_contract::{Callout, Event, Outcome, attribute_collection_start, attribute_collection_submit};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::audit::Invocations;
use crate::invoke::Action;

/// A binding that gave no answer that can be used.
pub(crate) struct Failed {
    pub(crate) refusal: Refusal,
    /// Which of the callout's invocations it was.
    pub(crate) noted: usize,
}

/// Whether a binding's failure policy covers what happened. What a plugin decides (`plugin_rejected`) is no failure: a
/// sign-in that a plugin refuses must not go through because the plugin may also fail. What is wrong before or after the
/// invocations is no binding's failure.
pub(crate) const fn covers(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::PluginUnavailable
            | Outcome::PluginInternal
            | Outcome::PluginTrapped
            | Outcome::PluginCpuLimit
            | Outcome::PluginMemoryLimit
            | Outcome::PluginTransferLimit
            | Outcome::PluginHostCallLimit
            | Outcome::PluginAnswerLimit
            | Outcome::PluginInstantiation
            | Outcome::PluginQuarantined
            | Outcome::DeadlineExceeded
            | Outcome::Throttled
            | Outcome::Overloaded
            | Outcome::ClaimsTooLarge
            | Outcome::EmptyClaimId
            | Outcome::DuplicateClaimId
            | Outcome::UnknownAttribute
            | Outcome::DuplicateAttribute
            | Outcome::AttributeType
            | Outcome::TextLength
            | Outcome::ResponseTooLarge
    )
}

/// Whether a failure may be answered for. Not where the service makes the callout itself: what is asked is whether the
/// plugins answer.
fn is_covered(failed: &Failed, invocations: &Invocations) -> bool {
    covers(failed.refusal.outcome) && !invocations.course.is_probe()
}

/// The claims in place of a failed binding's, by its policy.
///
/// # Errors
/// The failure, where the policy has none.
pub(crate) async fn claims(
    bound: &BoundPlugin,
    callout: &Callout<'_>,
    invocations: &Invocations,
    failed: Failed,
) -> Result<Vec<Claim>, Refusal> {
    if !is_covered(&failed, invocations) {
        return Err(failed.refusal);
    }
    let (claims, policy) = match &bound.on_failure {
        OnFailure::Fail => return Err(failed.refusal),
        OnFailure::Omit => (Vec::new(), bound.on_failure.name()),
        OnFailure::Default(claims) => (claims.to_vec(), bound.on_failure.name()),
        OnFailure::LastKnownGood { memory, otherwise } => {
            let recalled = match Subject::of(callout) {
                Some(subject) => memory.recall(subject).await,
                None => Recalled::Nothing,
            };
            match (recalled, otherwise) {
                (Recalled::Claims(claims, age), _) => {
                    tracing::info!(
                        plugin = &*bound.name,
                        age_s = age.as_secs(),
                        "claims of the user's last success"
                    );
                    (claims, bound.on_failure.name())
                }
                (Recalled::Nothing, Some(claims)) => (claims.to_vec(), DEFAULT),
                // Whom the plugin has refused, its failure does not let in.
                (Recalled::Refused, _) | (Recalled::Nothing, None) => return Err(failed.refusal),
            }
        }
    };
    note(bound, invocations, &failed, policy);
    Ok(claims)
}

/// What is noted of `last_known_good` where nothing is known and `default_claims` are answered.
const DEFAULT: &str = "default";

/// Remembers what a binding has answered, if its policy may need it. `claims` are what may be answered; `began` is when the
/// invocation began.
pub(crate) async fn remember(bound: &BoundPlugin, callout: &Callout<'_>, claims: &[Claim], began: Instant) {
    if let OnFailure::LastKnownGood { memory, .. } = &bound.on_failure
        && let Some(subject) = Subject::of(callout)
    {
        memory.remember(subject, claims, began.into_std()).await;
    }
}

/// Remembers that a binding has refused the user, if its policy may answer for it later.
pub(crate) async fn refuse(bound: &BoundPlugin, callout: &Callout<'_>) {
    if let OnFailure::LastKnownGood { memory, .. } = &bound.on_failure
        && let Some(subject) = Subject::of(callout)
    {
        memory.refuse(subject).await;
    }
}

/// What Entra would have done without an extension, where a binding that has failed may be left out.
///
/// # Errors
/// The failure, where it may not.
pub(crate) fn default_behaviour(
    bound: &BoundPlugin,
    event: Event,
    invocations: &Invocations,
    failed: Failed,
) -> Result<Action, Refusal> {
    if !is_covered(&failed, invocations) {
        return Err(failed.refusal);
    }
    let action = match (&bound.on_failure, event) {
        (OnFailure::Omit, Event::AttributeCollectionStart) => {
            Action::AttributeCollectionStart(attribute_collection_start::Action::Proceed)
        }
        (OnFailure::Omit, Event::AttributeCollectionSubmit) => {
            Action::AttributeCollectionSubmit(attribute_collection_submit::Action::Proceed)
        }
        _ => return Err(failed.refusal),
    };
    note(bound, invocations, &failed, bound.on_failure.name());
    Ok(action)
}

/// A failure that Entra does not see must be seen here.
fn note(bound: &BoundPlugin, invocations: &Invocations, failed: &Failed, policy: &'static str) {
    let refusal = &failed.refusal;
    bound.meters.count_failure_policy(policy);
    invocations.covered(failed.noted, refusal.outcome, policy);
    tracing::warn!(
        plugin = &*bound.name,
        outcome = refusal.outcome.code(),
        policy,
        reason = refusal.detail,
        guest_backtrace = refusal.guest_backtrace(),
        guest_stderr = refusal.guest_stderr(),
        guest_stdout = refusal.guest_stdout(),
        "answered without the plugin, by its failure policy"
    );
}

#[cfg(test)]
mod tests {
    use claimsmith_contract::Outcome;

    use super::covers;

    /// The documentation's table, one row an outcome; those without a row are not covered.
    const DOCUMENTATION: &str = include_str!("../../../docs/failure-policy.md");

    #[test]
    fn what_is_covered_is_what_the_documentation_says() {
        let said: Vec<_> = DOCUMENTATION
            .lines()
            .filter_map(|line| {
                let (code, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
                rest.starts_with("yes |").then_some(code)
            })
            .collect();
        for outcome in Outcome::ALL {
            assert_eq!(covers(*outcome), said.contains(&outcome.code()), "{outcome}");
        }
        assert!(
            said.iter()
                .all(|code| Outcome::ALL.iter().any(|outcome| outcome.code() == *code)),
            "{said:?}"
        );
    }
}
