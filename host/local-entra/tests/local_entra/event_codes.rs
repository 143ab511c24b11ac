//! Which answer to which event ends in which of Entra's error codes.

use claimsmith_local_entra::{CalloutErrorCode, Event};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::events::{EVENTS, action, cause, cause_with, response_data_type, start_event};
use crate::support::{Answer, at, start_config};

async fn code_of(event: Event, answer: Answer) -> u32 {
    let (callout, result) = cause_with(event, answer).await;
    assert!(result.is_none(), "{event}: {result:?}");
    callout.error_code.unwrap().code()
}

fn json_answer(body: &str) -> Answer {
    Answer::Raw(200, Some("application/json"), body.to_owned())
}

#[tokio::test]
async fn answers_that_no_event_has() {
    for event in EVENTS {
        for (answer, code) in [
            (Answer::Raw(401, None, String::new()), 1_003_002),
            (Answer::Raw(200, Some("text/plain"), "{}".to_owned()), 1_003_006),
            (json_answer(""), 1_003_009),
            (json_answer("{"), 1_003_003),
            (json_answer("{}"), 1_003_003),
            (json_answer(r#"{"data":{"actions":[]}}"#), 1_003_010),
            (json_answer(r#"{"data":{"actions":[{},{}]}}"#), 1_003_010),
            (json_answer(&" ".repeat(65537)), 1_003_024),
            (
                Answer::Json(action(
                    event,
                    "tokenIssuanceStart.provideClaimsForToken",
                    json!({"claims": {}}),
                )),
                1_003_012,
            ),
        ] {
            assert_eq!(code_of(event, answer).await, code, "{event}");
        }
    }
}

#[tokio::test]
async fn no_answer_at_all() {
    for event in EVENTS {
        let extension = crate::support::Extension::start(vec![Answer::Hang]).await;
        let entra = start_config(|config| {
            at(&extension.url)(config);
            config.handlers.clear();
            for directory in &mut config.directories {
                directory.listeners.retain(|listener| listener.event == event);
                for listener in &mut directory.listeners {
                    listener.timeout = Some(200);
                }
            }
        })
        .await;
        let callout = cause(&entra, event).await.0;
        assert_eq!(
            (callout.error_code.unwrap().code(), callout.number_of_attempts),
            (1_003_005, 2)
        );
        let seen = extension.seen();
        assert_eq!(seen[0].body, seen[1].body, "{event}: a retry is the same request");

        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", closed.local_addr().unwrap());
        drop(closed);
        let callout = cause(&start_event(event, &url).await, event).await.0;
        assert_eq!(callout.error_code.unwrap().code(), 1_003_027, "{event}");
    }
}

#[tokio::test]
async fn what_fails_before_anything_is_sent() {
    for event in EVENTS {
        let refused = CalloutErrorCode::try_from(1_003_021).unwrap();
        for (change, code) in [
            (0, 1_003_020),
            (1, 1_003_014),
            (2, 1_003_015),
            (3, 1_003_011),
            (4, 1_003_021),
        ] {
            let entra = start_config(|config| {
                config.handlers.clear();
                for directory in &mut config.directories {
                    directory.listeners.retain(|listener| listener.event == event);
                    for extension in &mut directory.extensions {
                        match change {
                            0 => extension.target_url = "http://claims.example.org/".to_owned(),
                            1 => extension.resource_id = "api://x".to_owned(),
                            2 => extension.target_url = "https://claims.example.org/".to_owned(),
                            4 => extension.refused_with = Some(refused),
                            _ => {}
                        }
                    }
                    for listener in directory.listeners.iter_mut().filter(|_| change == 3) {
                        listener.extension = Uuid::nil();
                    }
                }
            })
            .await;
            let callout = cause(&entra, event).await.0;
            assert_eq!(
                (callout.error_code.unwrap().code(), callout.number_of_attempts),
                (code, 0),
                "{event}"
            );
        }
    }
}

#[tokio::test]
async fn members_of_actions_are_of_the_documented_types() {
    let (start, submit) = (Event::AttributeCollectionStart, Event::AttributeCollectionSubmit);
    let year = "extension_a1b2c3d40000400080000000000000a1_Year";
    let news = "extension_a1b2c3d40000400080000000000000a1_News";
    let topics = "extension_a1b2c3d40000400080000000000000a1_Topics";
    for (event, name, members) in [
        (start, "attributeCollectionStart.setPrefillValues", json!({})),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": []}),
        ),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {"city": 1}}),
        ),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {"city": null}}),
        ),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {(year): "2011"}}),
        ),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {(year): 1.5}}),
        ),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {(news): "true"}}),
        ),
        (
            start,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {(topics): ["a"]}}),
        ),
        (start, "attributeCollectionStart.showBlockPage", json!({})),
        (
            start,
            "attributeCollectionStart.showBlockPage",
            json!({"message": "no", "title": 1}),
        ),
        (
            submit,
            "attributeCollectionSubmit.modifyAttributeValues",
            json!({"inputs": {}}),
        ),
        (
            submit,
            "attributeCollectionSubmit.modifyAttributeValues",
            json!({"attributes": {"city": true}}),
        ),
        (
            submit,
            "attributeCollectionSubmit.showBlockPage",
            json!({"title": "no"}),
        ),
        (
            submit,
            "attributeCollectionSubmit.showValidationError",
            json!({"attributeErrors": {}}),
        ),
        (
            submit,
            "attributeCollectionSubmit.showValidationError",
            json!({"message": "no", "attributeErrors": []}),
        ),
        (
            submit,
            "attributeCollectionSubmit.showValidationError",
            json!({"message": "no", "attributeErrors": {"city": 1}}),
        ),
        (
            Event::VerifiedIdClaimValidation,
            "verifiedIdClaimValidation.failed",
            json!({}),
        ),
        (
            Event::VerifiedIdClaimValidation,
            "verifiedIdClaimValidation.failed",
            json!({"failedClaims": "firstName"}),
        ),
        (
            Event::VerifiedIdClaimValidation,
            "verifiedIdClaimValidation.failed",
            json!({"failedClaims": [1]}),
        ),
    ] {
        let answer = Answer::Json(action(event, name, members.clone()));
        assert_eq!(code_of(event, answer).await, 1_003_003, "{name} {members}");
    }
}

