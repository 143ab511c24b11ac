//! What a service manager such as systemd is told: nothing, where there is none.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// The service manager, which is told from time to time that the service lives, until this is dropped.
#[derive(Debug)]
pub(crate) struct ServiceManager {
    watchdog: Option<JoinHandle<()>>,
}

impl ServiceManager {
    /// Tells that the service answers callouts.
    pub(crate) fn ready(status: &str) -> Self {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
        let watchdog = sd_notify::watchdog_enabled().map(|within| tokio::spawn(live(within)));
        Self { watchdog }
    }

    /// Tells that it answers what is in flight and then ends.
    pub(crate) fn stopping() {
        tell(&[NotifyState::Stopping]);
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        if let Some(watchdog) = &self.watchdog {
            watchdog.abort();
        }
    }
}

/// Tells that the service lives, twice in the time within which it must be told.
async fn live(within: Duration) {
    let mut ticks = interval((within / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager (NOTIFY_SOCKET) cannot be told");
    }
}
