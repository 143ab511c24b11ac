//! Servers that are down, restarted, wrong, or none.

use std::sync::Arc;
use std::time::Duration;

use claimsmith_tests::{Authority, Platform, Trap, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::fake::{Fake, Fault};
use super::{LOOPBACK, asking, asking_all, assert_untold, hr, people, probe, result, stage, upstream};

const ONE: &str = "select 1";

async fn one(platform: &Platform) -> String {
    result(platform, &json!({ "text": ONE })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_keeps_no_tenant_from_loading() {
    let (mut server, authority) = people();
    server.stop();
    let binding = "upstreams = [\"hr\"]\nstatements.hr.one = \"selekt\"";
    let upstream = hr(&server, "any_statement = true");
    let (stage, _) = stage(LOOPBACK, &upstream, binding, &authority).await;
    let platform = stage.start().await;
    let tells = |line: &Value| {
        line.to_string()
            .contains("database does not answer: statements are not checked")
    };
    platform.host.log_line("the operator is told", tells).await;
    assert_eq!(one(&platform).await, "unavailable");
    server.start_again();
    assert_eq!(one(&platform).await, "rows 1");
    assert_eq!(result(&platform, &json!({ "statement": "one" })).await, "failed 42601");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_costs_the_calls_that_it_meets_and_no_others() {
    let (mut server, authority) = people();
    let platform = Arc::new(asking(&hr(&server, "timeout = \"5s\""), &authority).await);
    // Some connections, all of which will be of no use.
    let asking = || {
        let platform = Arc::clone(&platform);
        tokio::spawn(async move { result(&platform, &json!({ "text": "select pg_sleep(0.1)" })).await })
    };
    for asked in [asking(), asking(), asking()] {
        assert_eq!(asked.await.unwrap(), "rows 1");
    }
    let hanging = Arc::clone(&platform);
    let hanging = tokio::spawn(async move { result(&hanging, &json!({ "text": "select pg_sleep(60)" })).await });
    eventually("it runs", async || server.running("pg_sleep(60)") == 1).await;
    server.stop();
    // Told at once, and not at the deadline.
    assert_eq!(hanging.await.unwrap(), "unavailable");
    server.start_again();
    for _ in 0..5 {
        assert_eq!(one(&platform).await, "rows 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_while_it_wrote_is_not_done_again() {
    let (server, authority) = people();
    let platform = Arc::new(asking(&hr(&server, "access = \"read-write\"\ntimeout = \"5s\""), &authority).await);
    let slow = "insert into people (id, mail) select gen_random_uuid(), 'x' from (select pg_sleep(0.4)) s";
    let request = json!({ "text": slow, "execute": true });
    assert_eq!(result(&platform, &request).await, "executed 1");
    server.sql("people", "delete from people where mail = 'x'");
    let calling = Arc::clone(&platform);
    let calling = tokio::spawn(async move { result(&calling, &request).await });
    eventually("it runs", async || server.running("pg_sleep(0.4)") == 1).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'claims' and state = 'active'";
    server.sql("postgres", end);
    assert_eq!(calling.await.unwrap(), "unavailable");
    assert_eq!(
        server.ask("people", "select count(*) from people where mail = 'x'"),
        "0"
    );
    assert_eq!(one(&platform).await, "rows 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_changes_changes_nothing_for_who_asks() {
    let (server, authority) = people();
    let platform = asking(&hr(&server, "connections = 2"), &authority).await;
    let all = json!({ "text": "select * from roles" });
    assert_eq!(result(&platform, &all).await, "rows 2");
    server.sql("people", "alter table roles add column since date");
    assert_eq!(result(&platform, &all).await, "rows 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_is_told_so_in_the_log_and_never_the_password() {
    let (server, authority) = people();
    server.sql("postgres", "alter role claims password 'another'");
    let platform = asking(&hr(&server, ""), &authority).await;
    let claims = probe(&platform, &json!({ "text": ONE })).await;
    assert_eq!(claims["results"][0], "unavailable");
    let tells = |line: &Value| line["message"] == "database failed" && line["cause"].to_string().contains("28P01");
    platform.host.log_line("the operator is told why", tells).await;
    let told = claims.to_string();
    assert!(!told.contains("127.0.0.1") && !told.contains("28P01"), "{told}");
    assert_untold(&platform, &claims);
    // A new password is a new file, and needs no restart.
    server.sql("postgres", "alter role claims password 'rotated'");
    std::fs::write(platform.tenant_file("secrets/db"), "rotated\n").unwrap();
    eventually("the new password is used", async || one(&platform).await == "rows 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_the_one_whose_name_it_has() {
    let (server, authority) = people();
    let port = server.port;
    let named = |host: &str, more: &str| {
        let url = format!("postgres://{host}:{port}/people");
        upstream(&url, more)
    };
    let cases = [
        (named("localhost", ""), "rows 1"),
        (
            named("localhost", "").replace("file:ca", "file:other-ca"),
            "unavailable",
        ),
        // Its certificate is for `localhost`.
        (named("127.0.0.1", ""), "unavailable"),
        (named("127.0.0.1", "tls = false"), "rows 1"),
        (named("localhost", "").replace("ca = \"file:ca\"\n", ""), "unavailable"),
    ];
    let upstreams = cases.each_ref().map(|(upstream, _)| upstream.clone());
    let platform = asking_all(&upstreams, &authority).await;
    for (index, (upstream, expected)) in cases.iter().enumerate() {
        let text = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
        let claims = probe(&platform, &json!({ "database": format!("u{index}"), "text": text })).await;
        assert_eq!(claims["results"][0], *expected, "{upstream}");
        let is_encrypted = claims["rows"].to_string().contains("true");
        assert_eq!(
            is_encrypted,
            *expected == "rows 1" && !upstream.contains("tls = false"),
            "{claims}"
        );
    }
}

/// A server that says this, or nothing ever, to whoever says something.
async fn saying(says: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                let _read = stream.read(&mut asked).await;
                if says == "silence" {
                    let _gone = stream.read_to_end(&mut Vec::new()).await;
                } else {
                    let _sent = stream.write_all(says.as_bytes()).await;
                }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_database_is_unavailable() {
    let cases = [
        ("220 mail.example ESMTP\r\n", "", "unavailable"),
        ("220 mail.example ESMTP\r\n", "tls = false", "unavailable"),
        ("", "", "unavailable"),
        ("", "tls = false", "unavailable"),
        // It does not speak TLS, and then it is not asked without.
        ("N", "", "unavailable"),
        ("S", "", "unavailable"),
        // A message of 2 GiB is announced.
        ("R\x7f\x7f\x7f\x7f", "tls = false", "unavailable"),
        ("silence", "timeout = \"300ms\"", "deadline-exceeded"),
        ("silence", "timeout = \"300ms\"\ntls = false", "deadline-exceeded"),
    ];
    let mut upstreams = Vec::new();
    for (says, more, _) in cases {
        let url = format!("postgres://localhost:{}/people", saying(says).await);
        upstreams.push(upstream(&url, more));
    }
    let platform = asking_all(&upstreams, &Authority::new()).await;
    for (index, (says, more, expected)) in cases.into_iter().enumerate() {
        let request = json!({ "database": format!("u{index}"), "text": ONE });
        assert_eq!(result(&platform, &request).await, expected, "{says:?} {more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_keeps_failing_is_left_alone() {
    let (mut server, authority) = people();
    let platform = asking(&hr(&server, ""), &authority).await;
    assert_eq!(one(&platform).await, "rows 1");
    // What a plugin does wrong is nothing against the database.
    for _ in 0..12 {
        assert_eq!(result(&platform, &json!({ "text": "selekt" })).await, "failed 42601");
    }
    server.stop();
    for _ in 0..10 {
        assert_eq!(one(&platform).await, "unavailable");
    }
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    platform.host.log_line("open", opened).await;
    let claims = probe(&platform, &json!({ "text": ONE })).await;
    assert!(claims["error"].to_string().contains("failed too often"), "{claims}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_database_is_where_the_host_may_not_connect() {
    let trap = Trap::set().await;
    let port = trap.url("").rsplit(':').next().unwrap().to_owned();
    // Names and spellings of this machine, of which no network is opened.
    let hosts = ["localhost", "2130706433", "0x7f.1", "127.1", "0177.0.0.1"];
    let unopened = hosts.map(|host| {
        let url = format!("postgres://{host}:{port}/people");
        upstream(&url, "tls = false").replace("networks = [\"127.0.0.0/8\", \"::1/128\"]\n", "")
    });
    let platform = asking_all(&unopened, &Authority::new()).await;
    for (index, host) in hosts.into_iter().enumerate() {
        let name = format!("u{index}");
        let claims = probe(&platform, &json!({ "database": name, "text": ONE })).await;
        assert_eq!(claims["results"][0], "unavailable", "{host}");
        assert!(!claims.to_string().contains("127.0.0.1"), "{claims}");
        let tells = |line: &Value| {
            let refused = line["refused"].to_string();
            line["message"] == "egress refused" && line["upstream"] == *name && refused.contains("127.0.0.1")
        };
        platform.host.log_line("the operator is told", tells).await;
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_database_has_one_time_for_all_statements_while_it_is_loaded() {
    let fake = Fake::start(Fault::Slow(Duration::from_millis(500)));
    let url = format!("postgres://localhost:{}/people", fake.port);
    let statements: Vec<_> = (0..12)
        // Each of another text: a connection prepares a text once.
        .map(|number| format!("statements.hr.s{number} = \"select $1 -- {number}\""))
        .collect();
    let statements = statements.join("\n");
    let binding = format!("upstreams = [\"hr\"]\n{statements}");
    let (stage, _) = stage(LOOPBACK, &upstream(&url, "tls = false"), &binding, &Authority::new()).await;
    let platform = stage.start().await;
    let tells = |line: &Value| {
        line["message"] == "database does not answer: statements are not checked"
            && line["why"].to_string().contains("in time")
    };
    platform.host.log_line("the operator is told", tells).await;
    // Each of them was within 2 s.
    assert!((1..12).contains(&fake.prepared()), "{}", fake.prepared());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_reading_keeps_nothing() {
    let fake = Fake::start(Fault::Deaf);
    let url = format!("postgres://localhost:{}/people", fake.port);
    let more = "tls = false\nany_statement = true\ntimeout = \"300ms\"\nmax_request_bytes = 8388608";
    let limits = "runtime.limits.transfer_bytes = 8388608\nruntime.limits.total_transfer_bytes = 8388608";
    let host = format!("{LOOPBACK}\n{limits}");
    let (stage, _) = stage(&host, &upstream(&url, more), "upstreams = [\"hr\"]", &Authority::new()).await;
    let platform = stage.start().await;
    // More than what the kernel keeps for it.
    let request = json!({ "text": "select $1", "parameter_bytes": 7_000_000 });
    for calls in 1..=3 {
        assert_eq!(result(&platform, &request).await, "deadline-exceeded");
        assert_eq!(fake.deafened(), calls);
    }
    eventually("nothing is connected to it", async || fake.sockets() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_driver_panics_over_is_a_failure_of_the_database() {
    let fake = Fake::start(Fault::Valueless);
    let url = format!("postgres://localhost:{}/people", fake.port);
    let binding = "upstreams = [\"hr\"]\nstatements.hr.one = \"select $1\"";
    let (stage, _) = stage(LOOPBACK, &upstream(&url, "tls = false"), binding, &Authority::new()).await;
    let platform = stage.start().await;
    let request = json!({ "statement": "one", "parameters": ["x"] });
    for _ in 0..10 {
        assert_eq!(result(&platform, &request).await, "unavailable");
    }
    let tells = |line: &Value| {
        line["level"] == "ERROR" && line["upstream"] == "hr" && line["message"].to_string().contains("driver panicked")
    };
    platform.host.log_line("the operator is told", tells).await;
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    platform.host.log_line("open", opened).await;
    // No connection is used again, and none is left.
    eventually("nothing is connected to it", async || fake.sockets() == 0).await;
}
