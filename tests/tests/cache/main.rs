//! What plugins keep from one callout to another: for how long, how much, for whom, and who fills it. The host is the real
//! one, and so are the plugins, the API behind `crm-claims` and the Redis.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod configuration;
mod crm;
mod redis;
mod reservations;
mod values;

use std::fs;

use claimsmith_tests::{Platform, Stage, cache_caller, plugin, world};
use serde_json::{Value, json};

/// What the operator allows.
const LOOPBACK: &str = "egress.networks.contoso = [\"127.0.0.0/8\"]";

/// A host with one binding of the plugin that uses its cache.
async fn start(binding: &str) -> Platform {
    start_with("", "", binding).await
}

/// The same with more of the host's configuration, and more before the extension.
async fn start_with(host: &str, upstreams: &str, binding: &str) -> Platform {
    let stage = stage(host, upstreams, binding).await;
    stage.start().await
}

async fn stage(host: &str, upstreams: &str, binding: &str) -> Stage {
    let stage = Stage::new().await.host_config(host);
    let toml = tenant(&stage, upstreams, binding);
    let stage = stage.tenant("contoso", &toml);
    add_plugins(&stage);
    stage
}

fn tenant(stage: &Stage, upstreams: &str, binding: &str) -> String {
    let extension = world::extension_toml("claims", "deadline = \"2s\"", "cache-caller", binding);
    format!("{}\n{upstreams}\n{extension}", world::directories_toml(&stage.entra))
}

fn add_plugins(stage: &Stage) {
    let plugins = stage.file("tenants/contoso/plugins");
    fs::copy(cache_caller(), plugins.join("cache-caller.wasm")).unwrap();
    fs::copy(plugin("crm-claims"), plugins.join("crm-claims.wasm")).unwrap();
}

/// Has the plugin take steps: the status, and the results or the code of the failure.
async fn steps_at(platform: &Platform, url: &str, steps: &Value) -> (u16, Value) {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(steps.to_string());
    let request = platform.http.post(url).bearer_auth(platform.token()).json(&body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    if status == 200 {
        return (status, Platform::claims(&answer)["results"].clone());
    }
    (status, answer["code"].clone())
}

/// The results of steps, which the plugin answers.
async fn steps(platform: &Platform, steps: &Value) -> Value {
    let (status, results) = steps_at(platform, &platform.url(), steps).await;
    assert_eq!(status, 200, "{steps} {results}");
    results
}

/// The same of one step.
async fn step(platform: &Platform, step: &Value) -> String {
    let results = steps(platform, &json!([step])).await;
    results[0].as_str().unwrap().to_owned()
}

/// A step that puts a text that is fresh for a minute.
fn put(key: &str, text: &str) -> Value {
    json!({ "put": { "key": key, "text": text, "fresh_ms": 60_000 } })
}

fn get(key: &str) -> Value {
    json!({ "get": key })
}

/// What a metric's series say together whose labels contain this.
async fn metric(platform: &Platform, name: &str, labels: &str) -> u64 {
    let url = format!("http://{}/metrics", platform.host.address);
    let text = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let series = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(labels));
    series
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
