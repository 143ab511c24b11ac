//! The five events beside tokenIssuanceStart: how they are caused, and their documented answers.

use std::collections::BTreeMap;

use claimsmith_local_entra::{
    CalloutRecord, Event, LocalEntra, RecoverAccountRequest, SendOtpRequest, SignUpRequest, SubmitPasswordRequest,
    VerifiedIdClaims,
};
use serde_json::{Map, Value, json};

use crate::support::{Answer, Extension, STAFF, TID, at, start_config};

pub(crate) const EVENTS: [Event; 5] = [
    Event::AttributeCollectionStart,
    Event::AttributeCollectionSubmit,
    Event::EmailOtpSend,
    Event::PasswordSubmit,
    Event::VerifiedIdClaimValidation,
];

pub(crate) fn response_data_type(event: Event) -> &'static str {
    match event {
        Event::AttributeCollectionStart => "microsoft.graph.onAttributeCollectionStartResponseData",
        Event::AttributeCollectionSubmit => "microsoft.graph.onAttributeCollectionSubmitResponseData",
        Event::EmailOtpSend => "microsoft.graph.OnOtpSendResponseData",
        Event::PasswordSubmit => "microsoft.graph.onPasswordSubmitResponseData",
        _ => "microsoft.graph.onVerifiedIdClaimValidationResponseData",
    }
}

