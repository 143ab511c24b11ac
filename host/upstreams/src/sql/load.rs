//! From the configuration to a database: everything that can be found wrong without asking it is found here.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use claimsmith_runtime::Breaker;
use rustls::pki_types::ServerName;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::config::{Access, SqlConfig};
use super::postgres::Postgres;
use super::relay::{Relay, Target};
use super::sqlite::Sqlite;
use super::{Database, Engine, Limits};
use crate::breaker::breaker;
use crate::egress::Egress;
use crate::problem::{Problem, Problems};
use crate::secret::SecretScope;
use crate::tls;

const MAX_CONNECTIONS: u32 = 64;
const MAX_ROWS: usize = 100_000;
const MAX_BYTES: usize = 8 << 20;
/// Entra's own limit is 2 s.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// The port when the URL has none.
const POSTGRES_PORT: u16 = 5432;
/// The same of a SQLite file: values are made in this process, and what they cost grows with the square of it.
const MAX_FILE_BYTES: usize = 1 << 20;
/// What a message of the server's may have besides values: names and lengths of columns.
const PROTOCOL_BYTES: usize = 1 << 20;
/// What the driver takes from the service's environment for whatever it connects to, and cannot be told not to.
const DRIVERS_VARIABLE: &str = "PGOPTIONS";

