//! Several bindings in one extension: how their claims become one answer, and how they share the time.

use claimsmith_tests::audit::records;
use claimsmith_tests::{Platform, cases, eventually, world};
use serde_json::{Value, json};

use super::{metric, send, start, told};

/// An extension with these members and bindings (plugin and TOML).
fn extension(name: &str, members: &str, bindings: &[(&str, String)]) -> String {
    let bindings = bindings
        .iter()
        .map(|(plugin, binding)| format!("[[extensions.{name}.bindings]]\nplugin = \"{plugin}\"\n{binding}\n"));
    format!(
        "[extensions.{name}]\nevent = \"tokenIssuanceStart\"\naudiences = {}\n{members}\n{}",
        world::audiences_toml(),
        bindings.collect::<String>()
    )
}

/// A binding that answers these claims.
fn answering(claims: &Value) -> (&'static str, String) {
    let settings = toml::to_string(&json!({ "settings": { "values": claims } })).unwrap();
    let inline = settings.replace("[settings.values]\n", "settings.values = { ");
    let inline = inline.trim_end().replace('\n', ", ");
    ("every-event", format!("{inline} }}"))
}

fn misbehaving(mode: &str, policy: &str) -> (&'static str, String) {
    let binding = format!("settings = {{ mode = \"{mode}\", marker = \"m\" }}\non_failure = \"{policy}\"");
    ("misbehaving", binding)
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_several_bindings_become_one_answer_by_rules() {
    let cases = cases("failure-policy/merge.json");
    let mut extensions = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        for order in ["in_order", "in_parallel"] {
            let bindings = case["bindings"].as_array().unwrap();
            let bindings: Vec<_> = bindings.iter().map(answering).collect();
            let members = format!(
                "invoke = \"{order}\"\ndeadline = \"2s\"\n{}",
                case["extension"].as_str().unwrap()
            );
            extensions.push(extension(&format!("{order}-{number}"), &members, &bindings));
        }
    }
    let platform = start("runtime.limits.cpu = \"1s\"", &extensions).await;
    for (number, case) in cases.iter().enumerate() {
        for order in ["in_order", "in_parallel"] {
            let body = platform.body();
            let (status, answer) = send(&platform, &format!("{order}-{number}"), &body).await;
            if case["code"].is_null() {
                assert_eq!(
                    (status, Platform::claims(&answer)),
                    (200, &case["claims"]),
                    "{case} {order}: {answer}"
                );
                continue;
            }
            assert_eq!(
                (status, &answer["code"]),
                (500, &case["code"]),
                "{case} {order}: {answer}"
            );
            assert_eq!(answer["errors"], json!([]), "what plugins said is in no answer");
            let line = platform.host.line_of_callout(&body).await;
            for expected in case["reason"].as_array().unwrap() {
                let reason = line["reason"].as_str().unwrap();
                assert!(reason.contains(expected.as_str().unwrap()), "{case}: {reason}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_claim_is_not_required_of_an_application_that_may_not_have_it() {
    let client = "0d1e0001-0000-4000-8000-0000000000a1";
    let applications = format!("applications = [{{ client_ids = [\"{client}\"], claims = [\"a\"] }}]");
    let members = format!("required_claims = [\"a\", \"b\"]\n{applications}");
    let bindings = [answering(&json!({"a": "1"}))];
    let platform = start("", &[extension("one", &members, &bindings)]).await;
    let mut body = platform.body();
    assert_eq!(send(&platform, "one", &body).await.0, 200);
    let other = json!("0d1e0001-0000-4000-8000-0000000000a9");
    body["data"]["authenticationContext"]["clientServicePrincipal"]["appId"] = other;
    let (status, answer) = send(&platform, "one", &body).await;
    assert_eq!(
        (status, &answer["code"]),
        (500, &json!("required_claim_missing")),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_in_order_share_the_time_and_in_parallel_have_all_of_it() {
    let bindings = [
        misbehaving("sleep", "omit"),
        misbehaving("sleep", "omit"),
        answering(&json!({"a": "1"})),
    ];
    let of = |order: &str| extension(order, &format!("invoke = \"{order}\"\ndeadline = \"2s\""), &bindings);
    let platform = start("", &[of("in_order"), of("in_parallel")]).await;
    // In order: a third of the time, then half of the rest. In parallel: all of it, at the same time.
    for (order, least, most) in [("in_order", 400_000, 1_400_000), ("in_parallel", 1_500_000, 2_500_000)] {
        let body = platform.body();
        let (status, answer) = send(&platform, order, &body).await;
        assert_eq!(
            (status, Platform::claims(&answer)),
            (200, &json!({"a": "1"})),
            "{order}: {answer}"
        );
        let correlation_id = body["data"]["authenticationContext"]["correlationId"].as_str().unwrap();
        let filters = ["--correlation-id", correlation_id];
        eventually("the record is written", async || {
            records(&platform, &filters).await.len() == 1
        })
        .await;
        let records = records(&platform, &filters).await;
        let invocations = records[0]["invocations"].as_array().unwrap();
        let slept = invocations.iter().filter(|used| used["outcome"] == "deadline_exceeded");
        let slept: Vec<_> = slept.map(|used| used["elapsed_us"].as_u64().unwrap()).collect();
        assert_eq!((slept.len(), invocations.len()), (2, 3), "{}", records[0]);
        assert!(slept.iter().all(|us| (least..most).contains(us)), "{order}: {slept:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_that_fails_in_parallel_ends_the_others_with_the_callout() {
    let bindings = [misbehaving("sleep", "fail"), misbehaving("panic", "fail")];
    let platform = start(
        "",
        &[extension(
            "both",
            "invoke = \"in_parallel\"\ndeadline = \"2s\"",
            &bindings,
        )],
    )
    .await;
    let (status, answer) = send(&platform, "both", &platform.body()).await;
    assert_eq!((status, &answer["code"]), (500, &json!("plugin_trapped")), "{answer}");
    eventually("no invocation is left", async || {
        metric(&platform, "claimsmith_live_instances", &[]).await == 0
    })
    .await;
    // Had the other one been left behind, it would have gone on to its deadline.
    let labels = ["plugin=\"misbehaving\"", "outcome=\"deadline_exceeded\""];
    let late = metric(&platform, "claimsmith_invocations_total", &labels).await;
    assert_eq!(late, 0);
    let labels = ["plugin=\"misbehaving\"", "outcome=\"plugin_cut_short\""];
    let cut_short = metric(&platform, "claimsmith_invocations_total", &labels).await;
    assert_eq!(cut_short, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_is_blamed_for_its_own_answer_and_none_for_a_conflict() {
    let tier = || answering(&json!({"tier": "gold"}));
    let both = [tier(), tier()];
    let large = [tier(), misbehaving("too_many_bytes", "fail")];
    let extensions = [extension("conflict", "", &both), extension("large", "", &large)];
    let platform = start("runtime.breaker.consecutive_failures = 3", &extensions).await;
    for _ in 0..5 {
        let (_, answer) = send(&platform, "conflict", &platform.body()).await;
        assert_eq!(answer["code"], "claim_conflict");
    }
    for _ in 0..3 {
        let (_, answer) = send(&platform, "large", &told(&platform, "Ada")).await;
        assert_eq!(answer["code"], "claims_too_large");
    }
    let (_, answer) = send(&platform, "large", &told(&platform, "Ada")).await;
    assert_eq!(answer["code"], "plugin_quarantined");
    let open = |plugin: &'static str| {
        let platform = &platform;
        async move { metric(platform, "claimsmith_breaker_open", &[plugin]).await }
    };
    assert!(open("plugin=\"misbehaving\"").await > 0);
    assert!(open("plugin=\"every-event\"").await == 0);
}
