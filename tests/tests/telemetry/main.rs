//! What a running host tells of itself: metrics, traces, status, alarms, and callouts that it makes itself. The host is the
//! real one, and so are plugins and upstreams; the collector of traces is in this process.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::float_cmp,
    clippy::allow_attributes,
    reason = "a test fails by panicking, and what is counted are whole numbers"
)]

mod controls;
mod metrics;
mod ops;
mod probes;
mod status;
mod traces;

use std::fs;

use claimsmith_tests::{Platform, Stage, Upstream, http_caller, world};
use serde_json::{Value, json};

/// A binding that answers with the user's name.
const ECHO: &str = r#"
[[extensions.claims.bindings]]
plugin = "attribute-map"
settings.rules = [{ claim = "name", from = "user.displayName" }]
"#;

/// The labels of the one extension.
const CLAIMS: [&str; 2] = ["tenant=\"contoso\"", "extension=\"claims\""];

/// A binding of the plugin that misbehaves in this way.
fn misbehaving(mode: &str) -> String {
    format!(
        "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\nsettings = {{ mode = \"{mode}\", marker = \"x\" }}\n"
    )
}

/// A host whose one plugin calls the upstream `crm` as callouts say, with more members of the extension and the binding.
async fn with_upstream(host: &str, server: &Upstream, extension: &str, binding: &str) -> Platform {
    let host = format!("egress.networks.contoso = [\"127.0.0.0/8\"]\n{host}");
    let stage = Stage::new().await.host_config(&host);
    let toml = format!(
        "{}
[upstreams.crm]
kind = \"http\"
url = \"{}\"
plain_http = true
allow = [\"GET /**\"]
networks = [\"127.0.0.0/8\"]
{}",
        world::directories_toml(&stage.entra),
        server.url(""),
        world::extension_toml(
            "claims",
            extension,
            "http-caller",
            &format!("upstreams = [\"crm\"]\n{binding}")
        ),
    );
    let stage = stage.tenant("contoso", &toml);
    let plugins = stage.file("tenants/contoso/plugins");
    fs::copy(http_caller(), plugins.join("http-caller.wasm")).unwrap();
    stage.start().await
}

/// A callout that has the plugin send a request.
fn asking(platform: &Platform, path: &str) -> Value {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(json!({ "path": path }).to_string());
    body
}

fn correlation_id(body: &Value) -> &str {
    body["data"]["authenticationContext"]["correlationId"].as_str().unwrap()
}
