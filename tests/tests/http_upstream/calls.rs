//! What may be asked, what comes back, and how it ends.

use claimsmith_tests::{Platform, Upstream};
use serde_json::json;

use super::{LOOPBACK, crm, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_makes_claims_of_what_an_upstream_knows() {
    let server = Upstream::start().await;
    let platform = start(LOOPBACK, &crm(&server, ""), "settings.calls = 3\nupstreams = [\"crm\"]").await;
    let (status, answer) = platform.callout().await;
    assert_eq!(
        (status, Platform::claims(&answer)),
        (200, &json!({ "tier": "gold" })),
        "{answer}"
    );
    let id = "0d1e0001-0000-4000-8000-0000000000f1";
    assert_eq!(server.requests(&format!("/members/{id}")).len(), 3);
    assert_eq!(server.connections(), 1, "connections are used again");
}
