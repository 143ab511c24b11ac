//! Plugins call HTTP upstreams through the host: what they may ask and what they get, when it ends, and what nobody
//! learns. The host is the real one, and so are the plugin and the servers, which are on loopback and therefore have to
//! be opened by the operator.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod calls;
mod configuration;
mod counted;
mod credentials;
mod deadline;
mod egress;
mod encrypted;
mod kept;
mod planted;
mod records;
mod tokens;
mod vault;

use std::fs;

use claimsmith_tests::{Platform, Stage, Upstream, http_caller, world};
use serde_json::{Value, json};

/// What the operator allows in most tests.
///
/// Answers do not wait for their records: calls here take nearly all the time that a callout has, and in the rest a busy
/// disk keeps no record.
const LOOPBACK: &str = "egress.networks.contoso = [\"127.0.0.0/8\", \"::1/128\"]\naudit.mode = \"best_effort\"";

/// A host whose one plugin sends the requests that callouts hold, to upstreams (TOML) of which it is granted `granted`.
async fn probing(host: &str, upstreams: &str, granted: &str) -> Platform {
    let binding = format!("settings.probe = true\nupstreams = {granted}");
    start(host, upstreams, &binding).await
}

/// A host with one binding of the plugin that calls upstreams.
async fn start(host: &str, upstreams: &str, binding: &str) -> Platform {
    let stage = Stage::new().await.host_config(host);
    let toml = tenant(&stage, upstreams, binding);
    let stage = stage.tenant("contoso", &toml);
    add_plugin(&stage);
    stage.start().await
}

/// The same with files in the tenant's `secrets`.
async fn with_secrets(host: &str, upstreams: &str, granted: &str, secrets: &[(&str, &str)]) -> Platform {
    let stage = Stage::new().await.host_config(host);
    let binding = format!("settings.probe = true\nupstreams = {granted}");
    let toml = tenant(&stage, upstreams, &binding);
    let stage = stage.tenant("contoso", &toml);
    let directory = stage.file("tenants/contoso/secrets");
    fs::create_dir(&directory).unwrap();
    for (name, secret) in secrets {
        fs::write(directory.join(name), secret).unwrap();
    }
    add_plugin(&stage);
    stage.start().await
}

fn tenant(stage: &Stage, upstreams: &str, binding: &str) -> String {
    let extension = world::extension_toml("claims", "", "http-caller", binding);
    format!("{}\n{upstreams}\n{extension}", world::directories_toml(&stage.entra))
}

fn add_plugin(stage: &Stage) {
    let plugins = stage.file("tenants/contoso/plugins");
    fs::copy(http_caller(), plugins.join("http-caller.wasm")).unwrap();
}

/// An upstream named `crm` at a server.
fn crm(server: &Upstream, more: &str) -> String {
    upstream("crm", &server.url(""), more)
}

fn upstream(name: &str, url: &str, more: &str) -> String {
    format!(
        "[upstreams.{name}]\nkind = \"http\"\nurl = \"{url}\"\nplain_http = true\nallow = [\"GET /**\", \"POST /**\"]
networks = [\"127.0.0.0/8\"]\n{more}\n"
    )
}

/// Has the plugin send a request: the claims that tell what came of it.
async fn probe(platform: &Platform, request: &Value) -> Value {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(request.to_string());
    let response = platform.call(&platform.token(), &body).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{request} {answer}");
    Platform::claims(&answer).clone()
}

/// The same: what became of the first sending, a status or an error.
async fn result(platform: &Platform, request: &Value) -> String {
    let claims = probe(platform, request).await;
    claims["results"][0].as_str().unwrap_or_default().to_owned()
}
