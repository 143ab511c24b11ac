//! What is refused before a body means anything: the method, the content type, the path, the size and the framing. A
//! refusal is a problem document with a stable code; the client can always read the answer, and nothing it sends can forge
//! a log line or hold a place for ever. What a body says is in the cases of `conformance`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_tests::raw::{self, Answer};
use claimsmith_tests::{Platform, Stage, world};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use serde_json::{Map, Value, json};
use tokio::io::AsyncWriteExt as _;

/// A platform whose plugin is quick to compile, for requests that do not reach it.
async fn platform_with(host_config: &str, plugin: &str, binding: &str) -> Platform {
    let stage = Stage::new().await.host_config(host_config);
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "", plugin, binding),
        world::extension_toml("quick", "deadline = \"100ms\"", plugin, binding),
    ]
    .concat();
    stage.tenant("contoso", &toml).start().await
}

/// Checks a refusal that is no 401: the problem document.
async fn problem(response: Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status(), status, "{code}");
    let head = format!("{:?}", response.headers());
    assert_eq!(response.headers()["cache-control"], "no-store", "{head}");
    assert_eq!(response.headers()["content-type"], "application/problem+json", "{head}");
    let problem: Value = response.json().await.unwrap();
    assert_problem(&problem, status, code);
    problem
}

fn assert_problem(problem: &Value, status: u16, code: &str) {
    assert_eq!(
        (&problem["status"], &problem["code"]),
        (&json!(status), &json!(code)),
        "{problem}"
    );
    assert!(!problem["title"].as_str().unwrap().is_empty(), "{problem}");
    assert!(
        problem["errors"].as_array().unwrap().iter().all(Value::is_string),
        "{problem}"
    );
    let known = ["title", "status", "code", "errors", "correlationId"];
    let unknown: Vec<_> = problem
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

fn assert_raw_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_problem(&serde_json::from_str(&answer.body).unwrap(), status, code);
}

async fn post(platform: &Platform, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = platform.http.post(platform.url()).bearer_auth(platform.token());
    request
        .header(CONTENT_TYPE, content_type)
        .body(body)
        .send()
        .await
        .unwrap()
}

// --- the rest of the request ---

#[tokio::test(flavor = "multi_thread")]
async fn only_post_is_answered_whatever_else_is_right() {
    let platform = platform_with("", "misbehaving", "").await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let request = platform
            .http
            .request(method.clone(), platform.url())
            .bearer_auth(platform.token());
        let response = request.json(&platform.body()).send().await.unwrap();
        assert_eq!(response.headers()["allow"], "POST", "{method}");
        problem(response, 405, "method_not_allowed").await;
    }
    let head = platform.http.head(platform.url()).send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_json_is_read_with_any_parameters() {
    let platform = platform_with("", "misbehaving", "").await;
    let body = platform.body().to_string();
    for content_type in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "Application/JSON ; odata.metadata=minimal",
    ] {
        let response = post(&platform, content_type, body.clone()).await;
        assert_eq!(response.status(), 200, "{content_type}");
    }
    for content_type in [
        "",
        "json",
        "text/plain",
        "text/json",
        "application/jsonx",
        "application/json+x",
        "application/x-www-form-urlencoded",
        "application/problem+json",
        "text/plain; application/json",
        "text/plain, application/json",
    ] {
        let response = post(&platform, content_type, body.clone()).await;
        problem(response, 415, "unsupported_media_type").await;
    }
    let missing = platform
        .http
        .post(platform.url())
        .bearer_auth(platform.token())
        .body(body);
    problem(missing.send().await.unwrap(), 415, "unsupported_media_type").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_leads_to_an_extension_or_to_404() {
    let platform = platform_with("", "misbehaving", "").await;
    let tenants = format!("http://{}/tenants", platform.host.address);
    for (path, code) in [
        ("/fabrikam/extensions/claims", "unknown_tenant"),
        ("/Contoso/extensions/claims", "unknown_tenant"),
        ("/contoso%20/extensions/claims", "unknown_tenant"),
        ("/..%2fcontoso/extensions/claims", "unknown_tenant"),
        ("/contoso%00/extensions/claims", "unknown_tenant"),
        ("/contoso%ff/extensions/claims", "unknown_tenant"),
        ("/contoso/extensions/other", "unknown_extension"),
        ("/contoso/extensions/Claims", "unknown_extension"),
        ("/contoso/extensions/claims%2f", "unknown_extension"),
        ("/contoso/extensions/%c3", "unknown_tenant"),
        ("/contoso/extensions/claims/", "unknown_extension"),
        ("/contoso/extensions/claims/more", "unknown_extension"),
        ("/contoso/extensions/", "unknown_extension"),
        ("/contoso", "unknown_extension"),
        ("", "unknown_extension"),
    ] {
        let request = platform
            .http
            .post(format!("{tenants}{path}"))
            .bearer_auth(platform.token());
        let response = request.json(&platform.body()).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}: {:?}", response.text().await);
        let problem = problem(response, 404, code).await;
        assert_eq!(
            problem.get("correlationId"),
            None,
            "the body of nobody's extension is not read"
        );
    }
    for path in [
        "/contoso/extensions/claims?code=a%2Fb&x",
        "/c%6fntoso/extensions/cl%61ims",
    ] {
        let (status, _) = platform.callout_to(&format!("{tenants}{path}")).await;
        assert_eq!(status, 200, "{path}");
    }
}

