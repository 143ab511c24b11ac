//! Holding an answer against what its case expects.

use std::collections::BTreeMap;

use claimsmith_tests::{Host, LogLine};
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::case::{Case, Expect};
use crate::request::Body;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// The outcomes of bodies that are not understood: their answers cannot name the sign-in.
const NOT_UNDERSTOOD: [&str; 3] = ["malformed_json", "body_too_large", "unsupported_media_type"];

/// Everything that is not as the case expects. `extension` is the case's own, by which the log tells of it.
pub(crate) async fn check(host: &Host, extension: &str, case: &Case, sent: &Body, answer: &Answer) -> Vec<String> {
    let ends = |line: &LogLine| {
        let message = &line["message"];
        line["span"]["extension"] == extension && (message == "callout answered" || message == "callout refused")
    };
    let line = host.log_line("the end of the callout", ends).await;
    let mut mismatches = Mismatches(Vec::new());
    mismatches.compare("status", &answer.status, &case.expect.status);
    mismatches.compare(
        "cache-control",
        &header(answer, "cache-control"),
        &"no-store".to_owned(),
    );
    if answer.status == 200 {
        mismatches.compare(
            "content-type",
            &header(answer, "content-type"),
            &"application/json".to_owned(),
        );
        mismatches.compare("outcome", &line["outcome"], &Value::from("answered"));
        check_body(&mut mismatches, &case.expect, &answer.text);
        if let Some(expected) = &case.expect.seen {
            check_seen(&mut mismatches, expected, &seen(host, extension, &answer.text));
        }
    } else {
        check_problem(&mut mismatches, &case.expect, sent, answer);
        check_line(&mut mismatches, &case.expect, &line);
    }
    mismatches.0
}

/// What differs.
struct Mismatches(Vec<String>);

impl Mismatches {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.0.push(format!("{what}: {found:?}, expected {expected:?}"));
        }
    }
}

fn header(answer: &Answer, name: &str) -> String {
    let value = answer.headers.get(name);
    value.map_or("", |value| value.to_str().unwrap()).to_owned()
}

fn check_body(mismatches: &mut Mismatches, expect: &Expect, text: &str) {
    if let Some(body) = &expect.body {
        let found: Value = serde_json::from_str(text).unwrap_or_default();
        mismatches.compare("body", &found, body);
    }
    if let Some(body_text) = &expect.body_text {
        mismatches.compare("body", &text, &body_text.as_str());
    }
}

/// What `every-event` says that it was given: claims, a page's message, failed claims, or, where the answer has no place
/// for it, a line of the log.
fn seen(host: &Host, extension: &str, text: &str) -> BTreeMap<String, String> {
    let body: Value = serde_json::from_str(text).unwrap_or_default();
    let action = &body["data"]["actions"][0];
    if let Some(claims) = action["claims"].as_object() {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        return claims.iter().map(|(path, value)| (path.clone(), text(value))).collect();
    }
    if let Some(failed) = action["failedClaims"].as_array() {
        let pairs = failed.iter().filter_map(|pair| pair.as_str()?.split_once('='));
        return pairs.map(|(path, text)| (path.to_owned(), text.to_owned())).collect();
    }
    let logged = || {
        let of_plugin =
            |line: &LogLine| line["target"] == "claimsmith::plugin" && line["span"]["extension"] == extension;
        let line = host.log().into_iter().find(of_plugin)?;
        line["message"].as_str().map(str::to_owned)
    };
    let message = action["message"].as_str().map(str::to_owned).or_else(logged);
    serde_json::from_str(&message.unwrap_or_default()).unwrap_or_default()
}

fn check_seen(
    mismatches: &mut Mismatches,
    expected: &BTreeMap<String, Option<String>>,
    seen: &BTreeMap<String, String>,
) {
    if seen.is_empty() && expected.values().any(Option::is_some) {
        mismatches
            .0
            .push("the plugin did not tell what it was given".to_owned());
    }
    for (path, text) in expected {
        mismatches.compare(&format!("seen `{path}`"), &seen.get(path), &text.as_ref());
    }
}

/// Checks a problem document (RFC 9457) and the members that it may have.
fn check_problem(mismatches: &mut Mismatches, expect: &Expect, sent: &Body, answer: &Answer) {
    let content_type = "application/problem+json".to_owned();
    mismatches.compare("content-type", &header(answer, "content-type"), &content_type);
    let Ok(Value::Object(mut problem)) = serde_json::from_str(&answer.text) else {
        mismatches.0.push(format!("no problem document: {}", answer.text));
        return;
    };
    let mut member = |name: &str| problem.remove(name);
    mismatches.compare("status", &member("status"), &Some(answer.status.into()));
    let code = member("code");
    mismatches.compare("code", &code, &expect.code.clone().map(Value::from));
    let understood = !NOT_UNDERSTOOD.contains(&code.as_ref().and_then(Value::as_str).unwrap_or_default());
    let correlation_id = sent.correlation_id.clone().filter(|_| understood);
    mismatches.compare(
        "correlationId",
        &member("correlationId"),
        &correlation_id.map(Value::from),
    );
    let errors: Vec<String> = member("errors")
        .and_then(|errors| serde_json::from_value(errors).ok())
        .unwrap_or_default();
    if let Some(expected) = &expect.errors {
        let as_expected = |(error, expected): (&String, &String)| tells(error, expected);
        if errors.len() != expected.len() || !errors.iter().zip(expected).all(as_expected) {
            mismatches.compare("errors", &errors, expected);
        }
    }
    let titled = member("title").is_some_and(|title| title.as_str().is_some_and(|title| !title.is_empty()));
    mismatches.compare("has a title", &titled, &true);
    mismatches.compare("other members", &problem.keys().next(), &None);
}

/// Whether an error is of a place, which must be named in full, or has a part.
fn tells(error: &str, expected: &str) -> bool {
    if expected.starts_with('/') {
        return error.strip_prefix(expected).is_some_and(|rest| rest.starts_with(": "));
    }
    error.contains(expected)
}

fn check_line(mismatches: &mut Mismatches, expect: &Expect, line: &LogLine) {
    mismatches.compare("outcome", &line["outcome"].as_str(), &expect.code.as_deref());
    mismatches.compare(
        "entra_error",
        &line["entra_error"].as_u64(),
        &expect.entra_error.map(u64::from),
    );
    let reason = line["reason"].as_str().unwrap_or_default();
    for part in &expect.reason {
        if !reason.contains(part.as_str()) {
            mismatches.compare("reason", &reason, &part.as_str());
        }
    }
}
