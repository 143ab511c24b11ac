//! Several hosts share a Redis, and none of them needs it.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use claimsmith_tests::timed::{asked_at_once, assert_in_time};
use claimsmith_tests::{Authority, Platform, RedisServer, Trap, eventually};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::{LOOPBACK, get, metric, put, stage, step, steps};

/// Of callouts here.
const DEADLINE: Duration = Duration::from_secs(2);

/// An upstream at a Redis.
fn upstream(address: SocketAddr, more: &str) -> String {
    format!(
        "[upstreams.shared]\nkind = \"redis\"\nurl = \"redis://{address}\"\nplain_tcp = true
networks = [\"127.0.0.0/8\"]\npassword = \"file:redis\"\n{more}\n"
    )
}

/// A host whose plugin's cache has this second level, of any age of this test's plugins.
async fn host(upstream: &str, cache: &str) -> Platform {
    let binding = format!("cache = {{ redis = \"shared\"{cache} }}");
    let stage = stage(LOOPBACK, upstream, &binding).await;
    let secrets = stage.file("tenants/contoso/secrets");
    fs::create_dir(&secrets).unwrap();
    fs::write(secrets.join("redis"), RedisServer::PASSWORD).unwrap();
    stage.start().await
}

async fn asked(platform: &Platform, result: &str) -> u64 {
    let labels = format!("result=\"{result}\"");
    metric(platform, "claimsmith_cache_redis_total", &labels).await
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_share_what_they_keep() {
    let redis = RedisServer::start().await;
    // A loaded machine must not make a test of what is shared one of how fast.
    let upstream = upstream(redis.address, "timeout = \"500ms\"");
    let (one, two) = (host(&upstream, "").await, host(&upstream, "").await);
    assert_eq!(step(&one, &put("ada", "gold")).await, "done");
    eventually("the other one finds it", async || {
        step(&two, &get("ada")).await == "value gold"
    })
    .await;
    // From there on in its own memory.
    let calls = redis.calls("get").await;
    assert_eq!(step(&two, &get("ada")).await, "value gold");
    assert_eq!(redis.calls("get").await, calls);

    let fill = |text: &str| json!({ "look": ["grace", { "fill": { "text": text, "fresh_ms": 60_000 } }] });
    assert_eq!(step(&one, &fill("silver")).await, "filled");
    eventually("it is there", async || redis.keys().await.len() == 2).await;
    assert_eq!(step(&two, &fill("mine")).await, "fresh silver");

    assert_eq!(step(&one, &json!({ "remove": "grace" })).await, "done");
    assert_eq!(redis.keys().await.len(), 1);

    // Keys say whose they are and not whom they are about; they go by themselves.
    let keys = redis.keys().await;
    assert!(
        keys[0].starts_with("claimsmith/contoso/claims/0/cache-caller/"),
        "{keys:?}"
    );
    assert!(!keys[0].contains("ada"));
    let left = redis.ask(&format!("PTTL {}", keys[0])).await;
    let left: u64 = left.lines().nth(1).unwrap().trim_start_matches(':').parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_value_is_stale_for_all() {
    let redis = RedisServer::start().await;
    let upstream = upstream(redis.address, "timeout = \"500ms\"");
    let (one, two) = (host(&upstream, "").await, host(&upstream, "").await);
    let stale = json!({ "put": { "key": "ada", "text": "old", "fresh_ms": 0, "stale_ms": 60_000 } });
    assert_eq!(step(&one, &stale).await, "done");
    eventually("it is there", async || redis.keys().await.len() == 1).await;
    let fill = json!({ "look": ["ada", { "fill": { "text": "new", "fresh_ms": 60_000 } }] });
    assert_eq!(step(&two, &fill).await, "stale with key old, filled");
    // The first host, whose own is stale, is given what the second has filled in.
    eventually("it is fresh again", async || {
        step(&one, &json!({ "look": ["ada", "drop"] })).await == "fresh new"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_this_hosts_writing_is_no_value() {
    let redis = RedisServer::start().await;
    let platform = host(&upstream(redis.address, "timeout = \"500ms\""), "").await;
    assert_eq!(step(&platform, &put("ada", "gold")).await, "done");
    eventually("it is there", async || redis.keys().await.len() == 1).await;
    let key = redis.keys().await.remove(0);
    for nonsense in ["x", "xxxxxxxxxxxxxxxxxxxxxxxxx", "\"\\x01\\xff\""] {
        redis.ask(&format!("SET {key} {nonsense}")).await;
        let again = host(&upstream(redis.address, "timeout = \"500ms\""), "").await;
        assert_eq!(step(&again, &get("ada")).await, "none", "{nonsense}");
        assert_eq!(asked(&again, "failed").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_it_the_memory_goes_on_alone() {
    let mut redis = RedisServer::start().await;
    let platform = host(&upstream(redis.address, ""), "").await;
    assert_eq!(step(&platform, &put("ada", "gold")).await, "done");
    redis.stop();
    let all = json!([get("ada"), get("nobody"), put("grace", "silver"), get("grace"), { "remove": "grace" }]);
    let expected = json!(["value gold", "none", "done", "value silver", "done"]);
    assert_eq!(steps(&platform, &all).await, expected);
    assert!(asked(&platform, "failed").await >= 1);

    // What fails again and again is not asked any more.
    let opened = |line: &Value| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "open";
    eventually("it is left alone", async || {
        step(&platform, &get("nobody")).await;
        platform.host.log().iter().any(opened)
    })
    .await;
    let failed = asked(&platform, "failed").await;
    assert_eq!(
        steps(&platform, &all).await,
        json!(["value gold", "none", "done", "value silver", "done"])
    );
    assert_eq!(asked(&platform, "failed").await, failed);
    assert!(asked(&platform, "skipped").await >= 1);

    redis.begin().await;
    eventually("it is asked again", async || {
        step(&platform, &get("nobody")).await;
        asked(&platform, "miss").await >= 1
            && platform
                .host
                .log()
                .iter()
                .any(|line| line["message"] == "circuit breaker of an upstream changed" && line["state"] == "closed")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_costs_what_was_kept_there() {
    let mut redis = RedisServer::start().await;
    let platform = host(&upstream(redis.address, "timeout = \"500ms\""), "").await;
    assert_eq!(step(&platform, &put("ada", "gold")).await, "done");
    eventually("it is there", async || redis.keys().await.len() == 1).await;
    redis.stop();
    redis.begin().await;
    assert_eq!(step(&platform, &get("ada")).await, "value gold");
    eventually("it is used again", async || {
        assert_eq!(step(&platform, &put("grace", "silver")).await, "done");
        redis.keys().await.len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_hangs_makes_no_callout_late() {
    let redis = RedisServer::start().await;
    let platform = host(&upstream(redis.address, ""), "").await;
    assert_eq!(step(&platform, &get("nobody")).await, "none");
    redis.pause();
    // Each look takes its 50 ms at most, and after ten of them none.
    let looks: Vec<_> = (0..14).map(|number| get(&format!("nobody-{number}"))).collect();
    let callouts = asked_at_once(&platform, [json!(looks)]).await;
    assert_eq!(
        Platform::claims(&callouts[0].answer)["results"],
        json!(vec!["none"; 14])
    );
    assert_in_time("14 looks", &callouts, DEADLINE);
    assert_eq!(asked(&platform, "failed").await, 10);
    assert_eq!(asked(&platform, "skipped").await, 4);
    redis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_at_once_are_in_time_beside_one_that_hangs() {
    let redis = RedisServer::start().await;
    let platform = host(&upstream(redis.address, "timeout = \"500ms\""), "").await;
    assert_eq!(step(&platform, &get("nobody")).await, "none");
    redis.pause();
    let looks = (0..12).map(|number| json!([get(&format!("nobody-{number}"))]));
    let callouts = asked_at_once(&platform, looks).await;
    redis.resume();
    for callout in &callouts {
        assert_eq!(callout.status, 200, "{callout:?}");
    }
    assert_in_time("Redis hangs", &callouts, DEADLINE);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_refuses_or_talks_nonsense_is_none() {
    let redis = RedisServer::start().await;
    let wrong = upstream(redis.address, "").replace("password = \"file:redis\"\n", "");
    let endless = nonsense(b"*1\r\n$536870000\r\n", b"x").await;
    for (upstream, why) in [
        (wrong, "NOAUTH"),
        (upstream(redis.address, "database = 9999"), "refuses the login"),
        (
            upstream(nonsense(b"220 mail.example ESMTP\r\n", b"").await, ""),
            "Redis",
        ),
        (upstream(nonsense(b"", b"").await, ""), "Redis"),
        (upstream(endless, "timeout = \"500ms\""), ""),
    ] {
        let platform = host(&upstream, "").await;
        let results = steps(&platform, &json!([put("ada", "gold"), get("ada"), get("nobody")])).await;
        assert_eq!(results, json!(["done", "value gold", "none"]), "{why}");
        let told = |line: &Value| line["message"] == "redis failed" && line["why"].to_string().contains(why);
        platform.host.log_line(why, told).await;
        let log = Value::from(platform.host.log()).to_string();
        assert!(!log.contains(RedisServer::PASSWORD), "{log}");
    }
}

/// A server that says this to whoever connects, and goes on with `endless` or, where that is empty, closes.
async fn nonsense(says: &[u8], endless: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let says = says.to_owned();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let says = says.clone();
            tokio::spawn(async move {
                let _asked = stream.read_u8().await?;
                stream.write_all(&says).await?;
                while !endless.is_empty() {
                    stream.write_all(&endless.repeat(1 << 12)).await?;
                }
                // Read to the end, or what was said would be lost in a reset.
                stream.shutdown().await?;
                stream.read_to_end(&mut Vec::new()).await
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_answer_fills_no_memory() {
    // The login is answered well, and then comes an answer that is announced to be of half a gibibyte.
    let endless = nonsense(b"+OK\r\n$536870000\r\n", b"x").await;
    let platform = host(&upstream(endless, "timeout = \"500ms\""), "").await;
    assert_eq!(step(&platform, &get("ada")).await, "none");
    // Not because it took long, which would be the end of another limit.
    let told = |line: &Value| line["why"].to_string().contains("the connection broke off");
    platform.host.log_line("it is told", told).await;
    let kib = most_memory(&platform);
    assert!(kib < 300_000, "{kib} KiB");
}

/// The most memory that the host has had, in KiB.
fn most_memory(platform: &Platform) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", platform.host.pid())).unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    peak.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_many_values_fills_no_memory() {
    // Three bytes each, and many times that where they are kept.
    let many = nonsense(b"+OK\r\n*4000000\r\n", b"_\r\n").await;
    let platform = host(&upstream(many, "timeout = \"500ms\""), "").await;
    let before = most_memory(&platform);
    assert_eq!(step(&platform, &get("ada")).await, "none");
    let told = |line: &Value| line["why"].to_string().contains("the connection broke off");
    platform.host.log_line("it is told", told).await;
    let more = most_memory(&platform) - before;
    assert!(more < 60_000, "{more} KiB more");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_of_a_failure_is_cut() {
    let error = format!("-{}\r\n", "A".repeat(3_000));
    let wordy = nonsense(error.as_bytes(), b"").await;
    // Without a password, the first thing that is asked is for a value.
    let upstream = upstream(wordy, "timeout = \"500ms\"").replace("password = \"file:redis\"\n", "");
    let platform = host(&upstream, "").await;
    assert_eq!(step(&platform, &get("ada")).await, "none");
    let told = |line: &Value| line["why"].to_string().contains("the server answered AAAA");
    platform.host.log_line("it is told", told).await;
    let log = platform.host.log();
    let why = log.iter().find(|line| told(line)).unwrap()["why"].to_string();
    assert!(why.len() < 400, "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_removed_right_after_it_was_put_does_not_come_back() {
    let redis = RedisServer::start().await;
    let platform = host(&upstream(redis.address, "timeout = \"500ms\""), "").await;
    for _ in 0..20 {
        let both = json!([put("ada", "gold"), { "remove": "ada" }]);
        assert_eq!(steps(&platform, &both).await, json!(["done", "done"]));
        assert_eq!(redis.keys().await, Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_forbidden_addresses_lead_nowhere() {
    let trap = Trap::set().await;
    let port = trap.url("").rsplit(':').next().unwrap().to_owned();
    for name in ["localhost", "LocalHost"] {
        let toml = format!(
            "[upstreams.shared]\nkind = \"redis\"\nurl = \"redis://{name}:{port}\"\nplain_tcp = true\ntimeout = \"500ms\""
        );
        let platform = host(&toml, "").await;
        assert_eq!(step(&platform, &get("ada")).await, "none");
        let told = |line: &Value| line["why"].to_string().contains("egress refused");
        platform.host.log_line("the operator is told", told).await;
    }
    assert_eq!(trap.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_with_whom_it_should_be() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = RedisServer::start_with_tls(&authority.issue("localhost")).await;
    let url = format!("rediss://localhost:{}", redis.address.port());
    for (ca, expected) in [(authority.pem(), "miss"), (other.pem(), "failed")] {
        let upstream = upstream(redis.address, "timeout = \"500ms\"\nca = \"file:ca\"")
            .replace(&format!("redis://{}", redis.address), &url)
            .replace("plain_tcp = true\n", "");
        let stage = stage(LOOPBACK, &upstream, "cache = { redis = \"shared\" }").await;
        let secrets = stage.file("tenants/contoso/secrets");
        fs::create_dir(&secrets).unwrap();
        fs::write(secrets.join("redis"), RedisServer::PASSWORD).unwrap();
        fs::write(secrets.join("ca"), ca).unwrap();
        let platform = stage.start().await;
        eventually("it is asked", async || {
            assert_eq!(step(&platform, &get("ada")).await, "none");
            asked(&platform, expected).await >= 1
        })
        .await;
        let wrong = if expected == "miss" { "failed" } else { "miss" };
        assert_eq!(asked(&platform, wrong).await, 0);
    }
}
