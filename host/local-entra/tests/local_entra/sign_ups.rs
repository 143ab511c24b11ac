//! Signing up: what is sent before and after the page, and what becomes of it.

use claimsmith_local_entra::{Event, Identity, Oddity, SignUpRequest, SignedUp};
use serde_json::{Value, json};

use crate::events::{action, object};
use crate::support::{Answer, Extension, TID, ada, at, start_config};

const YEAR: &str = "extension_a1b2c3d40000400080000000000000a1_Year";
const NEWS: &str = "extension_a1b2c3d40000400080000000000000a1_News";

fn start_action(name: &str, members: Value) -> Answer {
    Answer::Json(action(
        Event::AttributeCollectionStart,
        &format!("attributeCollectionStart.{name}"),
        members,
    ))
}

fn submit_action(name: &str, members: Value) -> Answer {
    Answer::Json(action(
        Event::AttributeCollectionSubmit,
        &format!("attributeCollectionSubmit.{name}"),
        members,
    ))
}

fn request(values: Value) -> SignUpRequest {
    SignUpRequest::new(TID, "new@example.org", "Shop", object(values))
}

#[tokio::test]
async fn a_new_user_has_what_was_prefilled_submitted_corrected_and_modified() {
    let extension = Extension::start(vec![
        start_action("setPrefillValues", json!({"inputs": {"city": "Paris", (YEAR): 2011}})),
        submit_action(
            "showValidationError",
            json!({"message": "no", "attributeErrors": {"city": "Letters only"}}),
        ),
        submit_action(
            "modifyAttributeValues",
            json!({"attributes": {"displayName": "Ada B."}}),
        ),
    ])
    .await;
    let entra = start_config(at(&extension.url)).await;
    let mut request = request(json!({"city": "P4ris", "displayName": "ada"}));
    request.submissions.push(object(json!({"city": "Lyon"})));
    let outcome = entra.sign_up(&request).await.unwrap();
    let SignedUp::Created {
        user_id,
        shown,
        attributes,
    } = outcome.result.unwrap()
    else {
        panic!("no user")
    };
    assert_eq!(
        Value::Object(shown),
        json!({"email": "new@example.org", "city": "Paris", (YEAR): 2011, (NEWS): false})
    );
    assert_eq!(attributes["city"], "Lyon");
    assert_eq!(attributes["displayName"], "Ada B.");
    assert_eq!(attributes[YEAR], 2011);
    assert_eq!(outcome.callouts.len(), 3);

    let seen = extension.seen();
    assert_eq!(
        seen[0].body["type"],
        "microsoft.graph.authenticationEvent.attributeCollectionStart"
    );
    let info = &seen[0].body["data"]["userSignUpInfo"];
    assert_eq!(
        info["attributes"][YEAR],
        json!({"@odata.type": "microsoft.graph.int64DirectoryAttributeValue", "value": null,
            "attributeType": "directorySchemaExtension"})
    );
    assert_eq!(
        info["identities"],
        json!([{"signInType": "email", "issuer": "contoso.onmicrosoft.com", "issuerAssignedId": "new@example.org"}])
    );
    assert_eq!(
        seen[0].body["source"],
        "/tenants/a1b2c3d4-0000-4000-8000-000000000001/applications/00000003-0000-0000-c000-000000000000"
    );
    assert!(seen[0].body["data"]["authenticationContext"].get("user").is_none());
    assert_eq!(
        seen[1].body["type"],
        "microsoft.graph.authenticationEvent.attributeCollectionSubmit"
    );
    assert_eq!(
        seen[1].body["data"]["userSignUpInfo"]["attributes"]["city"]["value"],
        "P4ris"
    );
    assert_eq!(
        seen[2].body["data"]["userSignUpInfo"]["attributes"]["city"]["value"],
        "Lyon"
    );

    let log = &entra.directory(TID).unwrap().sign_ins()[0];
    assert_eq!((log.user_id, log.earlier_callouts.len()), (user_id, 2));
    // The new user is a user: the address is taken, and signing in finds it.
    let error = entra.sign_up(&request).await.unwrap_err().to_string();
    assert!(error.contains("has this address"), "{error}");
    let mut sign_in = ada();
    sign_in.user = "new@example.org".to_owned();
    let body = entra.directory(TID).unwrap().callout_body(&sign_in).unwrap().to_json();
    assert_eq!(body["data"]["authenticationContext"]["user"]["id"], user_id.to_string());
}

#[tokio::test]
async fn a_block_page_or_a_last_validation_error_ends_it() {
    let page = json!({"title": "Sorry", "message": "Not here"});
    for (answers, expected) in [
        (
            vec![start_action("showBlockPage", page.clone())],
            json!({"result": "blocked", "page": page}),
        ),
        (
            vec![
                start_action("continueWithDefaultBehavior", json!({})),
                submit_action("showBlockPage", page.clone()),
            ],
            json!({"result": "blocked", "page": page}),
        ),
        (
            vec![
                start_action("continueWithDefaultBehavior", json!({})),
                submit_action("showValidationError", json!({"message": "no"})),
            ],
            json!({"result": "invalid", "error": {"message": "no", "attribute_errors": {}}}),
        ),
    ] {
        let extension = Extension::start(answers).await;
        let entra = start_config(at(&extension.url)).await;
        let outcome = entra.sign_up(&request(json!({}))).await.unwrap();
        assert_eq!(json!(outcome.result.unwrap()), expected);
        assert!(entra.directory(TID).unwrap().sign_ins()[0].user_id.is_nil());
    }
}

