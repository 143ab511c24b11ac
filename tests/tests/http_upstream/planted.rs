//! Secrets are planted everywhere that they can be, and looked for in everything that leaves the host, in every form.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use claimsmith_tests::audit::{audit, store};
use claimsmith_tests::{
    Authority, Host, Identity, Platform, Postgres, Stage, TlsUpstream, Upstream, VaultServer, eventually,
};
use serde_json::{Value, json};

use super::{LOOPBACK, add_plugin, probe, tenant, upstream};

/// Each of these has characters that its encoded forms have not.
const FILE: &str = "pl4nted/file+secret=7f3a";
const VARIABLE: &str = "pl4nted/variable+secret=19c2";
const IN_VAULT: &str = "pl4nted/vault+secret=b5d8";
const VAULT_TOKEN: &str = "pl4nted/vault+token=c0de";
const CLIENT: &str = "pl4nted/client+secret=e1e1";
const DATABASE: &str = "pl4nted/database+secret=a7c4";
const DIRECTORY: &str = "pl4nted/directory+secret=4b11";
const MAIL: &str = "pl4nted/mail+secret=90fe";
const REDIS: &str = "pl4nted/redis+secret=3d6a";
/// What the server hands out to who has the client's secret.
const ACCESS_TOKEN: &str = "token-1";

/// Every form in which a text may be written.
fn forms(secret: &str) -> Vec<String> {
    let each = |form: fn(u8) -> String| secret.bytes().map(form).collect::<Vec<_>>().concat();
    let hexadecimal = each(|byte| format!("{byte:02x}"));
    let percent = each(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    });
    let every_percent = each(|byte| format!("%{byte:02X}"));
    let mut forms = vec![
        secret.to_owned(),
        hexadecimal.to_uppercase(),
        hexadecimal,
        percent.to_lowercase(),
        percent,
        every_percent.to_lowercase(),
        every_percent,
    ];
    // Wherever it begins in what was encoded: without the characters that its neighbours have a part in.
    for before in 0..3 {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let encoded = engine.encode(format!("{}{secret}", "x".repeat(before)));
            let (first, last) = (before * 4 / 3 + usize::from(before > 0), encoded.len() - 2);
            forms.push(encoded.get(first..last).unwrap().to_owned());
        }
    }
    forms
}

fn assert_absent(place: &str, bytes: &[u8], secrets: &[&str]) {
    for secret in secrets {
        for form in forms(secret) {
            let found = bytes.windows(form.len()).any(|window| window == form.as_bytes());
            assert!(!found, "{place} holds {secret} as {form}");
        }
    }
}

/// Everything below a directory that is not where secrets are kept.
fn assert_absent_below(directory: &Path, secrets: &[&str]) -> usize {
    let mut files = 0;
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "secrets" {
            files += assert_absent_below(&path, secrets);
        } else if path.is_file() && name != "vault-token" {
            assert_absent(&path.display().to_string(), &fs::read(&path).unwrap(), secrets);
            files += 1;
        }
    }
    files
}

/// Those that the host calls, and who the host is to one of them.
struct Servers {
    authority: Authority,
    client: Identity,
    http: Upstream,
    mutual: TlsUpstream,
    database: Postgres,
}

impl Servers {
    async fn start() -> Self {
        let authority = Authority::new();
        let identity = authority.issue("localhost");
        Self {
            client: authority.issue("claimsmith"),
            http: Upstream::start().await,
            mutual: TlsUpstream::start(&authority, "localhost", true),
            database: Postgres::with_database(&identity, "claims", DATABASE, "people", "select 1"),
            authority,
        }
    }
}

