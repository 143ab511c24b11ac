//! tokenIssuanceStart: its bindings in order or in parallel, and their claims as one answer.

use claimsmith_catalog::{BoundPlugin, Choice, Extension, OnFailure, Order};
use claimsmith_contract::token_issuance_start::{self, Claim};
use claimsmith_contract::{Callout, GuardError, Outcome};
use claimsmith_runtime::interface as wit;
use futures::future::try_join_all;
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::attempt::Attempt;
use crate::audit::Invocations;
use crate::convert;
use crate::invoke::{Action, Invoked};
use crate::merge::{self, Part};
use crate::policy::{self, Failed};

/// What every binding of a callout is asked with.
#[derive(Clone, Copy)]
struct Asked<'e, 'a, 'c> {
    extension: &'e Extension,
    choice: &'e Choice,
    callout: &'a Callout<'c>,
    additional: &'a [(&'a str, &'a str)],
    invocations: &'e Invocations,
}

/// What a binding answered, and the attempt whose answer it is; none when its failure policy answers.
struct Answered<'e> {
    claims: Vec<Claim>,
    attempt: Option<Attempt<'e>>,
}

/// Invokes the bindings; their claims together are the answer, as far as the application may have them.
///
/// All happens in the callout's own future: when that ends, early or late, so do the invocations.
///
/// # Errors
/// A binding failed and its policy has no answer; two bindings answer one claim; a required claim is missing.
pub(crate) async fn claims<'e>(
    extension: &'e Extension,
    choice: &'e Choice,
    callout: &Callout<'_>,
    invocations: &'e Invocations,
    deadline: Instant,
) -> Result<Invoked<'e>, Refusal> {
    let additional = convert::additional(callout);
    let asked = Asked {
        extension,
        choice,
        callout,
        additional: &additional,
        invocations,
    };
    let all = if extension.composition.order == Order::InParallel && choice.bindings.len() > 1 {
        let bindings = choice.bindings.iter();
        try_join_all(bindings.map(|bound| asked.one(bound, deadline, 1))).await?
    } else {
        asked.in_order(deadline).await?
    };
    let mut parts = Vec::with_capacity(all.len());
    let mut from = Vec::with_capacity(all.len());
    for (answered, bound) in all.into_iter().zip(&choice.bindings) {
        parts.push(Part {
            plugin: &bound.name,
            claims: answered.claims,
        });
        from.extend(answered.attempt);
    }
    let merged = merge::merge(parts, &extension.composition)
        .map_err(|conflict| Refusal::new(Outcome::ClaimConflict, conflict.to_string()));
    match merged.and_then(|claims| complete(claims, choice)) {
        Ok(claims) => Ok(Invoked {
            action: Action::Claims(claims),
            from,
        }),
        Err(refusal) => {
            // Each answered well by itself: what is wrong is between them.
            from.into_iter().for_each(Attempt::ran);
            Err(refusal)
        }
    }
}

/// The claims, if all are there that must be.
fn complete(claims: Vec<Claim>, choice: &Choice) -> Result<Vec<Claim>, Refusal> {
    let missing = |id: &&String| !claims.iter().any(|claim| claim.id == **id);
    let missing: Vec<_> = choice.required_claims.iter().filter(missing).cloned().collect();
    if missing.is_empty() {
        return Ok(claims);
    }
    let detail = format!(
        "no binding answered what `required_claims` names: {}",
        missing.join(", ")
    );
    Err(Refusal::new(Outcome::RequiredClaimMissing, detail))
}

impl<'e> Asked<'e, '_, '_> {
    /// Each with its share of the time that is left; what one leaves is the others'.
    async fn in_order(self, deadline: Instant) -> Result<Vec<Answered<'e>>, Refusal> {
        let bindings = &self.choice.bindings;
        let mut all: Vec<Answered<'e>> = Vec::with_capacity(bindings.len());
        for (index, bound) in bindings.iter().enumerate() {
            let left = bindings.len() - index;
            match self.one(bound, share(deadline, left), bindings.len()).await {
                Ok(answered) => all.push(answered),
                Err(refusal) => {
                    let attempts = all.into_iter().filter_map(|answered| answered.attempt);
                    attempts.for_each(Attempt::ran);
                    return Err(refusal);
                }
            }
        }
        Ok(all)
    }

    /// One binding's claims, or those of its failure policy. `sharing` is how many bindings share the callout's time.
    async fn one(self, bound: &'e BoundPlugin, deadline: Instant, sharing: usize) -> Result<Answered<'e>, Refusal> {
        let failed = match self.invoked(bound, (deadline, sharing)).await {
            Ok(answered) => return Ok(answered),
            Err(failed) => failed,
        };
        // Also where the version before refuses.
        if failed.refusal.outcome == Outcome::PluginRejected && !self.invocations.course.is_probe() {
            policy::refuse(bound, self.callout).await;
        }
        let claims = policy::claims(bound, self.callout, self.invocations, failed).await?;
        Ok(Answered {
            claims: self.allowed(claims),
            attempt: None,
        })
    }

    /// What the plugin answers.
    async fn invoked(self, bound: &'e BoundPlugin, time: (Instant, usize)) -> Result<Answered<'e>, Failed> {
        let mut attempt = Attempt::begin(self.extension, bound, self.invocations, time)?;
        let context: wit::callout::Context<'_> = convert::context(self.callout, self.additional);
        let report = attempt.binding.token_issuance_start(context, attempt.terms()).await;
        let claims = attempt.ended(report)?;
        let claims = match self.acceptable(bound, claims) {
            Ok(claims) => claims,
            Err(error) => return Err(attempt.refused(&error)),
        };
        if attempt.is_of_the_binding() && !self.invocations.course.is_probe() {
            policy::remember(bound, self.callout, &claims, attempt.began()).await;
        }
        Ok(Answered {
            claims,
            attempt: Some(attempt),
        })
    }

    /// The claims that may be answered, if Entra would take them from this binding alone. Where there is no other binding
    /// and no policy, that is left to the guard, which finds the same.
    fn acceptable(
        self,
        bound: &BoundPlugin,
        claims: Vec<wit::token_issuance_start::Claim>,
    ) -> Result<Vec<Claim>, GuardError> {
        let claims = self.allowed(claims.into_iter().map(convert::claim));
        if self.choice.bindings.len() > 1 || !matches!(bound.on_failure, OnFailure::Fail) {
            token_issuance_start::check(&claims, self.extension.max_claim_bytes)?;
        }
        Ok(claims)
    }

    fn allowed(self, claims: impl IntoIterator<Item = Claim>) -> Vec<Claim> {
        let allowed = |claim: &Claim| {
            let ids = self.choice.claims.as_ref();
            ids.is_none_or(|ids| ids.contains(&claim.id))
        };
        claims.into_iter().filter(allowed).collect()
    }
}

/// Until when the first of so many bindings may run.
fn share(deadline: Instant, left: usize) -> Instant {
    if left <= 1 {
        return deadline;
    }
    let now = Instant::now();
    let parts = u32::try_from(left).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / parts
}