// --- bodies by hand ---

/// The head of a callout, up to its framing.
fn head(platform: &Platform, extension: &str) -> String {
    format!(
        "POST /tenants/contoso/extensions/{extension} HTTP/1.1\r\nhost: claimsmith\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\n",
        platform.token()
    )
}

fn chunked(body: &str) -> String {
    let chunks = body.as_bytes().chunks(1 << 14).map(|chunk| {
        let text = std::str::from_utf8(chunk).unwrap();
        format!("{:x}\r\n{text}\r\n", chunk.len())
    });
    chunks.collect::<Vec<_>>().concat() + "0\r\n\r\n"
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_with_an_answer_that_arrives() {
    let platform = platform_with("", "misbehaving", "").await;
    let (head, large) = (head(&platform, "claims"), " ".repeat(1 << 20));
    let announced = format!("{head}content-length: {}\r\n\r\n{large}", large.len());
    let in_chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{}", chunked(&large));
    let anonymous = in_chunks.replace("Bearer ", "Bearer x");
    for (name, request, status, code) in [
        ("announced", &announced, 413, "body_too_large"),
        ("in chunks", &in_chunks, 413, "body_too_large"),
    ] {
        let mut stream = raw::send(platform.host.address, request.as_bytes()).await;
        let answer = raw::answer(&mut stream).await;
        assert_raw_problem(&answer, status, code);
        // The connection goes on: its next callout is answered.
        let body = platform.body().to_string();
        let good = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(good.as_bytes()).await.unwrap();
        assert_eq!(raw::answer(&mut stream).await.status, 200, "{name}");
    }
    let mut stream = raw::send(platform.host.address, anonymous.as_bytes()).await;
    assert_eq!(raw::answer(&mut stream).await.status, 401);

    // A client that announces it and waits to be told to go on.
    let waiting = format!("{head}content-length: 9999999\r\nexpect: 100-continue\r\n\r\n");
    let mut stream = raw::send(platform.host.address, waiting.as_bytes()).await;
    let all = raw::read_to_close(&mut stream).await;
    assert!(all.contains("HTTP/1.1 413 "), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_exactly_as_large_as_allowed() {
    let platform = platform_with("server.max_body_bytes = 10000", "misbehaving", "").await;
    let body = platform.body().to_string();
    let padded = |bytes: usize| format!("{body}{}", " ".repeat(bytes - body.len()));
    for (bytes, status) in [(10_000, 200), (10_001, 413)] {
        let response = post(&platform, "application/json", padded(bytes)).await;
        assert_eq!(response.status(), status, "{bytes} announced");
        let request = format!(
            "{}transfer-encoding: chunked\r\n\r\n{}",
            head(&platform, "claims"),
            chunked(&padded(bytes))
        );
        let mut stream = raw::send(platform.host.address, request.as_bytes()).await;
        assert_eq!(raw::answer(&mut stream).await.status, status, "{bytes} in chunks");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_answered_at_the_extensions_deadline() {
    let platform = platform_with("", "misbehaving", "").await;
    for framing in [
        "content-length: 1000\r\n\r\n{\"type\":",
        "transfer-encoding: chunked\r\n\r\n8\r\n{\"type\":\r\n",
    ] {
        let mark = platform.host.log_mark();
        let request = format!("{}{framing}", head(&platform, "quick"));
        let mut stream = raw::send(platform.host.address, request.as_bytes()).await;
        let answer = raw::answer(&mut stream).await;
        assert_raw_problem(&answer, 504, "deadline_exceeded");
        // No plugin has been asked for anything yet.
        assert!(!answer.body.contains("plugin"), "{answer:?}");
        let line = platform.host.callout_line(mark).await;
        assert!(line["reason"].as_str().unwrap().contains("body"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_unreadable() {
    let platform = platform_with("", "misbehaving", "").await;
    let bad_chunk = format!("{}transfer-encoding: chunked\r\n\r\nzz\r\n", head(&platform, "claims"));
    let mut stream = raw::send(platform.host.address, bad_chunk.as_bytes()).await;
    assert_raw_problem(&raw::answer(&mut stream).await, 400, "body_unreadable");

    let cut = format!("{}content-length: 1000\r\n\r\n{{", head(&platform, "claims"));
    let mut stream = raw::send(platform.host.address, cut.as_bytes()).await;
    stream.shutdown().await.unwrap();
    let answer = raw::read_to_close(&mut stream).await;
    assert!(answer.is_empty() || answer.contains("body_unreadable"), "{answer}");
    assert_eq!(platform.callout().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_come_to_a_request_is_closed() {
    let platform = platform_with("server.header_timeout = \"200ms\"", "misbehaving", "").await;
    for start in [
        "",
        "P",
        "POST /tenants/contoso/extensions/claims HTTP/1.1\r\nhost: cl",
        "PRI * HTTP/2",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = raw::send(platform.host.address, start.as_bytes()).await;
        let closing = tokio::time::timeout(std::time::Duration::from_secs(10), raw::read_to_close(&mut stream));
        assert!(closing.await.is_ok(), "a connection that sent {start:?} is held open");
    }
    // One that has been used before, too.
    let mut stream = raw::send(platform.host.address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(raw::answer(&mut stream).await.status, 200);
    assert_eq!(raw::read_to_close(&mut stream).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_loses_its_connection() {
    let platform = platform_with("server.write_timeout = \"300ms\"", "misbehaving", "").await;
    // Their answers are far more than the buffers of both systems take.
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(2_000);
    let mut stream = raw::send(platform.host.address, &requests).await;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;

    // A connection that was kept would give all answers now, and then wait for more requests for a minute.
    let closing = tokio::time::timeout(std::time::Duration::from_secs(20), raw::read_to_close(&mut stream));
    let received = closing.await.expect("the connection is closed");
    assert!(received.matches("HTTP/1.1 200 OK").count() < 2_000);
}

// --- the log ---

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_begins_a_log_line_or_colours_it() {
    let stage = Stage::new().await;
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "", "misbehaving", ""),
    ]
    .concat();
    let platform = stage.tenant("contoso", &toml).listen("text").await;
    let evil = "\n\r\u{1b}[31m2026-01-01T00:00:00Z FORGED \u{85}\u{2028}\u{202e}";
    let encoded = evil.bytes().map(|byte| format!("%{byte:02x}"));
    let encoded = encoded.collect::<Vec<_>>().concat();
    let directory = platform.directory();
    let request = || directory.callout_token(world::EXTENSION).unwrap();
    let tokens = [
        request().header("kid", evil),
        request().header("alg", evil),
        request().claim("iss", evil),
        request().claim("aud", evil),
        request().claim("azp", evil),
        request().claim("tid", evil),
        request().claim("ver", evil),
        request().claim("exp", evil),
    ];
    let body = platform.body();
    for token in tokens {
        let token = directory.mint(&token).unwrap();
        assert_eq!(platform.call(&token, &body).await.status(), 401);
    }
    for path in [
        format!("{encoded}/extensions/claims"),
        format!("contoso/extensions/{encoded}"),
    ] {
        let (status, _) = platform
            .callout_to(&format!("http://{}/tenants/{path}", platform.host.address))
            .await;
        assert_eq!(status, 404);
    }
    let repeated = format!("{{{0}:1,{0}:2}}", json!(evil));
    assert_eq!(post(&platform, "application/json", repeated).await.status(), 400);
    let mut unknown = body.clone();
    unknown["data"]["authenticationContext"]["correlationId"] = json!(evil);
    unknown["type"] = json!(evil);
    assert_eq!(platform.call(&platform.token(), &unknown).await.status(), 400);

    let refused = |line: &Value| line.as_str().is_some_and(|line| line.contains("callout refused"));
    let all_refused = || platform.host.log().iter().filter(|line| refused(line)).count();
    claimsmith_tests::eventually("all callouts are logged", async || all_refused() == 12).await;
    for line in platform.host.log() {
        let line = line.as_str().unwrap().to_owned();
        // A line begins with its time and level.
        let level = line.split_whitespace().nth(1).unwrap_or_default();
        assert!(["ERROR", "WARN", "INFO", "DEBUG"].contains(&level), "{line:?}");
        let forges = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{202e}');
        assert!(!line.contains(forges), "{line:?}");
    }
    let empty = Map::new();
    assert_eq!(
        platform.call(&platform.token(), &Value::Object(empty)).await.status(),
        400
    );
}
