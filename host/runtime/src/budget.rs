//! What an invocation may still take from the host: calls, bytes handed over, random bytes.
//!
//! Some of what is counted is counted where nothing can fail: the linker's way to a capability, which every imported
//! function takes. So a limit that is reached is noted, and ends the guest at its next epoch tick or at its end,
//! whatever it answers then.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::Limits;

/// A limit of what the host is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HostLimit {
    /// `host_calls`
    Calls,
    /// `random_bytes`
    RandomBytes,
    /// `total_transfer_bytes`
    Transfer,
}

/// What an invocation may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    calls: usize,
    max_calls: usize,
    capability_calls_left: usize,
    random_bytes_left: usize,
    transfer: Transfer,
    reached: Option<HostLimit>,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            calls: 0,
            max_calls: limits.host_calls,
            capability_calls_left: limits.capability_calls,
            random_bytes_left: limits.random_bytes,
            transfer: Transfer {
                taken: Arc::default(),
                most: limits.total_transfer_bytes,
            },
            reached: None,
        }
    }

    /// Begins to count anew, for another invocation in the same instance, whose output streams go on counting here.
    pub(crate) fn begin_again(&mut self, limits: &Limits) {
        let transfer = self.transfer.clone();
        transfer.taken.store(0, Ordering::Relaxed);
        *self = Self {
            transfer,
            ..Self::new(limits)
        };
    }

    /// Counts a call of an imported function.
    pub(crate) fn call(&mut self) {
        self.calls = self.calls.saturating_add(1);
        if self.calls > self.max_calls {
            self.reached.get_or_insert(HostLimit::Calls);
        }
    }

    /// How many calls there have been.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// Counts a call of an upstream, if there may be one more.
    pub(crate) fn capability_call(&mut self) -> bool {
        let left = self.capability_calls_left.checked_sub(1);
        self.capability_calls_left = left.unwrap_or_default();
        left.is_some()
    }

    /// Counts random bytes before they are made.
    pub(crate) fn random(&mut self, bytes: u64) -> Result<(), LimitReached> {
        let left = usize::try_from(bytes)
            .ok()
            .and_then(|bytes| self.random_bytes_left.checked_sub(bytes));
        let Some(left) = left else {
            self.reached.get_or_insert(HostLimit::RandomBytes);
            return Err(LimitReached);
        };
        self.random_bytes_left = left;
        Ok(())
    }

    /// The count of bytes handed over, to share with the guest's output streams.
    pub(crate) fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// Whether the guest may go on.
    pub(crate) fn check(&self) -> Result<(), LimitReached> {
        self.reached().map_or(Ok(()), |_| Err(LimitReached))
    }

    /// The limit that was reached first.
    pub(crate) fn reached(&self) -> Option<HostLimit> {
        self.reached
            .or_else(|| self.transfer.is_exceeded().then_some(HostLimit::Transfer))
    }
}

/// Counts the bytes that the guest hands over.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    taken: Arc<AtomicUsize>,
    most: usize,
}

impl Transfer {
    /// Counts bytes that were handed over.
    pub(crate) fn take(&self, bytes: usize) -> Result<(), LimitReached> {
        // Their sum stays far from wrapping: each call's bytes are bounded, and so are the calls.
        self.taken.fetch_add(bytes, Ordering::Relaxed);
        if self.is_exceeded() { Err(LimitReached) } else { Ok(()) }
    }

    fn is_exceeded(&self) -> bool {
        self.taken.load(Ordering::Relaxed) > self.most
    }
}

/// Ends a guest that has reached one of these limits; which one is in the [`Budget`].
#[derive(Debug)]
pub(crate) struct LimitReached;

impl fmt::Display for LimitReached {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a limit of what the host is asked for is reached")
    }
}

impl Error for LimitReached {}
