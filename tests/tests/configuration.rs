//! Mistakes in configuration: the host does not start with a wrong `claimsmith.toml`, and says in one message what is
//! wrong where. A tenant with a wrong `tenant.toml` is not served, and nobody else notices.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;

use claimsmith_tests::{Host, Platform, Stage, cases, eventually, run, world};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A directory with this `claimsmith.toml`.
fn directory_with(config: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("tenants")).unwrap();
    fs::write(directory.path().join("claimsmith.toml"), config).unwrap();
    directory
}

/// The host does not start; its last word is one line that has all of these.
async fn assert_does_not_start(name: &str, directory: &TempDir, expected: &[&str]) {
    let (status, printed) = Host::fail_to_start(directory.path()).await;
    assert_eq!(status.code(), Some(1), "{name}: {printed}");
    let errors: Vec<_> = printed.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{name}: {printed}");
    assert!(printed.ends_with(&format!("{}\n", errors[0])), "{name}: {printed}");
    for expected in expected {
        assert!(errors[0].contains(expected), "{name}: no {expected:?} in {printed}");
    }
    for noise in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
        assert!(!printed.contains(noise), "{name}: {printed}");
    }
}

fn text<'c>(case: &'c Value, member: &str) -> &'c str {
    case[member].as_str().unwrap()
}

/// What is said many times before what is replaced.
fn repeated(case: &Value) -> String {
    let times = case["times"].as_u64().unwrap().try_into().unwrap();
    text(case, "before").repeat(times)
}

