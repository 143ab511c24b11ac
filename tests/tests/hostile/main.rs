//! Plugins that attack their host: each of `tests/hostile/corpus.toml` runs on the real server, and must end as written
//! there; the host must go on as if nothing had been, and must have lost nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::allow_attributes,
    reason = "a test fails by panicking, and prints what it does not assert"
)]

mod component;
mod corpus;
mod process;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use claimsmith_tests::{LogLine, Platform, Stage, eventually, world};
use corpus::Hostile;
use process::Holds;
use serde_json::{Value, json};
use tokio::time::Instant;

/// What the hostile Rust plugin is told, and says wherever it can.
const WORDS: &str = "words-of-the-plugin";

/// How much more memory than before the host may hold after the corpus, in KiB: what the system's allocator keeps, and
/// the pooled memories that stay resident (512 KiB for each place that was used).
const TOLERANCE: usize = 8 << 10;

/// How often the corpus is run again after what the host holds was noted.
const ROUNDS: usize = 3;

/// A tenant `contoso` with an extension for each plugin that loads, a tenant for each that does not, and a neighbour.
async fn platform(corpus: &[(Hostile, Vec<u8>)], host_config: &str) -> Platform {
    let stage = Stage::new().await.host_config(host_config);
    let directories = world::directories_toml(&stage.entra);
    let extension =
        |plugin: &Hostile| world::extension_toml(&plugin.name, &plugin.extension, &plugin.name, &plugin.binding(WORDS));
    let good = |marker: &str| {
        let binding = format!("settings = {{ marker = \"{marker}\" }}");
        world::extension_toml("good", "", "misbehaving", &binding)
    };
    let served = corpus.iter().filter(|(plugin, _)| !plugin.is_refused());
    let extensions: String = served.map(|(plugin, _)| extension(plugin)).collect();
    let stage = stage
        .tenant(
            "contoso",
            &[directories.as_str(), &good("contoso"), &extensions].concat(),
        )
        .tenant("neighbour", &[directories.as_str(), &good("neighbour")].concat());
    for (plugin, bytes) in corpus {
        let tenant = if plugin.is_refused() {
            plugin.name.as_str()
        } else {
            "contoso"
        };
        let tenant = stage.file("tenants").join(tenant);
        fs::create_dir_all(tenant.join("plugins")).unwrap();
        fs::write(tenant.join("plugins").join(format!("{}.wasm", plugin.name)), bytes).unwrap();
        if plugin.is_refused() {
            fs::write(
                tenant.join("tenant.toml"),
                [directories.as_str(), &extension(plugin)].concat(),
            )
            .unwrap();
        }
    }
    let platform = stage.start().await;
    let errors = platform.host.log();
    let errors: Vec<_> = errors
        .iter()
        .filter(|line| line["level"] == "ERROR" && line["tenant"] == "contoso")
        .map(|line| line["message"].to_string())
        .collect();
    assert!(errors.is_empty(), "contoso does not load:\n{}", errors.join("\n"));
    platform
}

async fn assert_good(platform: &Platform, tenant: &str, after: &str) {
    let (status, answer) = platform.callout_to(&platform.url_of(tenant, "good")).await;
    assert_eq!(
        (status, Platform::claims(&answer)),
        (200, &json!({"marker": tenant, "build": "default"})),
        "{tenant} after {after}"
    );
}

/// Calls a plugin's extension: the answer's status and text, and the log line.
async fn call(platform: &Platform, plugin: &Hostile) -> (u16, String, LogLine) {
    let body = platform.body();
    let url = platform.url_of("contoso", &plugin.name);
    let request = platform.http.post(url).bearer_auth(platform.token()).json(&body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, text, platform.host.line_of_callout(&body).await)
}

/// What is wrong with how a plugin's callout ended: it must be as the corpus says, and its answer must say nothing of why.
fn mistakes(plugin: &Hostile, status: u16, answer: &str, line: &LogLine) -> Vec<String> {
    let outcome = plugin.outcome.as_deref().unwrap();
    let expected = match outcome {
        "answered" => 200,
        "deadline_exceeded" => 504,
        _ => 500,
    };
    let mut mistakes = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            mistakes.push(format!("{}: {what}: {status} {answer} {line}", plugin.name));
        }
    };
    must(line["outcome"] == outcome, &format!("expected {outcome}"));
    must(status == expected, &format!("expected {expected}"));
    for (field, expected) in [
        ("reason", &plugin.reason),
        ("guest_stderr", &plugin.stderr),
        ("guest_stdout", &plugin.stdout),
        ("guest_backtrace", &plugin.backtrace),
    ] {
        let found = line[field].as_str().unwrap_or_default();
        let expected = expected.as_deref().unwrap_or_default();
        must(found.contains(expected), &format!("{field}: expected {expected:?}"));
        must(found.len() < 5_000, &format!("{field}: {} bytes", found.len()));
        let control = |character: char| character.is_control() && character != '\n';
        must(!found.contains(control), &format!("{field}: control characters"));
    }
    if status != 200 {
        let problem: Value = serde_json::from_str(answer).unwrap();
        must(
            problem["code"] == outcome && problem["errors"] == json!([]),
            "its problem",
        );
        for word in [WORDS, "misbehaving", "forged", "flood", "wasm", "panicked"] {
            must(!answer.contains(word), &format!("the answer has {word}"));
        }
    }
    mistakes
}

