//! Asking Vault: key/value secrets engine, version 1 or 2, and the `AppRole` login
//! (<https://developer.hashicorp.com/vault/api-docs>).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Response, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use url::Url;
use zeroize::Zeroizing;

use super::config::{VaultAuthentication, VaultConfig};
use super::document::Document;
use crate::egress::Egress;
use crate::http::{check_base, describe, sensitive};
use crate::problem::{Problem, Problems};
use crate::secret::SecretRef;

/// Larger answers are no secrets.
const MAX_ANSWER_BYTES: usize = 256 << 10;
const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
/// Vault's agent and proxies ask for it, against requests that a server was tricked into.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");
/// The least and the most that is believed of how long a login lasts.
const MIN_LOGIN: Duration = Duration::from_secs(5);
const MAX_LOGIN: Duration = Duration::from_hours(1);

pub(super) struct Client {
    http: reqwest::Client,
    address: Url,
    namespace: Option<HeaderValue>,
    mount: String,
    is_version_2: bool,
    timeout: Duration,
    authentication: VaultAuthentication,
    directory: PathBuf,
    /// The last login, made once for all who need it.
    login: moka::future::Cache<(), Arc<Login>>,
}

struct Login {
    token: Zeroizing<String>,
    until: Instant,
}

/// Version 1, and each of the two levels of version 2.
#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Serialize)]
struct LoginBody<'l> {
    role_id: &'l str,
    secret_id: &'l str,
}

#[derive(Deserialize)]
struct LoginAnswer {
    auth: LoginAuth,
}

#[derive(Deserialize)]
struct LoginAuth {
    client_token: Zeroizing<String>,
    lease_duration: u64,
}

impl Client {
    pub(super) fn load(config: &VaultConfig) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let egress = Egress::new(&config.networks);
        check_base("address", &config.address, config.plain_http, &egress, &mut problems);
        check(config, &mut problems);
        let http = http_client(config, egress)
            .map_err(|problem| problems.push(problem))
            .ok();
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace = namespace.unwrap_or_else(|_| {
            problems.push(Problem::at("namespace", "expected visible ASCII characters"));
            None
        });
        match http {
            Some(http) if problems.is_empty() => Ok(Self {
                http,
                address: config.address.clone(),
                namespace,
                mount: config.mount.clone(),
                is_version_2: config.kv_version == 2,
                timeout: config.timeout,
                authentication: config.authentication.clone(),
                directory: config.directory.clone(),
                login: moka::future::Cache::new(1),
            }),
            _ => Err(problems),
        }
    }

    /// What there is at a path.
    ///
    /// # Errors
    /// What the operator or the tenant has to do. Nothing of what is there.
    pub(super) async fn read(&self, path: &str) -> Result<Document, String> {
        let read = timeout(self.timeout, self.read_as_somebody(path)).await;
        let read = read.unwrap_or_else(|_| Err(format!("Vault did not answer within {:?}", self.timeout)));
        let result = if read.is_ok() { "ok" } else { "failed" };
        metrics::counter!("claimsmith_vault_reads_total", "result" => result).increment(1);
        read
    }

    async fn read_as_somebody(&self, path: &str) -> Result<Document, String> {
        let token = self.token().await?;
        let mut response = self.get(path, &token).await?;
        // A login may have ended before its time.
        if response.status() == StatusCode::FORBIDDEN && self.forget_login().await {
            let token = self.token().await?;
            response = self.get(path, &token).await?;
        }
        match response.status() {
            StatusCode::OK if self.is_version_2 => {
                let answer: Data<Data<Document>> = parse(response).await?;
                Ok(answer.data.data)
            }
            StatusCode::OK => parse(response).await.map(|answer: Data<Document>| answer.data),
            StatusCode::NOT_FOUND => Err(format!(
                "Vault has no secret `{path}` in `{}` (404); its key/value engine is taken for version {}",
                self.mount,
                if self.is_version_2 { 2 } else { 1 },
            )),
            StatusCode::FORBIDDEN => Err(format!(
                "Vault denies the service `{path}` in `{}` (403); its policy must let it read there",
                self.mount
            )),
            other => Err(unusual(other)),
        }
    }

    async fn get(&self, path: &str, token: &str) -> Result<Response, String> {
        let below = if self.is_version_2 { Some("data") } else { None };
        let segments = self.mount.split('/').chain(below).chain(path.split('/'));
        let value = HeaderValue::from_str(token).map_err(|_| "the token for Vault is no token")?;
        let request = self.http.get(self.url(segments)?).header(TOKEN, sensitive(value));
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, String> {
        let request = request.header(REQUEST, HeaderValue::from_static("true"));
        let request = match &self.namespace {
            Some(namespace) => request.header(NAMESPACE, namespace.clone()),
            None => request,
        };
        let sent = request.send().await;
        sent.map_err(|error| format!("Vault cannot be reached: {}", describe(&error)))
    }

    fn url<'s>(&self, segments: impl Iterator<Item = &'s str>) -> Result<Url, String> {
        let mut url = self.address.clone();
        url.path_segments_mut()
            .map_err(|()| "vault.address cannot have a path")?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        Ok(url)
    }

    async fn token(&self) -> Result<Zeroizing<String>, String> {
        match &self.authentication {
            VaultAuthentication::Token(token) => self.secret(token).await,
            VaultAuthentication::AppRole {
                role_id,
                secret_id,
                mount,
            } => {
                if self
                    .login
                    .get(&())
                    .await
                    .is_some_and(|login| login.until <= Instant::now())
                {
                    self.login.invalidate(&()).await;
                }
                let login = self
                    .login
                    .try_get_with((), self.log_in(role_id, secret_id, mount))
                    .await;
                let login = login.map_err(|error: Arc<String>| error.to_string())?;
                Ok(login.token.clone())
            }
        }
    }

    /// Forgets a login; false if there is none to be had anew.
    async fn forget_login(&self) -> bool {
        let is_login = matches!(self.authentication, VaultAuthentication::AppRole { .. });
        if is_login {
            self.login.invalidate(&()).await;
        }
        is_login
    }

    async fn log_in(&self, role_id: &str, secret_id: &SecretRef, mount: &str) -> Result<Arc<Login>, String> {
        let began = Instant::now();
        let secret_id = self.secret(secret_id).await?;
        let body = LoginBody {
            role_id,
            secret_id: &secret_id,
        };
        let segments = ["auth"].into_iter().chain(mount.split('/')).chain(["login"]);
        let response = self.send(self.http.post(self.url(segments)?).json(&body)).await?;
        let status = response.status();
        match status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN => {
                return Err(format!(
                    "Vault does not take the service's AppRole ({})",
                    status.as_u16()
                ));
            }
            other => return Err(unusual(other)),
        }
        let LoginAuth {
            client_token,
            lease_duration,
        } = parse::<LoginAnswer>(response).await?.auth;
        // 0 stands for a token that does not end.
        let life = match lease_duration {
            0 => MAX_LOGIN,
            seconds => Duration::from_secs(seconds).clamp(MIN_LOGIN, MAX_LOGIN),
        };
        Ok(Arc::new(Login {
            token: client_token,
            until: began + life * 4 / 5,
        }))
    }

    /// The operator's own secret: of any variable or file.
    async fn secret(&self, reference: &SecretRef) -> Result<Zeroizing<String>, String> {
        let (reference, directory) = (reference.clone(), self.directory.clone());
        let read = tokio::task::spawn_blocking(move || reference.read_as_operator(&directory)).await;
        read.map_err(|_| "the service is stopping".to_owned())?
    }
}

