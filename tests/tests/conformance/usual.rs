//! The requests that cases begin with are what the local Entra sends: two people's reading of the same documentation.

use claimsmith_local_entra::{CalloutBody, Event, Oddity, ServicePrincipal, UserConfig};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::case::{EVENTS, usual_request};

/// What the local Entra makes of the ids, names and values of a request.
fn sent_by_the_local_entra(event: &str, request: &Value) -> Value {
    let event: Event = serde_json::from_value(json!(event)).unwrap();
    let context = &request["data"]["authenticationContext"];
    let body = CalloutBody {
        event,
        tenant_id: id(&request["data"]["tenantId"]),
        listener_id: id(&request["data"]["authenticationEventListenerId"]),
        extension_id: id(&request["data"]["customAuthenticationExtensionId"]),
        correlation_id: id(&context["correlationId"]),
        client: serde_json::from_value(context["client"].clone()).unwrap(),
        protocol: context["protocol"].as_str().unwrap().to_owned(),
        client_service_principal: service_principal(&context["clientServicePrincipal"]),
        resource_service_principal: service_principal(&context["resourceServicePrincipal"]),
        request_type: context["requestType"].as_str().map(str::to_owned),
        user: context.get("user").map(user),
        data: own_members(&request["data"]),
        // As the documentation prints emailOtpSend, and as passwordSubmit was recorded.
        oddities: match event {
            Event::EmailOtpSend | Event::PasswordSubmit => vec![Oddity::EventDataFirst],
            _ => Vec::new(),
        },
    };
    body.to_json()
}

fn id(value: &Value) -> Uuid {
    value.as_str().unwrap().parse().unwrap()
}

fn service_principal(value: &Value) -> ServicePrincipal {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    ServicePrincipal {
        id: id(&value["id"]),
        app_id: id(&value["appId"]),
        app_display_name: text("appDisplayName"),
        display_name: text("displayName"),
    }
}

fn user(value: &Value) -> UserConfig {
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    UserConfig {
        id: id(&value["id"]),
        company_name: text("companyName"),
        created_date_time: text("createdDateTime"),
        display_name: text("displayName"),
        given_name: text("givenName"),
        mail: text("mail"),
        on_premises_sam_account_name: text("onPremisesSamAccountName"),
        on_premises_security_identifier: text("onPremisesSecurityIdentifier"),
        on_premises_user_principal_name: text("onPremisesUserPrincipalName"),
        preferred_data_location: text("preferredDataLocation"),
        preferred_language: text("preferredLanguage"),
        surname: text("surname"),
        user_principal_name: text("userPrincipalName"),
        user_type: text("userType"),
        ..UserConfig::default()
    }
}

/// The members of `data` that only this event has.
fn own_members(data: &Value) -> Map<String, Value> {
    let own = [
        "userSignUpInfo",
        "otpContext",
        "encryptedPasswordContext",
        "verifiedIdClaimsContext",
    ];
    let members = data.as_object().unwrap().iter();
    members
        .filter(|(name, _)| own.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

#[test]
fn the_usual_requests_are_what_the_local_entra_sends() {
    for event in EVENTS {
        let request = usual_request(event);
        // As text: the order of members is part of it.
        let sent = sent_by_the_local_entra(event, &request).to_string();
        assert_eq!(request.to_string(), sent, "{event}");
    }
}
