//! What a user sees while it runs: what is measured, what came out, how long it has taken and is expected to take.

use std::time::{Duration, Instant};

/// Lines on standard error, each with the time.
#[derive(Debug)]
pub struct Progress {
    began: Instant,
    expected: Duration,
}

impl Progress {
    /// Begins now and is expected to take so long.
    #[must_use]
    pub fn begin(expected: Duration) -> Self {
        Self {
            began: Instant::now(),
            expected,
        }
    }

    /// Tells what happens.
    #[expect(clippy::print_stderr, reason = "what a user of the command sees")]
    pub fn say(&self, line: impl AsRef<str>) {
        let (passed, expected) = (clock(self.began.elapsed()), clock(self.expected));
        eprintln!("bench: [{passed} of about {expected}] {}", line.as_ref());
    }

    /// How long it has taken so far.
    #[must_use]
    pub fn passed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// Minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
