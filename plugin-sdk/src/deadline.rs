//! How much time is left.

use std::cell::Cell;
use std::time::Duration;

thread_local! {
    /// What will be left of the callout's time when the innermost [`within`] is over.
    static LEFT_AFTERWARDS: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// How long until the host answers without this plugin; zero when that time has come. Inside of [`within`], how long until
/// that is over.
///
/// Counted from the arrival of Entra's request. A plugin that looks something up can leave out what no longer fits. In
/// native tests it is always two seconds, what Entra allows.
#[must_use]
pub fn remaining() -> Duration {
    let left = crate::host::remaining();
    left.saturating_sub(LEFT_AFTERWARDS.get().unwrap_or_default())
}

/// Does something in at most so much time: in it, [`remaining`] is no more, and calls of upstreams end then. What it computes
/// is not interrupted.
///
/// ```
/// use std::time::Duration;
///
/// use claimsmith_plugin::deadline;
///
/// let left = deadline::within(Duration::from_millis(300), deadline::remaining);
/// assert_eq!(left, Duration::from_millis(300));
/// ```
pub fn within<R>(time: Duration, work: impl FnOnce() -> R) -> R {
    let outside = LEFT_AFTERWARDS.get();
    let left = crate::host::remaining();
    let afterwards = left.saturating_sub(time).max(outside.unwrap_or_default());
    LEFT_AFTERWARDS.set(Some(afterwards));
    let _restored = Restored(outside);
    work()
}

struct Restored(Option<Duration>);

impl Drop for Restored {
    fn drop(&mut self) {
        LEFT_AFTERWARDS.set(self.0);
    }
}

/// The time limit of a call that has perhaps one of its own: clients of upstreams take it.
pub(crate) fn at_most(timeout: Option<Duration>) -> Option<Duration> {
    if LEFT_AFTERWARDS.get().is_none() {
        return timeout;
    }
    let left = remaining();
    Some(timeout.map_or(left, |timeout| timeout.min(left)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn without_a_host_the_whole_time_is_left() {
        assert_eq!(remaining().as_secs(), 2);
    }

    #[test]
    fn a_part_of_the_time_bounds_calls_and_parts_of_it() {
        let (short, long) = (Duration::from_millis(100), Duration::from_millis(200));
        within(short, || {
            within(long, || assert_eq!(remaining(), short));
            assert_eq!(at_most(None), Some(short));
            assert_eq!(at_most(Some(long)), Some(short));
            assert_eq!(at_most(Some(short / 2)), Some(short / 2));
        });
        assert_eq!(at_most(Some(long)), Some(long));
        assert_eq!(at_most(None), None);
    }
}
