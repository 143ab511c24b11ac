//! `claimsmith validate`: a team checks payloads of its own, without a host.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use claimsmith_tests::{Ended, run};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The body that Entra sends for an event.
fn usual_request(event: &str) -> Value {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/requests");
    serde_json::from_slice(&fs::read(cases.join(event).with_extension("json")).unwrap()).unwrap()
}

async fn validate(kind: &str, body: &str, arguments: &[&str]) -> Ended {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("body.json"), body).unwrap();
    let command = ["validate", kind, "body.json"];
    run(directory.path(), &[&command[..], arguments].concat(), "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_request_has_its_place() {
    let arguments = ["--event", "emailOtpSend", "--json"];
    let mut request = usual_request("emailOtpSend");
    let ended = validate("request", &request.to_string(), &arguments).await;
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!((ended.code, report), (0, json!({"valid": true, "problems": []})));

    request["data"]["tenantId"] = json!("contoso");
    request["data"]["otpContext"]["oneTimeCode"] = json!(40_718_263);
    let ended = validate("request", &request.to_string(), &arguments).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.output).unwrap();
    assert_eq!(report["valid"], false);
    let pointers: Vec<_> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["pointer"].as_str().unwrap())
        .collect();
    assert_eq!(pointers, ["/data/tenantId", "/data/otpContext/oneTimeCode"]);
    assert!(!ended.output.contains("40718263"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_is_refused_with_entras_own_code() {
    let action = |name: &str| {
        let action = format!("microsoft.graph.{name}");
        json!({"data": {
            "@odata.type": "microsoft.graph.OnOtpSendResponseData",
            "actions": [{"@odata.type": action}],
        }})
        .to_string()
    };
    let sent = action("OtpSend.continueWithDefaultBehavior");
    let arguments = ["--event", "emailOtpSend", "--json"];
    assert_eq!(validate("response", &sent, &arguments).await.code, 0);
    for (body, code) in [
        (action("verifiedIdClaimValidation.pass"), 1_003_012),
        (String::new(), 1_003_009),
        ("<html>".to_owned(), 1_003_003),
    ] {
        let ended = validate("response", &body, &arguments).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        let report: Value = serde_json::from_str(&ended.output).unwrap();
        assert_eq!(report["problems"][0]["entra_error"], code, "{report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_counted_up_to_what_can_be_configured() {
    let answer = |bytes: usize| {
        json!({"data": {
            "@odata.type": "microsoft.graph.onTokenIssuanceStartResponseData",
            "actions": [{
                "@odata.type": "microsoft.graph.tokenIssuanceStart.provideClaimsForToken",
                "claims": {"a": "x".repeat(bytes - 1)},
            }],
        }})
        .to_string()
    };
    let event = ["--event", "tokenIssuanceStart", "--max-claim-bytes"];
    let with = |most: &'static str| [event[0], event[1], event[2], most];
    assert_eq!(validate("response", &answer(3_072), &with("3072")).await.code, 0);
    let ended = validate("response", &answer(3_001), &with("3000")).await;
    assert!(ended.code == 1 && ended.output.contains("1003025"), "{ended:?}");
    let ended = validate("response", &answer(3_073), &with("3073")).await;
    assert!(ended.code != 0 && ended.errors.contains("3072"), "{ended:?}");
}
