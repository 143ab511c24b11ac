//! The harness of the end-to-end tests: a real `claimsmith serve`, built as users build it, real plugins, and a local
//! Entra in the test's own process that calls it as Entra does.
//!
//! [`Platform::start`] gives each test a host of its own on a free loopback port, with its own directory of tenants.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::allow_attributes,
    reason = "a test harness fails by panicking"
)]

mod build;
mod host;
pub mod world;

pub use build::{misbehaving, plugin};
pub use host::{Host, LogLine, eventually};

use claimsmith_local_entra::{Directory, LocalEntra, SignInRequest};
use reqwest::Response;
use serde_json::Value;
use tempfile::TempDir;
use world::{APPLICATION, DIRECTORY, EXTENSION, USER};

/// A host and the local Entra whose tokens it accepts.
#[derive(Debug)]
pub struct Platform {
    /// The local Entra.
    pub entra: LocalEntra,
    /// The host.
    pub host: Host,
    /// Sends requests to the host; keeps connections.
    pub http: reqwest::Client,
    /// Where the host's configuration is.
    pub directory: TempDir,
}

/// The host's configuration in all tests, in dotted keys so that a test can add others.
const HOST_CONFIG: &str = "server.listen = \"127.0.0.1:0\"
token.allow_loopback_http = true
watch.debounce = \"30ms\"
watch.rescan = \"1s\"
";

impl Platform {
    /// Starts a host with one tenant, `contoso`, whose one extension, `claims`, has these bindings (TOML, each beginning
    /// with `[[extensions.claims.bindings]]`), and whose plugins are `misbehaving`, `loyalty-claims` and `attribute-map`.
    pub async fn start(bindings: &str) -> Self {
        Self::start_with("", "", bindings).await
    }

    /// The same with more of the host's configuration (TOML, dotted keys such as `server.max_body_bytes = 9`) and more
    /// members of the extension (TOML).
    pub async fn start_with(host_config: &str, extension_config: &str, bindings: &str) -> Self {
        let entra = LocalEntra::start(world::config()).await.unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(
            directory.path().join("claimsmith.toml"),
            format!("{host_config}\n{HOST_CONFIG}"),
        )
        .unwrap();
        let tenant = directory.path().join("tenants/contoso");
        std::fs::create_dir_all(tenant.join("plugins")).unwrap();
        for name in ["loyalty-claims", "attribute-map"] {
            std::fs::copy(plugin(name), tenant.join(format!("plugins/{name}.wasm"))).unwrap();
        }
        std::fs::copy(misbehaving("default"), tenant.join("plugins/misbehaving.wasm")).unwrap();
        std::fs::write(
            tenant.join("tenant.toml"),
            tenant_toml(&entra, extension_config, bindings),
        )
        .unwrap();

        let host = Host::start(directory.path()).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let platform = Self {
            entra,
            host,
            http,
            directory,
        };
        platform.entra.set_target_url(EXTENSION, &platform.url()).unwrap();
        platform.ready().await;
        platform
    }

    /// The extension's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/tenants/contoso/extensions/claims", self.host.address)
    }

    /// A file below the tenant's directory.
    #[must_use]
    pub fn tenant_file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join("tenants/contoso").join(name)
    }

    /// The tenant's configuration with other bindings.
    #[must_use]
    pub fn tenant_toml(&self, bindings: &str) -> String {
        tenant_toml(&self.entra, "", bindings)
    }

    /// The directory that signs users in.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        self.entra.directory(DIRECTORY).unwrap()
    }

    /// The token that Entra sends.
    #[must_use]
    pub fn token(&self) -> String {
        self.directory().callout_bearer(EXTENSION).unwrap()
    }

    /// The body that Entra sends for a sign-in of [`USER`].
    #[must_use]
    pub fn body(&self) -> Value {
        let sign_in = SignInRequest::new(DIRECTORY, USER, APPLICATION);
        self.directory().callout_body(&sign_in).unwrap().to_json()
    }

    /// Sends a callout as Entra does, with this token.
    pub async fn call(&self, token: &str, body: &Value) -> Response {
        let request = self.http.post(self.url()).bearer_auth(token).json(body);
        request.send().await.unwrap()
    }

    /// Sends a good callout: its status and its answer (`Null` when that is no JSON).
    pub async fn callout(&self) -> (u16, Value) {
        let response = self.call(&self.token(), &self.body()).await;
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The claims of an answer.
    #[must_use]
    pub fn claims(answer: &Value) -> &Value {
        &answer["data"]["actions"][0]["claims"]
    }

    async fn ready(&self) {
        let url = format!("http://{}/readyz", self.host.address);
        eventually("the host is ready", async || {
            self.http
                .get(&url)
                .send()
                .await
                .is_ok_and(|response| response.status() == 200)
        })
        .await;
    }
}

fn tenant_toml(entra: &LocalEntra, extension_config: &str, bindings: &str) -> String {
    let directories: String = entra.directories().map(world::directory_toml).collect();
    format!(
        "{directories}
[extensions.claims]
event = \"tokenIssuanceStart\"
audiences = [\"{}\", \"{}\"]
{extension_config}
{bindings}",
        world::RESOURCE,
        world::resource_id(),
    )
}
