//! What outlives a tenant's reloads.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use claimsmith_runtime::{BreakerOptions, Limits, Runtime, RuntimeOptions, TenantShare};
use claimsmith_token::{MetadataOptions, MetadataStore};
use claimsmith_upstreams::{Lookup, Lookups};
use tempfile::TempDir;

use super::Loader;
use crate::catalog::Catalog;
use crate::config::EgressConfig;
use crate::last_known_good::{LastKnownGoodConfig, Memory};
use crate::tools::{Share, lock};

/// Knows no name, and counts those that it was asked for.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Lookup for Counting {
    fn lookup(&self, _name: &str) -> Lookups {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Err(io::Error::from(io::ErrorKind::NotFound)) })
    }
}

fn loader(tenants: &TempDir, runtime: Runtime) -> Loader {
    Loader::new(
        tenants.path().to_owned(),
        Limits::default(),
        BreakerOptions::default(),
        EgressConfig::default(),
        1,
        Arc::new(runtime),
        Arc::new(MetadataStore::offline(MetadataOptions::default())),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_names_are_looked_up_by_one_resolver_before_and_after_a_reload() {
    let tenants = TempDir::new().unwrap();
    let tenant = tenants.path().join("contoso");
    fs::create_dir_all(tenant.join("secrets")).unwrap();
    fs::write(tenant.join("secrets/db"), "secret").unwrap();
    let mut loader = loader(&tenants, Runtime::new(RuntimeOptions::default()).unwrap());
    let lookup = Arc::new(Counting::default());
    let share = Share {
        places: Arc::new(TenantShare::new(1)),
        lookup: Arc::clone(&lookup) as Arc<dyn Lookup>,
        last_known_good: Memory::new(LastKnownGoodConfig::default()),
    };
    lock(&loader.shares).insert("contoso".to_owned(), share);
    let mut catalog = Catalog::default();
    // Databases are connected to when their tenant is loaded.
    for database in ["one", "two"] {
        let toml = format!(
            "directories = []\n[extensions]\n[upstreams.hr]\nkind = \"sql\"\nurl = \"postgres://db.example/{database}\"
authentication = {{ username = \"claims\", password = \"file:db\" }}"
        );
        fs::write(tenant.join("tenant.toml"), toml).unwrap();
        let before = lookup.0.load(Ordering::SeqCst);
        catalog = loader.load(&catalog).await.unwrap().unwrap();
        assert!(lookup.0.load(Ordering::SeqCst) > before, "{database}");
    }
    // A tenant that there is no more has none.
    fs::remove_dir_all(&tenant).unwrap();
    loader.load(&catalog).await.unwrap();
    assert!(lock(&loader.shares).is_empty());
}