impl Database {
    /// A database of a tenant whose secrets are in `scope`, connecting where `egress` allows it to. Must be called in a tokio
    /// runtime. Whether any statement may be executed is the operator's to allow, before.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(name: &str, config: &SqlConfig, scope: SecretScope<'_>, egress: Egress) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        check_sizes(config, &mut problems);
        if !problems.is_empty() {
            // The pools take no such sizes.
            return Err(problems);
        }
        let engine = match config.url.scheme() {
            "postgres" | "postgresql" => postgres(name, config, scope, egress, &mut problems).map(Engine::Postgres),
            "sqlite" => sqlite(config, scope, &mut problems).map(Engine::Sqlite),
            other => {
                let message =
                    format!("`{other}` is no database known here: expected postgres://host/database or sqlite:path");
                problems.push(Problem::at("url", message));
                None
            }
        };
        match engine {
            Some(engine) if problems.is_empty() => Ok(Self {
                breaker: breaker(scope.tenant, name),
                tenant: scope.tenant.to_owned(),
                name: name.to_owned(),
                engine,
                access: config.access,
                any_statement: config.any_statement,
                limits: Limits {
                    timeout: config.timeout,
                    max_rows: config.max_rows,
                    max_bytes: config.max_bytes,
                    max_request_bytes: config.max_request_bytes,
                },
                is_silent: AtomicBool::new(false),
                asked_for: AtomicU64::new(0),
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

fn check_sizes(config: &SqlConfig, problems: &mut Problems) {
    let is_time = |time: Duration| !time.is_zero() && time <= MAX_TIMEOUT;
    let rules = [
        ("networks", config.networks.len() <= 64, "expected at most 64 entries"),
        (
            "connections",
            (1..=MAX_CONNECTIONS).contains(&config.connections),
            "expected 1 to 64",
        ),
        (
            "connect_timeout",
            is_time(config.connect_timeout),
            "expected more than nothing and at most 10s",
        ),
        (
            "timeout",
            is_time(config.timeout),
            "expected more than nothing and at most 10s",
        ),
        (
            "max_rows",
            (1..=MAX_ROWS).contains(&config.max_rows),
            "expected 1 to 100000",
        ),
        (
            "max_bytes",
            (1..=MAX_BYTES).contains(&config.max_bytes),
            "expected 1 to 8388608",
        ),
        (
            "max_request_bytes",
            config.max_request_bytes <= MAX_BYTES,
            "expected at most 8388608",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    problems.extend(broken.map(|(member, _, message)| Problem::at(member, message)));
}

fn postgres(
    name: &str,
    config: &SqlConfig,
    scope: SecretScope<'_>,
    egress: Egress,
    problems: &mut Problems,
) -> Option<Postgres> {
    let mut wrong = |at: &str, message: String| problems.push(Problem::at(at, message));
    let place = place(&config.url, &egress)
        .map_err(|message| wrong("url", message))
        .ok();
    let tls = place.as_ref().and_then(|(host, _)| match config.tls {
        Some(false) => Some(None),
        _ => encryption(config, host, scope)
            .map_err(|message| wrong("ca", message))
            .map(Some)
            .ok(),
    });
    let options = options(config, scope, problems);
    let ((host, database), tls, options) = (place?, tls?, options?);
    let port = config.url.port().unwrap_or(POSTGRES_PORT);
    let relay = Relay::start(Target {
        tenant: scope.tenant.to_owned(),
        upstream: name.to_owned(),
        host: host.clone(),
        port,
        egress,
        tls,
        connect_timeout: config.connect_timeout,
        write_timeout: config.timeout,
        most_bytes: config.max_bytes + PROTOCOL_BYTES,
    });
    let relay = relay.map_err(|error| {
        problems.push(Problem::at(
            "",
            format!("the host cannot make a socket for its connections: {error}"),
        ));
    });
    let relay = relay.ok()?;
    let options = options
        .host(&host)
        .port(port)
        .socket(&relay.directory)
        .database(&database);
    let pool = PgPoolOptions::new()
        .max_connections(config.connections)
        .acquire_timeout(config.timeout.max(config.connect_timeout))
        // A connection that is of no use is found out by the first request on it, without one for that alone.
        .test_before_acquire(false);
    Some(Postgres {
        pool: pool.connect_lazy_with(options),
        relay,
        is_read_only: config.access == Access::ReadOnly,
    })
}

/// The host and the database that a URL names.
fn place(url: &Url, egress: &Egress) -> Result<(String, String), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL must not hold a user name or password: they belong into `authentication`".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the URL must not have a query or a fragment".to_owned());
    }
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if host.is_empty() || !host.bytes().all(is_name) {
        return Err(
            "the URL has no host, or none that is a name or an address: expected postgres://host/database".to_owned(),
        );
    }
    if let Some(Err(refused)) = host.parse::<IpAddr>().ok().map(|address| egress.check(address)) {
        let hint = if refused.can_be_opened {
            "; if it is meant, name its network in `networks`, which the operator must allow"
        } else {
            ", and cannot be opened"
        };
        return Err(format!("the host does not connect to {refused}{hint}"));
    }
    let database = url.path().trim_start_matches('/');
    if database.is_empty() || database.contains(['/', '%']) {
        return Err("the URL names no database: expected postgres://host/database".to_owned());
    }
    Ok((host, database.to_owned()))
}

/// Who the host is.
fn options(config: &SqlConfig, scope: SecretScope<'_>, problems: &mut Problems) -> Option<PgConnectOptions> {
    if std::env::var_os(DRIVERS_VARIABLE).is_some() {
        let message =
            format!("the service's environment has {DRIVERS_VARIABLE}, which would be used here too: unset it");
        problems.push(Problem::at("", message));
    }
    let Some(authentication) = &config.authentication else {
        let message = "`authentication` is missing: expected { username = \"…\", password = \"file:NAME\" }";
        problems.push(Problem::at("", message));
        return None;
    };
    let password = authentication.password.read_text(scope).map_err(|message| {
        problems.push(Problem::at("authentication.password", message));
    });
    let options = PgConnectOptions::new_without_pgpass()
        .username(&authentication.username)
        .password(&password.ok()?)
        // Between the driver and the relay, which is in this process.
        .ssl_mode(PgSslMode::Disable)
        .application_name("claimsmith");
    // Statements are the tenant's, and their texts can be a plugin's.
    Some(options.disable_statement_logging())
}

/// How connections are encrypted, and the name that the server's certificate must be for.
fn encryption(
    config: &SqlConfig,
    host: &str,
    scope: SecretScope<'_>,
) -> Result<(TlsConnector, ServerName<'static>), String> {
    let connector = match &config.ca {
        Some(ca) => tls::connector(Some(&ca.read(scope)?)).map_err(|why| format!("{ca} {why}"))?,
        None => tls::connector(None)?,
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| format!("no certificate can be for `{host}`"))?;
    Ok((connector, name))
}

fn sqlite(config: &SqlConfig, scope: SecretScope<'_>, problems: &mut Problems) -> Option<Sqlite> {
    let members = [
        ("authentication", config.authentication.is_some()),
        ("ca", config.ca.is_some()),
        ("tls", config.tls.is_some()),
        ("networks", !config.networks.is_empty()),
    ];
    let of_networks = members.iter().filter(|(_, is_there)| *is_there);
    problems.extend(
        of_networks.map(|(member, _)| Problem::at(*member, "a file is not reached over the network: leave it out")),
    );
    if config.access == Access::ReadWrite {
        let message = "a SQLite file is only read: who opens one for writing takes back what a journal beside it says, and \
                       deletes the file that the journal names, whosever it is. Leave it out, or use PostgreSQL";
        problems.push(Problem::at("access", message));
    }
    if config.max_bytes > MAX_FILE_BYTES {
        problems.push(Problem::at("max_bytes", "expected at most 1048576 of a SQLite file"));
    }
    let path = file(&config.url, scope.directory).map_err(|message| problems.push(Problem::at("url", message)));
    Some(Sqlite {
        path: path.ok()?,
        places: Arc::new(Semaphore::new(
            usize::try_from(config.connections).unwrap_or(usize::MAX),
        )),
        max_bytes: config.max_bytes,
    })
}

/// The file that a URL names: one of the tenant's own, also when links are followed.
fn file(url: &Url, directory: &Path) -> Result<PathBuf, String> {
    if url.query().is_some() || url.fragment().is_some() || url.path().contains('%') {
        return Err(
            "expected sqlite: and a path below the tenant's directory, with nothing that a URL encodes".to_owned(),
        );
    }
    let unreadable = |error: std::io::Error| format!("{} cannot be opened: {error}", url.path());
    let home = directory.canonicalize().map_err(unreadable)?;
    let path = home.join(url.path()).canonicalize().map_err(unreadable)?;
    if !path.starts_with(&home) {
        return Err(format!("{} is not in the tenant's directory", url.path()));
    }
    if !path.is_file() {
        return Err(format!("{} is no file", url.path()));
    }
    Ok(path)
}
