use std::fs;

use claimsmith_tests::{Platform, eventually};
use serde_json::{Value, json};

use crate::{CLAIMS, ECHO};

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_when_how_often_and_how_fast() {
    let platform = Platform::start(ECHO).await;
    let before = platform.status().await;
    for absent in [
        "last_callout",
        "last_callout_by_entra",
        "last_answered",
        "latency",
        "quiet",
    ] {
        assert_eq!(before[absent], Value::Null, "{absent}");
    }
    assert!(before["since"].is_string() && before["outcomes"] == json!({}));

    assert_eq!(platform.call("no-token", &platform.body()).await.status(), 401);
    let refused = platform.status().await;
    assert!(refused["last_callout"].is_string() && refused["last_callout_by_entra"].is_null());
    for _ in 0..5 {
        assert_eq!(platform.callout().await.0, 200);
    }
    let after = platform.status().await;
    assert_eq!(after["outcomes"], json!({ "answered": 5, "token_malformed": 1 }));
    assert!(after["last_answered"].is_string() && after["last_callout_by_entra"].is_string());
    let latency = &after["latency"];
    assert_eq!(latency["callouts"], 6);
    let quantiles = ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(|name| latency[name].as_f64().unwrap());
    assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{latency}");
    assert!(after["bindings"][0]["since"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_serves_since_it_came_and_mistakes_are_since_they_were_made() {
    let platform = Platform::start(ECHO).await;
    let since = async || platform.status().await["bindings"][0]["since"].clone();
    let first = since().await;
    let toml = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
    let mark = platform.host.log_mark();
    fs::write(
        platform.tenant_file("tenant.toml"),
        toml.replace("user.displayName", "user.mail"),
    )
    .unwrap();
    platform
        .host
        .log_line_after(mark, "published", |line| line["message"] == "catalog published")
        .await;
    assert_eq!(since().await, first, "the same version with other settings");

    fs::write(platform.tenant_file("tenant.toml"), "nothing = 1").unwrap();
    let tenant = async || {
        let url = format!("http://{}/status", platform.host.address);
        let status: Value = platform.http.get(url).send().await.unwrap().json().await.unwrap();
        status["tenants"]["contoso"].clone()
    };
    eventually("the mistake is told", async || {
        tenant().await["mistakes"].as_u64() > Some(0)
    })
    .await;
    let told = tenant().await;
    assert!(told["mistakes_since"].is_string(), "{told}");
    assert!(
        told["mistake_texts"].is_null(),
        "what files say is for nobody on this listener: {told}"
    );
    assert_eq!(
        told["extensions"]["claims"]["bindings"][0]["since"], first,
        "it keeps serving"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_entra_does_not_call_raises_an_alarm_with_what_to_check() {
    let platform = Platform::start_with("", "expect_callouts_within = \"1s\"", ECHO).await;
    let quiet = async || platform.metric("claimsmith_extension_quiet", &CLAIMS).await;
    // What strangers send is no sign of life.
    eventually("the alarm is on", async || {
        platform.call("no-token", &platform.body()).await;
        quiet().await == 1.0
    })
    .await;
    let is_alarm = |line: &Value| line["message"] == "Entra has not called for longer than expected";
    let line = platform.host.log_line("the alarm", is_alarm).await;
    let found = json!([
        line["level"],
        line["tenant"],
        line["extension"],
        line["expected_within_s"],
        line["was_ever_called"]
    ]);
    assert_eq!(found, json!(["WARN", "contoso", "claims", 1, false]), "{line}");
    assert!(line["refused_for_token"].as_u64() > Some(0), "{line}");
    assert!(line["checklist"].as_str().unwrap().contains("docs/never-called.md"));
    assert_eq!(platform.status().await["quiet"], true);

    eventually("it ends with a callout", async || {
        assert_eq!(platform.callout().await.0, 200);
        quiet().await == 0.0
    })
    .await;
    platform
        .host
        .log_line("the end", |line| line["message"] == "Entra calls again")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silences_have_bounds() {
    for (member, expected) in [
        ("expect_callouts_within = \"10ms\"", "expected 1s to 31d"),
        ("expect_callouts_within = \"32d\"", "expected 1s to 31d"),
    ] {
        let stage = claimsmith_tests::Stage::new().await;
        let toml = format!(
            "{}\n[extensions.claims]\nevent = \"tokenIssuanceStart\"\naudiences = {}\n{member}\n{ECHO}",
            claimsmith_tests::world::directories_toml(&stage.entra),
            claimsmith_tests::world::audiences_toml(),
        );
        let platform = stage.tenant("contoso", &toml).listen("json").await;
        let says = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains(expected));
        platform.host.log_line(expected, says).await;
    }
}
