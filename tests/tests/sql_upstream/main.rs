//! Plugins ask databases through the host: what they may execute and what they get, when it ends, and what nobody learns.
//! The host is the real one, and so are the plugins and the servers, which are on loopback and therefore have to be opened
//! by the operator.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

mod calls;
mod configuration;
mod fake;
mod floods;
mod hr;
mod outages;
mod sqlite;
mod sqlite_limits;
mod times;

use std::fs;

use claimsmith_tests::{Authority, Platform, Postgres, Stage, plugin, sql_caller, world};
use serde_json::{Value, json};

/// What the operator allows in most tests.
const LOOPBACK: &str = "egress.networks.contoso = [\"127.0.0.0/8\", \"::1/128\"]
egress.any_statement = [\"contoso\"]\negress.sqlite = [\"contoso\"]";
/// All that Entra allows: whoever runs these tests may be busy.
const DEADLINE: &str = "deadline = \"2s\"";
/// The role's password, which nobody but the database may learn.
const SECRET: &str = "planted-secret-51c2";
/// What most tests ask.
const PEOPLE: &str = "
create type grade as enum ('junior', 'senior');
create table people (id uuid primary key, mail text not null unique, department text, grade grade, level int);
insert into people values
    ('0d1e0001-0000-4000-8000-0000000000f1', 'ada@contoso.example', 'Finance', 'senior', 7),
    ('0d1e0001-0000-4000-8000-0000000000f2', 'grace@fabrikam.example', null, null, null);
create table roles (person uuid references people, role text);
insert into roles values
    ('0d1e0001-0000-4000-8000-0000000000f1', 'HR-ADM'),
    ('0d1e0001-0000-4000-8000-0000000000f1', 'HR-RD');
";

/// A server with a database `people`, and the authority of its certificate.
fn people() -> (Postgres, Authority) {
    let authority = Authority::new();
    let identity = authority.issue("localhost");
    (
        Postgres::with_database(&identity, "claims", SECRET, "people", PEOPLE),
        authority,
    )
}

/// An upstream named `hr` at a server, with more of its members.
fn hr(server: &Postgres, more: &str) -> String {
    upstream(&format!("postgres://localhost:{}/people", server.port), more)
}

fn upstream(url: &str, more: &str) -> String {
    let timeout = if more.contains("timeout") {
        ""
    } else {
        "timeout = \"5s\"\n"
    };
    format!(
        "[upstreams.hr]\nkind = \"sql\"\nurl = \"{url}\"\nauthentication = {{ username = \"claims\", password = \"file:db\" }}
ca = \"file:ca\"\nnetworks = [\"127.0.0.0/8\", \"::1/128\"]\n{timeout}{more}\n"
    )
}

/// The tenant's configuration with one binding of the plugin that asks what callouts hold.
fn tenant(stage: &Stage, upstreams: &str, binding: &str) -> String {
    let extension = world::extension_toml("claims", DEADLINE, "sql-caller", binding);
    format!("{}\n{upstreams}\n{extension}", world::directories_toml(&stage.entra))
}

/// A host that is not running yet, with the secrets of an upstream.
async fn stage(host: &str, upstreams: &str, binding: &str, authority: &Authority) -> (Stage, String) {
    let stage = Stage::new().await.host_config(host);
    let toml = tenant(&stage, upstreams, binding);
    let stage = stage.tenant("contoso", &toml);
    let tenant = stage.file("tenants/contoso");
    fs::create_dir(tenant.join("secrets")).unwrap();
    fs::write(tenant.join("secrets/db"), SECRET).unwrap();
    fs::write(tenant.join("secrets/ca"), authority.pem()).unwrap();
    fs::copy(sql_caller(), tenant.join("plugins/sql-caller.wasm")).unwrap();
    fs::copy(
        plugin("hr-database-claims"),
        tenant.join("plugins/hr-database-claims.wasm"),
    )
    .unwrap();
    (stage, toml)
}

/// A host whose one plugin asks what callouts hold, of an upstream that takes any statement.
async fn asking(upstream: &str, authority: &Authority) -> Platform {
    let upstream = format!("{upstream}any_statement = true\n");
    let (stage, _) = stage(LOOPBACK, &upstream, "upstreams = [\"hr\"]", authority).await;
    stage.start().await
}

/// The same of several upstreams, which are named `u0` and so on. The secret `other-ca` is an authority that nobody has.
async fn asking_all(upstreams: &[String], authority: &Authority) -> Platform {
    let granted: Vec<_> = (0..upstreams.len()).map(|index| format!("u{index}")).collect();
    let named = granted.iter().zip(upstreams);
    let named = named
        .map(|(name, text)| text.replace("[upstreams.hr]", &format!("[upstreams.{name}]")) + "any_statement = true\n");
    let upstreams: String = named.collect();
    let (stage, _) = stage(LOOPBACK, &upstreams, &format!("upstreams = {granted:?}"), authority).await;
    fs::write(stage.file("tenants/contoso/secrets/other-ca"), Authority::new().pem()).unwrap();
    stage.start().await
}

/// Has the plugin ask: the claims that tell what came of it.
async fn probe(platform: &Platform, request: &Value) -> Value {
    let (status, answer) = send(platform, request).await;
    assert_eq!(status, 200, "{request} {answer}");
    Platform::claims(&answer).clone()
}

async fn send(platform: &Platform, request: &Value) -> (u16, Value) {
    send_to(platform, "claims", request).await
}

/// The same to another extension.
async fn send_to(platform: &Platform, extension: &str, request: &Value) -> (u16, Value) {
    let mut body = platform.body();
    body["data"]["authenticationContext"]["user"]["displayName"] = json!(request.to_string());
    let url = platform.url_of("contoso", extension);
    let call = platform.http.post(url).bearer_auth(platform.token()).json(&body);
    let response = call.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// The same: what became of the first request.
async fn result(platform: &Platform, request: &Value) -> String {
    let claims = probe(platform, request).await;
    claims["results"][0].as_str().unwrap_or_default().to_owned()
}

/// The same: the rows.
async fn rows(platform: &Platform, request: &Value) -> Value {
    let claims = probe(platform, request).await;
    let rows = claims["rows"].as_str().unwrap_or_else(|| panic!("{request}: {claims}"));
    serde_json::from_str(rows).unwrap()
}

/// Whether anything of the password is in what the host has said.
fn assert_untold(platform: &Platform, told: &Value) {
    let said = format!("{told}{}", Value::from(platform.host.log()));
    assert!(!said.contains(SECRET), "the password was told");
}
