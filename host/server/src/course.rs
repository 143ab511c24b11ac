//! How a callout goes, for what is told of it: its stages' times, its trace, and what its invocations took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use claimsmith_catalog::{ExtensionMeters, Stage};
use claimsmith_contract::Outcome;
use claimsmith_runtime::{Binding, CutShort, Journal, LogRecord, Terms, UpstreamUse, Usage};
use claimsmith_token::TokenPolicy;
use tokio::time::Instant;

use crate::trace::Trace;

/// The stages that a callout has gone through, one after another.
#[derive(Debug, Default)]
pub(crate) struct Stages {
    /// In the order of [`Stage::ALL`].
    ended: [Option<(Instant, Duration)>; Stage::ALL.len()],
    current: Option<(Stage, Instant)>,
}

impl Stages {
    /// Ends the stage before, and begins this one.
    pub(crate) fn begin(&mut self, stage: Stage) {
        let now = Instant::now();
        self.end_at(now);
        self.current = Some((stage, now));
    }

    /// Ends the last stage.
    pub(crate) fn end(&mut self) {
        self.end_at(Instant::now());
    }

    fn end_at(&mut self, now: Instant) {
        let Some((stage, began)) = self.current.take() else {
            return;
        };
        if let Some(ended) = self.ended.get_mut(stage as usize) {
            *ended = Some((began, now.saturating_duration_since(began)));
        }
    }

    /// In place of the stage that has begun, those that another run of the callout has gone through.
    pub(crate) fn take_over(&mut self, run: &Self) {
        self.current = None;
        for (own, of_run) in self.ended.iter_mut().zip(run.ended) {
            *own = of_run.or(*own);
        }
    }

    /// Each stage that there was: when it began and how long it took.
    pub(crate) fn each(&self) -> impl Iterator<Item = (Stage, Instant, Duration)> {
        let ended = Stage::ALL.into_iter().zip(self.ended);
        ended.filter_map(|(stage, ended)| ended.map(|(began, took)| (stage, began, took)))
    }
}

/// A callout that the service makes itself.
#[derive(Clone, Debug)]
pub(crate) struct ProbeRun {
    /// What its token is validated by, in place of the extension's own policy.
    pub(crate) policy: Arc<TokenPolicy>,
    /// Whether plugins may call upstreams.
    pub(crate) upstreams: bool,
}

/// What invocations are told of their callout, and tell of themselves.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Present when the service makes the callout itself.
    pub(crate) probe: Option<ProbeRun>,
    /// The trace, once it is known which it is; absent while no traces are made.
    pub(crate) trace: Option<Trace>,
    /// Nanoseconds of all invocations.
    instantiated: AtomicU64,
    ran: AtomicU64,
    invocations: Mutex<Vec<Invocation>>,
}

/// An invocation, for a trace.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The plugin's name in the configuration.
    pub(crate) plugin: Arc<str>,
    pub(crate) version: Arc<str>,
    /// When leave to invoke it was asked for, and when it was done.
    pub(crate) times: (Instant, Instant),
    pub(crate) outcome: Outcome,
    pub(crate) usage: Usage,
    pub(crate) journal: Journal,
    pub(crate) log: Vec<LogRecord>,
}

/// What an invocation leaves for its trace.
pub(crate) struct Left {
    pub(crate) journal: Journal,
    pub(crate) log: Vec<LogRecord>,
}

impl Course {
    /// Whether the service makes the callout itself.
    pub(crate) fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// The terms of the callout's invocations.
    pub(crate) fn terms<'a>(&self, deadline: Instant, cut_short: &'a CutShort) -> Terms<'a> {
        let may_call = self.probe.as_ref().is_none_or(|probe| probe.upstreams);
        Terms {
            deadline,
            trace: self.trace.as_ref().map(Trace::context),
            upstreams: if may_call {
                UpstreamUse::Granted
            } else {
                UpstreamUse::Withheld
            },
            cut_short: Some(cut_short),
        }
    }

    /// Notes an invocation that has ended.
    pub(crate) fn note(
        &self,
        name: &Arc<str>,
        binding: &Binding,
        began: Instant,
        outcome: Outcome,
        usage: &Usage,
        left: Left,
    ) {
        self.instantiated
            .fetch_add(nanoseconds(usage.instantiated), Ordering::Relaxed);
        let ran = usage.elapsed.saturating_sub(usage.instantiated);
        self.ran.fetch_add(nanoseconds(ran), Ordering::Relaxed);
        if !self.trace.as_ref().is_some_and(|trace| trace.context().is_sampled) {
            return;
        }
        let Left { journal, log } = left;
        let mut invocations = self.invocations.lock().unwrap_or_else(PoisonError::into_inner);
        invocations.push(Invocation {
            plugin: Arc::clone(name),
            version: Arc::clone(binding.version()),
            times: (began, Instant::now()),
            outcome,
            usage: *usage,
            journal,
            log,
        });
    }

    /// Takes over the invocations of a run of its own.
    pub(crate) fn take_over(&mut self, run: Self) {
        self.instantiated = run.instantiated;
        self.ran = run.ran;
        self.invocations = run.invocations;
    }

    /// Notes how long making instances and running guests took, if any ran.
    pub(crate) fn note_stages(&self, meters: &ExtensionMeters) {
        let time = |of: &AtomicU64| Duration::from_nanos(of.load(Ordering::Relaxed));
        let (instantiated, ran) = (time(&self.instantiated), time(&self.ran));
        if !ran.is_zero() {
            meters.note_stage(Stage::Instantiate, instantiated);
            meters.note_stage(Stage::Run, ran);
        }
    }

    /// The invocations of a trace that is sampled.
    pub(crate) fn take_invocations(&self) -> Vec<Invocation> {
        std::mem::take(&mut *self.invocations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
