//! Checking a response that somebody else wrote, as Entra would: the same guard, from JSON.
//!
//! In Entra's order: size, emptiness, JSON, number of actions, the action's type, then the event's own rules (contract.md, section 3.3).

use std::borrow::Cow;

use serde::Serialize;

use crate::attribute_collection_start::{self, Action as StartAction};
use crate::attribute_collection_submit::{self, Action as SubmitAction, ValidationError};
use crate::entra_error::EntraError;
use crate::event::Event;
use crate::guard::{BlockPage, DEFAULT_MAX_RESPONSE_BYTES, GuardError};
use crate::json::Value;
use crate::password_submit::{self, Action as PasswordAction};
use crate::reader::{ObjectReader, Problems};
use crate::sign_up::{AttributeValue, NamedValue, SignUp, whole};
use crate::token_issuance_start::{self, Claim, ClaimValue};
use crate::verified_id_claim_validation::{self, Verdict};

/// One thing wrong with a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// What Entra would say.
    pub entra_error: EntraError,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Violation {
    fn new(entra_error: EntraError, message: impl Into<String>) -> Self {
        Self {
            entra_error,
            message: message.into(),
        }
    }
}

/// Checks a response body of an event. `sign_up` is the request's, for the rules that compare with it; without it values
/// are taken as they are. An empty list: Entra accepts it.
#[must_use]
pub fn check_response(
    body: &[u8],
    event: Event,
    sign_up: Option<&SignUp<'_>>,
    max_claim_bytes: usize,
) -> Vec<Violation> {
    if body.len() > DEFAULT_MAX_RESPONSE_BYTES {
        let message = format!(
            "the body has {} bytes, more than {DEFAULT_MAX_RESPONSE_BYTES} are not sent",
            body.len()
        );
        return vec![Violation::new(EntraError::ResponseSizeExceeded, message)];
    }
    let empty = |what| vec![Violation::new(EntraError::EmptyResponse, what)];
    if body.trim_ascii().is_empty() {
        return empty("the body is empty");
    }
    let document = match Value::parse(body) {
        Ok(Value::Null) => return empty("the body is null"),
        Ok(document) => document,
        Err(error) => return vec![Violation::new(EntraError::InvalidResponseBody, error.to_string())],
    };
    let mut problems = Problems::default();
    let checked = check(document, event, sign_up, max_claim_bytes, &mut problems);
    let problems = problems.into_vec().into_iter();
    let mut violations: Vec<_> = problems
        .map(|problem| Violation::new(EntraError::InvalidResponseBody, problem.to_string()))
        .collect();
    violations.extend(checked.err());
    violations
}

