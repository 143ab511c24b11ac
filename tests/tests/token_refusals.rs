//! Who may call, beyond what `token_attacks` sees of single tokens: applications of `accept_callers`, directories and
//! bodies.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_local_entra::LocalEntra;
use claimsmith_tests::world::{self, EXTENSION, EXTERNAL_DIRECTORY, EXTERNAL_EXTENSION, RESOURCE};
use claimsmith_tests::{Platform, Stage};
use reqwest::Response;
use serde_json::{Map, Value};

/// An application of the tenant's own.
const OWN_APPLICATION: &str = "0d1e0001-0000-4000-8000-0000000000a1";

/// A tenant whose extensions differ in who may call.
async fn platform() -> Platform {
    let stage = Stage::new().await;
    let toml = tenant(&stage.entra);
    stage.tenant("contoso", &toml).start().await
}

fn tenant(entra: &LocalEntra) -> String {
    let accept_callers = format!("accept_callers = [\"{OWN_APPLICATION}\"]");
    [
        world::directories_toml(entra),
        world::extension_toml("claims", "", "misbehaving", ""),
        world::extension_toml("diagnosis", &accept_callers, "misbehaving", ""),
    ]
    .concat()
}

/// Calls an extension with an application's token.
async fn call(platform: &Platform, extension: &str, token: &str) -> Response {
    let url = platform.url_of("contoso", extension);
    let request = platform.http.post(url).bearer_auth(token).json(&platform.body());
    request.send().await.unwrap()
}

/// A callout is refused with 401 and this outcome.
async fn assert_refused(platform: &Platform, extension: &str, token: &str, outcome: &str) {
    let mark = platform.host.log_mark();
    assert_eq!(call(platform, extension, token).await.status(), 401);
    assert_eq!(platform.host.callout_line(mark).await["outcome"], outcome);
}

/// A token that an application of the tenant got for this extension.
fn token_of(platform: &Platform, application: &str) -> String {
    let request = platform.directory().callout_token(EXTENSION).unwrap();
    platform.directory().mint(&request.claim("azp", application)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_one_directory_does_not_speak_for_another() {
    let platform = platform().await;
    let external = platform.entra.directory(EXTERNAL_DIRECTORY).unwrap();
    let token = external.callout_bearer(EXTERNAL_EXTENSION).unwrap();
    // A body of the workforce directory.
    let body = platform.body();
    let response = platform.call(&token, &body).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = response.json().await.unwrap();
    assert_eq!(problem["code"], "tenant_mismatch");
    assert_eq!(
        problem["correlationId"],
        body["data"]["authenticationContext"]["correlationId"]
    );
    assert!(problem["errors"][0].as_str().unwrap().starts_with("/data/tenantId: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_of_accept_callers_is_answered_and_warned_about() {
    let platform = platform().await;
    let own = token_of(&platform, OWN_APPLICATION);
    let loud = |line: &Value| line["level"] == "WARN" && line["application"] == OWN_APPLICATION;

    // Each call is warned about, also when the token is remembered.
    for _ in 0..2 {
        let mark = platform.host.log_mark();
        assert_eq!(call(&platform, "diagnosis", &own).await.status(), 200);
        let line = platform.host.log_line_after(mark, "the warning", loud).await;
        assert!(line["message"].as_str().unwrap().contains("accept_callers"), "{line}");
        assert_eq!(line["span"]["extension"], "diagnosis");
        platform.host.callout_line(mark).await;
    }

    // Entra itself still may, without a warning; others may not; and the list is this extension's alone.
    let mark = platform.host.log_mark();
    assert_eq!(call(&platform, "diagnosis", &platform.token()).await.status(), 200);
    platform.host.callout_line(mark).await;
    assert!(!platform.host.log_after(mark).iter().any(loud));
    let other = token_of(&platform, &RESOURCE.to_string());
    assert_refused(&platform, "diagnosis", &other, "token_caller").await;
    assert_refused(&platform, "claims", &own, "token_caller").await;
}

/// A person who is signed in to a listed application has tokens of it too, and must not call in its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_users_token_of_an_application_of_accept_callers_is_refused() {
    let platform = platform().await;
    let directory = platform.directory();
    let own = || {
        directory
            .callout_token(EXTENSION)
            .unwrap()
            .claim("azp", OWN_APPLICATION)
    };
    let refused = [
        (own().claim("scp", "user_impersonation"), "scp"),
        (own().claim("scp", ""), "scp"),
        (own().claim("scp", "User.Read").claim("idtyp", "user"), "scp"),
        (own().claim("scp", "User.Read").claim("idtyp", "app"), "scp"),
        (own().claim("idtyp", "user"), "idtyp"),
        (own().claim("idtyp", "App"), "idtyp"),
        // Entra's own service is no exception.
        (directory.callout_token(EXTENSION).unwrap().claim("scp", "x"), "scp"),
    ];
    for (request, member) in refused {
        let mark = platform.host.log_mark();
        let token = directory.mint(&request).unwrap();
        assert_eq!(call(&platform, "diagnosis", &token).await.status(), 401, "{request:?}");
        let line = platform.host.callout_line(mark).await;
        assert_eq!(line["outcome"], "token_caller", "{line}");
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains(&format!("the token's {member} is ")), "{reason}");
        assert!(reason.contains("client_credentials"), "{reason}");
    }
    let app = directory.mint(&own().claim("idtyp", "app")).unwrap();
    assert_eq!(call(&platform, "diagnosis", &app).await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_callout_is_looked_at_only_with_a_good_token() {
    let platform = platform().await;
    let mark = platform.host.log_mark();
    let empty = Value::Object(Map::new());
    assert_eq!(platform.call("garbage", &empty).await.status(), 401);
    assert_eq!(platform.host.callout_line(mark).await["outcome"], "token_malformed");
}
