//! The host says who asks, and nobody else learns how.

use std::fs;
use std::sync::Arc;

use claimsmith_tests::{Authority, Host, Platform, Stage, TlsUpstream, Upstream, eventually, raw};
use serde_json::{Value, json};

use super::{LOOPBACK, add_plugin, crm, probe, result, tenant, upstream, with_secrets};

pub(super) const SECRET: &str = "planted-secret-7f3a";

/// What the last request for a path said of who asks.
fn sent(server: &Upstream, path: &str, header: &str) -> String {
    let requests = server.requests(path);
    let head = &requests.last().unwrap().head;
    raw::header(head, header).unwrap_or_default().to_owned()
}

/// Whether anything of the secret is in what the host has said to anybody but the upstream.
fn assert_untold(platform: &Platform, told: &Value, secrets: &[&str]) {
    let said = format!("{told}{}", Value::from(platform.host.log()));
    for secret in secrets {
        assert!(!said.contains(secret), "{secret} was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_credentials_are_the_hosts_and_follow_their_files() {
    let server = Upstream::start().await;
    let mut upstreams = String::new();
    for (name, authentication) in [
        ("header", "header = { name = \"x-api-key\", value = \"file:key\" }"),
        ("basic", "basic = { username = \"ada\", password = \"file:key\" }"),
        ("bearer", "bearer = { token = \"file:key\" }"),
    ] {
        let member = format!("authentication.{authentication}");
        upstreams += &upstream(name, &server.url(&format!("/{name}")), &member);
    }
    let granted = "[\"header\", \"basic\", \"bearer\"]";
    let platform = with_secrets(LOOPBACK, &upstreams, granted, &[("key", &format!("{SECRET}\n"))]).await;
    let mut told = Vec::new();
    for (name, header, expected) in [
        ("header", "x-api-key", SECRET.to_owned()),
        (
            "basic",
            "authorization",
            "Basic YWRhOnBsYW50ZWQtc2VjcmV0LTdmM2E=".to_owned(),
        ),
        ("bearer", "authorization", format!("Bearer {SECRET}")),
    ] {
        let claims = probe(&platform, &json!({ "upstream": name, "path": "/x" })).await;
        assert_eq!(claims["results"][0], "200", "{claims}");
        assert_eq!(sent(&server, &format!("/{name}/x"), header), expected);
        told.push(claims);
        // A plugin cannot put its own in their place.
        let request = json!({ "upstream": name, "path": "/x", "headers": { header: "mine" } });
        let claims = probe(&platform, &request).await;
        assert_eq!(claims["results"][0], "invalid", "{claims}");
        told.push(claims);
    }
    assert_untold(&platform, &told.into(), &[SECRET, "YWRhOnBsYW50ZWQ"]);

    fs::write(platform.tenant_file("secrets/key"), "rotated").unwrap();
    eventually("the new secret is sent", async || {
        result(&platform, &json!({ "upstream": "bearer", "path": "/x" })).await == "200"
            && sent(&server, "/bearer/x", "authorization") == "Bearer rotated"
    })
    .await;
}

/// An upstream whose tokens come from a path of a server.
fn with_tokens(server: &Upstream, path: &str) -> String {
    let authentication = format!(
        "retries = 0
[upstreams.crm.authentication.oauth2_client_credentials]
token_url = \"{}\"
client_id = \"claimsmith\"
client_secret = \"file:client\"
scope = \"crm/.default\"
parameters = {{ audience = \"crm & more\" }}",
        server.url(path)
    );
    crm(server, &authentication)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_once_and_again_when_it_is_not_taken() {
    let server = Upstream::start().await;
    let upstreams = with_tokens(&server, "/slow-token/3600");
    let secrets = [("client", SECRET)];
    let platform = with_secrets(LOOPBACK, &upstreams, "[\"crm\"]", &secrets).await;
    let platform = Arc::new(platform);
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let platform = Arc::clone(&platform);
            tokio::spawn(async move { result(&platform, &json!({ "path": "/protected/1" })).await })
        })
        .collect();
    for asked in asking {
        assert_eq!(asked.await.unwrap(), "200");
    }
    let asked = server.requests("/slow-token");
    assert_eq!(asked.len(), 1, "all of them waited for one token");
    let body = String::from_utf8(asked[0].body.clone()).unwrap();
    assert_eq!(
        body,
        "grant_type=client_credentials&scope=crm%2F.default&audience=crm+%26+more"
    );
    let sent_then = raw::header(&asked[0].head, "authorization").unwrap();
    assert_eq!(sent_then, "Basic Y2xhaW1zbWl0aDpwbGFudGVkLXNlY3JldC03ZjNh");

    // The upstream takes the second token only: one new token, and the request once more.
    let claims = probe(
        &platform,
        &json!({ "path": "/protected/2", "method": "POST", "body": "b" }),
    )
    .await;
    assert_eq!(claims["results"][0], "200");
    assert_eq!(server.requests("/slow-token").len(), 2);
    // It takes none: the plugin is told, after one more token and not after many.
    let refused = probe(&platform, &json!({ "path": "/protected/9" })).await;
    assert_eq!(refused["results"][0], "401");
    assert_eq!(server.requests("/slow-token").len(), 3);
    let told = json!([claims, refused]);
    assert_untold(
        &platform,
        &told,
        &[SECRET, "token-1", "token-2", "token-3", "Y2xhaW1zbWl0"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_renewed_while_the_old_one_is_used() {
    let server = Upstream::start().await;
    let upstreams = with_tokens(&server, "/token/5");
    let platform = with_secrets(LOOPBACK, &upstreams, "[\"crm\"]", &[("client", SECRET)]).await;
    eventually("a new token comes by itself", async || {
        assert_eq!(result(&platform, &json!({ "path": "/protected/1" })).await, "200");
        server.requests("/token").len() > 1
    })
    .await;
    assert!(server.requests("/protected").len() > server.requests("/token").len());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_upstream_is_unavailable_and_the_operator_told() {
    let server = Upstream::start().await;
    let upstreams = with_tokens(&server, "/status/400");
    let platform = with_secrets(LOOPBACK, &upstreams, "[\"crm\"]", &[("client", SECRET)]).await;
    let claims = probe(&platform, &json!({ "path": "/protected/1" })).await;
    assert_eq!(claims["results"][0], "unavailable");
    let tells = |line: &Value| line["why"] == "the token endpoint answered 400";
    platform.host.log_line("the operator is told", tells).await;
    assert!(server.requests("/protected").is_empty());
    assert_untold(&platform, &claims, &[SECRET]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_follow_their_files() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (server, mutual) = (
        TlsUpstream::start(&authority, "localhost", false),
        TlsUpstream::start(&authority, "localhost", true),
    );
    let (client, stranger) = (authority.issue("claimsmith"), other.issue("stranger"));
    let mut upstreams = String::new();
    let identity = "client_certificate = \"file:certificate\"\nclient_key = \"file:key\"";
    for (name, server, more) in [
        ("server", &server, "ca = \"file:ca\"".to_owned()),
        ("mutual", &mutual, format!("ca = \"file:good-ca\"\n{identity}")),
    ] {
        let url = format!("https://localhost:{}", server.address.port());
        upstreams += &upstream(name, &url, &more).replace("plain_http = true\n", "");
    }
    let (pem, other) = (authority.pem(), other.pem());
    let secrets = [
        ("ca", other.as_str()),
        ("good-ca", &pem),
        ("certificate", &stranger.certificate),
        ("key", &stranger.key),
    ];
    let platform = with_secrets(LOOPBACK, &upstreams, "[\"server\", \"mutual\"]", &secrets).await;
    for (name, files) in [
        ("server", [("ca", &pem)].as_slice()),
        ("mutual", &[("certificate", &client.certificate), ("key", &client.key)]),
    ] {
        let request = json!({ "upstream": name, "path": "/x" });
        assert_eq!(result(&platform, &request).await, "unavailable", "{name}");
        for (file, text) in files {
            fs::write(platform.tenant_file("secrets").join(file), text).unwrap();
        }
        eventually("the new file is used", async || {
            result(&platform, &request).await == "200"
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_with_whom_it_should_be() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = TlsUpstream::start(&authority, "localhost", false);
    let misnamed = TlsUpstream::start(&authority, "elsewhere.example", false);
    let foreign = TlsUpstream::start(&other, "localhost", false);
    let mutual = TlsUpstream::start(&authority, "localhost", true);
    let client = authority.issue("claimsmith");
    let stranger = other.issue("stranger");
    let mut upstreams = String::new();
    for (name, server, more) in [
        ("good", &good, "ca = \"file:ca\""),
        ("public", &good, ""),
        ("misnamed", &misnamed, "ca = \"file:ca\""),
        ("foreign", &foreign, "ca = \"file:ca\""),
        ("anonymous", &mutual, "ca = \"file:ca\""),
        (
            "mutual",
            &mutual,
            "ca = \"file:ca\"\nclient_certificate = \"file:client-certificate\"\nclient_key = \"file:client-key\"",
        ),
        (
            "stranger",
            &mutual,
            "ca = \"file:ca\"\nclient_certificate = \"file:stranger-certificate\"\nclient_key = \"file:stranger-key\"",
        ),
    ] {
        let url = format!("https://localhost:{}", server.address.port());
        upstreams += &upstream(name, &url, more).replace("plain_http = true\n", "");
    }
    let secrets = [
        ("ca", authority.pem()),
        ("client-certificate", client.certificate),
        ("client-key", client.key.clone()),
        ("stranger-certificate", stranger.certificate),
        ("stranger-key", stranger.key),
    ];
    let secrets: Vec<_> = secrets.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let granted = "[\"good\", \"public\", \"misnamed\", \"foreign\", \"anonymous\", \"mutual\", \"stranger\"]";
    let platform = with_secrets(LOOPBACK, &upstreams, granted, &secrets).await;
    for (name, expected) in [
        ("good", "200"),
        ("public", "unavailable"),
        ("misnamed", "unavailable"),
        ("foreign", "unavailable"),
        ("anonymous", "unavailable"),
        ("mutual", "200"),
        ("stranger", "unavailable"),
    ] {
        let request = json!({ "upstream": name, "path": "/x" });
        assert_eq!(result(&platform, &request).await, expected, "{name}");
    }
    let served = [
        good.requests(),
        misnamed.requests(),
        foreign.requests(),
        mutual.requests(),
    ];
    assert_eq!(served, [1, 0, 0, 1]);
    assert!(mutual.clients()[0].contains("claimsmith"), "{:?}", mutual.clients());
    let key: String = client.key.lines().skip(1).take(1).collect();
    assert_untold(&platform, &Value::Null, &[&key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_systems_authorities_are_read_once() {
    let authority = Authority::new();
    let server = TlsUpstream::start(&authority, "localhost", false);
    let url = format!("https://localhost:{}", server.address.port());
    let stage = Stage::new().await.host_config(LOOPBACK);
    // The same tenant with another upstream: all of its upstreams are made anew for each.
    let named = |name: &str| {
        let upstreams = upstream(name, &url, "").replace("plain_http = true\n", "");
        let binding = format!("settings.probe = true\nupstreams = [\"{name}\"]");
        tenant(&stage, &upstreams, &binding)
    };
    let (first, second) = (named("first"), named("second"));
    let stage = stage.tenant("contoso", &first);
    add_plugin(&stage);
    let system = stage.file("system.pem");
    fs::write(&system, authority.pem()).unwrap();
    let mut platform = stage.listen("json").await;
    let environment = [("SSL_CERT_FILE", system.to_str().unwrap())];
    platform.host = Host::start_in(platform.directory.path(), &environment).await;
    let status = async |name: &str| result(&platform, &json!({ "upstream": name, "path": "/x" })).await;
    eventually("the first is trusted", async || status("first").await == "200").await;
    fs::remove_file(&system).unwrap();
    fs::write(platform.tenant_file("tenant.toml"), second).unwrap();
    eventually("the second is trusted", async || status("second").await == "200").await;
}
