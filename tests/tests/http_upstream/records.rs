//! What a callout's audit record tells of its calls.

use claimsmith_tests::audit::{assert_nowhere_in_store, audit, records};
use claimsmith_tests::{Upstream, eventually};
use serde_json::{Value, json};

use super::{LOOPBACK, crm, probe, probing};

fn calls(record: &Value) -> &Vec<Value> {
    record["calls"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_lists_the_calls_and_nothing_of_what_was_asked() {
    let server = Upstream::start().await;
    let host = format!("{LOOPBACK}\nruntime.limits.capability_calls = 100");
    let platform = probing(&host, &crm(&server, "retries = 0"), "[\"crm\"]").await;
    for request in [
        json!({ "path": "/members/ada", "times": 2 }),
        json!({ "path": "/members/bob", "method": "POST", "body": "hello" }),
        json!({ "path": "/close" }),
        json!({ "path": "/x", "upstream": "not-granted-and-telling" }),
        json!({ "path": "/x", "times": 102 }),
    ] {
        probe(&platform, &request).await;
    }
    platform.host.terminate();
    let found = records(&platform, &["--outcome", "answered"]).await;
    let [twice, posted, closed, unknown, many] = found.as_slice() else {
        panic!("{found:?}")
    };
    let [first, second] = calls(twice).as_slice() else {
        panic!("{twice}")
    };
    for (member, expected) in [
        ("invocation", json!(0)),
        ("function", json!("http.fetch")),
        ("upstream", json!("crm")),
        ("result", json!("ok")),
        ("status", json!(200)),
    ] {
        assert_eq!(first[member], expected, "{first}");
    }
    let count = |call: &Value, member: &str| call[member].as_u64().unwrap();
    assert!(
        count(first, "sent_bytes") > 10 && count(first, "received_bytes") > 10,
        "{first}"
    );
    assert!(count(first, "duration_us") > 0 && count(second, "began_us") >= count(first, "duration_us"));
    assert_eq!(first["arguments"].as_str().unwrap().len(), 32);
    assert_eq!(first["arguments"], second["arguments"], "equal calls");
    assert_ne!(first["arguments"], calls(posted)[0]["arguments"]);

    let closed = &calls(closed)[0];
    assert_eq!((&closed["result"], closed.get("status")), (&json!("unavailable"), None));
    let unknown = &calls(unknown)[0];
    assert_eq!(
        (&unknown["result"], unknown.get("upstream")),
        (&json!("not_granted"), None)
    );
    assert_eq!((calls(many).len(), &many["unlisted_calls"]), (64, &json!(38)));

    let shown = audit(&platform, &["query"]).await.output;
    for expected in [
        "    http.fetch of crm: ok 200, ",
        "    http.fetch of crm: unavailable, ",
        "    http.fetch of -: not_granted, ",
        "    and 38 more calls\n",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    let csv = audit(&platform, &["export", "--format", "csv"]).await.output;
    assert!(csv.contains(",unlisted_calls,") && csv.contains("http.fetch"), "{csv}");
    let verified = audit(&platform, &["verify"]).await;
    assert_eq!(verified.code, 0, "{}{}", verified.output, verified.errors);
    for asked in ["members", "hello", "not-granted-and-telling"] {
        assert_nowhere_in_store(platform.directory.path(), asked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_cut_off_with_its_client_is_in_the_record() {
    let server = Upstream::start().await;
    let platform = probing(LOOPBACK, &crm(&server, "timeout = \"5s\""), "[\"crm\"]").await;
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(json!({ "path": "/hang" }).to_string());
    let request = platform.http.post(platform.url()).bearer_auth(platform.token());
    let client = tokio::spawn(request.json(&body).send());
    eventually("the call is made", async || !server.received().is_empty()).await;
    client.abort();
    eventually("the record is written", async || {
        records(&platform, &[]).await.len() == 1
    })
    .await;
    let record = &records(&platform, &[]).await[0];
    assert_eq!(record["outcome"], "client_gone", "{record}");
    let call = &calls(record)[0];
    let found = json!([call["function"], call["upstream"], call["result"]]);
    assert_eq!(found, json!(["http.fetch", "crm", "cut_short"]), "{record}");
    assert!(call["duration_us"].as_u64().unwrap() > 0, "{record}");
}
