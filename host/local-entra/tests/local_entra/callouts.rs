//! What is sent, and which answer ends in which of Entra's error codes.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::support::{Answer, Extension, ada, claims, failed, sign_in_with, start, start_with};

async fn code_of(answer: Answer) -> u32 {
    let callout = failed(sign_in_with(answer).await);
    assert_eq!(callout.number_of_attempts, 1, "a complete answer is not retried");
    assert!(callout.http_status.is_some());
    callout.error_code.unwrap().code()
}

fn json_answer(body: &str) -> Answer {
    Answer::Raw(200, Some("application/json"), body.to_owned())
}

fn actions(actions: &Value) -> Answer {
    Answer::Json(json!({"data": {"actions": actions}}))
}

type Change = fn(&mut claimsmith_local_entra::DirectoryConfig);

const PROVIDE: &str = "microsoft.graph.tokenIssuanceStart.provideClaimsForToken";

#[tokio::test]
async fn the_request_is_the_documented_one() {
    let extension = Extension::start(vec![Answer::Json(claims(&json!({})))]).await;
    let entra = start_with(&extension.url).await;
    let mut request = ada();
    request.user = "grace@example.com".to_owned();
    request.correlation_id = Some(Uuid::from_u128(0xd1));
    let outcome = entra.sign_in(&request).await.unwrap();
    outcome.result.unwrap();
    let seen = extension.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].headers["content-type"], "application/json");
    assert!(
        seen[0].headers["authorization"]
            .to_str()
            .unwrap()
            .starts_with("Bearer ey")
    );
    let shop = json!({
        "id": "a1b2c3d4-0000-4000-8000-0000000000e1", "appId": "a1b2c3d4-0000-4000-8000-0000000000a1",
        "appDisplayName": "Shop", "displayName": "Shop",
    });
    // Grace is a social account: no userPrincipalName, and nothing null in its place.
    let expected = json!({
        "type": "microsoft.graph.authenticationEvent.tokenIssuanceStart",
        "source":
            "/tenants/a1b2c3d4-0000-4000-8000-000000000001/applications/a1b2c3d4-0000-4000-8000-0000000000a1",
        "data": {
            "@odata.type": "microsoft.graph.onTokenIssuanceStartCalloutData",
            "tenantId": "a1b2c3d4-0000-4000-8000-000000000001",
            "authenticationEventListenerId": "a1b2c3d4-0000-4000-8000-0000000000b1",
            "customAuthenticationExtensionId": "a1b2c3d4-0000-4000-8000-0000000000c1",
            "authenticationContext": {
                "correlationId": "00000000-0000-0000-0000-0000000000d1",
                "client": {"ip": "127.0.0.1", "locale": "en-us", "market": "en-us"},
                "protocol": "OAUTH2.0",
                "clientServicePrincipal": shop,
                "resourceServicePrincipal": shop,
                "user": {
                    "id": "a1b2c3d4-0000-4000-8000-0000000000f2", "displayName": "Grace", "mail": "grace@example.com",
                },
            },
        },
    });
    assert_eq!(seen[0].body, expected);
    assert_eq!(
        crate::support::directory(&entra)
            .callout_body(&request)
            .unwrap()
            .to_json(),
        expected
    );
}

#[tokio::test]
async fn a_status_other_than_200_is_1003002_and_redirects_are_not_followed() {
    for status in [201, 204, 302, 400, 401, 500, 503] {
        let answer = Answer::Raw(status, Some("application/json"), claims(&json!({})).to_string());
        assert_eq!(code_of(answer).await, 1_003_002, "{status}");
    }
}

#[tokio::test]
async fn the_content_type_must_be_json_and_may_have_parameters() {
    let body = claims(&json!({})).to_string();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/json-patch+json"),
        Some("application/problem+json"),
    ] {
        assert_eq!(
            code_of(Answer::Raw(200, content_type, body.clone())).await,
            1_003_006,
            "{content_type:?}"
        );
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        sign_in_with(Answer::Raw(200, Some(content_type), body.clone()))
            .await
            .result
            .unwrap();
    }
}

