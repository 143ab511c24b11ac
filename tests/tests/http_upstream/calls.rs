//! What may be asked, what comes back, and how it ends.

use std::sync::Arc;

use claimsmith_tests::{Platform, Upstream, eventually};
use serde_json::{Value, json};

use super::{LOOPBACK, crm, probe, probing, result, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_makes_claims_of_what_an_upstream_knows() {
    let server = Upstream::start().await;
    let platform = start(LOOPBACK, &crm(&server, ""), "settings.calls = 3\nupstreams = [\"crm\"]").await;
    let (status, answer) = platform.callout().await;
    assert_eq!(
        (status, Platform::claims(&answer)),
        (200, &json!({ "tier": "gold" })),
        "{answer}"
    );
    let id = "0d1e0001-0000-4000-8000-0000000000f1";
    assert_eq!(server.requests(&format!("/members/{id}")).len(), 3);
    assert_eq!(server.connections(), 1, "connections are used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_and_responses_carry_what_they_should() {
    let server = Upstream::start().await;
    let more = "headers = { \"x-api-version\" = \"3\" }";
    let platform = probing(LOOPBACK, &crm(&server, more), "[\"crm\"]").await;
    let request = json!({
        "path": "/echo/a%20b", "query": "c=d%26", "method": "POST", "body": "hello",
        "headers": { "accept": "text/plain", "X-Mine": "1" },
    });
    let mut body = platform.body();
    let user = &mut body["data"]["authenticationContext"]["user"];
    user["displayName"] = json!(request.to_string());
    let answer: Value = platform.call(&platform.token(), &body).await.json().await.unwrap();
    let head = Platform::claims(&answer)["body"].as_str().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("post /echo/a%20b?c=d%26 http/1.1\r\n"), "{head}");
    for field in [
        "accept: text/plain\r\n",
        "x-mine: 1\r\n",
        "x-api-version: 3\r\n",
        "content-length: 5\r\n",
        &format!("host: {}\r\n", server.address),
    ] {
        assert!(head.contains(field), "{field} {head}");
    }
    assert!(
        !head.contains("accept-encoding") && !head.contains("cookie") && !head.contains("referer"),
        "{head}"
    );
    // The trace is the callout's.
    let correlation = body["data"]["authenticationContext"]["correlationId"].as_str().unwrap();
    let trace = format!("traceparent: 00-{}-", correlation.replace('-', "").to_ascii_lowercase());
    assert!(head.contains(&trace), "{trace} {head}");
    assert_eq!(server.requests("/echo")[0].body, b"hello");

    let claims = probe(&platform, &json!({ "path": "/fields" })).await;
    let fields: Vec<_> = claims["headers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|field| field.as_str().unwrap())
        .collect();
    assert_eq!(fields, ["x-kept: yes", "content-length: 0"]);
    assert_eq!(result(&platform, &json!({ "path": "/status/404" })).await, "404");
    let head = json!({ "path": "/big/1000", "method": "HEAD" });
    assert_eq!(result(&platform, &head).await, "not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_counts_have_limits() {
    let server = Upstream::start().await;
    let more = "max_request_bytes = 100\nmax_response_bytes = 10000";
    let platform = probing(LOOPBACK, &crm(&server, more), "[\"crm\"]").await;
    for (request, expected) in [
        (json!({ "path": "/x", "method": "POST", "body_bytes": 100 }), "200"),
        (
            json!({ "path": "/x", "method": "POST", "body_bytes": 101 }),
            "too-large",
        ),
        (json!({ "path": "/big/9000" }), "200"),
        (json!({ "path": "/big/10001" }), "too-large"),
        (json!({ "path": "/endless" }), "too-large"),
        (json!({ "path": "/endless-head" }), "unavailable"),
        (json!({ "path": format!("/{}", "a".repeat(9_000)) }), "invalid"),
        (
            json!({ "path": "/x", "headers": { "x-a": "b".repeat(17_000) } }),
            "invalid",
        ),
    ] {
        assert_eq!(result(&platform, &request).await, expected, "{request}");
    }
    let claims = probe(&platform, &json!({ "path": "/x", "times": 18 })).await;
    let results: Vec<_> = claims["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found.as_str().unwrap())
        .collect();
    assert_eq!(results[..16], ["200"; 16]);
    assert_eq!(results[16..], ["quota-exceeded"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_in_time_whatever_the_upstream_does() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, "timeout = \"5s\""), "[\"crm\"]").await;
    for (number, path) in ["/hang", "/half", "/trickle"].into_iter().enumerate() {
        let claims = probe(&platform, &json!({ "path": path, "timeout_ms": 100 })).await;
        assert_eq!(claims["results"][0], "deadline-exceeded", "{path}");
        let left: u64 = claims["left_ms"].as_str().unwrap().parse().unwrap();
        assert!(left > 0, "the plugin's own limit leaves it time: {claims}");
        eventually("the call is cancelled", async || server.abandoned() == number + 1).await;
    }
    // Without one, the callout's: the plugin is told in time to answer with what it has.
    let claims = probe(&platform, &json!({ "path": "/hang" })).await;
    assert_eq!(claims["results"][0], "deadline-exceeded");
    eventually("the call is cancelled", async || server.abandoned() == 4).await;
    for path in ["/broken", "/no-http"] {
        assert_eq!(
            result(&platform, &json!({ "path": path })).await,
            "unavailable",
            "{path}"
        );
    }
    let calls = platform.host.log_line("calls are traced", |line| {
        line["message"] == "capability called" && line["result"] == "deadline_exceeded"
    });
    let line = calls.await;
    let found = json!([line["function"], line["upstream"], line["plugin"]]);
    assert_eq!(found, json!(["http.fetch", "crm", "http-caller@0.1.0"]));
    // With the fields of its callout.
    let span = &line["span"];
    let found = json!([span["tenant"], span["extension"], span["correlation_id"].is_string()]);
    assert_eq!(found, json!(["contoso", "claims", true]), "{line}");
    // So has what the upstream's implementation tells.
    let failed = platform.host.log_line("failures are traced", |line| {
        line["message"]
            .to_string()
            .contains("upstream failed: the connection broke off")
    });
    let line = failed.await;
    assert!(line["span"]["correlation_id"].is_string(), "{line}");
    let url = format!("http://{}/metrics", platform.host.address);
    let metrics = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let counted = "claimsmith_capability_calls_total{tenant=\"contoso\",upstream=\"crm\",function=\"http.fetch\",result=\"deadline_exceeded\"} 4";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_tried_again_where_that_does_no_harm() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, "retries = 2"), "[\"crm\"]").await;
    for (request, expected, sent) in [
        (json!({ "path": "/close/a" }), "unavailable", 3),
        (json!({ "path": "/close/b", "method": "POST" }), "unavailable", 1),
        // The server says when to come again.
        (json!({ "path": "/status/503" }), "503", 1),
        (json!({ "path": "/status/404" }), "404", 1),
    ] {
        assert_eq!(result(&platform, &request).await, expected, "{request}");
        assert_eq!(
            server.requests(request["path"].as_str().unwrap()).len(),
            sent,
            "{request}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_keeps_failing_is_left_alone() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, "retries = 0"), "[\"crm\"]").await;
    for _ in 0..10 {
        assert_eq!(result(&platform, &json!({ "path": "/close" })).await, "unavailable");
    }
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    platform.host.log_line("open", opened).await;
    let before = server.received().len();
    assert_eq!(result(&platform, &json!({ "path": "/x" })).await, "unavailable");
    assert_eq!(server.received().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_takes_nobody_elses_turn() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, "timeout = \"5s\""), "[\"crm\"]").await;
    let platform = Arc::new(platform);
    // More than there are turns, and all of them wait.
    let waiting: Vec<_> = (0..16)
        .map(|_| {
            let platform = Arc::clone(&platform);
            tokio::spawn(async move { result(&platform, &json!({ "path": "/hang", "timeout_ms": 700 })).await })
        })
        .collect();
    eventually("all wait", async || server.requests("/hang").len() == 16).await;
    assert_eq!(result(&platform, &json!({ "path": "/x" })).await, "200");
    assert_eq!(server.abandoned(), 0, "they still wait");
    for waited in waiting {
        assert_eq!(waited.await.unwrap(), "deadline-exceeded");
    }
}
