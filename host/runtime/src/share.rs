//! What tenants share, and how much of it each may take.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::error::{InvocationError, Whose};
use crate::turns::{GuestTurns, Turns, Used};

/// How long an invocation waits for its turn when as many run as may. Longer waits only move the failure closer to
/// the caller's own time limit.
const MAX_QUEUE_TIME: Duration = Duration::from_millis(100);

/// One tenant's share of the invocations and of the CPU. Outlives the tenant's reloads, which must not give it more.
#[derive(Debug)]
pub struct TenantShare {
    most: usize,
    places: Semaphore,
    used: Arc<Used>,
}

impl TenantShare {
    /// A share with at most so many invocations at once, which no tenant has while others need places too.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            places: Semaphore::new(most),
            used: Arc::default(),
        }
    }
}

/// One binding's places among the invocations.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BindingPlaces<'s> {
    pub(crate) places: &'s Semaphore,
    /// How many it was made with.
    pub(crate) all: usize,
    /// How many may be taken now.
    pub(crate) most: usize,
}

/// What all tenants' invocations share.
#[derive(Debug)]
pub(crate) struct Shared {
    invocations: usize,
    places: Semaphore,
    turns: Turns,
}

impl Shared {
    pub(crate) fn new(invocations: usize, cores: usize) -> Self {
        Self {
            invocations,
            places: Semaphore::new(invocations),
            turns: Turns::new(cores),
        }
    }

    /// Waits shortly for a place among the binding's, then among its tenant's, then among all invocations.
    pub(crate) async fn admit<'s>(
        &'s self,
        tenant: &'s TenantShare,
        binding: BindingPlaces<'s>,
        deadline: Instant,
    ) -> Result<[SemaphorePermit<'s>; 3], InvocationError> {
        let mut until = Until { deadline, time: None };
        let throttled = |whose| move || InvocationError::Throttled(whose);
        let own = place(binding.places, &mut until).await;
        let own = own.ok_or_else(throttled(Whose::Binding))?;
        if binding.all.saturating_sub(binding.places.available_permits()) > binding.most {
            return Err(InvocationError::Throttled(Whose::Binding));
        }
        let of_tenant = place(&tenant.places, &mut until).await;
        let of_tenant = of_tenant.ok_or_else(throttled(Whose::Tenant))?;
        if !self.leaves_room(tenant) {
            return Err(InvocationError::Throttled(Whose::Tenant));
        }
        let of_all = place(&self.places, &mut until).await;
        let of_all = of_all.ok_or(InvocationError::Overloaded("the host"))?;
        Ok([own, of_tenant, of_all])
    }

    /// Whether a tenant that has one place more leaves enough free for others. A tenant that is alone may have all of
    /// its `most`; the more tenants have many places, the fewer each may have, and some are always free for one that
    /// had none. The first place is anybody's.
    fn leaves_room(&self, tenant: &TenantShare) -> bool {
        let taken = tenant.most.saturating_sub(tenant.places.available_permits());
        let kept = self.invocations.saturating_sub(tenant.most);
        taken <= 1 || taken.saturating_mul(kept) <= self.places.available_permits().saturating_mul(tenant.most)
    }

    /// The places that are taken, and all of them.
    pub(crate) fn places(&self) -> (usize, usize) {
        let free = self.places.available_permits();
        (self.invocations.saturating_sub(free), self.invocations)
    }

    /// The turns to use the CPU of one of the tenant's guests.
    pub(crate) const fn turns<'s>(&'s self, tenant: &'s TenantShare) -> GuestTurns<'s> {
        self.turns.of(&tenant.used)
    }
}

/// Until when an invocation waits for its places: decided when it first has to, because the clock costs more than a place.
struct Until {
    deadline: Instant,
    time: Option<Instant>,
}

async fn place<'s>(semaphore: &'s Semaphore, until: &mut Until) -> Option<SemaphorePermit<'s>> {
    if let Ok(permit) = semaphore.try_acquire() {
        return Some(permit);
    }
    let deadline = until.deadline;
    let time = until
        .time
        .get_or_insert_with(|| deadline.min(Instant::now() + MAX_QUEUE_TIME));
    timeout_at(*time, semaphore.acquire()).await.ok()?.ok()
}
