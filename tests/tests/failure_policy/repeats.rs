//! Callouts that repeat: one run for all, an answer for a while, and a record for each.

use std::time::Duration;

use claimsmith_tests::audit::{REQUIRED, assert_nowhere_in_store, records};
use claimsmith_tests::{LogLine, Platform, eventually, raw, world};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{metric, send, start, told};

/// What is asked for in a one-time code's callout.
const CODE: &str = "40718263";

fn plugin(name: &str, event: &str, members: &str, plugin: &str, settings: &str) -> String {
    let usual = world::extension_toml(name, members, plugin, &format!("settings = {{ {settings} }}"));
    usual.replace("tokenIssuanceStart", event)
}

/// An extension whose plugin does what the user's name says, and whose callouts join.
fn joining() -> String {
    let members = "deadline = \"2s\"\nrepeated_callouts = \"join\"";
    plugin(
        "claims",
        "tokenIssuanceStart",
        members,
        "misbehaving",
        "mode = \"as_named\", marker = \"m\"",
    )
}

fn mails(members: &str, settings: &str) -> String {
    plugin("mails", "emailOtpSend", members, "every-event", settings)
}

/// Entra's callout to send a code, with the token of its directory.
fn code(platform: &Platform, code: &str) -> (String, Value) {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/cases/requests/emailOtpSend.json");
    let mut body: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    body["data"]["otpContext"]["oneTimeCode"] = json!(code);
    let directory = platform.entra.directory(world::EXTERNAL_DIRECTORY).unwrap();
    (directory.callout_bearer(world::EXTERNAL_EXTENSION).unwrap(), body)
}

