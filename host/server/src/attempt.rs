//! One attempt to have a binding answer: which version is invoked, what its breaker learns, what is counted.

use std::ops::Range;
use std::sync::Arc;

use claimsmith_catalog::{BoundPlugin, Extension};
use claimsmith_contract::{Outcome, token_issuance_start};
use claimsmith_runtime::{Binding, BreakerPermit, InvocationError, Journal, Report, Usage};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::audit::Invocations;
use crate::invoke::{Action, Invoked};
use crate::telemetry;

/// An invocation of a binding, from leave to invoke until the guard has seen its answer.
pub(crate) struct Attempt<'e> {
    extension: &'e Extension,
    invocations: &'e Invocations,
    pub(crate) bound: &'e BoundPlugin,
    /// What is invoked: the binding, or the version before it.
    pub(crate) binding: &'e Binding,
    pub(crate) deadline: Instant,
    /// Which of the callout's claims are this one's.
    pub(crate) claims: Range<usize>,
    /// Absent when the version before is invoked, which has no breaker, or when the breaker has learnt how it went.
    permit: Option<BreakerPermit<'e>>,
    /// Whether it began with most of the callout's time left: a plugin that had little is not to blame for being late.
    in_time: bool,
}

impl<'e> Attempt<'e> {
    /// Leave to invoke a binding, or the version before it while the breaker is open.
    pub(crate) fn begin(
        extension: &'e Extension,
        bound: &'e BoundPlugin,
        invocations: &'e Invocations,
        deadline: Instant,
    ) -> Result<Self, Refusal> {
        let permit = bound.breaker.permit();
        let previous = bound.previous.as_deref().filter(|_| permit.is_none());
        let binding = match (&permit, previous) {
            (Some(_), _) => Arc::as_ref(&bound.binding),
            (None, Some(previous)) => previous,
            (None, None) => {
                telemetry::count_invocation(extension, bound, Outcome::PluginQuarantined);
                let plugin = bound.binding.plugin();
                let (usage, journal) = (Usage::default(), Journal::default());
                invocations.note(&bound.name, plugin, Outcome::PluginQuarantined, &usage, &journal);
                let version = bound.binding.plugin().version();
                let detail = format!(
                    "{}@{version}: failed too often and is not invoked for a while",
                    bound.name
                );
                return Err(Refusal::new(Outcome::PluginQuarantined, detail));
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        Ok(Self {
            extension,
            invocations,
            bound,
            binding,
            deadline,
            claims: 0..0,
            permit,
            in_time: left >= extension.deadline / 2,
        })
    }

    /// What the invocation answered, or why it did not.
    pub(crate) fn ended<A>(&mut self, report: Report<A>) -> Result<A, Refusal> {
        let usage = report.usage;
        let outcome = report.result.as_ref().map_or_else(outcome, |_| Outcome::Answered);
        self.invocations.note(
            &self.bound.name,
            self.binding.plugin(),
            outcome,
            &usage,
            &report.journal,
        );
        let version = self.binding.plugin().version();
        tracing::debug!(
            plugin = &*self.bound.name,
            %version,
            elapsed_us = usage.elapsed.as_micros(),
            cpu_ms = usage.cpu.as_millis(),
            memory_bytes = usage.memory_bytes,
            host_calls = usage.host_calls,
            "plugin invoked"
        );
        telemetry::count_invocation(self.extension, self.bound, outcome);
        telemetry::note_usage(self.extension, self.bound, &usage);
        let words = report.words;
        report.result.map_err(|error| {
            if let Some(limit) = error.limit() {
                telemetry::count_limit(self.extension, self.bound, limit);
            }
            let late = matches!(error, InvocationError::DeadlineExceeded) && !self.in_time;
            // A permit that is dropped tells nothing: the failure is of something else.
            match (self.permit.take(), &error) {
                (Some(permit), InvocationError::Unavailable(_) | InvocationError::Rejected(_)) => permit.ran(),
                (Some(permit), error) if error.is_the_plugins() && !late => permit.failed(),
                _ => {}
            }
            Refusal {
                words: Some(Box::new(words)),
                ..Refusal::new(outcome, format!("{}@{version}: {error}", self.bound.name))
            }
        })
    }
}

impl Attempt<'_> {
    /// It answered, and what it answered is not used.
    pub(crate) fn ran(self) {
        if let Some(permit) = self.permit {
            permit.ran();
        }
    }
}

/// Tells the breakers how it went after the guard. Of several bindings' claims that are no answer together, those are at
/// fault that would be none alone; if all would be, all are.
pub(crate) fn settle(invoked: Invoked<'_>, is_answer: bool, max_claim_bytes: usize) {
    let alone = |claims: &Range<usize>| match &invoked.action {
        Action::Claims(all) => {
            let own = all.get(claims.clone()).unwrap_or_default();
            token_issuance_start::respond(own, max_claim_bytes).is_ok()
        }
        _ => false,
    };
    let at_fault: Vec<bool> = if is_answer {
        Vec::new()
    } else {
        invoked.from.iter().map(|attempt| !alone(&attempt.claims)).collect()
    };
    let all = !is_answer && !at_fault.contains(&true);
    for (index, attempt) in invoked.from.into_iter().enumerate() {
        let Some(permit) = attempt.permit else { continue };
        if all || at_fault.get(index).copied().unwrap_or_default() {
            permit.failed();
        } else {
            permit.succeeded();
        }
    }
}

const fn outcome(error: &InvocationError) -> Outcome {
    match error {
        InvocationError::Unavailable(_) => Outcome::PluginUnavailable,
        InvocationError::Rejected(_) => Outcome::PluginRejected,
        // Callouts are no replays, which alone diverge.
        InvocationError::Internal(_) | InvocationError::Diverged(_) => Outcome::PluginInternal,
        InvocationError::Trapped(_) => Outcome::PluginTrapped,
        InvocationError::CpuLimit(_) => Outcome::PluginCpuLimit,
        InvocationError::MemoryLimit(_) => Outcome::PluginMemoryLimit,
        InvocationError::TransferLimit(_) | InvocationError::TotalTransferLimit(_) => Outcome::PluginTransferLimit,
        InvocationError::HostCallLimit(..) => Outcome::PluginHostCallLimit,
        InvocationError::AnswerLimit { .. } => Outcome::PluginAnswerLimit,
        InvocationError::DeadlineExceeded => Outcome::DeadlineExceeded,
        InvocationError::Throttled(_) => Outcome::Throttled,
        InvocationError::Overloaded(_) => Outcome::Overloaded,
        InvocationError::Instantiation(_) => Outcome::PluginInstantiation,
    }
}
