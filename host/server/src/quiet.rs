//! The alarm for extensions that Entra has not called for too long: the case that shows nowhere else, because nothing
//! fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use claimsmith_catalog::Extension;
use metrics::{Gauge, gauge};

use crate::server::App;

/// How often extensions are looked at: as often as the shortest silence that can be expected.
const LOOK: Duration = Duration::from_secs(1);

/// What to look at, in this order. `docs/never-called.md` says how.
const CHECKLIST: &str = "1. the sign-in uses an application that the listener names; 2. the listener exists and names this \
     extension; 3. the extension's target URL is this service's, reachable from the internet, with the host of its \
     identifier URI; 4. its permission CustomAuthenticationExtension.Receive.Payload is granted by an administrator; \
     5. callouts that are refused count as refused_for_token; see docs/never-called.md";

/// An extension that is watched: its gauge, and whether the alarm is on.
struct Watched {
    gauge: Gauge,
    is_quiet: bool,
}

/// Looks at all extensions again and again.
pub(crate) async fn watch(app: Arc<App>) {
    let mut watched: BTreeMap<(Arc<str>, Arc<str>), Watched> = BTreeMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let catalog = app.catalog.get();
        let now = SystemTime::now();
        let expected = catalog.extensions().filter_map(|(_, _, extension)| {
            let name = (Arc::clone(&extension.tenant), Arc::clone(&extension.name));
            Some((name, (extension, extension.expect_callouts_within?)))
        });
        let expected: BTreeMap<_, _> = expected.collect();
        watched.retain(|name, before| {
            let is_expected = expected.contains_key(name);
            if !is_expected {
                before.gauge.set(0.0);
            }
            is_expected
        });
        for (name, (extension, within)) in expected {
            let known = watched.entry(name).or_insert_with(|| Watched {
                gauge: gauge!("claimsmith_extension_quiet", extension.meters.labels().iter()),
                is_quiet: false,
            });
            known.look(extension, within, now);
        }
    }
}

impl Watched {
    fn look(&mut self, extension: &Extension, within: Duration, now: SystemTime) {
        let quiet_for = extension.meters.fared.quiet_for(now);
        let is_quiet = quiet_for > within;
        self.gauge.set(f64::from(u8::from(is_quiet)));
        if is_quiet == self.is_quiet {
            return;
        }
        self.is_quiet = is_quiet;
        let (tenant, name) = (&*extension.tenant, &*extension.name);
        if is_quiet {
            let refused: u64 = extension.meters.token_failures.counts().map(|(_, count)| count).sum();
            tracing::warn!(
                tenant,
                extension = name,
                event = extension.event.name(),
                quiet_for_s = quiet_for.as_secs(),
                expected_within_s = within.as_secs(),
                was_ever_called = extension.meters.fared.last_by_entra().is_some(),
                refused_for_token = refused,
                checklist = CHECKLIST,
                "Entra has not called for longer than expected"
            );
        } else {
            tracing::info!(tenant, extension = name, "Entra calls again");
        }
    }
}
