//! The harness against the real server, and against one that does not do the work.

#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]

use std::fs;
use std::time::Duration;

use claimsmith_bench::entra::Entra;
use claimsmith_bench::load::{self, Job, Pace};
use claimsmith_bench::peers::Paths;
use claimsmith_bench::process::Cores;
use claimsmith_bench::subjects::{self, Built, CLAIMSMITH, FLOOR, Subject};
use claimsmith_bench::{conformance, host_calls, scenario};
use tempfile::TempDir;

/// What is built, as the tests build it; the directory goes away with the test.
fn built() -> (Built, TempDir) {
    let scratch = TempDir::new().unwrap();
    let plugins = scratch.path().join("plugins");
    fs::create_dir(&plugins).unwrap();
    fs::copy(
        claimsmith_tests::plugin("attribute-map"),
        plugins.join("attribute_map.wasm"),
    )
    .unwrap();
    fs::copy(claimsmith_tests::http_caller(), plugins.join("http_caller.wasm")).unwrap();
    let built = Built {
        programs: claimsmith_tests::host_program().parent().unwrap().to_owned(),
        plugins,
        scratch: scratch.path().to_owned(),
        peers: Paths {
            sources: scratch.path().to_owned(),
            target: scratch.path().to_owned(),
        },
    };
    (built, scratch)
}

fn subject(name: &str) -> Subject {
    subjects::all()
        .into_iter()
        .find(|subject| subject.name == name)
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn claimsmith_conforms_and_answers_under_load() {
    let (built, _scratch) = built();
    let entra = Entra::start().await.unwrap();
    let cores = Cores::choose().unwrap();
    let server = subject(CLAIMSMITH).start(&built, &entra, cores).await.unwrap();
    let answer = conformance::check(&entra, server.address).await.unwrap();
    let pool = built.scratch.join("pool");
    entra.write_pool(8, &pool).unwrap();
    let job = Job {
        address: server.address,
        paths: vec![scenario::PATH.to_owned()],
        body: scenario::request().to_owned(),
        answer,
        token: entra.token().unwrap(),
        pool: Some(pool),
        pace: Pace::Closed,
        connections: 2,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs(20),
    };
    let measured = tokio::task::spawn_blocking(move || load::run(&job))
        .await
        .unwrap()
        .unwrap();
    // The pool is used up long before; each of its tokens is another, or the host would not have looked at it again.
    assert!(measured.tokens_used_up, "{measured:?}");
    assert!((6..=8).contains(&measured.requests), "{measured:?}");
    assert!(server.resident_bytes().unwrap() > 1 << 20);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_leaves_the_checks_out_is_not_measured() {
    let (mut built, _scratch) = built();
    built.programs = std::path::Path::new(env!("CARGO_BIN_EXE_claimsmith-bench"))
        .parent()
        .unwrap()
        .to_owned();
    let entra = Entra::start().await.unwrap();
    let cores = Cores::choose().unwrap();
    let server = subject(FLOOR).start(&built, &entra, cores).await.unwrap();
    let error = conformance::check(&entra, server.address).await.unwrap_err();
    assert!(error.to_string().starts_with("no token: answered 200"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_call_the_upstream() {
    let (built, _scratch) = built();
    let entra = Entra::start().await.unwrap();
    let cores = Cores::choose().unwrap();
    let servers = host_calls::Servers::start(&built, &entra.metadata_url().unwrap(), cores)
        .await
        .unwrap();
    let token = entra.token().unwrap();
    for point in host_calls::POINTS {
        servers.check(&token, point).await.unwrap();
    }
    servers.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_says_why() {
    let (built, _scratch) = built();
    let directory = built.scratch.clone();
    fs::write(directory.join("claimsmith.toml"), "nonsense = true\n").unwrap();
    let command = subjects::serve(&built, "claimsmith", &directory).unwrap();
    let cores = Cores::choose().unwrap();
    let log = directory.join("log");
    let server = claimsmith_bench::process::Server::start(&command, cores.server, 1, "/readyz", &log).await;
    let error = server.unwrap_err().to_string();
    assert!(
        error.contains("the server ended") && error.contains("nonsense"),
        "{error}"
    );
}
