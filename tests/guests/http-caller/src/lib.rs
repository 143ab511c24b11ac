//! Calls an HTTP upstream.
//!
//! By default as a plugin of a tenant would: `calls` requests one after another for the member whose id is the user's, and
//! the last answer's `tier` as a claim. With `probe`, the user's display name holds the request as JSON, whatever is in
//! it, and the claims tell what came of it: this is how tests try requests that no good plugin makes.

use std::collections::BTreeMap;
use std::time::Duration;

use claimsmith_plugin::http::{self, Method, RequestBuilder};
use claimsmith_plugin::{Callout, Claims, Context as _, Result, deadline};
use serde::Deserialize;

/// Of a body, as a claim.
const MAX_SHOWN: usize = 1_000;

#[claimsmith_plugin::settings]
struct Settings {
    /// The upstream, if it is not `crm`. That one is found missing by a callout only.
    upstream: Option<http::Upstream>,
    /// How many requests to make.
    #[serde(default = "default_calls")]
    calls: u32,
    /// The path, with `{id}` for the user's id.
    #[serde(default = "default_path")]
    path: String,
    /// Whether the user's display name holds the request.
    #[serde(default)]
    probe: bool,
}

const fn default_calls() -> u32 {
    1
}

fn default_path() -> String {
    "/members/{id}".to_owned()
}

#[derive(Deserialize)]
struct Member {
    tier: String,
}

/// A request that a test wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Probe {
    upstream: String,
    method: String,
    path: String,
    query: Option<String>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    /// Instead of `body`, so many bytes.
    body_bytes: Option<usize>,
    timeout_ms: Option<u64>,
    /// Instead of `body`, all of the plugin's memory.
    memory: bool,
    /// Upstreams to ask for `/x` before.
    before: Vec<String>,
    /// How often to send it.
    times: usize,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            upstream: "crm".to_owned(),
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: None,
            headers: BTreeMap::new(),
            body: None,
            body_bytes: None,
            timeout_ms: None,
            memory: false,
            before: Vec::new(),
            times: 1,
        }
    }
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let user = callout.user()?;
    if settings.probe {
        let probe = user.display_name.as_deref().context("display name")?;
        return Ok(try_out(&serde_json::from_str(probe).context("the request")?));
    }
    let upstream = settings.upstream.clone().unwrap_or_else(|| http::upstream("crm"));
    let id = user.id.as_deref().or_rejected("the user has no id")?;
    let mut tier = "none".to_owned();
    for _ in 0..settings.calls {
        let request = upstream.get(settings.path.as_str());
        let request = if settings.path.contains("{id}") {
            request.parameter("id", id)
        } else {
            request
        };
        let member: Member = request.json()?;
        tier = member.tier;
    }
    Ok(Claims::new().with("tier", tier))
}

fn try_out(probe: &Probe) -> Claims {
    let mut results = Vec::new();
    let mut claims = Claims::new();
    for upstream in &probe.before {
        // Answered or not: what is of interest is what is left of it.
        drop(http::upstream(upstream.as_str()).get("/x").send());
    }
    for _ in 0..probe.times {
        match request(probe).send() {
            Ok(response) => {
                results.push(response.status().to_string());
                let shown = String::from_utf8_lossy(response.body());
                let headers = response.headers().map(|(name, value)| format!("{name}: {value}"));
                claims = Claims::new()
                    .with("body", shown.chars().take(MAX_SHOWN).collect::<String>())
                    .with("bytes", response.body().len().to_string())
                    .with("headers", headers.collect::<Vec<_>>());
            }
            Err(error) => {
                results.push(code(&error).to_owned());
                claims = Claims::new().with("error", error.to_string());
            }
        }
    }
    let left = deadline::remaining().as_millis().to_string();
    claims.with("results", results).with("left_ms", left)
}

fn request(probe: &Probe) -> RequestBuilder {
    let method = match probe.method.as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        other => Method::Other(other.to_owned()),
    };
    let mut request = http::upstream(probe.upstream.as_str()).request(method, probe.path.as_str());
    if let Some(query) = &probe.query {
        request = request.query_text(query.as_str());
    }
    for (name, value) in &probe.headers {
        request = request.header(name.as_str(), value.as_str());
    }
    if let Some(body) = &probe.body {
        request = request.body(body.as_str());
    }
    if let Some(bytes) = probe.body_bytes {
        request = request.body(vec![b'x'; bytes]);
    }
    if probe.memory {
        request = request.body(memory());
    }
    if let Some(timeout) = probe.timeout_ms {
        request = request.timeout(Duration::from_millis(timeout));
    }
    request
}

/// All of the plugin's memory, as it is now.
#[cfg(target_arch = "wasm32")]
fn memory() -> Vec<u8> {
    // What a test looks for, to know that it is looking in the right place.
    let marker = std::hint::black_box("planted-marker-in-the-guest".to_owned());
    let size = core::arch::wasm32::memory_size(0) << 16;
    // SAFETY: all of it is memory that can be read, and nobody writes meanwhile: there is one thread. The first bytes are left
    // out, because no slice begins at the address 0.
    #[expect(unsafe_code, reason = "no safe Rust reads what it does not own")]
    let bytes = unsafe { std::slice::from_raw_parts(std::ptr::without_provenance::<u8>(16), size - 16) };
    let copy = bytes.to_vec();
    drop(marker);
    copy
}

#[cfg(not(target_arch = "wasm32"))]
const fn memory() -> Vec<u8> {
    Vec::new()
}

const fn code(error: &http::Error) -> &'static str {
    match error {
        http::Error::NotGranted(_) => "not-granted",
        http::Error::NotAllowed(_) => "not-allowed",
        http::Error::Invalid(_) => "invalid",
        http::Error::TooLarge(_) => "too-large",
        http::Error::Unavailable(_) => "unavailable",
        http::Error::QuotaExceeded => "quota-exceeded",
        http::Error::DeadlineExceeded => "deadline-exceeded",
        _ => "other",
    }
}
