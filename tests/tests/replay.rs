//! An invocation is recorded once, against a real upstream, and replayed without it: to the same answer, or to the call at
//! which another plugin, or another callout, goes another way.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::interface::callout::{Context, User};
use claimsmith_runtime::{
    Binding, Digest, Grants, InvocationError, Limits, Recording, Report, Runtime, RuntimeOptions, TenantShare,
    Upstream as Granted,
};
use claimsmith_tests::{Upstream, no_context, witness};
use claimsmith_upstreams::http::{HttpConfig, HttpUpstream};
use claimsmith_upstreams::secret::SecretScope;
use claimsmith_upstreams::{Egress, Network};
use tokio::time::Instant;

const SETTINGS: &str = r#"{ "wait_ms": 3 }"#;

/// A sign-in of a person.
fn callout(id: &'static str) -> Context<'static> {
    let user = User {
        id: Some(id),
        company_name: None,
        created_date_time: None,
        display_name: None,
        given_name: None,
        mail: None,
        on_premises_sam_account_name: None,
        on_premises_security_identifier: None,
        on_premises_user_principal_name: None,
        preferred_data_location: None,
        preferred_language: None,
        surname: None,
        user_principal_name: None,
        user_type: None,
    };
    Context {
        correlation_id: "6c8ed0c9-8d1c-4ea7-b2fa-33d8c0b3a1f2",
        user: Some(user),
        ..no_context()
    }
}

/// A binding's grants: the upstream `crm`.
fn grants(server: &Upstream) -> Arc<Grants> {
    let egress = Egress::new(&[Network::from_str("127.0.0.1").unwrap()]);
    let toml = format!(
        "url = \"{}\"\nplain_http = true\nnetworks = [\"127.0.0.1\"]\nallow = [\"GET /**\"]",
        server.url("")
    );
    let config: HttpConfig = toml::from_str(&toml).unwrap();
    let scope = SecretScope {
        tenant: "contoso",
        directory: Path::new("."),
        vault: None,
    };
    let upstream = HttpUpstream::load("crm", &config, scope, egress).unwrap();
    let mut grants = Grants::of("contoso".into());
    grants.grant("crm".into(), "crm".into(), Granted::Http(Arc::new(upstream)));
    Arc::new(grants)
}

/// A binding of a build of the plugin.
async fn bind(runtime: &Runtime, build: &str, settings: &str, grants: Arc<Grants>) -> Binding {
    let limits = Limits::default();
    let bytes = std::fs::read(witness(build)).unwrap();
    let plugin = runtime.load(bytes, &limits).await.unwrap();
    let share = Arc::new(TenantShare::new(8));
    let settings = settings.to_owned();
    let bound = runtime.bind(plugin, "witness", settings, limits, share, grants).await;
    bound.unwrap()
}

/// What an invocation answers, in a form that shows every difference.
async fn invoke(binding: &Binding, callout: Context<'_>) -> (Result<String, InvocationError>, Option<Recording>) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let Report { result, journal, .. } = binding.token_issuance_start(callout, deadline).await;
    (result.map(|claims| format!("{claims:?}")), journal.into_recording())
}

/// Where a replay left what was recorded.
async fn diverged(binding: &Binding, recording: &Arc<Recording>, callout: Context<'_>) -> (usize, String) {
    match invoke(&binding.replaying(Arc::clone(recording)), callout).await.0 {
        Err(InvocationError::Diverged(divergence)) => (divergence.call, divergence.what),
        other => panic!("{other:?}"),
    }
}

fn place(recording: &Recording, function: &str) -> usize {
    let calls = recording.calls().iter();
    1 + calls
        .map(|call| &*call.function)
        .position(|found| found == function)
        .unwrap()
}

/// The server has a runtime of its own, so that it can be gone.
fn server() -> (tokio::runtime::Runtime, Upstream) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(Upstream::start());
    (runtime, server)
}

