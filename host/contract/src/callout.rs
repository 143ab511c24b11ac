//! The request: what Entra sends, whatever the event (contract.md, section 0.2).

use std::borrow::Cow;

use schemars::JsonSchema;
use uuid::Uuid;

use crate::email_otp_send::{self, OneTimeCode};
use crate::event::Event;
use crate::json::Value;
use crate::password_submit;
use crate::reader::{Guid, ObjectReader, Problem, Problems, parse_guid};
use crate::secret::Secret;
use crate::sign_up::{self, SignUp};
use crate::verified_id_claim_validation::{self, VerifiedId};

/// How many members that no field names are handed to a plugin.
pub const MAX_ADDITIONAL_MEMBERS: usize = 64;
/// How many bytes of names and values those members may have together.
pub const MAX_ADDITIONAL_BYTES: usize = 16 * 1024;

/// A callout's request, checked, borrowed from its body where possible.
#[derive(Clone, Debug, PartialEq)]
pub struct Callout<'a> {
    /// The event, from the request's `type`.
    pub event: Event,
    /// `data.tenantId`: the directory where the user signs in.
    pub tenant_id: Uuid,
    /// The same, as it was sent.
    pub tenant_id_text: Cow<'a, str>,
    /// `data.authenticationEventListenerId`, a GUID.
    pub listener_id: Option<Cow<'a, str>>,
    /// `data.customAuthenticationExtensionId`, a GUID.
    pub extension_id: Option<Cow<'a, str>>,
    /// `authenticationContext.correlationId`, a GUID: the same as in Entra's sign-in log.
    pub correlation_id: Cow<'a, str>,
    /// `authenticationContext.client`
    pub client: Option<Client<'a>>,
    /// `authenticationContext.protocol`, an open set.
    pub protocol: Option<Cow<'a, str>>,
    /// `authenticationContext.requestType`, an open set.
    pub request_type: Option<Cow<'a, str>>,
    /// `authenticationContext.clientServicePrincipal`: the application the user signs in to.
    pub client_service_principal: Option<ServicePrincipal<'a>>,
    /// `authenticationContext.resourceServicePrincipal`: the application the token is for.
    pub resource_service_principal: Option<ServicePrincipal<'a>>,
    /// `authenticationContext.user`
    pub user: Option<User<'a>>,
    /// What only this event has.
    pub data: EventData<'a>,
    /// Every other member of `data`, as dotted path and text; members of `authenticationContext` without that prefix.
    /// At most [`MAX_ADDITIONAL_MEMBERS`] and [`MAX_ADDITIONAL_BYTES`]; what exceeds them is left out.
    pub additional: Vec<(String, Cow<'a, str>)>,
}

/// The part of `data` that only one event, or two, have.
#[derive(Clone, Debug, PartialEq)]
pub enum EventData<'a> {
    /// tokenIssuanceStart has nothing of its own.
    None,
    /// attributeCollectionStart and attributeCollectionSubmit: `userSignUpInfo`.
    SignUp(SignUp<'a>),
    /// emailOtpSend: `otpContext`.
    OneTimeCode(OneTimeCode<'a>),
    /// passwordSubmit: `encryptedPasswordContext`, a compact JWE.
    EncryptedPassword(Secret<'a>),
    /// verifiedIdClaimValidation: `verifiedIdClaimsContext`.
    VerifiedId(VerifiedId<'a>),
}

/// The device the user signs in with.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct Client<'a> {
    /// IPv4 or IPv6 address in text form; also read from `clientIp`, as one of Microsoft's samples spells it.
    pub ip: Option<Cow<'a, str>>,
    /// User interface language.
    pub locale: Option<Cow<'a, str>>,
    /// Market.
    pub market: Option<Cow<'a, str>>,
}

/// An application as one directory sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
pub struct ServicePrincipal<'a> {
    /// Object id, a GUID.
    #[schemars(with = "Option<Guid<'_>>")]
    pub id: Option<Cow<'a, str>>,
    /// Application (client) id, a GUID.
    #[schemars(with = "Option<Guid<'_>>")]
    pub app_id: Option<Cow<'a, str>>,
    /// The application's display name.
    pub app_display_name: Option<Cow<'a, str>>,
    /// The service principal's display name.
    pub display_name: Option<Cow<'a, str>>,
}

/// The user: a subset of Microsoft Graph's, every member optional.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "the members are Microsoft Graph's user properties of the same names"
)]
pub struct User<'a> {
    #[schemars(with = "Option<Guid<'_>>")]
    pub id: Option<Cow<'a, str>>,
    pub company_name: Option<Cow<'a, str>>,
    pub created_date_time: Option<Cow<'a, str>>,
    pub display_name: Option<Cow<'a, str>>,
    pub given_name: Option<Cow<'a, str>>,
    pub mail: Option<Cow<'a, str>>,
    pub on_premises_sam_account_name: Option<Cow<'a, str>>,
    pub on_premises_security_identifier: Option<Cow<'a, str>>,
    pub on_premises_user_principal_name: Option<Cow<'a, str>>,
    pub preferred_data_location: Option<Cow<'a, str>>,
    pub preferred_language: Option<Cow<'a, str>>,
    pub surname: Option<Cow<'a, str>>,
    pub user_principal_name: Option<Cow<'a, str>>,
    pub user_type: Option<Cow<'a, str>>,
}

