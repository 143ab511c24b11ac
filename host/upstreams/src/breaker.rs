//! The circuit breaker of an upstream: after too many failures it is not asked for a while.

use std::sync::atomic::{AtomicBool, Ordering};

use claimsmith_runtime::{Breaker, BreakerOptions, BreakerState};

/// A breaker whose changes are logged and counted.
pub(crate) fn breaker(tenant: &str, upstream: &str) -> Breaker {
    let (tenant, upstream) = (tenant.to_owned(), upstream.to_owned());
    let first = AtomicBool::new(true);
    Breaker::new(&BreakerOptions::default(), move |state| {
        let open = match state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 0.5,
            BreakerState::Open => 1.0,
        };
        let labels = [("tenant", tenant.clone()), ("upstream", upstream.clone())];
        metrics::gauge!("claimsmith_upstream_breaker_open", &labels).set(open);
        // Being closed at first is no change.
        if !first.swap(false, Ordering::Relaxed) {
            let state = state.name();
            tracing::warn!(tenant, upstream, state, "circuit breaker of an upstream changed");
        }
    })
}