fn errors(case: &Value) -> Vec<&str> {
    case["error"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error.as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_mistake_in_its_file_does_not_start_and_says_where_it_is() {
    for case in cases("configuration/host.json") {
        assert_does_not_start(
            text(&case, "mistake"),
            &directory_with(text(&case, "file")),
            &errors(&case),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_file_or_port_does_not_start() {
    let directory = directory_with("");
    fs::remove_file(directory.path().join("claimsmith.toml")).unwrap();
    assert_does_not_start(
        "no file",
        &directory,
        &["claimsmith.toml: cannot be read: No such file"],
    )
    .await;

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let directory = directory_with(&format!("server.listen = \"{address}\"\n"));
    let port = format!("cannot listen on {address}; change server.listen or stop what uses it: ");
    assert_does_not_start("a port that is taken", &directory, &[&port, "in use"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_with_a_mistake_is_not_served_and_nobody_else_notices() {
    let stage = Stage::new().await;
    let good = world::directories_toml(&stage.entra)
        + &world::extension_toml("claims", "", "misbehaving", "settings = { marker = \"m\" }");
    // Loaded first, so that the plugin's component is compiled once for all.
    let mut stage = stage.tenant("a-good-one", &good);
    let cases = cases("configuration/tenant.json");
    let name = |number: usize| format!("bad-{number}");
    for (number, case) in cases.iter().enumerate() {
        let replaced = text(case, "replace");
        let with = case["with"]
            .as_str()
            .map_or_else(|| repeated(case) + replaced, str::to_owned);
        assert!(good.contains(replaced), "{case}");
        stage = stage.tenant(&name(number), &good.replacen(replaced, &with, 1));
    }
    let platform = stage.start().await;

    // Ready, although most tenants are not.
    let (_, readiness) = health(&platform, "readyz").await;
    assert_eq!(readiness, json!({"ready": true, "generation": 1, "reasons": []}));
    let good_one = platform.url_of("a-good-one", "claims");
    assert_eq!(platform.callout_to(&good_one).await.0, 200);

    let log = platform.host.log();
    for (number, case) in cases.iter().enumerate() {
        let (mistake, tenant) = (text(case, "mistake"), name(number));
        let of_tenant = |line: &&Value| line["level"] == "ERROR" && line["tenant"] == *tenant;
        let logged: Vec<_> = log.iter().filter(of_tenant).collect();
        assert_eq!(logged.len(), 1, "{mistake}: {logged:#?}");
        assert_eq!(logged[0]["keeps_serving"], false, "{mistake}");
        let message = text(logged[0], "message");
        let file = format!("tenants/{tenant}/tenant.toml:");
        assert!(message.starts_with(&file), "{mistake}: {message}");
        for expected in errors(case) {
            assert!(message.contains(expected), "{mistake}: no {expected:?} in {message}");
        }
        let (status, problem) = platform.callout_to(&platform.url_of(&tenant, "claims")).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("tenant_unavailable")),
            "{mistake}"
        );
        assert_eq!(
            problem["errors"],
            json!([]),
            "{mistake}: a tenant's mistakes are its own matter"
        );
    }

    // Who watches sees whose outage it is.
    let labels = ["tenant=\"bad-0\"", "extension=\"\"", "outcome=\"tenant_unavailable\""];
    assert!((platform.metric("claimsmith_callouts_total", &labels).await - 1.0).abs() < f64::EPSILON);
    eventually("its record names it", async || {
        let find = ["audit", "query", "--tenant", "bad-0", "--json"];
        let found = run(platform.directory.path(), &find, "").await;
        found.output.contains("tenant_unavailable")
    })
    .await;

    // A mended tenant serves from then on.
    fs::write(platform.directory.path().join("tenants/bad-0/tenant.toml"), &good).unwrap();
    let mended = platform.url_of("bad-0", "claims");
    eventually("the mended tenant serves", async || {
        platform.callout_to(&mended).await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_over_http_is_the_operators_choice_even_on_this_machine() {
    let stage = Stage::new().await.host_config("token.allow_loopback_http = false");
    let toml = tenant(&stage);
    let platform = stage.tenant("contoso", &toml).listen("json").await;
    let refused = |line: &Value| line["level"] == "ERROR" && line["tenant"] == "contoso";
    let error = platform.host.log_line("the mistake", refused).await;
    assert!(
        error["message"].as_str().unwrap().contains("token.allow_loopback_http"),
        "{error}"
    );
    assert_eq!(platform.callout().await.0, 503);
    // No tenant serves: the host is alive, but not ready.
    assert_eq!(health(&platform, "readyz").await.0, 503);
    assert_eq!(health(&platform, "healthz").await.0, 200);
}

fn tenant(stage: &Stage) -> String {
    world::directories_toml(&stage.entra) + &world::extension_toml("claims", "", "misbehaving", "")
}

async fn health(platform: &Platform, path: &str) -> (u16, Value) {
    let url = format!("http://{}/{path}", platform.host.address);
    let response = platform.http.get(url).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_tenants_becomes_ready_with_the_first() {
    let stage = Stage::new().await;
    let toml = tenant(&stage);
    let platform = stage.listen("json").await;
    let (status, readiness) = health(&platform, "readyz").await;
    assert_eq!((status, &readiness["ready"]), (503, &json!(false)));
    assert_eq!(
        readiness["reasons"],
        json!(["no tenant is configured with valid files"])
    );
    claimsmith_tests::write_tenant(&platform.tenant_file(""), &toml, "default");
    eventually("the host is ready", async || health(&platform, "readyz").await.0 == 200).await;
    assert_eq!(platform.callout().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_document_that_cannot_be_reached_does_not_keep_the_host_from_being_ready() {
    let stage = Stage::new().await;
    let toml = tenant(&stage);
    // Nothing listens on the port of a listener that is gone.
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let unreachable = toml.replace(&stage.entra.address().to_string(), &gone.to_string());
    let platform = stage
        .tenant("contoso", &toml)
        .tenant("fabrikam", &unreachable)
        .start()
        .await;
    assert_eq!(platform.callout().await.0, 200);
    let (status, problem) = platform.callout_to(&platform.url_of("fabrikam", "claims")).await;
    assert_eq!((status, &problem["code"]), (503, &json!("keys_unavailable")));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_a_tenants_files_begins_a_log_line_or_colours_it() {
    let stage = Stage::new().await;
    let good = tenant(&stage);
    let evil = "\\n2026-01-01T00:00:00Z  INFO \\u001b[31mFORGED\\u0085\\u202e";
    let stage = stage
        .tenant("key", &good.replace("event", &format!("\"{evil}\" = 1\nevent")))
        .tenant("event", &good.replace("tokenIssuanceStart", evil))
        .tenant("plugin", &good.replace("\"misbehaving\"", &format!("\"{evil}\"")))
        .tenant(
            "setting",
            &(good.clone() + &format!("settings = {{ \"{evil}\" = 1 }}\n")),
        )
        .tenant(
            "value",
            &(good.clone() + &format!("settings = {{ mode = \"{evil}\" }}\n")),
        )
        .tenant(
            "extension",
            &(good.clone() + &format!("[extensions.\"{evil}\"]\nevent = 1\n")),
        )
        .tenant("url", &good.replacen("url = \"", &format!("url = \"{evil}"), 1))
        .tenant("two\nlines", "");
    let platform = stage.listen("text").await;
    let log = platform.host.log();
    let errors = log
        .iter()
        .filter(|line| line.as_str().unwrap().contains(" ERROR "))
        .count();
    assert!(errors >= 8, "{log:#?}");
    for line in log {
        let line = line.as_str().unwrap().to_owned();
        let level = line.split_whitespace().nth(1).unwrap_or_default();
        let is_forged = line.starts_with("2026-01-01");
        assert!(
            !is_forged && ["ERROR", "WARN", "INFO", "DEBUG"].contains(&level),
            "{line:?}"
        );
        let forges = |character: char| character.is_control() || character == '\u{202e}';
        assert!(!line.contains(forges), "{line:?}");
    }
}