/// Why a body is no callout.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The body is not JSON, repeats a member or exceeds a limit of [`crate::json`].
    #[error("the body is not acceptable JSON: {0}")]
    MalformedJson(#[source] serde_json::Error),
    /// The body's `type` is another event's than the extension answers.
    #[error("the extension answers {expected}, the body's type is of another event")]
    EventMismatch {
        /// The extension's event.
        expected: Event,
        /// The sign-in's correlation id, where it could be read.
        correlation_id: Option<String>,
    },
    /// The body lacks or mistypes members.
    #[error("the body is not a valid callout: {}", list(problems))]
    Invalid {
        /// Everything that is wrong, in the order of reading.
        problems: Vec<Problem>,
        /// The sign-in's correlation id, where it could be read.
        correlation_id: Option<String>,
    },
}

fn list(problems: &[Problem]) -> String {
    let texts: Vec<_> = problems.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl<'a> Callout<'a> {
    /// Parses and checks a request body for an extension that answers `event`.
    ///
    /// Members may come in any order; members nobody knows and explicit nulls are accepted (contract.md, section 0.4).
    ///
    /// # Errors
    /// [`ParseError`], with all problems of the body together.
    pub fn parse(body: &'a [u8], event: Event) -> Result<Self, ParseError> {
        let document = Value::parse(body).map_err(ParseError::MalformedJson)?;
        let mut problems = Problems::default();
        let mut correlation_id = None;
        match read_envelope(document, event, &mut correlation_id, &mut problems)? {
            Some(callout) if problems.is_empty() => Ok(callout),
            _ => Err(ParseError::Invalid {
                problems: problems.into_vec(),
                correlation_id: correlation_id.map(Cow::into_owned),
            }),
        }
    }
}

/// Reads the whole request. `None` when a member without which nothing can be built is missing; the problem is noted, and
/// so is the correlation id, which helps to find the sign-in.
fn read_envelope<'a>(
    document: Value<'a>,
    event: Event,
    seen_correlation_id: &mut Option<Cow<'a, str>>,
    problems: &mut Problems,
) -> Result<Option<Callout<'a>>, ParseError> {
    let Some(mut envelope) = ObjectReader::new("", document, problems) else {
        return Ok(None);
    };
    match envelope.required_text("type", problems) {
        Some(text) if Event::from_request_type(&text) == Some(event) => {}
        Some(_) => {
            let correlation_id = correlation_id_in(envelope);
            return Err(ParseError::EventMismatch {
                expected: event,
                correlation_id,
            });
        }
        None => {}
    }
    let source = envelope.required_text("source", problems);
    let Some(mut data) = envelope.required_object("data", problems) else {
        return Ok(None);
    };

    match data.take_odata_type(problems) {
        Some(text) if text.eq_ignore_ascii_case(event.callout_data_type()) => {}
        _ => problems.add("/data/@odata.type", format!("expected `{}`", event.callout_data_type())),
    }
    let tenant_id = data.required_guid("tenantId", problems);
    // Microsoft's own example of account recovery has neither (contract.md, section 1.6).
    let guid = match event {
        Event::VerifiedIdClaimValidation => ObjectReader::guid,
        _ => ObjectReader::required_guid,
    };
    let listener_id = guid(&mut data, "authenticationEventListenerId", problems);
    let extension_id = guid(&mut data, "customAuthenticationExtensionId", problems);
    if let (Some(source), Some(tenant_id)) = (&source, &tenant_id) {
        check_source(source, tenant_id.id, problems);
    }

    let event_data = read_event_data(event, &mut data, problems);
    // Secrets of other events must not reach a plugin of this one as additional members.
    for secret in ["otpContext", "encryptedPasswordContext"] {
        data.forget(secret);
    }

    let mut additional = Additional::default();
    let Some(mut context) = data.required_object("authenticationContext", problems) else {
        return Ok(None);
    };
    additional.add_all("", data.into_rest());
    let correlation_id = context.required_guid("correlationId", problems);
    *seen_correlation_id = correlation_id.as_ref().map(|guid| guid.text.clone());
    let client = read_client(&mut context, &mut additional, problems);
    let protocol = context.text("protocol", problems);
    let request_type = context.text("requestType", problems);
    let client_service_principal =
        read_service_principal("clientServicePrincipal", &mut context, &mut additional, problems);
    let resource_service_principal =
        read_service_principal("resourceServicePrincipal", &mut context, &mut additional, problems);
    let user = read_user(&mut context, &mut additional, problems);
    additional.add_all("", context.into_rest());

    let Some((correlation_id, data)) = correlation_id.zip(event_data) else {
        return Ok(None);
    };
    Ok(Some(Callout {
        event,
        tenant_id: tenant_id.as_ref().map_or_else(Uuid::nil, |guid| guid.id),
        tenant_id_text: tenant_id.map(|guid| guid.text).unwrap_or_default(),
        listener_id: listener_id.map(|guid| guid.text),
        extension_id: extension_id.map(|guid| guid.text),
        correlation_id: correlation_id.text,
        client,
        protocol,
        request_type,
        client_service_principal,
        resource_service_principal,
        user,
        data,
        additional: additional.members,
    }))
}

