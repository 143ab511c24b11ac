//! The same over HTTP, and the client-credentials grant.

use std::time::Duration;

use claimsmith_local_entra::{Config, LocalEntra, TokenVersion};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Answer, DIAGNOSIS, EXTENSION, Extension, RESOURCE, SHOP, TID, claims, directory, start};

const RESOURCE_ID: &str = "api://127.0.0.1/a1b2c3d4-0000-4000-8000-0000000000d1";

async fn post(entra: &LocalEntra, path: &str, body: &Value) -> (StatusCode, Value) {
    let url = format!("{}/{TID}/{path}", entra.url());
    let response = Client::new().post(url).json(body).send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

async fn token(entra: &LocalEntra, form: &[(&str, &str)]) -> (StatusCode, Value) {
    let body = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    let request = Client::new().post(format!("{}/{TID}/oauth2/v2.0/token", entra.url()));
    let request = request
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body);
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn claims_of(token: &Value) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token.as_str().unwrap())
        .unwrap()
        .claims
}

#[tokio::test]
async fn a_sign_in_over_http_answers_token_claims_and_callout() {
    let extension = Extension::start(vec![Answer::Json(claims(&json!({"tier": "gold"})))]).await;
    let entra = start(|_| {}).await;
    let target_url = format!(
        "{}/contoso.onmicrosoft.com/extensions/{EXTENSION}/target-url",
        entra.url()
    );
    let response = Client::new()
        .put(target_url)
        .json(&json!({"target_url": extension.url}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);

    let body = json!({"user": "ADA@example.org", "application": SHOP, "protocol": "SAML",
        "client": {"ip": "2001:db8::7", "locale": "en-gb"}});
    let (status, answer) = post(&entra, "sign-in", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["added"], json!({"loyalty_tier": "gold", "region": "emea"}));
    assert_eq!(answer["claims_after"], claims_of(&answer["id_token"]));
    assert_eq!(answer["claims_before"].get("loyalty_tier"), None);
    assert_eq!(answer["callout"]["httpStatus"], 200);
    let context = &extension.seen()[0].body["data"]["authenticationContext"];
    assert_eq!(context["correlationId"], answer["correlation_id"]);
    assert_eq!(context["protocol"], "SAML");
    assert_eq!(
        context["client"],
        json!({"ip": "2001:db8::7", "locale": "en-gb", "market": "en-us"})
    );

    let log: Value = reqwest::get(format!("{}/{TID}/sign-ins", entra.url()))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(log["value"][0]["correlation_id"], answer["correlation_id"]);
    entra.stop().await;
}

#[tokio::test]
async fn a_failed_callout_is_the_oauth_error_that_entra_sends() {
    let extension = Extension::start(vec![Answer::Raw(500, None, String::new())]).await;
    let entra = start(|directory| directory.extensions[0].target_url.clone_from(&extension.url)).await;
    let (status, answer) = post(
        &entra,
        "sign-in",
        &json!({"user": "ada@example.org", "application": "Shop"}),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["error"], "server_error");
    assert_eq!(answer["error_codes"], json!([1_100_001]));
    let description = answer["error_description"].as_str().unwrap();
    assert!(description.starts_with("AADSTS1100001: "), "{description}");
    assert!(
        description.contains("1003002 CustomExtensionInvalidHTTPStatus"),
        "{description}"
    );
    assert!(
        description.contains(answer["correlation_id"].as_str().unwrap()),
        "{description}"
    );
    assert_eq!(answer["callout"]["errorCode"], 1_003_002);
    assert_eq!(answer.get("id_token"), None);
}

#[tokio::test]
async fn client_credentials_give_a_token_with_the_callers_own_application() {
    let entra = start(|_| {}).await;
    let client_id = DIAGNOSIS.to_string();
    let form = |scope: &'static str| {
        [
            ("grant_type", "client_credentials"),
            ("client_id", client_id.as_str()),
            ("client_secret", "local-only"),
            ("scope", scope),
        ]
    };
    for scope in [
        "api://127.0.0.1/a1b2c3d4-0000-4000-8000-0000000000d1/.default",
        "a1b2c3d4-0000-4000-8000-0000000000d1/.default",
    ] {
        let (status, answer) = token(&entra, &form(scope)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let claims = claims_of(&answer["access_token"]);
        assert_eq!(claims["azp"], client_id);
        assert_eq!(claims["azpacr"], "1");
        assert_eq!(claims["aud"], RESOURCE.to_string());
        assert_eq!(claims["oid"], "a1b2c3d4-0000-4000-8000-0000000000e2");
        assert_eq!(claims["iss"], directory(&entra).issuer(TokenVersion::V2));
        assert_eq!(answer["token_type"], "Bearer");
    }

    let entra = start(|directory| directory.extensions[0].token_version = TokenVersion::V1).await;
    let (_, answer) = token(
        &entra,
        &form("api://127.0.0.1/a1b2c3d4-0000-4000-8000-0000000000d1/.default"),
    )
    .await;
    let claims = claims_of(&answer["access_token"]);
    assert_eq!(
        (&claims["appid"], &claims["aud"]),
        (&json!(client_id), &json!(RESOURCE_ID))
    );
}

#[tokio::test]
async fn a_client_may_authenticate_in_the_header() {
    let entra = start(|_| {}).await;
    let response = Client::new()
        .post(format!("{}/{TID}/oauth2/v2.0/token", entra.url()))
        .basic_auth(DIAGNOSIS, Some("local-only"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("grant_type=client_credentials&scope={RESOURCE}%2F.default"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn token_errors_have_entras_numbers() {
    let entra = start(|_| {}).await;
    let (diagnosis, shop) = (DIAGNOSIS.to_string(), SHOP.to_string());
    let grant = ("grant_type", "client_credentials");
    let (id, secret) = (("client_id", diagnosis.as_str()), ("client_secret", "local-only"));
    for (form, status, error, code) in [
        (vec![], 400, "invalid_request", 900_144),
        (vec![("grant_type", "password")], 400, "unsupported_grant_type", 70_003),
        (
            vec![grant, ("client_id", "nobody"), secret],
            400,
            "unauthorized_client",
            700_016,
        ),
        (vec![grant, id], 401, "invalid_client", 7_000_218),
        (
            vec![grant, id, ("client_secret", "wrong")],
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            vec![grant, ("client_id", shop.as_str()), secret],
            401,
            "invalid_client",
            7_000_215,
        ),
        (
            vec![grant, id, secret, ("scope", RESOURCE_ID)],
            400,
            "invalid_scope",
            1_002_012,
        ),
        (
            vec![grant, id, secret, ("scope", "api://other/.default")],
            400,
            "invalid_resource",
            500_011,
        ),
    ] {
        let (found, answer) = token(&entra, &form).await;
        assert_eq!(
            (found.as_u16(), &answer["error"], &answer["error_codes"]),
            (status, &json!(error), &json!([code]))
        );
    }
}

#[tokio::test]
async fn keys_roll_and_callout_tokens_are_given_out() {
    let entra = start(|_| {}).await;
    let (_, first) = post(&entra, "callout-tokens", &json!({"extension": EXTENSION})).await;
    assert_eq!(
        first["access_token"],
        directory(&entra).callout_bearer(EXTENSION).unwrap()
    );

    let url = format!("{}/{TID}/keys/roll", entra.url());
    let rolled: Value = Client::new().post(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(rolled["published"].as_array().unwrap().len(), 2);
    let (_, rolled) = post(&entra, "keys/roll", &json!({"remove_previous": true})).await;
    assert_eq!(rolled["published"], json!([rolled["current"]]));
    let (_, second) = post(&entra, "callout-tokens", &json!({"extension": EXTENSION})).await;
    assert_ne!(second, first);
}

#[tokio::test]
async fn wrong_requests_are_answered_with_what_is_wrong() {
    let entra = start(|_| {}).await;
    for (path, body, status) in [
        ("sign-in", json!({"user": "nobody", "application": "Shop"}), 400),
        (
            "sign-in",
            json!({"user": "ada@example.org", "application": "Shop", "clientt": {}}),
            422,
        ),
        ("callout-tokens", json!({"extension": TID}), 404),
        ("keys/roll", json!({"remove": true}), 400),
        ("nothing", json!({}), 404),
    ] {
        let (found, answer) = post(&entra, path, &body).await;
        assert_eq!(found.as_u16(), status, "{path}: {answer}");
        assert!(
            answer["error"].is_string() && answer["error_description"].is_string(),
            "{answer}"
        );
    }
    let unknown = format!("{}/fabrikam.example/v2.0/.well-known/openid-configuration", entra.url());
    let answer: Value = reqwest::get(unknown).await.unwrap().json().await.unwrap();
    assert_eq!(answer["error_codes"], json!([90_002]));
    let authorize = format!("{}/{TID}/oauth2/v2.0/authorize", entra.url());
    assert_eq!(
        reqwest::get(authorize).await.unwrap().status(),
        StatusCode::NOT_IMPLEMENTED
    );
}

#[tokio::test]
async fn the_index_lists_what_there_is() {
    let entra = start(|_| {}).await;
    let page = reqwest::get(entra.url()).await.unwrap().text().await.unwrap();
    for expected in [
        "/{tid}/sign-in",
        &TID.to_string(),
        "Shop",
        "grace@example.com",
        RESOURCE_ID,
    ] {
        assert!(page.contains(expected), "{page}");
    }
    assert!(!page.contains("local-only"));
}

#[tokio::test]
async fn discovery_carries_the_public_url() {
    let mut config = Config::parse(include_str!("../../example.toml"), "example.toml").unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.public_url = Some("https://entra.example.org/sim/".to_owned());
    let entra = LocalEntra::start(config).await.unwrap();
    let url = format!("http://{}/{TID}/v2.0/.well-known/openid-configuration", entra.address());
    let metadata: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
    assert_eq!(metadata["issuer"], format!("https://entra.example.org/sim/{TID}/v2.0"));
    assert_eq!(
        metadata["jwks_uri"],
        format!("https://entra.example.org/sim/{TID}/discovery/v2.0/keys")
    );
}

#[tokio::test]
async fn stopping_closes_the_port_and_kept_connections() {
    let entra = start(|_| {}).await;
    let (url, client) = (entra.url().to_owned(), Client::new());
    client.get(&url).send().await.unwrap();
    entra.stop().await;
    assert!(client.get(&url).send().await.is_err());
}

#[tokio::test]
async fn dropping_closes_the_port_soon() {
    let entra = start(|_| {}).await;
    let address = entra.address();
    drop(entra);
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_named() {
    let entra = start(|_| {}).await;
    let config = Config {
        listen: entra.address(),
        ..Config::default()
    };
    let error = LocalEntra::start(config).await.unwrap_err().to_string();
    assert!(error.contains(&entra.address().to_string()), "{error}");
}
