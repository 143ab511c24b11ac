//! From the configuration to an upstream: everything that can be found wrong is found here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::Breaker;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::config::DirectoryConfig;
use super::connection::{Connector, Security};
use super::idle::Idle;
use super::name::Name;
use super::request::{Rules, is_attribute};
use super::{DirectoryUpstream, Limits};
use crate::breaker::breaker;
use crate::egress::Egress;
use crate::problem::{Problem, Problems};
use crate::secret::SecretScope;
use crate::tls;

const MAX_NETWORKS: usize = 64;
const MAX_ATTRIBUTES: usize = 256;
const MAX_CONNECTIONS: usize = 64;
const MAX_PAGE: usize = 1_000;
const MAX_ENTRIES: usize = 10_000;
const MAX_BYTES: usize = 8 << 20;
/// Entra's own limit is 2 s.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// What the directory's messages have beside names and values; also where these are few.
const OVERHEAD: usize = 64 << 10;
const LDAP_PORT: u16 = 389;
const LDAPS_PORT: u16 = 636;

impl DirectoryUpstream {
    /// An upstream of a tenant whose secrets are in `scope`, connecting where `egress` allows it to.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(
        name: &str,
        config: &DirectoryConfig,
        scope: SecretScope<'_>,
        egress: Egress,
    ) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let mut keep = |problem: Problem| problems.push(problem);
        let target = target(&config.url, &egress, &mut keep);
        let security = security(config, &mut keep);
        check_sizes(config, &mut keep);
        let base_name = base_name(config).map_err(&mut keep).ok();
        let attributes = attributes(config, &mut keep);
        let tls = encryption(config, scope).map_err(&mut keep).ok();
        let bind = bind(config, scope).map_err(&mut keep).ok();
        match (target, security, base_name, tls, bind) {
            (Some((host, server_name)), Some(security), Some(base_name), Some(tls), Some(bind))
                if problems.is_empty() =>
            {
                Ok(Self {
                    tenant: scope.tenant.to_owned(),
                    name: name.to_owned(),
                    rules: Rules {
                        base: config.base.clone(),
                        base_name,
                        attributes,
                    },
                    allow_authenticate: config.allow_authenticate,
                    connector: Connector {
                        host,
                        port: config.url.port().unwrap_or(if security == Security::Tls {
                            LDAPS_PORT
                        } else {
                            LDAP_PORT
                        }),
                        security,
                        server_name,
                        tls,
                        egress,
                        timeout: config.connect_timeout,
                        max_received: config.max_bytes * 2 + OVERHEAD,
                    },
                    bind,
                    idle: Idle::new(config.connections),
                    places: Semaphore::new(config.connections),
                    breaker: breaker(scope.tenant, name),
                    limits: Limits {
                        timeout: config.timeout,
                        page_size: config.page_size,
                        max_entries: config.max_entries,
                        max_bytes: config.max_bytes,
                    },
                })
            }
            _ => Err(problems),
        }
    }

    /// Whether it is asked, by how it has fared.
    #[must_use]
    pub fn breaker(&self) -> &Arc<Breaker> {
        &self.breaker
    }
}

/// The host to connect to, and the name that its certificate must have.
fn target(url: &Url, egress: &Egress, keep: &mut impl FnMut(Problem)) -> Option<(String, ServerName<'static>)> {
    let mut wrong = |message: String| keep(Problem::at("url", message));
    if !url.username().is_empty() || url.password().is_some() {
        wrong("the URL must not hold a user name or password: they belong into `bind`".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        wrong("expected a host and perhaps a port alone, such as ldaps://dc.contoso.example: what is searched belongs into `base`".to_owned());
    }
    // Of a scheme that is not the web's, the host is kept as it was written.
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        _ => {
            wrong("the URL has no host".to_owned());
            return None;
        }
    };
    // Names are checked when they are resolved, which other writings of an address are then too.
    if let Some(Err(refused)) = host.parse::<IpAddr>().ok().map(|address| egress.check(address)) {
        let hint = if refused.can_be_opened {
            "; if it is meant, name its network in `networks`, which the operator must allow"
        } else {
            ", and cannot be opened"
        };
        wrong(format!("the host does not connect to {refused}{hint}"));
    }
    let Ok(name) = ServerName::try_from(host.clone()) else {
        wrong(format!("`{}` is neither a name nor an address", host.escape_debug()));
        return None;
    };
    Some((host, name))
}

