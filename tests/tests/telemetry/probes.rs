use claimsmith_tests::audit::records;
use claimsmith_tests::{Platform, Upstream, eventually};
use serde_json::{Value, json};

use crate::{CLAIMS, ECHO, misbehaving, with_upstream};

const OFTEN: &str = "probe.interval = \"1s\"";

async fn probes(platform: &Platform, outcome: &str) -> f64 {
    let outcome = format!("outcome=\"{outcome}\"");
    let labels = [CLAIMS.as_slice(), &[outcome.as_str()]].concat();
    platform.metric("claimsmith_probes_total", &labels).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_takes_the_whole_way_and_counts_apart() {
    let platform = Platform::start_with(OFTEN, "probe = {}", ECHO).await;
    eventually("probes are answered", async || {
        probes(&platform, "answered").await >= 2.0
    })
    .await;
    assert_eq!(platform.metric("claimsmith_probe_success", &CLAIMS).await, 1.0);
    for name in [
        "claimsmith_callouts_total",
        "claimsmith_invocations_total",
        "claimsmith_token_failures_total",
    ] {
        assert_eq!(platform.metric(name, &CLAIMS).await, 0.0, "{name}");
    }
    let status = platform.status().await;
    assert_eq!(status["last_callout"], Value::Null);
    assert!(status["probes"]["answered"].as_u64() >= Some(2), "{status}");
    let line = platform
        .host
        .log_line("marked", |line| line["span"]["probe"] == true)
        .await;
    assert_eq!(line["span"]["tenant"], "contoso");

    // Its records are marked; a person's is not.
    assert_eq!(platform.callout().await.0, 200);
    let is_probe = |record: &Value| record["key_id"] == "claimsmith-probe" && record["token_id"] == "claimsmith-probe";
    eventually("records are written", async || {
        let records = records(&platform, &[]).await;
        records.iter().any(is_probe) && !records.iter().all(is_probe)
    })
    .await;
    let of_people = records(&platform, &["--without-probes"]).await;
    assert!(
        !of_people.is_empty() && !of_people.iter().any(is_probe),
        "{of_people:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_probed_unasked() {
    let platform = Platform::start_with(OFTEN, "", ECHO).await;
    assert_eq!(platform.callout().await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(platform.metric("claimsmith_probes_total", &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_reaches_no_upstream_unless_that_is_allowed() {
    let server = Upstream::start().await;
    let platform = with_upstream(OFTEN, &server, "probe = {}", "").await;
    eventually("it is probed", async || {
        platform.metric("claimsmith_probes_total", &CLAIMS).await >= 2.0
    })
    .await;
    assert_eq!(server.connections(), 0);
    drop(platform);
    let platform = with_upstream(OFTEN, &server, "probe = { upstreams = true }", "").await;
    eventually("the upstream is called", async || server.connections() > 0).await;
    drop(platform);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_probe_shows_and_opens_no_breaker() {
    let host = format!("{OFTEN}\nruntime.breaker.consecutive_failures = 1");
    let platform = Platform::start_with(&host, "probe = {}", &misbehaving("panic")).await;
    eventually("it fails again and again", async || {
        probes(&platform, "plugin_trapped").await >= 2.0
    })
    .await;
    assert_eq!(platform.metric("claimsmith_probe_success", &CLAIMS).await, 0.0);
    assert_eq!(platform.metric("claimsmith_breaker_open", &CLAIMS).await, 0.0);
    assert_eq!(platform.callout().await.1["code"], "plugin_trapped");
    eventually("it goes where callouts go", async || {
        probes(&platform, "plugin_quarantined").await >= 1.0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_probe_shows_although_a_policy_covers_people() {
    let host = format!("{OFTEN}\nrate_limits.extension = {{ per_second = 1, burst = 1 }}");
    let members = "probe = {}\nrepeated_callouts = \"join\"";
    let binding = misbehaving("panic") + "on_failure = \"omit\"\n";
    let platform = Platform::start_with(&host, members, &binding).await;
    eventually("it fails again and again", async || {
        probes(&platform, "plugin_trapped").await >= 2.0
    })
    .await;
    let covered = platform.metric("claimsmith_failure_policy_total", &CLAIMS).await;
    assert_eq!((covered, probes(&platform, "rate_limited").await), (0.0, 0.0));
    // What is let through in a second has not been used up.
    assert_eq!(platform.callout().await.0, 200);
    assert_eq!(platform.metric("claimsmith_failure_policy_total", &CLAIMS).await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_cannot_send_a_probe() {
    let platform = Platform::start_with(OFTEN, "probe = {}", ECHO).await;
    eventually("probes are answered", async || {
        probes(&platform, "answered").await >= 1.0
    })
    .await;
    // What a probe's token says of itself, signed with a key of our own: the host knows neither issuer nor key.
    let key = openssl_key();
    let claims = json!({
        "iss": "https://claimsmith.invalid/probe", "aud": claimsmith_tests::world::RESOURCE,
        "tid": claimsmith_tests::world::DIRECTORY, "ver": "2.0", "azp": "99045fe1-7639-4a75-9d4a-577b6ca3810f",
        "nbf": 1_700_000_000_u64, "exp": 4_000_000_000_u64, "uti": "claimsmith-probe",
    });
    let header =
        josekit::jws::JwsHeader::from_bytes(br#"{"alg":"ES256","kid":"claimsmith-probe","typ":"JWT"}"#).unwrap();
    let payload = josekit::jwt::JwtPayload::from_map(claims.as_object().unwrap().clone()).unwrap();
    let signer = josekit::jws::ES256.signer_from_pem(key).unwrap();
    let token = josekit::jwt::encode_with_signer(&payload, &header, &signer).unwrap();
    let response = platform.call(&token, &platform.body()).await;
    assert_eq!(response.status(), 401);
}

fn openssl_key() -> Vec<u8> {
    josekit::jws::ES256.generate_key_pair().unwrap().to_pem_private_key()
}
