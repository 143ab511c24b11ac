//! What an invocation is given besides what its event gives it: until when, in which trace, and whether upstreams may be
//! called.

use std::hash::{BuildHasher as _, RandomState};

use tokio::time::Instant;

use crate::run::CutShort;

/// The trace that an invocation belongs to (W3C Trace Context).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace id; 0 if there is none.
    pub id: u128,
    /// Whether it is sampled: then guest logs are kept for it, and calls of upstreams say so.
    pub is_sampled: bool,
}

impl TraceContext {
    /// The id of a new span; 0 where there is no trace.
    pub(crate) fn new_span(self) -> u64 {
        if self.id == 0 {
            return 0;
        }
        // Each of these has random keys.
        RandomState::new().hash_one(self.id).max(1)
    }
}

/// The terms of one invocation. A deadline alone stands for the usual ones.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Until when it may take.
    pub deadline: Instant,
    /// Its trace; without one, upstreams are told the correlation id as that.
    pub trace: Option<TraceContext>,
    /// Whether upstreams may be called. An invocation that may not has an instance of its own, whatever the binding says.
    pub upstreams: UpstreamUse,
    /// What becomes known of it when it is dropped before its end; without it, nothing does.
    pub cut_short: Option<&'a CutShort>,
}

/// Whether an invocation may call its binding's upstreams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamUse {
    /// Those that the binding was granted.
    #[default]
    Granted,
    /// None: it has no grants.
    Withheld,
}

impl From<Instant> for Terms<'_> {
    fn from(deadline: Instant) -> Self {
        Self {
            deadline,
            trace: None,
            upstreams: UpstreamUse::Granted,
            cut_short: None,
        }
    }
}
