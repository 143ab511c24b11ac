//! The form of a case, and the reading of all of them.
//!
//! A case is a file `tests/cases/{event}/{name}.json`: what Entra sends, what the plugin `every-event` is told to do, and
//! what must come of it. The request is the event's own (`tests/cases/requests/{event}.json`), changed by `patch`, or
//! `request`, or `request_text` for what is not JSON; `text_patch` changes the text of any of them.
//!
//! What would be long is generated, wherever it stands: `{"repeat": "x", "times": 9}` is a string (of an array, an
//! array), `{"numbered": "\"m#\":0,", "times": 9}` a string with the number for `#`, `{"join": […]}` strings together,
//! `{"seconds_from_now": -120}` a time as tokens have it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::password::PasswordContextOf;

/// Every event, as Entra spells it.
pub(crate) const EVENTS: [&str; 6] = [
    "tokenIssuanceStart",
    "attributeCollectionStart",
    "attributeCollectionSubmit",
    "emailOtpSend",
    "passwordSubmit",
    "verifiedIdClaimValidation",
];

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// What is special about it.
    pub(crate) description: String,
    /// Where it is known from.
    pub(crate) source: String,
    /// Headers of the request in place of the usual ones; `{token}` is the bearer token.
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The whole body, instead of the event's usual one.
    pub(crate) request: Option<Value>,
    /// The whole body as text, instead of JSON.
    pub(crate) request_text: Option<String>,
    /// What is changed in the body.
    #[serde(default)]
    pub(crate) patch: Vec<Step>,
    /// In which order the body's members are sent, when not in its own.
    pub(crate) order: Option<Order>,
    /// What is changed in the body's text.
    #[serde(default)]
    pub(crate) text_patch: Vec<TextStep>,
    /// The password of passwordSubmit and how it is encrypted.
    pub(crate) password_context: Option<PasswordContextOf>,
    /// The settings of `every-event`; `echo` when something must be `seen`.
    pub(crate) plugin: Option<Map<String, Value>>,
    /// More members of the extension's configuration.
    #[serde(default)]
    pub(crate) extension: Map<String, Value>,
    /// What must come of it.
    pub(crate) expect: Expect,
}

/// A change of a body.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum Step {
    /// Gives a member (a JSON Pointer) a value. A new one comes last.
    Set { set: String, to: Value },
    /// Takes out a member, which must be there.
    Remove { remove: String },
}

/// A change of a body's text.
#[derive(Debug, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub(crate) enum TextStep {
    /// Replaces the first occurrence.
    Replace { replace: String, with: String },
    /// Replaces the first occurrence with bytes that need not be text.
    ReplaceWithBytes { replace: String, with_bytes: Vec<u8> },
    /// Adds in front.
    Prepend { prepend: String },
    /// Adds at the end.
    Append { append: String },
    /// Cuts off everything from the first occurrence on.
    Cut { cut: String },
}

/// An order of members.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The opposite one, at every level.
    Reversed,
}

/// What must come of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    /// The answer's status.
    pub(crate) status: u16,
    /// The whole body.
    pub(crate) body: Option<Value>,
    /// The whole body, to the letter.
    pub(crate) body_text: Option<String>,
    /// What the plugin was given, by path; null for what it must not be given.
    pub(crate) seen: Option<BTreeMap<String, Option<String>>>,
    /// The outcome of a refusal.
    pub(crate) code: Option<String>,
    /// All that the sender is told, in order: places (`/…`) or parts of the texts.
    pub(crate) errors: Option<Vec<String>>,
    /// The number of Entra's error in the log; it must not be there otherwise.
    pub(crate) entra_error: Option<u32>,
    /// Parts of the log's reason.
    #[serde(default)]
    pub(crate) reason: Vec<String>,
}

impl Case {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let case: Self = serde_json::from_value(generated(value)).map_err(|error| error.to_string())?;
        let only = case.plugin.as_ref().and_then(|plugin| plugin.get("only")?.as_str());
        case.expect.check(only.unwrap_or_default())?;
        match (&case.request, &case.request_text) {
            (Some(_), Some(_)) => Err("`request` and `request_text`".to_owned()),
            _ if case.description.is_empty() || case.source.is_empty() => Err("no description or source".to_owned()),
            _ => Ok(case),
        }
    }

    /// Whether it must be refused.
    pub(crate) fn is_refusal(&self) -> bool {
        self.expect.status != 200
    }

    /// The plugin's settings.
    pub(crate) fn settings(&self) -> Map<String, Value> {
        let echo = || Map::from_iter([("action".to_owned(), json!("echo"))]);
        let seen = self.expect.seen.is_some();
        self.plugin
            .clone()
            .unwrap_or_else(|| if seen { echo() } else { Map::new() })
    }
}

