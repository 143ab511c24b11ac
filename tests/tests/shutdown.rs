//! Stopping: what is in flight is answered, what comes after is sent elsewhere, and the process ends in bounded time.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use claimsmith_tests::{LogLine, Platform, Stage, eventually, raw, world};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Two extensions: `claims` answers at once, `slow` not before its deadline of 1.5 seconds.
async fn platform(host_config: &str) -> Platform {
    let stage = Stage::new().await.host_config(host_config);
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "deadline = \"2s\"", "misbehaving", ""),
        world::extension_toml(
            "slow",
            "deadline = \"1500ms\"",
            "misbehaving",
            "settings = { mode = \"sleep\" }",
        ),
    ]
    .concat();
    stage.tenant("contoso", &toml).start().await
}

/// A callout that the host is reading the body of: it has been told to go on.
async fn in_flight(platform: &Platform, extension: &str) -> TcpStream {
    let head = format!(
        "POST /tenants/contoso/extensions/{extension} HTTP/1.1\r\nhost: claimsmith\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        platform.token(),
        platform.body().to_string().len(),
    );
    let mut stream = raw::send(platform.host.address, head.as_bytes()).await;
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

async fn send_body(platform: &Platform, stream: &mut TcpStream) {
    stream.write_all(platform.body().to_string().as_bytes()).await.unwrap();
}

async fn shutting_down(platform: &Platform) {
    platform.host.terminate();
    let begins = |line: &LogLine| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("shutting down"))
    };
    platform.host.log_line("the shutdown", begins).await;
    // Connections are told after the listener is gone.
    eventually("nobody can connect", async || {
        TcpStream::connect(platform.host.address).await.is_err()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_in_flight_are_answered_and_new_ones_are_refused() {
    let mut platform = platform("").await;
    let mut reading = in_flight(&platform, "claims").await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = in_flight(&platform, "slow").await;
        send_body(&platform, &mut stream).await;
        slow.push(stream);
    }
    let mut idle = raw::send(platform.host.address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(raw::answer(&mut idle).await.status, 200);
    let mut unused = raw::send(platform.host.address, b"").await;

    shutting_down(&platform).await;
    eventually("new connections are refused", async || {
        TcpStream::connect(platform.host.address).await.is_err()
    })
    .await;
    // Connections that nothing is happening on end at once.
    assert_eq!(raw::read_to_close(&mut idle).await, "");
    assert_eq!(raw::read_to_close(&mut unused).await, "");

    // A callout whose body comes only now is answered as any other.
    send_body(&platform, &mut reading).await;
    let answer = raw::answer(&mut reading).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let claims: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(Platform::claims(&claims)["build"], "default");
    assert_eq!(raw::header(&answer.head, "connection"), Some("close"));

    // Those that wait for a plugin get what they would have got.
    for mut stream in slow {
        let answer = raw::answer(&mut stream).await;
        assert_eq!(answer.status, 504, "{answer:?}");
        assert!(answer.body.contains("deadline_exceeded"), "{answer:?}");
    }
    assert_eq!(platform.host.ended().await.code(), Some(0));
    let log = platform.host.log();
    assert!(!log.iter().any(|line| line.to_string().contains("cut off")), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_only_beginning_are_answered_and_their_connections_closed() {
    let mut platform = platform("").await;
    let mut probe = raw::send(platform.host.address, b"GET /readyz HTTP/1.1\r\nhost: a\r\n").await;
    let mut alive = raw::send(platform.host.address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n").await;
    let body = platform.body().to_string();
    let head = format!(
        "POST /tenants/contoso/extensions/claims HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        platform.token(),
        body.len(),
    );
    let mut callout = raw::send(platform.host.address, head.as_bytes()).await;
    // All have been accepted and begun to be read: connections are accepted in order.
    assert_eq!(platform.callout().await.0, 200);
    shutting_down(&platform).await;

    probe.write_all(b"\r\n").await.unwrap();
    let answer = raw::answer(&mut probe).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    let readiness: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(readiness["reasons"], json!(["the service is shutting down"]));

    alive.write_all(b"\r\n").await.unwrap();
    assert_eq!(
        raw::answer(&mut alive).await.status,
        200,
        "it is alive until it has ended"
    );

    callout.write_all(format!("\r\n{body}").as_bytes()).await.unwrap();
    let answer = raw::answer(&mut callout).await;
    assert_eq!(answer.status, 200, "a sign-in that could be answered is: {answer:?}");
    assert_eq!(raw::header(&answer.head, "connection"), Some("close"));
    assert_eq!(platform.host.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hangs_is_cut_off_when_draining_takes_too_long() {
    let mut platform = platform("server.drain_timeout = \"200ms\"").await;
    let mut hanging = raw::send(platform.host.address, b"POST /tenants/contoso/ext").await;
    let mut slow = in_flight(&platform, "slow").await;
    send_body(&platform, &mut slow).await;
    shutting_down(&platform).await;
    assert_eq!(platform.host.ended().await.code(), Some(0));
    let is_told = |line: &LogLine| line["level"] == "WARN" && line.to_string().contains("cut off");
    platform.host.log_line("what was cut off", is_told).await;
    assert_eq!(raw::read_to_close(&mut hanging).await, "");
    assert_eq!(raw::read_to_close(&mut slow).await, "", "no half of an answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_was_logged_is_written_before_the_end() {
    let mut platform = platform("").await;
    let callouts = 200;
    for _ in 0..callouts {
        assert_eq!(platform.callout().await.0, 200);
    }
    platform.host.terminate();
    assert_eq!(platform.host.ended().await.code(), Some(0));
    platform
        .host
        .log_line("the end", |line| line["message"] == "stopped")
        .await;
    let log = platform.host.log();
    let answered = log.iter().filter(|line| line["message"] == "callout answered").count();
    assert_eq!(answered, callouts);
}
