//! The documentation names every key.

use serde::de::DeserializeOwned;

use super::HostConfig;
use crate::tenant::TenantConfig;

/// The keys that are accepted at a place, from the error about one that is not.
fn keys<T: DeserializeOwned>(toml: &str) -> Vec<String> {
    let error = toml::from_str::<T>(toml).err().unwrap().message().to_owned();
    let (_, expected) = error
        .split_once("expected ")
        .unwrap_or_else(|| panic!("{toml}: {error}"));
    let mut keys: Vec<_> = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    keys.sort_unstable();
    keys.dedup();
    assert!(!keys.is_empty(), "{toml}: {error}");
    keys
}

/// Sections with a page of their own, which names their keys alone.
const PAGES: [(&str, &str); 2] = [
    ("telemetry.traces", include_str!("../../../../docs/telemetry.md")),
    ("vault", include_str!("../../../../docs/vault.md")),
];

const DOCUMENTS: [&str; 4] = [
    include_str!("../../../../docs/configuration.md"),
    include_str!("../../../../docs/admin.md"),
    include_str!("../../../../docs/limits.md"),
    include_str!("../../../../docs/upstreams.md"),
];

#[track_caller]
fn assert_documented(section: &str, keys: &[String], tables: &[&str]) {
    for key in keys.iter().filter(|key| !tables.contains(&key.as_str())) {
        let name = format!("{section}{key}");
        // As it is, as a list, or as a table whose members are named.
        let is_documented = ["`", "[]`", "."].iter().any(|end| {
            let named = format!("`{name}{end}");
            DOCUMENTS.iter().any(|document| document.contains(&named))
        });
        assert!(is_documented, "docs/configuration.md does not name `{name}`");
    }
}

#[test]
fn every_key_of_the_host_is_documented() {
    let host = keys::<HostConfig>("zzz = 1");
    assert_documented("", &host, &[]);
    for (section, tables) in [
        ("server", &["tls"][..]),
        ("server.tls", &[]),
        ("runtime", &["cache", "instance_reuse", "breaker", "limits"]),
        ("runtime.cache", &[]),
        ("runtime.instance_reuse", &[]),
        ("runtime.breaker", &[]),
        ("runtime.limits", &[]),
        ("token", &[]),
        ("watch", &[]),
        ("audit", &[]),
        ("rate_limits", &[]),
        ("repeated_callouts", &[]),
        ("last_known_good", &[]),
        ("telemetry", &[]),
        ("log", &[]),
        ("probe", &[]),
        ("admin", &[]),
        ("admin.token", &[]),
    ] {
        let found = keys::<HostConfig>(&format!("[{section}]\nzzz = 1"));
        assert_documented(&format!("{section}."), &found, tables);
    }
    for (section, page) in PAGES {
        for key in keys::<HostConfig>(&format!("[{section}]\nzzz = 1")) {
            assert!(page.contains(&format!("| `{key}` |")), "the page of {section}: {key}");
        }
    }
}

#[test]
fn every_key_of_a_tenant_is_documented() {
    let tenant = keys::<TenantConfig>("zzz = 1");
    assert_documented("", &tenant, &["directories"]);
    let plugins = keys::<TenantConfig>("[plugins]\nzzz = 1");
    assert_documented("plugins.", &plugins, &[]);
    let audit = keys::<TenantConfig>("[audit]\nzzz = 1");
    assert_documented("audit.", &audit, &[]);
    let directory = keys::<TenantConfig>("[[directories]]\nzzz = 1");
    assert_documented("directories[].", &directory, &["metadata"]);
    let extension = keys::<TenantConfig>("[extensions.a]\nzzz = 1");
    assert_documented("extensions.<name>.", &extension, &["bindings"]);
    let binding = keys::<TenantConfig>("[[extensions.a.bindings]]\nzzz = 1");
    assert_documented("extensions.<name>.bindings[].", &binding, &[]);
}
