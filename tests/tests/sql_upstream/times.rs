//! A call ends in time whatever the database does, and leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use claimsmith_tests::timed::{asked_at_once, assert_in_time};
use claimsmith_tests::{Platform, eventually};
use serde_json::json;

use super::{asking, hr, people, probe, result};

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_takes_too_long_is_cancelled_on_the_server_too() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, "connections = 1\ntimeout = \"5s\""), &authority).await;
    // The plugin's own time, and the callout's: there is some left to answer with what it has.
    for request in [
        json!({ "text": "select pg_sleep(60)", "timeout_ms": 100 }),
        json!({ "text": "select pg_sleep(60)" }),
        json!({ "text": "select count(*) from generate_series(1, 1000000000000)" }),
    ] {
        let claims = probe(&platform, &request).await;
        assert_eq!(claims["results"][0], "deadline-exceeded", "{request}");
        let left: u64 = claims["left_ms"].as_str().unwrap().parse().unwrap();
        assert!(left > 0, "{claims}");
        eventually("nothing of it runs on the server", async || {
            server.running("pg_sleep") + server.running("generate_series") == 0
        })
        .await;
        // The one connection that there may be is free again.
        assert_eq!(result(&platform, &json!({ "text": "select 1" })).await, "rows 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_others_hold_is_not_waited_for_beyond_the_end() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, "timeout = \"300ms\"\nconnections = 2"), &authority).await;
    let server = Arc::new(server);
    let held = Arc::clone(&server);
    let holder = tokio::task::spawn_blocking(move || {
        held.sql(
            "people",
            "begin; lock table people in access exclusive mode; select pg_sleep(4); commit",
        );
    });
    eventually("the table is locked", async || server.running("lock table people") == 1).await;
    let request = json!({ "text": "select count(*) from people" });
    assert_eq!(result(&platform, &request).await, "deadline-exceeded");
    eventually("nobody waits for it on the server", async || {
        server.ask("postgres", "select count(*) from pg_locks where not granted") == "0"
    })
    .await;
    holder.await.unwrap();
    assert_eq!(result(&platform, &request).await, "rows 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_statement_with_it() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, "connections = 1\ntimeout = \"5s\""), &authority).await;
    let mut body = platform.body();
    let request = json!({ "text": "select pg_sleep(60)" });
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(request.to_string());
    let call = platform
        .http
        .post(platform.url())
        .bearer_auth(platform.token())
        .json(&body);
    let calling = tokio::spawn(call.send());
    eventually("it runs", async || server.running("pg_sleep") == 1).await;
    calling.abort();
    eventually("it does not run any more", async || server.running("pg_sleep") == 0).await;
    assert_eq!(result(&platform, &json!({ "text": "select 1" })).await, "rows 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_hang_make_no_callout_late() {
    let (server, authority) = people();
    // More callouts than connections: some wait for a connection, and all have an answer.
    let platform = asking(&hr(&server, "connections = 3\ntimeout = \"5s\""), &authority).await;
    let hanging = json!({ "text": "select pg_sleep(60)" });
    let callouts = asked_at_once(&platform, vec![hanging; 12]).await;
    for callout in &callouts {
        assert_eq!(callout.status, 200, "{callout:?}");
        let claims = Platform::claims(&callout.answer);
        let result = claims["results"][0].as_str().unwrap();
        // After ten of them the database is left alone.
        assert!(["deadline-exceeded", "unavailable"].contains(&result), "{claims}");
        let left: u64 = claims["left_ms"].as_str().unwrap().parse().unwrap();
        assert!(left > 0, "{claims}");
    }
    assert_in_time("PostgreSQL hangs", &callouts, Duration::from_secs(2));
    eventually("nothing runs on the server", async || server.running("pg_sleep") == 0).await;
}
