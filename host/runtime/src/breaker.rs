//! The circuit breaker of a plugin's version in one binding: after too many failures it is not invoked for a while.
//!
//! failsafe decides when to open, for how long, and when to try again. What is added here: while it tries again, one
//! invocation at a time is let through, because a plugin that spins until its limits would otherwise take all its places
//! at once.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use failsafe::backoff::{Exponential, exponential};
use failsafe::failure_policy::{ConsecutiveFailures, OrElse, SuccessRateOverTimeWindow};
use failsafe::failure_policy::{consecutive_failures, success_rate_over_time_window};
use failsafe::{FailurePolicy as _, Instrument, StateMachine};

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerOptions {
    /// So many failures in a row open it. Default 10.
    pub consecutive_failures: u32,
    /// A share of failures larger than this opens it, after a whole `window`. Default 0.5.
    pub failure_rate: f64,
    /// Over which time the share is taken. Default 30 s; whole seconds.
    pub window: Duration,
    /// How many invocations there must have been in the window. Default 20.
    pub min_invocations: u32,
    /// How long it is open at first; each time that trying again fails, twice as long. Default 10 s; whole seconds.
    pub open_for: Duration,
    /// How long it is open at most. Default 5 min; whole seconds.
    pub max_open_for: Duration,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            consecutive_failures: 10,
            failure_rate: 0.5,
            window: Duration::from_secs(30),
            min_invocations: 20,
            open_for: Duration::from_secs(10),
            max_open_for: Duration::from_mins(5),
        }
    }
}

/// What a breaker does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Every invocation goes through.
    Closed,
    /// One invocation at a time goes through, to see how it ends.
    HalfOpen,
    /// No invocation goes through.
    Open,
}

impl BreakerState {
    /// Its name in logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

type Policy = OrElse<ConsecutiveFailures<Exponential>, SuccessRateOverTimeWindow<Exponential>>;

/// A circuit breaker. Its changes are given to whoever made it.
pub struct Breaker {
    /// failsafe tells of a change after it has made it, so without this lock two changes could be told in the wrong order,
    /// and the earlier one would be believed from then on.
    machine: Mutex<StateMachine<Policy, Changes>>,
    shared: Arc<Shared>,
}

struct Shared {
    state: AtomicU8,
    /// Whether the one invocation of a half-open breaker is under way.
    probing: AtomicBool,
}

/// Leave to invoke, to be ended with how it went; dropping it says nothing.
#[derive(Debug)]
pub struct BreakerPermit<'b> {
    breaker: &'b Breaker,
    probe: bool,
}

impl Breaker {
    /// A closed breaker that tells `on_change` of every change, and of being closed at first.
    pub fn new(options: &BreakerOptions, on_change: impl Fn(BreakerState) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU8::new(0),
            probing: AtomicBool::new(false),
        });
        // failsafe counts in whole seconds, and takes none below one.
        let second = Duration::from_secs(1);
        let open_for = options.open_for.max(second);
        let backoff = || exponential(open_for, options.max_open_for.max(open_for));
        let rate = success_rate_over_time_window(
            1.0 - options.failure_rate.clamp(0.0, 1.0),
            options.min_invocations,
            options.window.max(second),
            backoff(),
        );
        let policy = consecutive_failures(options.consecutive_failures.max(1), backoff()).or_else(rate);
        let changes = Changes {
            shared: Arc::clone(&shared),
            changed: Box::new(on_change),
        };
        Self {
            machine: Mutex::new(StateMachine::new(policy, changes)),
            shared,
        }
    }

    /// What it does at the moment.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.shared.state()
    }

    /// Leave to invoke, unless the breaker is open or its one attempt is under way.
    #[must_use]
    pub fn permit(&self) -> Option<BreakerPermit<'_>> {
        // Until it is known whether this is the one attempt.
        let machine = self.machine();
        if !machine.is_call_permitted() {
            return None;
        }
        let probe = self.state() == BreakerState::HalfOpen;
        if probe && self.shared.probing.swap(true, Ordering::AcqRel) {
            return None;
        }
        Some(BreakerPermit { breaker: self, probe })
    }

    fn machine(&self) -> MutexGuard<'_, StateMachine<Policy, Changes>> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerPermit<'_> {
    /// The invocation went well.
    pub fn succeeded(self) {
        self.breaker.machine().on_success();
    }

    /// The invocation ended as the plugin meant it, with no answer: that says that it runs, which is what a half-open
    /// breaker asks, and nothing else.
    pub fn ran(self) {
        if self.probe {
            self.succeeded();
        }
    }

    /// The invocation failed in a way that tells of the plugin.
    pub fn failed(self) {
        self.breaker.machine().on_error();
    }
}

