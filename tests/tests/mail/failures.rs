//! Servers that are slow, broken, restarted or gone.

use std::time::Duration;

use claimsmith_tests::smtp::{FaultyMailServer, MailFault, MailSecurity, MailServer};
use claimsmith_tests::timed::{asked_at_once, assert_in_time};
use claimsmith_tests::{Platform, eventually};
use serde_json::{Value, json};

use super::{CODE, LOOPBACK, assert_untold, plain, prepare, probe, result, start, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_in_time_whatever_the_server_does() {
    for (fault, given) in [
        (MailFault::Silent, 0),
        (MailFault::SilentAtMail, 0),
        (MailFault::SilentAfterText, 1),
    ] {
        let server = FaultyMailServer::start(fault).await;
        let platform = start(&plain(
            server.address.port(),
            "timeout = \"5s\"\nconnect_timeout = \"5s\"",
        ))
        .await;
        let claims = probe(&platform, &json!({ "timeout_ms": 100 })).await;
        assert_eq!(claims["results"][0], "deadline-exceeded", "{fault:?}");
        let left: u64 = claims["left_ms"].as_str().unwrap().parse().unwrap();
        assert!(left > 0, "the plugin's own limit leaves it time: {claims}");
        eventually("the call is cancelled", async || server.ended() == 1).await;
        // Without one, the callout's: the plugin is told in time to answer with what it has.
        let claims = probe(&platform, &json!({})).await;
        assert_eq!(claims["results"][0], "deadline-exceeded", "{fault:?}");
        eventually("the call is cancelled", async || server.ended() == 2).await;
        assert_eq!(server.texts().len(), given * 2, "{fault:?}: nothing is given twice");
        assert_untold(&platform, CODE).await;
    }
    // And the upstream's: what it takes to make a connection is told apart.
    let server = FaultyMailServer::start(MailFault::Silent).await;
    let platform = start(&plain(server.address.port(), "connect_timeout = \"100ms\"")).await;
    let (found, error) = result(&platform, &json!({})).await;
    assert_eq!(found, "unavailable");
    assert!(error.contains("took too long"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_at_once_are_in_time_beside_a_server_that_hangs() {
    for fault in [MailFault::Silent, MailFault::SilentAfterText] {
        let server = FaultyMailServer::start(fault).await;
        let more = "timeout = \"5s\"\nconnect_timeout = \"5s\"\nconcurrency = 4";
        let platform = start(&plain(server.address.port(), more)).await;
        // Some have a connection, and the others wait for one.
        let callouts = asked_at_once(&platform, vec![json!({}); 12]).await;
        for callout in &callouts {
            let found = (callout.status, &Platform::claims(&callout.answer)["results"]);
            assert_eq!(found, (200, &json!(["deadline-exceeded"])), "{fault:?} {callout:?}");
        }
        assert_in_time(&format!("{fault:?}"), &callouts, Duration::from_millis(900));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_breaks_the_protocol_is_unavailable_and_given_a_message_once() {
    for (fault, given) in [
        (MailFault::Http, 0),
        (MailFault::NotServing, 0),
        (MailFault::CloseAtMail, 0),
        (MailFault::TakenTooEarly, 0),
        (MailFault::CloseAfterText, 1),
        (MailFault::EchoAfterText, 1),
    ] {
        let server = FaultyMailServer::start(fault).await;
        let platform = start(&plain(server.address.port(), "")).await;
        let (found, error) = result(&platform, &json!({})).await;
        assert_eq!(found, "unavailable", "{fault:?} {error}");
        assert!(!error.contains(CODE), "{error}");
        assert_eq!((server.texts().len(), server.connections()), (given, 1), "{fault:?}");
        if fault == MailFault::CloseAfterText {
            assert!(error.contains("may have been sent"), "{error}");
        }
        assert_untold(&platform, CODE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_is_read_to_a_limit() {
    for fault in [
        MailFault::EndlessGreeting,
        MailFault::EndlessLines,
        MailFault::EndlessAfterText,
    ] {
        let server = FaultyMailServer::start(fault).await;
        let platform = start(&plain(
            server.address.port(),
            "timeout = \"10s\"\nconnect_timeout = \"10s\"",
        ))
        .await;
        let (found, error) = result(&platform, &json!({})).await;
        assert_eq!(found, "unavailable", "{fault:?} {error}");
        eventually("the connection is closed", async || server.ended() == 1).await;
        // What is on its way in the system's buffers counts too.
        assert!(server.sent() < 8 << 20, "{fault:?}: {} bytes", server.sent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_closed_is_made_again() {
    let server = FaultyMailServer::start(MailFault::CloseAfterTaken).await;
    let platform = start(&plain(server.address.port(), "")).await;
    for sent in 1..=3 {
        assert_eq!(result(&platform, &json!({})).await.0, "ok");
        assert_eq!((server.texts().len(), server.connections()), (sent, sent));
        eventually("the connection is closed", async || server.ended() == sent).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_may_be_restarted_in_the_middle_of_a_message_and_between_two() {
    let mut server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "")).await;
    assert_eq!(result(&platform, &json!({})).await.0, "ok");
    let (found, error) = result(&platform, &json!({ "to": "crash@example.org" })).await;
    assert_eq!(found, "unavailable");
    assert!(error.contains("may have been sent"), "{error}");
    let (found, error) = result(&platform, &json!({})).await;
    assert_eq!(
        (found.as_str(), error.contains("no connection can be made")),
        ("unavailable", true),
        "{error}"
    );
    server.restart().await;
    assert_eq!(result(&platform, &json!({})).await.0, "ok");
    server.restart().await;
    assert_eq!(
        result(&platform, &json!({})).await.0,
        "ok",
        "on a connection to the server before"
    );
    server.delivered(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_given_up_is_not_mixed_into_the_next_one() {
    let server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "concurrency = 1")).await;
    assert_eq!(result(&platform, &json!({})).await.0, "ok");
    let given_up = json!({ "to": "slow@example.org", "text": "given up", "timeout_ms": 150 });
    assert_eq!(result(&platform, &given_up).await.0, "deadline-exceeded");
    assert_eq!(
        result(&platform, &json!({ "to": "eve@example.org", "text": "next" }))
            .await
            .0,
        "ok"
    );
    let messages = server.delivered(2).await;
    let next = messages
        .iter()
        .find(|message| message["to"] == json!(["eve@example.org"]))
        .unwrap();
    assert_eq!(next["text"], "next\n");
    assert_eq!(server.connections(), 2, "the first one is not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_connections_wait_within_their_time() {
    let server = FaultyMailServer::start(MailFault::SilentAfterText).await;
    let platform = start(&plain(server.address.port(), "concurrency = 1\ntimeout = \"5s\"")).await;
    let (first, second) = (json!({ "timeout_ms": 600 }), json!({ "timeout_ms": 200 }));
    let later = async {
        eventually("the first has its place", async || server.connections() == 1).await;
        result(&platform, &second).await
    };
    let (first, second) = tokio::join!(result(&platform, &first), later);
    assert_eq!(
        (first.0.as_str(), second.0.as_str()),
        ("deadline-exceeded", "deadline-exceeded")
    );
    assert_eq!((server.connections(), server.texts().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_not_asked_for_ever() {
    let mut server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "")).await;
    server.kill();
    let claims = probe(&platform, &json!({ "times": 12 })).await;
    let errors = claims["errors"].as_array().unwrap();
    assert!(
        errors[9].as_str().unwrap().contains("no connection can be made"),
        "{errors:?}"
    );
    assert!(errors[11].as_str().unwrap().contains("failed too often"), "{errors:?}");
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    platform.host.log_line("the operator is told", opened).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_single_messages_do_not_open_the_breaker() {
    let server = MailServer::start(MailSecurity::None).await;
    let platform = start(&plain(server.port, "")).await;
    for local in ["nobody", "spam", "grey"] {
        let claims = probe(&platform, &json!({ "to": format!("{local}@example.org"), "times": 12 })).await;
        let results = claims["results"].as_array().unwrap();
        assert!(results.iter().all(|result| result == &results[0]), "{results:?}");
    }
    assert_eq!(result(&platform, &json!({})).await.0, "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_nobody_opened_is_not_connected_to() {
    let server = MailServer::start(MailSecurity::None).await;
    let closed = plain(server.port, "").replace("networks = [\"127.0.0.0/8\"]\n", "");
    let platform = start(&closed).await;
    let (found, error) = result(&platform, &json!({})).await;
    assert_eq!(found, "unavailable");
    assert!(!error.contains("127.0.0.1"), "{error}");
    let told = |line: &Value| line["message"] == "egress refused" && line["upstream"] == "post";
    platform.host.log_line("the operator is told", told).await;
    assert_eq!(server.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_changed_is_used_from_the_next_load_on() {
    let server = MailServer::start(MailSecurity::None).await;
    let stage = claimsmith_tests::Stage::new().await.host_config(LOOPBACK);
    let toml = tenant(&stage, &plain(server.port, ""), "upstreams = [\"post\"]");
    let stage = stage.tenant("contoso", &toml);
    prepare(&stage, &[]);
    let platform = stage.start().await;
    assert_eq!(result(&platform, &json!({})).await.0, "ok");
    let changed = toml.replace("no-reply@", "codes@");
    std::fs::write(platform.tenant_file("tenant.toml"), changed).unwrap();
    eventually("the sender is another", async || {
        assert_eq!(result(&platform, &json!({})).await.0, "ok");
        tokio::time::sleep(Duration::from_millis(20)).await;
        server.messages().last().unwrap()["from"] == "codes@contoso.example"
    })
    .await;
}
