//! From the configuration to an upstream.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::Breaker;
use redis::{ProtocolVersion, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use url::Url;
use zeroize::Zeroizing;

use super::config::RedisConfig;
use super::connection::{Connections, Server, Tls};
use super::{PLACES, RedisUpstream};
use crate::breaker::breaker;
use crate::egress::Egress;
use crate::problem::{Problem, Problems};
use crate::secret::SecretScope;
use crate::tls;

const DEFAULT_PORT: u16 = 6379;
/// A cache that takes longer is slower than what it saves.
const MAX_TIMEOUT: Duration = Duration::from_millis(500);
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl RedisUpstream {
    /// An upstream of a tenant whose secrets are in `scope`, connecting where `egress` allows it to. Nothing is connected to
    /// yet: a tenant loads whether it answers or not.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(name: &str, config: &RedisConfig, scope: SecretScope<'_>, egress: Egress) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        check_url(config, &egress, &mut problems);
        check_sizes(config, &mut problems);
        let password = config.password.as_ref().map(|password| password.read_text(scope));
        let password = password.transpose().map_err(|why| Problem::at("password", why));
        let password = password.map_err(|problem| problems.push(problem)).ok().flatten();
        let host = config.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        let tls = (config.url.scheme() == "rediss").then(|| encryption(config, host, scope));
        let tls = tls.transpose().map_err(|problem| problems.push(problem)).ok().flatten();
        if !problems.is_empty() {
            return Err(problems);
        }
        let server = Server {
            host: host.to_owned(),
            port: config.url.port().unwrap_or(DEFAULT_PORT),
            egress,
            tls,
            login: Login {
                database: config.database,
                username: config.username.clone(),
                password,
            },
            timeout: config.connect_timeout,
        };
        Ok(Self {
            tenant: scope.tenant.to_owned(),
            name: name.to_owned(),
            connections: Connections::new(server),
            places: Arc::new(Semaphore::new(PLACES)),
            breaker: breaker(scope.tenant, name),
            timeout: config.timeout,
        })
    }

    /// Whether it is asked, by how it has fared.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }
}

/// What a connection begins with.
pub(super) struct Login {
    database: u32,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
}

impl Login {
    /// As the client takes it, which keeps it until the connection is made.
    pub(super) fn info(&self) -> RedisConnectionInfo {
        let info = RedisConnectionInfo::default()
            .set_db(self.database.into())
            // Whose replies to what is asked here have no parts: others are not let through.
            .set_protocol(ProtocolVersion::RESP2)
            .set_skip_set_lib_name();
        let info = match &self.username {
            Some(username) => info.set_username(username),
            None => info,
        };
        match &self.password {
            Some(password) => info.set_password(password.as_str()),
            None => info,
        }
    }
}

fn check_url(config: &RedisConfig, egress: &Egress, problems: &mut Problems) {
    let url = &config.url;
    let mut wrong = |message: String| problems.push(Problem::at("url", message));
    match url.scheme() {
        "rediss" => {}
        "redis" if config.plain_tcp => {}
        "redis" => {
            wrong(
                "redis:// is not encrypted: expected rediss://, or `plain_tcp = true` to have it all the same"
                    .to_owned(),
            );
        }
        other => wrong(format!("`{other}` is no scheme of Redis: expected rediss://host:port")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        wrong("the URL must not hold credentials: they belong into `username` and `password`".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        wrong("the URL must not have a path, a query or a fragment; the number of a database is `database`".to_owned());
    }
    if url.host_str().is_none_or(str::is_empty) {
        wrong("the URL has no host".to_owned());
    }
    // Names are checked when they are resolved.
    if let Some(Err(refused)) = literal(url).map(|address| egress.check(address)) {
        let hint = if refused.can_be_opened {
            "; if it is meant, name its network in `networks`, which the operator must allow"
        } else {
            ", and cannot be opened"
        };
        wrong(format!("the host does not connect to {refused}{hint}"));
    }
}

/// The address in a URL, if it holds one. URLs of schemes that are not the web's keep their hosts as they are written.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn check_sizes(config: &RedisConfig, problems: &mut Problems) {
    let rules = [
        ("networks", config.networks.len() <= 64, "expected at most 64 entries"),
        (
            "username",
            config.username.is_none() || config.password.is_some(),
            "needs `password`",
        ),
        ("database", config.database <= 1_000_000, "expected at most 1000000"),
        (
            "timeout",
            !config.timeout.is_zero() && config.timeout <= MAX_TIMEOUT,
            "expected more than nothing and at most 500ms: callouts wait for it",
        ),
        (
            "connect_timeout",
            !config.connect_timeout.is_zero() && config.connect_timeout <= MAX_CONNECT_TIMEOUT,
            "expected more than nothing and at most 10s",
        ),
        (
            "ca",
            config.ca.is_none() || config.url.scheme() == "rediss",
            "is for rediss://",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    problems.extend(broken.map(|(member, _, message)| Problem::at(member, message)));
}

/// TLS with a server of this name.
fn encryption(config: &RedisConfig, host: &str, scope: SecretScope<'_>) -> Result<Tls, Problem> {
    let wrong = |message: String| Problem::at("ca", message);
    let connector = match &config.ca {
        Some(ca) => {
            let pem = ca.read(scope).map_err(wrong)?;
            tls::connector(Some(&pem)).map_err(|why| wrong(format!("{ca} {why}")))?
        }
        None => tls::connector(None).map_err(|why| wrong(why.to_owned()))?,
    };
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| Problem::at("url", "the host is no name that a certificate can have"))?;
    Ok(Tls { connector, name })
}