/// The documented answer with one action.
pub(crate) fn action(event: Event, name: &str, members: Value) -> Value {
    let mut action = json!({ "@odata.type": format!("microsoft.graph.{name}") });
    if let (Value::Object(action), Value::Object(members)) = (&mut action, members) {
        action.extend(members);
    }
    json!({"data": { "@odata.type": response_data_type(event), "actions": [action] }})
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn grace_claims() -> VerifiedIdClaims {
    VerifiedIdClaims {
        additional_info: BTreeMap::from([("employeeId".to_owned(), "E77".to_owned())]),
        claims: BTreeMap::from([("firstName".to_owned(), "Grace".to_owned())]),
        ..VerifiedIdClaims::default()
    }
}

/// Makes the event happen once: the record of its callout, and how the whole ended if no callout failed.
pub(crate) async fn cause(entra: &LocalEntra, event: Event) -> (CalloutRecord, Option<Value>) {
    let (mut callouts, result) = match event {
        Event::AttributeCollectionStart | Event::AttributeCollectionSubmit => {
            let request = SignUpRequest::new(TID, "new@example.org", "Shop", object(json!({"city": "Paris"})));
            let outcome = entra.sign_up(&request).await.unwrap();
            (outcome.callouts, outcome.result.ok().map(|value| json!(value)))
        }
        Event::EmailOtpSend => {
            let request = SendOtpRequest::new(TID, "new@example.org", "Shop");
            let outcome = entra.send_otp(&request).await.unwrap();
            (outcome.callouts, outcome.result.ok().map(|value| json!(value)))
        }
        Event::PasswordSubmit => {
            let request = SubmitPasswordRequest::new(TID, "lin@example.org", "legacy", "Shop");
            let outcome = entra.submit_password(&request).await.unwrap();
            (outcome.callouts, outcome.result.ok().map(|value| json!(value)))
        }
        _ => {
            let request = RecoverAccountRequest::new(STAFF, "grace@northwind.example", "Help desk", grace_claims());
            let outcome = entra.recover_account(&request).await.unwrap();
            (outcome.callouts, outcome.result.ok().map(|value| json!(value)))
        }
    };
    let callout = callouts.pop().unwrap();
    assert_eq!(callout.event_type, event);
    (callout, result)
}

/// The example with only this event's listeners, its extension at an address, and no handlers.
pub(crate) async fn start_event(event: Event, url: &str) -> LocalEntra {
    start_config(|config| {
        at(url)(config);
        config.handlers.clear();
        for directory in &mut config.directories {
            directory.listeners.retain(|listener| listener.event == event);
        }
    })
    .await
}

/// One callout of the event with one answer.
pub(crate) async fn cause_with(event: Event, answer: Answer) -> (CalloutRecord, Option<Value>) {
    let extension = Extension::start(vec![answer]).await;
    let entra = start_event(event, &extension.url).await;
    let caused = cause(&entra, event).await;
    let directory = if event == Event::VerifiedIdClaimValidation {
        STAFF
    } else {
        TID
    };
    let log = entra.directory(directory).unwrap().sign_ins();
    assert_eq!(log[0].callout.as_ref().unwrap().error_code, caused.0.error_code);
    caused
}

#[tokio::test]
async fn a_one_time_code_is_sent_as_documented_and_the_fallback_is_microsofts_mail() {
    let good = action(Event::EmailOtpSend, "OtpSend.continueWithDefaultBehavior", json!({}));
    let extension = Extension::start(vec![Answer::Json(good), Answer::Raw(500, None, String::new())]).await;
    let entra = start_config(at(&extension.url)).await;
    let mut request = SendOtpRequest::new(TID, "new@example.org", "Shop");
    request.one_time_code = Some("40718263".to_owned());
    let outcome = entra.send_otp(&request).await.unwrap();
    assert_eq!(json!(outcome.result.unwrap()), json!({"result": "by_extension"}));
    let body = &extension.seen()[0].body;
    assert_eq!(body["type"], "microsoft.graph.authenticationEvent.emailOtpSend");
    assert_eq!(body["data"]["@odata.type"], "microsoft.graph.onOtpSendCalloutData");
    assert_eq!(
        body["data"]["otpContext"],
        json!({"identifier": "new@example.org", "oneTimeCode": "40718263"})
    );
    assert_eq!(body["data"]["authenticationContext"]["requestType"], "signUp");
    assert!(body["data"]["authenticationContext"].get("user").is_none());

    request.one_time_code = None;
    let outcome = entra.send_otp(&request).await.unwrap();
    assert_eq!(
        json!(outcome.result.unwrap()),
        json!({"result": "by_microsoft_after_failure"})
    );
    assert_eq!(outcome.callouts[0].error_code.unwrap().code(), 1_003_002);
    let code = extension.seen()[1].body["data"]["otpContext"]["oneTimeCode"].clone();
    assert_eq!(code.as_str().unwrap().len(), 8);
    let log = json!(entra.directory(TID).unwrap().sign_ins()).to_string();
    assert!(!log.contains("40718263") && !log.contains(code.as_str().unwrap()));
    assert!(log.contains("\"activity\":\"sendOtp\""));
}

#[tokio::test]
async fn verified_claims_are_sent_and_decide_about_the_pass() {
    let event = Event::VerifiedIdClaimValidation;
    let pass = action(event, "verifiedIdClaimValidation.pass", json!({}));
    let failed = action(
        event,
        "verifiedIdClaimValidation.failed",
        json!({"failedClaims": ["firstName"]}),
    );
    let extension = Extension::start(vec![Answer::Json(pass), Answer::Json(failed)]).await;
    let entra = start_config(at(&extension.url)).await;
    let (_, result) = cause(&entra, event).await;
    assert_eq!(result.unwrap()["result"], "temporary_access_pass_issued");
    let (callout, result) = cause(&entra, event).await;
    assert_eq!(
        result.unwrap(),
        json!({"result": "claims_failed", "failed_claims": ["firstName"]})
    );
    assert_eq!(callout.action, Some("microsoft.graph.verifiedIdClaimValidation.failed"));

    // The example's listener leaves its ids out.
    let data = &extension.seen()[0].body["data"];
    assert!(data.get("authenticationEventListenerId").is_none());
    assert_eq!(
        data["authenticationContext"]["user"]["userPrincipalName"],
        "grace@northwind.example"
    );
    assert_eq!(
        data["verifiedIdClaimsContext"],
        json!({"additionalInfo": {"employeeId": "E77"}, "claims": {"firstName": "Grace"}})
    );
}
