//! What pushes may take of the service: its memory, its compiler and its disk are everybody's.

use std::fs;
use std::time::Duration;

use claimsmith_tests::{LogLine, Platform, misbehaving, raw};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::setup::{BY_API, admin_url, command, json_of, push, start, token_of};

/// Components that are pushed and left behind.
const LEFT_BEHIND: usize = 6;

/// A component that is no plugin, which is found when it has been compiled for some seconds: `if x { x = x * x }`, again and
/// again.
fn slow(times: usize) -> Vec<u8> {
    let squares = "local.get 0 if local.get 0 local.get 0 i32.mul local.set 0 end\n".repeat(times);
    let text = format!("(component (core module (func (param i32) (result i32) {squares} local.get 0)))");
    wat::parse_str(text).unwrap()
}

/// Sends a component as a version of contoso's plugin.
async fn send(url: &str, token: &str, version: usize, component: &[u8]) -> TcpStream {
    let head = format!(
        "PUT /tenants/contoso/plugins/misbehaving/versions/{version}.0.0?reason=r HTTP/1.1\r\nhost: admin\r\n\
         authorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n",
        component.len()
    );
    let address = url.strip_prefix("http://").unwrap().parse().unwrap();
    raw::send(address, &[head.as_bytes(), component].concat()).await
}

/// Pushes whose client goes away hold their places: one tenant's do not stand in line for the compiler before another's.
#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_were_left_behind_hold_up_no_other_tenant() {
    let platform = start("", &[("contoso", BY_API, ""), ("fabrikam", BY_API, "")]).await;
    let url = admin_url(&platform).await;
    let token = token_of(&platform, "Claimsmith.TenantDeveloper", &["contoso"]);
    let mark = platform.host.log_mark();
    let mut sent = Vec::new();
    for version in 0..LEFT_BEHIND {
        sent.push(send(&url, &token, version, &slow(12_000 + version)).await);
    }
    let compiling = |line: &LogLine| line["message"] == "compiling a component";
    platform
        .host
        .log_line_after(mark, "the first compiles", compiling)
        .await;
    // Time for the others to get as far as they can.
    sleep(Duration::from_millis(500)).await;
    drop(sent);
    sleep(Duration::from_millis(200)).await;

    let file = misbehaving("a");
    let arguments = [
        "push",
        file.to_str().unwrap(),
        "--tenant",
        "fabrikam",
        "--plugin",
        "misbehaving",
    ];
    let version = ["--version", "1.0.0", "--reason", "r"];
    json_of(&platform, &[&arguments[..], &version].concat()).await;
    let compiled = platform.host.log_after(mark).into_iter().filter(compiling).count();
    assert!(
        compiled <= 3,
        "{compiled} components were compiled before fabrikam's was done"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_versions_have_so_many_bytes_at_most() {
    let size = |build: &str| fs::metadata(misbehaving(build)).unwrap().len();
    let config = format!("admin.max_bytes_per_tenant = {}", size("a") + size("b") - 1);
    let platform = start(&config, &[("contoso", BY_API, ""), ("fabrikam", BY_API, "")]).await;
    push(&platform, &misbehaving("a"), "1.0.0").await;
    // The same file once more takes no room.
    push(&platform, &misbehaving("a"), "1.0.1").await;
    let file = misbehaving("b");
    let of = |tenant| {
        [
            "push",
            file.to_str().unwrap(),
            "--tenant",
            tenant,
            "--plugin",
            "misbehaving",
        ]
    };
    let version = ["--version", "1.1.0", "--reason", "r"];
    let ended = command(&platform, &[&of("contoso")[..], &version].concat()).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.errors.contains("409, too_many_bytes"), "{ended:?}");
    assert!(ended.errors.contains("admin.max_bytes_per_tenant"), "{ended:?}");
    assert_eq!(versions(&platform).await, ["1.0.1", "1.0.0"]);
    let kept = fs::read_dir(platform.directory.path().join("state/versions/contoso/misbehaving")).unwrap();
    assert_eq!(kept.count(), 1, "what was refused is not left on the disk");
    let log = json_of(&platform, &["admin-log", "--tenant", "contoso"]).await;
    let results = log["lines"].as_array().unwrap().iter();
    let results: Vec<_> = results.map(|line| line["result"].clone()).collect();
    assert_eq!(results, ["refused", "done", "done"], "{log}");
    // Another tenant has its own room.
    json_of(&platform, &[&of("fabrikam")[..], &version].concat()).await;
}

async fn versions(platform: &Platform) -> Vec<Value> {
    let versions = json_of(platform, &["versions", "--tenant", "contoso"]).await;
    let versions = versions["versions"].as_array().unwrap().iter();
    versions.map(|version| json!(version["version"])).collect()
}
