//! Plugins ask directories through the host: what they may ask and what they get, when it ends, and what nobody learns.
//! The host is the real one, and so are the plugin and slapd, which is on loopback and therefore has to be opened by the
//! operator. What no real directory does, an impostor does.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod configuration;
mod credentials;
mod egress;
mod failures;
mod impostors;
mod searches;

use std::fs;
use std::net::SocketAddr;

use claimsmith_tests::{Platform, Slapd, Stage, directory_caller, slapd, world};
use serde_json::{Value, json};

/// What the operator allows in most tests.
const LOOPBACK: &str = "egress.networks.contoso = [\"127.0.0.0/8\", \"::1/128\"]\naudit.mode = \"best_effort\"";

/// Files in the tenant's `secrets`.
const SECRETS: &[(&str, &str)] = &[("service", slapd::SERVICE_PASSWORD)];

/// A host whose one plugin asks what callouts hold of upstreams (TOML), all of which it is granted.
async fn start(upstreams: &str, secrets: &[(&str, &str)]) -> Platform {
    let stage = Stage::new().await.host_config(LOOPBACK);
    let names = upstreams
        .lines()
        .filter_map(|line| line.strip_prefix("[upstreams.")?.strip_suffix(']'));
    let binding = format!("upstreams = {}", json!(names.collect::<Vec<_>>()));
    let toml = tenant(&stage, upstreams, &binding);
    let stage = stage.tenant("contoso", &toml);
    add_files(&stage, secrets);
    stage.start().await
}

fn tenant(stage: &Stage, upstreams: &str, binding: &str) -> String {
    let extension = world::extension_toml("claims", "", "directory-caller", binding);
    format!("{}\n{upstreams}\n{extension}", world::directories_toml(&stage.entra))
}

fn add_files(stage: &Stage, secrets: &[(&str, &str)]) {
    let plugins = stage.file("tenants/contoso/plugins");
    fs::copy(directory_caller(), plugins.join("directory-caller.wasm")).unwrap();
    let directory = stage.file("tenants/contoso/secrets");
    fs::create_dir(&directory).unwrap();
    for (name, secret) in secrets {
        fs::write(directory.join(name), secret).unwrap();
    }
}

/// An upstream at slapd without encryption, with the host's credentials.
fn corp(slapd: &Slapd, more: &str) -> String {
    let bind = format!("bind = {{ dn = \"{}\", password = \"file:service\" }}", slapd::SERVICE);
    upstream("corp", slapd.ldap, &format!("{bind}\n{more}"))
}

/// An upstream without encryption and without credentials.
fn upstream(name: &str, address: SocketAddr, more: &str) -> String {
    let attributes = if more.contains("attributes =") {
        ""
    } else {
        "attributes = [\"*\"]"
    };
    format!(
        "[upstreams.{name}]\nkind = \"directory\"\nurl = \"ldap://{address}\"\nplain_ldap = true\nbase = \"{}\"
networks = [\"127.0.0.0/8\"]\n{attributes}\n{more}\n",
        slapd::BASE
    )
}

/// Has the plugin ask: the claims that tell what came of it.
async fn probe(platform: &Platform, asked: &Value) -> Value {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(asked.to_string());
    let response = platform.call(&platform.token(), &body).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{asked} {answer}");
    Platform::claims(&answer).clone()
}

/// The same: what became of the first asking, a number of entries, a truth or an error.
async fn result(platform: &Platform, asked: &Value) -> String {
    let claims = probe(platform, asked).await;
    claims["results"][0].as_str().unwrap_or_default().to_owned()
}

/// Whether anything of the secrets is in what the host has said to anybody but the directory.
fn assert_untold(platform: &Platform, told: &Value, secrets: &[&str]) {
    let said = format!("{told}{}", Value::from(platform.host.log()));
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} was told");
    }
}