#[test]
fn a_recorded_invocation_is_replayed_without_its_upstream() {
    let (servers, server) = server();
    let host = tokio::runtime::Runtime::new().unwrap();
    host.block_on(async {
        let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
        let live = bind(&runtime, "default", SETTINGS, grants(&server)).await;
        let (answer, recording) = invoke(&live, callout("ada")).await;
        assert!(answer.is_ok(), "{answer:?}");
        assert!(recording.is_none(), "nothing is recorded unless it was asked for");
        let (recorded, recording) = invoke(&live.recording(), callout("ada")).await;
        let (recorded, recording) = (recorded.unwrap(), recording.unwrap());
        assert_ne!(recorded, answer.unwrap(), "two runs learn different things");
        assert_eq!(recording.plugin(), live.plugin().digest());
        let functions: Vec<_> = recording.calls().iter().map(|call| &*call.function).collect();
        for function in [
            "settings.json",
            "http.fetch",
            "pollable.block",
            "wall-clock.now",
            "monotonic-clock.now",
            "deadline.remaining",
            "insecure-seed.insecure-seed",
            "random.get-random-u64",
            "log.write",
        ] {
            assert!(functions.contains(&function), "{function}: {functions:?}");
        }
        assert!(!format!("{recording:?}").contains("gold"), "results are not shown");

        // As a file, with the server gone, and in a host that knows no upstream and other settings.
        let mut file = Vec::new();
        recording.write(&mut file).unwrap();
        let read = Recording::read(file.as_slice()).unwrap();
        assert_eq!(read.calls(), recording.calls());
        servers.shutdown_background();
        let (failed, _) = invoke(&live, callout("ada")).await;
        assert!(matches!(failed, Err(InvocationError::Unavailable(_))), "{failed:?}");
        let sent = server.received().len();
        let other = bind(&runtime, "default", r#"{ "wait_ms": 100000 }"#, Arc::default()).await;
        let replaying = other.replaying(Arc::new(read));
        for _ in 0..3 {
            assert_eq!(invoke(&replaying, callout("ada")).await.0.unwrap(), recorded);
        }
        assert_eq!(server.received().len(), sent);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_another_way_is_told_with_its_call() {
    let server = Upstream::start().await;
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let live = bind(&runtime, "default", SETTINGS, grants(&server)).await;
    let recording = Arc::new(invoke(&live.recording(), callout("ada")).await.1.unwrap());
    let (fetch, sent) = (place(&recording, "http.fetch"), server.received().len());

    let (call, what) = diverged(&live, &recording, callout("bob")).await;
    assert_eq!(
        (call, what.as_str()),
        (0, "the callout is another than the one that was recorded")
    );

    let plugin = bind(&runtime, "other-path", SETTINGS, grants(&server)).await;
    let (call, what) = diverged(&plugin, &recording, callout("ada")).await;
    assert_eq!(call, fetch);
    let expected =
        "the plugin calls `http.fetch` of upstream `crm`, as recorded, with other arguments: their SHA-256 is ";
    assert!(what.starts_with(expected), "{what}");

    let plugin = bind(&runtime, "eager", SETTINGS, grants(&server)).await;
    let (call, what) = diverged(&plugin, &recording, callout("ada")).await;
    assert_eq!(call, fetch);
    let expected = "the plugin calls `random.get-random-u64`, `http.fetch` of upstream `crm` was recorded";
    assert_eq!(what, expected);

    let plugin = bind(&runtime, "silent", SETTINGS, grants(&server)).await;
    let (call, what) = diverged(&plugin, &recording, callout("ada")).await;
    assert_eq!(call, place(&recording, "log.write"), "{what}");

    // Calls after the recorded ones, and recorded ones that are not made.
    let shorter = shortened(&recording, recording.calls().len() - 1);
    let (call, what) = diverged(&live, &shorter, callout("ada")).await;
    let end = recording.calls().len();
    assert_eq!(call, end);
    assert!(what.contains(&format!("no more than {} calls", end - 1)), "{what}");
    let longer = Arc::new(repeated_end(&recording));
    let (call, what) = diverged(&live, &longer, callout("ada")).await;
    assert_eq!(
        (call, what.starts_with("the plugin is done, ")),
        (end + 1, true),
        "{what}"
    );

    assert_eq!(server.received().len(), sent, "no replay has asked the upstream");
}

/// The lines of a recording's file.
fn lines(recording: &Recording) -> Vec<String> {
    let mut file = Vec::new();
    recording.write(&mut file).unwrap();
    String::from_utf8(file).unwrap().lines().map(str::to_owned).collect()
}

/// A recording of these lines, whose first one says how many follow.
fn of_lines(mut lines: Vec<String>, had: usize) -> Recording {
    let count = |calls: usize| format!("\"calls\":{calls}");
    lines[0] = lines[0].replace(&count(had), &count(lines.len() - 1));
    Recording::read(lines.join("\n").as_bytes()).unwrap()
}

fn shortened(recording: &Recording, calls: usize) -> Arc<Recording> {
    let mut lines = lines(recording);
    lines.truncate(calls + 1);
    Arc::new(of_lines(lines, recording.calls().len()))
}

fn repeated_end(recording: &Recording) -> Recording {
    let mut lines = lines(recording);
    lines.extend(lines.last().cloned());
    of_lines(lines, recording.calls().len())
}

#[test]
fn files_that_are_no_recordings_are_told_with_their_line() {
    let digest = Digest::of(b"x");
    let head = |form: u32, calls: usize| {
        format!(
            "{{\"claimsmith_recording\":{form},\"plugin\":\"{digest}\",\"event\":\"e\",\"callout\":\"{digest}\",\"calls\":{calls}}}"
        )
    };
    let call = |more: &str| format!("{{\"function\":\"f\",\"arguments\":\"{digest}\",\"result\":\"00\"{more}}}");
    let (good, call) = (head(1, 1), call);
    assert_eq!(
        Recording::read(format!("{good}\n{}\n", call("")).as_bytes())
            .unwrap()
            .calls()
            .len(),
        1
    );
    for (file, expected) in [
        (String::new(), "line 1 of the recording"),
        ("no JSON".to_owned(), "line 1 of the recording"),
        (head(2, 0), "has the form 2, expected 1"),
        (format!("{good}\n"), "has 0 calls, expected 1: the file is incomplete"),
        (format!("{good}\n{}\n{}", call(""), call("")), "has 2 calls, expected 1"),
        (format!("{good}\n{}\n", call(",\"more\":1")), "line 2 of the recording"),
        (
            format!("{good}\n{}\n", call("").replace("00", "0")),
            "line 2 of the recording",
        ),
    ] {
        let error = Recording::read(file.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{file}: {error}");
    }
}
