//! A service that is killed in the middle of changes comes back with what it has said to be done.

use std::time::Duration;

use claimsmith_tests::{eventually, misbehaving};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::setup::{BY_API, activate, admin_url, build, json_of, push, start, status, token_of};

const KILLS: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_to_be_active_is_active_after_a_crash() {
    let cache = "runtime.cache.directory = \"cache\"\nruntime.cache.key = \"cache.key\"";
    let mut platform = start(cache, &[("contoso", BY_API, "")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    activate(&platform, "1.0.0").await;
    let mut last_told = 0;
    for kill in 0..KILLS {
        let url = format!("{}/tenants/contoso/activations", admin_url(&platform).await);
        let token = token_of(&platform, "Claimsmith.TenantOwner", &["contoso"]);
        let http = platform.http.clone();
        let changes = tokio::spawn(async move {
            let mut told = None;
            for change in 0_u64.. {
                let version = ["1.0.0", "1.1.0"][usize::from(change % 2 == 0)];
                let request = json!({ "versions": { "misbehaving": version }, "reason": format!("{kill}/{change}") });
                let sent = http.post(&url).bearer_auth(&token).json(&request).send().await;
                match sent {
                    Ok(answer) if answer.status() == 200 => told = Some((version, change)),
                    _ => break,
                }
            }
            told
        });
        // At another moment of a change each time.
        sleep(Duration::from_millis(40 + kill * 7)).await;
        platform.host.kill();
        let told = changes.await.unwrap();
        platform.restart(&[]).await;
        eventually("it serves", async || platform.callout().await.0 == 200).await;
        let status = status(&platform).await;
        let active = &status["active"][0];
        let expected = if active["version"] == "1.0.0" { "a" } else { "b" };
        assert_eq!(build(&platform).await, expected, "kill {kill}");
        assert_log_agrees(
            &json_of(&platform, &["admin-log", "--limit", "2"]).await,
            active,
            told,
            kill,
        );
        last_told += u64::from(told.is_some());
    }
    assert!(last_told > KILLS / 2, "too few changes were told of: {last_told}");
}

/// The last line is of what is active, and of the change that was told last or of the one after, which nobody was told of.
fn assert_log_agrees(log: &Value, active: &Value, told: Option<(&str, u64)>, kill: u64) {
    let last = &log["lines"][0];
    assert_eq!(
        (&last["version"], &last["result"]),
        (&active["version"], &json!("done")),
        "kill {kill}: {log}"
    );
    let Some((version, change)) = told else { return };
    let reason = last["reason"].as_str().unwrap();
    let of = |change: u64| format!("{kill}/{change}");
    if reason == of(change) {
        assert_eq!(active["version"], version, "kill {kill}");
    } else {
        // Activating what is active changes nothing and has no line.
        let same = active["version"] == version && change == 0;
        assert!(
            same || reason == of(change + 1),
            "kill {kill}: told {change}, and the log has {log}"
        );
    }
}
