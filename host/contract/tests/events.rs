//! The events besides tokenIssuanceStart: what is read of their requests, and what their answers may be.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_contract::attribute_collection_start::{self, Action as StartAction};
use claimsmith_contract::attribute_collection_submit::{self, Action as SubmitAction, ValidationError};
use claimsmith_contract::password_submit::{self, Action as PasswordAction};
use claimsmith_contract::sign_up::{AttributeValue, NamedValue, SignUp, ValueType};
use claimsmith_contract::verified_id_claim_validation::{self, Verdict};
use claimsmith_contract::{
    BlockPage, Callout, Event, EventData, GuardError, MAX_MESSAGE_BYTES, MAX_TITLE_BYTES, ParseError, email_otp_send,
};
use serde_json::{Value, json};

const GUID: &str = "a1b2c3d4-0000-4000-8000-000000000001";
const YEAR: &str = "extension_0123456789abcdef0123456789abcdef_Year";

/// A request of an event, with these members of `data` besides the common ones.
fn request(event: Event, members: &Value) -> Vec<u8> {
    let mut data = json!({
        "@odata.type": event.callout_data_type(),
        "tenantId": GUID,
        "authenticationEventListenerId": GUID,
        "customAuthenticationExtensionId": GUID,
        "authenticationContext": {"correlationId": GUID, "user": {"userPrincipalName": "ada@example.org"}},
    });
    data.as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    let source = format!("/tenants/{GUID}/applications/{GUID}");
    serde_json::to_vec(&json!({"type": event.request_type(), "source": source, "data": data})).unwrap()
}

fn sign_up_members() -> Value {
    json!({"userSignUpInfo": {
        "attributes": {
            "email": {"value": "ada@example.org", "@odata.type": "microsoft.graph.stringDirectoryAttributeValue", "attributeType": "builtIn"},
            YEAR: {"value": null, "@odata.type": "microsoft.graph.int64DirectoryAttributeValue", "attributeType": "directorySchemaExtension"},
            "news": {"value": true, "@odata.Type": "microsoft.graph.booleanDirectoryAttributeValue"},
            "tags": {"value": ["a", "b"], "@odata.type": "microsoft.graph.stringCollectionDirectoryAttributeValue"},
            "future": {"value": {"x": 1}, "@odata.type": "microsoft.graph.somethingNew"},
        },
        "identities": [{"signInType": "federated", "issuer": "mail", "issuerAssignedId": "ada@example.org"}],
    }})
}

