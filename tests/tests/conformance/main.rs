//! Conformance: for every event, what Entra sends or is known to have sent is read, what it does not send is refused, and
//! what is answered is what it documents, to the letter. Each file below `tests/cases` is a case of it, run through the
//! real host with the plugin `every-event`; `case` describes their form.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod case;
mod check;
mod password;
mod request;
mod schemas;
mod usual;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use case::{Case, EVENTS};
use check::{Answer, check};
use claimsmith_tests::{LogLine, Platform, Stage, plugin, world};
use password::Keys;
use request::{Body, body, caller};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName};
use schemas::Schemas;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;

/// How many cases run at the same time.
const CONCURRENCY: usize = 8;

/// A case that runs, with an extension of its own.
struct Run {
    event: &'static str,
    name: String,
    extension: String,
    case: Case,
    body: Body,
}

fn all_cases() -> Vec<(&'static str, String, Case)> {
    let (mut cases, mut mistakes) = (Vec::new(), Vec::new());
    for event in EVENTS {
        let (of_event, mistakes_of_event) = case::load(event);
        cases.extend(of_event.into_iter().map(|(name, case)| (event, name, case)));
        mistakes.extend(mistakes_of_event);
    }
    assert!(mistakes.is_empty(), "files that are no cases:\n{}", mistakes.join("\n"));
    cases
}

/// Makes the requests of all cases.
fn runs(keys: &Keys) -> Vec<Run> {
    let (mut runs, mut mistakes) = (Vec::new(), Vec::new());
    for (number, (event, name, case)) in all_cases().into_iter().enumerate() {
        match body(event, &case, keys) {
            Ok(body) => runs.push(Run {
                event,
                name,
                extension: format!("case-{number}"),
                case,
                body,
            }),
            Err(mistake) => mistakes.push(format!("{name}: {mistake}")),
        }
    }
    assert!(
        mistakes.is_empty(),
        "requests that cannot be made:\n{}",
        mistakes.join("\n")
    );
    runs
}

/// The extension of a case, as a tenant configures it.
fn extension(run: &Run) -> Value {
    let mut extension = Map::from_iter([
        ("event".to_owned(), json!(run.event)),
        ("audiences".to_owned(), json!([world::RESOURCE, world::resource_id()])),
        // A test may run on a busy machine; the deadline itself is tested elsewhere.
        ("deadline".to_owned(), json!("2s")),
        (
            "bindings".to_owned(),
            json!([{ "plugin": "every-event", "settings": run.case.settings() }]),
        ),
    ]);
    if run.event == "passwordSubmit" {
        let key = json!({ "private_key": "file:password.key.pem", "certificate": "file:password.crt.pem" });
        extension.insert("decryption_keys".to_owned(), json!([key]));
    }
    extension.extend(run.case.extension.clone());
    Value::Object(extension)
}

/// One host with one tenant, in which each case has its extension.
async fn platform(runs: &[Run], keys: &Keys) -> Platform {
    let stage = Stage::new().await.host_config("runtime.limits.cpu = \"1s\"");
    let extensions: Map<_, _> = runs.iter().map(|run| (run.extension.clone(), extension(run))).collect();
    let toml = toml::to_string(&json!({ "extensions": extensions })).unwrap();
    let toml = format!("{}{toml}", world::directories_toml(&stage.entra));
    let stage = stage.tenant("contoso", &toml);
    let file = |name| stage.file("tenants/contoso").join(name);
    fs::copy(plugin("every-event"), file("plugins/every-event.wasm")).unwrap();
    fs::create_dir(file("secrets")).unwrap();
    fs::write(file("secrets/password.key.pem"), keys.own.private_key_pem().unwrap()).unwrap();
    fs::write(file("secrets/password.crt.pem"), keys.own.certificate_pem().unwrap()).unwrap();
    stage.start().await
}

async fn send(platform: &Platform, run: &Run) -> Answer {
    let (directory, extension) = caller(run.event);
    let token = platform
        .entra
        .directory(directory)
        .unwrap()
        .callout_bearer(extension)
        .unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, "application/json".parse().unwrap());
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    for (name, value) in &run.case.headers {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, value.replace("{token}", &token).parse().unwrap());
    }
    let url = platform.url_of("contoso", &run.extension);
    let request = platform.http.post(url).headers(headers).body(run.body.bytes.clone());
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

/// Keeps what was sent and answered as seeds for fuzzing, where the environment names a directory for them.
fn write_seeds(run: &Run, answer: &Answer) {
    let Some(directory) = std::env::var_os("CONFORMANCE_SEEDS").map(PathBuf::from) else {
        return;
    };
    let name = run.name.replace('/', "-");
    fs::write(directory.join("request_body").join(&name), &run.body.bytes).unwrap();
    if answer.status == 200 {
        fs::write(directory.join("response_check").join(&name), &answer.text).unwrap();
    }
}

/// What must never be in the log: the code or the password of a case. A shorter one could be part of something else.
fn secrets(run: &Run) -> Vec<String> {
    let sent: Value = serde_json::from_slice(&run.body.bytes).unwrap_or_default();
    let code = sent.pointer("/data/otpContext/oneTimeCode").and_then(Value::as_str);
    let password = run.case.password_context.clone().unwrap_or_default().password;
    let secrets = [
        code.map(str::to_owned),
        (run.event == "passwordSubmit").then_some(password),
    ];
    secrets
        .into_iter()
        .flatten()
        .filter(|secret| secret.len() >= 6)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_is_answered_as_it_says() {
    let keys = Keys::generate();
    let runs = runs(&keys);
    let platform = Arc::new(platform(&runs, &keys).await);
    let secrets: BTreeSet<_> = runs.iter().flat_map(secrets).collect();
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    let schemas = Arc::new(Schemas::read());
    let tasks: Vec<_> = runs
        .into_iter()
        .map(|run| {
            let (platform, places) = (Arc::clone(&platform), Arc::clone(&places));
            let schemas = Arc::clone(&schemas);
            let name = run.name.clone();
            let task = tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                let answer = send(&platform, &run).await;
                write_seeds(&run, &answer);
                let mut mismatches = check(&platform.host, &run.extension, &run.case, &run.body, &answer).await;
                mismatches.extend(schemas.check(&run, &answer));
                mismatches
            });
            (name, task)
        })
        .collect();
    let mut failures = Vec::new();
    for (name, task) in tasks {
        let mismatches = task.await.unwrap_or_else(|error| vec![error.to_string()]);
        failures.extend(mismatches.iter().map(|mismatch| format!("{name}: {mismatch}")));
    }
    for secret in secrets {
        let tells = |line: &LogLine| line.to_string().contains(&secret);
        let line = platform.host.log().into_iter().find(tells);
        failures.extend(line.map(|line| format!("a secret is in the log: {line}")));
    }
    assert!(
        failures.is_empty(),
        "{} mismatches:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_event_has_its_share_of_cases_and_refusals() {
    let cases = all_cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    for event in EVENTS {
        let of_event = cases.iter().filter(|(of, _, _)| *of == event).count();
        assert!(of_event >= 15, "{event}: {of_event} cases");
    }
    let refusals = cases.iter().filter(|(_, _, case)| case.is_refusal()).count();
    assert!(
        refusals * 100 >= cases.len() * 40,
        "{refusals} refusals of {}",
        cases.len()
    );
}
