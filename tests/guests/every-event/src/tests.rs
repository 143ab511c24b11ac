use claimsmith_plugin::{Attribute, AttributeType, ErrorKind, Identity, NamedText, User, ValueType, settings};
use serde_json::{Value as Json, json};

use super::*;

const SECRET: &str = "pässword";

fn settings(json: &Json) -> Settings {
    settings::read(&json.to_string()).unwrap()
}

fn callout() -> Callout {
    Callout {
        correlation_id: "C".into(),
        user: Some(User {
            mail: Some("ada@example.org".into()),
            ..User::default()
        }),
        additional: vec![("device.os".into(), "Linux".into())],
        ..Callout::default()
    }
}

fn start(json: &Json) -> Result<AttributeCollectionStart> {
    attribute_collection_start(&callout(), &sign_up(), &settings(json))
}

fn submit(json: &Json) -> Result<AttributeCollectionSubmit> {
    attribute_collection_submit(&callout(), &sign_up(), &settings(json))
}

fn password(json: &Json) -> Result<PasswordSubmit> {
    password_submit(&callout(), &Credentials::new("ada", SECRET), &settings(json))
}

fn validate(json: &Json) -> Result<Verdict> {
    let verified_id = VerifiedId {
        identities: vec![identity()],
        claims: vec![NamedText::new("firstName", "Ada")],
        additional_info: vec![NamedText::new("employeeId", "E77")],
    };
    verified_id_claim_validation(&callout(), &verified_id, &settings(json))
}

fn identity() -> Identity {
    Identity {
        sign_in_type: Some("federated".into()),
        issuer: Some("mail".into()),
        issuer_assigned_id: Some("ada@example.org".into()),
    }
}

fn sign_up() -> SignUp {
    SignUp {
        attributes: vec![
            Attribute::new("city", "P4ris"),
            Attribute {
                attribute_type: AttributeType::DirectorySchemaExtension,
                ..Attribute::new("year", 2011)
            },
            Attribute {
                value: None,
                value_type: ValueType::Other,
                attribute_type: AttributeType::Other,
                ..Attribute::new("newer", ["a"])
            },
        ],
        identities: vec![identity()],
    }
}

fn echo(page: &BlockPage) -> Json {
    serde_json::from_str(&page.message).unwrap()
}

#[test]
fn every_event_has_a_default_action() {
    let none = json!({});
    let claims = token_issuance_start(&callout(), &settings(&none)).unwrap();
    assert!(claims.is_empty());
    assert_eq!(start(&none).unwrap(), AttributeCollectionStart::Proceed);
    assert_eq!(submit(&none).unwrap(), AttributeCollectionSubmit::Proceed);
    email_otp_send(&callout(), &OneTimeCode::default(), &settings(&none)).unwrap();
    assert_eq!(password(&none).unwrap(), PasswordSubmit::Migrate);
    assert_eq!(validate(&none).unwrap(), Verdict::Pass);
}

#[test]
fn values_are_answered_as_the_settings_have_them() {
    let values = json!({ "a": "x", "b": 7, "c": true, "d": ["x", "y"] });
    let json = json!({ "action": "prefill", "values": values });
    let expected = AttributeValues::new()
        .with("a", "x")
        .with("b", 7)
        .with("c", true)
        .with("d", ["x", "y"]);
    assert_eq!(
        start(&json).unwrap(),
        AttributeCollectionStart::Prefill(expected.clone())
    );
    let json = json!({ "action": "modify", "values": values });
    assert_eq!(submit(&json).unwrap(), AttributeCollectionSubmit::Modify(expected));
    let json = json!({ "action": "claims", "values": values });
    let claims = token_issuance_start(&callout(), &settings(&json)).unwrap();
    let expected = Claims::new().with("a", "x").with("b", 7).with("c", true);
    assert_eq!(claims, expected.with("d", ["x", "y"]));
    let problems = settings::check::<Settings>(r#"{ "values": { "a": 1.5 } }"#);
    assert!(problems[0].message.contains("an array of strings"), "{problems:?}");
}

#[test]
fn everything_can_be_answered_twice() {
    let json = json!({ "action": "modify", "values": { "a": 1, "b": 2 }, "twice": true });
    let AttributeCollectionSubmit::Modify(values) = submit(&json).unwrap() else {
        panic!("modify");
    };
    let names: Vec<_> = values.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "a", "b"]);
    let json = json!({ "action": "failed", "failed": ["a"], "twice": true });
    assert_eq!(validate(&json).unwrap(), Verdict::failed(["a", "a"]));
}

