//! What a statement of SQLite's may cost the process that it runs in.

use std::fs;

use claimsmith_tests::{Platform, eventually};
use serde_json::json;

use super::sqlite::{asking, asking_of};
use super::{probe, result};

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_in_time_and_within_its_limits() {
    let platform = asking("connections = 1\nmax_rows = 10\nmax_bytes = 10000").await;
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n)";
    for (request, expected) in [
        (
            json!({ "text": format!("{endless} select count(*) from n"), "timeout_ms": 100 }),
            "deadline-exceeded",
        ),
        (
            json!({ "text": format!("{endless} select count(*) from n") }),
            "deadline-exceeded",
        ),
        (
            json!({ "text": format!("{endless} select i from n limit 10") }),
            "rows 10",
        ),
        (json!({ "text": format!("{endless} select i from n") }), "too-large"),
        (json!({ "text": "select ?1", "parameter_bytes": 9900 }), "rows 1"),
        (json!({ "text": "select ?1", "parameter_bytes": 10001 }), "too-large"),
        (json!({ "text": "select ?1, ?1", "parameter_bytes": 5000 }), "too-large"),
        (
            json!({ "text": "select ?1 || ?1", "parameter_bytes": 60000 }),
            "too-large",
        ),
        (json!({ "text": "select 1" }), "rows 1"),
    ] {
        assert_eq!(result(&platform, &request).await, expected, "{request}");
    }
    // Nothing of what was cancelled goes on: threads that compute would.
    let ticks = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", platform.host.pid())).unwrap();
        let fields: Vec<_> = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .map(str::to_owned)
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    eventually("the host is idle", async || {
        let before = ticks();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        ticks() - before < 10
    })
    .await;
    let claims = probe(&platform, &json!({ "text": "select 1", "times": 3 })).await;
    assert_eq!(claims["results"], json!(["rows 1", "rows 1", "rows 1"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_statement_consists_of_has_limits() {
    let platform = asking("timeout = \"5s\"").await;
    let columns = |count: usize| vec!["1"; count].join(", ");
    let union = |count: usize| vec!["select 1"; count].join(" union all ");
    for (request, expected) in [
        (
            json!({ "text": "select 'x' like ?1", "parameter_bytes": 100 }),
            "rows 1",
        ),
        (
            json!({ "text": "select 'x' like ?1", "parameter_bytes": 101 }),
            "failed 1",
        ),
        (
            json!({ "text": "select 'x' glob ?1", "parameter_bytes": 101 }),
            "failed 1",
        ),
        (json!({ "text": format!("select {}", columns(128)) }), "rows 1"),
        (json!({ "text": format!("select {}", columns(129)) }), "failed 1"),
        (json!({ "text": format!("select max({})", columns(32)) }), "rows 1"),
        (json!({ "text": format!("select max({})", columns(33)) }), "failed 1"),
        (json!({ "text": union(16) }), "rows 16"),
        (json!({ "text": union(17) }), "failed 1"),
        (json!({ "text": format!("select {}1", "-+".repeat(200)) }), "failed 1"),
        // What makes much of little.
        (json!({ "text": "select zeroblob(1)" }), "failed 1"),
        (json!({ "text": "select randomblob(1)" }), "failed 1"),
        (json!({ "text": "select printf('%d', 1)" }), "failed 1"),
        (json!({ "text": "select Format('%d', 1)" }), "failed 1"),
        (json!({ "text": "select replace('x', 'x', 'y')" }), "failed 1"),
        // What people ask for.
        (
            json!({ "text": "select group_concat(lower(substr(mail, 1 + instr(mail, '@'))), ',') from people" }),
            "rows 1",
        ),
    ] {
        let shown: String = request.to_string().chars().take(100).collect();
        assert_eq!(result(&platform, &request).await, expected, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_has_so_much_memory() {
    let platform = asking("timeout = \"5s\"").await;
    let most_memory = || {
        let status = fs::read_to_string(format!("/proc/{}/status", platform.host.pid())).unwrap();
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        most.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    let one = json!({ "text": "select ?1", "parameter_bytes": 60_000 });
    assert_eq!(result(&platform, &one).await, "rows 1");
    let before = most_memory();
    // All of it would have to be sorted before there is a row.
    let endless =
        "with recursive n(i) as (select 1 union all select i + 1 from n) select i || ?1 as x from n order by x";
    let request = json!({ "text": endless, "parameter_bytes": 60_000 });
    assert_eq!(result(&platform, &request).await, "too-large");
    // A row of more than is given on, of which nothing is copied.
    let wide = format!("select {}", vec!["?1 || ''"; 128].join(", "));
    let request = json!({ "text": wide, "parameter_bytes": 60_000 });
    assert_eq!(result(&platform, &request).await, "too-large");
    let more = most_memory() - before;
    assert!(more < 128 << 10, "{more} KiB more");
}

/// Threads of the host that read SQLite files.
fn threads(platform: &Platform) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", platform.host.pid())).unwrap();
    // One that has ended meanwhile has no name any more.
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.trim() == "sqlite").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_still_counts() {
    let big = "create table big (text text); insert into big values (printf('%.*c', 1000000, 'x'))";
    let platform = asking_of(big, "max_bytes = 1048576\ntimeout = \"5s\"").await;
    let select = json!({ "text": "select 1", "timeout_ms": 200 });
    eventually("a statement is executed", async || {
        result(&platform, &select).await == "rows 1"
    })
    .await;
    // Each of these is one step of SQLite's machine, and none is in a loop, in which it would be interrupted: minutes.
    let slow: Vec<_> = (0..100)
        .map(|index| format!("instr(text, substr(text, 1, {}) || 'y')", 500_000 + index))
        .collect();
    let request = json!({ "text": format!("select {} from big", slow.join(", ")), "timeout_ms": 50 });
    let places = (std::thread::available_parallelism().unwrap().get() / 2).max(1);
    eventually("all places are taken", async || {
        assert_eq!(result(&platform, &request).await, "deadline-exceeded");
        threads(&platform) == places
    })
    .await;
    // Nobody waits for them any more, and nothing else of the kind runs beside them.
    for request in [&request, &select, &request, &select] {
        assert_eq!(result(&platform, request).await, "deadline-exceeded");
        assert_eq!(threads(&platform), places);
    }
    // What asks no such file is answered.
    let claims = probe(&platform, &json!({ "database": "crm", "statement": "by_mail" })).await;
    assert_eq!(claims["results"][0], "not-granted");
}
