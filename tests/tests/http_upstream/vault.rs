//! Secrets that Vault keeps: read for a tenant below its own prefix, followed when they change, and kept while Vault is away.

use std::fs;

use claimsmith_tests::{
    Authority, Host, Platform, Stage, Upstream, VaultMood, VaultServer, eventually, host_config, raw,
};
use serde_json::{Value, json};

use super::{LOOPBACK, add_plugin, crm, tenant};

const PATH: &str = "secret/data/claimsmith/contoso/crm";
const TOKEN: &str = "hvs.planted-vault-token";

/// Vault with one secret, and its authority.
fn vault() -> (VaultServer, Authority) {
    let authority = Authority::new();
    let vault = VaultServer::start(&authority, TOKEN);
    vault.put(PATH, json!({ "token": "first", "password": "sesame", "count": 1 }));
    (vault, authority)
}

/// The operator's configuration of Vault, with a token.
fn with_token(vault: &VaultServer) -> String {
    configured(vault, "vault.authentication.token = \"file:vault-token\"")
}

fn configured(vault: &VaultServer, more: &str) -> String {
    format!(
        "{LOOPBACK}\nvault.address = \"https://localhost:{}\"\nvault.ca = \"vault-ca.pem\"\nvault.networks = [\"127.0.0.0/8\"]
vault.refresh_interval = \"100ms\"\nvault.timeout = \"500ms\"\n{more}",
        vault.address.port()
    )
}

/// A host that is not running yet, whose tenant has an upstream with this `authentication`.
async fn stage(host: &str, authority: &Authority, server: &Upstream, authentication: &str) -> Stage {
    let stage = Stage::new().await.host_config(host);
    fs::write(stage.file("vault-ca.pem"), authority.pem()).unwrap();
    fs::write(stage.file("vault-token"), format!("{TOKEN}\n")).unwrap();
    fs::write(stage.file("secret-id"), "s3cret-id").unwrap();
    let upstreams = crm(server, &format!("authentication = {authentication}"));
    let toml = tenant(&stage, &upstreams, "settings.probe = true\nupstreams = [\"crm\"]");
    let stage = stage.tenant("contoso", &toml);
    add_plugin(&stage);
    stage
}

const BEARER: &str = "{ bearer = { token = \"vault:crm#token\" } }";

