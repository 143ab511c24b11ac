//! What a plugin cannot do: whatever it tries, its own callout ends with an outcome that names what it did, the next
//! callout and everybody else's are answered as if nothing had happened, and its words reach the log but never an answer.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::time::Duration;

use claimsmith_tests::{Platform, Stage, world};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// A mode of the misbehaving plugin, what its binding is limited to, and how its callout must end.
struct Case {
    mode: &'static str,
    limits: &'static str,
    status: u16,
    outcome: &'static str,
    /// What the log line says of it.
    reason: &'static str,
}

const fn case(
    mode: &'static str,
    limits: &'static str,
    status: u16,
    outcome: &'static str,
    reason: &'static str,
) -> Case {
    Case {
        mode,
        limits,
        status,
        outcome,
        reason,
    }
}

const CASES: &[Case] = &[
    case(
        "loop",
        "cpu = \"20ms\"",
        500,
        "plugin_cpu_limit",
        "used its 20ms of CPU time",
    ),
    case("panic", "", 500, "plugin_trapped", "it panicked or aborted"),
    case("abort", "", 500, "plugin_trapped", "it panicked or aborted"),
    case(
        "allocate",
        "memory_bytes = 4194304",
        500,
        "plugin_memory_limit",
        "its limit of",
    ),
    case("recurse", "", 500, "plugin_trapped", "out of bounds memory access"),
    case("too_many_bytes", "", 500, "claims_too_large", "Entra accepts 3000"),
    case(
        "huge_answer",
        "",
        500,
        "plugin_transfer_limit",
        "more than 1048576 bytes",
    ),
    case(
        "many_claims",
        "",
        500,
        "plugin_answer_limit",
        "answered 10000 claims, values or messages, at most 1000",
    ),
    case(
        "many_claims",
        "transfer_bytes = 10000",
        500,
        "plugin_transfer_limit",
        "more than 10000 bytes",
    ),
    case("empty_claim_id", "", 500, "empty_claim_id", "empty"),
    case("duplicate_claim_id", "", 500, "duplicate_claim_id", "`twice`"),
    case("unavailable", "", 500, "plugin_unavailable", "on purpose"),
    case("rejected", "", 500, "plugin_rejected", "on purpose"),
    case("internal", "", 500, "plugin_internal", "on purpose"),
    case("sleep", "", 504, "deadline_exceeded", "deadline"),
];

/// The plugin's own words, which it puts into what it logs and fails with.
const WORDS: &str = "words-of-the-plugin";

/// One extension for each case, and `good`. All are of one component.
async fn platform(host_config: &str, extensions: &[String]) -> Platform {
    let stage = Stage::new().await.host_config(host_config);
    let good = world::extension_toml("good", "", "misbehaving", "settings = { marker = \"good\" }");
    let toml = [world::directories_toml(&stage.entra), good, extensions.concat()].concat();
    stage.tenant("contoso", &toml).start().await
}

fn extension(name: &str, members: &str, mode: &str, limits: &str) -> String {
    let binding = format!("settings = {{ mode = \"{mode}\", marker = \"{WORDS}\" }}\nlimits = {{ {limits} }}");
    world::extension_toml(name, members, "misbehaving", &binding)
}