fn security(config: &DirectoryConfig, keep: &mut impl FnMut(Problem)) -> Option<Security> {
    let (at, message) = match (config.url.scheme(), config.start_tls, config.plain_ldap) {
        ("ldaps", false, false) => return Some(Security::Tls),
        ("ldap", true, false) => return Some(Security::StartTls),
        ("ldap", false, true) => return Some(Security::Plain),
        ("ldap", false, false) => (
            "url",
            "ldap is not encrypted: expected ldaps, `start_tls = true`, or `plain_ldap = true` to have it all the same"
                .to_owned(),
        ),
        ("ldap", true, true) => ("plain_ldap", "contradicts `start_tls`: expected one of them".to_owned()),
        ("ldaps", start_tls, _) => (
            if start_tls { "start_tls" } else { "plain_ldap" },
            "is for ldap URLs: ldaps is encrypted from the first byte".to_owned(),
        ),
        (other, ..) => ("url", format!("`{other}` is no LDAP: expected ldaps or ldap")),
    };
    keep(Problem::at(at, message));
    None
}

fn check_sizes(config: &DirectoryConfig, keep: &mut impl FnMut(Problem)) {
    let is_time = |time: Duration| !time.is_zero() && time <= MAX_TIMEOUT;
    let times = "expected more than nothing and at most 10s";
    let rules = [
        (
            "networks",
            config.networks.len() <= MAX_NETWORKS,
            "expected at most 64 entries",
        ),
        ("timeout", is_time(config.timeout), times),
        ("connect_timeout", is_time(config.connect_timeout), times),
        (
            "connections",
            (1..=MAX_CONNECTIONS).contains(&config.connections),
            "expected 1 to 64",
        ),
        (
            "page_size",
            (1..=MAX_PAGE).contains(&config.page_size),
            "expected 1 to 1000",
        ),
        (
            "max_entries",
            (1..=MAX_ENTRIES).contains(&config.max_entries),
            "expected 1 to 10000",
        ),
        (
            "max_bytes",
            (1..=MAX_BYTES).contains(&config.max_bytes),
            "expected 1 to 8388608",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    broken.for_each(|(member, _, message)| keep(Problem::at(member, message)));
}

fn base_name(config: &DirectoryConfig) -> Result<Name, Problem> {
    Name::parse(&config.base).map_err(|why| {
        let message = format!("{why}: expected a distinguished name (RFC 4514), such as dc=contoso,dc=example");
        Problem::at("base", message)
    })
}

/// The attributes that plugins may ask for, in lower case; `None` for all.
fn attributes(config: &DirectoryConfig, keep: &mut impl FnMut(Problem)) -> Option<std::collections::BTreeSet<String>> {
    if config.attributes.is_empty() || config.attributes.len() > MAX_ATTRIBUTES {
        keep(Problem::at(
            "attributes",
            "expected 1 to 256 names of attributes, or [\"*\"] for all of them",
        ));
    }
    if config.attributes == ["*"] {
        return None;
    }
    for (index, attribute) in config.attributes.iter().enumerate() {
        if !is_attribute(attribute) || attribute.contains(['*', '+', ';', '=']) {
            keep(Problem::at(
                format!("attributes[{index}]"),
                "expected an attribute's name without options, such as memberOf; [\"*\"] alone are all of them",
            ));
        }
    }
    Some(config.attributes.iter().map(|name| name.to_ascii_lowercase()).collect())
}

/// How connections are encrypted. One that is not encrypted is made without it.
fn encryption(config: &DirectoryConfig, scope: SecretScope<'_>) -> Result<TlsConnector, Problem> {
    let wrong = |message: String| Problem::at("ca", message);
    match &config.ca {
        Some(ca) => {
            let pem = ca.read(scope).map_err(wrong)?;
            tls::connector(Some(&pem)).map_err(|why| wrong(format!("{ca} {why}")))
        }
        None => tls::connector(None).map_err(|why| wrong(why.to_owned())),
    }
}

type Bind = Option<(String, Zeroizing<String>)>;

fn bind(config: &DirectoryConfig, scope: SecretScope<'_>) -> Result<Bind, Problem> {
    let Some(bind) = &config.bind else { return Ok(None) };
    let wrong = |message: String| Problem::at("bind.password", message);
    if bind.dn.is_empty() {
        return Err(Problem::at("bind.dn", "is empty: leave `bind` out to ask as nobody"));
    }
    let password = bind.password.read_text(scope).map_err(wrong)?;
    if password.is_empty() {
        // RFC 4513, section 5.1.2.
        let message = "the secret is empty: a bind without a password is nobody's, and succeeds";
        return Err(wrong(message.to_owned()));
    }
    Ok(Some((bind.dn.clone(), password)))
}