/// What the upstream was sent last to know who asks.
async fn sent(platform: &Platform, server: &Upstream) -> String {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(json!({ "path": "/x" }).to_string());
    if platform.call(&platform.token(), &body).await.status() != 200 {
        return String::new();
    }
    let requests = server.requests("/x");
    raw::header(&requests.last().unwrap().head, "authorization")
        .unwrap()
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_secrets_are_read_below_its_prefix_and_followed() {
    let ((vault, authority), server) = (vault(), Upstream::start().await);
    let host = with_token(&vault) + "\nvault.namespace = \"team\"";
    let platform = stage(&host, &authority, &server, BEARER).await.start().await;
    assert_eq!(sent(&platform, &server).await, "Bearer first");
    let head = vault.heads().remove(0);
    assert!(head.starts_with(&format!("GET /v1/{PATH} HTTP/1.1\r\n")), "{head}");
    assert_eq!(raw::header(&head, "x-vault-namespace"), Some("team"));
    assert_eq!(raw::header(&head, "x-vault-token"), Some(TOKEN));

    vault.put(PATH, json!({ "token": "rotated" }));
    eventually("the new secret is sent", async || {
        sent(&platform, &server).await == "Bearer rotated"
    })
    .await;
    // The service's own token is rotated by whoever renews it.
    vault.revoke_tokens();
    let failing = |line: &Value| line["message"].to_string().contains("cannot be read from Vault");
    platform.host.log_line("the operator is told", failing).await;
    assert_eq!(sent(&platform, &server).await, "Bearer rotated");
    let said = Value::from(platform.host.log()).to_string();
    for secret in [TOKEN, "first", "rotated", "sesame"] {
        assert!(!said.contains(secret), "{secret} was told");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_is_kept_while_vault_is_away() {
    let ((vault, authority), server) = (vault(), Upstream::start().await);
    let platform = stage(&with_token(&vault), &authority, &server, BEARER)
        .await
        .start()
        .await;
    for mood in [VaultMood::Sealed, VaultMood::Down, VaultMood::Slow, VaultMood::Broken] {
        let mark = platform.host.log_mark();
        vault.set_mood(mood);
        let failing = |line: &Value| line["message"].to_string().contains("those that are known are kept");
        platform
            .host
            .log_line_after(mark, "the operator is told", failing)
            .await;
        // A reload for another reason finds what is known, too.
        let mark = platform.host.log_mark();
        let file = platform.tenant_file("tenant.toml");
        let toml = fs::read_to_string(&file).unwrap();
        fs::write(&file, toml + "# changed\n").unwrap();
        let published = |line: &Value| line["message"].to_string().contains("catalog published");
        platform.host.log_line_after(mark, "reloaded", published).await;
        assert_eq!(sent(&platform, &server).await, "Bearer first", "{mood:?}");
        vault.set_mood(VaultMood::Serve);
        let again = |line: &Value| line["message"] == "secrets are read from Vault again";
        platform.host.log_line_after(mark, "it is back", again).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_vault_does_not_give_is_told_with_the_line() {
    let ((vault, authority), server) = (vault(), Upstream::start().await);
    vault.deny("secret/data/claimsmith/contoso/denied");
    vault.put(
        "secret/data/claimsmith/fabrikam/crm",
        json!({ "token": "another tenant's" }),
    );
    let host = with_token(&vault);
    for (host, reference, mood, expected) in [
        (
            &host,
            "denied#token",
            VaultMood::Serve,
            "denies the service `claimsmith/contoso/denied` in `secret` (403)",
        ),
        (
            &host,
            "absent#token",
            VaultMood::Serve,
            "has no secret `claimsmith/contoso/absent` in `secret` (404)",
        ),
        (
            &host,
            "crm#tokne",
            VaultMood::Serve,
            "the secret has no text field of this name",
        ),
        (
            &host,
            "crm#count",
            VaultMood::Serve,
            "the secret has no text field of this name",
        ),
        (
            &host,
            "../fabrikam/crm#token",
            VaultMood::Serve,
            "expected `vault:PATH#FIELD`",
        ),
        (
            &host,
            "crm#token",
            VaultMood::Sealed,
            "Vault is sealed or in maintenance (503)",
        ),
        (&host, "crm#token", VaultMood::Slow, "Vault did not answer within 500ms"),
        (&host, "crm#token", VaultMood::Broken, "not what its API documents"),
        (&host, "crm#token", VaultMood::Down, "Vault cannot be reached"),
        (
            &LOOPBACK.to_owned(),
            "crm#token",
            VaultMood::Serve,
            "claimsmith.toml needs a section [vault]",
        ),
    ] {
        vault.set_mood(mood);
        let authentication = format!("{{ bearer = {{ token = \"vault:{reference}\" }} }}");
        let stage = stage(host, &authority, &server, &authentication).await;
        let toml = fs::read_to_string(stage.file("tenants/contoso/tenant.toml")).unwrap();
        let line = 1 + toml.lines().position(|line| line.contains("vault:")).unwrap();
        let platform = stage.listen("json").await;
        let tells = |found: &Value| {
            let message = found["message"].as_str().unwrap_or_default();
            message.contains(&format!("tenant.toml:{line}:")) && message.contains("crm") && message.contains(expected)
        };
        platform.host.log_line(expected, tells).await;
        if mood == VaultMood::Down {
            // Down at the start: the tenant serves as soon as Vault does, without anybody's doing.
            vault.set_mood(VaultMood::Serve);
            eventually("the tenant serves", async || {
                sent(&platform, &server).await == "Bearer first"
            })
            .await;
        }
    }
    let asked = vault.heads().concat();
    assert!(
        !asked.contains("fabrikam"),
        "no tenant's reference leads to another's secrets: {asked}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_logs_in_once_and_again_when_its_token_is_not_taken() {
    let ((vault, authority), server) = (vault(), Upstream::start().await);
    vault.set_role("role", "s3cret-id", 3600);
    vault.put("kv/claimsmith/contoso/a", json!({ "id": "ada" }));
    vault.put("kv/claimsmith/contoso/b", json!({ "password": "sesame" }));
    let role = "vault.authentication.app_role = { role_id = \"role\", secret_id = \"file:secret-id\" }";
    let host = configured(&vault, &format!("{role}\nvault.mount = \"kv\"\nvault.kv_version = 1"));
    let basic =
        "{ basic = { username = \"ada\", password = \"vault:b#password\" } }\nheaders = { x-a = \"vault:a#id\" }";
    let platform = stage(&host, &authority, &server, basic).await.start().await;
    assert_eq!(sent(&platform, &server).await, "Basic YWRhOnNlc2FtZQ==");
    assert_eq!(vault.logins(), 1, "for all secrets together");
    vault.revoke_tokens();
    eventually("it logs in anew", async || vault.logins() == 2).await;
    vault.put("kv/claimsmith/contoso/b", json!({ "password": "rotated" }));
    eventually("the new secret is sent", async || {
        sent(&platform, &server).await == "Basic YWRhOnJvdGF0ZWQ="
    })
    .await;
    assert_eq!(vault.logins(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_of_the_operator_are_told_at_the_start() {
    let ((vault, authority), server) = (vault(), Upstream::start().await);
    for (more, expected) in [
        (
            "vault.prefix = \"claimsmith\"",
            "vault.prefix: expected a path with one segment `{tenant}`",
        ),
        ("vault.prefix = \"../{tenant}\"", "vault.prefix: expected"),
        ("vault.kv_version = 3", "vault.kv_version: expected 1 or 2"),
        (
            "vault.address = \"http://localhost:1\"",
            "vault.address: http is not encrypted",
        ),
        (
            "vault.networks = []\nvault.address = \"https://127.0.0.1\"",
            "vault.address: the host does not connect to",
        ),
        ("vault.ca = \"absent.pem\"", "absent.pem cannot be read"),
        (
            "vault.refresh_interval = \"1ms\"",
            "vault.refresh_interval: expected 100ms to 24h",
        ),
        (
            "vault.authentication.token = \"vault:a#b\"",
            "vault.authentication: what the service needs",
        ),
        (
            "vault.authentication.token = \"hvs.planted\"",
            "expected a reference to a secret",
        ),
        ("vault.adress = 1", "did you mean `address`?"),
    ] {
        let stage = stage("", &authority, &server, BEARER).await;
        let key = |line: &str| line.split(" = ").next().unwrap().to_owned();
        let replaced: Vec<_> = more.lines().map(key).collect();
        let usual = with_token(&vault);
        let kept = usual.lines().filter(|line| !replaced.contains(&key(line)));
        let host = kept.chain(more.lines()).collect::<Vec<_>>().join("\n");
        fs::write(stage.file("claimsmith.toml"), host_config(&host)).unwrap();
        let (status, errors) = Host::fail_to_start(stage.directory.path()).await;
        assert!(!status.success() && errors.contains(expected), "{more}: {errors}");
        assert!(!errors.contains("hvs."), "{errors}");
    }
}