async fn assert_good(platform: &Platform, after: &str) {
    let (status, answer) = platform.callout_to(&platform.url_of("contoso", "good")).await;
    assert_eq!(
        (status, Platform::claims(&answer)),
        (200, &json!({"marker": "good", "build": "default"})),
        "after {after}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_ends_its_own_callout_with_its_own_outcome() {
    let name = |number: usize| format!("case-{number}");
    let extensions: Vec<_> = CASES
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let deadline = if case.mode == "sleep" {
                "deadline = \"100ms\""
            } else {
                "deadline = \"2s\""
            };
            extension(&name(number), deadline, case.mode, case.limits)
        })
        .collect();
    let platform = platform("", &extensions).await;
    for (number, case) in CASES.iter().enumerate() {
        let body = platform.body();
        let url = platform.url_of("contoso", &name(number));
        let request = platform.http.post(url).bearer_auth(platform.token()).json(&body);
        let response = request.send().await.unwrap();
        let line = platform.host.line_of_callout(&body).await;
        let mode = case.mode;
        assert_eq!(line["outcome"], case.outcome, "{mode}: {line}");
        assert!(line["reason"].as_str().unwrap().contains(case.reason), "{mode}: {line}");
        let correlation_id = &body["data"]["authenticationContext"]["correlationId"];
        assert_eq!(&line["span"]["correlation_id"], correlation_id, "{mode}");

        assert_eq!(response.status(), case.status, "{mode}");
        let text = response.text().await.unwrap();
        for word in [WORDS, "purpose", "misbehaving", "panicked", "wasm"] {
            assert!(!text.contains(word), "{mode}: the answer has {word}: {text}");
        }
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(problem["code"], case.outcome, "{mode}");
        assert_eq!(&problem["correlationId"], correlation_id, "{mode}");
        assert_eq!(problem["errors"], json!([]), "{mode}");
        assert_good(&platform, mode).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_callout_of_the_same_binding_is_a_new_instance() {
    // The breaker would end this early.
    let config = "runtime.breaker.consecutive_failures = 1000\nruntime.breaker.failure_rate = 1.0";
    let platform = platform(config, &[extension("panics", "", "panic", "")]).await;
    // Also when a connection, a token and a store slot are used again, many times over.
    for _ in 0..300 {
        let (status, problem) = platform.callout_to(&platform.url_of("contoso", "panics")).await;
        assert_eq!((status, &problem["code"]), (500, &json!("plugin_trapped")));
    }
    assert_good(&platform, "300 panics").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panics_message_is_in_the_log_with_plugin_version_and_sign_in() {
    let platform = platform("", &[extension("panics", "", "panic", "")]).await;
    let (mark, body) = (platform.host.log_mark(), platform.body());
    let request = platform
        .http
        .post(platform.url_of("contoso", "panics"))
        .bearer_auth(platform.token());
    assert_eq!(request.json(&body).send().await.unwrap().status(), 500);
    let of_plugin = |line: &Value| line["target"] == "claimsmith::plugin";
    let line = platform.host.log_line_after(mark, "the panic", of_plugin).await;
    let message = line["message"].as_str().unwrap();
    assert!(message.contains(&format!("misbehaving on purpose: {WORDS}")), "{line}");
    assert!(
        line["fields"].as_str().unwrap().contains("misbehaving/src/lib.rs:"),
        "{line}"
    );
    assert_eq!(
        (&line["plugin"], &line["level"]),
        (&json!("misbehaving@0.1.0"), &json!("ERROR"))
    );
    assert_eq!(line["span"]["tenant"], "contoso");
    assert_eq!(line["span"]["extension"], "panics");
    let correlation_id = &body["data"]["authenticationContext"]["correlationId"];
    assert_eq!(&line["span"]["correlation_id"], correlation_id);
    // The innermost frames are the plugin's own functions.
    let line = platform.host.line_of_callout(&body).await;
    let reason = line["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("misbehaving@0.1.0: ") && !reason.contains("panic_on_purpose"),
        "{reason}"
    );
    let frames = line["guest_backtrace"].as_str().unwrap();
    assert!(frames.contains("misbehaving::panic_on_purpose"), "{frames}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_log_records_is_cut_and_its_rest_is_counted() {
    let flood = extension(
        "flood",
        "deadline = \"2s\"",
        "log_flood",
        "log_records = 7, cpu = \"2s\"",
    );
    let platform = platform("runtime.limits.cpu = \"2s\"", &[flood]).await;
    let mark = platform.host.log_mark();
    let (status, _) = platform.callout_to(&platform.url_of("contoso", "flood")).await;
    assert_eq!(status, 200, "a plugin that logs too much is answered all the same");
    platform.host.callout_line(mark).await;
    let log = platform.host.log_after(mark);
    let of_plugin: Vec<_> = log
        .iter()
        .filter(|line| line["target"] == "claimsmith::plugin")
        .collect();
    let (last, records) = of_plugin.split_last().unwrap();
    assert_eq!(records.len(), 7, "{of_plugin:#?}");
    assert!(records.iter().all(|line| line["message"] == "flood"), "{records:#?}");
    assert_eq!(last["message"], "4993 further log records were suppressed");
    assert_eq!(last["level"], "WARN");
}

#[tokio::test(flavor = "multi_thread")]
async fn random_bytes_differ_from_callout_to_callout() {
    let platform = platform("", &[extension("random", "", "random", "")]).await;
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let (status, answer) = platform.callout_to(&platform.url_of("contoso", "random")).await;
        assert_eq!(status, 200);
        let random = Platform::claims(&answer)["random"].as_str().unwrap().to_owned();
        assert_eq!(random.len(), 32);
        assert!(seen.insert(random));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn good_callouts_are_answered_while_loops_spin() {
    let spin = extension("spin", "deadline = \"2s\"", "loop", "cpu = \"10s\"");
    let platform = platform("runtime.limits.cpu = \"10s\"", &[spin]).await;
    assert_good(&platform, "the start").await;
    let mut spinning = JoinSet::new();
    for _ in 0..8 {
        let request = platform
            .http
            .post(platform.url_of("contoso", "spin"))
            .json(&platform.body());
        spinning.spawn(request.bearer_auth(platform.token()).send());
    }
    let mut answered = 0;
    while spinning.try_join_next().is_none() {
        assert_good(&platform, "loops were started").await;
        answered += 1;
    }
    // The loops run for two seconds; without them hundreds of callouts are answered in that time.
    assert!(
        answered >= 20,
        "only {answered} callouts were answered while loops spun"
    );
    while let Some(ended) = spinning.join_next().await {
        let response = ended.unwrap().unwrap();
        assert_eq!(response.status(), 504);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_at_its_limit_of_concurrency_takes_nothing_from_others() {
    let busy = extension("busy", "deadline = \"2s\"", "sleep", "concurrency = 2");
    let platform = platform("", &[busy]).await;
    let (statuses, ()) = tokio::join!(
        statuses_at_once(&platform, "busy", 10),
        assert_good(&platform, "the binding was full")
    );
    assert_eq!(statuses, [[429; 8].as_slice(), &[504; 2]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_answers_503_when_all_its_places_are_taken() {
    let sleep = extension("sleep", "deadline = \"1s\"", "sleep", "");
    let platform = platform("server.max_concurrent_callouts = 1", &[sleep]).await;
    let statuses = statuses_at_once(&platform, "sleep", 4).await;
    assert_eq!(statuses, [503, 503, 503, 504]);
    assert_good(&platform, "the place is free").await;
}

/// The sorted statuses of so many callouts at the same time.
async fn statuses_at_once(platform: &Platform, extension: &str, count: usize) -> Vec<u16> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let request = platform
            .http
            .post(platform.url_of("contoso", extension))
            .json(&platform.body());
        calls.spawn(request.bearer_auth(platform.token()).send());
    }
    let mut statuses = Vec::new();
    while let Some(ended) = calls.join_next().await {
        let response = ended.unwrap().unwrap();
        let status = response.status().as_u16();
        let code = match status {
            429 => Some("throttled"),
            503 => Some("overloaded"),
            _ => None,
        };
        if let Some(code) = code {
            assert_eq!(response.headers()["retry-after"], "1");
            assert_eq!(response.json::<Value>().await.unwrap()["code"], code);
        }
        statuses.push(status);
    }
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_invocation_with_it() {
    let sleep = extension("sleep", "deadline = \"2s\"", "sleep", "concurrency = 1");
    let platform = platform("", &[sleep]).await;
    let url = platform.url_of("contoso", "sleep");
    for _ in 0..3 {
        let request = platform
            .http
            .post(&url)
            .json(&platform.body())
            .bearer_auth(platform.token());
        let gone = request.timeout(Duration::from_millis(50)).send().await;
        assert!(gone.unwrap_err().is_timeout());
    }
    // The only place of the binding is free again: this one waits for its deadline, not for a place.
    let (status, problem) = platform.callout_to(&url).await;
    assert_eq!((status, &problem["code"]), (504, &json!("deadline_exceeded")));
}
