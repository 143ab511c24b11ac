//! Who fills a key, who waits, and what becomes of a key whose holder is gone.

use std::sync::Arc;

use claimsmith_tests::{Platform, eventually};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{get, metric, put, start, start_with, step, steps, steps_at};

/// A step that looks for a key and fills it with a text if it is given it.
fn fill(key: &str, text: &str) -> Value {
    json!({ "look": [key, { "fill": { "text": text, "fresh_ms": 60_000 } }] })
}

/// A step that has the key for so many milliseconds before it fills it.
fn fill_after(key: &str, milliseconds: u64) -> Value {
    json!({ "look": [key, { "fill_after": [milliseconds, { "text": "slow", "fresh_ms": 60_000 }] }] })
}

fn begin(platform: &Arc<Platform>, step: Value) -> JoinHandle<(u16, Value)> {
    let platform = Arc::clone(platform);
    tokio::spawn(async move { steps_at(&platform, &platform.url(), &json!([step])).await })
}

async fn waited(platform: &Platform) -> u64 {
    metric(platform, "claimsmith_cache_lookups_total", "result=\"waited\"").await
}

async fn missed(platform: &Platform) -> u64 {
    metric(platform, "claimsmith_cache_lookups_total", "result=\"miss\"").await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fills_a_key_and_the_others_wait_for_it() {
    let platform = Arc::new(start("cache = {}").await);
    let first = begin(&platform, fill_after("ada", 700));
    eventually("it has the key", async || missed(&platform).await == 1).await;
    let others: Vec<_> = (0..20).map(|_| begin(&platform, fill("ada", "another"))).collect();
    eventually("they wait", async || waited(&platform).await == 20).await;
    // Another key is nobody's business.
    assert_eq!(step(&platform, &fill("grace", "x")).await, "filled");
    assert_eq!(first.await.unwrap(), (200, json!(["filled"])));
    for other in others {
        assert_eq!(other.await.unwrap(), (200, json!(["fresh slow"])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_is_put_meanwhile_is_what_they_waited_for() {
    let platform = Arc::new(start("cache = {}").await);
    let first = begin(&platform, fill_after("ada", 900));
    eventually("it has the key", async || missed(&platform).await == 1).await;
    let other = begin(&platform, fill("ada", "another"));
    eventually("it waits", async || waited(&platform).await == 1).await;
    assert_eq!(step(&platform, &put("ada", "put")).await, "done");
    assert_eq!(other.await.unwrap(), (200, json!(["fresh put"])));
    assert_eq!(first.await.unwrap(), (200, json!(["filled"])));
    assert_eq!(step(&platform, &get("ada")).await, "value slow");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_holder_is_gone_is_passed_on() {
    let host = "runtime.breaker.consecutive_failures = 1000";
    let platform = Arc::new(start_with(host, "", "cache = {}").await);
    for (number, (with, status, expected)) in [
        (json!("panic"), 500, json!("plugin_trapped")),
        (json!("fail"), 500, json!("plugin_unavailable")),
        (json!("spin"), 500, json!("plugin_cpu_limit")),
        (json!("drop"), 200, json!(["dropped"])),
        (json!("keep"), 200, json!(["kept"])),
        (json!({ "postpone": 5_000 }), 200, json!(["done"])),
        (
            json!({ "fill": { "bytes": 100_000, "fresh_ms": 60_000 } }),
            200,
            json!(["too-large"]),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("key-{number}");
        // The holder has the key for a moment, in which another one waits for it.
        let first = json!({ "look": [key, with] });
        assert_eq!(begin(&platform, first).await.unwrap(), (status, expected), "{with}");
        assert_eq!(step(&platform, &fill(&key, "next")).await, "filled", "{with}");
        assert_eq!(step(&platform, &fill(&key, "third")).await, "fresh next", "{with}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_for_one_that_traps_have_the_key_in_turn() {
    let host = "runtime.breaker.consecutive_failures = 1000";
    let platform = Arc::new(start_with(host, "", "cache = {}").await);
    let first = begin(&platform, fill_after("ada", 400));
    eventually("it has the key", async || missed(&platform).await == 1).await;
    // `FillAfter` of too much fails, and so gives the key to the ones who wait: five that trap, one that fills it.
    drop(first);
    let too_large = json!({ "look": ["grace", { "fill_after": [400, { "bytes": 100_000, "fresh_ms": 1 }] }] });
    let first = begin(&platform, too_large);
    eventually("it has the key", async || missed(&platform).await == 2).await;
    let mut trapping = Vec::new();
    for number in 1..=5 {
        trapping.push(begin(&platform, json!({ "look": ["grace", "panic"] })));
        let all = number;
        eventually("it waits", async || waited(&platform).await >= all).await;
    }
    let last = begin(&platform, fill("grace", "at last"));
    assert_eq!(first.await.unwrap(), (200, json!(["too-large"])));
    for trapped in trapping {
        assert_eq!(trapped.await.unwrap(), (500, json!("plugin_trapped")));
    }
    assert_eq!(last.await.unwrap(), (200, json!(["filled"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_lets_go_of_its_key() {
    let platform = Arc::new(start("cache = {}").await);
    let first = begin(&platform, fill_after("ada", 1_500));
    eventually("it has the key", async || missed(&platform).await == 1).await;
    let other = begin(&platform, fill("ada", "another"));
    eventually("it waits", async || waited(&platform).await == 1).await;
    first.abort();
    assert_eq!(other.await.unwrap(), (200, json!(["filled"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_nothing_is_told_in_time() {
    let platform = Arc::new(start("cache = {}").await);
    // It waits for a key that it holds itself. What it has left when it is told is a moment, which a busy machine can take.
    let both = json!([{ "look": ["ada", "keep"] }, { "look": ["ada", "drop"] }]);
    let url = platform.url();
    eventually("it is told in time to answer", async || {
        match steps_at(&platform, &url, &both).await {
            (200, results) => results[1] == "deadline-exceeded",
            (status, code) => {
                assert_eq!((status, code), (504, json!("deadline_exceeded")));
                false
            }
        }
    })
    .await;
    assert_eq!(step(&platform, &fill("ada", "next")).await, "filled");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fills_a_stale_value_anew_and_the_others_use_it() {
    let platform = Arc::new(start("cache = {}").await);
    let stale = json!({ "put": { "key": "ada", "text": "old", "fresh_ms": 0, "stale_ms": 60_000 } });
    assert_eq!(
        steps(&platform, &json!([stale, get("ada")])).await,
        json!(["done", "none"])
    );
    let first = begin(&platform, fill_after("ada", 700));
    eventually("it has the key", async || {
        metric(&platform, "claimsmith_cache_lookups_total", "result=\"stale\"").await == 1
    })
    .await;
    for _ in 0..3 {
        assert_eq!(step(&platform, &fill("ada", "mine")).await, "stale old");
    }
    assert_eq!(first.await.unwrap(), (200, json!(["stale with key old, filled"])));
    assert_eq!(step(&platform, &fill("ada", "mine")).await, "fresh slow");
    assert_eq!(waited(&platform).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_value_that_cannot_be_filled_anew_is_left_alone_for_a_while() {
    let platform = start("cache = {}").await;
    let stale = json!({ "put": { "key": "ada", "text": "old", "fresh_ms": 0, "stale_ms": 60_000 } });
    assert_eq!(step(&platform, &stale).await, "done");
    let drop = json!({ "look": ["ada", "drop"] });
    let postpone = json!({ "look": ["ada", { "postpone": 700 }] });
    let results = steps(&platform, &json!([drop, drop, postpone, drop])).await;
    let expected = [
        "stale with key old, dropped",
        "stale with key old, dropped",
        "stale with key old, done",
        "stale old",
    ];
    assert_eq!(results, json!(expected));
    eventually("it is tried again", async || {
        step(&platform, &drop).await == expected[0]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_kept_keeps_no_key() {
    let host = "runtime.instance_reuse.allowed = true";
    let platform = start_with(host, "", "isolation = \"reuse\"\ncache = {}").await;
    assert_eq!(step(&platform, &json!({ "look": ["ada", "keep"] })).await, "kept");
    assert_eq!(step(&platform, &fill("ada", "next")).await, "filled");
}
