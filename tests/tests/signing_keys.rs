//! The signing keys: fetched in the background, found when they roll, kept when their document is out of reach, and
//! asked for no oftener than agreed, whoever calls.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::time::Duration;

use claimsmith_local_entra::{Directory, LocalEntra, TokenRequest, TokenVersion};
use claimsmith_tests::world::{self, DIRECTORY, EXTENSION};
use claimsmith_tests::{Documents, Mood, Platform, Stage, eventually};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

const V2_DOCUMENT: &str = "/v2.0/.well-known/openid-configuration";
const V2_KEYS: &str = "/discovery/v2.0/keys";
/// So many fetches for unknown keys may follow each other at once.
const BURST: usize = 4;

/// A host whose metadata documents are reached through a proxy.
async fn behind_proxy(host_config: &str, mood: Mood) -> (Platform, Documents) {
    let (stage, documents) = stage_behind_proxy(host_config, mood).await;
    (stage.start().await, documents)
}

/// The same with documents that cannot be fetched: each has been tried once, and the host is not ready.
async fn behind_broken_proxy(host_config: &str, mood: Mood) -> (Platform, Documents) {
    let (stage, documents) = stage_behind_proxy(host_config, mood).await;
    let platform = stage.listen("json").await;
    let url = format!("http://{}/readyz", platform.host.address);
    eventually("each document has been tried", async || {
        let readiness = platform.http.get(&url).send().await.unwrap();
        assert_eq!(readiness.status(), 503);
        !readiness.text().await.unwrap().contains("first fetch")
    })
    .await;
    (platform, documents)
}

async fn stage_behind_proxy(host_config: &str, mood: Mood) -> (Stage, Documents) {
    let (entra, documents) = Documents::start(world::config(), mood).await;
    let stage = Stage::with(entra).host_config(host_config);
    let toml = tenant(&stage.entra);
    (stage.tenant("contoso", &toml), documents)
}

fn tenant(entra: &LocalEntra) -> String {
    let extension = world::extension_toml("claims", "deadline = \"2s\"", "misbehaving", "");
    [world::directories_toml(entra), extension].concat()
}

/// A good token, not signed yet.
fn good(directory: &Directory) -> TokenRequest {
    directory.callout_token(EXTENSION).unwrap()
}

/// A good token that has not been sent before.
fn fresh(platform: &Platform) -> String {
    platform.directory().mint(&good(platform.directory())).unwrap()
}

/// How often a document of the workforce directory has been asked for.
fn asked(documents: &Documents, path: &str) -> usize {
    documents.requests(&format!("/{DIRECTORY}{path}"))
}

/// Sends this many callouts at once, to each tenant in turn, whose tokens name keys that nobody has; the host refuses
/// each.
async fn flood(platform: &Platform, tenants: &[&str], callouts: usize) {
    let mark = platform.host.log_mark();
    let directory = platform.directory();
    let token = |number: usize| {
        let kid = format!("bogus-{mark}-{number}");
        directory.mint(&good(directory).header("kid", kid)).unwrap()
    };
    let tokens: Vec<_> = (0..callouts).map(token).collect();
    let mut calls = JoinSet::new();
    for (token, tenant) in tokens.iter().zip(tenants.iter().cycle()) {
        let call = platform.http.post(platform.url_of(tenant, "claims"));
        calls.spawn(call.bearer_auth(token).json(&platform.body()).send());
    }
    for response in calls.join_all().await {
        assert_eq!(response.unwrap().status(), 401);
    }
    let unknown = |line: &&Value| line["outcome"] == "token_unknown_key";
    eventually("each is in the log", async || {
        platform.host.log_after(mark).iter().filter(unknown).count() == callouts
    })
    .await;
}

