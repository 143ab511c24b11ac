//! Limits as operators and tenants see them: what a tenant may ask for, what lowering does to what serves already, whose
//! places are taken, and what is told of a plugin that failed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;

use claimsmith_tests::{Host, LogLine, Platform, Stage, eventually, host_config, world};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// What the misbehaving plugin is told, and says wherever it can.
const WORDS: &str = "words-of-the-plugin";

fn extension(name: &str, members: &str, mode: &str, limits: &str) -> String {
    let binding = format!("settings = {{ mode = \"{mode}\", marker = \"{WORDS}\" }}\nlimits = {{ {limits} }}");
    world::extension_toml(name, members, "misbehaving", &binding)
}

async fn stage(host_config: &str, extensions: &[String]) -> Stage {
    let stage = Stage::new().await.host_config(host_config);
    let toml = [world::directories_toml(&stage.entra), extensions.concat()].concat();
    stage.tenant("contoso", &toml)
}

fn write_host_config(platform: &Platform, more: &str) {
    fs::write(platform.directory.path().join("claimsmith.toml"), host_config(more)).unwrap();
}

async fn outcome(platform: &Platform, extension: &str) -> (u16, Value) {
    let (status, answer) = platform.callout_to(&platform.url_of("contoso", extension)).await;
    (status, answer["code"].clone())
}

