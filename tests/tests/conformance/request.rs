//! From a case to the bytes that are sent.

use claimsmith_tests::world;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::case::{Case, Order, Step, TextStep, usual_request};
use crate::password::Keys;

/// A body as it is sent.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// The sign-in's correlation id, if the body as JSON has a usable one.
    pub(crate) correlation_id: Option<String>,
}

/// The directory that calls for an event, and its extension: people sign up in the external one.
pub(crate) fn caller(event: &str) -> (Uuid, Uuid) {
    match event {
        "tokenIssuanceStart" | "verifiedIdClaimValidation" => (world::DIRECTORY, world::EXTENSION),
        _ => (world::EXTERNAL_DIRECTORY, world::EXTERNAL_EXTENSION),
    }
}

/// The body of a case, or why it cannot be made.
pub(crate) fn body(event: &str, case: &Case, keys: &Keys) -> Result<Body, String> {
    let (text, correlation_id) = if let Some(text) = &case.request_text {
        (text.clone(), None)
    } else {
        let request = json_body(event, case, keys)?;
        let text = match case.order {
            None => request.to_string(),
            Some(Order::Reversed) => reversed(&request),
        };
        (text, correlation_id(&request))
    };
    let mut bytes = text.into_bytes();
    for step in &case.text_patch {
        change_text(&mut bytes, step)?;
    }
    Ok(Body { bytes, correlation_id })
}

fn json_body(event: &str, case: &Case, keys: &Keys) -> Result<Value, String> {
    let mut request = case.request.clone().unwrap_or_else(|| usual_request(event));
    if event == "passwordSubmit"
        && let Some(data) = request.get_mut("data").and_then(Value::as_object_mut)
        && data.contains_key("encryptedPasswordContext")
    {
        let context = case.password_context.clone().unwrap_or_default();
        data["encryptedPasswordContext"] = json!(context.encrypt(keys)?);
    }
    for step in &case.patch {
        change(&mut request, step)?;
    }
    Ok(request)
}

fn change(request: &mut Value, step: &Step) -> Result<(), String> {
    let (Step::Set { set: pointer, .. } | Step::Remove { remove: pointer }) = step;
    let (parent, member) = pointer.rsplit_once('/').ok_or("a pointer begins with /")?;
    let parent = request.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.ok_or_else(|| format!("there is nothing at {pointer}"))?;
    let member = member.replace("~1", "/").replace("~0", "~");
    match step {
        Step::Set { to, .. } => drop(parent.insert(member, to.clone())),
        Step::Remove { .. } => {
            parent
                .shift_remove(&member)
                .ok_or_else(|| format!("there is nothing at {pointer}"))?;
        }
    }
    Ok(())
}

fn change_text(bytes: &mut Vec<u8>, step: &TextStep) -> Result<(), String> {
    let (part, replacement) = match step {
        TextStep::Replace { replace, with } => (replace, with.as_bytes()),
        TextStep::ReplaceWithBytes { replace, with_bytes } => (replace, &with_bytes[..]),
        TextStep::Prepend { prepend } => {
            bytes.splice(0..0, prepend.bytes());
            return Ok(());
        }
        TextStep::Append { append } => {
            bytes.extend(append.bytes());
            return Ok(());
        }
        TextStep::Cut { cut } => {
            let at = find(bytes, cut)?;
            bytes.truncate(at);
            return Ok(());
        }
    };
    let at = find(bytes, part)?;
    bytes.splice(at..at + part.len(), replacement.iter().copied());
    Ok(())
}

fn find(bytes: &[u8], part: &str) -> Result<usize, String> {
    let mut windows = bytes.windows(part.len());
    let at = windows.position(|window| window == part.as_bytes());
    at.ok_or_else(|| format!("the text does not have {part}"))
}

/// JSON text whose members are in the opposite order.
fn reversed(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().rev();
            let members = members.map(|(name, value)| format!("{}:{}", json!(name), reversed(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn correlation_id(request: &Value) -> Option<String> {
    let sent = request.pointer("/data/authenticationContext/correlationId")?.as_str()?;
    let usable = Uuid::parse_str(sent).is_ok_and(|id| !id.is_nil());
    usable.then(|| sent.to_owned())
}
