//! Changing a running host under load: not one callout notices that anything was exchanged under it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use claimsmith_tests::{LogLine, Platform, Stage, eventually, misbehaving, relink, world, write_tenant};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

const SWAPS: usize = 60;
const CLIENTS: usize = 16;
const CALLOUTS_OF_A_CLIENT: usize = 400;
/// Extensions of the tenant: the more a tenant has, the longer it is between the first and the last file that is read.
const EXTENSIONS: usize = 4;

#[derive(Default)]
struct Seen {
    answers: HashMap<(String, String), usize>,
    /// In the order of sending.
    correlation_ids: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_callout_notices_that_versions_are_swapped_under_load() {
    let platform = Arc::new(swappable().await);
    let swapped = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (platform, swapped) = (Arc::clone(&platform), Arc::clone(&swapped));
        clients.spawn(async move {
            let mut seen = Seen::default();
            while seen.correlation_ids.len() < CALLOUTS_OF_A_CLIENT || !swapped.load(Ordering::Relaxed) {
                call_and_note(&platform, client % EXTENSIONS, &mut seen).await;
            }
            seen
        });
    }
    for swap in 0..SWAPS {
        // Some come while the one before is being read, one is waited for until it has taken effect.
        let build = ["b", "a"][swap % 2];
        for (build, pause) in [(build, 30), (["a", "b"][swap % 2], 35), (build, swap as u64 % 40)] {
            swap_to(&platform, build);
            sleep(Duration::from_millis(pause)).await;
        }
        let url = platform.url_of("contoso", "claims-0");
        eventually("the swap takes effect", async || {
            Platform::claims(&platform.callout_to(&url).await.1)["marker"] == build
        })
        .await;
    }
    swapped.store(true, Ordering::Relaxed);
    let seen = clients.join_all().await;
    assert_each_answer_is_of_one_version(&seen);
    assert_generations_only_grow(&platform, &seen).await;
}

/// A tenant `contoso` that is a link to one of two releases; another tenant keeps both builds compiled.
async fn swappable() -> Platform {
    let stage = Stage::new().await;
    for build in ["a", "b"] {
        let settings = format!("settings = {{ marker = \"{build}\" }}");
        let extensions = (0..EXTENSIONS).map(|number| {
            world::extension_toml(
                &format!("claims-{number}"),
                "deadline = \"2s\"",
                "misbehaving",
                &settings,
            )
        });
        let toml = world::directories_toml(&stage.entra) + &extensions.collect::<String>();
        write_tenant(&stage.file("releases").join(build), &toml, build);
    }
    let keeper = [
        world::directories_toml(&stage.entra),
        world::extension_toml("a", "", "a", ""),
        world::extension_toml("b", "", "b", ""),
    ];
    let stage = stage.tenant("keeper", &keeper.concat());
    for build in ["a", "b"] {
        fs::copy(
            misbehaving(build),
            stage.file(&format!("tenants/keeper/plugins/{build}.wasm")),
        )
        .unwrap();
    }
    symlink(stage.file("releases/a"), stage.file("tenants/contoso")).unwrap();
    stage.start().await
}

fn swap_to(platform: &Platform, build: &str) {
    let root = platform.directory.path();
    relink(&root.join("releases").join(build), &root.join("tenants/contoso"));
}

async fn call_and_note(platform: &Platform, extension: usize, seen: &mut Seen) {
    let body = platform.body();
    let url = platform.url_of("contoso", &format!("claims-{extension}"));
    let request = platform.http.post(url).bearer_auth(platform.token()).json(&body);
    let response = request.send().await.unwrap();
    let (status, text) = (response.status(), response.text().await.unwrap());
    assert_eq!(status, 200, "{text}");
    let answer: Value = serde_json::from_str(&text).unwrap();
    let claim = |name: &str| Platform::claims(&answer)[name].as_str().unwrap().to_owned();
    *seen.answers.entry((claim("marker"), claim("build"))).or_default() += 1;
    let correlation_id = &body["data"]["authenticationContext"]["correlationId"];
    seen.correlation_ids.push(correlation_id.as_str().unwrap().to_owned());
}

fn assert_each_answer_is_of_one_version(seen: &[Seen]) {
    let mut answers: HashMap<_, usize> = HashMap::new();
    for (answer, count) in seen.iter().flat_map(|seen| &seen.answers) {
        *answers.entry(answer.clone()).or_default() += count;
    }
    let of = |marker: &str, build: &str| {
        answers
            .get(&(marker.to_owned(), build.to_owned()))
            .copied()
            .unwrap_or_default()
    };
    let (a, b) = (of("a", "a"), of("b", "b"));
    let all: usize = answers.values().sum();
    assert_eq!(a + b, all, "answers that are a mixture: {answers:?}");
    assert!(all >= 5_000 && a > 500 && b > 500, "{answers:?}");
}

async fn assert_generations_only_grow(platform: &Platform, seen: &[Seen]) {
    let count: usize = seen.iter().map(|seen| seen.correlation_ids.len()).sum();
    let answered = || {
        let log = platform.host.log();
        let lines = log.into_iter().filter(|line| line["message"] == "callout answered");
        let generation = |line: LogLine| {
            let correlation_id = line["span"]["correlation_id"].as_str().unwrap().to_owned();
            (correlation_id, line["generation"].as_u64().unwrap())
        };
        lines.map(generation).collect::<HashMap<_, _>>()
    };
    eventually("all callouts are logged", async || answered().len() >= count).await;
    let generations = answered();
    for seen in seen {
        let of_client: Vec<_> = seen.correlation_ids.iter().map(|id| generations[id]).collect();
        assert!(
            of_client.is_sorted(),
            "a client's callouts went back in time: {of_client:?}"
        );
    }
    let log = platform.host.log();
    let published = log.iter().filter(|line| line["message"] == "catalog published");
    let published: Vec<_> = published.map(|line| line["generation"].as_u64().unwrap()).collect();
    assert!(published.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{published:?}");
    assert!(published.len() >= SWAPS, "{published:?}");
}
