//! From the configuration to an upstream: everything that can be found wrong is found here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::Breaker;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Certificate, Identity, redirect};
use tokio::sync::Semaphore;
use url::{Host, Url};

use super::authentication::Authentication;
use super::config::{AuthenticationConfig, HttpConfig};
use super::{HttpUpstream, Limits, headers};
use crate::breaker::breaker;
use crate::egress::Egress;
use crate::problem::{Problem, Problems};
use crate::secret::SecretScope;
use crate::tls;

/// What an upstream may ask for at most.
const MAX_RULES: usize = 256;
const MAX_CONCURRENCY: usize = 1_024;
const MAX_BYTES: usize = 8 << 20;
/// Entra's own limit is 2 s.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that nobody uses are closed.
const IDLE: Duration = Duration::from_secs(30);
/// Header fields of one response.
const MAX_RESPONSE_FIELDS: usize = 100;

impl HttpUpstream {
    /// An upstream of a tenant whose secrets are in `scope`, connecting where `egress` allows it to.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(name: &str, config: &HttpConfig, scope: SecretScope<'_>, egress: Egress) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        check_url(config, &egress, &mut problems);
        check_sizes(config, &mut problems);
        let rules = config.allow.iter().enumerate().filter_map(|(index, rule)| {
            let parsed = rule.parse();
            parsed
                .map_err(|message: String| problems.push(Problem::at(format!("allow[{index}]"), message)))
                .ok()
        });
        let rules = rules.collect();
        let headers = own_headers(config, &mut problems);
        let client = client(config, scope, egress)
            .map_err(|problem| problems.push(problem))
            .ok();
        let authenticated = client.and_then(|client| {
            let loaded = Authentication::load(&config.authentication, scope, &client);
            let loaded = loaded.map_err(|problem| problems.push(problem)).ok();
            loaded.map(|authentication| (authentication, client))
        });
        match authenticated {
            Some((authentication, client)) if problems.is_empty() => Ok(Self {
                breaker: breaker(scope.tenant, name),
                tenant: scope.tenant.to_owned(),
                name: name.to_owned(),
                url: config.url.clone(),
                rules,
                headers,
                authentication,
                client,
                places: Semaphore::new(config.concurrency),
                limits: Limits {
                    timeout: config.timeout,
                    retries: config.retries,
                    max_request_bytes: config.max_request_bytes,
                    max_response_bytes: config.max_response_bytes,
                },
            }),
            _ => Err(problems),
        }
    }

    /// Whether it is asked, by how it has fared.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }
}

fn check_url(config: &HttpConfig, egress: &Egress, problems: &mut Problems) {
    check_base("url", &config.url, config.plain_http, egress, problems);
    if let AuthenticationConfig::Oauth2ClientCredentials(oauth) = &config.authentication {
        let place = "authentication.oauth2_client_credentials.token_url";
        check_base(place, &oauth.token_url, config.plain_http, egress, problems);
    }
}

/// What holds for each URL that the host asks.
pub(crate) fn check_base(place: &str, url: &Url, plain_http: bool, egress: &Egress, problems: &mut Problems) {
    let mut wrong = |message: String| problems.push(Problem::at(place, message));
    check_form(url, plain_http, &mut wrong);
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        _ => None,
    };
    // Names are checked when they are resolved; an address in the URL never is.
    if let Some(Err(refused)) = literal.map(|address| egress.check(address)) {
        let hint = if refused.can_be_opened {
            "; if it is meant, name its network in `networks`, which the operator must allow"
        } else {
            ", and cannot be opened"
        };
        wrong(format!("the host does not connect to {refused}{hint}"));
    }
}