/// Names unknown keys until the document is not fetched for them any more.
async fn spend_the_burst(platform: &Platform) {
    for _ in 0..BURST {
        flood(platform, &["contoso"], 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_causes_few_fetches() {
    let (platform, documents) = behind_proxy("", Mood::Serve).await;
    let all = [
        V2_DOCUMENT,
        V2_KEYS,
        "/.well-known/openid-configuration",
        "/discovery/keys",
    ];
    let counts = || all.map(|path| asked(&documents, path));
    assert_eq!(counts(), [1, 1, 1, 1], "each document is fetched once at the start");

    flood(&platform, &["contoso"], 500).await;
    // Of the issuer's document only: the other document does not sign for it.
    let [_, fetches, others @ ..] = counts();
    assert!((2..=1 + BURST).contains(&fetches), "{fetches}");
    assert_eq!(others, [1, 1]);
    assert_eq!(platform.callout().await.0, 200);

    spend_the_burst(&platform).await;
    flood(&platform, &["contoso"], 50).await;
    assert_eq!(
        counts(),
        [1 + BURST, 1 + BURST, 1, 1],
        "later ones are in the same window"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lasting_flood_causes_few_fetches_and_then_one_in_each_window() {
    let (platform, documents) = behind_proxy("token.unknown_key_interval = \"1s\"", Mood::Serve).await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        flood(&platform, &["contoso"], 20).await;
    }
    // One at the start, the burst, and one in each second that has passed.
    let most = 1 + BURST as u64 + began.elapsed().as_secs();
    let fetches = asked(&documents, V2_KEYS);
    assert!(
        fetches >= 2 + BURST && u64::try_from(fetches).unwrap() <= most,
        "{fetches} of {most}"
    );
}

/// Each tenant may name several documents that could have the key, and tenants share documents.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_causes_few_fetches_of_each_of_many_documents() {
    let (entra, documents) = Documents::start(world::config(), Mood::Serve).await;
    let stage = Stage::with(entra);
    let directory = stage.entra.directory(DIRECTORY).unwrap();
    let (issuer, key) = (directory.issuer(TokenVersion::V2), directory.current_key().public_jwk());
    let paths: Vec<_> = (0..8).map(|number| format!("/copy-{number}")).collect();
    let urls = paths
        .iter()
        .map(|path| documents.publish_issuer(path, &issuer, std::slice::from_ref(&key)));
    let metadata: Vec<_> = urls.map(|url| format!("{{ url = \"{url}\" }}")).collect();
    let toml = format!(
        "[[directories]]\nid = \"{DIRECTORY}\"\nmetadata = [{}]\n{}",
        metadata.join(", "),
        world::extension_toml("claims", "", "misbehaving", "")
    );
    let platform = stage.tenant("contoso", &toml).tenant("fabrikam", &toml).start().await;

    flood(&platform, &["contoso", "fabrikam"], 500).await;
    spend_the_burst(&platform).await;
    for path in paths {
        assert_eq!(documents.requests(&format!("{path}/keys")), 1 + BURST, "{path}");
    }
    assert_eq!(platform.callout().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_out_of_reach_is_not_asked_for_each_callout() {
    let (platform, documents) = behind_broken_proxy("", Mood::Refuse).await;
    let before = asked(&documents, V2_DOCUMENT);
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let call = platform.http.post(platform.url()).json(&platform.body());
        calls.spawn(call.bearer_auth(fresh(&platform)).send());
    }
    for response in calls.join_all().await {
        assert_eq!(response.unwrap().status(), 503);
    }
    // Those for the callouts, and what the document's own retries ask in the meantime.
    let more = asked(&documents, V2_DOCUMENT) - before;
    assert!(more <= BURST + 4, "{more} fetches");
}

/// One made-up key id costs its sender nothing.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_key_ids_do_not_keep_a_new_key_unknown() {
    let (platform, _documents) = behind_proxy("", Mood::Serve).await;
    for _ in 1..BURST {
        flood(&platform, &["contoso"], 1).await;
    }
    platform.directory().roll_keys(true).await.unwrap();
    assert_eq!(platform.callout().await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_looked_for_is_not_said_to_be_missing() {
    let (platform, documents) = behind_proxy("", Mood::Serve).await;
    spend_the_burst(&platform).await;
    platform.directory().roll_keys(true).await.unwrap();
    let before = asked(&documents, V2_DOCUMENT);
    let mark = platform.host.log_mark();
    assert_eq!(platform.call(&fresh(&platform), &platform.body()).await.status(), 401);
    assert_eq!(asked(&documents, V2_DOCUMENT), before);
    let line = platform.host.callout_line(mark).await;
    assert_eq!(line["outcome"], "token_unknown_key");
    let reason = line["reason"].as_str().unwrap();
    let document = documents.url(&format!("/{DIRECTORY}{V2_DOCUMENT} was fetched "));
    for words in [
        &document,
        " s ago and is asked for an unknown kid again in ",
        "at the earliest",
    ] {
        assert!(reason.contains(words), "{reason}");
    }
}

/// Nobody knows whether a document that cannot be fetched has the key.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_in_a_document_out_of_reach_is_not_the_tokens_fault() {
    for (mood, words) in [(Mood::Refuse, "did not answer"), (Mood::Hang, "before the deadline")] {
        let (platform, documents) = behind_proxy("", Mood::Serve).await;
        assert_eq!(platform.callout().await.0, 200);
        platform.directory().roll_keys(true).await.unwrap();
        documents.set_mood(mood);
        // More often than the document is fetched for it.
        let calls = if mood == Mood::Refuse { BURST + 2 } else { 1 };
        for _ in 0..calls {
            let mark = platform.host.log_mark();
            let response = platform.call(&fresh(&platform), &platform.body()).await;
            assert_eq!(response.status(), 503, "{mood:?}");
            let problem: Value = response.json().await.unwrap();
            assert_eq!(problem["code"], "keys_unavailable");
            let line = platform.host.callout_line(mark).await;
            let reason = line["reason"].as_str().unwrap();
            assert!(reason.contains(words) && reason.contains(V2_DOCUMENT), "{reason}");
        }
        documents.set_mood(Mood::Serve);
        eventually("the new key is fetched", async || platform.callout().await.0 == 200).await;
    }
}

/// A fetch that runs already may have read the keys before the new one was among them.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_looked_for_by_a_fetch_that_begins_after_it_was_seen() {
    let (platform, documents) = behind_proxy("token.refresh_interval = \"300ms\"", Mood::Serve).await;
    documents.set_mood(Mood::Hold);
    let before = asked(&documents, V2_KEYS);
    eventually("a fetch has the old keys", async || asked(&documents, V2_KEYS) > before).await;
    platform.directory().roll_keys(true).await.unwrap();

    let callout = async {
        let call = platform.call(&fresh(&platform), &platform.body()).await;
        call.status()
    };
    let release = async {
        // Long enough for the callout to ask; if it were not, the test would pass for another reason.
        sleep(Duration::from_millis(200)).await;
        documents.set_mood(Mood::Serve);
    };
    let (status, ()) = tokio::join!(callout, release);
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_at_the_start_wait_for_the_first_fetch_of_their_document_alone() {
    let (entra, documents) = Documents::start(world::config(), Mood::Hold).await;
    // Connections are made and never answered.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = format!(
        "[[directories]]\nid = \"0d1e0001-0000-4000-8000-0000000000d9\"\nmetadata = [{{ url = \"http://{}/\" }}]\n",
        silent.local_addr().unwrap()
    );
    let toml = [other, tenant(&entra)].concat();
    let platform = Stage::with(entra).tenant("contoso", &toml).listen("json").await;
    eventually("the first fetch runs", async || asked(&documents, V2_KEYS) == 1).await;
    let began = Instant::now();
    let callout = async {
        let call = platform.call(&fresh(&platform), &platform.body()).await;
        (call.status(), began.elapsed())
    };
    let release = async {
        sleep(Duration::from_millis(100)).await;
        documents.set_mood(Mood::Serve);
    };
    let ((status, took), ()) = tokio::join!(callout, release);
    assert_eq!(status, 200);
    assert!(
        took < Duration::from_millis(1500),
        "{took:?}: as long as the deadline allows"
    );
    assert_eq!(asked(&documents, V2_KEYS), 1, "and cause none of their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_roll_again_are_found_when_the_window_is_over() {
    let (platform, documents) = behind_proxy("token.unknown_key_interval = \"1s\"", Mood::Serve).await;
    spend_the_burst(&platform).await;
    for _ in 0..2 {
        platform.directory().roll_keys(true).await.unwrap();
        eventually("the new key is known", async || platform.callout().await.0 == 200).await;
    }
    assert!(asked(&documents, V2_KEYS) >= 1 + BURST + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_reachable_keys_mends_itself() {
    for mood in [Mood::Refuse, Mood::Hang] {
        let (platform, documents) = behind_broken_proxy("token.timeout = \"1s\"", mood).await;
        let mark = platform.host.log_mark();
        let response = platform.call(&platform.token(), &platform.body()).await;
        assert_eq!(response.status(), 503, "{mood:?}");
        assert_eq!(response.headers()["retry-after"], "1");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], "keys_unavailable");
        assert_eq!(problem["errors"], json!([]), "the address of the keys is for the log");
        let line = platform.host.callout_line(mark).await;
        let reason = line["reason"].as_str().unwrap();
        assert!(reason.contains(".well-known/openid-configuration"), "{reason}");
        // A token that cannot be good is told so all the same.
        assert_eq!(platform.call("garbage", &platform.body()).await.status(), 401);

        documents.set_mood(Mood::Serve);
        eventually("the keys are fetched", async || platform.callout().await.0 == 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_the_documents_they_came_from() {
    let (platform, documents) = behind_proxy("token.refresh_interval = \"100ms\"", Mood::Serve).await;
    assert_eq!(platform.callout().await.0, 200);
    documents.set_mood(Mood::Refuse);
    let failed = |line: &Value| line["message"] == "metadata document could not be fetched";
    let line = platform.host.log_line("a failed fetch", failed).await;
    assert_eq!(
        (&line["last_good_keys"], &line["level"]),
        (&json!(true), &json!("WARN"))
    );
    assert_eq!(platform.call(&fresh(&platform), &platform.body()).await.status(), 200);
}

/// An answer is not yet a document.
#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_documents_that_are_none() {
    let key = json!({"kty": "RSA", "use": "enc", "kid": "x", "n": "AQAB", "e": "AQAB"});
    let documents_that_are_none = [
        (V2_DOCUMENT, json!("maintenance"), "issuer, jwks_uri"),
        (V2_DOCUMENT, json!({"issuer": "x"}), "missing field `jwks_uri`"),
        (
            V2_DOCUMENT,
            json!({"issuer": "x", "jwks_uri": "http://keys.example/"}),
            "is not https",
        ),
        (V2_KEYS, json!({}), "missing field `keys`"),
        (V2_KEYS, json!({"keys": []}), "has no RSA or EC signing key"),
        (V2_KEYS, json!({"keys": [key, 7, null]}), "has no RSA or EC signing key"),
        (
            V2_KEYS,
            json!({"keys": [], "padding": "x".repeat(2 << 20)}),
            "more than 1048576 bytes",
        ),
    ];
    for (path, document, error) in documents_that_are_none {
        let (platform, documents) = behind_proxy("token.refresh_interval = \"100ms\"", Mood::Serve).await;
        documents.publish(&format!("/{DIRECTORY}{path}"), document);
        let failed = |line: &Value| line["error"].as_str().is_some_and(|text| text.contains(error));
        let line = platform.host.log_line(error, failed).await;
        assert_eq!(line["last_good_keys"], true, "{line}");
        let response = platform.call(&fresh(&platform), &platform.body()).await;
        assert_eq!(response.status(), 200, "{error}");
    }
}

/// Keys roll while callouts come: each is answered, whether the old key stays published or not.
#[tokio::test(flavor = "multi_thread")]
async fn keys_roll_under_load_without_a_refusal() {
    let (platform, _documents) = behind_proxy("token.unknown_key_interval = \"10ms\"", Mood::Serve).await;
    for _ in 0..3 {
        platform.directory().roll_keys(false).await.unwrap();
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            let call = platform.http.post(platform.url()).json(&platform.body());
            calls.spawn(call.bearer_auth(fresh(&platform)).send());
        }
        for response in calls.join_all().await {
            assert_eq!(response.unwrap().status(), 200);
        }
        sleep(Duration::from_millis(20)).await;
    }
}
