//! What the request parser accepts and refuses, through its public surface.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_contract::{Callout, Event, MAX_ADDITIONAL_MEMBERS, ParseError};
use serde_json::{Value, json};

const TENANT: &str = "a1b2c3d4-0000-4000-8000-000000000001";

/// The example of contract.md, section 1.1.
fn sample() -> Value {
    json!({
        "type": "microsoft.graph.authenticationEvent.tokenIssuanceStart",
        "source": "/tenants/a1b2c3d4-0000-4000-8000-000000000001/applications/a1b2c3d4-0000-4000-8000-0000000000a1",
        "data": {
            "@odata.type": "microsoft.graph.onTokenIssuanceStartCalloutData",
            "tenantId": TENANT,
            "authenticationEventListenerId": "a1b2c3d4-0000-4000-8000-0000000000b1",
            "customAuthenticationExtensionId": "a1b2c3d4-0000-4000-8000-0000000000c1",
            "authenticationContext": {
                "correlationId": "a1b2c3d4-0000-4000-8000-0000000000d1",
                "client": {"ip": "2001:db8::7", "locale": "en-gb", "market": "en-gb"},
                "protocol": "OAUTH2.0",
                "clientServicePrincipal": {
                    "id": "a1b2c3d4-0000-4000-8000-0000000000e1", "appId": "a1b2c3d4-0000-4000-8000-0000000000a1",
                    "appDisplayName": "Shop", "displayName": "Shop",
                },
                "resourceServicePrincipal": {
                    "id": "a1b2c3d4-0000-4000-8000-0000000000e1", "appId": "a1b2c3d4-0000-4000-8000-0000000000a1",
                    "appDisplayName": "Shop", "displayName": "Shop",
                },
                "user": {
                    "id": "a1b2c3d4-0000-4000-8000-0000000000f1", "displayName": "Ada",
                    "mail": "ada@example.org", "userType": "Member",
                },
            },
        },
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut body = sample();
    change(&mut body);
    serde_json::to_vec(&body).unwrap()
}

fn parse(body: &[u8]) -> Result<Callout<'_>, ParseError> {
    Callout::parse(body, Event::TokenIssuanceStart)
}

/// The problems of a body as `pointer: message` lines.
fn problems(body: &[u8]) -> Vec<String> {
    match parse(body) {
        Err(ParseError::Invalid { problems, .. }) => problems.iter().map(ToString::to_string).collect(),
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn every_documented_member_is_read() {
    let body = serde_json::to_vec(&sample()).unwrap();
    let callout = parse(&body).unwrap();
    assert_eq!(callout.tenant_id.to_string(), TENANT);
    assert_eq!(
        callout.listener_id.as_deref(),
        Some("a1b2c3d4-0000-4000-8000-0000000000b1")
    );
    assert_eq!(
        callout.extension_id.as_deref(),
        Some("a1b2c3d4-0000-4000-8000-0000000000c1")
    );
    assert_eq!(callout.correlation_id, "a1b2c3d4-0000-4000-8000-0000000000d1");
    assert_eq!(callout.protocol.as_deref(), Some("OAUTH2.0"));
    assert_eq!(callout.client.unwrap().ip.as_deref(), Some("2001:db8::7"));
    assert_eq!(
        callout.client_service_principal.unwrap().app_display_name.as_deref(),
        Some("Shop")
    );
    let user = callout.user.unwrap();
    assert_eq!(user.mail.as_deref(), Some("ada@example.org"));
    assert_eq!(user.user_principal_name, None);
    assert_eq!(callout.additional, vec![]);
}

#[test]
fn the_oddities_of_real_requests_are_accepted() {
    // Discriminator last, unknown members, foreign members as nulls, casing slips: contract.md, sections 0.2 and 0.4.
    let body = changed(|body| {
        body["type"] = json!("microsoft.graph.authenticationEvent.TokenIssuanceStart");
        body["unknownMember"] = json!({"nested": [1, null]});
        let data = body["data"].as_object_mut().unwrap();
        let odata_type = data.remove("@odata.type").unwrap();
        data.insert("userSignUpInfo".into(), Value::Null);
        data.insert("otpContext".into(), Value::Null);
        data.insert("@odata.Type".into(), odata_type);
        let context = data["authenticationContext"].as_object_mut().unwrap();
        context.insert("client".into(), json!({"clientIp": "192.0.2.9", "locale": null}));
        context.insert("resourceServicePrincipal".into(), Value::Null);
        context.insert("requestType".into(), json!("unknownFutureValue"));
        context.insert("protocol".into(), json!("somethingNew"));
    });
    let callout = parse(&body).unwrap();
    assert_eq!(callout.client.unwrap().ip.as_deref(), Some("192.0.2.9"));
    assert_eq!(callout.resource_service_principal, None);
    assert_eq!(callout.protocol.as_deref(), Some("somethingNew"));
}

#[test]
fn members_nobody_names_are_handed_on_as_paths() {
    let body = changed(|body| {
        body["data"]["future"] = json!({"flags": [true, "x"], "level": 3, "none": null, "empty": {}});
        body["data"]["authenticationContext"]["user"]["employeeId"] = json!("E77");
        body["data"]["authenticationContext"]["session"] = json!("s1");
    });
    let callout = parse(&body).unwrap();
    let additional: Vec<_> = callout
        .additional
        .iter()
        .map(|(path, text)| format!("{path}={text}"))
        .collect();
    assert_eq!(
        additional,
        [
            "future.flags[0]=true",
            "future.flags[1]=x",
            "future.level=3",
            "user.employeeId=E77",
            "session=s1"
        ]
    );

    let body = changed(|body| body["data"]["many"] = json!(vec!["x"; MAX_ADDITIONAL_MEMBERS + 1]));
    assert_eq!(parse(&body).unwrap().additional.len(), MAX_ADDITIONAL_MEMBERS);
}

#[test]
fn all_problems_are_reported_together() {
    let body = changed(|body| {
        body["source"] = json!("/tenants/elsewhere");
        body["data"]["@odata.type"] = json!("microsoft.graph.onOtpSendCalloutData");
        body["data"]["tenantId"] = json!("00000000-0000-0000-0000-000000000000");
        body["data"]["authenticationEventListenerId"] = json!(7);
        body["data"]
            .as_object_mut()
            .unwrap()
            .remove("customAuthenticationExtensionId");
        body["data"]["authenticationContext"]["user"]["mail"] = json!(["a"]);
        body["data"]["authenticationContext"]["client"] = json!("phone");
    });
    let problems = problems(&body);
    let pointers: Vec<_> = problems
        .iter()
        .map(|problem| problem.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        pointers,
        [
            "/data/@odata.type",
            "/data/tenantId",
            "/data/authenticationEventListenerId",
            "/data/customAuthenticationExtensionId",
            "/data/authenticationContext/client",
            "/data/authenticationContext/user/mail",
        ]
    );
    assert!(problems[5].ends_with("expected a string, found an array"));
}

#[test]
fn the_correlation_id_survives_other_problems() {
    let body = changed(|body| body["data"]["tenantId"] = Value::Null);
    let Err(ParseError::Invalid { correlation_id, .. }) = parse(&body) else {
        panic!("expected problems")
    };
    assert_eq!(correlation_id.as_deref(), Some("a1b2c3d4-0000-4000-8000-0000000000d1"));
}

#[test]
fn the_source_must_name_the_same_tenant() {
    let body = changed(|body| {
        body["source"] =
            json!("/tenants/a1b2c3d4-0000-4000-8000-000000000002/applications/a1b2c3d4-0000-4000-8000-0000000000a1");
    });
    assert_eq!(problems(&body), ["/source: names another tenant than /data/tenantId"]);
}

#[test]
fn another_event_and_malformed_json_are_told_apart() {
    let body = changed(|body| body["type"] = json!("microsoft.graph.authenticationEvent.emailOtpSend"));
    let Err(ParseError::EventMismatch { correlation_id, .. }) = parse(&body) else {
        panic!("another event")
    };
    assert_eq!(
        correlation_id.as_deref(),
        sample()["data"]["authenticationContext"]["correlationId"].as_str()
    );
    let body = changed(|body| {
        body["type"] = json!("microsoft.graph.authenticationEvent.emailOtpSend");
        body["data"]["authenticationContext"] = json!("x");
    });
    assert!(matches!(
        parse(&body),
        Err(ParseError::EventMismatch {
            correlation_id: None,
            ..
        })
    ));
    assert!(matches!(parse(b"{"), Err(ParseError::MalformedJson(_))));
    assert_eq!(problems(b"[]"), ["the body: expected an object, found an array"]);
    assert_eq!(problems(b"{}").len(), 3);
}