/// The limits that are numbers, one of them by its name, each with a value that is allowed and one that is not.
const NUMBERS: &[(&str, usize)] = &[
    ("memory_bytes", 16_777_216),
    ("table_elements", 20_000),
    ("transfer_bytes", 1_048_576),
    ("total_transfer_bytes", 4_194_304),
    ("host_calls", 10_000),
    ("capability_calls", 16),
    ("random_bytes", 16_384),
    ("handles", 64),
    ("log_records", 100),
    ("log_bytes", 16_384),
    ("answer_items", 1_000),
    ("concurrency", 64),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_can_ask_for_as_much_as_the_operator_allows_and_no_more() {
    let good = |limits: &str| extension("good", "", "answer", limits);
    let most: Vec<_> = NUMBERS.iter().map(|(name, most)| format!("{name} = {most}")).collect();
    let platform = stage("", &[good(&most.join(", "))]).await.start().await;
    assert_eq!(outcome(&platform, "good").await.0, 200);
    let asks = NUMBERS
        .iter()
        .map(|(name, most)| (*name, (most + 1).to_string(), most.to_string()));
    let cpu = ("cpu", "101ms".to_owned(), "100ms".to_owned());
    for (name, asked, most) in asks.chain([cpu]) {
        let mark = platform.host.log_mark();
        let value = if name == "cpu" {
            format!("\"{asked}\"")
        } else {
            asked.clone()
        };
        let toml = [
            world::directories_toml(&platform.entra),
            good(&format!("{name} = {value}")),
        ];
        fs::write(platform.tenant_file("tenant.toml"), toml.concat()).unwrap();
        let refused = |line: &LogLine| line["level"] == "ERROR";
        let line = platform.host.log_line_after(mark, name, refused).await;
        let message = line["message"].as_str().unwrap();
        let expected = format!("{asked} is larger than the operator allows, which is {most}");
        assert!(message.contains(&expected), "{name}: {message}");
        assert_eq!(line["keeps_serving"], true, "{line}");
        assert_eq!(outcome(&platform, "good").await.0, 200, "what serves goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_the_operator_lowers_holds_for_what_serves_already() {
    let flood = extension(
        "flood",
        "deadline = \"2s\"",
        "log_flood",
        "host_calls = 9000, cpu = \"1s\"",
    );
    let platform = stage("runtime.limits.cpu = \"1s\"", &[flood]).await.start().await;
    assert_eq!(outcome(&platform, "flood").await.0, 200);

    let mark = platform.host.log_mark();
    write_host_config(
        &platform,
        "runtime.limits.cpu = \"1s\"\nruntime.limits.host_calls = 1000",
    );
    // The tenant is told, as long as it asks for more.
    let refused = |line: &LogLine| line["level"] == "ERROR" && line["tenant"] == "contoso";
    let line = platform.host.log_line_after(mark, "the tenant's error", refused).await;
    let message = line["message"].as_str().unwrap();
    let expected = "9000 is larger than the operator allows, which is 1000";
    assert!(message.contains(expected), "{message}");
    assert_eq!(line["keeps_serving"], true);
    assert_eq!(
        outcome(&platform, "flood").await,
        (500, json!("plugin_host_call_limit"))
    );

    write_host_config(&platform, "runtime.limits.cpu = \"1s\"");
    eventually("the higher limit holds", async || {
        outcome(&platform, "flood").await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lowered_places_of_bindings_hold_at_once() {
    let sleep = extension("sleep", "deadline = \"1s\"", "sleep", "concurrency = 8");
    let platform = stage("", &[sleep]).await.start().await;
    let mark = platform.host.log_mark();
    write_host_config(&platform, "runtime.limits.concurrency = 2");
    let refused = |line: &LogLine| line["level"] == "ERROR" && line["tenant"] == "contoso";
    platform.host.log_line_after(mark, "the tenant's error", refused).await;
    let statuses = statuses_at_once(&platform, "sleep", 6).await;
    assert_eq!(statuses, [429, 429, 429, 429, 504, 504]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_places_end_in_429_and_the_hosts_in_503() {
    let sleep = |name: &str| extension(name, "deadline = \"1s\"", "sleep", "");
    let config = "runtime.max_concurrent_invocations_per_tenant = 2";
    let platform = stage(config, &[sleep("sleep")]).await.start().await;
    assert_eq!(statuses_at_once(&platform, "sleep", 5).await, [429, 429, 429, 504, 504]);
    let metrics = metrics(&platform).await;
    let counted = |line: &str| {
        line.starts_with("claimsmith_limit_reached_total{")
            && line.contains("limit=\"max_concurrent_invocations_per_tenant\"")
            && line.ends_with(" 3")
    };
    assert!(metrics.lines().any(counted), "{metrics}");

    let config = "runtime.max_concurrent_invocations = 2\nruntime.max_concurrent_invocations_per_tenant = 2";
    let platform = stage(config, &[sleep("sleep")]).await;
    let other = [world::directories_toml(&platform.entra), sleep("sleep")].concat();
    let platform = platform.tenant("neighbour", &other).start().await;
    let of_tenant = tokio::join!(statuses_at_once(&platform, "sleep", 2), async {
        // The others have their places by now, or this one has and they are refused: one of the three is.
        let (status, _) = platform.callout_to(&platform.url_of("neighbour", "sleep")).await;
        status
    });
    let (mut statuses, other) = of_tenant;
    statuses.push(other);
    statuses.sort_unstable();
    assert_eq!(statuses, [503, 504, 504]);
}

/// The sorted statuses of so many callouts at the same time.
async fn statuses_at_once(platform: &Platform, extension: &str, count: usize) -> Vec<u16> {
    let mut calls = JoinSet::new();
    for _ in 0..count {
        let request = platform.http.post(platform.url_of("contoso", extension));
        calls.spawn(request.json(&platform.body()).bearer_auth(platform.token()).send());
    }
    let mut statuses = Vec::new();
    while let Some(ended) = calls.join_next().await {
        statuses.push(status_of(ended.unwrap().unwrap()).await);
    }
    statuses.sort_unstable();
    statuses
}

async fn status_of(response: Response) -> u16 {
    let status = response.status().as_u16();
    let expected = match status {
        429 => Some("throttled"),
        503 => Some("overloaded"),
        _ => None,
    };
    if let Some(code) = expected {
        assert_eq!(response.headers()["retry-after"], "1");
        assert_eq!(response.json::<Value>().await.unwrap()["code"], code);
    }
    status
}

async fn metrics(platform: &Platform) -> String {
    let url = format!("http://{}/metrics", platform.host.address);
    platform.http.get(url).send().await.unwrap().text().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn last_words_are_one_line_of_a_text_log_and_of_no_answer() {
    let platform = stage("", &[extension("last", "", "last_words", "")]).await;
    let platform = platform.listen("text").await;
    let (status, answer) = platform.callout_to(&platform.url_of("contoso", "last")).await;
    assert_eq!((status, &answer["code"]), (500, &json!("plugin_trapped")));
    assert!(!answer.to_string().contains("forged"), "{answer}");
    let refused = |line: &LogLine| line.as_str().is_some_and(|line| line.contains("callout refused"));
    let line = platform.host.log_line("the callout's end", refused).await;
    let line = line.as_str().unwrap();
    let said = format!("guest_stderr=\"{WORDS} \u{fffd}[31mforged\\n2026-01-01T00:00:00Z  INFO callout answered");
    assert!(line.contains(&said), "{line}");
    assert!(line.contains("guest_backtrace="), "{line}");
    let forged = |line: &LogLine| line.as_str().is_some_and(|line| line.starts_with("2026-01-01"));
    assert!(!platform.host.log().iter().any(forged));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugins_log_has_its_name_in_the_configuration() {
    let toml = world::extension_toml(
        "renamed",
        "",
        "another-name",
        &format!("settings = {{ mode = \"panic\", marker = \"{WORDS}\" }}"),
    );
    let stage = stage("", &[toml]).await;
    let plugins = stage.file("tenants/contoso/plugins");
    fs::copy(plugins.join("misbehaving.wasm"), plugins.join("another-name.wasm")).unwrap();
    // The same component under two names is one compiled plugin, and still has two.
    let platform = stage.start().await;
    assert_eq!(outcome(&platform, "renamed").await, (500, json!("plugin_trapped")));
    let of_plugin = |line: &LogLine| line["target"] == "claimsmith::plugin";
    let line = platform.host.log_line("the panic", of_plugin).await;
    assert_eq!(line["plugin"], "another-name@0.1.0", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_memory_is_reset_is_the_operators_choice() {
    for choice in ["auto", "on", "off"] {
        let config = format!("runtime.pagemap_scan = \"{choice}\"");
        let platform = stage(&config, &[extension("good", "", "answer", "")])
            .await
            .start()
            .await;
        assert_eq!(outcome(&platform, "good").await.0, 200, "{choice}");
    }
    let stage = stage("runtime.pagemap_scan = \"perhaps\"", &[]).await;
    let (status, errors) = Host::fail_to_start(stage.directory.path()).await;
    assert!(!status.success());
    assert!(errors.contains("`auto`, `on`, `off`"), "{errors}");
}
