//! What becomes known of a callout on its way, and what is left of one whose client goes away.

use std::sync::Arc;
use std::time::Duration;

use axum::http::request::Parts;
use claimsmith_audit::Record;
use claimsmith_catalog::Extension;
use claimsmith_contract::Outcome;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::Span;

use crate::answer::{Refusal, status_and_title};
use crate::audit;
use crate::course::{Course, Stages};
use crate::repeats::Told;
use crate::server::App;
use crate::telemetry;
use crate::trace::{Ended, Tracer};

/// What becomes known on the way, for the answer and the log.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) extension: Option<Arc<Extension>>,
    /// The tenant that the path names, when it is configured and has nothing that serves: only names of the catalog.
    pub(crate) unavailable_tenant: Option<Arc<str>>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) generation: u64,
    pub(crate) stages: Stages,
    /// Whether the token was accepted.
    pub(crate) is_of_known_caller: bool,
    /// Whether the token was one that Entra asked for.
    pub(crate) is_by_entra: bool,
    pub(crate) audit: audit::Notes,
    pub(crate) invocations: audit::Invocations,
    /// Takes the record if the client goes away while a run of its own goes on.
    pub(crate) run: Option<oneshot::Sender<Record>>,
}

/// A callout that is not answered yet. When its client closes the connection it is dropped, which leaves a record too.
pub(crate) struct Unanswered<'a> {
    app: &'a App,
    arrived: Instant,
    pub(crate) facts: Facts,
    /// Whether its record has been handed over.
    pub(crate) is_recorded: bool,
    pub(crate) is_answered: bool,
}

impl<'a> Unanswered<'a> {
    pub(crate) fn new(app: &'a App, arrived: Instant) -> Self {
        Self {
            app,
            arrived,
            facts: Facts::default(),
            is_recorded: false,
            is_answered: false,
        }
    }
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let took = self.arrived.elapsed();
        self.facts.stages.end();
        telemetry::count_callout(&self.facts, Outcome::ClientGone, took);
        if let Some(tracer) = &self.app.tracer {
            tell(tracer, &self.facts, Outcome::ClientGone, (self.arrived, took));
        }
        tracing::warn!(
            outcome = Outcome::ClientGone.code(),
            duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            generation = self.facts.generation,
            "callout abandoned"
        );
        if !self.is_recorded {
            audit::record_gone(&self.app.audit, &mut self.facts, self.arrived);
        }
    }
}

/// How a run of its own went, for the trace and the metrics of the callout that began it.
pub(crate) struct Gone {
    stages: Stages,
    course: Course,
}

impl Facts {
    /// The tenant that the path names; empty when it names none.
    pub(crate) fn tenant(&self) -> Arc<str> {
        let of_extension = self.extension.as_ref().map(|extension| &extension.tenant);
        of_extension
            .or(self.unavailable_tenant.as_ref())
            .map(Arc::clone)
            .unwrap_or_default()
    }

    /// What a run of its own has come to: for all whose callout it was, and for the one that began it.
    pub(crate) fn told(mut self, answered: Result<Vec<u8>, Refusal>) -> (Told, Gone) {
        self.stages.end();
        let (action, claims) = self.audit.answer();
        let told = Told {
            answered,
            action,
            claims,
            invocations: self.invocations.so_far(),
        };
        let gone = Gone {
            stages: self.stages,
            course: self.invocations.course,
        };
        (told, gone)
    }

    /// Takes over what a run has come to.
    pub(crate) fn tell(&mut self, told: &Told, repeat: Option<&'static str>) {
        self.audit.answered_as(told, repeat);
        self.invocations.take_over(told.invocations.clone());
    }

    /// Takes over how the run went that the callout began.
    pub(crate) fn take_over(&mut self, gone: Gone) {
        self.stages.take_over(&gone.stages);
        self.invocations.course.take_over(gone.course);
    }

    /// Says which trace the callout belongs to, now that its caller is known.
    pub(crate) fn begin_trace(&mut self, tracer: Option<&Tracer>, head: &Parts) {
        let Some(tracer) = tracer else { return };
        let trace = tracer.of_known_caller(&head.headers, self.correlation_id.as_deref());
        Span::current().record("trace_id", trace.id());
        self.invocations.course.trace = Some(trace);
    }
}

/// Hands the callout to its trace. Not one of an unknown caller: anybody could fill the queue of spans with such.
pub(crate) fn tell(tracer: &Tracer, facts: &Facts, outcome: Outcome, (arrived, took): (Instant, Duration)) {
    if !facts.is_of_known_caller {
        return;
    }
    let course = &facts.invocations.course;
    let correlation_id = facts.correlation_id.as_deref();
    tracer.tell(&Ended {
        trace: course
            .trace
            .unwrap_or_else(|| Tracer::of_correlation_id(correlation_id)),
        extension: facts.extension.as_deref(),
        correlation_id,
        generation: facts.generation,
        is_probe: course.is_probe(),
        outcome,
        status: status_and_title(outcome).0,
        arrived,
        took,
        stages: &facts.stages,
        invocations: course.take_invocations(),
    });
}