/// Upstreams of the other kinds. Their secrets are read when the tenant is loaded; nobody listens where they are, except the
/// database, which is connected to then.
fn others(database: &Postgres) -> String {
    let port = database.port;
    format!(
        "[upstreams.sql]\nkind = \"sql\"\nurl = \"postgres://localhost:{port}/people\"\nnetworks = [\"127.0.0.0/8\", \"::1/128\"]
ca = \"file:ca\"\nauthentication = {{ username = \"claims\", password = \"file:database\" }}\ntimeout = \"5s\"
[upstreams.directory]\nkind = \"directory\"\nurl = \"ldaps://localhost:9\"\nbase = \"dc=contoso\"\nattributes = [\"mail\"]
networks = [\"127.0.0.0/8\"]\nbind = {{ dn = \"cn=claims\", password = \"file:directory\" }}
[upstreams.mail]\nkind = \"mail\"\nurl = \"smtps://localhost:9\"\nfrom = \"no-reply@contoso.example\"
networks = [\"127.0.0.0/8\"]\nauthentication = {{ username = \"claims\", password = \"file:mail\" }}
[upstreams.redis]\nkind = \"redis\"\nurl = \"rediss://localhost:9\"\nnetworks = [\"127.0.0.0/8\"]\npassword = \"file:redis\"\n"
    )
}

/// The private key's beginning, as it is written in PEM.
fn key_line(identity: &Identity) -> &str {
    identity.key.lines().nth(1).unwrap()
}

/// A host whose tenant's upstreams have secrets of every kind.
async fn platform(servers: &Servers) -> Platform {
    let (server, authority) = (&servers.http, &servers.authority);
    let vault = VaultServer::start(authority, VAULT_TOKEN);
    vault.put("secret/data/claimsmith/contoso/crm", json!({ "token": IN_VAULT }));
    let host = format!(
        "{LOOPBACK}\nvault.address = \"https://localhost:{}\"\nvault.ca = \"vault-ca.pem\"\nvault.networks = [\"127.0.0.0/8\"]
vault.refresh_interval = \"100ms\"\nvault.authentication.token = \"file:vault-token\"
runtime.limits.transfer_bytes = 33554432\nruntime.limits.total_transfer_bytes = 67108864",
        vault.address.port()
    );
    let stage = Stage::new().await.host_config(&host);
    fs::write(stage.file("vault-ca.pem"), authority.pem()).unwrap();
    fs::write(stage.file("vault-token"), VAULT_TOKEN).unwrap();
    let token_url = server.url("/token/3600");
    let mut upstreams = upstream("dump", &server.url("/dump"), "max_request_bytes = 8388608");
    for (name, authentication) in [
        (
            "basic",
            "basic = { username = \"ada\", password = \"file:key\" }".to_owned(),
        ),
        (
            "header",
            "header = { name = \"x-key\", value = \"env:CLAIMSMITH__CONTOSO__KEY\" }".to_owned(),
        ),
        ("vault", "bearer = { token = \"vault:crm#token\" }".to_owned()),
        (
            "oauth",
            format!(
                "oauth2_client_credentials = {{ token_url = \"{token_url}\", client_id = \"c\", client_secret = \"file:client\", \
                 client_authentication = \"body\" }}"
            ),
        ),
        (
            "broken",
            format!(
                "oauth2_client_credentials = {{ token_url = \"{}\", client_id = \"c\", client_secret = \"file:client\" }}",
                server.url("/broken")
            ),
        ),
    ] {
        let more = format!("retries = 0\nauthentication = {{ {authentication} }}");
        upstreams += &upstream(name, &server.url(""), &more);
    }
    let url = format!("https://localhost:{}", servers.mutual.address.port());
    let identity = "ca = \"file:ca\"\nclient_certificate = \"file:certificate\"\nclient_key = \"file:private-key\"";
    upstreams += &upstream("mutual", &url, identity).replace("plain_http = true\n", "");
    upstreams += &others(&servers.database);
    let granted = [
        "dump",
        "basic",
        "header",
        "vault",
        "oauth",
        "broken",
        "mutual",
        "sql",
        "directory",
        "mail",
    ];
    let granted = format!(
        "settings.probe = true\ncache.redis = \"redis\"\nupstreams = {}",
        json!(granted)
    );
    let toml = tenant(&stage, &upstreams, &granted);
    let stage = stage.tenant("contoso", &toml);
    let secrets = stage.file("tenants/contoso/secrets");
    fs::create_dir(&secrets).unwrap();
    for (name, secret) in [
        ("key", FILE),
        ("client", CLIENT),
        ("database", DATABASE),
        ("directory", DIRECTORY),
        ("mail", MAIL),
        ("redis", REDIS),
        ("ca", &authority.pem()),
        ("certificate", &servers.client.certificate),
        ("private-key", &servers.client.key),
    ] {
        fs::write(secrets.join(name), secret).unwrap();
    }
    add_plugin(&stage);
    let mut platform = stage.listen("json").await;
    let environment = [("CLAIMSMITH__CONTOSO__KEY", VARIABLE)];
    platform.host = Host::start_in(platform.directory.path(), &environment).await;
    let loaded = |line: &Value| line["message"] == "binding loaded";
    platform.host.log_line("the tenant serves", loaded).await;
    // Vault's server lives as long as its process.
    drop(vault);
    platform
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_secret_leaves_the_host() {
    let servers = Servers::start().await;
    let (platform, server) = (platform(&servers).await, &servers.http);
    let key = key_line(&servers.client);
    let secrets = [
        FILE,
        VARIABLE,
        IN_VAULT,
        VAULT_TOKEN,
        CLIENT,
        ACCESS_TOKEN,
        DATABASE,
        DIRECTORY,
        MAIL,
        REDIS,
        key,
    ];
    // The database has let the host in, which it does with the password alone.
    eventually("the database is connected to", async || {
        servers.database.sessions("claims") > 0
    })
    .await;
    let mut told = vec![probe(&platform, &json!({ "upstream": "mutual", "path": "/x" })).await];
    assert_eq!(told[0]["results"][0], "200", "{told:?}");
    for name in ["basic", "header", "vault", "oauth", "broken"] {
        for path in [
            "/x",
            "/status/401",
            "/status/500",
            "/close",
            "/no-http",
            "/echo-not",
            "/big/300000",
        ] {
            let request = json!({ "upstream": name, "path": path });
            told.push(probe(&platform, &request).await);
        }
    }
    // They were sent: the test would show nothing otherwise.
    let sent: String = server.received().iter().map(|request| request.head.clone()).collect();
    let basic = STANDARD_NO_PAD.encode(format!("ada:{FILE}"));
    for expected in [VARIABLE, IN_VAULT, ACCESS_TOKEN, &basic] {
        assert!(sent.contains(expected), "{expected}: {sent}");
    }
    // The guest's whole memory, after it has called each of them in the same instance.
    let each: Vec<_> = ["basic", "header", "vault", "oauth", "broken", "mutual"].into();
    let request = json!({ "upstream": "dump", "method": "POST", "path": "/x", "memory": true, "before": each });
    assert_eq!(probe(&platform, &request).await["results"][0], "200");
    let dump = server.requests("/dump").remove(0).body;
    assert!(dump.len() > 2 << 16, "{}", dump.len());
    let marker = b"planted-marker-in-the-guest";
    assert!(
        dump.windows(marker.len()).any(|window| window == marker),
        "it is the guest's memory"
    );
    assert_absent("the guest's memory", &dump, &secrets);
    let key = STANDARD.decode(key).unwrap();
    assert!(!dump.windows(key.len()).any(|window| window == key), "the key as it is");

    assert_absent("an answer", Value::from(told).to_string().as_bytes(), &secrets);
    for path in ["/metrics", "/status", "/openapi.json", "/readyz"] {
        let url = format!("http://{}{path}", platform.host.address);
        let answer = platform.http.get(url).send().await.unwrap().bytes().await.unwrap();
        assert_absent(path, &answer, &secrets);
    }
    let shown = audit(&platform, &["query"]).await.output;
    assert!(shown.contains("http.fetch of vault: ok 200"), "{shown}");
    assert_absent("the audit's query", shown.as_bytes(), &secrets);
    let log = Value::from(platform.host.log()).to_string();
    assert!(log.contains("\"TRACE\""), "everything is logged");
    assert_absent("the log", log.as_bytes(), &secrets);
    assert!(store(platform.directory.path()).exists());
    assert!(assert_absent_below(platform.directory.path(), &secrets) > 5);
}
