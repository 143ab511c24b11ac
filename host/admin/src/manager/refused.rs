//! What was refused, in the admin log and in the service's log. A line of the admin log is never deleted and whoever may ask
//! for changes can be refused any number of them, so only some have a line each, and the others are counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use claimsmith_audit::Refusals;
use tokio::time::sleep;

use super::{Asked, Manager};
use crate::problem::{Code, Refusal};
use crate::store::{Action, Done, Of};

/// How many refusals of one tenant have lines at once, after a quiet time: more than an activation has versions.
const BURST: f64 = 100.0;
/// How many more have each second, one in ten minutes: a year of a flood is some 300 MB for each tenant.
const PER_SECOND: f64 = 1.0 / 600.0;
/// How often what was only counted is told.
const TOLD_EVERY: Duration = Duration::from_mins(10);

/// Refusals that are counted together.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    tenant: Arc<str>,
    actor: String,
    action: Action,
    code: &'static str,
}

/// What there has been of refusals.
#[derive(Debug)]
pub(super) struct Refused(Mutex<Refusals<Kind>>);

impl Default for Refused {
    fn default() -> Self {
        Self(Mutex::new(Refusals::new(BURST, PER_SECOND)))
    }
}

impl Refused {
    fn lock(&self) -> MutexGuard<'_, Refusals<Kind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those versions of a refused change that have lines; the others are counted.
    fn admit<'v>(&self, asked: &Asked, action: Action, code: &'static str, versions: &[Of<'v>]) -> Vec<Of<'v>> {
        let tenant: Arc<str> = asked.tenant.as_str().into();
        let kind = || Kind {
            tenant: Arc::clone(&tenant),
            actor: asked.actor.clone(),
            action,
            code,
        };
        let mut refusals = self.lock();
        let admitted = versions.iter().filter(|_| refusals.admit(&tenant, kind));
        admitted.copied().collect()
    }
}

impl Manager {
    /// What came of a change that has written nothing yet. A refusal is told in the admin log, a line for each of these
    /// versions, and in the service's log.
    pub(super) async fn told<T>(
        &self,
        asked: &Asked,
        action: Action,
        versions: &[Of<'_>],
        found: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let Err(refusal) = found else {
            return found;
        };
        // The store's own failure is in the service's log, and what was written is not known.
        if refusal.code == Code::StoreUnavailable {
            return Err(refusal);
        }
        let (actor, tenant, why) = (asked.actor.as_str(), asked.tenant.as_str(), refusal.text());
        let (_, code, _) = refusal.code.row();
        let versions = self.refused.admit(asked, action, code, versions);
        for Of { plugin, version, .. } in &versions {
            let action = action.code();
            tracing::warn!(
                actor,
                action,
                tenant,
                plugin,
                version,
                code,
                why,
                "refused by the admin API"
            );
        }
        self.note(asked.done(action), &versions, &why).await;
        Err(refusal)
    }

    /// Tells of refusals that were only counted, for as long as the service runs.
    pub(crate) async fn tell_counted_refusals(&self) {
        loop {
            sleep(TOLD_EVERY).await;
            self.tell_refusals_counted_so_far().await;
        }
    }

    /// The same once: they are counted nowhere else.
    pub(crate) async fn tell_refusals_counted_so_far(&self) {
        let counted = self.refused.lock().take(true);
        for (kind, refusals) in counted {
            let (actor, tenant, action, code) = (kind.actor.as_str(), &*kind.tenant, kind.action, kind.code);
            tracing::warn!(
                actor,
                action = action.code(),
                tenant,
                code,
                refusals,
                "refused by the admin API without a line each"
            );
            let done = Done {
                actor,
                reason: "",
                action,
                tenant,
            };
            let of = Of {
                plugin: "",
                version: "",
                digest: None,
            };
            let detail = format!("{refusals} more were refused ({code}), too many for a line each");
            self.note(done, &[of], &detail).await;
        }
    }

    /// Writes lines of what was refused. Without them it is refused all the same: nothing was changed.
    async fn note(&self, done: Done<'_>, versions: &[Of<'_>], why: &str) {
        if versions.is_empty() {
            return;
        }
        if let Err(error) = self.store.note_refused(done, versions, why).await {
            tracing::error!(%error, "a refusal could not be written to the admin log");
        }
    }
}