#[tokio::test]
async fn what_entra_lets_pass_is_recorded_as_a_warning() {
    for (event, name, members, expected) in [
        (
            Event::EmailOtpSend,
            "otpSend.continueWithDefaultBehavior",
            json!({}),
            "the action type is `microsoft.graph.otpSend.continueWithDefaultBehavior`, documented is",
        ),
        (
            Event::VerifiedIdClaimValidation,
            "verifiedIdClaimValidation.Pass",
            json!({}),
            "documented is `microsoft.graph.verifiedIdClaimValidation.pass`",
        ),
        (
            Event::VerifiedIdClaimValidation,
            "verifiedIdClaimValidation.failed",
            json!({"failedClaims": ["lastName"]}),
            "`lastName` was not in the request",
        ),
        (
            Event::AttributeCollectionStart,
            "attributeCollectionStart.setPreFillValues",
            json!({"inputs": {}}),
            "documented is `microsoft.graph.attributeCollectionStart.setPrefillValues`",
        ),
        (
            Event::AttributeCollectionStart,
            "attributeCollectionStart.setPrefillValues",
            json!({"inputs": {"country": "es"}}),
            "`country` is not in the request: ignored",
        ),
        (
            Event::AttributeCollectionSubmit,
            "attributeCollectionSubmit.showValidationError",
            json!({"message": "no", "attributeErrors": {"City": "x"}}),
            "`City` is not in the request: ignored",
        ),
    ] {
        let (callout, result) = cause_with(event, Answer::Json(action(event, name, members))).await;
        assert!(result.is_some(), "{callout:?}");
        assert_eq!(callout.warnings.len(), 1, "{:?}", callout.warnings);
        assert!(callout.warnings[0].contains(expected), "{:?}", callout.warnings);
    }

    let mut answer = action(Event::EmailOtpSend, "OtpSend.continueWithDefaultBehavior", json!({}));
    let documented = response_data_type(Event::EmailOtpSend);
    answer["data"]["@odata.type"] = Value::from(documented.replace("OnOtp", "onOtp"));
    let (callout, _) = cause_with(Event::EmailOtpSend, Answer::Json(answer)).await;
    assert!(callout.warnings[0].contains("documented is `microsoft.graph.OnOtpSendResponseData`"));
}