impl Drop for BreakerPermit<'_> {
    fn drop(&mut self) {
        if self.probe {
            self.breaker.shared.probing.store(false, Ordering::Release);
        }
    }
}

impl Shared {
    fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Acquire) {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }
}

/// Takes note of the machine's changes.
struct Changes {
    shared: Arc<Shared>,
    changed: Box<dyn Fn(BreakerState) + Send + Sync>,
}

impl Changes {
    fn now(&self, state: BreakerState) {
        self.shared.state.store(state as u8, Ordering::Release);
        (self.changed)(state);
    }
}

impl Instrument for Changes {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.now(BreakerState::Open);
    }

    fn on_half_open(&self) {
        self.now(BreakerState::HalfOpen);
    }

    fn on_closed(&self) {
        self.now(BreakerState::Closed);
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Breaker")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::BreakerState::{Closed, HalfOpen, Open};
    use super::*;

    fn breaker(seen: &Arc<Mutex<Vec<BreakerState>>>) -> Breaker {
        let options = BreakerOptions {
            consecutive_failures: 3,
            open_for: Duration::from_secs(1),
            ..BreakerOptions::default()
        };
        let seen = Arc::clone(seen);
        Breaker::new(&options, move |state| seen.lock().unwrap().push(state))
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_good_attempt_closes_it() {
        let seen = Arc::default();
        let breaker = breaker(&seen);
        for _ in 0..2 {
            breaker.permit().unwrap().failed();
        }
        breaker.permit().unwrap().succeeded();
        for _ in 0..3 {
            assert_eq!(breaker.state(), Closed);
            breaker.permit().unwrap().failed();
        }
        assert!(breaker.permit().is_none());

        std::thread::sleep(Duration::from_millis(1_050));
        let attempt = breaker.permit().unwrap();
        assert!(breaker.permit().is_none(), "one attempt at a time");
        drop(attempt);
        // An attempt that told nothing leaves its place to the next.
        breaker.permit().unwrap().succeeded();
        assert!(breaker.permit().is_some());
        assert_eq!(*seen.lock().unwrap(), [Closed, Open, HalfOpen, Closed]);
    }

    #[test]
    fn a_bad_attempt_opens_it_again() {
        let seen = Arc::default();
        let breaker = breaker(&seen);
        for _ in 0..3 {
            breaker.permit().unwrap().failed();
        }
        std::thread::sleep(Duration::from_millis(1_050));
        breaker.permit().unwrap().failed();
        assert_eq!(breaker.state(), Open);
        assert!(breaker.permit().is_none());
    }

    #[test]
    fn changes_are_told_in_their_order() {
        let told: Arc<Mutex<Vec<BreakerState>>> = Arc::default();
        let options = BreakerOptions {
            consecutive_failures: 1,
            open_for: Duration::from_secs(1),
            ..BreakerOptions::default()
        };
        let breaker = Breaker::new(&options, {
            let told = Arc::clone(&told);
            move |state| {
                // Whoever tells of it is interrupted here.
                if state == HalfOpen {
                    std::thread::sleep(Duration::from_millis(200));
                }
                told.lock().unwrap().push(state);
            }
        });
        breaker.permit().unwrap().failed();
        std::thread::sleep(Duration::from_millis(1_050));
        let attempt = || {
            if let Some(permit) = breaker.permit() {
                permit.succeeded();
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(attempt);
            std::thread::sleep(Duration::from_millis(50));
            scope.spawn(attempt);
        });
        assert_eq!(*told.lock().unwrap(), [Closed, Open, HalfOpen, Closed]);
    }
}
