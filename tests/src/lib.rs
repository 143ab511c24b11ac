//! The harness of the end-to-end tests: a real `claimsmith serve`, built as users build it, real plugins, and a local
//! Entra in the test's own process that calls it as Entra does.
//!
//! [`Platform::start`] gives each test a host of its own on a free loopback port, with its own directory of tenants. What
//! must be set up differently begins with a [`Stage`].

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::allow_attributes,
    reason = "a test harness fails by panicking"
)]

pub mod audit;
mod build;
mod command;
mod documents;
mod host;
pub mod impostor;
mod names;
pub mod otlp;
mod postgres;
pub mod raw;
mod redis;
pub mod signals;
pub mod slapd;
pub mod smtp;
pub mod soak;
mod stage;
pub mod timed;
mod tls;
mod trap;
mod upstream;
mod vault;
pub mod world;

pub use build::{
    cache_caller, canary, directory_caller, host as host_program, http_caller, mail_caller, misbehaving, plugin,
    sql_caller, witness,
};
pub use command::{Ended, run};
pub use documents::{Documents, Mood};
pub use host::{Host, LogLine, eventually};
pub use names::ScriptedNames;
pub use postgres::Postgres;
pub use redis::RedisServer;
pub use slapd::Slapd;
pub use stage::{Stage, host_config, relink, write_tenant};
pub use tls::{Authority, Identity, TlsUpstream};
pub use trap::Trap;
pub use upstream::{Answer, Received, Upstream};
pub use vault::{VaultMood, VaultServer};

use claimsmith_local_entra::{Directory, LocalEntra, SignInRequest};
use claimsmith_runtime::interface::callout::Context;
use reqwest::Response;
use serde_json::Value;
use tempfile::TempDir;
use world::{APPLICATION, DIRECTORY, EXTENSION, USER};

/// What a plugin is given of a callout of which nothing is known.
#[must_use]
pub const fn no_context() -> Context<'static> {
    Context {
        correlation_id: "",
        tenant_id: "",
        listener_id: None,
        extension_id: None,
        client: None,
        protocol: None,
        request_type: None,
        client_service_principal: None,
        resource_service_principal: None,
        user: None,
        additional: &[],
    }
}

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

impl Platform {
    /// Starts a host with one tenant, `contoso`, whose one extension, `claims`, has these bindings (TOML, each beginning
    /// with `[[extensions.claims.bindings]]`), and whose plugins are `misbehaving`, `loyalty-claims` and `attribute-map`.
    pub async fn start(bindings: &str) -> Self {
        Self::start_with("", "", bindings).await
    }

    /// The same with more of the host's configuration (TOML, dotted keys such as `server.max_body_bytes = 9`) and more
    /// members of the extension (TOML).
    pub async fn start_with(host_config: &str, extension_config: &str, bindings: &str) -> Self {
        let stage = Stage::new().await.host_config(host_config);
        let tenant = tenant_toml(&stage.entra, extension_config, bindings);
        stage.tenant("contoso", &tenant).start().await
    }

    /// Ends the host at once, and starts another in its place that is given more arguments.
    pub async fn restart(&mut self, arguments: &[&str]) {
        self.host = Host::start_with(self.directory.path(), arguments).await;
    }

    /// The extension's URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("contoso", "claims")
    }

    /// The URL of any extension.
    #[must_use]
    pub fn url_of(&self, tenant: &str, extension: &str) -> String {
        format!("http://{}/tenants/{tenant}/extensions/{extension}", self.host.address)
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
        self.callout_to(&self.url()).await
    }

    /// Sends a good callout to any extension.
    pub async fn callout_to(&self, url: &str) -> (u16, Value) {
        let request = self.http.post(url).bearer_auth(self.token()).json(&self.body());
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The claims of an answer.
    #[must_use]
    pub fn claims(answer: &Value) -> &Value {
        &answer["data"]["actions"][0]["claims"]
    }

    /// What the host has counted so far, in Prometheus's text format.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.host.address);
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// The sum of a metric's series that have all these labels, each as `name="value"`; 0 when there are none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics().await;
        let of_metric = text.lines().filter(|line| {
            let is_named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
            is_named && labels.iter().all(|label| line.contains(label))
        });
        let values = of_metric.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    /// What `/status` tells of the one extension.
    pub async fn status(&self) -> Value {
        let url = format!("http://{}/status", self.host.address);
        let status: Value = self.http.get(url).send().await.unwrap().json().await.unwrap();
        status["tenants"]["contoso"]["extensions"]["claims"].clone()
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
    format!(
        "{}
[extensions.claims]
event = \"tokenIssuanceStart\"
audiences = {}
{extension_config}
{bindings}",
        world::directories_toml(entra),
        world::audiences_toml(),
    )
}

/// A file of cases below `tests/cases`: an array of objects.
#[must_use]
pub fn cases(file: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("cases")
        .join(file);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}
