//! `crm-claims` with an API that wants a token, beside all that can happen to it.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_tests::{Platform, Stage, Upstream, eventually, world};
use serde_json::{Value, json};

use super::{LOOPBACK, add_plugins, metric};

const SECRET: &str = "planted-crm-91b2";
const GOLD: &str = r#"{ "membership": { "tier": "gold" }, "perks": ["lounge", "wifi"] }"#;
const ID: &str = "0d1e0001-0000-4000-8000-0000000000f1";

/// A host with the plugin as its README has it, at an API.
async fn start(host: &str, crm: &Upstream, upstream: &str, binding: &str, times: &str) -> Platform {
    let stage = Stage::new().await.host_config(&format!("{LOOPBACK}\n{host}"));
    let upstreams = format!(
        "[upstreams.crm]\nkind = \"http\"\nurl = \"{}\"\nplain_http = true\nallow = [\"GET /members/{{id}}\"]
networks = [\"127.0.0.0/8\"]\n{upstream}
[upstreams.crm.authentication.oauth2_client_credentials]
token_url = \"{}\"\nclient_id = \"claimsmith\"\nclient_secret = \"file:crm-client\"\n",
        crm.url("/crm"),
        crm.url("/slow-token/3600"),
    );
    let settings = format!(
        "upstreams = [\"crm\"]\n{binding}
settings.path = \"/members/{{id}}\"
settings.claims = {{ tier = \"/membership/tier\", perks = \"/perks\" }}\n{times}"
    );
    let extension = world::extension_toml("claims", "deadline = \"2s\"", "crm-claims", &settings);
    let toml = format!("{}\n{upstreams}\n{extension}", world::directories_toml(&stage.entra));
    let stage = stage.tenant("contoso", &toml);
    add_plugins(&stage);
    let secrets = stage.file("tenants/contoso/secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("crm-client"), SECRET).unwrap();
    stage.start().await
}

fn gold() -> (u16, Value) {
    (200, json!({ "tier": "gold", "perks": ["lounge", "wifi"] }))
}

async fn claims(platform: &Platform) -> (u16, Value) {
    let (status, answer) = platform.callout().await;
    if status == 200 {
        return (status, Platform::claims(&answer).clone());
    }
    (status, answer["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_asked_for_once_with_the_hosts_credentials() {
    let crm = Upstream::start().await;
    crm.crm_answers(200, GOLD, Duration::ZERO);
    let platform = start("", &crm, "", "cache = {}", "").await;
    for _ in 0..3 {
        assert_eq!(claims(&platform).await, gold());
    }
    assert_eq!(crm.requests("/crm").len(), 1);
    assert_eq!(crm.requests(&format!("/crm/members/{ID}")).len(), 1);
    assert_eq!(crm.requests("/slow-token").len(), 1);
    let log = Value::from(platform.host.log()).to_string();
    assert!(!log.contains(SECRET) && !log.contains("token-1"), "{log}");
}

const CALLOUTS: u64 = 1_000;

/// Callouts of one user at the same time: how many were answered well, and how many had no time left.
async fn callouts_of(platform: &Arc<Platform>, user: &str) -> (u64, u64) {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["id"] = json!(user);
    let (token, body) = (platform.token(), Arc::new(body));
    let calling: Vec<_> = (0..CALLOUTS)
        .map(|_| {
            let (platform, body, token) = (Arc::clone(platform), Arc::clone(&body), token.clone());
            tokio::spawn(async move {
                let response = platform.call(&token, &body).await;
                (response.status().as_u16(), response.json::<Value>().await.unwrap())
            })
        })
        .collect();
    let (mut answered, mut late) = (0, 0);
    for called in calling {
        match called.await.unwrap() {
            (200, answer) => {
                assert_eq!(Platform::claims(&answer), &gold().1);
                answered += 1;
            }
            (_, answer) => {
                let is_late = answer["code"] == "deadline_exceeded" || answer["code"] == "plugin_unavailable";
                assert!(is_late, "{answer}");
                late += 1;
            }
        }
    }
    (answered, late)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callouts_on_a_cold_key_make_one_call() {
    let crm = Upstream::start().await;
    crm.crm_answers(200, GOLD, Duration::from_millis(800));
    let host = "server.max_concurrent_callouts = 1100
runtime.max_concurrent_invocations = 2200
runtime.max_concurrent_invocations_per_tenant = 1100
runtime.limits.concurrency = 1100";
    let platform = Arc::new(start(host, &crm, "timeout = \"1900ms\"", "cache = {}", "").await);
    // A round counts if all were there before the API answered. A machine that has much else to do may be too slow for that:
    // then again with another user, who is nowhere yet.
    for round in 0..8 {
        let user = format!("0d1e0001-0000-4000-8000-00000000100{round}");
        let before = lookups(&platform).await;
        let (answered, late) = callouts_of(&platform, &user).await;
        let after = lookups(&platform).await;
        let [asked, waited, hit] = [0, 1, 2].map(|which| after[which] - before[which]);
        eprintln!(
            "of {CALLOUTS} callouts {asked} asked, {waited} waited, {hit} came when it was there, {late} had not enough time"
        );
        let calls = crm.requests(&format!("/crm/members/{user}")).len();
        if late > 0 {
            continue;
        }
        // This holds however slow the machine is.
        assert_eq!((calls, asked, answered), (1, 1, CALLOUTS));
        if waited == CALLOUTS - 1 {
            assert_eq!(hit, 0);
            return;
        }
    }
    panic!("this machine is too slow to have {CALLOUTS} callouts at the same time: eight times some came late");
}

/// How many lookups there have been that missed, waited and hit.
async fn lookups(platform: &Platform) -> [u64; 3] {
    let mut counted = [0; 3];
    for (count, result) in counted.iter_mut().zip(["miss", "waited", "hit"]) {
        let labels = format!("result=\"{result}\"");
        *count = metric(platform, "claimsmith_cache_lookups_total", &labels).await;
    }
    counted
}

#[tokio::test(flavor = "multi_thread")]
async fn that_a_user_is_unknown_is_remembered() {
    let crm = Upstream::start().await;
    crm.crm_answers(404, "{}", Duration::ZERO);
    let platform = start("", &crm, "", "cache = {}", "settings.absent_for = \"700ms\"").await;
    for _ in 0..2 {
        assert_eq!(claims(&platform).await, (200, json!({})));
    }
    assert_eq!(crm.requests("/crm").len(), 1);
    crm.crm_answers(200, GOLD, Duration::ZERO);
    eventually("the user is found", async || claims(&platform).await == gold()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_bridged_in_time() {
    let crm = Upstream::start().await;
    crm.crm_answers(200, GOLD, Duration::ZERO);
    let times = "settings.fresh_for = \"100ms\"\nsettings.stale_for = \"10m\"";
    let upstream = "timeout = \"5s\"\nretries = 0";
    let platform = start("", &crm, upstream, "cache = {}", times).await;
    assert_eq!(claims(&platform).await, gold());
    // It hangs: the one who asks gives up after a third of its time, and everybody has the old claims.
    crm.crm_answers(200, "{}", Duration::from_secs(30));
    eventually("it is asked again", async || {
        assert_eq!(claims(&platform).await, gold());
        crm.requests("/crm").len() > 1
    })
    .await;
    let calls = platform.host.log_line("the call is given up", |line| {
        line["message"] == "capability called" && line["result"] == "deadline_exceeded"
    });
    let took = calls.await["took_us"].to_string();
    let took: u64 = took.trim_matches('"').parse().unwrap();
    assert!((300_000..1_000_000).contains(&took), "{took}");
    let used = |line: &Value| line.to_string().contains("a stale value is used");
    platform.host.log_line("the operator is told", used).await;
    // It is back.
    crm.crm_answers(200, r#"{ "membership": { "tier": "silver" } }"#, Duration::ZERO);
    eventually("the new claims come", async || {
        claims(&platform).await == (200, json!({ "tier": "silver" }))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stale_value_the_failure_policy_decides() {
    let crm = Upstream::start().await;
    for (status, body, expected) in [
        (503, "", "plugin_unavailable"),
        (403, "", "plugin_internal"),
        (200, "<html>", "plugin_internal"),
    ] {
        crm.crm_answers(status, body, Duration::ZERO);
        let platform = start("", &crm, "retries = 0", "cache = {}", "").await;
        assert_eq!(claims(&platform).await, (500, json!(expected)), "{status}");
        let platform = start("", &crm, "retries = 0", "cache = {}\non_failure = \"omit\"", "").await;
        assert_eq!(claims(&platform).await, (200, json!({})), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_without_a_cache() {
    let crm = Upstream::start().await;
    crm.crm_answers(200, GOLD, Duration::ZERO);
    let platform = start("", &crm, "", "", "").await;
    for _ in 0..2 {
        assert_eq!(claims(&platform).await, gold());
    }
    assert_eq!(crm.requests("/crm").len(), 2);
}
