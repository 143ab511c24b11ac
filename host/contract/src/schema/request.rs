//! What the readers of a request take, as types: the parts that `Callout` has in another shape.

use std::borrow::Cow;

use schemars::generate::Contract;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::leaf::{GUID, in_any_case, required_in_any_case, set};
use super::{derived, titled};
use crate::callout::{Client, ServicePrincipal, User};
use crate::email_otp_send::OneTimeCode;
use crate::event::Event;
use crate::reader::Guid;
use crate::sign_up::SignUp;
use crate::verified_id_claim_validation::VerifiedId;

/// The schema of an event's request.
pub(super) fn schema(event: Event) -> Value {
    let mut schema = match event {
        Event::TokenIssuanceStart => read::<Ids<'_>>(),
        Event::AttributeCollectionStart | Event::AttributeCollectionSubmit => read::<SignUpData<'_>>(),
        Event::EmailOtpSend => read::<OneTimeCodeData<'_>>(),
        Event::PasswordSubmit => read::<PasswordData<'_>>(),
        Event::VerifiedIdClaimValidation => read::<VerifiedIdData<'_>>(),
    };
    titled(&mut schema, event, "Request");
    set(&mut schema, "/properties", "type", in_any_case(event.request_type()));
    let data_type = in_any_case(event.callout_data_type());
    set(&mut schema, "/properties/data/properties", "@odata.type", data_type);
    let data = schema.pointer_mut("/properties/data");
    if let Some(data) = data.and_then(|data| <&mut Schema>::try_from(data).ok()) {
        required_in_any_case(data, "@odata.type");
    }
    schema.sort_all_objects();
    schema
}

/// The schema of a request with this in its `data`. Of what is read, members that may be null may be absent, too.
fn read<D: JsonSchema>() -> Value {
    derived::<Request<'_, D>>(Contract::Deserialize)
}

/// What Entra sends when an event happens.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct Request<'a, D> {
    /// The event.
    r#type: Cow<'a, str>,
    /// `/tenants/{tenantId}/applications/{appId}`; the tenant is `data.tenantId`.
    source: Source,
    /// What happened.
    data: Data<'a, D>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct Data<'a, D> {
    /// The type of this object.
    #[schemars(rename = "@odata.type")]
    odata_type: Cow<'a, str>,
    /// The directory where the user signs in.
    tenant_id: Guid<'a>,
    /// The sign-in.
    authentication_context: Context<'a>,
    #[schemars(flatten)]
    own: D,
}

/// `authenticationContext`
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct Context<'a> {
    /// The same as in Entra's sign-in log.
    correlation_id: Guid<'a>,
    /// The device the user signs in with.
    client: Option<Client<'a>>,
    /// An open set.
    protocol: Option<Cow<'a, str>>,
    /// An open set.
    request_type: Option<Cow<'a, str>>,
    /// The application the user signs in to.
    client_service_principal: Option<ServicePrincipal<'a>>,
    /// The application the token is for.
    resource_service_principal: Option<ServicePrincipal<'a>>,
    /// The user.
    user: Option<User<'a>>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct Ids<'a> {
    /// The listener that Entra called for.
    authentication_event_listener_id: Guid<'a>,
    /// The extension as Entra knows it.
    custom_authentication_extension_id: Guid<'a>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct SignUpData<'a> {
    #[schemars(flatten)]
    ids: Ids<'a>,
    /// What the page asks for, and who signs up.
    user_sign_up_info: SignUp<'a>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct OneTimeCodeData<'a> {
    #[schemars(flatten)]
    ids: Ids<'a>,
    /// The code and where it goes.
    otp_context: OneTimeCode<'a>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct PasswordData<'a> {
    #[schemars(flatten)]
    ids: Ids<'a>,
    /// A compact JWE; inside is an unsigned JWT with the password.
    encrypted_password_context: Cow<'a, str>,
}

// Microsoft's own example of account recovery has neither id (contract.md, section 1.6).
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(dead_code, reason = "describes what the readers take from a body")]
struct VerifiedIdData<'a> {
    /// The listener that Entra called for.
    authentication_event_listener_id: Option<Guid<'a>>,
    /// The extension as Entra knows it.
    custom_authentication_extension_id: Option<Guid<'a>>,
    /// What the user has presented.
    verified_id_claims_context: VerifiedId<'a>,
}

/// `source`, without the rule that its tenant is the body's.
struct Source;

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": format!("^/tenants/{GUID}/applications/{GUID}$"),
        })
    }
}
