//! The schemas and the OpenAPI document: what the host serves, what the command prints and what is in `docs` are the
//! same.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use claimsmith_tests::{Stage, run};
use jsonschema::{Draft, Validator};
use serde_json::Value;
use tempfile::TempDir;

fn docs() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))
}

/// The JSON files of a directory and of the one below it, by path.
fn json_files(directory: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for below in ["", "schemas"] {
        for entry in fs::read_dir(directory.join(below)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_in_docs_are_what_the_command_writes() {
    let directory = TempDir::new().unwrap();
    let ended = run(directory.path(), &["schema", "--write", "."], "").await;
    assert_eq!((ended.code, ended.errors.as_str()), (0, ""));
    let (written, kept) = (json_files(directory.path()), json_files(docs()));
    assert_eq!(written.len(), 15);
    assert_eq!(written.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
    for (name, text) in &written {
        assert!(kept[name] == *text, "docs/{name} is stale: run `cargo xtask schemas`");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_each_file() {
    let directory = TempDir::new().unwrap();
    for (name, text) in json_files(docs()) {
        let parts: Vec<&str> = name.trim_start_matches("schemas/").split('.').collect();
        let arguments = match parts[..] {
            ["error", _] => vec!["schema", "--error"],
            ["openapi", _] => vec!["schema", "--openapi"],
            ["admin-openapi", _] => vec!["schema", "--admin-openapi"],
            [event, "request", _] => vec!["schema", event],
            [event, body, _] => vec!["schema", event, body],
            _ => panic!("{name}"),
        };
        let ended = run(directory.path(), &arguments, "").await;
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.errors);
        assert!(ended.output == text, "{arguments:?} is not docs/{name}");
    }
    for (arguments, part) in [
        (vec!["schema"], "<EVENT>"),
        (
            vec!["schema", "tokenIssuance"],
            "tokenIssuanceStart, attributeCollectionStart",
        ),
        (vec!["schema", "emailOtpSend", "answer"], "request, response"),
        (vec!["schema", "emailOtpSend", "--openapi"], "cannot be used with"),
    ] {
        let ended = run(directory.path(), &arguments, "").await;
        assert!(
            ended.code != 0 && ended.errors.contains(part),
            "{arguments:?}: {}",
            ended.errors
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_serves_the_document_without_a_token() {
    let platform = Stage::new().await.listen("json").await;
    let url = format!("http://{}/openapi.json", platform.host.address);
    let response = platform.http.get(&url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let served: Value = response.json().await.unwrap();
    let kept = fs::read_to_string(docs().join("openapi.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert!(
        served == kept,
        "the host serves another document than docs/openapi.json"
    );
    let response = platform.http.post(&url).send().await.unwrap();
    assert_eq!(response.status(), 405);
}

/// What the document says of a path's answers, by path, method and status, is what the host does.
#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_as_the_document_says() {
    let platform = Stage::new().await.listen("json").await;
    let document: Value = serde_json::from_str(&fs::read_to_string(docs().join("openapi.json")).unwrap()).unwrap();
    for (path, status) in [
        ("/healthz", "200"),
        ("/readyz", "503"),
        ("/metrics", "200"),
        ("/status", "200"),
    ] {
        let url = format!("http://{}{path}", platform.host.address);
        let response = platform.http.get(&url).send().await.unwrap();
        assert_eq!(response.status().as_str(), status);
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        let text = response.text().await.unwrap();
        let content = &document["paths"][path]["get"]["responses"][status]["content"];
        let schema = content[&content_type]["schema"].clone();
        assert!(
            schema.is_object(),
            "{path}: the document has no {content_type}: {content}"
        );
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        let mut whole = schema;
        whole["components"] = document["components"].clone();
        assert!(validator(&whole).is_valid(&body), "{path}: {body}");
    }
}

#[test]
fn every_schema_is_one_and_refuses_what_is_none_of_its_bodies() {
    for (name, text) in json_files(docs()) {
        let schema: Value = serde_json::from_str(&text).unwrap();
        if name.starts_with("schemas/") {
            assert_eq!(
                schema["$schema"], "https://json-schema.org/draft/2020-12/schema",
                "{name}"
            );
            jsonschema::meta::validate(&schema).unwrap();
            assert!(!validator(&schema).is_valid(&serde_json::json!({})), "{name}");
        }
    }
}

/// Answers that others wrote: a schema of an answer says what the host sends, so that it is as strict as Entra is, or
/// stricter.
#[test]
fn what_entra_refuses_as_an_answer_does_not_fit_its_schema() {
    let cases = docs().join("../host/contract/tests/responses.json");
    let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(cases).unwrap()).unwrap();
    let files = json_files(docs());
    for case in cases {
        let schema = &files[&format!("schemas/{}.response.json", case["event"].as_str().unwrap())];
        let fits = validator(&serde_json::from_str(schema).unwrap()).is_valid(&case["body"]);
        // Sizes are no matter of a schema (1003024 and 1003025).
        let mut refusals = case["entra_errors"].as_array().unwrap().iter();
        let refused = refusals.any(|code| *code != 1_003_024 && *code != 1_003_025);
        assert_eq!(fits, !refused, "{}", case["name"]);
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .build(schema)
        .unwrap()
}
