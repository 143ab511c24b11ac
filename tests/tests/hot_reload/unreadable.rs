//! Directories that cannot be looked at for a while, as when a file system fails or permissions are wrong: they are not gone.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Lets the host see the names of tenants, and enter their directories or not.
fn let_enter(platform: &Platform, may: bool) {
    let mode = if may { 0o755 } else { 0o644 };
    fs::set_permissions(platform.directory.path().join("tenants"), Permissions::from_mode(mode)).unwrap();
}

async fn mistakes(platform: &Platform) -> f64 {
    platform
        .metric("claimsmith_tenant_mistakes", &["tenant=\"contoso\""])
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_directory_cannot_be_looked_at_keeps_serving_and_the_mistake_is_told() {
    let stage = Stage::new().await.host_config(OFTEN);
    let toml = tenant(&stage.entra, "first");
    fs::write(stage.file("tenants/README"), "no tenant").unwrap();
    let platform = stage.tenant("contoso", &toml).listen_without_overrides().await;
    eventually_status(&platform, "contoso", "claims", 200).await;
    let before = answered(&platform, "contoso").await;
    let mark = platform.host.log_mark();

    let_enter(&platform, false);
    let is_error = |line: &LogLine| line["level"] == "ERROR";
    let error = platform
        .host
        .log_line_after(mark, "the mistake is told", is_error)
        .await;
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("tenants/contoso/tenant.toml: cannot be read: Permission denied"),
        "{message}"
    );
    assert_eq!(
        (&error["tenant"], &error["keeps_serving"]),
        (&json!("contoso"), &json!(true))
    );
    eventually("an alert can fire", async || mistakes(&platform).await > 0.0).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(answered(&platform, "contoso").await, before);

    // What is not a directory is no tenant then either, and the mistake is told once.
    let log = platform.host.log_after(mark);
    let errors: Vec<_> = log.iter().filter(|line| is_error(line)).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(
        !log.iter()
            .any(|line| line["message"].as_str().unwrap_or_default().contains("tenant removed"))
    );

    let_enter(&platform, true);
    eventually("it is mended", async || mistakes(&platform).await == 0.0).await;
    assert_eq!(answered(&platform, "contoso").await, before);
    fs::remove_dir_all(platform.tenant_file("")).unwrap();
    eventually_status(&platform, "contoso", "claims", 404).await;
}