fn check(
    document: Value<'_>,
    event: Event,
    sign_up: Option<&SignUp<'_>>,
    max_claim_bytes: usize,
    problems: &mut Problems,
) -> Result<(), Violation> {
    let Some(mut envelope) = ObjectReader::new("", document, problems) else {
        return Ok(());
    };
    let Some(mut data) = envelope.required_object("data", problems) else {
        return Ok(());
    };
    match data.take_odata_type(problems) {
        Some(text) if text == event.response_data_type() => {}
        _ => problems.add(
            "/data/@odata.type",
            format!("expected `{}`", event.response_data_type()),
        ),
    }
    let actions = match data.take("actions") {
        Some(Value::Array(actions)) => actions,
        None => Vec::new(),
        Some(other) => {
            problems.add("/data/actions", format!("expected an array, found {}", other.kind()));
            return Ok(());
        }
    };
    let count = actions.len();
    let Ok([action]) = <[Value<'_>; 1]>::try_from(actions) else {
        let message = format!("/data/actions: expected exactly one action, found {count}");
        return Err(Violation::new(EntraError::InvalidNumberOfActions, message));
    };
    let Some(mut action) = ObjectReader::new("/data/actions/0", action, problems) else {
        return Ok(());
    };
    let action_type = action.take_odata_type(problems).unwrap_or_default();
    let name = action_type.strip_prefix("microsoft.graph.").unwrap_or_default();
    let guarded = match (event, name) {
        (Event::TokenIssuanceStart, "tokenIssuanceStart.provideClaimsForToken") => {
            let claims = read_claims(&mut action, problems)?;
            token_issuance_start::respond(&claims, max_claim_bytes)
        }
        (Event::AttributeCollectionStart, name) => match read_start(name, &mut action, problems) {
            Some(action) => with_sign_up(sign_up, &action, attribute_collection_start::respond),
            None => return Err(unknown_action(event, &action_type)),
        },
        (Event::AttributeCollectionSubmit, name) => match read_submit(name, &mut action, problems) {
            Some(action) => with_sign_up(sign_up, &action, attribute_collection_submit::respond),
            None => return Err(unknown_action(event, &action_type)),
        },
        (Event::EmailOtpSend, "OtpSend.continueWithDefaultBehavior")
        | (Event::VerifiedIdClaimValidation, "verifiedIdClaimValidation.pass") => Ok(Vec::new()),
        (Event::PasswordSubmit, name) => {
            let Some(action) = read_password(name, &mut action, problems) else {
                return Err(unknown_action(event, &action_type));
            };
            let nonce = data.required_text("nonce", problems).unwrap_or_default();
            password_submit::respond(&action, &nonce)
        }
        (Event::VerifiedIdClaimValidation, "verifiedIdClaimValidation.failed") => {
            let names = read_texts(&mut action, "failedClaims", problems);
            verified_id_claim_validation::respond(&Verdict::Failed(names))
        }
        _ => return Err(unknown_action(event, &action_type)),
    };
    let violation = |error: GuardError| Violation::new(error.entra_error(), error.to_string());
    guarded.map(drop).map_err(violation)
}

fn unknown_action(event: Event, action_type: &str) -> Violation {
    let shown: String = action_type.chars().take(128).collect();
    let message = format!(
        "/data/actions/0/@odata.type: `{}` is no action of {event}; spellings differ in case too",
        shown.escape_debug()
    );
    Violation::new(EntraError::InvalidActionType, message)
}

