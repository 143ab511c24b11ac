//! What is kept, for how long, how much of it, and for whom.

use std::fs;

use claimsmith_tests::{Platform, eventually, world};
use serde_json::json;

use super::{get, metric, put, start, start_with, step, steps, steps_at};

#[tokio::test(flavor = "multi_thread")]
async fn a_value_is_kept_from_one_callout_to_another_until_it_expires_or_is_removed() {
    let platform = start("cache = {}").await;
    assert_eq!(step(&platform, &get("ada")).await, "none");
    assert_eq!(step(&platform, &put("ada", "gold")).await, "done");
    assert_eq!(step(&platform, &get("ada")).await, "value gold");
    assert_eq!(step(&platform, &put("ada", "silver")).await, "done");
    assert_eq!(step(&platform, &get("ada")).await, "value silver");
    assert_eq!(step(&platform, &json!({ "remove": "ada" })).await, "done");
    assert_eq!(step(&platform, &get("ada")).await, "none");

    let short = json!({ "put": { "key": "short", "text": "x", "fresh_ms": 300 } });
    assert_eq!(steps(&platform, &json!([short, get("short")])).await[1], "value x");
    eventually("it expires", async || step(&platform, &get("short")).await == "none").await;
    let nothing = json!({ "put": { "key": "nothing", "text": "x", "fresh_ms": 0 } });
    assert_eq!(steps(&platform, &json!([nothing, get("nothing")])).await[1], "none");

    // Also in memory, when something else is kept.
    eventually("what has expired is gone", async || {
        assert_eq!(
            steps(&platform, &json!([put("other", "x"), { "remove": "other" }])).await[1],
            "done"
        );
        metric(&platform, "claimsmith_cache_entries", "tenant=\"contoso\"").await == 0
    })
    .await;
    assert!(metric(&platform, "claimsmith_cache_lookups_total", "result=\"hit\"").await >= 3);
    assert!(metric(&platform, "claimsmith_cache_lookups_total", "result=\"miss\"").await >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_shortened_to_the_caches_most() {
    let platform = start("cache.max_ttl = \"300ms\"").await;
    let long = json!({ "put": { "key": "a", "text": "x", "fresh_ms": 60_000, "stale_ms": 60_000 } });
    assert_eq!(steps(&platform, &json!([long, get("a")])).await[1], "value x");
    let look = json!({ "look": ["a", "drop"] });
    eventually("neither fresh nor stale", async || {
        step(&platform, &look).await == "dropped"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_without_a_cache_has_none() {
    let platform = start("").await;
    let results = steps(&platform, &json!([get("a"), put("a", "b"), { "look": ["a", "drop"] }])).await;
    assert_eq!(results, json!(["not-granted", "not-granted", "not-granted"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_values_and_calls_have_limits() {
    let platform = start("cache.max_value_bytes = 1000").await;
    let value = |bytes: usize| json!({ "put": { "key": "a", "bytes": bytes, "fresh_ms": 60_000 } });
    // Two bytes are the JSON's.
    let results = steps(&platform, &json!([value(998), value(999)])).await;
    assert_eq!(results, json!(["done", "too-large"]));
    let filled = json!({ "look": ["b", { "fill": { "bytes": 999, "fresh_ms": 60_000 } }] });
    assert_eq!(step(&platform, &filled).await, "too-large");
    assert_eq!(
        step(&platform, &json!({ "look": ["b", "drop"] })).await,
        "dropped",
        "the key is passed on"
    );
    let results = steps(&platform, &json!([get(&"k".repeat(512)), get(&"k".repeat(513))])).await;
    assert_eq!(results, json!(["none", "too-large"]));
    let many = json!({ "put_many": [20, { "key": "a", "text": "x", "fresh_ms": 60_000 }] });
    assert_eq!(step(&platform, &many).await, "quota-exceeded");
}

/// Fills a cache with so many values of so many bytes, a hundred in a callout.
async fn fill(platform: &Platform, count: usize, bytes: usize) {
    for round in 0..count.div_ceil(100) {
        let key = format!("{round}-");
        let many = json!({ "put_many": [100, { "key": key, "bytes": bytes, "fresh_ms": 600_000 }] });
        assert_eq!(step(platform, &many).await, "done");
        let kept = metric(platform, "claimsmith_cache_bytes", "tenant=\"contoso\"").await;
        assert!(kept <= 1_048_576, "{kept}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_by_bytes() {
    let host = "runtime.limits.capability_calls = 600\nruntime.limits.total_transfer_bytes = 67108864";
    let platform = start_with(host, "", "cache = { max_bytes = 1048576, max_value_bytes = 16384 }").await;
    fill(&platform, 500, 10_000).await;
    let before = resident_bytes(&platform);
    // 100 MB of values.
    fill(&platform, 10_000, 10_000).await;
    let grown = resident_bytes(&platform).saturating_sub(before);
    assert!(grown < 30_000_000, "{grown}");
    let entries = metric(&platform, "claimsmith_cache_entries", "tenant=\"contoso\"").await;
    assert!((90..=105).contains(&entries), "{entries}");
    let evicted = metric(&platform, "claimsmith_cache_evictions_total", "tenant=\"contoso\"").await;
    assert!(evicted > 9_800, "{evicted}");
    // The last ones are there, and none of an earlier round.
    assert!(step(&platform, &get("99-99")).await.starts_with("value xxx"));
    assert_eq!(step(&platform, &get("97-99")).await, "none");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_are_bounded_by_number_and_the_last_used_stay() {
    let host = "runtime.limits.capability_calls = 600";
    let platform = start_with(host, "", "cache = { max_entries = 100 }").await;
    let many =
        |key: &str, count: usize| json!({ "put_many": [count, { "key": key, "text": "x", "fresh_ms": 600_000 }] });
    assert_eq!(step(&platform, &many("a", 100)).await, "done");
    assert_eq!(step(&platform, &get("a0")).await, "value x");
    assert_eq!(step(&platform, &many("b", 50)).await, "done");
    let entries = metric(&platform, "claimsmith_cache_entries", "tenant=\"contoso\"").await;
    assert!(entries <= 100, "{entries}");
    let results = steps(&platform, &json!([get("a0"), get("a1"), get("b49")])).await;
    assert_eq!(results, json!(["value x", "none", "value x"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_binding_never_sees_it() {
    let binding = "cache = {}\n[[extensions.claims.applications]]
client_ids = [\"0d1e0001-0000-4000-8000-0000000000a9\"]
settings.cache-caller = { salt = \"other\" }\n";
    let other = world::extension_toml("other", "", "cache-caller", "cache = {}");
    let platform = start(&format!("{binding}\n{other}")).await;
    assert_eq!(step(&platform, &put("ada", "gold")).await, "done");
    let elsewhere = platform.url_of("contoso", "other");
    assert_eq!(
        steps_at(&platform, &elsewhere, &json!([get("ada")])).await.1,
        json!(["none"])
    );
    assert_eq!(
        steps_at(&platform, &elsewhere, &json!([{ "remove": "ada" }])).await.1,
        json!(["done"])
    );
    // Nor does the same binding with an application's own settings.
    let mut body = platform.body();
    let context = &mut body["data"]["authenticationContext"];
    context["user"]["displayName"] = json!(json!([get("ada")]).to_string());
    context["clientServicePrincipal"]["appId"] = json!("0d1e0001-0000-4000-8000-0000000000a9");
    let answer: serde_json::Value = platform.call(&platform.token(), &body).await.json().await.unwrap();
    let claims = Platform::claims(&answer);
    assert_eq!(
        (&claims["salt"], &claims["results"]),
        (&json!("other"), &json!(["none"])),
        "{answer}"
    );
    assert_eq!(step(&platform, &get("ada")).await, "value gold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_finds_it_and_other_settings_do_not() {
    let platform = start("cache = {}").await;
    assert_eq!(step(&platform, &put("ada", "gold")).await, "done");
    let generation = async || {
        let url = format!("http://{}/metrics", platform.host.address);
        let text = platform.http.get(url).send().await.unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("claimsmith_catalog_generation"))
            .unwrap();
        line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let reload = async |binding: &str| {
        let before = generation().await;
        let extension = world::extension_toml("claims", "deadline = \"1900ms\"", "cache-caller", binding);
        let toml = format!("{}\n{extension}", world::directories_toml(&platform.entra));
        fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
        eventually("it is loaded", async || generation().await > before).await;
    };
    reload("cache = {}").await;
    assert_eq!(step(&platform, &get("ada")).await, "value gold");
    reload("settings.salt = \"new\"\ncache = {}").await;
    assert_eq!(step(&platform, &get("ada")).await, "none");
    assert_eq!(step(&platform, &put("ada", "silver")).await, "done");
    reload("settings.salt = \"new\"\ncache = { max_entries = 50 }").await;
    assert_eq!(
        step(&platform, &get("ada")).await,
        "none",
        "other bounds are another cache"
    );
    // What the caches of before held is not counted any more.
    eventually("they are gone", async || {
        metric(&platform, "claimsmith_cache_entries", "tenant=\"contoso\"").await == 0
    })
    .await;
}

fn resident_bytes(platform: &Platform) -> u64 {
    let path = format!("/proc/{}/statm", platform.host.pid());
    let statm = fs::read_to_string(path).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
