use std::fs;

use claimsmith_tests::otlp::{Collector, Health};
use claimsmith_tests::{Host, Platform, eventually, host_config, signals};
use serde_json::Value;

use crate::ECHO;

fn is_answered(line: &Value) -> bool {
    line["message"] == "callout answered"
}

fn configure(platform: &Platform, more: &str) {
    fs::write(platform.directory.path().join("claimsmith.toml"), host_config(more)).unwrap();
}

fn hang_up(host: &Host) {
    signals::signal(host.pid(), "HUP");
}

/// Whether a callout that is answered has a line, which can come after the answer.
async fn tells(platform: &Platform) -> bool {
    let mark = platform.host.log_mark();
    assert_eq!(platform.callout().await.0, 200);
    for _ in 0..50 {
        if platform.host.log_after(mark).iter().any(is_answered) {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_filter_changes_with_the_file() {
    let platform = Platform::start(ECHO).await;
    assert!(tells(&platform).await, "the tests' hosts begin with `debug`");
    configure(&platform, "log.filter = \"info\"");
    eventually("no line any more", async || !tells(&platform).await).await;
    configure(&platform, "log.filter = \"info,claimsmith_server::callout=debug\"");
    eventually("lines again", async || tells(&platform).await).await;

    let mark = platform.host.log_mark();
    configure(&platform, "log.filter = \"info,=,\"");
    let says = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("is no log filter"))
    };
    platform.host.log_line_after(mark, "what is wrong", says).await;
    assert!(tells(&platform).await, "it stays as it was");
    configure(&platform, "log.filter = \"warn\"");
    eventually("no line any more", async || !tells(&platform).await).await;
    configure(&platform, "");
    eventually("what the command line says", async || tells(&platform).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_up_applies_the_file_where_nobody_watches() {
    let platform = Platform::start_with("watch.enabled = false", "", ECHO).await;
    assert!(tells(&platform).await);
    configure(&platform, "watch.enabled = false\nlog.filter = \"info\"");
    assert!(tells(&platform).await, "nobody watches");
    hang_up(&platform.host);
    eventually("no line any more", async || !tells(&platform).await).await;
    // A file that cannot be used changes nothing, and does not end the service.
    configure(&platform, "nonsense = 1");
    hang_up(&platform.host);
    let says = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("nonsense"));
    platform.host.log_line("what is wrong", says).await;
    assert_eq!(platform.callout().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sampling_changes_with_the_file() {
    let collector = Collector::start(Health::Well).await;
    let config = |ratio: &str| collector.config().replace("= 1.0", &format!("= {ratio}"));
    let platform = Platform::start_with(&config("0.0"), "", ECHO).await;
    for _ in 0..20 {
        assert_eq!(platform.callout().await.0, 200);
    }
    configure(&platform, &config("1.0"));
    eventually("callouts are traced", async || {
        assert_eq!(platform.callout().await.0, 200);
        !collector.spans().is_empty()
    })
    .await;
    let traced = collector.spans().iter().filter(|span| span.name == "callout").count();
    let sent = platform
        .metric("claimsmith_callouts_total", &["outcome=\"answered\""])
        .await;
    assert!(
        sent - 20.0 >= f64::from(u32::try_from(traced).unwrap()),
        "{sent} {traced}"
    );
}
