//! Configuration directories for `claimsmith serve`, as an operator would write them: defaults, unless a figure is about
//! a setting.

use std::fs;
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
}

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
        let (cache, audit) = (cache.display().to_string(), self.audit);
        let host = toml! {
            [server]
            listen = listen
            [token]
            allow_loopback_http = true
            [runtime.cache]
            directory = cache
            key = key
            [audit]
            mode = audit
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
            extensions.insert(extension.name.clone(), extension.document().into());
        }
        let (directory_id, metadata_url) = (DIRECTORY.to_string(), self.metadata_url.as_str());
        let document = toml! {
            extensions = extensions
            [[directories]]
            id = directory_id
            metadata = [{ url = metadata_url }]
        };
        Ok(fs::write(directory.join("tenant.toml"), document.to_string())?)
    }
}

impl Extension {
    fn document(&self) -> Table {
        let mut binding = Table::new();
        binding.insert("plugin".to_owned(), self.plugin.clone().into());
        binding.insert("settings".to_owned(), self.settings.clone().into());
        if self.isolation != "fresh" {
            binding.insert("isolation".to_owned(), self.isolation.into());
        }
        Table::from_iter([
            ("event".to_owned(), "tokenIssuanceStart".into()),
            ("audiences".to_owned(), Value::Array(vec![AUDIENCE.to_string().into()])),
            ("bindings".to_owned(), Value::Array(vec![binding.into()])),
        ])
    }
}
