//! Token endpoints that hang, are broken or down, or are restarted in the middle of a request.

use std::net::TcpListener;
use std::time::Duration;

use claimsmith_tests::timed::{Timed, asked_at_once, assert_in_time};
use claimsmith_tests::{Platform, Upstream, eventually};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::credentials::SECRET;
use super::{LOOPBACK, upstream, with_secrets};

/// Of callouts here.
const DEADLINE: Duration = Duration::from_millis(900);
/// So that failures do not open the upstream's circuit breaker in the second in which the endpoint is not asked again.
const BETWEEN: Duration = Duration::from_millis(300);

/// An upstream at a server, whose tokens come from a URL.
fn with_tokens_of(name: &str, server: &Upstream, token_url: &str) -> String {
    let authentication = format!(
        "timeout = \"5s\"\nretries = 0
[upstreams.{name}.authentication.oauth2_client_credentials]
token_url = \"{token_url}\"\nclient_id = \"claimsmith\"\nclient_secret = \"file:client\""
    );
    upstream(name, &server.url(""), &authentication)
}

async fn start(upstreams: &str, granted: &[&str]) -> Platform {
    with_secrets(LOOPBACK, upstreams, &json!(granted).to_string(), &[("client", SECRET)]).await
}

/// What came of the only request of a callout, and how long its plugin had then.
fn outcome(callout: &Timed) -> (String, u64) {
    assert_eq!(callout.status, 200, "{callout:?}");
    let claims = Platform::claims(&callout.answer);
    let text = |claim: &Value| claim.as_str().unwrap_or_default().to_owned();
    (text(&claims["results"][0]), text(&claims["left_ms"]).parse().unwrap())
}

/// What came of requests that are made at once, all of which are answered in time and all in the same way.
async fn same(platform: &Platform, request: &Value, times: usize) -> (String, u64) {
    let callouts = asked_at_once(platform, vec![request.clone(); times]).await;
    assert_in_time(&request.to_string(), &callouts, DEADLINE);
    let outcomes: Vec<_> = callouts.iter().map(outcome).collect();
    let (first, mut least) = outcomes[0].clone();
    for (found, left) in outcomes {
        assert_eq!(found, first);
        least = least.min(left);
    }
    (first, least)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_makes_no_callout_late_and_is_not_waited_for_for_ever() {
    let (server, tokens) = (Upstream::start().await, Upstream::start().await);
    let upstreams = with_tokens_of("crm", &server, &tokens.url("/hang")) + &upstream("other", &server.url(""), "");
    let platform = start(&upstreams, &["crm", "other"]).await;
    // All wait for the one token, and nobody who needs none waits with them.
    let request = json!({ "path": "/protected/1" });
    let waiting = same(&platform, &request, 4);
    let others = async {
        eventually("the endpoint is asked", async || !tokens.requests("/hang").is_empty()).await;
        let other = same(&platform, &json!({ "upstream": "other", "path": "/x" }), 1).await;
        assert_eq!(other.0, "200");
        assert_eq!(tokens.abandoned(), 0, "they still wait");
    };
    let ((found, left), ()) = tokio::join!(waiting, others);
    assert_eq!(found, "deadline-exceeded");
    assert!(left > 0, "the plugins could answer");
    assert_eq!(tokens.requests("/hang").len(), 1, "it was asked once for all of them");
    // The host gives up too, and begins anew for who comes later. Short calls are not held against the upstream.
    eventually("it is asked anew", async || {
        let request = json!({ "path": "/protected/1", "timeout_ms": 300 });
        let (found, left) = same(&platform, &request, 1).await;
        assert!(
            ["deadline-exceeded", "unavailable"].contains(&found.as_str()),
            "{found}"
        );
        assert!(left > 0);
        sleep(BETWEEN).await;
        tokens.requests("/hang").len() == 2
    })
    .await;
    assert_eq!(tokens.abandoned(), 1, "one request at a time");
    assert!(server.requests("/protected").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_broken_or_down_is_told_and_not_asked_again_at_once() {
    let server = Upstream::start().await;
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let cases = [
        ("no-http", server.url("/no-http"), "the token endpoint failed"),
        ("close", server.url("/close"), "the token endpoint failed"),
        ("broken", server.url("/broken"), "the token endpoint failed"),
        ("down", format!("http://{closed}/token"), "the token endpoint failed"),
        ("failing", server.url("/status/500"), "the token endpoint answered 500"),
        ("no-token", server.url("/fine"), "did not answer with a token"),
        ("endless", server.url("/endless"), "answer is too large"),
    ];
    let upstreams = cases
        .each_ref()
        .map(|(name, url, _)| with_tokens_of(name, &server, url));
    let platform = start(&upstreams.concat(), &cases.each_ref().map(|(name, ..)| *name)).await;
    for (name, url, why) in &cases {
        let mark = platform.host.log_mark();
        // The second call is told what the first one has learnt.
        let request = json!({ "upstream": name, "path": "/protected/1", "times": 2 });
        let callouts = asked_at_once(&platform, [request]).await;
        assert_in_time(name, &callouts, DEADLINE);
        let results = &Platform::claims(&callouts[0].answer)["results"];
        assert_eq!(results, &json!(["unavailable", "unavailable"]), "{name}");
        let tells = |line: &Value| {
            let told = line["why"].as_str().unwrap_or_default();
            line["upstream"] == *name && told.contains(why)
        };
        platform.host.log_line_after(mark, why, tells).await;
        if let Some(path) = url.strip_prefix(&server.url("")) {
            assert_eq!(server.requests(path).len(), 1, "{name}");
        }
    }
    assert!(server.requests("/protected").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_ends_the_wait_at_once() {
    let (server, mut tokens) = (Upstream::start().await, Upstream::start().await);
    let upstreams = with_tokens_of("crm", &server, &tokens.url("/first/token/3600"));
    let platform = start(&upstreams, &["crm"]).await;
    let request = json!({ "path": "/protected/1" });
    let restarting = async {
        eventually("the endpoint is asked", async || !tokens.requests("/first").is_empty()).await;
        tokens.restart().await;
    };
    let ((found, left), ()) = tokio::join!(same(&platform, &request, 4), restarting);
    assert_eq!(found, "unavailable");
    assert!(
        left > 100,
        "they were told when the connection ended: {left} ms were left"
    );
    assert_eq!(tokens.requests("/first").len(), 1, "it was asked once for all of them");
    assert!(server.requests("/protected").is_empty());
    eventually("a token comes", async || same(&platform, &request, 1).await.0 == "200").await;
    assert_eq!(tokens.requests("/first").len(), 2);
}
