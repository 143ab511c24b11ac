//! Every policy with every failure, and every policy with every event.

use std::collections::BTreeMap;

use claimsmith_tests::audit::{REQUIRED, records};
use claimsmith_tests::{LogLine, Platform, Stage, cases, eventually, world};
use serde_json::{Value, json};

use super::{metric, send, start, told};

const POLICIES: [(&str, &str); 4] = [
    ("fail", ""),
    ("omit", ""),
    ("last_known_good", ""),
    (
        "default",
        "default_claims = { tier = \"none\", benefits = [\"a\", \"b\"] }",
    ),
];

/// Limits that failures reach soon, and a breaker that stays closed.
const HOST: &str = "runtime.breaker.consecutive_failures = 1000000\nruntime.breaker.min_invocations = 1000000";
const LIMITS: &str = "limits = { host_calls = 1000 }";

fn extension(policy: &str, more: &str, members: &str, limits: &str) -> String {
    let binding =
        format!("settings = {{ mode = \"as_named\", marker = \"good\" }}\non_failure = \"{policy}\"\n{more}\n{limits}");
    let name = policy.replace('_', "-");
    world::extension_toml(&name, members, "misbehaving", &binding)
}

fn extensions(members: &str, limits: &str) -> Vec<String> {
    let policies = POLICIES.iter();
    policies
        .map(|(policy, more)| extension(policy, more, members, limits))
        .collect()
}

/// What a failure with this outcome is answered under a policy: the status and either the code or the claims.
fn expected(policy: &str, covered: bool, outcome: &str, status: u16) -> (u16, Value) {
    match policy {
        _ if !covered => (status, json!(outcome)),
        "omit" => (200, json!({})),
        "last_known_good" => (200, json!({"marker": "good", "build": "default"})),
        "default" => (200, json!({"benefits": ["a", "b"], "tier": "none"})),
        _ => (status, json!(outcome)),
    }
}