fn problems(event: Event, members: &Value) -> Vec<String> {
    match Callout::parse(&request(event, members), event) {
        Err(ParseError::Invalid {
            problems,
            correlation_id,
        }) => {
            assert_eq!(correlation_id.as_deref(), Some(GUID));
            problems.iter().map(ToString::to_string).collect()
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

fn with_sign_up(check: impl FnOnce(&SignUp<'_>)) {
    let body = request(Event::AttributeCollectionStart, &sign_up_members());
    let callout = Callout::parse(&body, Event::AttributeCollectionStart).unwrap();
    let EventData::SignUp(sign_up) = &callout.data else {
        panic!("no sign-up")
    };
    check(sign_up);
}

fn named(name: &str, value: AttributeValue) -> NamedValue {
    NamedValue {
        name: name.to_owned(),
        value,
    }
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::Text(text.to_owned())
}

fn json_of(body: Result<Vec<u8>, GuardError>) -> Value {
    serde_json::from_slice(&body.unwrap()).unwrap()
}

#[test]
fn a_sign_up_is_read_with_types_and_in_order() {
    with_sign_up(|sign_up| {
        let read: Vec<_> = sign_up
            .attributes
            .iter()
            .map(|attribute| (attribute.name.as_ref(), attribute.value_type, attribute.value.clone()))
            .collect();
        let expected = [
            ("email", ValueType::Text, Some(text("ada@example.org"))),
            (YEAR, ValueType::Integer, None),
            ("future", ValueType::Other, None),
            ("news", ValueType::Boolean, Some(AttributeValue::Boolean(true))),
            (
                "tags",
                ValueType::Texts,
                Some(AttributeValue::Texts(vec!["a".into(), "b".into()])),
            ),
        ];
        // `json!` sorts members; each is compared by name.
        for attribute in expected {
            assert!(read.contains(&attribute), "{attribute:?} in {read:?}");
        }
        assert_eq!(sign_up.identities[0].issuer.as_deref(), Some("mail"));
    });
}

#[test]
fn a_mistyped_attribute_is_named_by_its_pointer() {
    let mut members = sign_up_members();
    members["userSignUpInfo"]["attributes"][YEAR]["value"] = json!("2011");
    members["userSignUpInfo"]["identities"] = json!([7]);
    assert_eq!(
        problems(Event::AttributeCollectionSubmit, &members),
        [
            format!("/data/userSignUpInfo/attributes/{YEAR}/value: expected a 64-bit integer"),
            "/data/userSignUpInfo/identities/0: expected an object, found a number".to_owned(),
        ]
    );
}

#[test]
fn each_event_needs_its_own_data() {
    let cases = [
        (Event::AttributeCollectionStart, "/data/userSignUpInfo"),
        (Event::AttributeCollectionSubmit, "/data/userSignUpInfo"),
        (Event::EmailOtpSend, "/data/otpContext"),
        (Event::PasswordSubmit, "/data/encryptedPasswordContext"),
        (Event::VerifiedIdClaimValidation, "/data/verifiedIdClaimsContext"),
    ];
    for (event, pointer) in cases {
        let problems = problems(event, &json!({}));
        assert_eq!(problems.len(), 1, "{event}: {problems:?}");
        assert!(problems[0].starts_with(&format!("{pointer}: missing")), "{problems:?}");
    }
}

#[test]
fn a_one_time_code_is_read_in_any_case_and_never_shown() {
    for name in ["oneTimeCode", "onetimecode"] {
        let body = request(
            Event::EmailOtpSend,
            &json!({"otpContext": {"identifier": "ada@example.org", name: "40718263"}}),
        );
        let callout = Callout::parse(&body, Event::EmailOtpSend).unwrap();
        let EventData::OneTimeCode(code) = &callout.data else {
            panic!("no code")
        };
        assert_eq!(
            (code.identifier.as_ref(), code.code.expose()),
            ("ada@example.org", "40718263")
        );
        assert!(!format!("{callout:?}").contains("40718263"));
    }
}

#[test]
fn secrets_of_other_events_are_no_additional_members() {
    let members = json!({"otpContext": {"oneTimeCode": "40718263"}, "encryptedPasswordContext": "a.b.c.d.e"});
    let body = request(Event::TokenIssuanceStart, &members);
    assert_eq!(
        Callout::parse(&body, Event::TokenIssuanceStart).unwrap().additional,
        vec![]
    );
}

#[test]
fn a_verified_id_may_lack_listener_and_extension() {
    let mut members = json!({"verifiedIdClaimsContext": {"claims": {"firstName": "Ada", "lastName": null}, "additionalInfo": {"employeeId": "E77"}}});
    members["authenticationEventListenerId"] = Value::Null;
    members["customAuthenticationExtensionId"] = Value::Null;
    let body = request(Event::VerifiedIdClaimValidation, &members);
    let callout = Callout::parse(&body, Event::VerifiedIdClaimValidation).unwrap();
    let EventData::VerifiedId(verified_id) = &callout.data else {
        panic!("no Verified ID")
    };
    assert_eq!(verified_id.claims, [("firstName".into(), "Ada".into())]);
    assert_eq!(verified_id.additional_info, [("employeeId".into(), "E77".into())]);
}

#[test]
fn values_go_out_with_the_types_of_the_request() {
    with_sign_up(|sign_up| {
        let values = vec![
            named("email", text("x@example.org")),
            named(YEAR, AttributeValue::Integer(2011)),
            named("tags", AttributeValue::Texts(vec!["a".into(), "b".into()])),
        ];
        assert_eq!(
            json_of(attribute_collection_start::respond(
                &StartAction::Prefill(values),
                sign_up
            )),
            json!({"data": {
                "@odata.type": "microsoft.graph.onAttributeCollectionStartResponseData",
                "actions": [{
                    "@odata.type": "microsoft.graph.attributeCollectionStart.setPrefillValues",
                    "inputs": {"email": "x@example.org", YEAR: 2011, "tags": "a,b"},
                }],
            }})
        );
    });
}

#[test]
fn values_that_do_not_fit_the_request_are_refused() {
    with_sign_up(|sign_up| {
        let refused = |value: NamedValue| {
            let outcome = |body: Result<Vec<u8>, GuardError>| body.unwrap_err().outcome().code();
            let values = vec![value.clone()];
            let start = outcome(attribute_collection_start::respond(
                &StartAction::Prefill(values.clone()),
                sign_up,
            ));
            let submit = outcome(attribute_collection_submit::respond(
                &SubmitAction::Modify(values),
                sign_up,
            ));
            assert_eq!(start, submit);
            start
        };
        assert_eq!(refused(named("city", text("x"))), "unknown_attribute");
        assert_eq!(refused(named("Email", text("x"))), "unknown_attribute");
        assert_eq!(refused(named(YEAR, text("2011"))), "attribute_type");
        assert_eq!(refused(named("news", AttributeValue::Integer(1))), "attribute_type");
        assert_eq!(refused(named("future", text("x"))), "attribute_type");
        assert_eq!(
            refused(named("tags", AttributeValue::Texts(vec!["a,b".into()]))),
            "attribute_type"
        );
        let twice = vec![named("email", text("x")), named("email", text("y"))];
        let refused = attribute_collection_submit::respond(&SubmitAction::Modify(twice), sign_up);
        assert_eq!(refused.unwrap_err().outcome().code(), "duplicate_attribute");
    });
}

#[test]
fn a_validation_error_names_attributes_of_the_request() {
    let error = |name: &str, message: &str| {
        SubmitAction::ValidationError(ValidationError {
            message: "Please correct the marked fields.".to_owned(),
            attribute_errors: vec![(name.to_owned(), message.to_owned())],
        })
    };
    with_sign_up(|sign_up| {
        let body = attribute_collection_submit::respond(&error("email", "No such domain"), sign_up);
        assert_eq!(
            json_of(body)["data"]["actions"][0],
            json!({
                "@odata.type": "microsoft.graph.attributeCollectionSubmit.showValidationError",
                "message": "Please correct the marked fields.",
                "attributeErrors": {"email": "No such domain"},
            })
        );
        let refused = |action| {
            attribute_collection_submit::respond(&action, sign_up)
                .unwrap_err()
                .outcome()
                .code()
        };
        assert_eq!(refused(error("city", "x")), "unknown_attribute");
        assert_eq!(refused(error("email", " ")), "text_length");
    });
}

#[test]
fn texts_that_people_read_are_there_and_bounded() {
    let page = |title: Option<usize>, message: usize| BlockPage {
        title: title.map(|bytes| "t".repeat(bytes)),
        message: "m".repeat(message),
    };
    let respond = |page| password_submit::respond(&PasswordAction::Block(page), GUID);
    assert!(respond(page(Some(MAX_TITLE_BYTES), MAX_MESSAGE_BYTES)).is_ok());
    assert!(respond(page(None, 1)).is_ok());
    for refused in [
        page(Some(0), 1),
        page(Some(MAX_TITLE_BYTES + 1), 1),
        page(None, 0),
        page(None, MAX_MESSAGE_BYTES + 1),
    ] {
        assert_eq!(respond(refused).unwrap_err().outcome().code(), "text_length");
    }
}

#[test]
fn actions_are_spelled_as_entra_documents_them() {
    let type_of = |body: Result<Vec<u8>, GuardError>| {
        let body = json_of(body);
        let action = body["data"]["actions"][0]["@odata.type"].as_str().unwrap().to_owned();
        (body["data"]["@odata.type"].as_str().unwrap().to_owned(), action)
    };
    let expected = |data: &str, action: &str| (format!("microsoft.graph.{data}"), format!("microsoft.graph.{action}"));
    with_sign_up(|sign_up| {
        assert_eq!(
            type_of(attribute_collection_start::respond(&StartAction::Proceed, sign_up)),
            expected(
                "onAttributeCollectionStartResponseData",
                "attributeCollectionStart.continueWithDefaultBehavior"
            )
        );
        assert_eq!(
            type_of(attribute_collection_submit::respond(&SubmitAction::Proceed, sign_up)),
            expected(
                "onAttributeCollectionSubmitResponseData",
                "attributeCollectionSubmit.continueWithDefaultBehavior"
            )
        );
    });
    assert_eq!(
        type_of(Ok(email_otp_send::respond())),
        expected("OnOtpSendResponseData", "OtpSend.continueWithDefaultBehavior")
    );
    let passwords = [
        (PasswordAction::Migrate, "MigratePassword"),
        (PasswordAction::Update, "UpdatePassword"),
        (PasswordAction::Retry, "Retry"),
    ];
    for (action, name) in passwords {
        let body = password_submit::respond(&action, "the nonce");
        assert_eq!(json_of(body.clone())["data"]["nonce"], "the nonce");
        let action = format!("passwordSubmit.{name}");
        assert_eq!(type_of(body), expected("onPasswordSubmitResponseData", &action));
    }
    let failed = Verdict::Failed(vec!["dateOfBirth".to_owned()]);
    let body = verified_id_claim_validation::respond(&failed);
    assert_eq!(
        json_of(body.clone())["data"]["actions"][0]["failedClaims"],
        json!(["dateOfBirth"])
    );
    let data = "onVerifiedIdClaimValidationResponseData";
    assert_eq!(type_of(body), expected(data, "verifiedIdClaimValidation.failed"));
    let body = verified_id_claim_validation::respond(&Verdict::Pass);
    assert_eq!(type_of(body), expected(data, "verifiedIdClaimValidation.pass"));
    let nameless = verified_id_claim_validation::respond(&Verdict::Failed(vec![String::new()]));
    assert_eq!(nameless.unwrap_err().outcome().code(), "empty_failed_claim");
}