async fn mail(platform: &Platform, code_: &str) -> (u16, Value) {
    let (token, body) = code(platform, code_);
    let request = platform
        .http
        .post(platform.url_of("contoso", "mails"))
        .bearer_auth(token);
    let response = request.json(&body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn invocations(platform: &Platform) -> u64 {
    metric(platform, "claimsmith_invocations_total", &[]).await
}

async fn repeats(platform: &Platform, repeat: &str) -> u64 {
    let label = format!("repeat=\"{repeat}\"");
    metric(platform, "claimsmith_repeated_callouts_total", &[&label]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_make_one_invocation() {
    let platform = start("", &[joining()]).await;
    let body = told(&platform, "nap");
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let request = platform.http.post(platform.url_of("contoso", "claims"));
        let request = request.bearer_auth(platform.token()).json(&body);
        calls.spawn(async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        });
    }
    let answers = calls.join_all().await;
    assert!(
        answers.iter().all(|answer| answer == &answers[0] && answer.0 == 200),
        "{answers:?}"
    );
    assert_eq!(invocations(&platform).await, 1);
    let told_of = repeats(&platform, "joined").await + repeats(&platform, "remembered").await;
    assert_eq!(told_of, 99);
    assert!(repeats(&platform, "joined").await >= 1);

    // Another body, of which only the correlation id differs, is another callout.
    assert_eq!(send(&platform, "claims", &told(&platform, "nap")).await.0, 200);
    assert_eq!(invocations(&platform).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_code_is_one_mail_and_each_callout_has_its_record() {
    let platform = start(REQUIRED, &[mails("", "action = \"send\"")]).await;
    let first = mail(&platform, CODE).await;
    assert_eq!(first.0, 200, "{}", first.1);
    assert_eq!(mail(&platform, CODE).await, first);
    assert_eq!(mail(&platform, CODE).await, first);
    assert_eq!(invocations(&platform).await, 1);
    assert_eq!(mail(&platform, "11111111").await.0, 200);
    assert_eq!(invocations(&platform).await, 2);

    let records = records(&platform, &["--tenant", "contoso"]).await;
    let repeats: Vec<_> = records.iter().map(|record| record.get("repeat").cloned()).collect();
    let again = Some(json!("remembered"));
    assert_eq!(repeats, [None, again.clone(), again, None], "{records:#?}");
    for record in &records {
        assert_eq!(record["action"], "OtpSend", "{record}");
        assert_eq!(record["invocations"].as_array().unwrap().len(), 1, "{record}");
        assert_eq!(record["plugins"][0]["plugin"], "every-event", "{record}");
    }
    assert_nowhere_in_store(platform.directory.path(), CODE);
    let log = platform.host.log();
    assert!(!log.iter().any(|line| line.to_string().contains(CODE)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_not_remembered_and_nobody_gets_an_answer_without_a_token() {
    let platform = start("", &[mails("", "action = \"unavailable\"")]).await;
    for _ in 0..2 {
        let (status, answer) = mail(&platform, CODE).await;
        assert_eq!(
            (status, &answer["code"]),
            (500, &json!("plugin_unavailable")),
            "{answer}"
        );
    }
    assert_eq!(invocations(&platform).await, 2);

    let platform = start("", &[mails("", "action = \"send\"")]).await;
    assert_eq!(mail(&platform, CODE).await.0, 200);
    let (_, body) = code(&platform, CODE);
    let request = platform.http.post(platform.url_of("contoso", "mails"));
    let response = request.bearer_auth("no.valid.token").json(&body).send().await.unwrap();
    assert_eq!(response.status(), 401);
    // Another directory's token is good, and not for this body.
    let request = platform.http.post(platform.url_of("contoso", "mails"));
    let response = request.bearer_auth(platform.token()).json(&body).send().await.unwrap();
    assert_eq!(response.status(), 400);
}

/// A callout whose client goes away when its run has begun.
async fn abandon(platform: &Platform, body: &Value) {
    let text = body.to_string();
    let request = format!(
        "POST /tenants/contoso/extensions/claims HTTP/1.1\r\nhost: claimsmith\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{text}",
        platform.token(),
        text.len()
    );
    let client = raw::send(platform.host.address, request.as_bytes()).await;
    eventually("the run has begun", async || {
        metric(platform, "claimsmith_live_instances", &[]).await > 0
    })
    .await;
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_joins_is_in_the_record_of_the_callout_that_began_it() {
    let platform = start(REQUIRED, &[joining()]).await;
    abandon(&platform, &told(&platform, "nap")).await;
    eventually("the record is written", async || {
        records(&platform, &[]).await.len() == 1
    })
    .await;
    let record = &records(&platform, &[]).await[0];
    assert_eq!(record["outcome"], "client_gone", "{record}");
    assert_eq!(record["plugins"][0]["plugin"], "misbehaving", "{record}");
    assert_eq!(record["invocations"][0]["outcome"], "answered", "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_joins_ends_before_the_host_does() {
    let mut platform = start(REQUIRED, &[joining()]).await;
    abandon(&platform, &told(&platform, "nap")).await;
    platform.host.terminate();
    assert!(platform.host.ended().await.success());
    let all = records(&platform, &[]).await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["invocations"][0]["outcome"], "answered", "{all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_client_has_gone_is_there_to_be_joined() {
    let platform = start("", &[joining()]).await;
    let body = told(&platform, "nap");
    abandon(&platform, &body).await;
    let (status, answer) = send(&platform, "claims", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(invocations(&platform).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_kept_for_a_while_and_outlives_a_reload() {
    let extension = mails("", "action = \"send\"");
    let platform = start("repeated_callouts.keep_for = \"4s\"", std::slice::from_ref(&extension)).await;
    assert_eq!(mail(&platform, CODE).await.0, 200);
    let mark = platform.host.log_mark();
    let toml = [
        world::directories_toml(&platform.entra),
        extension,
        "# a comment\n".to_owned(),
    ]
    .concat();
    std::fs::write(platform.tenant_file("tenant.toml"), toml).unwrap();
    let published = |line: &LogLine| line["message"] == "catalog published";
    platform.host.log_line_after(mark, "a reload", published).await;
    assert_eq!(mail(&platform, CODE).await.0, 200);
    assert_eq!(invocations(&platform).await, 1);
    eventually("it is forgotten", async || {
        assert_eq!(mail(&platform, CODE).await.0, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        invocations(&platform).await > 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_they_join_is_the_events_and_the_tenants_choice() {
    let settings = "action = \"send\"";
    let platform = start("", &[mails("repeated_callouts = \"invoke\"", settings)]).await;
    for _ in 0..3 {
        assert_eq!(mail(&platform, CODE).await.0, 200);
    }
    assert_eq!(invocations(&platform).await, 3);

    let usual = joining().replace("repeated_callouts = \"join\"", "");
    let platform = start("", &[usual]).await;
    let body = told(&platform, "Ada");
    for _ in 0..3 {
        assert_eq!(send(&platform, "claims", &body).await.0, 200);
    }
    assert_eq!(invocations(&platform).await, 3);
}