fn check_form(url: &Url, plain_http: bool, wrong: &mut impl FnMut(String)) {
    match url.scheme() {
        "https" => {}
        "http" if plain_http => {}
        "http" => {
            wrong("http is not encrypted: expected https, or `plain_http = true` to have it all the same".to_owned());
        }
        other => wrong(format!("`{other}` is no HTTP: expected https")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        wrong("the URL must not hold a user name or password: they belong into `authentication`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        wrong("the URL must not have a query or a fragment".to_owned());
    }
    if url.host().is_none() {
        wrong("the URL has no host".to_owned());
    }
}

fn check_sizes(config: &HttpConfig, problems: &mut Problems) {
    let rules = [
        (
            "allow",
            !config.allow.is_empty(),
            "expected at least one \"METHOD /path\"",
        ),
        ("allow", config.allow.len() <= MAX_RULES, "expected at most 256 entries"),
        ("networks", config.networks.len() <= 64, "expected at most 64 entries"),
        ("retries", config.retries <= 5, "expected at most 5"),
        ("headers", config.headers.len() <= 32, "expected at most 32 entries"),
        (
            "concurrency",
            (1..=MAX_CONCURRENCY).contains(&config.concurrency),
            "expected 1 to 1024",
        ),
        (
            "max_request_bytes",
            config.max_request_bytes <= MAX_BYTES,
            "expected at most 8388608",
        ),
        (
            "max_response_bytes",
            (1..=MAX_BYTES).contains(&config.max_response_bytes),
            "expected 1 to 8388608",
        ),
        (
            "timeout",
            !config.timeout.is_zero() && config.timeout <= MAX_TIMEOUT,
            "expected more than nothing and at most 10s",
        ),
        (
            "connect_timeout",
            !config.connect_timeout.is_zero() && config.connect_timeout <= MAX_TIMEOUT,
            "expected more than nothing and at most 10s",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    problems.extend(broken.map(|(member, _, message)| Problem::at(member, message)));
}

/// The fields of every request.
fn own_headers(config: &HttpConfig, problems: &mut Problems) -> HeaderMap {
    let mut made = HeaderMap::new();
    for (name, value) in &config.headers {
        let header = HeaderName::from_bytes(name.as_bytes()).ok();
        let header = header.filter(|header| !headers::is_hosts(header.as_str()));
        match header.zip(headers::value(value)) {
            Some((header, value)) => {
                made.insert(header, value);
            }
            None => problems.push(Problem::at(
                format!("headers.{name}"),
                "expected a header that can be set, and a value of visible ASCII characters; credentials belong into \
                 `authentication`",
            )),
        }
    }
    made
}

/// A client of this upstream alone: its connections and TLS sessions are nobody else's.
fn client(config: &HttpConfig, scope: SecretScope<'_>, egress: Egress) -> Result<reqwest::Client, Problem> {
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        .http1_only()
        .http1_max_headers(MAX_RESPONSE_FIELDS)
        .tcp_nodelay(true)
        .user_agent(concat!("claimsmith/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(config.concurrency)
        .dns_resolver(egress);
    // The error's text names what was given to the builder, among it the identity.
    let unusable = |_| Problem::at("ca", "the TLS client cannot be made of these certificates");
    let builder = if let Some(ca) = &config.ca {
        let wrong = |message: String| Problem::at("ca", message);
        let pem = ca.read(scope).map_err(wrong)?;
        let certificates = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(wrong(format!("{ca} holds no certificate in PEM")));
        }
        builder.tls_certs_only(certificates)
    } else {
        // Without this it would read them again.
        let system = tls::system_certificates().iter();
        let certificates: Result<Vec<_>, _> = system.map(|certificate| Certificate::from_der(certificate)).collect();
        builder.tls_certs_only(certificates.map_err(unusable)?)
    };
    let builder = match (&config.client_certificate, &config.client_key) {
        (Some(certificate), Some(key)) => {
            let mut pem = certificate
                .read(scope)
                .map_err(|message| Problem::at("client_certificate", message))?;
            let key = key.read(scope).map_err(|message| Problem::at("client_key", message))?;
            pem.push(b'\n');
            pem.extend_from_slice(&key);
            let wrong = |_| Problem::at("client_key", "expected a certificate and its private key, both in PEM");
            builder.identity(Identity::from_pem(&pem).map_err(wrong)?)
        }
        (None, None) => builder,
        (Some(_), None) => return Err(Problem::at("client_certificate", "needs `client_key`, its private key")),
        (None, Some(_)) => return Err(Problem::at("client_key", "needs `client_certificate`")),
    };
    builder.build().map_err(unusable)
}
