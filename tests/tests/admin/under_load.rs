//! Activations and rollbacks at the same time, while files change and callouts come: not one callout fails.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claimsmith_tests::{Platform, eventually, misbehaving, world};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::setup::{BY_API, activate, admin_url, build, push, start, status, tenant_toml, token_of};

const CLIENTS: usize = 8;
const CHANGES: usize = 60;
const CALLOUTS: usize = 2_000;
const EXTENSIONS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn no_callout_fails_while_versions_are_activated_and_rolled_back() {
    let platform = Arc::new(start("", &[("contoso", BY_API, "settings = { marker = \"m0\" }")]).await);
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    activate(&platform, "1.0.0").await;
    activate(&platform, "1.1.0").await;
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (platform, done) = (Arc::clone(&platform), Arc::clone(&done));
        clients.spawn(async move {
            let mut answers: BTreeMap<String, usize> = BTreeMap::new();
            while answers.values().sum::<usize>() < CALLOUTS / CLIENTS || !done.load(Ordering::Relaxed) {
                let build = build(&platform).await;
                *answers.entry(build.as_str().unwrap().to_owned()).or_default() += 1;
            }
            answers
        });
    }
    let outcomes = change(&platform).await;
    done.store(true, Ordering::Relaxed);
    let mut answers: BTreeMap<String, usize> = BTreeMap::new();
    for (build, count) in clients.join_all().await.into_iter().flatten() {
        *answers.entry(build).or_default() += count;
    }
    let all: usize = answers.values().sum();
    assert_eq!(answers["a"] + answers["b"], all, "{answers:?}");
    assert!(
        all >= CALLOUTS && answers["a"] > 100 && answers["b"] > 100,
        "{answers:?}"
    );
    // Files that change all the time may have refused some; most went through.
    let changed: usize = outcomes.get(&200).copied().unwrap_or_default();
    assert!(changed > CHANGES, "{outcomes:?}");
    assert!(
        outcomes.keys().all(|status| [200, 409].contains(status)),
        "{outcomes:?}"
    );
    assert_what_is_told_serves(&platform).await;
}

/// Two pipelines activate, one person rolls back, and the tenant's file is written again and again: statuses by count.
async fn change(platform: &Arc<Platform>) -> BTreeMap<u16, usize> {
    let url = admin_url(platform).await;
    let token = token_of(platform, "Claimsmith.TenantOwner", &["contoso"]);
    let mut changes = JoinSet::new();
    for (number, what) in ["activations", "activations", "rollbacks"].into_iter().enumerate() {
        let (platform, token) = (Arc::clone(platform), token.clone());
        let url = format!("{url}/tenants/contoso/{what}");
        changes.spawn(async move {
            let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
            for change in 0..CHANGES {
                let version = ["1.0.0", "1.1.0"][(change + number) % 2];
                let request = match what {
                    "rollbacks" => json!({ "plugin": "misbehaving", "reason": "under load" }),
                    _ => json!({ "versions": { "misbehaving": version }, "reason": "under load" }),
                };
                let answer = platform
                    .http
                    .post(&url)
                    .bearer_auth(&token)
                    .json(&request)
                    .send()
                    .await
                    .unwrap();
                *outcomes.entry(answer.status().as_u16()).or_default() += 1;
                sleep(Duration::from_millis(5)).await;
            }
            outcomes
        });
    }
    let writer = {
        let platform = Arc::clone(platform);
        tokio::spawn(async move {
            for change in 0..CHANGES {
                let settings = format!("settings = {{ marker = \"m{change}\" }}");
                let scratch = platform.directory.path().join("tenant.toml.next");
                fs::write(&scratch, tenant_toml(&platform.entra, BY_API, &settings)).unwrap();
                fs::rename(scratch, platform.tenant_file("tenant.toml")).unwrap();
                sleep(Duration::from_millis(40)).await;
            }
        })
    };
    writer.await.unwrap();
    let mut outcomes: BTreeMap<u16, usize> = BTreeMap::new();
    for (status, count) in changes.join_all().await.into_iter().flatten() {
        *outcomes.entry(status).or_default() += count;
    }
    outcomes
}

/// The version that is told to be active answers, with the settings of the file as it is.
async fn assert_what_is_told_serves(platform: &Platform) {
    let last = format!("m{}", CHANGES - 1);
    eventually("the last settings serve", async || {
        let (_, answer) = platform.callout().await;
        Platform::claims(&answer)["marker"] == last.as_str()
    })
    .await;
    let status: Value = status(platform).await;
    let expected = if status["active"][0]["version"] == "1.0.0" {
        "a"
    } else {
        "b"
    };
    assert_eq!(build(platform).await, expected);
    assert_eq!(
        status["active"][0]["digest"],
        status["extensions"]["claims"]["bindings"][0]["digest"]
    );
}

/// A reload that was under way when versions were activated does not bring the old ones back: nothing looks at the files
/// later, so what it left would stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_does_not_undo_an_activation() {
    // The reload begins well after the file was written, and takes long: so it is under way when the activation is done.
    let config = "watch.rescan = \"1h\"\nwatch.debounce = \"120ms\"";
    let platform = start(config, &[("contoso", BY_API, "settings = { marker = \"m\" }")]).await;
    let more = (0..EXTENSIONS).map(|number| world::extension_toml(&format!("more-{number}"), "", "misbehaving", ""));
    let more: String = more.collect();
    push(&platform, &misbehaving("a"), "1.0.0").await;
    push(&platform, &misbehaving("b"), "1.1.0").await;
    activate(&platform, "1.0.0").await;
    let url = format!("{}/tenants/contoso/activations", admin_url(&platform).await);
    let token = token_of(&platform, "Claimsmith.TenantOwner", &["contoso"]);
    for round in 0..30_u64 {
        let (version, expected) = [("1.1.0", "b"), ("1.0.0", "a")][usize::from(round % 2 == 1)];
        let request = json!({ "versions": { "misbehaving": version }, "reason": "a race" });
        let activation = platform.http.post(&url).bearer_auth(&token).json(&request).send();
        let marker = format!("m{round}");
        let write = async {
            // At another moment of the activation each time.
            sleep(Duration::from_millis(round * 5)).await;
            let settings = format!("settings = {{ marker = \"{marker}\" }}");
            let toml = tenant_toml(&platform.entra, BY_API, &settings) + &more;
            let scratch = platform.directory.path().join("tenant.toml.next");
            fs::write(&scratch, toml).unwrap();
            fs::rename(scratch, platform.tenant_file("tenant.toml")).unwrap();
        };
        let (answer, ()) = tokio::join!(activation, write);
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        let claims = async || Platform::claims(&platform.callout().await.1).clone();
        eventually("the settings serve", async || {
            claims().await["marker"] == marker.as_str()
        })
        .await;
        // A reload that was late would be published by now.
        sleep(Duration::from_millis(150)).await;
        assert_eq!(claims().await["build"], expected, "round {round}");
    }
}
