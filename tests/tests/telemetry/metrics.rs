use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use claimsmith_tests::otlp::{Collector, Health};
use claimsmith_tests::{Platform, Upstream, eventually};
use serde_json::json;

use crate::{CLAIMS, ECHO, asking, misbehaving, with_upstream};

/// A metric's type and labels.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// What the tables of `docs/metrics.md` say.
pub(crate) fn documented() -> Described {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"));
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `claimsmith_"));
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let labels = cells[3].split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels))
    })
    .collect()
}

/// What a scrape shows.
fn scraped(text: &str) -> Described {
    let mut metrics = Described::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().0);
            continue;
        }
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let bare = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let name = bare.filter(|bare| metrics.contains_key(*bare)).unwrap_or(name);
        let labels = labels
            .trim_end_matches('}')
            .split("\",")
            .filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split_once('=').unwrap().0.to_owned());
        let known = &mut metrics.get_mut(name).unwrap_or_else(|| panic!("{name} has no type")).1;
        known.extend(labels.filter(|label| label != "le"));
    }
    metrics
}

/// Metrics of what this host does not have: tests of the admin API, of caches, of Vault and of TLS see them.
const ELSEWHERE: [&str; 8] = [
    "claimsmith_admin_requests_total",
    "claimsmith_cache_bytes",
    "claimsmith_cache_entries",
    "claimsmith_cache_evictions_total",
    "claimsmith_cache_lookups_total",
    "claimsmith_cache_redis_total",
    "claimsmith_tls_certificate_expires_timestamp_seconds",
    "claimsmith_vault_reads_total",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_documented_one_is_there() {
    let (collector, server) = (Collector::start(Health::Well).await, Upstream::start().await);
    let host = collector.config()
        + "runtime.cache.directory = \"cache\"\nruntime.cache.key = \"cache.key\"\nprobe.interval = \"1s\"";
    let watched = "expect_callouts_within = \"1h\"\nprobe = {}\nrepeated_callouts = \"join\"\n\
                   rate_limit = { per_second = 1, burst = 3 }";
    let more = format!("settings.probe = true\n{}on_failure = \"omit\"\n", misbehaving("loop"));
    let platform = with_upstream(&host, &server, watched, &more).await;
    let body = asking(&platform, "/members/1");
    for _ in 0..2 {
        let response = platform.call(&platform.token(), &body).await;
        assert_eq!(
            response.status(),
            200,
            "the second plugin reaches a limit and is left out"
        );
    }
    assert_eq!(platform.call("no-token", &platform.body()).await.status(), 401);
    eventually("more callouts come than the extension may be sent", async || {
        platform.call(&platform.token(), &body).await.status() == 429
    })
    .await;

    let mut documented = documented();
    assert!(documented.len() > 40);
    for name in ELSEWHERE {
        assert!(documented.remove(name).is_some(), "{name}");
    }
    eventually("all of them are there", async || {
        let scraped = scraped(&platform.metrics().await);
        documented.keys().all(|name| scraped.contains_key(name))
    })
    .await;
    assert_eq!(scraped(&platform.metrics().await), documented);
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_are_counted_by_outcome_stage_version_and_share_of_the_deadline() {
    let platform = Platform::start_with("", "deadline = \"500ms\"", ECHO).await;
    for _ in 0..3 {
        assert_eq!(platform.callout().await.0, 200);
    }
    assert_eq!(platform.call("no-token", &platform.body()).await.status(), 401);
    let with = |more: &'static str| [CLAIMS.as_slice(), &[more]].concat();
    let count = async |name, more| platform.metric(name, &with(more)).await;
    assert_eq!(count("claimsmith_callouts_total", "outcome=\"answered\"").await, 3.0);
    assert_eq!(
        count("claimsmith_callouts_total", "outcome=\"token_malformed\"").await,
        1.0
    );
    assert_eq!(
        count("claimsmith_token_failures_total", "reason=\"token_malformed\"").await,
        1.0
    );
    for (stage, times) in [
        ("token", 4.0),
        ("body", 3.0),
        ("parse", 3.0),
        ("instantiate", 3.0),
        ("run", 3.0),
        ("audit", 4.0),
    ] {
        let stage = format!("stage=\"{stage}\"");
        assert_eq!(
            platform
                .metric("claimsmith_stage_seconds_count", &[CLAIMS[0], &stage])
                .await,
            times,
            "{stage}"
        );
    }
    let (whole, parts) = (
        platform.metric("claimsmith_callout_seconds_sum", &CLAIMS).await,
        platform.metric("claimsmith_stage_seconds_sum", &CLAIMS[..1]).await,
    );
    assert!(parts > whole / 2.0, "{parts} {whole}");
    let burnt = platform.metric("claimsmith_callout_deadline_ratio_sum", &CLAIMS).await;
    assert!((burnt - whole / 0.5).abs() < 1e-9, "{burnt} {whole}");
    assert_eq!(count("claimsmith_invocations_total", "version=\"0.1.0\"").await, 3.0);
    assert!(
        platform
            .metric("claimsmith_last_callout_timestamp_seconds", &CLAIMS)
            .await
            > 1.7e9
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_outlive_reloads_and_loads_are_counted() {
    let platform = Platform::start(ECHO).await;
    assert_eq!(platform.callout().await.0, 200);
    let toml = fs::read_to_string(platform.tenant_file("tenant.toml")).unwrap();
    let loads = async |result: &str| {
        let labels = ["tenant=\"contoso\"", &format!("result=\"{result}\"")];
        platform.metric("claimsmith_tenant_loads_total", &labels).await
    };
    assert_eq!(loads("loaded").await, 1.0);
    fs::write(
        platform.tenant_file("tenant.toml"),
        toml.replace("user.displayName", "user.mail"),
    )
    .unwrap();
    eventually("it is loaded again", async || loads("loaded").await == 2.0).await;
    assert_eq!(platform.callout().await.0, 200);
    let answered = [CLAIMS.as_slice(), &["outcome=\"answered\""]].concat();
    assert_eq!(platform.metric("claimsmith_callouts_total", &answered).await, 2.0);
    assert_eq!(platform.status().await["outcomes"], json!({ "answered": 2 }));
    fs::write(
        platform.tenant_file("tenant.toml"),
        toml.replace("bindings", "bandings"),
    )
    .unwrap();
    eventually("the mistake is counted", async || loads("refused").await == 1.0).await;
    assert!(
        platform
            .metric("claimsmith_tenant_mistakes", &["tenant=\"contoso\""])
            .await
            >= 1.0
    );
}