/// Guards an action against the request's attributes; without a request there is nothing to compare with.
fn with_sign_up<A>(
    sign_up: Option<&SignUp<'_>>,
    action: &A,
    respond: impl Fn(&A, &SignUp<'_>) -> Result<Vec<u8>, GuardError>,
) -> Result<Vec<u8>, GuardError> {
    match sign_up {
        Some(sign_up) => respond(action, sign_up),
        None => match respond(action, &SignUp::default()) {
            Err(GuardError::UnknownAttribute { .. }) => Ok(Vec::new()),
            guarded => guarded,
        },
    }
}

fn read_claims(action: &mut ObjectReader<'_>, problems: &mut Problems) -> Result<Vec<Claim>, Violation> {
    let Some(claims) = action.take("claims") else {
        let message = "/data/actions/0/claims: missing or null, expected an object";
        return Err(Violation::new(EntraError::NullClaimsResponse, message));
    };
    let Some(claims) = ObjectReader::new("/data/actions/0/claims", claims, problems) else {
        return Ok(Vec::new());
    };
    let claim = |(id, place, value): (Cow<'_, str>, String, Value<'_>)| {
        let value = match value {
            Value::String(text) => ClaimValue::Text(text.into_owned()),
            Value::Array(items) => ClaimValue::Texts(texts(items, &place, problems)),
            other => {
                problems.add(
                    place,
                    format!("expected a string or an array of strings, found {}", other.kind()),
                );
                return None;
            }
        };
        Some(Claim {
            id: id.into_owned(),
            value,
        })
    };
    Ok(claims.into_members().into_iter().filter_map(claim).collect())
}

fn read_start(name: &str, action: &mut ObjectReader<'_>, problems: &mut Problems) -> Option<StartAction> {
    Some(match name {
        "attributeCollectionStart.continueWithDefaultBehavior" => StartAction::Proceed,
        "attributeCollectionStart.setPrefillValues" => StartAction::Prefill(read_values(action, "inputs", problems)),
        "attributeCollectionStart.showBlockPage" => StartAction::Block(read_page(action, problems)),
        _ => return None,
    })
}

fn read_submit(name: &str, action: &mut ObjectReader<'_>, problems: &mut Problems) -> Option<SubmitAction> {
    Some(match name {
        "attributeCollectionSubmit.continueWithDefaultBehavior" => SubmitAction::Proceed,
        "attributeCollectionSubmit.modifyAttributeValues" => {
            SubmitAction::Modify(read_values(action, "attributes", problems))
        }
        "attributeCollectionSubmit.showValidationError" => {
            let errors = action.object("attributeErrors", problems);
            let errors = errors.map(|errors| errors.into_texts(problems)).unwrap_or_default();
            SubmitAction::ValidationError(ValidationError {
                message: action
                    .required_text("message", problems)
                    .unwrap_or_default()
                    .into_owned(),
                attribute_errors: errors
                    .into_iter()
                    .map(|(name, message)| (name.into_owned(), message.into_owned()))
                    .collect(),
            })
        }
        "attributeCollectionSubmit.showBlockPage" => SubmitAction::Block(read_page(action, problems)),
        _ => return None,
    })
}

fn read_password(name: &str, action: &mut ObjectReader<'_>, problems: &mut Problems) -> Option<PasswordAction> {
    Some(match name {
        "passwordSubmit.MigratePassword" => PasswordAction::Migrate,
        "passwordSubmit.UpdatePassword" => PasswordAction::Update,
        "passwordSubmit.Retry" => PasswordAction::Retry,
        "passwordSubmit.Block" => PasswordAction::Block(read_page(action, problems)),
        _ => return None,
    })
}

fn read_page(action: &mut ObjectReader<'_>, problems: &mut Problems) -> BlockPage {
    BlockPage {
        title: action.text("title", problems).map(Cow::into_owned),
        message: action.text("message", problems).unwrap_or_default().into_owned(),
    }
}

fn read_values(action: &mut ObjectReader<'_>, member: &'static str, problems: &mut Problems) -> Vec<NamedValue> {
    let Some(values) = action.required_object(member, problems) else {
        return Vec::new();
    };
    let named = |(name, place, value): (Cow<'_, str>, String, Value<'_>)| {
        let value = match value {
            Value::String(text) => Some(AttributeValue::Text(text.into_owned())),
            Value::Bool(value) => Some(AttributeValue::Boolean(value)),
            Value::Number(number) => whole(&number).map(AttributeValue::Integer),
            _ => None,
        };
        if value.is_none() {
            problems.add(place, "expected a string, a 64-bit integer or a boolean");
        }
        value.map(|value| NamedValue {
            name: name.into_owned(),
            value,
        })
    };
    values.into_members().into_iter().filter_map(named).collect()
}

fn read_texts(action: &mut ObjectReader<'_>, member: &str, problems: &mut Problems) -> Vec<String> {
    let place = action.pointer_to(member);
    if let Some(Value::Array(items)) = action.take(member) {
        return texts(items, &place, problems);
    }
    problems.add(place, "expected an array of strings");
    Vec::new()
}

fn texts(items: Vec<Value<'_>>, place: &str, problems: &mut Problems) -> Vec<String> {
    let text = |(index, item)| match item {
        Value::String(text) => Some(Cow::into_owned(text)),
        other => {
            problems.add(
                format!("{place}/{index}"),
                format!("expected a string, found {}", Value::kind(&other)),
            );
            None
        }
    };
    items.into_iter().enumerate().filter_map(text).collect()
}
