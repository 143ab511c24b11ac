//! An upstream that hangs makes no callout late.

use std::sync::Arc;
use std::time::Duration;

use claimsmith_tests::{Platform, Stage, Upstream, eventually, world};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{LOOPBACK, add_plugin, upstream};

const DEADLINE: Duration = Duration::from_millis(900);
/// Callouts at once, of each way to hang.
const CALLOUTS: usize = 12;
/// Ways to hang: no answer, half of one, one that never ends.
const WAYS: [&str; 3] = ["hang", "half", "trickle"];

/// A host with an extension for each way to hang, whose plugin needs the upstream and whose failure policy answers without
/// it, and one whose upstream answers.
async fn platform(server: &Upstream) -> Platform {
    let stage = Stage::new().await.host_config(LOOPBACK);
    let mut toml = world::directories_toml(&stage.entra);
    for way in [&WAYS[..], &["members"]].concat() {
        toml += &upstream(way, &server.url(""), "timeout = \"5s\"");
        let binding = format!(
            "settings = {{ upstream = \"{way}\", path = \"/{way}/{{id}}\" }}\nupstreams = [\"{way}\"]\non_failure = \"omit\""
        );
        toml += &world::extension_toml(way, "deadline = \"900ms\"", "http-caller", &binding);
    }
    let stage = stage.tenant("contoso", &toml);
    add_plugin(&stage);
    stage.start().await
}

/// How long the answers of an extension took.
async fn answers(platform: &Arc<Platform>, way: &'static str, callouts: usize) -> (&'static str, Histogram<u64>) {
    let mut asking = JoinSet::new();
    for _ in 0..callouts {
        let platform = Arc::clone(platform);
        asking.spawn(async move {
            let (url, token, body) = (platform.url_of("contoso", way), platform.token(), platform.body());
            let request = platform.http.post(url).bearer_auth(token).json(&body);
            let began = Instant::now();
            let response = request.send().await.unwrap();
            let status = response.status().as_u16();
            let answer: serde_json::Value = response.json().await.unwrap();
            let took = began.elapsed();
            let expected = if way == "members" {
                json!({ "tier": "gold" })
            } else {
                json!({})
            };
            assert_eq!((status, Platform::claims(&answer)), (200, &expected), "{answer}");
            took
        });
    }
    let mut taken = Histogram::new(3).unwrap();
    for took in asking.join_all().await {
        taken.record(u64::try_from(took.as_micros()).unwrap()).unwrap();
    }
    (way, taken)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_upstream_makes_no_callout_late() {
    let server = Upstream::start().await;
    let platform = Arc::new(platform(&server).await);
    let mut measuring = JoinSet::new();
    for way in WAYS {
        let platform = Arc::clone(&platform);
        measuring.spawn(async move { answers(&platform, way, CALLOUTS).await });
    }
    // What everything else takes at the same time on this machine: connections, tokens, other processes, and as many answers
    // at once as there are at the deadline.
    let control = Arc::clone(&platform);
    measuring.spawn(async move {
        let mut all = Histogram::new(3).unwrap();
        let until = Instant::now() + DEADLINE;
        all += answers(&control, "members", WAYS.len() * CALLOUTS).await.1;
        while Instant::now() < until {
            all += answers(&control, "members", 4).await.1;
        }
        all += answers(&control, "members", WAYS.len() * CALLOUTS).await.1;
        ("members", all)
    });
    let measured = measuring.join_all().await;
    println!("milliseconds  answers     min     p50     p90     p99     max");
    let milliseconds = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1e3;
    for (way, taken) in &measured {
        let quantiles = [0.0, 0.5, 0.9, 0.99, 1.0].map(|quantile| milliseconds(taken.value_at_quantile(quantile)));
        let shown = quantiles.map(|value| format!(" {value:7.1}")).concat();
        println!("{way:<12} {:>8}{shown}", taken.len());
    }
    let control = measured.iter().find(|(way, _)| *way == "members").unwrap().1.max();
    for (way, taken) in measured.iter().filter(|(way, _)| *way != "members") {
        let most = u64::try_from(DEADLINE.as_micros()).unwrap();
        assert_eq!(taken.len(), CALLOUTS as u64);
        assert!(taken.min() > most / 2, "{way}: the upstream was waited for");
        assert!(
            taken.max() <= most + control,
            "{way}: the last answer came after {} us, other callouts took {control} us at most",
            taken.max()
        );
    }
    // Nothing of the calls is left: the server sees each connection closed.
    eventually("every call is cancelled", async || {
        server.abandoned() == WAYS.len() * CALLOUTS
    })
    .await;
}