/// The correlation id of a request whose other members do not matter, if it has a usable one.
fn correlation_id_in(mut envelope: ObjectReader<'_>) -> Option<String> {
    let mut ignored = Problems::default();
    let mut data = envelope.object("data", &mut ignored)?;
    let mut context = data.object("authenticationContext", &mut ignored)?;
    let correlation_id = context.guid("correlationId", &mut ignored)?;
    Some(correlation_id.text.into_owned())
}

/// Reads what only this event has; `None` when it cannot be made, with the problem noted.
fn read_event_data<'a>(event: Event, data: &mut ObjectReader<'a>, problems: &mut Problems) -> Option<EventData<'a>> {
    match event {
        Event::TokenIssuanceStart => Some(EventData::None),
        Event::AttributeCollectionStart | Event::AttributeCollectionSubmit => {
            Some(EventData::SignUp(sign_up::read(data, problems)))
        }
        Event::EmailOtpSend => email_otp_send::read(data, problems).map(EventData::OneTimeCode),
        Event::PasswordSubmit => password_submit::read(data, problems).map(EventData::EncryptedPassword),
        Event::VerifiedIdClaimValidation => Some(EventData::VerifiedId(verified_id_claim_validation::read(
            data, problems,
        ))),
    }
}

/// `source` is `/tenants/{tenantId}/applications/{appId}`; its tenant must be the body's.
fn check_source(source: &str, tenant_id: Uuid, problems: &mut Problems) {
    let ids = source
        .strip_prefix("/tenants/")
        .and_then(|rest| rest.split_once("/applications/"));
    match ids.map(|(tenant, application)| (parse_guid(tenant), parse_guid(application))) {
        Some((Some(tenant), Some(_))) if tenant == tenant_id => {}
        Some((Some(_), Some(_))) => problems.add("/source", "names another tenant than /data/tenantId"),
        _ => problems.add(
            "/source",
            "expected `/tenants/{tenantId}/applications/{appId}` with two GUIDs",
        ),
    }
}

