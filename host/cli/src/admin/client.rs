//! Talking to the admin API: over the unix socket of a service on this machine, or over HTTP with a token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use claimsmith_catalog::HostConfig;
use reqwest::{Certificate, Method, RequestBuilder, Url};
use serde_json::Value;

/// Longer than an activation is watched, and than a component may compile by default.
const PATIENCE: Duration = Duration::from_mins(3);

/// Which service, and how it is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Connection {
    /// The host's configuration, which says where the unix socket of the admin API is.
    #[arg(long, default_value = "claimsmith.toml", env = "CLAIMSMITH_CONFIG")]
    config: PathBuf,
    /// The admin API of another machine, instead of the unix socket: `https://…`, with a token.
    #[arg(long, env = "CLAIMSMITH_ADMIN_URL", value_parser = admin_url)]
    url: Option<Url>,
    /// The file of the access token for `--url`; without it the variable `CLAIMSMITH_ADMIN_TOKEN` is used.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// The authorities, in PEM, that the certificate at `--url` may be from, instead of the system's.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Asks one service.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    /// For messages.
    place: String,
}

impl Client {
    pub(super) fn new(connection: &Connection) -> Result<Self> {
        let builder = reqwest::Client::builder().timeout(PATIENCE);
        if let Some(url) = &connection.url {
            let token = match &connection.token_file {
                Some(file) => {
                    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
                }
                None => std::env::var("CLAIMSMITH_ADMIN_TOKEN").unwrap_or_default(),
            };
            if token.trim().is_empty() {
                bail!("--url needs an access token: --token-file FILE, or the variable CLAIMSMITH_ADMIN_TOKEN");
            }
            let builder = match &connection.ca_file {
                Some(file) => builder.tls_certs_only(authorities(file)?),
                None => builder,
            };
            return Ok(Self {
                http: builder.build()?,
                base: url.clone(),
                token: Some(token.trim().to_owned()),
                place: url.to_string(),
            });
        }
        let config = HostConfig::read(&connection.config)?;
        let Some(admin) = &config.admin else {
            bail!(
                "{} has no [admin], so its service has no admin API; add it and restart the service, or name another \
                 service by --url",
                connection.config.display()
            );
        };
        let socket = admin.socket();
        Ok(Self {
            http: over(builder, &socket)?,
            base: Url::parse("http://localhost/")?,
            token: None,
            place: socket.display().to_string(),
        })
    }

    pub(super) async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        self.send(self.request(Method::GET, path, query)?).await
    }

    pub(super) async fn put(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        media_type: &str,
        body: Vec<u8>,
    ) -> Result<Value> {
        let request = self.request(Method::PUT, path, query)?;
        self.send(request.header("content-type", media_type).body(body)).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value> {
        self.send(self.request(Method::POST, path, &[])?.json(body)).await
    }

    pub(super) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value> {
        self.send(self.request(Method::DELETE, path, query)?).await
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> Result<RequestBuilder> {
        let mut url = self.base.clone();
        let no_url = |()| anyhow!("{} is no URL that can be asked", self.place);
        url.path_segments_mut().map_err(no_url)?.pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        Ok(match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }

    /// The answer's JSON.
    ///
    /// # Errors
    /// What the service says is wrong, or that nobody answers.
    async fn send(&self, request: RequestBuilder) -> Result<Value> {
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let body: Option<Value> = answer.json().await.ok();
        let Some(body) = body else {
            bail!(
                "{} answered {} without JSON; is it the admin API of a service?",
                self.place,
                status.as_u16()
            );
        };
        if status.is_success() {
            return Ok(body);
        }
        let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
        let errors = body.get("errors").and_then(Value::as_array);
        let errors: Vec<_> = errors.into_iter().flatten().filter_map(Value::as_str).collect();
        bail!(
            "{} ({}, {})\n{}",
            text("title"),
            status.as_u16(),
            text("code"),
            errors.join("\n")
        )
    }

    /// Why nobody answers. The address that was asked is left out: it has the reason that was given in it.
    fn unreachable(&self, error: reqwest::Error) -> anyhow::Error {
        let is_late = error.is_timeout();
        let error = anyhow::Error::new(error.without_url());
        let todo = if self.token.is_none() {
            "does the service run, as this user?"
        } else if is_late {
            "it may be busy; `claimsmith admin-log` says what was done"
        } else if format!("{error:#}").contains("certificate") {
            "name the authority of its certificate by --ca-file, or add it to the system's"
        } else {
            "is the URL right, and does the service, or the proxy before it, listen there?"
        };
        error.context(format!("the admin API at {} does not answer; {todo}", self.place))
    }
}

/// An address that can be asked.
fn admin_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http"));
    url.ok_or_else(|| "expected a URL such as https://admin.example.com".to_owned())
}

fn authorities(file: &Path) -> Result<Vec<Certificate>> {
    let pem = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
    if certificates.is_empty() {
        bail!("{} holds no certificates in PEM", file.display());
    }
    Ok(certificates)
}

#[cfg(unix)]
fn over(builder: reqwest::ClientBuilder, socket: &Path) -> Result<reqwest::Client> {
    Ok(builder.unix_socket(socket).build()?)
}

#[cfg(not(unix))]
fn over(_: reqwest::ClientBuilder, _: &Path) -> Result<reqwest::Client> {
    bail!("this system has no unix sockets; name the service by --url")
}