/// The extension was asked, so that whoever looks for its callouts finds them.
#[tokio::test]
async fn a_user_who_can_not_be_created_after_all_is_in_the_log_with_the_callouts() {
    let extension = Extension::start(vec![
        start_action("continueWithDefaultBehavior", json!({})),
        submit_action("modifyAttributeValues", json!({"attributes": {"email": ada().user}})),
    ])
    .await;
    let entra = start_config(at(&extension.url)).await;
    let outcome = entra.sign_up(&request(json!({}))).await.unwrap();
    assert_eq!(
        json!(outcome.result.unwrap()),
        json!({"result": "not_created", "reason": "another user has this address"})
    );
    assert_eq!(outcome.callouts.len(), 2);
    let log = &entra.directory(TID).unwrap().sign_ins()[0];
    assert_eq!(log.correlation_id, outcome.correlation_id);
    assert!(log.user_id.is_nil() && log.callout.is_some());
    assert_eq!(log.earlier_callouts.len(), 1);
}

/// A correction too: found when it is submitted, callouts would have been made for nothing.
#[tokio::test]
async fn a_correction_that_can_not_be_on_the_page_is_an_error_before_the_extension_is_asked() {
    let extension = Extension::start(vec![
        start_action("continueWithDefaultBehavior", json!({})),
        submit_action("showValidationError", json!({"message": "no"})),
    ])
    .await;
    let entra = start_config(at(&extension.url)).await;
    let mut request = request(json!({"city": "P4ris"}));
    request.submissions.push(object(json!({"city": 1})));
    let error = entra.sign_up(&request).await.unwrap_err().to_string();
    assert!(error.contains("`city`"), "{error}");
    assert!(extension.seen().is_empty());
    assert!(entra.directory(TID).unwrap().sign_ins().is_empty());
}

#[tokio::test]
async fn what_can_not_be_on_the_page_is_an_error() {
    let entra = start_config(|config| {
        config.handlers.clear();
        config.directories[0].listeners.clear();
    })
    .await;
    for values in [json!({"country": "es"}), json!({"city": 1}), json!({(YEAR): "2011"})] {
        entra.sign_up(&request(values)).await.unwrap_err();
    }
    let outcome = entra.sign_up(&request(json!({"city": null}))).await.unwrap();
    assert!(outcome.result.is_ok() && outcome.callout().is_none());
    let nowhere = SignUpRequest::new(TID, "x@example.org", "Diagnosis", object(json!({})));
    assert!(
        entra
            .sign_up(&nowhere)
            .await
            .unwrap_err()
            .to_string()
            .contains("no user flow")
    );
}

#[tokio::test]
async fn requests_can_look_like_recorded_ones() {
    let extension = Extension::start(vec![
        start_action(
            "setPrefillValues",
            json!({"inputs": {"EmailAddress": "other@example.org"}}),
        ),
        submit_action("continueWithDefaultBehavior", json!({})),
    ])
    .await;
    let entra = start_config(|config| {
        at(&extension.url)(config);
        let listeners = &config.directories[0].listeners;
        config.handlers = listeners[1..=2]
            .iter()
            .map(|listener| claimsmith_local_entra::HandlerConfig {
                listener: listener.id,
                behavior_on_error: None,
                oddities: vec![
                    Oddity::TypeAfterValue,
                    Oddity::EventDataFirst,
                    Oddity::EmailAddressName,
                    Oddity::IdentitiesOmitted,
                    Oddity::CollectionAsArray,
                ],
            })
            .collect();
    })
    .await;
    let mut request = request(json!({"extension_a1b2c3d40000400080000000000000a1_Topics": "a, b"}));
    request.identities.push(Identity {
        sign_in_type: "federated".to_owned(),
        issuer: "google.com".to_owned(),
        issuer_assigned_id: "117".to_owned(),
    });
    let directory = entra.directory(TID).unwrap();
    let text = directory
        .attribute_collection_start_body(&request)
        .unwrap()
        .to_json()
        .to_string();
    assert!(text.find("userSignUpInfo") < text.find("tenantId"));
    assert!(
        text.contains(r#""EmailAddress":{"value":"new@example.org","@odata.type":"#),
        "{text}"
    );

    let SignedUp::Created { attributes, .. } = entra.sign_up(&request).await.unwrap().result.unwrap() else {
        panic!("no user")
    };
    assert_eq!(attributes["email"], "other@example.org");
    let info = &extension.seen()[1].body["data"]["userSignUpInfo"];
    assert!(info.get("identities").is_none());
    assert_eq!(info["attributes"]["email"]["value"], "other@example.org");
    assert_eq!(
        info["attributes"]["extension_a1b2c3d40000400080000000000000a1_Topics"]["value"],
        json!(["a", "b"])
    );
}
