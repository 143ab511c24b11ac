//! What a callout is answered when a plugin fails, when several answer, when it repeats, and when there are too many.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod bindings;
mod configuration;
mod last_known_good;
mod matrix;
mod rate_limits;
mod repeats;

use claimsmith_tests::{Platform, Stage, plugin, world};
use serde_json::{Value, json};

/// A callout of the usual user, whose display name tells the plugin what to do.
fn told(platform: &Platform, name: &str) -> Value {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(name);
    body
}

/// Sends a body to an extension: the status and the answer.
async fn send(platform: &Platform, extension: &str, body: &Value) -> (u16, Value) {
    let request = platform.http.post(platform.url_of("contoso", extension));
    let response = request.bearer_auth(platform.token()).json(body).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap())
}

/// The sum of a metric's series that have all of these labels, in whole numbers.
async fn metric(platform: &Platform, name: &str, labels: &[&str]) -> u64 {
    let url = format!("http://{}/metrics", platform.host.address);
    let text = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let of_name = |line: &&str| line.starts_with(&format!("{name}{{")) || line.starts_with(&format!("{name} "));
    let lines = text.lines().filter(of_name);
    let lines = lines.filter(|line| labels.iter().all(|label| line.contains(label)));
    let value = |line: &str| {
        let value = line.rsplit(' ').next().unwrap();
        value.split('.').next().unwrap().parse::<u64>().unwrap()
    };
    lines.map(value).sum()
}

/// A host whose tenant has these extensions (TOML) and all plugins, also `every-event`.
async fn start(host_config: &str, extensions: &[String]) -> Platform {
    let stage = Stage::new().await.host_config(host_config);
    let toml = [world::directories_toml(&stage.entra), extensions.concat()].concat();
    let stage = stage.tenant("contoso", &toml);
    let every_event = stage.file("tenants/contoso/plugins/every-event.wasm");
    std::fs::copy(plugin("every-event"), every_event).unwrap();
    stage.start().await
}
