//! Entra's tokenIssuanceStart request. Unknown members are ignored, since Entra adds some over time; `null` is as good as
//! absent for those that may be missing.
#![expect(
    dead_code,
    reason = "members that no rule uses are there for their types to be checked"
)]

use serde::Deserialize;
use uuid::Uuid;

#[derive(Debug, Deserialize)]
pub struct Request {
    r#type: EventType,
    source: String,
    pub(crate) data: Data,
}

#[derive(Debug, Deserialize)]
enum EventType {
    #[serde(rename = "microsoft.graph.authenticationEvent.tokenIssuanceStart")]
    TokenIssuanceStart,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Data {
    #[serde(rename = "@odata.type")]
    odata_type: DataType,
    pub(crate) tenant_id: Uuid,
    authentication_event_listener_id: Uuid,
    custom_authentication_extension_id: Uuid,
    pub(crate) authentication_context: AuthenticationContext,
}

#[derive(Debug, Deserialize)]
enum DataType {
    #[serde(rename = "microsoft.graph.onTokenIssuanceStartCalloutData")]
    OnTokenIssuanceStartCalloutData,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationContext {
    correlation_id: Uuid,
    client: Option<Client>,
    protocol: Option<String>,
    request_type: Option<String>,
    pub(crate) client_service_principal: Option<ServicePrincipal>,
    resource_service_principal: Option<ServicePrincipal>,
    pub(crate) user: Option<User>,
}

#[derive(Debug, Deserialize)]
struct Client {
    ip: Option<String>,
    locale: Option<String>,
    market: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServicePrincipal {
    id: Option<Uuid>,
    pub(crate) app_id: Option<Uuid>,
    app_display_name: Option<String>,
    display_name: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct User {
    pub(crate) company_name: Option<String>,
    created_date_time: Option<String>,
    display_name: Option<String>,
    given_name: Option<String>,
    id: Option<String>,
    pub(crate) mail: Option<String>,
    on_premises_sam_account_name: Option<String>,
    on_premises_security_identifier: Option<String>,
    on_premises_user_principal_name: Option<String>,
    preferred_data_location: Option<String>,
    preferred_language: Option<String>,
    surname: Option<String>,
    user_principal_name: Option<String>,
    user_type: Option<String>,
}