fn read_client<'a>(
    context: &mut ObjectReader<'a>,
    additional: &mut Additional<'a>,
    problems: &mut Problems,
) -> Option<Client<'a>> {
    let mut reader = context.object("client", problems)?;
    let client = Client {
        ip: reader
            .text("ip", problems)
            .or_else(|| reader.text("clientIp", problems)),
        locale: reader.text("locale", problems),
        market: reader.text("market", problems),
    };
    additional.add_all("client", reader.into_rest());
    Some(client)
}

fn read_service_principal<'a>(
    member: &'static str,
    context: &mut ObjectReader<'a>,
    additional: &mut Additional<'a>,
    problems: &mut Problems,
) -> Option<ServicePrincipal<'a>> {
    let mut reader = context.object(member, problems)?;
    let principal = ServicePrincipal {
        id: reader.guid("id", problems).map(|guid| guid.text),
        app_id: reader.guid("appId", problems).map(|guid| guid.text),
        app_display_name: reader.text("appDisplayName", problems),
        display_name: reader.text("displayName", problems),
    };
    additional.add_all(member, reader.into_rest());
    Some(principal)
}

fn read_user<'a>(
    context: &mut ObjectReader<'a>,
    additional: &mut Additional<'a>,
    problems: &mut Problems,
) -> Option<User<'a>> {
    let mut reader = context.object("user", problems)?;
    let user = User {
        id: reader.guid("id", problems).map(|guid| guid.text),
        company_name: reader.text("companyName", problems),
        created_date_time: reader.text("createdDateTime", problems),
        display_name: reader.text("displayName", problems),
        given_name: reader.text("givenName", problems),
        mail: reader.text("mail", problems),
        on_premises_sam_account_name: reader.text("onPremisesSamAccountName", problems),
        on_premises_security_identifier: reader.text("onPremisesSecurityIdentifier", problems),
        on_premises_user_principal_name: reader.text("onPremisesUserPrincipalName", problems),
        preferred_data_location: reader.text("preferredDataLocation", problems),
        preferred_language: reader.text("preferredLanguage", problems),
        surname: reader.text("surname", problems),
        user_principal_name: reader.text("userPrincipalName", problems),
        user_type: reader.text("userType", problems),
    };
    additional.add_all("user", reader.into_rest());
    Some(user)
}

/// Members no field names, flattened and bounded.
#[derive(Default)]
struct Additional<'a> {
    members: Vec<(String, Cow<'a, str>)>,
    bytes: usize,
}

impl<'a> Additional<'a> {
    fn add_all(&mut self, prefix: &str, members: impl IntoIterator<Item = (Cow<'a, str>, Value<'a>)>) {
        for (name, value) in members {
            // Nothing is built for what will not be kept: a path can be long, and there can be many.
            if !self.has_room(prefix.len() + name.len()) {
                return;
            }
            let path = if prefix.is_empty() {
                name.into_owned()
            } else {
                format!("{prefix}.{name}")
            };
            self.add(path, value);
        }
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.members.len() < MAX_ADDITIONAL_MEMBERS && self.bytes + bytes <= MAX_ADDITIONAL_BYTES
    }

    fn add(&mut self, path: String, value: Value<'a>) {
        let text = match value {
            Value::Null => return,
            Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Value::Number(number) => Cow::Owned(number.to_string()),
            Value::String(text) => text,
            Value::Array(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    if !self.has_room(path.len()) {
                        return;
                    }
                    self.add(format!("{path}[{index}]"), item);
                }
                return;
            }
            Value::Object(members) => return self.add_all(&path, members),
        };
        let bytes = path.len() + text.len();
        if self.has_room(bytes) {
            self.bytes += bytes;
            self.members.push((path, text));
        }
    }
}
