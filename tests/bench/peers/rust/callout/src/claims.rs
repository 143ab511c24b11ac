//! The three rules of `scenario/rules.toml`, and the answer that carries what they make.

use serde::Serialize;
use uuid::Uuid;

use crate::request::AuthenticationContext;

#[derive(Debug, Serialize)]
pub struct Response<'a> {
    data: Data<'a>,
}

#[derive(Debug, Serialize)]
struct Data<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    actions: [Action<'a>; 1],
}

#[derive(Debug, Serialize)]
struct Action<'a> {
    #[serde(rename = "@odata.type")]
    odata_type: &'static str,
    claims: Claims<'a>,
}

#[derive(Debug, Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    mail_domain: Option<String>,
    company: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    application: Option<Uuid>,
}

/// What the rules make of a sign-in.
#[must_use]
pub fn provide_claims(context: &AuthenticationContext) -> Response<'_> {
    let user = context.user.as_ref();
    let claims = Claims {
        mail_domain: user
            .and_then(|user| user.mail.as_deref()?.split_once('@'))
            .map(|(_, domain)| domain.to_lowercase())
            .filter(|domain| !domain.is_empty()),
        company: user
            .and_then(|user| user.company_name.as_deref())
            .filter(|name| !name.is_empty())
            .unwrap_or("none"),
        application: context
            .client_service_principal
            .as_ref()
            .and_then(|application| application.app_id),
    };
    Response {
        data: Data {
            odata_type: "microsoft.graph.onTokenIssuanceStartResponseData",
            actions: [Action {
                odata_type: "microsoft.graph.tokenIssuanceStart.provideClaimsForToken",
                claims,
            }],
        },
    }
}
