//! One attempt to have a binding answer: which version is invoked, what its breaker learns, what is counted.

use std::sync::Arc;

use claimsmith_catalog::{BindingMeters, BoundPlugin, Extension};
use claimsmith_contract::{GuardError, Outcome};
use claimsmith_runtime::{
    Binding, BreakerPermit, BreakerState, CutShort, InvocationError, Journal, Report, Terms, Usage,
};
use tokio::time::Instant;

use crate::answer::Refusal;
use crate::audit::Invocations;
use crate::course::Left;
use crate::invoke::Invoked;
use crate::policy::Failed;
use crate::telemetry;

/// An invocation of a binding, from leave to invoke until the guard has seen its answer.
pub(crate) struct Attempt<'e> {
    invocations: &'e Invocations,
    meters: &'e BindingMeters,
    pub(crate) bound: &'e BoundPlugin,
    /// What is invoked: the binding, or the version before it.
    pub(crate) binding: &'e Binding,
    deadline: Instant,
    /// What an invocation leaves that is dropped with the callout.
    cut_short: CutShort,
    began: Instant,
    /// Which of the callout's invocations it is.
    noted: usize,
    /// Absent when the version before is invoked, which has no breaker, or when the breaker has learnt how it went.
    permit: Option<BreakerPermit<'e>>,
    /// Whether it began with most of the callout's time left: a plugin that had little is not to blame for being late.
    in_time: bool,
}

impl<'e> Attempt<'e> {
    /// Leave to invoke a binding, or the version before it while the breaker is open. `sharing` is how many bindings share
    /// the callout's time, of which this one has until `deadline`.
    pub(crate) fn begin(
        extension: &'e Extension,
        bound: &'e BoundPlugin,
        invocations: &'e Invocations,
        (deadline, sharing): (Instant, usize),
    ) -> Result<Self, Failed> {
        let is_probe = invocations.course.is_probe();
        // A probe goes where a callout would, and tells the breaker nothing.
        let permit = if is_probe { None } else { bound.breaker.permit() };
        let is_open = permit.is_none() && !(is_probe && bound.breaker.state() != BreakerState::Open);
        let (binding, meters) = match (is_open, &bound.previous) {
            (false, _) => (&bound.binding, &bound.meters),
            (true, Some(previous)) => (&previous.binding, &previous.meters),
            (true, None) => {
                telemetry::count_invocation(&invocations.course, &bound.meters, Outcome::PluginQuarantined);

                let (usage, journal) = (Usage::default(), Journal::default());
                let noted = invocations.note(
                    &bound.name,
                    &bound.binding,
                    Outcome::PluginQuarantined,
                    &usage,
                    &journal,
                );
                let version = bound.binding.version();
                let detail = format!(
                    "{}@{version}: failed too often and is not invoked for a while",
                    bound.name
                );
                let refusal = Refusal::new(Outcome::PluginQuarantined, detail);
                return Err(Failed { refusal, noted });
            }
        };
        let began = Instant::now();
        let left = deadline.saturating_duration_since(began);
        Ok(Self {
            invocations,
            meters,
            bound,
            binding,
            deadline,
            cut_short: CutShort::default(),
            began,
            noted: 0,
            permit,
            in_time: left >= extension.deadline / 2 / u32::try_from(sharing).unwrap_or(u32::MAX).max(1),
        })
    }

    /// What the invocation answered, or why it did not.
    pub(crate) fn ended<A>(&mut self, report: Report<A>) -> Result<A, Failed> {
        let Report {
            result,
            usage,
            words,
            journal,
            log,
        } = report;
        let outcome = result.as_ref().map_or_else(outcome, |_| Outcome::Answered);
        self.note(outcome, &usage, Left { journal, log });
        let version = self.binding.version();
        tracing::debug!(
            plugin = &*self.bound.name,
            %version,
            elapsed_us = usage.elapsed.as_micros(),
            cpu_ms = usage.cpu.as_millis(),
            memory_bytes = usage.memory_bytes,
            host_calls = usage.host_calls,
            "plugin invoked"
        );
        result.map_err(|error| {
            if let Some(limit) = error.limit() {
                self.meters.count_limit(limit);
            }
            let late = matches!(error, InvocationError::DeadlineExceeded) && !self.in_time;
            // A permit that is dropped tells nothing: the failure is of something else.
            match (self.permit.take(), &error) {
                (Some(permit), InvocationError::Unavailable(_) | InvocationError::Rejected(_)) => permit.ran(),
                (Some(permit), error) if error.is_the_plugins() && !late => permit.failed(),
                _ => {}
            }
            let refusal = Refusal {
                words: Some(Box::new(words)),
                ..Refusal::new(outcome, format!("{}@{version}: {error}", self.bound.name))
            };
            Failed {
                refusal,
                noted: self.noted,
            }
        })
    }
}

impl Attempt<'_> {
    /// What it is invoked with.
    pub(crate) fn terms(&self) -> Terms<'_> {
        self.invocations.course.terms(self.deadline, &self.cut_short)
    }

    /// Notes how the invocation went, for the record, the trace and the metrics.
    fn note(&mut self, outcome: Outcome, usage: &Usage, left: Left) {
        let (name, course) = (&self.bound.name, &self.invocations.course);
        self.noted = self.invocations.note(name, self.binding, outcome, usage, &left.journal);
        course.note(name, self.binding, self.began, outcome, usage, left);
        telemetry::count_invocation(course, self.meters, outcome);
        telemetry::note_usage(course, self.meters, usage);
    }

    /// When leave to invoke was given.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// Whether what was invoked is the binding, and not the version before it.
    pub(crate) fn is_of_the_binding(&self) -> bool {
        std::ptr::eq(self.binding, Arc::as_ptr(&self.bound.binding))
    }

    /// It answered what Entra does not accept.
    pub(crate) fn refused(mut self, error: &GuardError) -> Failed {
        if let Some(permit) = self.permit.take() {
            permit.failed();
        }
        let version = self.binding.version();
        let detail = format!("{}@{version}: {error}", self.bound.name);
        Failed {
            refusal: Refusal {
                entra_error: Some(error.entra_error()),
                ..Refusal::new(error.outcome(), detail)
            },
            noted: self.noted,
        }
    }

    /// It answered, and what it answered is not used.
    pub(crate) fn ran(mut self) {
        if let Some(permit) = self.permit.take() {
            permit.ran();
        }
    }
}

/// A callout that is dropped, or another binding's failure, ends the invocation with it: what it did is noted all the same.
impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if let Some((usage, journal)) = self.cut_short.take() {
            let log = Vec::new();
            self.note(Outcome::PluginCutShort, &usage, Left { journal, log });
        }
    }
}

/// Tells the breakers how it went after the guard. Claims of several bindings that are no answer together are the fault of
/// all: each was one alone.
pub(crate) fn settle(invoked: Invoked<'_>, is_answer: bool) {
    for permit in invoked.from.into_iter().filter_map(|mut attempt| attempt.permit.take()) {
        if is_answer {
            permit.succeeded();
        } else {
            permit.failed();
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
