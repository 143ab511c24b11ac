//! The checks of an answer that all events share, in the order in which their errors win: status, content type, empty,
//! JSON, number of actions, action type. (Connection, time and size come before, while the answer is read; the action's
//! own members come after, in the event's module.)

use serde_json::{Map, Value};

use super::send::HttpAnswer;
use super::{CalloutErrorCode, Event, Failure};

/// The one action of an acceptable answer.
#[derive(Debug)]
pub(super) struct Action {
    /// The documented spelling of its type.
    pub(super) name: &'static str,
    /// Its members.
    pub(super) members: Map<String, Value>,
    /// `nonce`, the action's sibling in `data`.
    pub(super) nonce: Option<String>,
    /// What Entra lets pass but the extension should not answer.
    pub(super) warnings: Vec<String>,
}

/// Finds the one action of an answer.
pub(super) fn judge(event: Event, answer: &HttpAnswer) -> Result<Action, Failure> {
    let refuse = |code, detail: String| Failure {
        http_status: Some(answer.status),
        ..Failure::new(code, detail)
    };
    if answer.status != 200 {
        return Err(refuse(
            CalloutErrorCode::CustomExtensionInvalidHTTPStatus,
            format!("the status is {}, only 200 is accepted", answer.status),
        ));
    }
    if !is_json(answer.content_type.as_deref()) {
        let detail = match &answer.content_type {
            Some(content_type) => format!("the content type is {content_type}, not application/json"),
            None => "there is no content type; application/json is needed".to_owned(),
        };
        return Err(refuse(
            CalloutErrorCode::CustomExtensionInvalidResponseContentType,
            detail,
        ));
    }
    if answer.body.trim_ascii().is_empty() {
        return Err(refuse(
            CalloutErrorCode::CustomExtensionEmptyResponse,
            "the body is empty".to_owned(),
        ));
    }
    let invalid = |detail: String| refuse(CalloutErrorCode::CustomExtensionInvalidResponseBody, detail);
    let document: Value =
        serde_json::from_slice(&answer.body).map_err(|error| invalid(format!("the body is not JSON: {error}")))?;
    if document.is_null() {
        return Err(refuse(
            CalloutErrorCode::CustomExtensionEmptyResponse,
            "the body is null".to_owned(),
        ));
    }
    let Some(data) = document.get("data").and_then(Value::as_object) else {
        return Err(invalid("the body has no object `data`".to_owned()));
    };
    let mut warnings = Vec::new();
    check_data_type(event, data, &mut warnings);
    let action = single_action(data).map_err(|(code, detail)| refuse(code, detail))?;
    let name = check_action_type(event, action, &mut warnings)
        .map_err(|detail| refuse(CalloutErrorCode::CustomExtensionInvalidActionType, detail))?;
    Ok(Action {
        name,
        members: action.clone(),
        nonce: data.get("nonce").and_then(Value::as_str).map(ToOwned::to_owned),
        warnings,
    })
}

impl Action {
    /// A text that has to be there.
    pub(super) fn text(&self, member: &str) -> Result<String, Failure> {
        self.optional_text(member)?
            .ok_or_else(|| invalid(format!("{} has no `{member}`", self.name)))
    }

    /// A text that may be absent or null.
    pub(super) fn optional_text(&self, member: &str) -> Result<Option<String>, Failure> {
        match self.members.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(invalid(format!("`{member}` is not a string"))),
        }
    }

    /// An object that has to be there.
    pub(super) fn object(&self, member: &str) -> Result<Map<String, Value>, Failure> {
        match self.members.get(member) {
            None | Some(Value::Null) => Err(invalid(format!("{} has no `{member}`", self.name))),
            Some(Value::Object(object)) => Ok(object.clone()),
            Some(_) => Err(invalid(format!("`{member}` is not an object"))),
        }
    }
}

/// The action is the right one, its members are not what the event's schema says.
pub(super) fn invalid(detail: impl Into<String>) -> Failure {
    Failure::new(CalloutErrorCode::CustomExtensionInvalidResponseBody, detail)
}

fn is_json(content_type: Option<&str>) -> bool {
    content_type
        .and_then(|content_type| content_type.split(';').next())
        .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// The type of `data` decides nothing in Entra (its own model calls it unused), so it only warns.
fn check_data_type(event: Event, data: &Map<String, Value>, warnings: &mut Vec<String>) {
    let expected = event.spec().response_data_type;
    match data.get("@odata.type").and_then(Value::as_str) {
        Some(found) if found == expected => {}
        Some(found) => warnings.push(format!("data.@odata.type is `{found}`, documented is `{expected}`")),
        None => warnings.push(format!("data.@odata.type is missing, documented is `{expected}`")),
    }
}

/// An absent or null list counts as no action.
fn single_action(data: &Map<String, Value>) -> Result<&Map<String, Value>, (CalloutErrorCode, String)> {
    let actions = match data.get("actions") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(actions)) => actions,
        Some(_) => {
            let detail = "data.actions is not an array".to_owned();
            return Err((CalloutErrorCode::CustomExtensionInvalidResponseBody, detail));
        }
    };
    match actions {
        [Value::Object(action)] => Ok(action),
        [_] => Err((
            CalloutErrorCode::CustomExtensionInvalidResponseBody,
            "data.actions[0] is not an object".to_owned(),
        )),
        _ => Err((
            CalloutErrorCode::CustomExtensionInvalidNumberOfActions,
            format!("data.actions holds {} actions, exactly one is needed", actions.len()),
        )),
    }
}

/// Entra compares action types without letter case.
fn check_action_type(
    event: Event,
    action: &Map<String, Value>,
    warnings: &mut Vec<String>,
) -> Result<&'static str, String> {
    let spec = event.spec();
    let Some(found) = action.get("@odata.type").and_then(Value::as_str) else {
        return Err("the action has no @odata.type".to_owned());
    };
    if let Some(documented) = spec.action_types.iter().find(|known| known.eq_ignore_ascii_case(found)) {
        if *documented != found {
            warnings.push(format!("the action type is `{found}`, documented is `{documented}`"));
        }
        return Ok(documented);
    }
    if let Some((_, current)) = spec
        .legacy_action_types
        .iter()
        .find(|(legacy, _)| legacy.eq_ignore_ascii_case(found))
    {
        warnings.push(format!("the action type `{found}` is an old name of `{current}`"));
        return Ok(current);
    }
    Err(format!(
        "the action type is `{found}`, {} has {}",
        spec.name,
        spec.action_types.join(", ")
    ))
}
