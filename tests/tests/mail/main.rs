//! Plugins send mail through the host: what arrives, what is refused, how it ends when the server does not do its part,
//! and what nobody learns. The host is the real one, and so are the plugins and the mail server (aiosmtpd), which is on
//! loopback and therefore has to be opened by the operator.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod configuration;
mod delivery;
mod encryption;
mod failures;
mod otp_mailer;
mod signup_guard;

use std::fs;

use claimsmith_tests::{Platform, Stage, mail_caller, world};
use serde_json::{Value, json};

/// What the operator allows in most tests.
///
/// Answers do not wait for their records: calls here take nearly all the time that a callout has, and in the rest a busy
/// disk keeps no record.
const LOOPBACK: &str = "egress.networks.contoso = [\"127.0.0.0/8\", \"::1/128\"]\naudit.mode = \"best_effort\"";

/// What the messages of most tests hold.
const CODE: &str = "40718263";

/// A mail server on a port of this machine that speaks without TLS, with more members (TOML).
fn plain(port: u16, more: &str) -> String {
    upstream(
        &format!("smtp://localhost:{port}"),
        &format!("plain_smtp = true\n{more}"),
    )
}

fn upstream(url: &str, more: &str) -> String {
    format!(
        "[upstreams.post]\nkind = \"mail\"\nurl = \"{url}\"\nfrom = \"Contoso <no-reply@contoso.example>\"
networks = [\"127.0.0.0/8\"]\n{more}\n"
    )
}

/// A host whose one plugin sends the messages that callouts hold.
async fn start(upstreams: &str) -> Platform {
    with_secrets(upstreams, &[]).await
}

/// The same with files in the tenant's `secrets`.
async fn with_secrets(upstreams: &str, secrets: &[(&str, &str)]) -> Platform {
    let stage = Stage::new().await.host_config(LOOPBACK);
    let toml = tenant(&stage, upstreams, "upstreams = [\"post\"]");
    let stage = stage.tenant("contoso", &toml);
    prepare(&stage, secrets);
    stage.start().await
}

fn tenant(stage: &Stage, upstreams: &str, binding: &str) -> String {
    let extension = world::extension_toml("claims", "", "mail-caller", binding);
    format!("{}\n{upstreams}\n{extension}", world::directories_toml(&stage.entra))
}

fn prepare(stage: &Stage, secrets: &[(&str, &str)]) {
    let directory = stage.file("tenants/contoso/secrets");
    fs::create_dir(&directory).unwrap();
    for (name, secret) in secrets {
        fs::write(directory.join(name), secret).unwrap();
    }
    let plugins = stage.file("tenants/contoso/plugins");
    fs::copy(mail_caller(), plugins.join("mail-caller.wasm")).unwrap();
}

/// Has the plugin send a message: the claims that tell what came of it.
async fn probe(platform: &Platform, message: &Value) -> Value {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(message.to_string());
    let response = platform.call(&platform.token(), &body).await;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{message} {answer}");
    Platform::claims(&answer).clone()
}

/// The same: what became of the first sending, `ok` or an error, and the error's text.
async fn result(platform: &Platform, message: &Value) -> (String, String) {
    let claims = probe(platform, message).await;
    let text = |claim: &str| claims[claim][0].as_str().unwrap_or_default().to_owned();
    (text("results"), text("errors"))
}

/// Asserts that something is in no line of the log and in no metric.
async fn assert_untold(platform: &Platform, secret: &str) {
    for line in platform.host.log() {
        assert!(!line.to_string().contains(secret), "{line}");
    }
    let metrics = metrics(platform).await;
    assert!(!metrics.contains(secret), "{metrics}");
}

async fn metrics(platform: &Platform) -> String {
    let url = format!("http://{}/metrics", platform.host.address);
    platform.http.get(url).send().await.unwrap().text().await.unwrap()
}
