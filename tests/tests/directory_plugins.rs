//! The plugins that ask directories, with a real one: groups become roles, and old passwords are taken over.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::Path;

use claimsmith_local_entra::{Config, LocalEntra, SubmitPasswordRequest};
use claimsmith_tests::slapd::{ADA_PASSWORD, BASE, SERVICE, SERVICE_PASSWORD};
use claimsmith_tests::{Authority, Platform, Slapd, Stage, audit, eventually, plugin, world};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

/// The operator's, with records in the store when answers come, so that it can be searched for secrets.
fn host_config() -> String {
    format!(
        "egress.networks.contoso = [\"127.0.0.0/8\", \"::1/128\"]\negress.sqlite = [\"contoso\"]\n{}",
        audit::REQUIRED
    )
}

/// An upstream over LDAPS, as a team would have it.
fn corp(slapd: &Slapd, attributes: &str) -> String {
    format!(
        "[upstreams.corp]\nkind = \"directory\"\nurl = \"ldaps://localhost:{}\"\nca = \"file:ca.pem\"\nbase = \"{BASE}\"
bind = {{ dn = \"{SERVICE}\", password = \"file:service\" }}\nattributes = {attributes}
networks = [\"127.0.0.0/8\", \"::1/128\"]\nallow_authenticate = true\n",
        slapd.ldaps.port()
    )
}

/// A tenant's files: this configuration, one plugin and the secrets of [`corp`].
fn write_tenant(stage: &Stage, toml: &str, name: &str, authority: &Authority) {
    let tenant = stage.file("tenants/contoso");
    for directory in ["plugins", "secrets"] {
        fs::create_dir_all(tenant.join(directory)).unwrap();
    }
    fs::copy(plugin(name), tenant.join(format!("plugins/{name}.wasm"))).unwrap();
    fs::write(tenant.join("secrets/ca.pem"), authority.pem()).unwrap();
    fs::write(tenant.join("secrets/service"), SERVICE_PASSWORD).unwrap();
    fs::write(tenant.join("tenant.toml"), toml).unwrap();
}

fn ldap_groups_toml(entra: &LocalEntra, slapd: &Slapd, groups: &str, roles: &str) -> String {
    let binding = format!(
        "upstreams = [\"corp\"]
[extensions.claims.bindings.settings]
directory = \"corp\"
user = {{ filter = \"(&(objectClass=person)(mail={{mail}}))\", base = \"ou=people,{BASE}\" }}
groups.{groups}
roles = {{ {roles} }}
"
    );
    let extension = world::extension_toml("claims", "", "ldap-groups", &binding);
    let upstream = corp(slapd, "[\"mail\", \"member\", \"memberOf\", \"cn\"]");
    format!("{}{upstream}{extension}", world::directories_toml(entra))
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_become_roles_in_the_token() {
    let authority = Authority::new();
    let mut slapd = Slapd::start_with(&authority, "localhost");
    let admins = format!("cn=Admins, ou=groups, {BASE}");
    for (groups, roles) in [
        (
            "member_of = \"memberOf\"".to_owned(),
            format!("admin = [\"{admins}\"], other = [\"cn=other\"]"),
        ),
        (
            format!("search = {{ filter = \"(member={{member}})\", base = \"ou=groups,{BASE}\", name = \"cn\" }}"),
            "admin = [\"admins\"], reader = [\"Readers\"]".to_owned(),
        ),
    ] {
        let stage = Stage::new().await.host_config(&host_config());
        let toml = ldap_groups_toml(&stage.entra, &slapd, &groups, &roles);
        write_tenant(&stage, &toml, "ldap-groups", &authority);
        let platform = stage.start().await;
        let (status, answer) = platform.callout().await;
        let expected = if roles.contains("reader") {
            json!(["admin", "reader"])
        } else {
            json!(["admin"])
        };
        assert_eq!(
            (status, &Platform::claims(&answer)["roles"]),
            (200, &expected),
            "{answer}"
        );

        // Somebody else's mail, with what would be another filter.
        for mail in ["*", "ada@contoso.example)(mail=*", "nobody@contoso.example"] {
            let mut body = platform.body();
            body["data"]["authenticationContext"]["user"]["mail"] = json!(mail);
            let answer: Value = platform.call(&platform.token(), &body).await.json().await.unwrap();
            assert_eq!(Platform::claims(&answer)["roles"], json!([]), "{mail} {answer}");
        }
        let mut body = platform.body();
        body["data"]["authenticationContext"]["user"]["mail"] = json!("twin@contoso.example");
        let response = platform.call(&platform.token(), &body).await;
        assert_eq!(response.status(), 500, "roles are nobody's");

        slapd.stop();
        let body = platform.body();
        let response = platform.call(&platform.token(), &body).await;
        assert_eq!(response.status(), 500, "the directory is down");
        let line = platform.host.line_of_callout(&body).await;
        assert_eq!(line["outcome"], "plugin_unavailable", "{line}");
        let omitting = toml.replace(
            "plugin = \"ldap-groups\"",
            "plugin = \"ldap-groups\"\non_failure = \"omit\"",
        );
        fs::write(platform.tenant_file("tenant.toml"), omitting).unwrap();
        eventually("users sign in without roles", async || {
            let (status, answer) = platform.callout().await;
            status == 200 && Platform::claims(&answer).get("roles").is_none()
        })
        .await;
        slapd.start_again();
    }
}

const CUSTOMERS: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_0001);
const MIGRATION: Uuid = Uuid::from_u128(0xa1b2_c3d4_0000_4000_8000_0000_0000_00c5);

/// A host whose extension `migration` asks a directory, and a local Entra that calls it.
async fn migrating(slapd: &Slapd, authority: &Authority, settings: &str) -> Platform {
    let settings = format!(
        "directory = {{ upstream = \"corp\", filter = \"(&(objectClass=person)(mail={{username}}))\" }}\n{settings}"
    );
    migrating_from(
        &corp(slapd, "[\"mail\"]"),
        "upstreams = [\"corp\"]",
        &settings,
        authority,
        async |_| (),
    )
    .await
}

/// The same with any upstream (TOML), members of the binding and settings; `prepare` is given the tenant's directory.
async fn migrating_from(
    upstream: &str,
    binding: &str,
    settings: &str,
    authority: &Authority,
    prepare: impl AsyncFnOnce(&Path),
) -> Platform {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/local-entra/example.toml");
    let config = Config::load(&example).unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let entra = LocalEntra::start(Config { listen, ..config }).await.unwrap();
    let limits = "runtime.limits.memory_bytes = 67108864\nruntime.limits.cpu = \"2s\"";
    let stage = Stage::with(entra).host_config(&format!("{}\n{limits}", host_config()));
    let toml = format!(
        "{}{upstream}
[extensions.migration]
event = \"passwordSubmit\"
audiences = [\"a1b2c3d4-0000-4000-8000-0000000000d1\", \"a1b2c3d4-0000-4000-8000-0000000000d2\"]
decryption_keys = [{{ private_key = \"file:migration.key.pem\", certificate = \"file:migration.pem\" }}]
[[extensions.migration.bindings]]
plugin = \"legacy-password\"
{binding}
[extensions.migration.bindings.settings]
{settings}
",
        world::directories_toml(&stage.entra),
    );
    write_tenant(&stage, &toml, "legacy-password", authority);
    let directory = stage.entra.directory(CUSTOMERS).unwrap();
    let key = directory.encryption_key(MIGRATION).unwrap().clone();
    let secrets = stage.file("tenants/contoso/secrets");
    fs::write(secrets.join("migration.key.pem"), key.private_key_pem().unwrap()).unwrap();
    fs::write(secrets.join("migration.pem"), key.certificate_pem().unwrap()).unwrap();
    prepare(&stage.file("tenants/contoso")).await;
    let platform = stage.start().await;
    let url = platform.url_of("contoso", "migration");
    platform.entra.set_target_url(MIGRATION, &url).unwrap();
    platform
}

/// What comes of a password that a user types.
async fn submit(platform: &Platform, password: &str) -> String {
    let request = SubmitPasswordRequest::new(CUSTOMERS, "lin@example.org", password, "Shop");
    match platform.entra.submit_password(&request).await.unwrap().result {
        Ok(submitted) => serde_json::to_value(submitted).unwrap()["result"]
            .as_str()
            .unwrap()
            .to_owned(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_the_directory_knows_is_taken_over() {
    let authority = Authority::new();
    let mut slapd = Slapd::start_with(&authority, "localhost");
    let platform = migrating(&slapd, &authority, "").await;
    assert_eq!(submit(&platform, "wrong-4d1e").await, "retry");
    assert_eq!(submit(&platform, "*").await, "retry");
    // Nobody is migrated while the directory does not say.
    slapd.stop();
    let refused = submit(&platform, ADA_PASSWORD).await;
    assert!(refused.contains("CustomExtensionInvalidHTTPStatus"), "{refused}");
    slapd.start_again();
    assert_eq!(submit(&platform, ADA_PASSWORD).await, "migrated");
    assert_eq!(submit(&platform, ADA_PASSWORD).await, "accepted");
    platform.host.callout_line(0).await;
    let log = Value::from(platform.host.log()).to_string();
    for secret in [ADA_PASSWORD, "wrong-4d1e", SERVICE_PASSWORD] {
        assert!(!log.contains(secret), "{secret} is in the log");
        audit::assert_nowhere_in_store(platform.directory.path(), secret);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_password_that_is_too_short_is_replaced() {
    let authority = Authority::new();
    let slapd = Slapd::start_with(&authority, "localhost");
    let platform = migrating(&slapd, &authority, "min_length = 40").await;
    assert_eq!(submit(&platform, "wrong").await, "retry");
    assert_eq!(submit(&platform, ADA_PASSWORD).await, "update_needed");
}

/// Of Ada's password: argon2i with 19 MiB by `slappasswd`, and bcrypt by `crypt(3)`.
const ARGON2: &str = "$argon2i$v=19$m=19456,t=2,p=1$g6NrUX7ILzUctaT4+wpvuQ$XHaC1SfhWU6t4A7EDolcuZLl9OzjoIJIbzOj2L3K/Rw";
const BCRYPT: &str = "$2b$10$mSsMhBK6c6ZVRttzBZbx5ejF7mstlL2TPyrNY5NaDSZSMgATvFvQq";

#[tokio::test(flavor = "multi_thread")]
async fn a_password_whose_hash_a_database_knows_is_taken_over() {
    for hash in [ARGON2, BCRYPT] {
        let upstream = "[upstreams.shop]\nkind = \"sql\"\nurl = \"sqlite:accounts.db\"\n";
        let binding =
            "upstreams = [\"shop\"]\nstatements.shop.password_hash = \"select hash from accounts where mail = ?1\"";
        let settings = "database = { upstream = \"shop\", statement = \"password_hash\" }";
        let fill = async |tenant: &Path| {
            let options = SqliteConnectOptions::new()
                .filename(tenant.join("accounts.db"))
                .create_if_missing(true);
            let mut database = SqliteConnection::connect_with(&options).await.unwrap();
            sqlx::query("create table accounts (mail text, hash text)")
                .execute(&mut database)
                .await
                .unwrap();
            let insert = sqlx::query("insert into accounts values ('lin@example.org', ?)").bind(hash);
            insert.execute(&mut database).await.unwrap();
            database.close().await.unwrap();
        };
        let platform = migrating_from(upstream, binding, settings, &Authority::new(), fill).await;
        assert_eq!(submit(&platform, "wrong").await, "retry");
        assert_eq!(submit(&platform, "' or 1 = 1 --").await, "retry");
        assert_eq!(submit(&platform, ADA_PASSWORD).await, "migrated");
        let log = Value::from(platform.host.log()).to_string();
        for secret in [ADA_PASSWORD, hash] {
            assert!(!log.contains(secret), "{secret} is in the log");
            audit::assert_nowhere_in_store(platform.directory.path(), secret);
        }
    }
}
