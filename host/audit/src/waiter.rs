//! Who waits for a record, and how that ends: the record is kept, the time is over, or the client has gone. The last two
//! look the same from the record's side unless who waits says which it was.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// What a record has of who waits for it.
#[derive(Debug)]
pub(crate) struct Waiter {
    kept: oneshot::Sender<()>,
    has_given_up: Arc<AtomicBool>,
}

/// What who waits has of the record.
#[derive(Debug)]
pub(crate) struct Waiting {
    kept: oneshot::Receiver<()>,
    has_given_up: Arc<AtomicBool>,
}

/// What is known of who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Waits, as far as is known.
    Goes,
    /// The time was over: the callout is refused for want of its record.
    GivenUp,
    /// The client has gone away.
    Abandoned,
}

/// Both sides of one record.
pub(crate) fn waiter() -> (Waiter, Waiting) {
    let (sender, receiver) = oneshot::channel();
    let has_given_up = Arc::new(AtomicBool::new(false));
    let waiting = Waiting {
        kept: receiver,
        has_given_up: Arc::clone(&has_given_up),
    };
    let waiter = Waiter {
        kept: sender,
        has_given_up,
    };
    (waiter, waiting)
}

impl Waiter {
    /// Whether anybody still waits.
    pub(crate) fn state(&self) -> Wait {
        // In this order: who gives up says so first.
        match (self.kept.is_closed(), self.has_given_up.load(Ordering::Acquire)) {
            (false, _) => Wait::Goes,
            (true, true) => Wait::GivenUp,
            (true, false) => Wait::Abandoned,
        }
    }

    /// Tells that the record is kept. Whether that comes too late: the callout has been refused for want of it.
    pub(crate) fn tell_kept(self) -> bool {
        self.kept.send(()).is_err() && self.has_given_up.load(Ordering::Acquire)
    }
}

impl Waiting {
    /// Waits until the record is kept, until `deadline` at most. Whether it is.
    pub(crate) async fn until(mut self, deadline: Instant) -> bool {
        if let Ok(ended) = timeout_at(deadline, &mut self.kept).await {
            return ended.is_ok();
        }
        self.has_given_up.store(true, Ordering::Release);
        self.kept.close();
        // From here on it cannot be told any more; what was told before counts.
        self.kept.try_recv().is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Wait, waiter};

    #[tokio::test]
    async fn who_gives_up_is_told_from_who_has_gone() {
        let (record, waiting) = waiter();
        assert_eq!(record.state(), Wait::Goes);
        assert!(!waiting.until(Instant::now()).await);
        assert_eq!(record.state(), Wait::GivenUp);
        assert!(record.tell_kept(), "too late");

        let (record, waiting) = waiter();
        drop(waiting.until(Instant::now() + Duration::from_mins(1)));
        assert_eq!(record.state(), Wait::Abandoned);
        assert!(!record.tell_kept(), "nobody was refused");
    }

    #[tokio::test]
    async fn what_was_kept_before_the_time_was_over_is_kept() {
        let (record, waiting) = waiter();
        assert!(!record.tell_kept());
        assert!(waiting.until(Instant::now()).await);

        let (record, waiting) = waiter();
        drop(record);
        assert!(!waiting.until(Instant::now() + Duration::from_mins(1)).await);
    }
}