/// Calls the neighbour's extension until told to stop: how often it was answered.
async fn keep_calling(platform: Arc<Platform>, stop: Arc<AtomicBool>) -> usize {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        assert_good(&platform, "neighbour", "whatever contoso's plugins just did").await;
        answered += 1;
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hostile_plugin_ends_as_it_must_and_takes_nothing_with_it() {
    let corpus: Vec<_> = corpus::load()
        .into_iter()
        .filter(|(plugin, _)| !plugin.is_refused())
        .collect();
    let platform = Arc::new(platform(&corpus, "runtime.limits.cpu = \"1s\"").await);
    let called: Vec<_> = corpus.iter().map(|(plugin, _)| plugin).collect();
    let stop = Arc::default();
    println!("{} plugins are called", called.len());
    let neighbour = tokio::spawn(keep_calling(Arc::clone(&platform), Arc::clone(&stop)));
    let mut all_mistakes = Vec::new();
    for plugin in &called {
        let (status, answer, line) = call(&platform, plugin).await;
        all_mistakes.extend(mistakes(plugin, status, &answer, &line));
        let ended = Instant::now();
        assert_good(&platform, "contoso", &plugin.name).await;
        let took = line["duration_ms"].as_f64().unwrap();
        println!(
            "{:42} {took:8.3} ms, the next good one {:?}",
            plugin.name,
            ended.elapsed()
        );
    }
    assert!(all_mistakes.is_empty(), "{}", all_mistakes.join("\n"));
    check_metrics(&platform, &called).await;

    let pid = platform.host.pid();
    let before = Holds::of(pid);
    for _ in 0..ROUNDS {
        for plugin in &called {
            let (status, ..) = call(&platform, plugin).await;
            assert!([200, 500, 503, 504].contains(&status), "{}: {status}", plugin.name);
        }
    }
    stop.store(true, Ordering::Relaxed);
    println!("the neighbour was answered {} times", neighbour.await.unwrap());
    assert_good(&platform, "contoso", "the whole corpus").await;
    println!("before {before:?}, after {:?}", Holds::of(pid));
    eventually("the host holds as little as before", async || {
        let now = Holds::of(pid);
        now.resident <= before.resident + TOLERANCE && now.threads <= before.threads && now.files <= before.files
    })
    .await;
}

async fn check_metrics(platform: &Platform, called: &[&Hostile]) {
    let url = format!("http://{}/metrics", platform.host.address);
    let metrics = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    for plugin in called {
        let Some(limit) = &plugin.limit else { continue };
        let counted = metrics.lines().any(|line| {
            line.starts_with("claimsmith_limit_reached_total{")
                && line.contains(&format!("extension=\"{}\"", plugin.name))
                && line.contains(&format!("limit=\"{limit}\""))
        });
        assert!(counted, "{}: {limit} is not counted:\n{metrics}", plugin.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plugin_is_refused_with_what_to_do() {
    let refused: Vec<_> = corpus::load()
        .into_iter()
        .filter(|(plugin, _)| plugin.is_refused())
        .collect();
    println!("{} plugins are refused", refused.len());
    let platform = platform(&refused, "runtime.limits.cpu = \"20ms\"").await;
    for (plugin, _) in &refused {
        let name = &plugin.name;
        let of_tenant = |line: &LogLine| line["level"] == "ERROR" && line["tenant"] == name.as_str();
        let line = platform.host.log_line(name, of_tenant).await;
        let message = line["message"].as_str().unwrap();
        for expected in &plugin.refusal {
            assert!(message.contains(expected), "{name}: expected {expected:?}: {message}");
        }
        assert!(!message.contains(char::is_control), "{name}: {message:?}");
        let (status, problem) = platform.callout_to(&platform.url_of(name, name)).await;
        assert_eq!(
            (status, &problem["code"]),
            (503, &json!("tenant_unavailable")),
            "{name}"
        );
    }
    assert_good(&platform, "contoso", "all that was refused").await;
}
