//! How many callouts a tenant and an extension may be sent.

use claimsmith_tests::{Platform, eventually, world};
use serde_json::{Value, json};

use super::{metric, start};

fn extension(name: &str, members: &str) -> String {
    world::extension_toml(name, members, "misbehaving", "settings = { marker = \"m\" }")
}

/// Calls: the status, how long to wait, and the answer.
async fn call(platform: &Platform, extension: &str, token: &str) -> (u16, Option<u64>, Value) {
    let request = platform.http.post(platform.url_of("contoso", extension));
    let response = request.bearer_auth(token).json(&platform.body()).send().await.unwrap();
    let retry = response.headers().get("retry-after");
    let retry = retry.map(|seconds| seconds.to_str().unwrap().parse().unwrap());
    let status = response.status().as_u16();
    (status, retry, response.json().await.unwrap_or_default())
}

/// So many callouts at once after a quiet time, and then one in a long time.
fn limit(burst: u32) -> String {
    format!("rate_limit = {{ per_second = 1, burst = {burst} }}")
}

async fn answered(platform: &Platform, extension: &str, calls: usize) -> usize {
    let mut answered = 0;
    for _ in 0..calls {
        let (status, retry, answer) = call(platform, extension, &platform.token()).await;
        answered += usize::from(status == 200);
        if status != 200 {
            assert_eq!((status, &answer["code"]), (429, &json!("rate_limited")), "{answer}");
            assert_eq!(retry, Some(1), "{answer}");
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_sent_so_many_and_others_are_not_touched() {
    let extensions = [extension("few", &limit(3)), extension("many", "")];
    let platform = start("", &extensions).await;
    // Who is not known uses up nothing.
    for _ in 0..5 {
        assert_eq!(call(&platform, "few", "no.valid.token").await.0, 401);
    }
    let few = answered(&platform, "few", 10).await;
    assert!((3..10).contains(&few), "{few} of 10");
    assert_eq!(answered(&platform, "many", 10).await, 10);
    let labels = ["extension=\"few\"", "limit=\"extension\""];
    assert!(metric(&platform, "claimsmith_rate_limited_total", &labels).await >= 1);
    let labels = ["extension=\"few\"", "outcome=\"rate_limited\""];
    assert!(metric(&platform, "claimsmith_callouts_total", &labels).await >= 1);
    eventually("it is sent again", async || {
        call(&platform, "few", &platform.token()).await.0 == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_limit_is_of_all_its_extensions_and_outlives_a_reload() {
    let extensions = [limit(30) + "\n", extension("one", ""), extension("two", "")];
    let stage = claimsmith_tests::Stage::new().await;
    let directories = world::directories_toml(&stage.entra);
    let toml = |more: &str| [&extensions[0], more, &directories, &extensions[1], &extensions[2]].concat();
    let stage = stage.tenant("contoso", &toml(""));
    let other = directories.clone() + &extension("one", "");
    let platform = stage.tenant("fabrikam", &other).start().await;
    let sent = answered(&platform, "one", 20).await + answered(&platform, "two", 20).await;
    assert!((30..40).contains(&sent), "{sent} of 40");
    assert!(metric(&platform, "claimsmith_rate_limited_total", &["limit=\"tenant\""]).await >= 1);
    let url = platform.url_of("fabrikam", "one");
    for _ in 0..10 {
        assert_eq!(platform.callout_to(&url).await.0, 200, "another tenant's is its own");
    }
    let mark = platform.host.log_mark();
    std::fs::write(platform.tenant_file("tenant.toml"), toml("# a comment\n")).unwrap();
    let published = |line: &Value| line["message"] == "catalog published";
    platform.host.log_line_after(mark, "a reload", published).await;
    let sent = answered(&platform, "one", 20).await;
    assert!(sent < 20, "a reload fills nothing up: {sent} of 20");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_limits_hold_for_who_says_nothing() {
    let host = "rate_limits.extension = { per_second = 1, burst = 5 }";
    let extensions = [extension("usual", ""), extension("less", &limit(2))];
    let platform = start(host, &extensions).await;
    let usual = answered(&platform, "usual", 20).await;
    assert!((5..20).contains(&usual), "{usual} of 20");
    let less = answered(&platform, "less", 20).await;
    assert!((2..20).contains(&less), "{less} of 20");
}
