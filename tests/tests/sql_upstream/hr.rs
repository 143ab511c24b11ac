//! The plugin `hr-database-claims`, as its README says it is deployed.

use std::fs;

use claimsmith_tests::{Authority, Platform, Postgres, Stage, plugin, world};
use serde_json::json;

use super::{DEADLINE, LOOPBACK, SECRET, hr, people, send};

const BINDING: &str = r#"
upstreams = ["hr"]
on_failure = "omit"
statements.hr.roles = "select r.role, p.department from people p join roles r on r.person = p.id where p.id = $1 order by r.role"

[extensions.claims.bindings.settings]
statement = "roles"
parameters = ["user.id"]
defaults = { department = "none" }

[extensions.claims.bindings.settings.claims]
department = { column = "department" }
roles = { column = "role", all_rows = true, map = { HR-ADM = "hr.admin" }, unmapped = "keep" }
"#;

async fn start(server: &Postgres, authority: &Authority, binding: &str) -> Platform {
    let stage = Stage::new().await.host_config(LOOPBACK);
    let extension = world::extension_toml("claims", DEADLINE, "hr-database-claims", binding);
    let toml = format!(
        "{}\n{}\n{extension}",
        world::directories_toml(&stage.entra),
        hr(server, "")
    );
    let stage = stage.tenant("contoso", &toml);
    let tenant = stage.file("tenants/contoso");
    fs::create_dir(tenant.join("secrets")).unwrap();
    fs::write(tenant.join("secrets/db"), SECRET).unwrap();
    fs::write(tenant.join("secrets/ca"), authority.pem()).unwrap();
    fs::copy(
        plugin("hr-database-claims"),
        tenant.join("plugins/hr-database-claims.wasm"),
    )
    .unwrap();
    stage.start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_of_a_database_are_in_the_token() {
    let (mut server, authority) = people();
    let platform = start(&server, &authority, BINDING).await;
    let (status, answer) = platform.callout().await;
    let expected = json!({ "department": "Finance", "roles": ["hr.admin", "HR-RD"] });
    assert_eq!((status, Platform::claims(&answer)), (200, &expected), "{answer}");
    // Nobody knows this one.
    server.sql("people", "delete from roles");
    let (status, answer) = platform.callout().await;
    assert_eq!(
        (status, Platform::claims(&answer)),
        (200, &json!({ "department": "none" })),
        "{answer}"
    );
    // Without the database, the binding's policy answers.
    server.stop();
    let (status, answer) = platform.callout().await;
    assert_eq!((status, Platform::claims(&answer)), (200, &json!({})), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_has_its_kind() {
    let (mut server, authority) = people();
    let fails = BINDING.replace("on_failure = \"omit\"\n", "");
    let platform = start(&server, &authority, &fails).await;
    server.sql("people", "alter table people rename column department to unit");
    let (status, answer) = send(&platform, &json!({})).await;
    assert_eq!((status, &answer["code"]), (500, &json!("plugin_internal")), "{answer}");
    server.stop();
    let (status, answer) = send(&platform, &json!({})).await;
    assert_eq!(&answer["code"], &json!("plugin_unavailable"), "{status} {answer}");
}
