//! What is set up before a host starts.

use std::fs;
use std::path::{Path, PathBuf};

use claimsmith_local_entra::LocalEntra;
use tempfile::TempDir;

use crate::world::{self, EXTENSION};
use crate::{Host, Platform, misbehaving, plugin};

/// The host's configuration in all tests, in dotted keys so that a test can add others.
const HOST_CONFIG: &str = "server.listen = \"127.0.0.1:0\"
token.allow_loopback_http = true
audit.mode = \"best_effort\"
watch.debounce = \"30ms\"
watch.rescan = \"1s\"
";

/// A local Entra, and a directory with the configuration of a host that is not running yet.
#[derive(Debug)]
pub struct Stage {
    /// The local Entra.
    pub entra: LocalEntra,
    /// Where `claimsmith.toml` and `tenants` are.
    pub directory: TempDir,
}

impl Stage {
    /// A stage with the usual local Entra and no tenants.
    pub async fn new() -> Self {
        Self::with(LocalEntra::start(world::config()).await.unwrap())
    }

    /// A stage with any local Entra.
    #[must_use]
    pub fn with(entra: LocalEntra) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("tenants")).unwrap();
        let stage = Self { entra, directory };
        stage.host_config("")
    }

    /// Writes the host's configuration, with more of it (TOML, dotted keys; they replace the usual ones).
    #[must_use]
    pub fn host_config(self, more: &str) -> Self {
        fs::write(self.file("claimsmith.toml"), host_config(more)).unwrap();
        self
    }

    /// Writes a tenant's directory with this `tenant.toml` and all plugins.
    #[must_use]
    pub fn tenant(self, name: &str, toml: &str) -> Self {
        write_tenant(&self.file("tenants").join(name), toml, "default");
        self
    }

    /// A file of the host's directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the host and waits until it is ready.
    pub async fn start(self) -> Platform {
        let platform = self.listen("json").await;
        platform.ready().await;
        platform
    }

    /// Starts the host and waits until it listens. `format` is of its log.
    pub async fn listen(self, format: &str) -> Platform {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        self.listen_for(http, format).await
    }

    /// The same for another client.
    pub async fn listen_for(self, http: reqwest::Client, format: &str) -> Platform {
        let host = Host::start(self.directory.path(), format).await;
        self.with_host(http, host)
    }

    /// Starts a host that is bound by the permissions of files, and waits until it listens.
    pub async fn listen_without_overrides(self) -> Platform {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let host = Host::start_without_overrides(self.directory.path()).await;
        self.with_host(http, host)
    }

    fn with_host(self, http: reqwest::Client, host: Host) -> Platform {
        let Self { entra, directory } = self;
        let platform = Platform {
            entra,
            host,
            http,
            directory,
        };
        if platform.entra.directory(world::DIRECTORY).is_ok() {
            platform.entra.set_target_url(EXTENSION, &platform.url()).unwrap();
        }
        platform
    }
}

/// The text of `claimsmith.toml` with more than, or instead of, the usual.
#[must_use]
pub fn host_config(more: &str) -> String {
    let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
    let replaced: Vec<_> = more.lines().filter_map(key).collect();
    let usual = HOST_CONFIG.lines();
    let kept = usual.filter(|line| key(line).is_none_or(|key| !replaced.contains(&key)));
    kept.chain(more.lines()).collect::<Vec<_>>().join("\n") + "\n"
}

/// Writes a tenant's directory with all plugins, of which `misbehaving` is of this build.
pub fn write_tenant(directory: &Path, toml: &str, build: &str) {
    let plugins = directory.join("plugins");
    fs::create_dir_all(&plugins).unwrap();
    for name in ["loyalty-claims", "attribute-map"] {
        fs::copy(plugin(name), plugins.join(format!("{name}.wasm"))).unwrap();
    }
    fs::copy(misbehaving(build), plugins.join("misbehaving.wasm")).unwrap();
    fs::write(directory.join("tenant.toml"), toml).unwrap();
}

/// Makes a link lead elsewhere without a moment in which it leads nowhere.
pub fn relink(target: &Path, link: &Path) {
    let scratch = link.with_file_name(".next");
    std::os::unix::fs::symlink(target, &scratch).unwrap();
    fs::rename(scratch, link).unwrap();
}
