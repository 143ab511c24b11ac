//! What an invocation has asked of upstreams: one entry for each call, in order.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::guest_text::clean;
use crate::plugin::Digest;
use crate::recording::Recording;

/// Calls that are listed; further ones are counted. More than any invocation can make by default.
const MAX_LISTED: usize = 64;
/// The result of a call that was still being made when its invocation was dropped.
pub(crate) const CUT_SHORT: &str = "cut_short";

/// A call of a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityCall {
    /// The interface and its function, such as `http.fetch`.
    pub function: &'static str,
    /// The upstream, as the guest named it; empty for the cache.
    pub upstream: Arc<str>,
    /// Whether the binding was granted it: otherwise its name is the guest's, and may be anything.
    pub is_granted: bool,
    /// The SHA-256 of what was asked: equal for equal calls, and tells nothing of them.
    pub arguments: Digest,
    /// `ok`, or the error the guest was given, or `cut_short` if the guest was dropped meanwhile.
    pub result: &'static str,
    /// What the upstream's protocol says of the result: an HTTP status.
    pub status: Option<u16>,
    /// Bytes of what was asked.
    pub sent_bytes: usize,
    /// Bytes of what the guest was given.
    pub received_bytes: usize,
    /// After the invocation's start.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
    /// Its span in the callout's trace; 0 if there is none.
    pub span: u64,
}

/// The calls of one invocation. Empty, it owns no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Journal {
    calls: Vec<CapabilityCall>,
    unlisted: usize,
    pub(crate) recording: Option<Box<Recording>>,
}

impl Journal {
    /// The first calls, in order.
    #[must_use]
    pub fn calls(&self) -> &[CapabilityCall] {
        &self.calls
    }

    /// How many calls there were besides [`Self::calls`].
    #[must_use]
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// Everything that the invocation was given, if it was recorded.
    #[must_use]
    pub fn recording(&self) -> Option<&Recording> {
        self.recording.as_deref()
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_recording(self) -> Option<Recording> {
        self.recording.map(|recording| *recording)
    }

    /// A name that the guest has used: most calls are of the same upstream.
    pub(crate) fn name(&self, name: &str) -> Arc<str> {
        let known = self.calls.iter().find(|call| *call.upstream == *name);
        known.map_or_else(|| clean(name).into(), |call| Arc::clone(&call.upstream))
    }

    /// Lists a call that is about to be made: where, if there is room.
    pub(crate) fn begin(&mut self, call: &CapabilityCall) -> Option<usize> {
        if self.calls.len() >= MAX_LISTED {
            self.unlisted += 1;
            return None;
        }
        self.calls.push(call.clone());
        Some(self.calls.len() - 1)
    }

    /// Lists how a call has ended that had begun there.
    pub(crate) fn end(&mut self, listed: Option<usize>, call: CapabilityCall) {
        if let Some(begun) = listed.and_then(|index| self.calls.get_mut(index)) {
            *begun = call;
        }
    }

    /// What is listed when the invocation is dropped so long after its start.
    pub(crate) fn cut_short(mut self, after: Duration) -> Self {
        for call in self.calls.iter_mut().filter(|call| call.result == CUT_SHORT) {
            call.took = after.saturating_sub(call.began);
        }
        self
    }
}

/// Makes the digest of a call's arguments, and counts their bytes.
#[derive(Clone, Default)]
pub(crate) struct Digester {
    hash: Sha256,
    bytes: usize,
}

impl Digester {
    /// A part, with its length before it.
    pub(crate) fn add(&mut self, part: &[u8]) {
        self.count(part.len());
        self.hash.update(part);
        self.bytes += part.len();
    }

    /// A part that can be absent.
    pub(crate) fn add_option(&mut self, part: Option<&[u8]>) {
        self.count(part.is_some().into());
        if let Some(part) = part {
            self.add(part);
        }
    }

    /// A part of which the digest tells only how long it is: a secret could be guessed from more.
    pub(crate) fn add_secret(&mut self, part: &[u8]) {
        self.count(part.len());
        self.bytes += part.len();
    }

    /// A number of parts that follow.
    pub(crate) fn count(&mut self, parts: usize) {
        self.hash.update((parts as u64).to_le_bytes());
    }

    /// Bytes of the parts so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn finish(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::Digester;

    #[test]
    fn no_two_calls_have_the_same_digest() {
        let digest = |parts: &[&str]| {
            let mut digester = Digester::default();
            for part in parts {
                digester.add(part.as_bytes());
            }
            digester.finish()
        };
        assert_eq!(digest(&["ab", "c"]), digest(&["ab", "c"]));
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
