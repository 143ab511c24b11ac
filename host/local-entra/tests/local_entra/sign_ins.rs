//! What reaches the token, and what the sign-in log says.

use claimsmith_local_entra::{Refusal, SignInRequest, TokenVersion};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::support::{Answer, Extension, SHOP, TID, ada, claims, directory, sign_in_with, start, start_with};

#[tokio::test]
async fn mapped_claims_are_in_a_token_that_verifies_and_the_report_names_the_rest() {
    let answer = json!({"tier": "gold", "DateOfBirth": "1815-12-10", "roles": ["admin"], "other": "x"});
    let extension = Extension::start(vec![Answer::Json(claims(&answer))]).await;
    let entra = start_with(&extension.url).await;
    let outcome = entra.sign_in(&ada()).await.unwrap();
    let signed_in = outcome.result.unwrap();
    assert_eq!(
        Value::Object(signed_in.added),
        json!({"loyalty_tier": "gold", "region": "emea"})
    );
    assert!(!signed_in.claims_before.contains_key("loyalty_tier"));

    let directory = directory(&entra);
    let key = DecodingKey::from_rsa_pem(directory.public_key_pem().as_bytes()).unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[SHOP]);
    validation.set_issuer(&[directory.issuer(TokenVersion::V2)]);
    let token = jsonwebtoken::decode::<Map<String, Value>>(&signed_in.id_token, &key, &validation).unwrap();
    assert_eq!(token.claims, signed_in.claims_after);
    assert_eq!(token.claims["tid"], TID.to_string());
    assert_eq!(token.claims["email"], "ada@example.org");
    assert!(!token.claims.contains_key("roles"));

    let report = outcome.callout.unwrap().claims.unwrap();
    assert_eq!(report.dropped, ["DateOfBirth", "other"]);
    assert_eq!(report.missing, ["dateOfBirth"]);
    assert_eq!(report.refused[0].jwt_claim_type, "roles");
    assert!(
        report.hints.iter().any(|hint| hint.contains("`DateOfBirth`")),
        "{:?}",
        report.hints
    );
}

#[tokio::test]
async fn an_application_that_does_not_accept_mapped_claims_gets_no_token() {
    let extension = Extension::start(vec![Answer::Json(claims(&json!({"tier": "gold"})))]).await;
    let entra = start(|directory| {
        directory.extensions[0].target_url.clone_from(&extension.url);
        directory.applications[0].accept_mapped_claims = false;
    })
    .await;
    let outcome = entra.sign_in(&ada()).await.unwrap();
    assert_eq!(outcome.result.unwrap_err(), Refusal::MappedClaimsNotAccepted);
    assert_eq!(directory(&entra).sign_ins()[0].error_code, 50_146);

    let entra = start(|directory| {
        directory.extensions[0].target_url.clone_from(&extension.url);
        directory.applications[0].accept_mapped_claims = false;
        directory.claims_mapping_policies.clear();
    })
    .await;
    let outcome = entra.sign_in(&ada()).await.unwrap();
    assert!(outcome.result.unwrap().added.is_empty());
    assert_eq!(outcome.callout.unwrap().claims.unwrap().dropped, ["tier"]);
}

#[tokio::test]
async fn without_the_basic_claim_set_only_the_core_claims_remain() {
    let entra = start(|directory| {
        directory.listeners.clear();
        directory.claims_mapping_policies[0].include_basic_claim_set = false;
    })
    .await;
    let outcome = entra.sign_in(&ada()).await.unwrap();
    assert!(outcome.callout.is_none());
    let signed_in = outcome.result.unwrap();
    let mut names: Vec<&str> = signed_in.claims_before.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["aud", "exp", "iat", "iss", "nbf", "oid", "sub", "tid", "uti", "ver"]
    );
}

#[tokio::test]
async fn a_user_has_one_subject_in_each_application() {
    let entra = start(|directory| directory.listeners.clear()).await;
    let subject = async |application: &str, user: &str| {
        let request = SignInRequest::new(TID, user, application);
        entra.sign_in(&request).await.unwrap().result.unwrap().claims_after["sub"].clone()
    };
    let ada_in_shop = subject("Shop", "ada@example.org").await;
    let by_upn = "A1B2C3D4-0000-4000-8000-0000000000F1@contoso.onmicrosoft.com";
    assert_eq!(subject(&SHOP.to_string(), by_upn).await, ada_in_shop);
    assert_ne!(
        subject("Shop", "a1b2c3d4-0000-4000-8000-0000000000f2").await,
        ada_in_shop
    );
    assert_ne!(subject("Diagnosis", "ada@example.org").await, ada_in_shop);
}

#[tokio::test]
async fn the_log_has_the_newest_sign_in_first_with_its_callout() {
    let answers = vec![
        Answer::Raw(401, None, String::new()),
        Answer::Json(claims(&json!({"tier": "gold"}))),
    ];
    let extension = Extension::start(answers).await;
    let entra = start_with(&extension.url).await;
    let first = entra.sign_in(&ada()).await.unwrap();
    let second = entra.sign_in(&ada()).await.unwrap();
    let log = serde_json::to_value(directory(&entra).sign_ins()).unwrap();
    assert_eq!(log[0]["correlation_id"], second.correlation_id.to_string());
    assert_eq!(
        log[0]["callout"]["claims"]["mapped"][0],
        json!({"id": "tier", "jwt_claim_type": "loyalty_tier"})
    );
    assert_eq!(log[1]["correlation_id"], first.correlation_id.to_string());
    assert_eq!(log[1]["error_code"], 1_100_001);
    let callout = &log[1]["callout"];
    assert_eq!(callout["eventType"], "tokenIssuanceStart");
    assert_eq!(callout["executedListenerId"], "a1b2c3d4-0000-4000-8000-0000000000b1");
    assert_eq!(callout["customExtensionId"], "a1b2c3d4-0000-4000-8000-0000000000c1");
    assert_eq!(callout["httpStatus"], 401);
    assert_eq!(callout["errorCode"], 1_003_002);
    assert_eq!(callout["errorName"], "CustomExtensionInvalidHTTPStatus");
    assert_eq!(callout["numberOfAttempts"], 1);
    assert_eq!(callout["claims"], Value::Null);
}

#[tokio::test]
async fn what_does_not_exist_is_an_error_that_says_so() {
    let entra = start(|_| {}).await;
    for (request, expected) in [
        (SignInRequest::new(TID, "nobody", "Shop"), "AADSTS50034"),
        (SignInRequest::new(TID, "ada@example.org", "Nowhere"), "AADSTS700016"),
        (
            SignInRequest::new(Uuid::nil(), "ada@example.org", "Shop"),
            "there is no directory",
        ),
    ] {
        let error = entra.sign_in(&request).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(entra.set_target_url(Uuid::nil(), "http://127.0.0.1/").is_err());
    assert!(directory(&entra).sign_ins().is_empty());
}

#[tokio::test]
async fn an_array_of_strings_becomes_an_array() {
    let answer = Answer::Json(claims(&json!({"tier": ["gold", "silver"]})));
    let added = sign_in_with(answer).await.result.unwrap().added;
    assert_eq!(added["loyalty_tier"], json!(["gold", "silver"]));
}
