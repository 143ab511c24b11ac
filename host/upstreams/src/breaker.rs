//! The circuit breaker of an upstream: after too many failures it is not asked for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use claimsmith_runtime::{Breaker, BreakerOptions};

/// A breaker whose changes are logged. Metrics tell of those that serve: one is also made for a trial, and by a load that is
/// refused.
pub(crate) fn breaker(tenant: &str, upstream: &str) -> Arc<Breaker> {
    let (tenant, upstream) = (tenant.to_owned(), upstream.to_owned());
    let first = AtomicBool::new(true);
    Arc::new(Breaker::new(&BreakerOptions::default(), move |state| {
        // Being closed at first is no change.
        if !first.swap(false, Ordering::Relaxed) {
            let state = state.name();
            tracing::warn!(tenant, upstream, state, "circuit breaker of an upstream changed");
        }
    }))
}
