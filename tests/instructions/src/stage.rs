//! What the steps are done with: a server that is set up as by its operator, and is asked without a connection.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, StatusCode};
use claimsmith_catalog::{Extension, HostConfig, Lookup};
use claimsmith_contract::token_issuance_start::{Claim, ClaimValue};
use claimsmith_runtime::Compiler;
use claimsmith_server::Server;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{documents, measured};

/// What a step may take: under callgrind all takes fifty times as long.
pub(crate) const TIME: Duration = Duration::from_mins(1);

const REQUEST: &str = include_str!("../../bench/scenario/request.json");
const RULES: &str = include_str!("../../bench/scenario/rules.toml");
const ANSWER: &str = include_str!("../../bench/scenario/answer.json");
/// Tokens of a key that nobody has any more, valid until 2100: the first is the one that is remembered.
const TOKENS: &str = include_str!("../data/tokens.txt");
const CALLOUTS: &str = "/tenants/bench/extensions/claims";

pub(crate) struct Stage {
    extension: Arc<Extension>,
    router: Router,
    remembered: &'static str,
    claims: Vec<Claim>,
    answer: Value,
}

impl Stage {
    /// Starts a server whose configuration and cache of compiled plugins are in `directory`.
    ///
    /// # Errors
    /// When it does not start, or has no keys.
    pub(crate) async fn set(directory: &Path, plugin: &Path) -> anyhow::Result<Self> {
        let documents = documents::serve().await?;
        let file = configure(directory, plugin, documents).context("the configuration cannot be written")?;
        let config = HostConfig::read(&file)?;
        let server = Server::start(config, &file, Compiler::InProcess).await?;
        let Lookup::Found(extension) = server.catalog().get().find("bench", "claims") else {
            bail!("the tenant was not loaded");
        };
        let remembered = TOKENS.lines().next().context("there is no token")?;
        let deadline = tokio::time::Instant::now() + TIME;
        extension.token_policy.validate(remembered, deadline).await?;
        let answer: Value = serde_json::from_str(ANSWER)?;
        Ok(Self {
            router: server.router(),
            claims: claims(&answer)?,
            extension,
            remembered,
            answer,
        })
    }

    /// Does each step once, and sees that it does what it should. `new` is a token that was not used before.
    pub(crate) fn each_step(&mut self, runtime: &Runtime, new: &str) -> anyhow::Result<()> {
        let policy = &self.extension.token_policy;
        let callout = measured::parse(REQUEST.as_bytes())?;
        measured::remembered_token(runtime, policy, self.remembered)?;
        measured::new_token(runtime, policy, new)?;
        let rendered = measured::render(&self.claims)?;
        ensure!(
            serde_json::from_slice::<Value>(&rendered)? == self.answer,
            "other claims are rendered"
        );

        let choice = self.extension.choice(None);
        let bound = choice.bindings.first().context("the extension has no binding")?;
        let report = measured::invocation(runtime, &bound.binding, claimsmith_server::context(&callout, &[]));
        ensure!(
            report.result?.len() == self.claims.len(),
            "the plugin answered other claims"
        );

        let response = measured::callout(runtime, &mut self.router, request(Some(self.remembered))?);
        let status = response.status();
        let body = runtime.block_on(to_bytes(response.into_body(), 1 << 20))?;
        let said = String::from_utf8_lossy(&body);
        ensure!(status == StatusCode::OK, "the callout was refused: {status} {said}");
        ensure!(
            serde_json::from_slice::<Value>(&body)? == self.answer,
            "the callout was answered otherwise"
        );

        let response = measured::refusal(runtime, &mut self.router, request(None)?);
        let expected = response.status() == StatusCode::UNAUTHORIZED;
        ensure!(
            expected,
            "a callout without a token was answered with {}",
            response.status()
        );
        Ok(())
    }
}

/// The tokens that each step is done with, which no callout has had before.
pub(crate) fn new_tokens() -> impl Iterator<Item = &'static str> {
    TOKENS.lines().skip(1)
}

/// Writes the configuration of a host and its one tenant; the host's file.
fn configure(directory: &Path, plugin: &Path, documents: SocketAddr) -> io::Result<std::path::PathBuf> {
    let tenant = directory.join("tenants/bench");
    fs::create_dir_all(tenant.join("plugins"))?;
    fs::copy(plugin, tenant.join("plugins/attribute-map.wasm"))?;
    // Few places: callgrind's process has 128 GiB of address space.
    let host = "
        server.listen = \"127.0.0.1:0\"
        token.allow_loopback_http = true
        watch.enabled = false
        runtime.max_concurrent_invocations = 2
        runtime.pagemap_scan = \"off\"
        runtime.limits.cpu = \"1s\"
        runtime.cache.directory = \"cache\"
        runtime.cache.key = \"cache.key\"
    ";
    let rules = RULES.replace("[[rules]]", "[[extensions.claims.bindings.settings.rules]]");
    let bench = format!(
        "
        [[directories]]
        id = \"b0000001-0000-4000-8000-000000000001\"
        metadata = [{{ url = \"http://{documents}/document\" }}]

        [extensions.claims]
        event = \"tokenIssuanceStart\"
        audiences = [\"b0000001-0000-4000-8000-0000000000c1\"]
        deadline = \"2s\"

        [[extensions.claims.bindings]]
        plugin = \"attribute-map\"

        {rules}"
    );
    fs::write(tenant.join("tenant.toml"), bench)?;
    let file = directory.join("claimsmith.toml");
    fs::write(&file, host)?;
    Ok(file)
}

/// The claims of the answer that is expected.
fn claims(answer: &Value) -> anyhow::Result<Vec<Claim>> {
    let claims = answer.pointer("/data/actions/0/claims").and_then(Value::as_object);
    let claim = |(id, value): (&String, &Value)| {
        let text = value.as_str().context("a claim is no text")?.to_owned();
        Ok(Claim {
            id: id.clone(),
            value: ClaimValue::Text(text),
        })
    };
    claims.context("the answer has no claims")?.iter().map(claim).collect()
}

/// A callout as Entra sends it.
fn request(token: Option<&str>) -> anyhow::Result<Request> {
    let mut request = Request::builder().method(Method::POST).uri(CALLOUTS);
    request = request.header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    Ok(request.body(Body::from(REQUEST))?)
}
