//! Requests that are no good, and what is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use claimsmith_tests::{Host, Stage, cases, raw, run};
use serde_json::Value;

use crate::document::assert_is_described;
use crate::setup::{BY_API, admin_toml, admin_url, start, tenant_toml, token_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_acceptable_is_told_what_was_expected() {
    let platform = start("runtime.max_component_bytes = 1000", &[("contoso", BY_API, "")]).await;
    let (url, token) = (
        admin_url(&platform).await,
        token_of(&platform, "Claimsmith.Operator", &[]),
    );
    for case in cases("admin/requests.json") {
        let text = |member: &str| case[member].as_str().unwrap();
        let method = reqwest::Method::from_bytes(text("method").as_bytes()).unwrap();
        let body = match &case["body"] {
            Value::String(body) => body.clone(),
            repeated => {
                let times = repeated["repeat"][1].as_u64().unwrap();
                repeated["repeat"][0]
                    .as_str()
                    .unwrap()
                    .repeat(times.try_into().unwrap())
            }
        };
        let request = platform.http.request(method, format!("{url}{}", text("path")));
        let response = request.bearer_auth(&token).body(body).send().await.unwrap();
        let status = response.status().as_u16();
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], case["code"], "{case}: {problem}");
        assert!(
            problem["errors"][0].as_str().unwrap().contains(text("error")),
            "{case}: {problem}"
        );
        assert_is_described(
            text("method"),
            text("operation"),
            status,
            "application/problem+json",
            &problem,
        );
    }
    let response = platform.http.get(format!("{url}/tenants")).send().await.unwrap();
    assert_eq!(response.status(), 404);
    let counted = async |labels| {
        platform
            .metric("claimsmith_admin_requests_total", labels)
            .await
            .to_string()
    };
    assert_eq!(counted(&["method=\"GET\"", "status=\"404\""]).await, "1");
    assert_eq!(counted(&["method=\"PUT\"", "status=\"413\""]).await, "1");
    // Nothing of the admin API is where Entra calls.
    let of_callouts = format!("http://{}/tenants/contoso/versions", platform.host.address);
    assert_eq!(
        platform
            .http
            .get(of_callouts)
            .bearer_auth(&token)
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_to_everybody() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    let url = admin_url(&platform).await;
    let served: Value = platform
        .http
        .get(format!("{url}/openapi.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/admin-openapi.json");
    let kept: Value = serde_json::from_str(&fs::read_to_string(kept).unwrap()).unwrap();
    assert!(
        served == kept,
        "the host serves another document than docs/admin-openapi.json"
    );
}

/// What needs no token must not let strangers take the listener's places for good.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_nothing_keep_nobody_out() {
    let platform = start("server.write_timeout = \"300ms\"", &[("contoso", BY_API, "")]).await;
    let url = admin_url(&platform).await;
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    // As many connections as there are places, and more answers than the buffers of both systems take.
    let requests = b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000);
    let mut strangers = Vec::new();
    for _ in 0..64 {
        strangers.push(raw::send(address, &requests).await);
    }
    let token = token_of(&platform, "Claimsmith.Auditor", &[]);
    let asked = platform.http.get(format!("{url}/status")).bearer_auth(token);
    let answer = tokio::time::timeout(Duration::from_secs(20), asked.send()).await;
    assert_eq!(answer.expect("there is a place").unwrap().status(), 200);
    drop(strangers);
}

/// The socket is the owner's, also after a service that could not clean up; its store is one service's.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_and_the_store_are_the_owners_and_one_services() {
    let mut platform = start("", &[("contoso", BY_API, "")]).await;
    let root = platform.directory.path().to_owned();
    let mode = |file: &str| fs::metadata(root.join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("state"), mode("state/admin.sock")), (0o700, 0o600));
    let upload = root.join("state/incoming/upload");
    fs::write(&upload, "half of a component").unwrap();
    let (status, printed) = Host::fail_to_start(&root).await;
    assert_eq!(status.code(), Some(1));
    assert!(printed.contains("is in use by another service"), "{printed}");
    assert!(
        upload.exists(),
        "the first service's upload is not the second's to delete"
    );
    platform.host.kill();
    platform.restart(&[]).await;
    assert_eq!(mode("state/admin.sock"), 0o600);
    assert!(!upload.exists(), "what a crash has left is deleted");
    let ended = run(&root, &["status"], "").await;
    assert_eq!(ended.code, 0, "{}", ended.errors);
    platform.host.kill();
    let ended = run(&root, &["status"], "").await;
    assert!(
        ended.errors.contains("does not answer; does the service run"),
        "{}",
        ended.errors
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_admin_api_nothing_is_managed_by_it() {
    let stage = Stage::new().await;
    let toml = tenant_toml(&stage.entra, BY_API, "");
    let platform = stage.tenant("contoso", &toml).listen("json").await;
    let error = |line: &Value| line["message"].as_str().is_some_and(|text| text.contains("[admin]"));
    let line = platform.host.log_line("the mistake", error).await;
    let message = line["message"].as_str().unwrap();
    assert!(
        message.contains("tenant.toml:") && message.contains("plugins.managed"),
        "{message}"
    );
    assert!(!platform.directory.path().join("state").exists());
    let ended = run(platform.directory.path(), &["status"], "").await;
    assert!(ended.errors.contains("has no [admin]"), "{}", ended.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_opens_the_api_to_others_does_not_start() {
    let stage = Stage::new().await;
    let admin = admin_toml(&stage.entra, "");
    for (from, to, error) in [
        (
            "127.0.0.1:0",
            "0.0.0.0:0",
            "admin.listen must be an address of this machine alone",
        ),
        (
            "admin.token.clients = [\"0d1e0001-0000-4000-8000-00000000ad02\"]",
            "admin.token.clients = []",
            "admin.token.clients must name",
        ),
        ("admin.token.", "# ", "admin.listen needs [admin.token]"),
        (
            "admin.listen",
            "admin.keep_versions = 1\nadmin.listen",
            "admin.keep_versions must be at least 2",
        ),
        (
            "admin.token.metadata = [\"http://127.0.0.1",
            "admin.token.metadata = [\"http://entra.example",
            "admin.token.metadata",
        ),
        (
            "admin.listen",
            "admin.listne = 1\nadmin.listen",
            "did you mean `listen`?",
        ),
    ] {
        let config = admin.replace(from, to);
        assert_ne!(config, admin);
        fs::write(stage.file("claimsmith.toml"), claimsmith_tests::host_config(&config)).unwrap();
        let (status, printed) = Host::fail_to_start(stage.directory.path()).await;
        assert_eq!(status.code(), Some(1), "{printed}");
        assert!(printed.contains(error), "{error}: {printed}");
    }
}
