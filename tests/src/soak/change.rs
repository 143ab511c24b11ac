//! What changes during a soak: a tenant's settings, its plugin, other tenants, and mistakes in between.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::sleep;

use crate::{Platform, misbehaving, world, write_tenant};

/// Between two changes: longer than `watch.debounce` and a compilation, so that most changes are loaded one by one.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes all changes in turn until told to stop, and leaves good files; how many there were.
pub(super) async fn all(platform: Arc<Platform>, stop: Arc<AtomicBool>) -> u64 {
    let tenants = platform.directory.path().join("tenants");
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        change(&platform, &tenants, count);
        count += 1;
        sleep(PAUSE).await;
    }
    settings(&platform, &tenants, "last");
    replace_plugin(&tenants, &fs::read(misbehaving("default")).unwrap());
    let _absent = fs::remove_dir_all(tenants.join("passing")).is_err();
    count
}

fn change(platform: &Platform, tenants: &Path, count: u64) {
    match count % 6 {
        0 => settings(platform, tenants, &count.to_string()),
        1 => {
            let build = if count % 12 < 6 { "soak-a" } else { "soak-b" };
            replace_plugin(tenants, &fs::read(misbehaving(build)).unwrap());
        }
        2 => replace_plugin(tenants, b"not a plugin"),
        3 => write_tenant(&tenants.join("passing"), &tenant(platform, "passing"), "default"),
        4 => fs::write(tenants.join("changing/tenant.toml"), "extensions = \"a mistake\"").unwrap(),
        _ => fs::remove_dir_all(tenants.join("passing")).unwrap(),
    }
}

fn tenant(platform: &Platform, marker: &str) -> String {
    let settings = format!("settings = {{ marker = \"{marker}\" }}");
    let extension = world::extension_toml("claims", "deadline = \"2s\"", "misbehaving", &settings);
    world::directories_toml(&platform.entra) + &extension
}

fn settings(platform: &Platform, tenants: &Path, marker: &str) {
    fs::write(tenants.join("changing/tenant.toml"), tenant(platform, marker)).unwrap();
}

/// Replaces the file at once, as careful operators do.
fn replace_plugin(tenants: &Path, bytes: &[u8]) {
    let scratch = tenants.join("changing/plugins/.scratch");
    fs::write(&scratch, bytes).unwrap();
    fs::rename(scratch, tenants.join("changing/plugins/misbehaving.wasm")).unwrap();
}
