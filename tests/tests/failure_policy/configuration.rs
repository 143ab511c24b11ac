//! Mistakes in what this is about: each is told with its line.

use claimsmith_tests::{Host, LogLine, Stage, cases, world};
use serde_json::Value;

const HOST: &str = "rate_limits.tenant = { per_second = 100 }\nrate_limits.extension = { per_second = 50, burst = 80 }";

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_of_a_tenant_is_told_with_its_line() {
    let stage = Stage::new().await.host_config(HOST);
    let good = world::directories_toml(&stage.entra)
        + &world::extension_toml("claims", "", "misbehaving", "settings = { marker = \"m\" }");
    let cases = cases("failure-policy/mistakes.json");
    let mut stage = stage.tenant("a-good-one", &good);
    for (number, case) in cases.iter().enumerate() {
        let (replaced, with) = (case["replace"].as_str().unwrap(), case["with"].as_str().unwrap());
        assert!(good.contains(replaced), "{case}");
        stage = stage.tenant(&format!("bad-{number}"), &good.replacen(replaced, with, 1));
    }
    let platform = stage.start().await;
    let log = platform.host.log();
    for (number, case) in cases.iter().enumerate() {
        let tenant = format!("bad-{number}");
        let of_tenant = |line: &&LogLine| line["level"] == "ERROR" && line["tenant"] == *tenant;
        let messages: Vec<_> = log
            .iter()
            .filter(of_tenant)
            .map(|line| line["message"].to_string())
            .collect();
        let all = messages.concat();
        assert!(
            all.contains(&format!("tenants/{tenant}/tenant.toml:")),
            "{case}: {messages:?}"
        );
        for expected in case["error"].as_array().unwrap() {
            let expected = expected.as_str().unwrap();
            let quoted = Value::from(expected).to_string();
            assert!(
                all.contains(quoted.trim_matches('"')),
                "{case}: no {expected:?} in {messages:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_of_the_operator_keeps_the_host_from_starting() {
    for (config, expected) in [
        (
            "rate_limits.tenant = { per_second = 1000001 }",
            "1000000 callouts at most",
        ),
        ("rate_limits.tenants = { per_second = 1 }", "did you mean `tenant`"),
        ("repeated_callouts.keep_for = \"1s\"", "must be between 2 s and 5 min"),
        ("repeated_callouts.max_bytes = 1000", "one answer must fit"),
        ("last_known_good.max_entries = 0", "must be at least 1"),
        ("last_known_good.max_bytes = 1000", "must be at least 65536"),
    ] {
        let directory = Stage::new().await.host_config(config).directory;
        let (status, printed) = Host::fail_to_start(directory.path()).await;
        assert!(!status.success() && printed.contains(expected), "{config}: {printed}");
    }
}
