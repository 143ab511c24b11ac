//! Applications that share an extension and are answered differently; and what a tenant's declared mapping is held
//! against.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_local_entra::SignInRequest;
use claimsmith_tests::world::{APPLICATION, DIRECTORY, EXTENSION, USER};
use claimsmith_tests::{Platform, eventually};
use serde_json::{Value, json};

/// The application that people sign in to in these tests, and two others.
const SHOP: &str = "0d1e0001-0000-4000-8000-0000000000a1";
const OFFICE: &str = "0d1e0001-0000-4000-8000-0000000000a8";
const UNKNOWN: &str = "0d1e0001-0000-4000-8000-0000000000a9";

const BINDINGS: &str = r#"
[[extensions.claims.bindings]]
plugin = "attribute-map"
settings.rules = [{ claim = "who", from = "user.mail" }, { claim = "what", value = "everybody's" }]

[[extensions.claims.bindings]]
plugin = "misbehaving"
settings = { marker = "usual" }

[[extensions.claims.applications]]
client_ids = ["0D1E0001-0000-4000-8000-0000000000A1"]
claims = ["what", "marker"]
settings.attribute-map.rules = [{ claim = "who", from = "user.mail" }, { claim = "what", value = "the shop's" }]

[[extensions.claims.applications]]
client_ids = ["0d1e0001-0000-4000-8000-0000000000a8"]
settings.misbehaving = { marker = "office" }
"#;

/// The claims that the extension answers when somebody signs in to an application.
async fn claims_for(platform: &Platform, application: Value) -> Value {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["clientServicePrincipal"] = application;
    let response = platform.call(&platform.token(), &body).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let mut claims = Platform::claims(&answer).clone();
    // Which build answered is another test's matter.
    claims.as_object_mut().unwrap().shift_remove("build");
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_has_its_own_settings_and_only_its_claims() {
    let platform = Platform::start(BINDINGS).await;
    let usual = json!({"who": USER, "what": "everybody's", "marker": "usual"});
    let shop = json!({"what": "the shop's", "marker": "usual"});
    let office = json!({"who": USER, "what": "everybody's", "marker": "office"});
    for (application, expected) in [
        (json!({"appId": SHOP}), &shop),
        (json!({"appId": SHOP.to_uppercase()}), &shop),
        (json!({"appId": OFFICE}), &office),
        (json!({"appId": UNKNOWN}), &usual),
        (json!({"id": SHOP}), &usual),
        (Value::Null, &usual),
    ] {
        assert_eq!(
            &claims_for(&platform, application.clone()).await,
            expected,
            "{application}"
        );
    }

    let outcome = platform
        .entra
        .sign_in(&SignInRequest::new(DIRECTORY, USER, APPLICATION))
        .await
        .unwrap();
    assert_eq!(outcome.result.unwrap().claims_after["marker"], "usual");
    assert!(
        platform
            .entra
            .directory(DIRECTORY)
            .unwrap()
            .target_url(EXTENSION)
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extensions_own_list_is_for_whoever_has_none() {
    let platform = Platform::start_with("", "claims = [\"marker\"]", BINDINGS).await;
    let marker = json!({"marker": "usual"});
    assert_eq!(claims_for(&platform, json!({"appId": UNKNOWN})).await, marker);
    assert_eq!(
        claims_for(&platform, json!({"appId": OFFICE})).await,
        json!({"marker": "office"})
    );
    let shop = claims_for(&platform, json!({"appId": SHOP})).await;
    assert_eq!(shop, json!({"what": "the shop's", "marker": "usual"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_changes_without_a_restart() {
    let platform = Platform::start(BINDINGS).await;
    let changed = BINDINGS.replace("the shop's", "the new shop's");
    std::fs::write(platform.tenant_file("tenant.toml"), platform.tenant_toml(&changed)).unwrap();
    eventually("the application's new settings are used", async || {
        claims_for(&platform, json!({"appId": SHOP})).await["what"] == "the new shop's"
    })
    .await;
    let loaded = |line: &Value| line["message"] == "binding loaded" && line["replaced"] != Value::Null;
    let line = platform.host.log_line("what was loaded", loaded).await;
    assert_eq!(
        (&line["application"], &line["plugin"]),
        (&json!(SHOP), &json!("attribute-map"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_mapping_is_held_against_what_entra_emits() {
    let extension = "claims = [\"Marker\"]\nmapping = { marker = \"upn\", region = \"region\", x = \"xms_x\" }";
    let platform = Platform::start_with("", extension, BINDINGS).await;
    for expected in [
        "tenant.toml:12:11: extension `claims`: claim `marker` is mapped to `upn`, which is in Entra's restricted",
        "claim `x` is mapped to `xms_x`",
        "claim `Marker` is not in the mapping",
    ] {
        let says = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains(expected));
        let line = platform.host.log_line(expected, says).await;
        assert_eq!(
            (&line["level"], &line["tenant"]),
            (&json!("WARN"), &json!("contoso")),
            "{line}"
        );
    }
    let platform = Platform::start_with("", "mapping = { marker = \"marker\" }", BINDINGS).await;
    assert_eq!(platform.callout().await.0, 200);
    let dropped = |line: &Value| line["id"] == "what" && line["level"] == "DEBUG";
    platform.host.log_line("a claim that Entra drops", dropped).await;
}
