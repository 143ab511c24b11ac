//! How an extension has fared, for who asks how it is now: times of its last callouts, and quantiles of how long they took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;

/// Quantiles are of the last one to two of these.
const WINDOW: Duration = Duration::from_mins(5);

/// Longer callouts count as so long, in microseconds: no deadline is longer than 2 s.
const LONGEST: u64 = 60_000_000;

/// Digits of quantiles: values are right within 7 %, for 3 KiB an extension.
const DIGITS: u8 = 1;

/// How an extension has fared since the process started or the tenant was first loaded.
#[derive(Debug)]
pub struct Fared {
    since: SystemTime,
    last: Moment,
    answered: Moment,
    by_entra: Moment,
    /// Absent until there is a callout: most of many extensions are quiet.
    latencies: Mutex<Option<Box<Latencies>>>,
}

/// A point in time that may not have come.
#[derive(Debug, Default)]
struct Moment(AtomicU64);

#[derive(Debug)]
struct Latencies {
    began: Instant,
    now: Histogram<u32>,
    before: Histogram<u32>,
}

/// What is known of one callout.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took.
    pub took: Duration,
    /// Whether it was answered.
    pub is_answered: bool,
    /// Whether it had a token that Entra asked for.
    pub is_by_entra: bool,
}

/// Quantiles of how long callouts took in the last minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Of how many callouts.
    pub callouts: u64,
    /// Half of them took longer.
    pub p50: Duration,
    /// One in ten took longer.
    pub p90: Duration,
    /// One in a hundred took longer.
    pub p99: Duration,
    /// None took longer.
    pub max: Duration,
}

impl Default for Fared {
    fn default() -> Self {
        Self {
            since: SystemTime::now(),
            last: Moment::default(),
            answered: Moment::default(),
            by_entra: Moment::default(),
            latencies: Mutex::default(),
        }
    }
}

impl Fared {
    /// Notes a callout.
    pub fn note(&self, seen: Seen) {
        self.last.set(seen.at);
        if seen.is_answered {
            self.answered.set(seen.at);
        }
        if seen.is_by_entra {
            self.by_entra.set(seen.at);
        }
        let mut latencies = self.latencies();
        if latencies.is_none() {
            *latencies = Latencies::new();
        }
        if let Some(latencies) = latencies.as_mut() {
            latencies.note(seen.took);
        }
    }

    /// Since when anything is known.
    #[must_use]
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// The last callout, whoever made it.
    #[must_use]
    pub fn last(&self) -> Option<SystemTime> {
        self.last.get()
    }

    /// The last callout that was answered.
    #[must_use]
    pub fn last_answered(&self) -> Option<SystemTime> {
        self.answered.get()
    }

    /// The last callout with a token that Entra asked for, whatever came of it.
    #[must_use]
    pub fn last_by_entra(&self) -> Option<SystemTime> {
        self.by_entra.get()
    }

    /// For how long Entra has not called: since its last callout, or since anything is known.
    #[must_use]
    pub fn quiet_for(&self, now: SystemTime) -> Duration {
        let since = self.last_by_entra().unwrap_or(self.since);
        now.duration_since(since).unwrap_or_default()
    }

    /// How long callouts took; absent when there were none in the last minutes.
    #[must_use]
    pub fn quantiles(&self) -> Option<Quantiles> {
        let mut latencies = self.latencies();
        let latencies = latencies.as_mut()?.as_mut();
        latencies.turn();
        let mut both = latencies.before.clone();
        // Of equal bounds: always fits.
        both.add(&latencies.now).ok()?;
        let at = |quantile| Duration::from_micros(both.value_at_quantile(quantile));
        (!both.is_empty()).then(|| Quantiles {
            callouts: both.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: Duration::from_micros(both.max()),
        })
    }

    fn latencies(&self) -> MutexGuard<'_, Option<Box<Latencies>>> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latencies {
    /// `None` if the bounds of the histogram were none: a defect.
    fn new() -> Option<Box<Self>> {
        let now = Histogram::new_with_bounds(1, LONGEST, DIGITS).ok()?;
        Some(Box::new(Self {
            began: Instant::now(),
            before: now.clone(),
            now,
        }))
    }

    fn note(&mut self, took: Duration) {
        self.turn();
        let microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.now.saturating_record(microseconds.max(1));
    }

    /// Begins a new window when the one that runs is over.
    fn turn(&mut self) {
        let age = self.began.elapsed();
        if age < WINDOW {
            return;
        }
        std::mem::swap(&mut self.now, &mut self.before);
        self.now.reset();
        if age >= WINDOW * 2 {
            self.before.reset();
        }
        self.began = Instant::now();
    }
}

impl Moment {
    fn set(&self, at: SystemTime) {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // Callouts end on several threads: the latest stays.
        self.0.fetch_max(milliseconds, Ordering::Relaxed);
    }

    fn get(&self) -> Option<SystemTime> {
        let milliseconds = self.0.load(Ordering::Relaxed);
        (milliseconds > 0).then(|| SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn seen(took: Duration, is_by_entra: bool) -> Seen {
        Seen {
            at: SystemTime::now(),
            took,
            is_answered: is_by_entra,
            is_by_entra,
        }
    }

    #[test]
    fn quantiles_are_near_what_was_noted() {
        let fared = Fared::default();
        assert_eq!(fared.quantiles(), None);
        for milliseconds in 1..=100 {
            fared.note(seen(Duration::from_millis(milliseconds), true));
        }
        let quantiles = fared.quantiles().unwrap();
        assert_eq!(quantiles.callouts, 100);
        for (found, expected) in [(quantiles.p50, 50.0), (quantiles.p90, 90.0), (quantiles.max, 100.0)] {
            let milliseconds = found.as_secs_f64() * 1e3;
            assert!(
                (milliseconds - expected).abs() / expected < 0.07,
                "{found:?} {expected}"
            );
        }
    }

    #[test]
    fn what_others_send_does_not_end_entras_silence() {
        let fared = Fared::default();
        let later = fared.since() + Duration::from_hours(1);
        fared.note(seen(Duration::from_millis(1), false));
        assert!(fared.last().is_some() && fared.last_answered().is_none());
        assert_eq!(fared.quiet_for(later), Duration::from_hours(1));
        fared.note(seen(Duration::from_millis(1), true));
        assert!(fared.quiet_for(SystemTime::now()) < Duration::from_mins(1));
    }
}
