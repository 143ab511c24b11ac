//! The JSON that Entra sends: the members common to all events.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Event, Oddity};
use crate::config::{ApplicationConfig, UserConfig};

/// Members of other events that were recorded as nulls.
const FOREIGN_MEMBERS: [&str; 2] = ["userSignUpInfo", "otpContext"];

/// The body of a callout, before it is JSON. Every member can be changed, so that a test can send a body that Entra would
/// not.
#[derive(Debug, Clone)]
pub struct CalloutBody {
    /// The event; gives `type` and `data.@odata.type`.
    pub event: Event,
    /// `data.tenantId`, and the tenant of `source`.
    pub tenant_id: Uuid,
    /// `data.authenticationEventListenerId`.
    pub listener_id: Uuid,
    /// `data.customAuthenticationExtensionId`.
    pub extension_id: Uuid,
    /// `correlationId` of the sign-in.
    pub correlation_id: Uuid,
    /// `client`: the user's device.
    pub client: Client,
    /// `protocol`: `OAUTH2.0`, `SAML`, `WS-FED`.
    pub protocol: String,
    /// `clientServicePrincipal`: the application the user signs in to.
    pub client_service_principal: ServicePrincipal,
    /// `resourceServicePrincipal`: the audience of the token; its `app_id` is in `source`.
    pub resource_service_principal: ServicePrincipal,
    /// `requestType`: why a one-time code is sent. Absent in other events.
    pub request_type: Option<String>,
    /// `user`; absent members are omitted.
    pub user: Option<UserConfig>,
    /// The event's own and any further members of `data`, which replace the ones above where they have the same name.
    pub data: Map<String, Value>,
    /// How the JSON differs from the documented one.
    pub oddities: Vec<Oddity>,
}

/// The user's device as a callout describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// IPv4 or IPv6 address.
    #[serde(default = "default_ip")]
    pub ip: String,
    /// Locale such as `en-us`.
    #[serde(default = "default_locale")]
    pub locale: String,
    /// Market such as `en-us`.
    #[serde(default = "default_locale")]
    pub market: String,
}

/// A service principal as a callout describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePrincipal {
    /// Object id.
    pub id: Uuid,
    /// Application id.
    pub app_id: Uuid,
    /// Name of the application.
    pub app_display_name: String,
    /// Name of the service principal.
    pub display_name: String,
}

// === impl CalloutBody ===

impl CalloutBody {
    /// The JSON as Entra sends it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let spec = self.event.spec();
        let mut data = Map::from_iter([("@odata.type".to_owned(), json!(spec.callout_data_type))]);
        if self.has(Oddity::EventDataFirst) {
            data.extend(self.data.clone());
        }
        data.insert("tenantId".to_owned(), json!(self.tenant_id));
        if !self.has(Oddity::IdsAbsent) {
            data.insert("authenticationEventListenerId".to_owned(), json!(self.listener_id));
            data.insert("customAuthenticationExtensionId".to_owned(), json!(self.extension_id));
        }
        data.insert("authenticationContext".to_owned(), Value::Object(self.context()));
        // Members that are there already keep their place and get their value.
        data.extend(self.data.clone());
        if self.has(Oddity::ForeignMembersAsNull) {
            for foreign in FOREIGN_MEMBERS {
                data.entry(foreign).or_insert(Value::Null);
            }
        }
        json!({
            "type": spec.body_type,
            "source": format!("/tenants/{}/applications/{}", self.tenant_id, self.resource_service_principal.app_id),
            "data": data,
        })
    }

    /// `authenticationContext`.
    fn context(&self) -> Map<String, Value> {
        let mut context = Map::from_iter([("correlationId".to_owned(), json!(self.correlation_id))]);
        if !self.has(Oddity::BareContext) {
            let ip = if self.has(Oddity::ClientIpName) {
                "clientIp"
            } else {
                "ip"
            };
            let Client {
                ip: address,
                locale,
                market,
            } = &self.client;
            let resource = if self.has(Oddity::ForeignMembersAsNull) {
                Value::Null
            } else {
                json!(self.resource_service_principal)
            };
            context.insert(
                "client".to_owned(),
                json!({ ip: address, "locale": locale, "market": market }),
            );
            context.insert("protocol".to_owned(), json!(self.protocol));
            if let Some(request_type) = &self.request_type {
                context.insert("requestType".to_owned(), json!(request_type));
            }
            context.insert(
                "clientServicePrincipal".to_owned(),
                json!(self.client_service_principal),
            );
            context.insert("resourceServicePrincipal".to_owned(), resource);
        }
        if let Some(user) = &self.user {
            context.insert("user".to_owned(), user_json(user));
        }
        context
    }

    fn has(&self, oddity: Oddity) -> bool {
        self.oddities.contains(&oddity)
    }
}

fn user_json(user: &UserConfig) -> Value {
    let mut members = Map::from_iter([("id".to_owned(), json!(user.id))]);
    members.extend(user.attributes().map(|(name, value)| (name.to_owned(), json!(value))));
    Value::Object(members)
}

// === impl Client ===

impl Default for Client {
    fn default() -> Self {
        Self {
            ip: default_ip(),
            locale: default_locale(),
            market: default_locale(),
        }
    }
}

fn default_ip() -> String {
    "127.0.0.1".to_owned()
}

fn default_locale() -> String {
    "en-us".to_owned()
}

// === impl ServicePrincipal ===

impl From<&ApplicationConfig> for ServicePrincipal {
    fn from(application: &ApplicationConfig) -> Self {
        Self {
            id: application.service_principal_id,
            app_id: application.app_id,
            app_display_name: application.display_name.clone(),
            display_name: application.display_name.clone(),
        }
    }
}
