//! What is wrong with mail upstreams is found when the tenant is loaded, and told with its line.

use claimsmith_tests::{Stage, cases, eventually};
use serde_json::Value;

use super::{prepare, tenant};

/// An upstream in which nothing is wrong.
const GOOD: [&str; 3] = [
    "kind = \"mail\"",
    "url = \"smtps://smtp.contoso.example\"",
    "from = \"no-reply@contoso.example\"",
];

/// The errors of a tenant with these upstreams, when there are so many.
async fn errors(upstreams: &str, least: usize) -> (Vec<String>, String) {
    let stage = Stage::new()
        .await
        .host_config("egress.networks.other = [\"10.0.0.0/8\"]");
    let toml = tenant(&stage, upstreams, "");
    let stage = stage.tenant("contoso", &toml);
    let secrets = [
        ("empty", ""),
        ("smtp", "planted-password"),
        ("ca", "planted, no certificate"),
    ];
    prepare(&stage, &secrets);
    let platform = stage.listen("json").await;
    let is_error = |line: &Value| line["level"] == "ERROR" && line["message"].to_string().contains("tenant.toml");
    let errors = || {
        let log = platform.host.log().into_iter().filter(is_error);
        log.map(|line| line["message"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    eventually("all are told", async || errors().len() >= least).await;
    (errors(), toml)
}

/// An upstream with these lines, in place of its own with the same key. The last of them is wrong.
fn upstream(name: &str, lines: &[Value]) -> String {
    let changed: Vec<_> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    let key = |line: &str| line.split(" = ").next().unwrap().to_owned();
    let kept = GOOD.iter().copied();
    let kept = kept.filter(|line| !changed.iter().any(|other| key(line) == key(other)));
    let lines: Vec<_> = kept.chain(changed.iter().copied()).collect();
    format!("{name}\n{}\n", lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_told_with_their_line() {
    let cases = cases("configuration/mail.json");
    let name = |index: usize| format!("[upstreams.upstream-{index}]");
    let upstreams = cases.iter().enumerate();
    let upstreams = upstreams.map(|(index, case)| upstream(&name(index), case["lines"].as_array().unwrap()));
    let upstreams =
        upstreams.collect::<String>() + "[upstreams.without-sender]\nkind = \"mail\"\nurl = \"smtps://a.example\"\n";
    let (errors, toml) = errors(&upstreams, cases.len() + 1).await;
    let lines: Vec<_> = toml.lines().collect();
    let is_told = |number: usize, expected: &str| {
        let place = format!("tenant.toml:{number}:");
        let is_told = errors
            .iter()
            .any(|error| error.contains(&place) && error.contains(expected));
        assert!(is_told, "line {number}: {expected}: {errors:#?}");
    };
    for (index, case) in cases.iter().enumerate() {
        let begin = lines.iter().position(|found| *found == name(index)).unwrap();
        let wrong = case["lines"].as_array().unwrap().last().unwrap();
        let number = begin + lines[begin..].iter().position(|found| found == wrong).unwrap() + 1;
        is_told(number, case["expected"].as_str().unwrap());
    }
    let whole = lines
        .iter()
        .position(|found| *found == "[upstreams.without-sender]")
        .unwrap();
    is_told(whole + 1, "missing field `from`");
    assert!(!errors.concat().contains("planted"), "{errors:#?}");
}