#[tokio::test]
async fn bodies_that_are_empty_or_of_another_schema_have_their_codes() {
    for (body, code) in [
        ("", 1_003_009),
        (" \n", 1_003_009),
        ("null", 1_003_009),
        ("{", 1_003_003),
        ("[]", 1_003_003),
        ("{}", 1_003_003),
        (r#"{"data":null}"#, 1_003_003),
        (r#"{"name":{"actions":[]}}"#, 1_003_003),
        (r#"{"data":{"actions":{}}}"#, 1_003_003),
        (r#"{"data":{"actions":[1]}}"#, 1_003_003),
        (r#"{"data":{}}"#, 1_003_010),
        (r#"{"data":{"actions":null}}"#, 1_003_010),
        (r#"{"data":{"actions":[]}}"#, 1_003_010),
    ] {
        assert_eq!(code_of(json_answer(body)).await, code, "{body}");
    }
}

#[tokio::test]
async fn exactly_one_action_of_the_event_is_needed() {
    let action = json!({"@odata.type": PROVIDE, "claims": {}});
    assert_eq!(code_of(actions(&json!([action, action]))).await, 1_003_010);
    assert_eq!(code_of(actions(&json!([{"claims": {}}]))).await, 1_003_012);
    let foreign = "microsoft.graph.attributeCollectionStart.showBlockPage";
    assert_eq!(
        code_of(actions(&json!([{"@odata.type": foreign, "claims": {}}]))).await,
        1_003_012
    );
}

#[tokio::test]
async fn claims_have_their_own_codes() {
    let provide = |claims: Value| actions(&json!([{"@odata.type": PROVIDE, "claims": claims}]));
    for (answer, code) in [
        (actions(&json!([{"@odata.type": PROVIDE}])), 1_003_007),
        (provide(Value::Null), 1_003_007),
        (provide(json!([])), 1_003_003),
        (provide(json!({"": "x"})), 1_003_026),
        (provide(json!({"tier": 1})), 1_003_003),
        (provide(json!({"tier": true})), 1_003_003),
        (provide(json!({"tier": null})), 1_003_003),
        (provide(json!({"tier": {"a": "b"}})), 1_003_003),
        (provide(json!({"tier": ["a", 1]})), 1_003_003),
        // An empty key wins over the size, and the size over a wrong type.
        (provide(json!({"": "x", "tier": "x".repeat(4000)})), 1_003_026),
        (provide(json!({"tier": "x".repeat(4000), "level": 1})), 1_003_025),
    ] {
        assert_eq!(code_of(answer).await, code);
    }
}

#[tokio::test]
async fn claims_may_have_3072_bytes_and_not_one_more() {
    let fits = json!({"tier": ["x".repeat(1000), "é".repeat(1034)]});
    sign_in_with(Answer::Json(claims(&fits))).await.result.unwrap();
    let exceeds = json!({"tier": ["x".repeat(1001), "é".repeat(1034)]});
    assert_eq!(code_of(Answer::Json(claims(&exceeds))).await, 1_003_025);
}

#[tokio::test]
async fn an_answer_may_have_64_kib_and_the_size_wins_over_the_status() {
    let body = claims(&json!({})).to_string();
    let fits = format!("{body}{}", " ".repeat(65536 - body.len()));
    sign_in_with(json_answer(&fits)).await.result.unwrap();
    assert_eq!(code_of(Answer::Raw(500, None, format!("{fits} "))).await, 1_003_024);
}

#[tokio::test]
async fn what_entra_lets_pass_is_recorded_as_a_warning() {
    let outcome = sign_in_with(actions(&json!([{"@odata.type": PROVIDE.to_uppercase(), "claims": {}}]))).await;
    outcome.result.unwrap();
    let warnings = outcome.callout.unwrap().warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("data.@odata.type is missing"));
    assert!(warnings[1].contains(PROVIDE));

    let legacy = json!([{"@odata.type": "microsoft.graph.ProvideClaimsForToken", "claims": {}}]);
    let outcome = sign_in_with(actions(&legacy)).await;
    assert!(outcome.callout.unwrap().warnings[1].contains("old name"));
}

#[tokio::test]
async fn a_timeout_is_retried_with_the_same_body_and_token() {
    let extension = Extension::start(vec![Answer::Hang, Answer::Json(claims(&json!({"tier": "gold"})))]).await;
    let entra = start_with(&extension.url).await;
    let outcome = entra.sign_in(&ada()).await.unwrap();
    let callout = outcome.callout.unwrap();
    assert_eq!(callout.number_of_attempts, 2);
    assert!(callout.duration_ms >= 2000.0, "the first attempt has its whole time");
    assert_eq!(outcome.result.unwrap().added["loyalty_tier"], "gold");
    let seen = extension.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].body, seen[1].body);
    assert_eq!(seen[0].headers["authorization"], seen[1].headers["authorization"]);
}

#[tokio::test]
async fn retries_are_counted_and_a_listener_overrides_them() {
    for (of_extension, of_listener, attempts) in [(1, None, 2), (0, None, 1), (1, Some(0), 1), (0, Some(1), 2)] {
        let extension = Extension::start(vec![Answer::Hang]).await;
        let entra = start(|directory| {
            directory.extensions[0].target_url.clone_from(&extension.url);
            directory.extensions[0].maximum_retries = of_extension;
            directory.listeners[0].timeout = Some(200);
            directory.listeners[0].maximum_retries = of_listener;
        })
        .await;
        let callout = failed(entra.sign_in(&ada()).await.unwrap());
        assert_eq!(callout.error_code.unwrap().code(), 1_003_005);
        assert_eq!(callout.number_of_attempts, attempts);
        assert_eq!(callout.http_status, None);
        assert_eq!(extension.seen().len(), attempts as usize);
    }
}

#[tokio::test]
async fn a_connection_that_is_refused_is_1003027_after_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target_url = format!("http://{}/?code=function-key", listener.local_addr().unwrap());
    drop(listener);
    let callout = failed(start_with(&target_url).await.sign_in(&ada()).await.unwrap());
    assert_eq!(callout.error_code.unwrap().code(), 1_003_027);
    assert_eq!(callout.number_of_attempts, 2);
    assert!(!callout.error_detail.unwrap().contains("function-key"));
}

#[tokio::test]
async fn a_connection_that_breaks_is_1003001_after_a_retry() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target_url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            assert!(connection.read(&mut request).await.unwrap() > 0);
            let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
            connection.write_all(head).await.unwrap();
        }
    });
    let callout = failed(start_with(&target_url).await.sign_in(&ada()).await.unwrap());
    assert_eq!(callout.error_code.unwrap().code(), 1_003_001);
    assert_eq!(callout.number_of_attempts, 2);
}

