//! An upstream that hangs makes no callout late.

use std::time::Duration;

use claimsmith_tests::timed::{assert_in_time, at_once};
use claimsmith_tests::{Platform, Stage, Upstream, eventually, world};
use serde_json::json;

use super::{LOOPBACK, add_plugin, upstream};

const DEADLINE: Duration = Duration::from_millis(900);
/// Callouts at once, of each way to hang.
const CALLOUTS: usize = 22;
/// Ways to hang: no answer, half of one, one that never ends.
const WAYS: [&str; 3] = ["hang", "half", "trickle"];
/// Each has upstreams of its own: after so many failures they are left alone.
const ROUNDS: usize = 3;

/// A host with places for all callouts and an extension for each round and way to hang, whose plugin needs the upstream and
/// whose failure policy answers without it.
async fn platform(server: &Upstream) -> Platform {
    let places = "server.max_concurrent_callouts = 256\nruntime.max_concurrent_invocations = 512\nruntime.limits.concurrency = 256";
    let stage = Stage::new().await.host_config(&format!("{LOOPBACK}\n{places}"));
    let mut toml = world::directories_toml(&stage.entra);
    for (round, way) in rounds() {
        let name = format!("{way}-{round}");
        toml += &upstream(&name, &server.url(""), "timeout = \"5s\"\nconcurrency = 64");
        let binding = format!(
            "settings = {{ upstream = \"{name}\", path = \"/{way}/{{id}}\" }}\nupstreams = [\"{name}\"]\non_failure = \"omit\""
        );
        toml += &world::extension_toml(&name, "deadline = \"900ms\"", "http-caller", &binding);
    }
    let stage = stage.tenant("contoso", &toml);
    add_plugin(&stage);
    stage.start().await
}

fn rounds() -> impl Iterator<Item = (usize, &'static str)> {
    (0..ROUNDS).flat_map(|round| WAYS.map(|way| (round, way)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_upstream_makes_no_callout_late() {
    let server = Upstream::start().await;
    let platform = platform(&server).await;
    for round in 0..ROUNDS {
        let names = WAYS.iter().flat_map(|way| [way].repeat(CALLOUTS));
        let callouts = names.map(|way| (platform.url_of("contoso", &format!("{way}-{round}")), platform.body()));
        let answers = at_once(&platform, callouts.collect::<Vec<_>>()).await;
        for callout in &answers {
            let claims = Platform::claims(&callout.answer);
            assert_eq!((callout.status, claims), (200, &json!({})), "{callout:?}");
            assert!(callout.host > DEADLINE / 2, "the upstream was waited for: {callout:?}");
        }
        assert_in_time(&format!("round {round}"), &answers, DEADLINE);
        // Nothing of the calls is left: the server sees each connection closed.
        eventually("every call is cancelled", async || {
            server.abandoned() == answers.len() * (round + 1)
        })
        .await;
    }
}
