//! Servers that say more than they were asked, or more than anybody wants to know.

use std::fs;

use claimsmith_tests::{Authority, Platform};
use serde_json::{Value, json};

use super::fake::{Fake, Fault, message};
use super::{asking, result, upstream};

/// A host that asks such a server.
async fn of(fault: Fault, more: &str) -> Platform {
    let url = format!("postgres://localhost:{}/people", Fake::start(fault).port);
    let upstream = upstream(&url, &format!("tls = false\n{more}"));
    asking(&upstream, &Authority::new()).await
}

fn asked() -> Value {
    json!({ "text": "select $1", "parameters": ["a"] })
}

/// The most memory that the host has had, in KiB.
fn most_memory(platform: &Platform) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", platform.host.pid())).unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    most.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What nobody asked for, of a megabyte.
fn unasked(before: &[u8], after: &[u8]) -> Vec<u8> {
    [before, b"planted\nERROR forged ", &vec![b'x'; 1_000_000], after].concat()
}

fn setting(number: usize) -> Vec<u8> {
    message(b'S', &unasked(format!("setting{number}\0").as_bytes(), b"\0"))
}

fn notice(_: usize) -> Vec<u8> {
    message(b'N', &unasked(b"SERROR\0VERROR\0C00000\0M", b"\0\0"))
}

fn notification(_: usize) -> Vec<u8> {
    message(b'A', &unasked(b"1234channel\0", b"\0"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_unasked_is_neither_kept_nor_logged() {
    for words in [setting, notice, notification] {
        let platform = of(Fault::Says(words, 40), "").await;
        let before = most_memory(&platform);
        for _ in 0..2 {
            assert_eq!(result(&platform, &asked()).await, "rows 1");
        }
        let more = most_memory(&platform) - before;
        assert!(more < 25 << 10, "{more} KiB more");
        let log = Value::from(platform.host.log()).to_string();
        assert!(!log.contains("planted"), "it was logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_without_an_end_is_too_large_whoever_reads_it() {
    let platform = of(Fault::Endless, "access = \"read-write\"\nmax_rows = 100000").await;
    for execute in [false, true] {
        let mut asked = asked();
        asked["execute"] = json!(execute);
        assert_eq!(result(&platform, &asked).await, "too-large", "{execute}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_more_columns_than_are_kept_is_of_no_use() {
    let platform = of(Fault::Columns(60_000), "").await;
    assert_eq!(result(&platform, &asked()).await, "unavailable");
    let tells = |line: &Value| line["message"] == "database sends what it may not" && line["upstream"] == "hr";
    platform.host.log_line("the operator is told", tells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_says_of_a_failure_is_cut_and_begins_no_line() {
    let words = || message(b'E', &unasked(b"SFATAL\0VFATAL\0C28000\0M", b"\0\0"));
    let platform = of(Fault::Refuses(words), "").await;
    assert_eq!(result(&platform, &asked()).await, "unavailable");
    let tells = |line: &Value| line["message"] == "database failed" && line["cause"].to_string().contains("28000");
    platform.host.log_line("the operator is told", tells).await;
    for line in platform
        .host
        .log()
        .iter()
        .filter(|line| line.to_string().contains("28000"))
    {
        let line = line.to_string();
        assert!(line.len() < 2_000 && !line.contains(r"\n"), "{line}");
    }
}
