//! TLS on the callout listener, and who a callout is from.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use claimsmith_tests::{Authority, Host, Identity, LogLine, Platform, Stage, eventually, raw, run, world};
use reqwest::{Certificate, Client};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const NAME: &str = "localhost";
const TLS: &str = "server.tls.certificate = \"tls/cert.pem\"
server.tls.key = \"tls/key.pem\"
server.tls.reload_interval = \"100ms\"
server.tls.handshake_timeout = \"300ms\"
server.max_connections = 64
";

fn write(directory: &Path, identity: &Identity) {
    let tls = directory.join("tls");
    fs::create_dir_all(&tls).unwrap();
    fs::write(tls.join("key.pem"), &identity.key).unwrap();
    fs::write(tls.join("cert.pem"), &identity.certificate).unwrap();
}

/// A client that trusts one authority alone, and keeps no connections: each request is a handshake.
fn client(authority: &Authority) -> Client {
    Client::builder()
        .no_proxy()
        .tls_certs_only([Certificate::from_pem(authority.pem().as_bytes()).unwrap()])
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}

async fn stage(identity: &Identity, more: &str) -> Stage {
    let stage = Stage::new().await.host_config(&format!("{TLS}{more}"));
    write(stage.directory.path(), identity);
    let toml = [
        world::directories_toml(&stage.entra),
        world::extension_toml("claims", "", "misbehaving", ""),
    ];
    stage.tenant("contoso", &toml.concat())
}

async fn serving(authority: &Authority) -> Platform {
    let stage = stage(&authority.issue(NAME), "").await;
    let platform = stage.listen_for(client(authority), "json").await;
    eventually("the host is ready", async || {
        let answer = platform.http.get(url(&platform, "/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .await;
    platform
}

fn url(platform: &Platform, path: &str) -> String {
    format!("https://{NAME}:{}{path}", platform.host.address.port())
}

/// A good callout over TLS, and its status.
async fn callout(platform: &Platform, client: &Client) -> reqwest::Result<u16> {
    let request = client.post(url(platform, "/tenants/contoso/extensions/claims"));
    let sent = request.bearer_auth(platform.token()).json(&platform.body()).send();
    Ok(sent.await?.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn callouts_are_answered_over_tls_alone() {
    let authority = Authority::new();
    let platform = serving(&authority).await;
    assert_eq!(callout(&platform, &platform.http).await.unwrap(), 200);
    let address = platform.host.address.to_string();
    let ended = run(platform.directory.path(), &["healthcheck", "--address", &address], "").await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let stranger = client(&Authority::new());
    assert!(callout(&platform, &stranger).await.unwrap_err().is_connect());
    // What speaks HTTP to it gets no HTTP.
    let mut plain = raw::send(platform.host.address, b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    let _reset = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_used_without_a_callout_lost() {
    let old = Authority::new();
    let new = Authority::new();
    let platform = serving(&old).await;
    // One connection that stays, and one for each callout, by a client that trusts both.
    let both = || {
        let certificates = [&old, &new].map(|authority| Certificate::from_pem(authority.pem().as_bytes()).unwrap());
        Client::builder().no_proxy().tls_certs_only(certificates)
    };
    let clients = [
        both().build().unwrap(),
        both().pool_max_idle_per_host(0).build().unwrap(),
    ];
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let request = |client: &Client| {
        let request = client.post(url(&platform, "/tenants/contoso/extensions/claims"));
        request.bearer_auth(platform.token()).json(&platform.body())
    };
    let load = clients.map(|client| {
        let (request, stop, answered) = (request(&client), Arc::clone(&stop), Arc::clone(&answered));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = request.try_clone().unwrap().send().await.unwrap();
                assert_eq!(answer.status(), 200);
                answered.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    write(platform.directory.path(), &new.issue(NAME));
    let only_new = client(&new);
    eventually("the new certificate is used", async || {
        callout(&platform, &only_new).await.is_ok()
    })
    .await;
    let so_far = answered.load(Ordering::Relaxed);
    eventually("callouts go on", async || {
        answered.load(Ordering::Relaxed) > so_far + 20
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for load in load {
        load.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_good_leaves_the_old_one() {
    let authority = Authority::new();
    let platform = serving(&authority).await;
    let wrong = Identity {
        key: authority.issue(NAME).key,
        ..authority.issue(NAME)
    };
    write(platform.directory.path(), &wrong);
    let tells =
        |line: &LogLine| line["level"] == "ERROR" && line["error"].to_string().contains("another certificate's");
    platform.host.log_line("the mistake", tells).await;
    assert_eq!(callout(&platform, &platform.http).await.unwrap(), 200);
    fs::remove_file(platform.directory.path().join("tls/cert.pem")).unwrap();
    let tells = |line: &LogLine| line["level"] == "ERROR" && line["error"].to_string().contains("cannot be read");
    platform.host.log_line("the missing file", tells).await;
    assert_eq!(callout(&platform, &platform.http).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told() {
    let authority = Authority::new();
    let stage = stage(&authority.issue_expired(NAME), "").await;
    let platform = stage.listen_for(client(&authority), "json").await;
    let tells = |line: &LogLine| line["level"] == "WARN" && line["message"].to_string().contains("has expired");
    platform.host.log_line("the expiry", tells).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_do_not_keep_places() {
    let authority = Authority::new();
    let platform = serving(&authority).await;
    // As many as there are places: whoever comes next waits for their handshakes to be given up.
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(platform.host.address).await.unwrap());
    }
    assert_eq!(callout(&platform, &platform.http).await.unwrap(), 200);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_served_is_told_at_start() {
    let good = Authority::new().issue(NAME);
    let nonsense = || "no PEM".to_owned();
    for (certificate, key, expected) in [
        (good.certificate.clone(), nonsense(), "expected a private key in PEM"),
        (nonsense(), good.key.clone(), "expected certificates in PEM"),
        (
            good.certificate.clone(),
            Authority::new().issue(NAME).key,
            "the private key is another certificate's",
        ),
    ] {
        let stage = stage(&Identity { certificate, key }, "").await;
        let (status, printed) = Host::fail_to_start(stage.directory.path()).await;
        assert!(!status.success() && printed.contains(expected), "{expected}: {printed}");
    }
    let stage = stage(&good, "server.tls.other = 1").await;
    let (_, printed) = Host::fail_to_start(stage.directory.path()).await;
    assert!(
        printed.contains("claimsmith.toml:") && printed.contains("other"),
        "{printed}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_trusted_says_who_the_client_is() {
    for (proxies, expected) in [("[\"127.0.0.0/8\"]", "198.51.100.7"), ("[\"10.0.0.0/8\"]", "127.0.0.1")] {
        let platform = Platform::start_with(
            &format!("server.trusted_proxies = {proxies}"),
            "",
            "[[extensions.claims.bindings]]\nplugin = \"misbehaving\"",
        )
        .await;
        let request = platform.http.post(platform.url());
        let request = request.header("x-forwarded-for", "203.0.113.9, 198.51.100.7");
        let request = request.json(&platform.body());
        assert_eq!(request.send().await.unwrap().status(), 401);
        let refused = |line: &LogLine| line["message"] == "callout refused";
        let line = platform.host.log_line("the refusal", refused).await;
        assert_eq!(line["client"], Value::from(expected), "{line}");
    }
}