impl Expect {
    /// Whether it can be held against an answer. `only` is what the plugin tells of: of all else it says nothing anyway.
    fn check(&self, only: &str) -> Result<(), String> {
        let answer = self.body.is_some() || self.body_text.is_some() || self.seen.is_some();
        let refusal = self.code.is_some();
        let mut unseen = self.seen.iter().flatten().filter(|(_, text)| text.is_none());
        match self.status {
            200 if !answer || refusal => Err("an answer has a body, or something is seen".to_owned()),
            200 if !unseen.all(|(path, _)| path.starts_with(only)) => {
                Err("what is unseen could not be seen".to_owned())
            }
            status if status != 200 && (answer || !refusal) => Err("a refusal has a code".to_owned()),
            _ => Ok(()),
        }
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The body that Entra sends for an event.
pub(crate) fn usual_request(event: &str) -> Value {
    let path = directory().join("requests").join(event).with_extension("json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// All cases of an event with their names, sorted, and what is wrong with files that are none.
pub(crate) fn load(event: &str) -> (Vec<(String, Case)>, Vec<String>) {
    let mut paths: Vec<_> = fs::read_dir(directory().join(event))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let (mut cases, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        let name = format!("{event}/{}", path.file_name().unwrap().to_string_lossy());
        match Case::parse(&fs::read_to_string(&path).unwrap()) {
            Ok(case) => cases.push((name, case)),
            Err(mistake) => mistakes.push(format!("{name}: {mistake}")),
        }
    }
    (cases, mistakes)
}

/// Replaces what is to be generated.
fn generated(value: Value) -> Value {
    let members = match value {
        Value::Object(members) => members,
        Value::Array(items) => return items.into_iter().map(generated).collect(),
        other => return other,
    };
    let members: Map<_, _> = members
        .into_iter()
        .map(|(name, value)| (name, generated(value)))
        .collect();
    let times = || usize::try_from(members["times"].as_u64().unwrap()).unwrap();
    let names: Vec<&str> = members.keys().map(String::as_str).collect();
    match names[..] {
        ["repeat", "times"] => match &members["repeat"] {
            Value::Array(items) => items.iter().cycle().take(items.len() * times()).cloned().collect(),
            text => json!(text.as_str().unwrap().repeat(times())),
        },
        ["numbered", "times"] => {
            let text = members["numbered"].as_str().unwrap();
            let numbered = (0..times()).map(|number| text.replace('#', &number.to_string()));
            json!(numbered.collect::<String>())
        }
        ["join"] => {
            let parts = members["join"].as_array().unwrap().iter();
            json!(parts.map(|part| part.as_str().unwrap()).collect::<String>())
        }
        ["seconds_from_now"] => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            json!(now.saturating_add_signed(members["seconds_from_now"].as_i64().unwrap()))
        }
        _ => Value::Object(members),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"description": "d", "source": "s", "expect": {"status": 400, "code": "c"}}"#;

    #[test]
    fn a_file_that_says_something_else_than_a_case_is_refused() {
        Case::parse(GOOD).unwrap();
        for (what, with) in [
            ("\"source\": \"s\"", "\"source\": \"s\", \"sauce\": 1"),
            ("\"code\": \"c\"", "\"code\": \"c\", \"eror\": []"),
            ("\"source\": \"s\"", "\"source\": \"s\", \"patch\": [{\"set\": \"/a\"}]"),
            (
                "\"source\": \"s\"",
                "\"source\": \"s\", \"patch\": [{\"remove\": \"/a\", \"to\": 1}]",
            ),
            (
                "\"source\": \"s\"",
                "\"source\": \"s\", \"text_patch\": [{\"add\": \"x\"}]",
            ),
            (
                "\"source\": \"s\"",
                "\"source\": \"s\", \"password_context\": {\"flow\": null}",
            ),
            ("\"source\": \"s\", ", ""),
            ("\"code\": \"c\"", "\"reason\": []"),
            ("400", "200"),
            ("\"code\": \"c\"", "\"code\": \"c\", \"body_text\": \"\""),
        ] {
            assert!(GOOD.contains(what));
            assert!(Case::parse(&GOOD.replacen(what, with, 1)).is_err(), "{with}");
        }
    }

    #[test]
    fn nothing_counts_as_unseen_that_the_plugin_would_not_tell_of() {
        let case = r#"{"description": "d", "source": "s", "plugin": {"action": "echo", "only": "user."},
            "expect": {"status": 200, "seen": {"PATH": null}}}"#;
        Case::parse(&case.replace("PATH", "user.mail")).unwrap();
        Case::parse(&case.replace("PATH", "client.ip")).unwrap_err();
    }

    #[test]
    fn what_is_long_is_generated() {
        let value = json!({"a": [{"repeat": "xy", "times": 2}, {"repeat": [0, 1], "times": 2}],
            "b": {"join": ["<", {"numbered": "#,", "times": 3}, ">"]}});
        assert_eq!(generated(value), json!({"a": ["xyxy", [0, 1, 0, 1]], "b": "<0,1,2,>"}));
    }
}