fn check(config: &VaultConfig, problems: &mut Problems) {
    let is_path = |path: &str| !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let has_tenant = config.prefix.split('/').filter(|part| *part == "{tenant}").count() == 1
        && config.prefix.matches(['{', '}']).count() == 2;
    let hour = Duration::from_hours(1);
    let rules = [
        ("kv_version", matches!(config.kv_version, 1 | 2), "expected 1 or 2"),
        (
            "mount",
            is_path(&config.mount),
            "expected a path without empty segments, `.` and `..`",
        ),
        (
            "prefix",
            is_path(&config.prefix) && has_tenant,
            "expected a path with one segment `{tenant}`: without it, tenants would read each other's secrets",
        ),
        (
            "refresh_interval",
            (Duration::from_millis(100)..=24 * hour).contains(&config.refresh_interval),
            "expected 100ms to 24h",
        ),
        (
            "timeout",
            (Duration::from_millis(10)..=Duration::from_mins(1)).contains(&config.timeout),
            "expected 10ms to 1m",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    problems.extend(broken.map(|(member, _, message)| Problem::at(member, message)));
    let secret = match &config.authentication {
        VaultAuthentication::Token(token) => token,
        VaultAuthentication::AppRole { secret_id, .. } => secret_id,
    };
    if matches!(secret, SecretRef::Vault(_)) {
        let message = "what the service needs to read Vault cannot be in Vault: expected `file:` or `env:`";
        problems.push(Problem::at("authentication", message));
    }
}

fn http_client(config: &VaultConfig, egress: Egress) -> Result<reqwest::Client, Problem> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .http1_only()
        .user_agent(concat!("claimsmith/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.timeout)
        .dns_resolver(egress);
    let builder = match &config.ca {
        Some(ca) => builder.tls_certs_only(authorities(&config.directory.join(ca))?),
        None => builder,
    };
    builder
        .build()
        .map_err(|_| Problem::at("ca", "the TLS client cannot be made of these certificates"))
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, Problem> {
    let pem = crate::files::read_regular(path)
        .map_err(|error| Problem::at("ca", format!("{} cannot be read: {error}", path.display())))?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        return Err(Problem::at(
            "ca",
            format!("{} holds no certificate in PEM", path.display()),
        ));
    }
    Ok(certificates)
}

/// What a status means that says nothing of the path.
fn unusual(status: StatusCode) -> String {
    let what = match status.as_u16() {
        429 | 472 | 473 => "Vault is a standby that does not answer",
        503 => "Vault is sealed or in maintenance",
        501 => "Vault is not initialised",
        _ => "Vault failed",
    };
    format!("{what} ({})", status.as_u16())
}

/// Reads an answer, as much of it as may be.
async fn parse<T: DeserializeOwned>(mut response: Response) -> Result<T, String> {
    let mut body = Zeroizing::new(Vec::with_capacity(MAX_ANSWER_BYTES));
    let broken = |error: reqwest::Error| format!("Vault's answer broke off: {}", describe(&error));
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err("Vault's answer is too large".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    // The error's text may quote the secret.
    serde_json::from_slice(&body).map_err(|_| "Vault's answer is not what its API documents".to_owned())
}
