//! The claims that a user last had: whose they are, for how long, and what makes them be forgotten.

use std::fs;

use claimsmith_tests::{LogLine, Platform, eventually, misbehaving, world};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{metric, send, start, told};

fn extension(name: &str, marker: &str, more: &str) -> String {
    let binding = format!(
        "settings = {{ mode = \"as_named\", marker = \"{marker}\" }}\non_failure = \"last_known_good\"\n{more}"
    );
    world::extension_toml(name, "", "misbehaving", &binding)
}

const HOST: &str = "runtime.breaker.consecutive_failures = 1000000\nruntime.breaker.min_invocations = 1000000";

async fn good(platform: &Platform, extension: &str) {
    let (status, answer) = send(platform, extension, &told(platform, "Ada")).await;
    assert_eq!(status, 200, "{answer}");
}

/// What a failure is answered: the claims, or the code.
async fn failing(platform: &Platform, extension: &str, change: impl Fn(&mut Value)) -> Value {
    let mut body = told(platform, "panic");
    change(&mut body["data"]["authenticationContext"]);
    let (status, answer) = send(platform, extension, &body).await;
    match status {
        200 => Platform::claims(&answer).clone(),
        _ => answer["code"].clone(),
    }
}

fn unchanged(_: &mut Value) {}

/// Makes another's callout of one, with this id.
type Change = fn(&mut Value, &str);

#[tokio::test(flavor = "multi_thread")]
async fn they_are_this_users_in_this_application_and_this_extension() {
    let defaults = "default_claims = { tier = \"none\" }";
    let extensions = [
        extension("one", "one", ""),
        extension("other", "other", ""),
        extension("either", "either", defaults),
    ];
    let platform = start(HOST, &extensions).await;
    assert_eq!(
        failing(&platform, "one", unchanged).await,
        "plugin_trapped",
        "nothing is known yet"
    );
    good(&platform, "one").await;
    let known = json!({"marker": "one", "build": "default"});
    assert_eq!(failing(&platform, "one", unchanged).await, known);
    assert_eq!(failing(&platform, "other", unchanged).await, "plugin_trapped");

    let stranger = Uuid::from_u128(7).to_string();
    let others: [(&str, Change); 3] = [
        ("another user", |context, id| context["user"]["id"] = json!(id)),
        ("another application", |context, id| {
            context["clientServicePrincipal"]["appId"] = json!(id);
        }),
        ("another resource", |context, id| {
            context["resourceServicePrincipal"]["appId"] = json!(id);
        }),
    ];
    for (who, change) in others {
        let answer = failing(&platform, "one", |context| change(context, &stranger)).await;
        assert_eq!(answer, "plugin_trapped", "{who}");
    }
    // A name is given to others, too: without an object id nobody is known.
    let nameless = failing(&platform, "one", |context| {
        context["user"].as_object_mut().unwrap().remove("id");
    });
    assert_eq!(nameless.await, "plugin_trapped");

    // Where nothing is known, the default claims, if there are any.
    assert_eq!(failing(&platform, "either", unchanged).await, json!({"tier": "none"}));
    good(&platform, "either").await;
    assert_eq!(failing(&platform, "either", unchanged).await["marker"], "either");
}

async fn refused(platform: &Platform, extension: &str) {
    let (status, answer) = send(platform, extension, &told(platform, "rejected")).await;
    assert_eq!((status, &answer["code"]), (500, &json!("plugin_rejected")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_was_refused_is_not_let_in_by_a_failure() {
    let defaults = "default_claims = { tier = \"none\" }";
    let extensions = [extension("one", "one", ""), extension("either", "either", defaults)];
    let platform = start(HOST, &extensions).await;
    for name in ["one", "either"] {
        good(&platform, name).await;
        refused(&platform, name).await;
        assert_eq!(failing(&platform, name, unchanged).await, "plugin_trapped", "{name}");
        good(&platform, name).await;
        assert_eq!(failing(&platform, name, unchanged).await["marker"], name);
    }
    // Others are not the person who was refused.
    refused(&platform, "either").await;
    let another = failing(&platform, "either", |context| {
        context["user"]["id"] = json!(Uuid::from_u128(7).to_string());
    });
    assert_eq!(another.await, json!({"tier": "none"}));

    // What began before the refusal and is answered after it is the older decision.
    let body = told(&platform, "nap");
    let older = send(&platform, "one", &body);
    let refusal = async {
        eventually("it has begun", async || {
            metric(&platform, "claimsmith_live_instances", &[]).await > 0
        })
        .await;
        refused(&platform, "one").await;
    };
    let (older, ()) = tokio::join!(older, refusal);
    assert_eq!(older.0, 200, "{}", older.1);
    assert_eq!(failing(&platform, "one", unchanged).await, "plugin_trapped");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_too_old_at_some_time() {
    let platform = start(HOST, &[extension("one", "one", "last_known_good_max_age = \"1s\"")]).await;
    good(&platform, "one").await;
    eventually("they are too old", async || {
        failing(&platform, "one", unchanged).await == "plugin_trapped"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn they_outlive_a_reload_and_neither_other_settings_nor_another_version() {
    let platform = start(HOST, &[extension("one", "one", "")]).await;
    let write = async |extension: String| {
        let mark = platform.host.log_mark();
        let toml = [world::directories_toml(&platform.entra), extension].concat();
        fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
        let published = |line: &LogLine| line["message"] == "catalog published";
        platform.host.log_line_after(mark, "a reload", published).await;
    };
    good(&platform, "one").await;
    write(extension("one", "one", "# a comment")).await;
    assert_eq!(failing(&platform, "one", unchanged).await["marker"], "one");
    write(extension("one", "two", "")).await;
    assert_eq!(failing(&platform, "one", unchanged).await, "plugin_trapped");

    good(&platform, "one").await;
    let mark = platform.host.log_mark();
    fs::copy(misbehaving("other"), platform.tenant_file("plugins/misbehaving.wasm")).unwrap();
    let published = |line: &LogLine| line["message"] == "catalog published";
    platform.host.log_line_after(mark, "the other version", published).await;
    assert_eq!(failing(&platform, "one", unchanged).await, "plugin_trapped");
}