#[tokio::test]
async fn a_wrong_registration_fails_before_anything_is_sent() {
    let extension = Extension::start(vec![Answer::Json(claims(&json!({})))]).await;
    let refused = claimsmith_local_entra::CalloutErrorCode::try_from(1_003_021).unwrap();
    let entra = start_with(&extension.url).await;
    entra
        .set_target_url(crate::support::EXTENSION, "http://claims.example.org/")
        .unwrap();
    let callout = failed(entra.sign_in(&ada()).await.unwrap());
    assert_eq!(
        (callout.error_code.unwrap().code(), callout.number_of_attempts),
        (1_003_020, 0)
    );

    let changes: [(Change, u32); 3] = [
        (
            |directory| directory.extensions[0].resource_id = "api://127.0.0.1".to_owned(),
            1_003_014,
        ),
        (
            |directory| directory.extensions[0].resource_app_id = Uuid::nil(),
            1_003_016,
        ),
        (|directory| directory.listeners[0].extension = Uuid::nil(), 1_003_011),
    ];
    for (change, code) in changes {
        let entra = start(|directory| {
            directory.extensions[0].target_url.clone_from(&extension.url);
            change(directory);
        })
        .await;
        let callout = failed(entra.sign_in(&ada()).await.unwrap());
        assert_eq!(
            (callout.error_code.unwrap().code(), callout.number_of_attempts),
            (code, 0)
        );
    }
    let entra = start(|directory| {
        directory.extensions[0].target_url.clone_from(&extension.url);
        directory.extensions[0].refused_with = Some(refused);
    })
    .await;
    assert_eq!(failed(entra.sign_in(&ada()).await.unwrap()).error_code, Some(refused));
    assert!(extension.seen().is_empty());
}
