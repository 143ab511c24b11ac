//! HTTPS upstreams that are slow, broken, down, or restarted in the middle of a call.

use std::net::SocketAddr;
use std::time::Duration;

use claimsmith_tests::impostor::{Answer, Impostor};
use claimsmith_tests::timed::{asked_at_once, assert_in_time};
use claimsmith_tests::{Authority, Platform, Upstream, eventually};
use serde_json::{Value, json};

use super::{LOOPBACK, upstream, with_secrets};

/// Of callouts here.
const DEADLINE: Duration = Duration::from_millis(900);

/// A TLS alert (RFC 8446, section 6): fatal, `handshake_failure`.
const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// An upstream with the test's authority, at a server whose name is `localhost`.
fn encrypted(name: &str, port: u16, more: &str) -> String {
    let more = format!("ca = \"file:ca\"\n{more}");
    let plain = upstream(name, &format!("https://localhost:{port}"), &more);
    plain.replace("plain_http = true\n", "")
}

async fn start(upstreams: &str, authority: &Authority, granted: &[&str]) -> Platform {
    let ca = authority.pem();
    with_secrets(LOOPBACK, upstreams, &json!(granted).to_string(), &[("ca", &ca)]).await
}

/// What came of a request, whose callout was answered in time: the result, and how long the plugin had then.
async fn result(platform: &Platform, request: Value) -> (String, u64) {
    let asked = request.to_string();
    let answered = asked_at_once(platform, [request]).await.remove(0);
    assert_eq!(answered.status, 200, "{asked} {answered:?}");
    let claims = Platform::claims(&answered.answer).clone();
    assert_in_time(&asked, &[answered], DEADLINE);
    let text = |claim: &Value| claim.as_str().unwrap_or_default().to_owned();
    (text(&claims["results"][0]), text(&claims["left_ms"]).parse().unwrap())
}

/// A port of 127.0.0.1 at which nobody listens.
fn closed_port() -> u16 {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_slow_makes_no_callout_late() {
    let authority = Authority::new();
    let server = Upstream::start_encrypted(&authority).await;
    // Takes connections, and says nothing to who begins with TLS.
    let silent = Impostor::start(Vec::new()).await;
    let upstreams = encrypted("crm", server.address.port(), "timeout = \"5s\"")
        + &encrypted(
            "silent",
            silent.address.port(),
            "timeout = \"5s\"\nconnect_timeout = \"5s\"",
        )
        + &encrypted("given-up", silent.address.port(), "connect_timeout = \"100ms\"");
    let platform = start(&upstreams, &authority, &["crm", "silent", "given-up"]).await;
    let found = result(&platform, json!({ "path": "/x" })).await;
    assert_eq!(found.0, "200", "{found:?}");
    for (number, path) in ["/hang", "/half", "/trickle"].into_iter().enumerate() {
        let (found, left) = result(&platform, json!({ "path": path })).await;
        assert_eq!(found, "deadline-exceeded", "{path}");
        assert!(left > 0, "the plugin could answer: {path}");
        eventually("the call is cancelled", async || server.abandoned() == number + 1).await;
    }
    let (found, left) = result(&platform, json!({ "upstream": "silent", "path": "/x" })).await;
    assert_eq!(found, "deadline-exceeded", "a handshake that hangs");
    assert!(left > 0);
    eventually("the handshake is given up", async || silent.ended() == 1).await;
    let (found, left) = result(&platform, json!({ "upstream": "given-up", "path": "/x" })).await;
    assert_eq!(found, "unavailable");
    assert!(left > 300, "each attempt had its 100 ms: {left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_off_or_talks_nonsense_is_unavailable() {
    let authority = Authority::new();
    let server = Upstream::start_encrypted(&authority).await;
    let garbled = Upstream::start_encrypted(&authority).await;
    garbled.garble();
    let upstreams = encrypted("crm", server.address.port(), "retries = 0")
        + &encrypted("garbled", garbled.address.port(), "retries = 0");
    let platform = start(&upstreams, &authority, &["crm", "garbled"]).await;
    for (upstream, path) in [
        ("crm", "/no-http"),
        ("crm", "/close"),
        // TCP ends in the middle of a response, and TLS does.
        ("crm", "/broken"),
        ("crm", "/cut"),
        ("garbled", "/x"),
    ] {
        for method in ["GET", "POST"] {
            let request = json!({ "upstream": upstream, "path": path, "method": method });
            let (found, left) = result(&platform, request).await;
            assert_eq!(found, "unavailable", "{method} {upstream} {path}");
            assert!(left > 0, "{method} {upstream} {path}");
        }
    }
    let found = result(&platform, json!({ "path": "/x" })).await;
    assert_eq!(found.0, "200", "each call has a connection of its own: {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_is_unavailable_at_once() {
    let authority = Authority::new();
    let no_handshake = Impostor::start(vec![Answer::Bytes(HANDSHAKE_FAILURE.to_vec()), Answer::Close]).await;
    let no_tls = Impostor::start(vec![Answer::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]).await;
    let closes = Impostor::start(vec![Answer::Close]).await;
    let ports = [
        ("down", closed_port()),
        ("no-handshake", no_handshake.address.port()),
        ("no-tls", no_tls.address.port()),
        ("closes", closes.address.port()),
    ];
    let upstreams: String = ports.map(|(name, port)| encrypted(name, port, "")).concat();
    let platform = start(&upstreams, &authority, &ports.map(|(name, _)| name)).await;
    for (name, _) in ports {
        let (found, left) = result(&platform, json!({ "upstream": name, "path": "/x" })).await;
        assert_eq!(found, "unavailable", "{name}");
        assert!(left > 0, "{name}");
        let tells = |line: &Value| line["upstream"] == name && line.to_string().contains("upstream failed");
        platform.host.log_line("the operator is told", tells).await;
    }
    // A GET is tried twice.
    let tried = [&no_handshake, &no_tls, &closes].map(Impostor::connections);
    assert_eq!(tried, [2, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_is_made_good_where_that_does_no_harm() {
    let authority = Authority::new();
    for (method, expected, sent) in [("GET", "200", 2), ("POST", "unavailable", 1)] {
        let mut server = Upstream::start_encrypted(&authority).await;
        let upstreams = encrypted("crm", server.address.port(), "timeout = \"5s\"");
        let platform = start(&upstreams, &authority, &["crm"]).await;
        assert_eq!(result(&platform, json!({ "path": "/x" })).await.0, "200");
        let request = json!({ "path": "/first/x", "method": method, "body": "b" });
        let restarting = async {
            eventually("it is asked", async || server.requests("/first/x").len() == 1).await;
            server.restart().await;
        };
        let ((found, left), ()) = tokio::join!(result(&platform, request), restarting);
        assert_eq!(found, expected, "{method}");
        assert!(left > 0, "{method}: it ended with the connection");
        assert_eq!(server.requests("/first/x").len(), sent, "{method}");
        assert_eq!(result(&platform, json!({ "path": "/x" })).await.0, "200");
    }
}
