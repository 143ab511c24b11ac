//! Hosts with an admin API, the command that talks to it, and tokens for it.

use std::path::Path;

use claimsmith_local_entra::{LocalEntra, TokenVersion};
use claimsmith_tests::world::{DIRECTORY, EXTENSION, directories_toml, extension_toml};
use claimsmith_tests::{Ended, Platform, Stage, run};
use serde_json::{Map, Value, json};

/// The application that stands for the admin API.
pub(crate) const AUDIENCE: &str = "0d1e0001-0000-4000-8000-00000000ad01";
/// The application that people get tokens with.
pub(crate) const CLIENT: &str = "0d1e0001-0000-4000-8000-00000000ad02";

/// `[admin]` with a listener, and more of it (dotted keys).
pub(crate) fn admin_toml(entra: &LocalEntra, more: &str) -> String {
    let directory = entra.directory(DIRECTORY).unwrap();
    format!(
        "admin.listen = \"127.0.0.1:0\"
admin.token.directory = \"{DIRECTORY}\"
admin.token.metadata = [\"{}\"]
admin.token.audiences = [\"{AUDIENCE}\"]
admin.token.clients = [\"{CLIENT}\"]
{more}",
        directory.metadata_url(TokenVersion::V2),
    )
}

/// A tenant whose plugins are managed so, with one extension of these binding's members, and keys.
pub(crate) fn tenant_toml(entra: &LocalEntra, plugins: &str, binding: &str) -> String {
    let extension = extension_toml("claims", "deadline = \"2s\"", "misbehaving", binding);
    format!("{}[plugins]\n{plugins}\n{extension}", directories_toml(entra))
}

pub(crate) const BY_API: &str = "managed = \"api\"";

/// A host with these tenants, whose `tenant.toml` are managed by the API unless they say otherwise.
pub(crate) async fn start(more: &str, tenants: &[(&str, &str, &str)]) -> Platform {
    stage(more, tenants).await.listen("json").await
}

/// The same, not started yet.
pub(crate) async fn stage(more: &str, tenants: &[(&str, &str, &str)]) -> Stage {
    let mut stage = Stage::new().await;
    let config = admin_toml(&stage.entra, more);
    stage = stage.host_config(&config);
    for (name, plugins, binding) in tenants {
        let toml = tenant_toml(&stage.entra, plugins, binding);
        stage = stage.tenant(name, &toml);
    }
    stage
}

/// Where the admin API listens for tokens.
pub(crate) async fn admin_url(platform: &Platform) -> String {
    let listening = |line: &Value| line["message"] == "admin API listening";
    let line = platform.host.log_line("the admin API listens", listening).await;
    format!("http://{}", line["address"].as_str().unwrap())
}

/// A token for the admin API with these claims in place of, or beside, the usual.
pub(crate) fn token(platform: &Platform, claims: &Map<String, Value>) -> String {
    let directory = platform.directory();
    let usual = directory.callout_token(EXTENSION).unwrap();
    let mut request = usual.claim("aud", AUDIENCE).claim("azp", CLIENT);
    for (name, value) in claims {
        request = request.claim(name, value.clone());
    }
    directory.mint(&request).unwrap()
}

/// A token with this role for these tenants.
pub(crate) fn token_of(platform: &Platform, role: &str, tenants: &[&str]) -> String {
    let claims = json!({ "roles": [role], "tenants": tenants });
    token(platform, claims.as_object().unwrap())
}

/// Runs the command against the host's socket.
pub(crate) async fn command(platform: &Platform, arguments: &[&str]) -> Ended {
    run(platform.directory.path(), arguments, "").await
}

/// The same, which must succeed and print JSON.
pub(crate) async fn json_of(platform: &Platform, arguments: &[&str]) -> Value {
    let ended = command(platform, &[arguments, &["--json"]].concat()).await;
    assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.errors);
    serde_json::from_str(&ended.output).unwrap()
}

/// The same, which must be refused with this code.
pub(crate) async fn refused(platform: &Platform, arguments: &[&str], code: &str, error: &str) {
    let ended = command(platform, arguments).await;
    assert_eq!(ended.code, 1, "{arguments:?}: {}", ended.output);
    assert!(
        ended.errors.contains(&format!(", {code})")),
        "{arguments:?}: {}",
        ended.errors
    );
    assert!(ended.errors.contains(error), "{arguments:?}: {}", ended.errors);
}

/// The last line of the admin log says that this was refused, and why; so does the service's log.
pub(crate) async fn assert_last_refused(platform: &Platform, action: &str, why: &str) -> Value {
    let log = json_of(platform, &["admin-log", "--limit", "1"]).await;
    let line = log["lines"][0].clone();
    assert_eq!((&line["action"], &line["result"]), (&json!(action), &json!("refused")));
    assert!(line["detail"].as_str().unwrap().contains(why), "{why}: {line}");
    let warned = |logged: &Value| {
        logged["message"] == "refused by the admin API"
            && logged["action"] == action
            && logged["actor"] == line["actor"]
            && logged["why"].as_str().is_some_and(|text| text.contains(why))
    };
    platform.host.log_line("the refusal", warned).await;
    line
}

/// Pushes a build as a version of contoso's plugin `misbehaving`.
pub(crate) async fn push(platform: &Platform, file: &Path, version: &str) -> Value {
    let file = file.to_str().unwrap();
    let arguments = [
        "push",
        file,
        "--tenant",
        "contoso",
        "--plugin",
        "misbehaving",
        "--reason",
        "a test",
    ];
    json_of(platform, &[&arguments[..], &["--version", version]].concat()).await
}

/// Activates a version of it.
pub(crate) async fn activate(platform: &Platform, version: &str) -> Value {
    let version = format!("misbehaving@{version}");
    json_of(
        platform,
        &["activate", "--tenant", "contoso", &version, "--reason", "a test"],
    )
    .await
}

pub(crate) const ROLLBACK: [&str; 7] = [
    "rollback",
    "--tenant",
    "contoso",
    "--plugin",
    "misbehaving",
    "--reason",
    "a test",
];

/// Which build answers a callout of contoso.
pub(crate) async fn build(platform: &Platform) -> Value {
    let (status, answer) = platform.callout().await;
    assert_eq!(status, 200, "{answer}");
    Platform::claims(&answer)["build"].clone()
}

/// The part of the admin API's status that is contoso's.
pub(crate) async fn status(platform: &Platform) -> Value {
    let status = json_of(platform, &["status", "--tenant", "contoso"]).await;
    status["tenants"]["contoso"].clone()
}
