//! Configuration directories for `claimsmith serve`, as an operator would write them: defaults, unless a figure is about
//! a setting.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use toml::{Table, Value, toml};

use crate::entra::{AUDIENCE, DIRECTORY};

/// One host's configuration before it is written.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Where its keys come from.
    pub metadata_url: String,
    /// Of the host's audit: `required` or `best_effort`.
    pub audit: &'static str,
    /// Where compiled plugins are kept; `cache` of its own directory if it is none.
    pub cache: Option<PathBuf>,
    /// What serves.
    pub tenants: Vec<Tenant>,
}

/// A tenant.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Its plugins' files: the name without `.wasm`, and the component, which is linked.
    pub plugins: Vec<(String, PathBuf)>,
    /// Its extensions, each with one binding.
    pub extensions: Vec<Extension>,
    /// An HTTP upstream on loopback, which every binding may call as [`UPSTREAM`].
    pub upstream: Option<SocketAddr>,
}

/// The name of a tenant's upstream.
pub const UPSTREAM: &str = "crm";
/// Where upstreams are.
const LOOPBACK: &str = "127.0.0.0/8";
/// Calls to an upstream at once: more than there are connections, so that no call waits for another.
const CONCURRENCY: i64 = 64;

/// An extension with one binding.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// The bound plugin.
    pub plugin: String,
    /// The binding's settings.
    pub settings: Table,
    /// The binding's isolation: `fresh` or `reuse`.
    pub isolation: &'static str,
}

impl Configuration {
    /// The scenario: one tenant with one extension and one binding.
    #[must_use]
    pub fn of_one(metadata_url: &str, component: &Path, settings: Table) -> Self {
        Self {
            metadata_url: metadata_url.to_owned(),
            audit: "best_effort",
            cache: None,
            tenants: vec![Tenant {
                name: "bench".to_owned(),
                plugins: vec![("attribute-map".to_owned(), component.to_owned())],
                extensions: vec![Extension {
                    name: "claims".to_owned(),
                    plugin: "attribute-map".to_owned(),
                    settings,
                    isolation: "fresh",
                }],
                upstream: None,
            }],
        }
    }

    /// The paths of all extensions.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let paths = self.tenants.iter().flat_map(|tenant| {
            let path = |extension: &Extension| format!("/tenants/{}/extensions/{}", tenant.name, extension.name);
            tenant.extensions.iter().map(path)
        });
        paths.collect()
    }

    /// Writes it into a directory in place of what was there, except compiled plugins.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn write(&self, directory: &Path, port: u16) -> Result<()> {
        let tenants = directory.join("tenants");
        if tenants.exists() {
            fs::remove_dir_all(&tenants)?;
        }
        fs::create_dir_all(&tenants)?;
        let cache = self.cache.clone().unwrap_or_else(|| directory.join("cache"));
        let listen = format!("127.0.0.1:{port}");
        let key = cache.with_extension("key").display().to_string();
        // Records of the run before would be searched and pruned too.
        let records = directory.join("audit");
        if records.exists() {
            fs::remove_dir_all(records)?;
        }
        let (cache, audit) = (cache.display().to_string(), self.audit);
        let mut extensions = self.tenants.iter().flat_map(|tenant| &tenant.extensions);
        let reuses = extensions.any(|extension| extension.isolation == "reuse");
        let calling = self.tenants.iter().filter(|tenant| tenant.upstream.is_some());
        let networks: Table = calling
            .map(|tenant| (tenant.name.clone(), vec![LOOPBACK].into()))
            .collect();
        let host = toml! {
            [server]
            listen = listen
            [token]
            allow_loopback_http = true
            [runtime.cache]
            directory = cache
            key = key
            [runtime.instance_reuse]
            allowed = reuses
            [audit]
            mode = audit
            [egress]
            networks = networks
        };
        fs::write(directory.join("claimsmith.toml"), host.to_string())?;
        self.tenants
            .iter()
            .try_for_each(|tenant| self.write_tenant(tenant, &tenants.join(&tenant.name)))
    }

    fn write_tenant(&self, tenant: &Tenant, directory: &Path) -> Result<()> {
        let plugins = directory.join("plugins");
        fs::create_dir_all(&plugins)?;
        for (name, component) in &tenant.plugins {
            let file = plugins.join(name).with_extension("wasm");
            fs::hard_link(component, &file).with_context(|| format!("{} cannot be linked", component.display()))?;
        }
        let mut extensions = Table::new();
        for extension in &tenant.extensions {
            extensions.insert(
                extension.name.clone(),
                extension.document(tenant.upstream.is_some()).into(),
            );
        }
        let (directory_id, metadata_url) = (DIRECTORY.to_string(), self.metadata_url.as_str());
        let mut document = toml! {
            extensions = extensions
            [[directories]]
            id = directory_id
            metadata = [{ url = metadata_url }]
        };
        if let Some(upstream) = tenant.upstream {
            let url = format!("http://{upstream}");
            let upstream = toml! {
                kind = "http"
                url = url
                plain_http = true
                networks = [LOOPBACK]
                allow = ["GET /**"]
                concurrency = CONCURRENCY
            };
            let upstreams = Table::from_iter([(UPSTREAM.to_owned(), upstream.into())]);
            document.insert("upstreams".to_owned(), upstreams.into());
        }
        Ok(fs::write(directory.join("tenant.toml"), document.to_string())?)
    }
}

impl Extension {
    fn document(&self, calls: bool) -> Table {
        let mut binding = Table::new();
        binding.insert("plugin".to_owned(), self.plugin.clone().into());
        binding.insert("settings".to_owned(), self.settings.clone().into());
        if self.isolation != "fresh" {
            binding.insert("isolation".to_owned(), self.isolation.into());
        }
        if calls {
            binding.insert("upstreams".to_owned(), vec![UPSTREAM].into());
        }
        Table::from_iter([
            ("event".to_owned(), "tokenIssuanceStart".into()),
            ("audiences".to_owned(), Value::Array(vec![AUDIENCE.to_string().into()])),
            ("bindings".to_owned(), Value::Array(vec![binding.into()])),
        ])
    }
}
