//! Callouts that the service makes itself, through the whole pipeline, for extensions whose tenants want that.
//!
//! They begin behind the listener. Their tokens are of an issuer in this process (`claimsmith_token::OwnIssuer`), which no
//! extension trusts: the policy that accepts them goes with the probe, and never to a request from the network.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use claimsmith_catalog::{Extension, Probe};
use claimsmith_contract::{Event, Outcome};
use claimsmith_token::OwnIssuer;
use futures::StreamExt as _;
use serde_json::{Value, json};
use uuid::{Uuid, uuid};

use crate::callout;
use crate::course::ProbeRun;
use crate::server::App;

/// Probes at once: they take places that people's callouts need.
const AT_ONCE: usize = 4;

/// Who signs in in a probe: nobody. The name is one that RFC 2606 reserves.
const USER: Uuid = uuid!("00000000-0000-4000-8000-00000000c1a1");
const USER_NAME: &str = "probe@claimsmith.invalid";

/// Makes the callouts at each interval, for as long as the service runs.
pub(crate) async fn probe(app: Arc<App>, interval: Duration) {
    let mut issuer = None;
    loop {
        tokio::time::sleep(interval).await;
        let catalog = app.catalog.get();
        let wanted = catalog.extensions().filter_map(|(_, _, extension)| {
            let probe = extension.probe?;
            Some((Arc::clone(extension), probe))
        });
        let wanted: Vec<_> = wanted.collect();
        if wanted.is_empty() || app.is_draining() {
            continue;
        }
        if issuer.is_none() {
            issuer = OwnIssuer::new()
                .inspect_err(|error| tracing::error!(%error, "no extension can be probed"))
                .ok();
        }
        let Some(issuer) = &issuer else { continue };
        let app = &app;
        let probes = futures::stream::iter(wanted);
        let each = async move |(extension, probe): (Arc<Extension>, Probe)| one(app, issuer, &extension, probe).await;
        probes.for_each_concurrent(AT_ONCE, each).await;
    }
}

async fn one(app: &App, issuer: &OwnIssuer, extension: &Extension, probe: Probe) {
    let labels = extension.meters.labels();
    let success = metrics::gauge!("claimsmith_probe_success", labels.iter());
    // The probe's own key is always there: whether Entra's are is a part of what is probed.
    if !extension.token_policy.documents().any(|document| document.has_keys()) {
        extension.meters.probes.increment(Outcome::KeysUnavailable);
        success.set(0.0);
        return;
    }
    let request = match request(issuer, extension) {
        Ok(request) => request,
        Err(error) => {
            tracing::error!(
                tenant = &*extension.tenant,
                extension = &*extension.name,
                error,
                "cannot be probed"
            );
            success.set(0.0);
            return;
        }
    };
    let run = ProbeRun {
        policy: Arc::new(issuer.policy(&extension.token_policy)),
        upstreams: probe.upstreams,
    };
    let answer = callout::probe(app, (&extension.tenant, &extension.name), request, run).await;
    success.set(f64::from(u8::from(answer.status() == StatusCode::OK)));
}

fn request(issuer: &OwnIssuer, extension: &Extension) -> Result<Request, String> {
    let (token, directory) = issuer
        .token(&extension.token_policy)
        .map_err(|error| error.to_string())?;
    Request::builder()
        .method(Method::POST)
        .uri(format!("/tenants/{}/extensions/{}", extension.tenant, extension.name))
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Body::from(body(extension.event, directory).to_string()))
        .map_err(|error| error.to_string())
}

/// What Entra would send for a sign-in of the probe's user, with a correlation id that no other callout has.
fn body(event: Event, directory: Uuid) -> Value {
    let correlation_id = Uuid::new_v4();
    let user = json!({
        "id": USER,
        "displayName": "Claimsmith probe",
        "mail": USER_NAME,
        "userPrincipalName": USER_NAME,
        "userType": "Member",
    });
    let mut data = json!({
        "@odata.type": event.callout_data_type(),
        "tenantId": directory,
        "authenticationEventListenerId": USER,
        "customAuthenticationExtensionId": USER,
        "authenticationContext": { "correlationId": correlation_id, "protocol": "OAUTH2.0", "user": user },
    });
    let identities =
        json!([{ "signInType": "emailAddress", "issuer": "claimsmith.invalid", "issuerAssignedId": USER_NAME }]);
    let own = match event {
        // passwordSubmit is refused when the configuration is loaded.
        Event::TokenIssuanceStart | Event::PasswordSubmit => json!({}),
        Event::AttributeCollectionStart | Event::AttributeCollectionSubmit => json!({ "userSignUpInfo": {
            "attributes": { "email": {
                "value": USER_NAME,
                "@odata.type": "microsoft.graph.stringDirectoryAttributeValue",
                "attributeType": "builtIn",
            } },
            "identities": identities,
        } }),
        Event::EmailOtpSend => json!({ "otpContext": { "identifier": USER_NAME, "oneTimeCode": "00000000" } }),
        Event::VerifiedIdClaimValidation => json!({ "verifiedIdClaimsContext": {
            "claims": { "firstName": "Claimsmith", "lastName": "Probe" },
            "additionalInfo": {},
        } }),
    };
    if let (Some(data), Value::Object(own)) = (data.as_object_mut(), own) {
        data.extend(own);
    }
    json!({
        "type": event.request_type(),
        "source": format!("/tenants/{directory}/applications/{USER}"),
        "data": data,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use claimsmith_contract::Callout;

    use super::*;

    #[test]
    fn a_probe_is_a_callout_of_each_event_that_can_be_probed() {
        for event in Event::ALL.into_iter().filter(|event| *event != Event::PasswordSubmit) {
            let body = body(event, USER).to_string();
            let callout = Callout::parse(body.as_bytes(), event);
            assert!(callout.is_ok(), "{event}: {callout:?}");
        }
    }
}