#[test]
fn messages_are_answered_as_the_settings_have_them() {
    let json = json!({ "action": "validation_error", "message": "", "errors": { "city": "", "": "x" } });
    let AttributeCollectionSubmit::ValidationError(error) = submit(&json).unwrap() else {
        panic!("validation_error");
    };
    assert_eq!(error.message(), "");
    assert_eq!(error.iter().collect::<Vec<_>>(), [("", "x"), ("city", "")]);

    let page = BlockPage::new("No: xxx").with_title("");
    let json = json!({ "action": "block", "title": "", "message": "No: ", "pad": 3 });
    assert_eq!(start(&json).unwrap(), AttributeCollectionStart::Block(page.clone()));
    assert_eq!(submit(&json).unwrap(), AttributeCollectionSubmit::Block(page.clone()));
    assert_eq!(password(&json).unwrap(), PasswordSubmit::Block(page));
    assert_eq!(
        password(&json!({ "action": "block" })).unwrap(),
        PasswordSubmit::Block(BlockPage::new("The settings say so."))
    );
}

#[test]
fn the_other_actions_are_answered() {
    assert_eq!(
        password(&json!({ "action": "update" })).unwrap(),
        PasswordSubmit::Update
    );
    assert_eq!(password(&json!({ "action": "retry" })).unwrap(), PasswordSubmit::Retry);
    let failed = json!({ "action": "failed", "failed": ["dateOfBirth", ""] });
    assert_eq!(validate(&failed).unwrap(), Verdict::failed(["dateOfBirth", ""]));
}

#[test]
fn each_failure_is_of_its_kind() {
    for (action, kind, message) in [
        ("unavailable", ErrorKind::Unavailable, "No"),
        ("rejected", ErrorKind::Rejected, "No"),
        ("internal", ErrorKind::Internal, "No"),
        (
            "migrate",
            ErrorKind::Internal,
            "the event does not have the action that the settings say",
        ),
    ] {
        let error = start(&json!({ "action": action, "message": "No" })).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (kind, message));
    }
}

#[test]
fn an_echo_has_what_the_plugin_was_given() {
    let claims = token_issuance_start(&callout(), &settings(&json!({ "action": "echo" }))).unwrap();
    let expected = Claims::new().with("correlationId", "C").with("tenantId", "");
    assert_eq!(
        claims,
        expected.with("user.mail", "ada@example.org").with("device.os", "Linux")
    );

    let echo_of_sign_up = json!({
        "correlationId": "C",
        "tenantId": "",
        "user.mail": "ada@example.org",
        "device.os": "Linux",
        "attributes.city.value": "P4ris",
        "attributes.city.valueType": "text",
        "attributes.city.attributeType": "builtIn",
        "attributes.year.value": "2011",
        "attributes.year.valueType": "integer",
        "attributes.year.attributeType": "directorySchemaExtension",
        "attributes.newer.valueType": "other",
        "attributes.newer.attributeType": "other",
        "identities[0].signInType": "federated",
        "identities[0].issuer": "mail",
        "identities[0].issuerAssignedId": "ada@example.org",
        "mail": "ada@example.org",
    });
    let json = json!({ "action": "echo" });
    let AttributeCollectionStart::Block(page) = start(&json).unwrap() else {
        panic!("block");
    };
    assert_eq!(echo(&page), echo_of_sign_up);
    let AttributeCollectionSubmit::Block(page) = submit(&json).unwrap() else {
        panic!("block");
    };
    assert_eq!(echo(&page), echo_of_sign_up);

    let part = json!({ "action": "echo", "only": "identities" });
    let parts = [
        "identities[0].signInType=federated",
        "identities[0].issuer=mail",
        "identities[0].issuerAssignedId=ada@example.org",
    ];
    assert_eq!(validate(&part).unwrap(), Verdict::failed(parts));
    let part = json!({ "action": "echo", "only": "claims." });
    assert_eq!(validate(&part).unwrap(), Verdict::failed(["claims.firstName=Ada"]));
    let part = json!({ "action": "echo", "only": "additionalInfo." });
    assert_eq!(
        validate(&part).unwrap(),
        Verdict::failed(["additionalInfo.employeeId=E77"])
    );
}

#[test]
fn an_echo_tells_of_a_secret_only_what_does_not_disclose_it() {
    for (secret, matches) in [(SECRET, "true"), ("other", "false")] {
        let json = json!({ "action": "echo", "only": "password", "secret": secret });
        let PasswordSubmit::Block(page) = password(&json).unwrap() else {
            panic!("block");
        };
        assert_eq!(
            echo(&page),
            json!({ "password.bytes": "9", "password.matches": matches })
        );
    }
    let PasswordSubmit::Block(page) = password(&json!({ "action": "echo" })).unwrap() else {
        panic!("block");
    };
    assert_eq!(echo(&page)["username"], "ada");
    assert!(!page.message.contains(SECRET), "{}", page.message);
}

#[test]
#[should_panic(expected = "the settings say so")]
fn it_panics_when_it_is_told_to() {
    drop(start(&json!({ "action": "panic" })));
}
