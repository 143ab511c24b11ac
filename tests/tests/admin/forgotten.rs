//! A tenant's name that is given to somebody else.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use claimsmith_tests::{eventually, misbehaving};
use serde_json::{Value, json};

use crate::setup::{
    BY_API, activate, admin_url, build, command, json_of, push, refused, stage, start, status, token_of,
};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_gets_a_forgotten_tenants_name_gets_nothing_else() {
    let platform = start("", &[("contoso", BY_API, "")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    activate(&platform, "1.0.0").await;
    let forget = ["forget", "contoso", "--reason", "they left"];
    refused(&platform, &forget, "tenant_exists", "has a directory").await;
    assert_eq!(build(&platform).await, "a");
    refused(
        &platform,
        &["forget", "absent", "--reason", "r"],
        "unknown_tenant",
        "nothing is known",
    )
    .await;

    let aside = platform.directory.path().join("contoso");
    fs::rename(platform.tenant_file(""), &aside).unwrap();
    eventually("it is gone", async || platform.callout().await.0 == 404).await;
    let ended = command(&platform, &forget).await;
    assert_eq!(
        (ended.code, ended.output.as_str()),
        (0, "forgotten, with its versions: 1\n"),
        "{ended:?}"
    );
    assert!(!platform.directory.path().join("state/versions/contoso").exists());

    // A new tenant of the same name, with the same plugins in its file.
    fs::rename(&aside, platform.tenant_file("")).unwrap();
    eventually("it is found", async || platform.callout().await.0 == 503).await;
    let found = status(&platform).await;
    assert_eq!(found["active"], json!([]));
    let mistake = found["mistakes"][0].as_str().unwrap();
    assert!(
        mistake.contains("no version of plugin `misbehaving` is active"),
        "{mistake}"
    );
    let versions = json_of(&platform, &["versions", "--tenant", "contoso"]).await;
    assert_eq!(versions["versions"], json!([]));

    // Its owner sees its own lines, and those who look after the service see all.
    push(&platform, &misbehaving("b"), "1.0.0").await;
    activate(&platform, "1.0.0").await;
    assert_eq!(build(&platform).await, "b");
    let url = format!("{}/tenants/contoso/log", admin_url(&platform).await);
    let owner = token_of(&platform, "Claimsmith.TenantOwner", &["contoso"]);
    let answer = platform.http.get(url).bearer_auth(owner).send().await.unwrap();
    assert_eq!(actions(&answer.json().await.unwrap()), ["activate", "push"]);
    let log = json_of(&platform, &["admin-log", "--tenant", "contoso"]).await;
    assert_eq!(actions(&log), ["activate", "push", "forget", "activate", "push"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_directory_cannot_be_looked_for_is_not_forgotten() {
    let stage = stage("", &[("contoso", BY_API, ""), ("other", BY_API, "")]).await;
    let platform = stage.listen_without_overrides().await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    activate(&platform, "1.0.0").await;
    fs::rename(platform.tenant_file(""), platform.directory.path().join("contoso")).unwrap();
    eventually("it is gone", async || platform.callout().await.0 == 404).await;

    let let_enter = |mode: u32| {
        let tenants = platform.directory.path().join("tenants");
        fs::set_permissions(tenants, Permissions::from_mode(mode)).unwrap();
    };
    let forget = ["forget", "contoso", "--reason", "they left"];
    let_enter(0o644);
    refused(&platform, &forget, "tenant_exists", "cannot be seen: Permission denied").await;
    assert!(platform.directory.path().join("state/versions/contoso").exists());
    let_enter(0o755);
    let ended = command(&platform, &forget).await;
    assert_eq!(ended.code, 0, "{ended:?}");
}

fn actions(log: &Value) -> Vec<&str> {
    let lines = log["lines"].as_array().unwrap().iter();
    lines.map(|line| line["action"].as_str().unwrap()).collect()
}
