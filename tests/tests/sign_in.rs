//! A user signs in: the local Entra calls the host, a real plugin answers, and the ID token carries its claims.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

use claimsmith_local_entra::{SignInRequest, SignedIn, TokenVersion};
use claimsmith_tests::Platform;
use claimsmith_tests::world::{
    APPLICATION, DIRECTORY, EXTENSION, EXTENSION_V1, EXTERNAL_DIRECTORY, EXTERNAL_EXTENSION, GUEST, SOCIAL_USER, USER,
};
use serde_json::{Value, json};
use uuid::Uuid;

const BINDINGS: &str = r#"
[[extensions.claims.bindings]]
plugin = "loyalty-claims"
[extensions.claims.bindings.settings]
default_tier = "welcome"
tiers = [
    { name = "gold", benefits = ["lounge", "priority"] },
    { name = "silver", benefits = ["priority"] },
    { name = "welcome", benefits = [] },
]
members = { "0d1e0001-0000-4000-8000-0000000000f1" = "gold" }
domains = { "fabrikam.example" = "silver" }

[[extensions.claims.bindings]]
plugin = "attribute-map"
[[extensions.claims.bindings.settings.rules]]
claim = "region"
from = "user.preferredDataLocation"
lookup = { EUR = "Europe" }
default = "unknown"
"#;

async fn sign_in(platform: &Platform, directory: Uuid, user: &str) -> SignedIn {
    let request = SignInRequest::new(directory, user, APPLICATION);
    let outcome = platform.entra.sign_in(&request).await.unwrap();
    let callout = outcome.callout.unwrap();
    assert_eq!(
        (callout.number_of_attempts, callout.http_status),
        (1, Some(200)),
        "{callout:?}"
    );
    assert_eq!(callout.warnings, Vec::<String>::new());
    outcome.result.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_carries_the_claims_of_every_kind_of_user() {
    let platform = Platform::start(BINDINGS).await;
    platform
        .entra
        .set_target_url(EXTERNAL_EXTENSION, &platform.url())
        .unwrap();
    let cases = [
        (DIRECTORY, USER, json!(["lounge", "priority"]), "gold", "Europe"),
        (DIRECTORY, GUEST, json!(["priority"]), "silver", "unknown"),
        (EXTERNAL_DIRECTORY, SOCIAL_USER, Value::Null, "welcome", "unknown"),
    ];
    for (directory, user, benefits, tier, region) in cases {
        let signed_in = sign_in(&platform, directory, user).await;
        let claims = &signed_in.claims_after;
        assert_eq!(claims["loyalty_tier"], tier, "{user}");
        assert_eq!(claims["region"], region, "{user}");
        if benefits != Value::Null {
            assert_eq!(claims["loyalty_benefits"], benefits, "{user}");
        }
        assert!(!signed_in.claims_before.contains_key("loyalty_tier"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_both_versions_and_of_an_external_directory_are_accepted() {
    let platform = Platform::start(BINDINGS).await;
    let body = platform.body();
    for extension in [EXTENSION, EXTENSION_V1] {
        let token = platform.directory().callout_bearer(extension).unwrap();
        assert_eq!(platform.call(&token, &body).await.status(), 200, "{extension}");
    }
    let external = platform.entra.directory(EXTERNAL_DIRECTORY).unwrap();
    let request = SignInRequest::new(EXTERNAL_DIRECTORY, SOCIAL_USER, APPLICATION);
    let body = external.callout_body(&request).unwrap().to_json();
    let token = external.callout_bearer(EXTERNAL_EXTENSION).unwrap();
    assert_eq!(platform.call(&token, &body).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_is_exactly_what_entra_documents() {
    let platform = Platform::start(BINDINGS).await;
    let response = platform.call(&platform.token(), &platform.body()).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let answer: Value = response.json().await.unwrap();
    assert_eq!(
        answer,
        json!({"data": {
            "@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData",
            "actions": [{
                "@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken",
                "claims": {"loyaltyTier": "gold", "loyaltyBenefits": ["lounge", "priority"], "region": "Europe"},
            }],
        }})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_callout_carries_tenant_extension_and_correlation_id() {
    let platform = Platform::start(
        "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\n\
        settings = { mode = \"control_characters\" }",
    )
    .await;
    let body = platform.body();
    let correlation_id = &body["data"]["authenticationContext"]["correlationId"];
    assert_eq!(platform.call(&platform.token(), &body).await.status(), 200);
    let of_callout =
        |message: &'static str| move |line: &Value| line["message"].as_str().is_some_and(|text| text.contains(message));
    for message in ["first line", "callout answered"] {
        let line = platform.host.log_line(message, of_callout(message)).await;
        assert_eq!(line["span"]["tenant"], "contoso", "{line}");
        assert_eq!(line["span"]["extension"], "claims", "{line}");
        assert_eq!(&line["span"]["correlation_id"], correlation_id, "{line}");
    }
    let line = platform.host.log_line("the plugin's", of_callout("first line")).await;
    let text = line.to_string();
    assert!(
        !text.contains("\\u001b") && !text.contains("\\n") && !text.contains("\\r"),
        "{text}"
    );
    assert_eq!(line["plugin"], "misbehaving@0.1.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_roll_while_the_host_runs() {
    let platform = Platform::start(BINDINGS).await;
    assert_eq!(platform.callout().await.0, 200);
    let before = platform.token();
    platform.directory().roll_keys(true).await.unwrap();
    // The new key is unknown: one callout has the document fetched, and is answered in time.
    assert_eq!(platform.callout().await.0, 200);
    // A token of the removed key was remembered: not beyond the key's removal.
    assert_eq!(platform.call(&before, &platform.body()).await.status(), 401);
    assert!(
        platform
            .directory()
            .metadata_url(TokenVersion::V2)
            .starts_with("http://127.0.0.1:")
    );
}
