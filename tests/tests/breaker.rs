//! A plugin that keeps failing is not invoked for a while; what is answered meanwhile; and how it comes back.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;

use claimsmith_tests::{Platform, eventually, misbehaving};
use serde_json::{Value, json};

const HOST: &str = "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1s\"";

/// A binding whose claim is as large as the user's name: too large for Entra when a test wants it.
const ECHO: &str = r#"
[[extensions.claims.bindings]]
plugin = "attribute-map"
settings.rules = [{ claim = "name", from = "user.displayName" }]
"#;

/// Calls as a user whose name has so many characters: status, code and claims.
async fn call(platform: &Platform, name: usize) -> (u16, Value, Value) {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!("x".repeat(name));
    let response = platform.call(&platform.token(), &body).await;
    let (status, retry) = (
        response.status().as_u16(),
        response.headers().get("retry-after").cloned(),
    );
    let answer: Value = response.json().await.unwrap();
    assert_eq!(retry.is_some(), status == 503, "{answer}");
    (status, answer["code"].clone(), Platform::claims(&answer).clone())
}

async fn metric(platform: &Platform, name: &str, labels: &[&str]) -> Option<f64> {
    let url = format!("http://{}/metrics", platform.host.address);
    let text = platform.http.get(url).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| {
        let named = line.starts_with(&format!("{name}{{"));
        named && labels.iter().all(|label| line.contains(label))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

/// The state that `/status` tells of the first binding.
async fn status_of_binding(platform: &Platform) -> Value {
    let url = format!("http://{}/status", platform.host.address);
    let status: Value = platform.http.get(url).send().await.unwrap().json().await.unwrap();
    status["tenants"]["contoso"]["extensions"]["claims"]["bindings"][0].clone()
}

fn changed_to(state: &'static str) -> impl Fn(&Value) -> bool {
    move |line| line["message"] == "circuit breaker changed" && line["state"] == state
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_answers_in_a_row_open_it_and_a_good_one_after_a_while_closes_it() {
    let platform = Platform::start_with(HOST, "", ECHO).await;
    for _ in 0..3 {
        let (status, code, _) = call(&platform, 4_000).await;
        assert_eq!((status, code), (500, json!("claims_too_large")));
    }
    let line = platform.host.log_line("open", changed_to("open")).await;
    let expected = json!(["WARN", "contoso", "claims", "attribute-map", "0.1.0"]);
    let found = json!([
        line["level"],
        line["tenant"],
        line["extension"],
        line["plugin"],
        line["version"]
    ]);
    assert_eq!(found, expected, "{line}");
    let labels = ["tenant=\"contoso\"", "extension=\"claims\"", "plugin=\"attribute-map\""];
    assert_eq!(metric(&platform, "claimsmith_breaker_open", &labels).await, Some(1.0));
    let told = status_of_binding(&platform).await;
    let found = json!([told["plugin"], told["version"], told["breaker"]]);
    assert_eq!(found, json!(["attribute-map", "0.1.0", "open"]), "{told}");

    // Also good callouts are refused now, at once and with the time to come again.
    let (status, code, _) = call(&platform, 4).await;
    assert_eq!((status, code), (503, json!("plugin_quarantined")));
    let quarantined = [labels.as_slice(), &["outcome=\"plugin_quarantined\""]].concat();
    let refused = metric(&platform, "claimsmith_invocations_total", &quarantined).await;
    assert!(refused.is_some_and(|count| count >= 1.0));

    eventually("it is tried again", async || call(&platform, 4).await.0 == 200).await;
    platform.host.log_line("tried", changed_to("half_open")).await;
    platform.host.log_line("closed", changed_to("closed")).await;
    assert_eq!(metric(&platform, "claimsmith_breaker_open", &labels).await, Some(0.0));
    assert_eq!(status_of_binding(&platform).await["breaker"], "closed");
    assert_eq!(call(&platform, 4).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_between_good_answers_do_not_open_it() {
    let platform = Platform::start_with(HOST, "", ECHO).await;
    for _ in 0..5 {
        assert_eq!(call(&platform, 4_000).await.0, 500);
        assert_eq!(call(&platform, 4_000).await.0, 500);
        assert_eq!(call(&platform, 4).await.0, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_bad_answers_among_good_ones_open_it() {
    let host = "runtime.breaker.consecutive_failures = 1000\nruntime.breaker.failure_rate = 0.5
runtime.breaker.window = \"1s\"\nruntime.breaker.min_invocations = 6";
    let platform = Platform::start_with(host, "", ECHO).await;
    eventually("two of three are too many", async || {
        let mut codes = Vec::new();
        for name in [4_000, 4_000, 4] {
            codes.push(call(&platform, name).await.1);
        }
        codes.contains(&json!("plugin_quarantined"))
    })
    .await;
    platform.host.log_line("open", changed_to("open")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_runs_again_closes_it_whatever_it_says_of_others() {
    let binding = "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\nsettings = { mode = \"panic_or_reject\" }";
    let platform = Platform::start_with(HOST, "", binding).await;
    for _ in 0..3 {
        assert_eq!(call(&platform, 4).await.1, json!("plugin_trapped"));
    }
    platform.host.log_line("open", changed_to("open")).await;
    // Its settings stay the same; what it does is told by the user's name.
    eventually("it is tried again", async || {
        call(&platform, 9).await.1 == json!("plugin_rejected")
    })
    .await;
    platform.host.log_line("closed", changed_to("closed")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_says_of_others_does_not_open_it() {
    for mode in ["unavailable", "rejected"] {
        let binding =
            format!("[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\nsettings = {{ mode = \"{mode}\" }}");
        let platform = Platform::start_with(HOST, "", &binding).await;
        for _ in 0..6 {
            assert_eq!(call(&platform, 4).await.1, json!(format!("plugin_{mode}")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_binding_is_left_out_or_replaced_by_claims_where_its_policy_says_so() {
    for (policy, expected) in [
        ("on_failure = \"omit\"", json!({"name": "xxxx"})),
        (
            "on_failure = \"default\"\ndefault_claims = { tier = \"none\", benefits = [] }",
            json!({"name": "xxxx", "benefits": [], "tier": "none"}),
        ),
    ] {
        let bindings = format!(
            "{ECHO}\n[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\nsettings = {{ mode = \"panic\" }}\n{policy}"
        );
        let platform = Platform::start_with(HOST, "", &bindings).await;
        // Whether it was invoked and failed, or was not invoked: the answer is the same.
        for _ in 0..6 {
            let (status, _, claims) = call(&platform, 4).await;
            assert_eq!((status, &claims), (200, &expected), "{policy}");
        }
        platform.host.log_line("open", changed_to("open")).await;
        let noted = |outcome: &str| {
            let is = |line: &&Value| line["outcome"] == outcome && line["message"] != "callout answered";
            platform.host.log().iter().filter(is).count()
        };
        eventually("each failure is told", async || {
            (noted("plugin_trapped"), noted("plugin_quarantined")) == (3, 3)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_before_serves_while_the_new_one_does_not() {
    let binding = |settings: &str| {
        format!(
            "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"\nfallback_to_previous = true\nsettings = {{ {settings} }}"
        )
    };
    let good = binding("marker = \"good\"");
    let platform = Platform::start_with(HOST, "", &good).await;
    assert_eq!(call(&platform, 4).await.2["build"], "default");

    fs::copy(misbehaving("bad"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    let toml = platform.tenant_toml(&binding("mode = \"panic\""));
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    eventually("the bad version is used", async || call(&platform, 4).await.0 == 500).await;
    eventually("the version before serves", async || {
        let (status, _, claims) = call(&platform, 4).await;
        status == 200 && claims["build"] == "default" && claims["marker"] == "good"
    })
    .await;

    // The same version with other settings begins anew; its history is of the version, so the fallback stays.
    let toml = platform.tenant_toml(&binding("marker = \"mended\""));
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    eventually("the mended settings are used", async || {
        let (status, _, claims) = call(&platform, 4).await;
        status == 200 && claims["build"] == "bad" && claims["marker"] == "mended"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_changes_nothing_of_it_does_not_close_it() {
    let platform = Platform::start_with(
        "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"",
        "",
        ECHO,
    )
    .await;
    for _ in 0..3 {
        assert_eq!(call(&platform, 4_000).await.0, 500);
    }
    assert_eq!(call(&platform, 4).await.0, 503);
    let mark = platform.host.log_mark();
    let toml = platform.tenant_toml(&ECHO.replace("[[extensions", "# a comment\n[[extensions"));
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    let published = |line: &Value| line["message"] == "catalog published";
    platform.host.log_line_after(mark, "a reload", published).await;
    assert_eq!(call(&platform, 4).await.1, json!("plugin_quarantined"));

    let toml = platform.tenant_toml(&ECHO.replace("\"name\"", "\"other\""));
    fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    eventually("other settings begin anew", async || call(&platform, 4).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metric_tells_of_what_serves_and_of_nothing_else() {
    let host = "runtime.breaker.consecutive_failures = 3\nruntime.breaker.open_for = \"1m\"";
    let platform = Platform::start_with(host, "", ECHO).await;
    let open = async || metric(&platform, "claimsmith_breaker_open", &["plugin=\"attribute-map\""]).await;
    assert_eq!(open().await, Some(0.0));
    for _ in 0..3 {
        assert_eq!(call(&platform, 4_000).await.0, 500);
    }
    assert_eq!(open().await, Some(1.0));
    let write = async |bindings: &str, is_done: fn(&Value) -> bool| {
        let mark = platform.host.log_mark();
        fs::write(platform.tenant_file("tenant.toml"), platform.tenant_toml(bindings)).unwrap();
        platform.host.log_line_after(mark, "a reload", is_done).await;
    };

    // An application's breaker is another one, with the same labels.
    let rules = "settings.attribute-map.rules = [{ claim = \"other\", from = \"user.displayName\" }]";
    let application = format!(
        "{ECHO}\n[[extensions.claims.applications]]\nclient_ids = [\"0d1e0001-0000-4000-8000-0000000000f1\"]\n{rules}"
    );
    write(&application, |line| line["message"] == "catalog published").await;
    assert_eq!(open().await, Some(1.0));

    // A load that fails has made a breaker too.
    let other = ECHO.replace("\"name\"", "\"other\"");
    let mistake = format!("{other}\n[[extensions.claims.bindings]]\nplugin = \"nowhere\"");
    write(&mistake, |line| line["keeps_serving"] == true).await;
    assert_eq!(open().await, Some(1.0));

    let mark = platform.host.log_mark();
    let gone = platform.directory.path().join("gone");
    fs::rename(platform.tenant_file(""), gone).unwrap();
    let removed = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|told| told.starts_with("tenant removed"))
    };
    platform.host.log_line_after(mark, "it is gone", removed).await;
    assert_eq!(open().await, None);
}
