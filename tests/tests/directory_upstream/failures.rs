//! Directories that are slow, down, or restarted in the middle of a call.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use claimsmith_tests::slapd::{ADA, ADA_PASSWORD};
use claimsmith_tests::timed::{asked_at_once, assert_in_time};
use claimsmith_tests::{Platform, Slapd, eventually};
use serde_json::{Value, json};

use super::{SECRETS, corp, probe, result, start};

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_directory_makes_no_callout_late() {
    let slapd = Slapd::start();
    let platform = start(&corp(&slapd, "timeout = \"5s\"\nallow_authenticate = true"), SECRETS).await;
    let search = json!({ "filter": "(uid=ada)" });
    assert_eq!(result(&platform, &search).await, "1");
    slapd.pause();
    for asked in [
        json!({ "filter": "(uid=ada)", "timeout_ms": 100 }),
        json!({ "dn": ADA, "password": ADA_PASSWORD, "timeout_ms": 100 }),
    ] {
        let claims = probe(&platform, &asked).await;
        assert_eq!(claims["results"][0], "deadline-exceeded", "{claims}");
        let left: u64 = claims["left_ms"].as_str().unwrap().parse().unwrap();
        assert!(left > 0, "the plugin's own limit leaves it time: {claims}");
    }
    // Without one, the callout's: 900 ms, of which the plugin has some left.
    let began = Instant::now();
    let claims = probe(&platform, &search).await;
    assert_eq!(claims["results"][0], "deadline-exceeded", "{claims}");
    assert!(began.elapsed() < Duration::from_secs(5), "not the upstream's limit");
    slapd.resume();
    // What was late belongs to nobody: the connection is not used again.
    let claims = probe(&platform, &json!({ "filter": "(uid=grace)", "attributes": ["uid"] })).await;
    assert_eq!(claims["values"], json!(["uid: grace"]), "{claims}");
    let traced = |line: &Value| line["message"] == "capability called" && line["result"] == "deadline_exceeded";
    let line = platform.host.log_line("calls are traced", traced).await;
    assert_eq!(line["function"], "directory.search");
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_at_once_are_in_time_beside_a_directory_that_hangs() {
    let slapd = Slapd::start();
    // Some have a connection, and the others wait for one.
    let platform = start(&corp(&slapd, "timeout = \"5s\"\nconnections = 4"), SECRETS).await;
    let search = json!({ "filter": "(uid=ada)" });
    assert_eq!(result(&platform, &search).await, "1");
    slapd.pause();
    let callouts = asked_at_once(&platform, vec![search; 12]).await;
    slapd.resume();
    for callout in &callouts {
        let found = (callout.status, &Platform::claims(&callout.answer)["results"]);
        assert_eq!(found, (200, &json!(["deadline-exceeded"])), "{callout:?}");
    }
    assert_in_time("the directory hangs", &callouts, Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_takes_nobody_elses_turn_and_places_are_given_back() {
    let slapd = Slapd::start();
    let platform = Arc::new(start(&corp(&slapd, "timeout = \"5s\"\nconnections = 2"), SECRETS).await);
    slapd.pause();
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let platform = Arc::clone(&platform);
            let asked = json!({ "filter": "(uid=ada)", "timeout_ms": 300 });
            tokio::spawn(async move { result(&platform, &asked).await })
        })
        .collect();
    for waited in waiting {
        assert_eq!(waited.await.unwrap(), "deadline-exceeded");
    }
    slapd.resume();
    assert_eq!(result(&platform, &json!({ "filter": "(uid=ada)" })).await, "1");
    let before = slapd.log().lines().count();
    // All at once, with two connections.
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let platform = Arc::clone(&platform);
            tokio::spawn(async move { result(&platform, &json!({ "filter": "(uid=ada)" })).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), "1");
    }
    let log = slapd.log();
    let mut open = HashSet::new();
    for line in log.lines().skip(before) {
        let connection = line.split("conn=").nth(1).and_then(|rest| rest.split(' ').next());
        let Some(connection) = connection else { continue };
        if line.contains(" ACCEPT ") {
            open.insert(connection);
        } else if line.contains(" closed") {
            open.remove(connection);
        }
        // Beside the two there can be those of the eight calls that were given up, which it accepts and sees closed only now.
        assert!(open.len() <= 2 + 8, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_was_restarted_is_asked_on_a_new_connection() {
    let mut slapd = Slapd::start();
    let platform = start(&corp(&slapd, ""), SECRETS).await;
    let search = json!({ "filter": "(uid=ada)" });
    assert_eq!(result(&platform, &search).await, "1");
    slapd.stop();
    assert_eq!(result(&platform, &search).await, "unavailable");
    slapd.start_again();
    assert_eq!(result(&platform, &search).await, "1");
    // At once: the first call after it finds the old connection closed.
    slapd.stop();
    slapd.start_again();
    assert_eq!(result(&platform, &search).await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_a_call_ends_it_at_once() {
    let mut slapd = Slapd::start();
    let platform = Arc::new(start(&corp(&slapd, "timeout = \"5s\"\nallow_authenticate = true"), SECRETS).await);
    let search = json!({ "filter": "(uid=ada)" });
    let password = json!({ "dn": ADA, "password": ADA_PASSWORD });
    assert_eq!(result(&platform, &search).await, "1");
    slapd.pause();
    let asking = [search.clone(), password.clone()].map(|asked| {
        let platform = Arc::clone(&platform);
        tokio::spawn(async move { probe(&platform, &asked).await })
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    slapd.stop();
    for asked in asking {
        let claims = asked.await.unwrap();
        assert_eq!(claims["results"][0], "unavailable", "{claims}");
        let left: u64 = claims["left_ms"].as_str().unwrap().parse().unwrap();
        assert!(left > 0, "it ends with the connection: {claims}");
    }
    slapd.start_again();
    assert_eq!(result(&platform, &search).await, "1");
    assert_eq!(result(&platform, &password).await, "true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_keeps_failing_is_left_alone() {
    let mut slapd = Slapd::start();
    let platform = start(&corp(&slapd, ""), SECRETS).await;
    slapd.stop();
    for _ in 0..10 {
        assert_eq!(result(&platform, &json!({})).await, "unavailable");
    }
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    platform.host.log_line("open", opened).await;
    slapd.start_again();
    assert_eq!(
        result(&platform, &json!({})).await,
        "unavailable",
        "it is not asked for a while"
    );
    assert_eq!(slapd.connections(), 0);
    let url = format!("http://{}/metrics", platform.host.address);
    eventually("it is counted", async || {
        let metrics = platform.http.get(&url).send().await.unwrap().text().await.unwrap();
        metrics.contains("claimsmith_upstream_breaker_open{tenant=\"contoso\",upstream=\"corp\"} 1")
            && metrics.contains("function=\"directory.search\",result=\"unavailable\"} 11")
    })
    .await;
}
