//! Refusals of callers that no token speaks for: anybody can cause any number of them, so only some have a line at `warn`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// How many refusals of one tenant are told at once, after a quiet time.
const BURST: f64 = 100.0;
/// How many more are told each second.
const PER_SECOND: f64 = 1.0;

/// What has been told of refusals: by tenant, so that a flood at one hides nothing of another. Only names of the catalog come
/// here, and the empty one.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<Arc<str>, Told>>);

#[derive(Debug)]
struct Told {
    left: f64,
    since: Instant,
    untold: u64,
}

impl Strangers {
    /// Whether a refusal is told, and how many before it were not.
    pub(crate) fn tell(&self, tenant: &Arc<str>) -> Option<u64> {
        self.tell_at(tenant, Instant::now())
    }

    fn tell_at(&self, tenant: &Arc<str>, now: Instant) -> Option<u64> {
        let mut tenants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = tenants.entry(Arc::clone(tenant)).or_insert(Told {
            left: BURST,
            since: now,
            untold: 0,
        });
        told.left = (told.left + now.duration_since(told.since).as_secs_f64() * PER_SECOND).min(BURST);
        told.since = now;
        if told.left < 1.0 {
            told.untold += 1;
            return None;
        }
        told.left -= 1.0;
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Strangers;

    #[test]
    fn a_flood_is_told_now_and_then_and_hides_nothing_of_another_tenant() {
        let strangers = Strangers::default();
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        let now = Instant::now();
        let told = (0..1000).filter_map(|_| strangers.tell_at(&one, now)).count();
        assert_eq!(told, 100);
        assert_eq!(strangers.tell_at(&other, now), Some(0));
        let later = now + Duration::from_secs(1);
        assert_eq!(
            (strangers.tell_at(&one, later), strangers.tell_at(&one, later)),
            (Some(900), None)
        );
    }
}
