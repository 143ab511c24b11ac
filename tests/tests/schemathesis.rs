//! Schemathesis calls a real host as its own OpenAPI document says, with bodies that fit the schemas and bodies that do
//! not: what fits is answered, what does not is refused, and every answer is one that the document describes.
//!
//! It runs with `cargo xtask test --all`, which installs schemathesis.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;

use claimsmith_local_entra::{EncryptionKey, PasswordContext};
use claimsmith_tests::{Platform, Stage, plugin, world};
use serde_json::{Value, json};
use tokio::process::Command;

/// Every event, and what answers it: of the plugin `every-event`, the default.
const EVENTS: [&str; 6] = [
    "tokenIssuanceStart",
    "attributeCollectionStart",
    "attributeCollectionSubmit",
    "emailOtpSend",
    "passwordSubmit",
    "verifiedIdClaimValidation",
];

/// The seed, unless `SCHEMATHESIS_SEED` has another: runs of one version are alike.
const SEED: &str = "20260714";
/// How many bodies each operation is given, unless `SCHEMATHESIS_EXAMPLES` says otherwise.
const EXAMPLES: &str = "50";

/// The extension that answers an event.
fn extension(event: &str) -> String {
    event.to_lowercase()
}

fn tenant_toml(stage: &Stage) -> String {
    let extensions = EVENTS.map(|event| {
        let keys = match event {
            "passwordSubmit" => {
                "decryption_keys = [{ private_key = \"file:key.pem\", certificate = \"file:certificate.pem\" }]"
            }
            _ => "",
        };
        format!(
            "[extensions.{}]\nevent = \"{event}\"\naudiences = {}\ndeadline = \"2s\"\n{keys}\n\
             bindings = [{{ plugin = \"every-event\" }}]\n",
            extension(event),
            world::audiences_toml(),
        )
    });
    world::directories_toml(&stage.entra) + &extensions.concat()
}

async fn start(key: &EncryptionKey) -> Platform {
    // The machine may be busy with schemathesis itself; limits are tested elsewhere.
    let stage = Stage::new().await.host_config("runtime.limits.cpu = \"1s\"");
    let toml = tenant_toml(&stage);
    let stage = stage.tenant("contoso", &toml);
    let file = |name| stage.file("tenants/contoso").join(name);
    fs::copy(plugin("every-event"), file("plugins/every-event.wasm")).unwrap();
    fs::create_dir(file("secrets")).unwrap();
    fs::write(file("secrets/key.pem"), key.private_key_pem().unwrap()).unwrap();
    fs::write(file("secrets/certificate.pem"), key.certificate_pem().unwrap()).unwrap();
    stage.start().await
}

/// What the hooks have to know of each event.
fn callouts(platform: &Platform, key: EncryptionKey) -> BTreeMap<&'static str, Value> {
    let issuer = world::resource_id();
    let password = PasswordContext::new(key, "ada@customers.example", "correct-horse", world::RESOURCE, &issuer)
        .encrypt()
        .unwrap();
    let callout = |event| {
        let (directory, caller) = match event {
            "tokenIssuanceStart" | "verifiedIdClaimValidation" => (world::DIRECTORY, world::EXTENSION),
            _ => (world::EXTERNAL_DIRECTORY, world::EXTERNAL_EXTENSION),
        };
        let token = platform.entra.directory(directory).unwrap().callout_bearer(caller);
        let mut callout = json!({
            "extension": extension(event),
            "directory": directory,
            "token": token.unwrap(),
        });
        if event == "passwordSubmit" {
            callout["passwordContext"] = json!(password);
        }
        (event, callout)
    };
    EVENTS.into_iter().map(callout).collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs schemathesis: `cargo xtask test --only schemathesis` installs and runs it"]
async fn every_answer_is_as_the_document_says() {
    let tool = env::var_os("SCHEMATHESIS").expect("SCHEMATHESIS names the command; `cargo xtask test --all` sets it");
    let or = |name, usual: &str| env::var(name).unwrap_or_else(|_| usual.to_owned());
    let key = EncryptionKey::generate().unwrap();
    let platform = start(&key).await;
    let file = platform.directory.path().join("callouts.json");
    fs::write(&file, json!(callouts(&platform, key)).to_string()).unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemathesis");
    let status = Command::new(tool)
        .arg("--config-file")
        .arg(home.join("schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", platform.host.address))
        .args(["--checks", "all", "--mode", "all", "--workers", "1", "--no-color"])
        .args(["--seed", &or("SCHEMATHESIS_SEED", SEED)])
        .args(["--max-examples", &or("SCHEMATHESIS_EXAMPLES", EXAMPLES)])
        .env("CALLOUTS", &file)
        .env("PYTHONPATH", &home)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .current_dir(platform.directory.path())
        .kill_on_drop(true)
        .status()
        .await
        .unwrap();
    assert!(status.success(), "schemathesis found something ({status}): see above");
    check_what_was_reached(&platform).await;
}

/// A run in which nothing got past the token, say, would find nothing.
async fn check_what_was_reached(platform: &Platform) {
    let url = format!("http://{}/metrics", platform.host.address);
    let metrics = platform.http.get(&url).send().await.unwrap().text().await.unwrap();
    for event in EVENTS {
        for outcome in ["answered", "invalid_request", "event_mismatch", "token_missing"] {
            let extension = format!("extension=\"{}\"", extension(event));
            let outcome = format!("outcome=\"{outcome}\"");
            let counted = |line: &&str| {
                line.starts_with("claimsmith_callouts_total") && line.contains(&extension) && line.contains(&outcome)
            };
            assert!(
                metrics.lines().any(|line| counted(&line)),
                "{event}: none was {outcome}"
            );
        }
    }
}