fn found(answer: &(u16, Value)) -> (u16, Value) {
    let (status, answer) = answer;
    match status {
        200 => (200, Platform::claims(answer).clone()),
        _ => (*status, answer["code"].clone()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_under_every_policy_is_answered_as_the_policy_says() {
    let platform = start(
        &format!("{HOST}\n{REQUIRED}"),
        &extensions("deadline = \"700ms\"", LIMITS),
    )
    .await;
    let mut covered_of: BTreeMap<&str, u64> = BTreeMap::new();
    for (policy, _) in POLICIES {
        let name = policy.replace('_', "-");
        // The user's last success.
        let good = send(&platform, &name, &told(&platform, "Ada Byron")).await;
        assert_eq!(good.0, 200, "{policy}: {good:?}");
        for case in cases("failure-policy/failures.json") {
            let (outcome, mode) = (case["outcome"].as_str().unwrap(), case["mode"].as_str().unwrap());
            let covered = case["covered"].as_bool().unwrap();
            let status = if outcome == "deadline_exceeded" { 504 } else { 500 };
            let body = told(&platform, mode);
            let answer = send(&platform, &name, &body).await;
            let expected = expected(policy, covered, outcome, status);
            assert_eq!(found(&answer), expected, "{outcome} under {policy}: {}", answer.1);

            let correlation_id = body["data"]["authenticationContext"]["correlationId"].as_str().unwrap();
            let records = records(&platform, &["--correlation-id", correlation_id]).await;
            let by_policy = covered && policy != "fail";
            let code = if by_policy { "answered" } else { outcome };
            assert_eq!(records[0]["outcome"], code, "{}", records[0]);
            let used = &records[0]["invocations"][0];
            if by_policy {
                *covered_of.entry(policy).or_default() += 1;
                let told = (&used["outcome"], &used["failure_policy"]);
                assert_eq!(told, (&json!(outcome), &json!(policy)), "{}", records[0]);
                let line =
                    |line: &LogLine| line["outcome"] == outcome && line["policy"] == policy && line["level"] == "WARN";
                platform.host.log_line("what the policy covered", line).await;
            } else {
                assert!(used.get("failure_policy").is_none(), "{}", records[0]);
            }
        }
    }
    for (policy, count) in covered_of {
        let label = format!("policy=\"{policy}\"");
        let labels = ["tenant=\"contoso\"", "plugin=\"misbehaving\"", &*label];
        let counted = metric(&platform, "claimsmith_failure_policy_total", &labels).await;
        assert_eq!(counted, count, "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_out_of_service_is_covered() {
    let host = "runtime.breaker.consecutive_failures = 1\nruntime.breaker.open_for = \"5m\"";
    let platform = start(host, &extensions("", "")).await;
    for (policy, _) in POLICIES {
        let name = policy.replace('_', "-");
        assert_eq!(send(&platform, &name, &told(&platform, "Ada")).await.0, 200);
        // The first failure opens it.
        let trapped = send(&platform, &name, &told(&platform, "panic")).await;
        assert_eq!(
            found(&trapped),
            expected(policy, true, "plugin_trapped", 500),
            "{policy}"
        );
        let out = send(&platform, &name, &told(&platform, "Ada")).await;
        assert_eq!(
            found(&out),
            expected(policy, true, "plugin_quarantined", 503),
            "{policy}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_are_taken_are_covered() {
    let tenants_places = "runtime.max_concurrent_invocations_per_tenant = 2";
    for (host, limits) in [("", "limits = { concurrency = 2 }"), (tenants_places, "")] {
        let platform = start(&format!("{HOST}\n{host}"), &extensions("deadline = \"2s\"", limits)).await;
        for (policy, _) in POLICIES {
            let name = policy.replace('_', "-");
            assert_eq!(send(&platform, &name, &told(&platform, "Ada")).await.0, 200);
            let sleeps = [told(&platform, "sleep"), told(&platform, "sleep")];
            let sleep = |body| send(&platform, &name, body);
            let (slept, _, answer) = tokio::join!(sleep(&sleeps[0]), sleep(&sleeps[1]), async {
                eventually("the places are taken", async || {
                    metric(&platform, "claimsmith_live_instances", &[]).await > 1
                })
                .await;
                send(&platform, &name, &told(&platform, "Ada")).await
            });
            assert_eq!(
                found(&slept),
                expected(policy, true, "deadline_exceeded", 504),
                "{policy}"
            );
            assert_eq!(found(&answer), expected(policy, true, "throttled", 429), "{policy}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_whose_places_are_all_taken_is_covered() {
    let places = "runtime.max_concurrent_invocations = 2\nruntime.max_concurrent_invocations_per_tenant = 2";
    let stage = Stage::new().await.host_config(&format!("{HOST}\n{places}"));
    let directories = world::directories_toml(&stage.entra);
    let of = |extensions: &[String]| [&*directories, &extensions.concat()].concat();
    let sleeps = extension("fail", "", "deadline = \"2s\"", "");
    let stage = stage.tenant("neighbour", &of(&[sleeps]));
    let platform = stage
        .tenant("contoso", &of(&extensions("deadline = \"2s\"", "")))
        .start()
        .await;
    let url = platform.url_of("neighbour", "fail");
    for (policy, _) in POLICIES {
        let name = policy.replace('_', "-");
        assert_eq!(send(&platform, &name, &told(&platform, "Ada")).await.0, 200);
        let sleep = async || {
            let request = platform.http.post(&url).bearer_auth(platform.token());
            request.json(&told(&platform, "sleep")).send().await.unwrap().status()
        };
        let (_, _, answer) = tokio::join!(sleep(), sleep(), async {
            eventually("the places are taken", async || {
                metric(&platform, "claimsmith_live_instances", &[]).await > 1
            })
            .await;
            send(&platform, &name, &told(&platform, "Ada")).await
        });
        assert_eq!(found(&answer), expected(policy, true, "overloaded", 503), "{policy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_up_goes_on_without_a_plugin_that_may_be_left_out() {
    for (event, settings) in [
        ("attributeCollectionStart", "action = \"panic\""),
        ("attributeCollectionStart", "action = \"block\", message = \"\""),
        (
            "attributeCollectionStart",
            "action = \"prefill\", values = { no_such_attribute = \"x\" }",
        ),
        ("attributeCollectionSubmit", "action = \"unavailable\""),
        (
            "attributeCollectionSubmit",
            "action = \"validation_error\", message = \" \"",
        ),
    ] {
        let extension = |name: &str, policy: &str, settings: &str| {
            let binding = format!("settings = {{ {settings} }}\non_failure = \"{policy}\"");
            let usual = world::extension_toml(name, "", "every-event", &binding);
            usual.replace("tokenIssuanceStart", event)
        };
        let rejects = "action = \"rejected\"";
        let extensions = [
            extension("omit", "omit", settings),
            extension("fail", "fail", settings),
            extension("rejects", "omit", rejects),
        ];
        let platform = start(HOST, &extensions).await;
        let file = format!("{}/cases/requests/{event}.json", env!("CARGO_MANIFEST_DIR"));
        let body: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let directory = platform.entra.directory(world::EXTERNAL_DIRECTORY).unwrap();
        let token = directory.callout_bearer(world::EXTERNAL_EXTENSION).unwrap();
        let call = async |name: &str| -> (u16, Value) {
            let request = platform.http.post(platform.url_of("contoso", name)).bearer_auth(&token);
            let response = request.json(&body).send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        };
        let (status, answer) = call("omit").await;
        assert_eq!(status, 200, "{event} {settings}: {answer}");
        let action = answer["data"]["actions"][0]["@odata.type"].as_str().unwrap();
        assert!(
            action.ends_with("continueWithDefaultBehavior"),
            "{event} {settings}: {answer}"
        );
        assert_eq!(call("fail").await.0, 500, "{event} {settings}");
        let (status, answer) = call("rejects").await;
        assert_eq!((status, &answer["code"]), (500, &json!("plugin_rejected")), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_has_the_policies_that_it_can_answer_with() {
    let mut extensions = Vec::new();
    for case in cases("failure-policy/events.json") {
        let event = case["event"].as_str().unwrap().to_owned();
        for (policy, more) in POLICIES {
            let name = format!("{event}-{policy}").to_lowercase();
            let binding = format!("on_failure = \"{policy}\"\n{more}");
            let toml = world::extension_toml(&name, "", "every-event", &binding).replace("tokenIssuanceStart", &event);
            let allowed = case["allowed"].as_array().unwrap().contains(&json!(policy));
            extensions.push((name, toml, allowed));
        }
    }
    let toml: Vec<_> = extensions.iter().map(|(_, toml, _)| toml.clone()).collect();
    let good = world::extension_toml("good", "", "every-event", "");
    let platform = start("", &[good]).await;
    let mark = platform.host.log_mark();
    let toml = [world::directories_toml(&platform.entra), toml.concat()].concat();
    std::fs::write(platform.tenant_file("tenant.toml"), &toml).unwrap();
    let is_error = |line: &LogLine| line["level"] == "ERROR" && line["tenant"] == "contoso";
    platform
        .host
        .log_line_after(mark, "the tenant's errors", is_error)
        .await;
    // All of them are told together.
    eventually("the last error", async || {
        let log = platform.host.log_after(mark);
        log.iter().any(|line| {
            line["message"]
                .to_string()
                .contains("verifiedidclaimvalidation-default")
        })
    })
    .await;
    let log = platform.host.log_after(mark);
    for (name, _, allowed) in &extensions {
        let refused = log.iter().filter(|line| is_error(line)).find(|line| {
            let message = line["message"].as_str().unwrap();
            message.contains(&format!("extension `{name}`")) && message.contains("expected \"fail\"")
        });
        assert_eq!(refused.is_none(), *allowed, "{name}: {refused:?}");
        let Some(refused) = refused else { continue };
        // The line of `on_failure`.
        let line = toml
            .lines()
            .position(|line| line == format!("[extensions.{name}]"))
            .unwrap();
        let policy = toml
            .lines()
            .skip(line)
            .position(|line| line.starts_with("on_failure"))
            .unwrap();
        let place = format!("tenant.toml:{}:", line + policy + 1);
        assert!(
            refused["message"].as_str().unwrap().contains(&place),
            "{place} {refused}"
        );
    }
}
