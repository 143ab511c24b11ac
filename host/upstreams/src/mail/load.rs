//! From the configuration to an upstream: everything that can be found wrong is found here.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claimsmith_runtime::Breaker;
use lettre::message::Mailbox;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::transport::smtp::client::{Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::sync::Semaphore;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use url::{Host, Url};

use super::MailUpstream;
use super::config::MailConfig;
use super::connection::{Login, Security, Server};
use super::message::{Composer, MessageIds};
use super::recipients::{self, Recipients};
use crate::breaker::breaker;
use crate::egress::Egress;
use crate::problem::{Problem, Problems};
use crate::secret::SecretScope;
use crate::tls;

/// What an upstream may ask for at most.
const MAX_CONCURRENCY: usize = 64;
const MAX_BYTES: usize = 1 << 20;
const MAX_RECIPIENTS: usize = 1_024;
/// Entra's own limit is 2 s.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);
/// Ports of submission with TLS and with STARTTLS (RFC 8314, RFC 6409).
const SUBMISSIONS_PORT: u16 = 465;
const SUBMISSION_PORT: u16 = 587;
/// Header fields that the host writes, or that those who pass a message on do.
const HOSTS_FIELDS: &[&str] = &[
    "auto-submitted",
    "bcc",
    "cc",
    "date",
    "from",
    "message-id",
    "mime-version",
    "received",
    "reply-to",
    "return-path",
    "sender",
    "subject",
    "to",
];
const HOSTS_PREFIXES: &[&str] = &["arc-", "authentication-", "content-", "dkim-", "received-", "resent-"];

impl MailUpstream {
    /// An upstream of a tenant whose secrets are in `scope`, connecting where `egress` allows it to.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn load(name: &str, config: &MailConfig, scope: SecretScope<'_>, egress: Egress) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        check_sizes(config, &mut problems);
        let host = host(config, &egress, &mut problems);
        let recipients = recipients(config, &mut problems);
        let composer = composer(config, &mut problems);
        let login = login(config, scope).map_err(|problem| problems.push(problem));
        let security = host.as_ref().and_then(|host| {
            let security = security(config, host, scope);
            security.map_err(|problem| problems.push(problem)).ok()
        });
        let (Some(host), Some(composer), Ok(login), Some(security), true) =
            (host, composer, login, security, problems.is_empty())
        else {
            return Err(problems);
        };
        let hello = config.hello_name.clone();
        let hello = hello.unwrap_or_else(|| composer.from.email.domain().to_owned());
        Ok(Self {
            tenant: scope.tenant.to_owned(),
            name: name.to_owned(),
            server: Server {
                port: config.url.port().unwrap_or(match config.url.scheme() {
                    "smtps" => SUBMISSIONS_PORT,
                    _ => SUBMISSION_PORT,
                }),
                host,
                egress,
                security,
                hello: ClientId::Domain(hello),
                login,
                connect_timeout: config.connect_timeout,
                most_idle: config.concurrency,
                idle: Mutex::default(),
            },
            composer,
            recipients,
            places: Semaphore::new(config.concurrency),
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

/// The server's name or address.
fn host(config: &MailConfig, egress: &Egress, problems: &mut Problems) -> Option<Host> {
    let mut wrong = |message: String| problems.push(Problem::at("url", message));
    check_form(&config.url, &mut wrong);
    // `smtp` is no scheme that the URL's own parser knows hosts of.
    let host = config.url.host_str().map(Host::parse);
    let Some(Ok(host)) = host else {
        wrong("the URL has no host: expected smtps://mail.contoso.example".to_owned());
        return None;
    };
    let literal = match host {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    };
    // Names are checked when they are resolved.
    if let Some(Err(refused)) = literal.map(|address| egress.check(address)) {
        let hint = if refused.can_be_opened {
            "; if it is meant, name its network in `networks`, which the operator must allow"
        } else {
            ", and cannot be opened"
        };
        wrong(format!("the host does not connect to {refused}{hint}"));
    }
    Some(host)
}

fn check_form(url: &Url, wrong: &mut impl FnMut(String)) {
    match url.scheme() {
        "smtp" | "smtps" => {}
        other => wrong(format!("`{other}` is no SMTP: expected smtps, or smtp with STARTTLS")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        wrong("the URL must not hold a user name or password: they belong into `authentication`".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        wrong(
            "the URL must not have a path, a query or a fragment: STARTTLS is required without being asked for"
                .to_owned(),
        );
    }
}

fn check_sizes(config: &MailConfig, problems: &mut Problems) {
    let is_time = |time: Duration| !time.is_zero() && time <= MAX_TIMEOUT;
    let time = "expected more than nothing and at most 10s";
    let entries = config.recipients.as_ref().map_or(1, Vec::len);
    let hello = config.hello_name.as_deref();
    let rules = [
        (
            "recipients",
            (1..=MAX_RECIPIENTS).contains(&entries),
            "expected 1 to 1024 entries; without `recipients` it is sent to everybody",
        ),
        ("networks", config.networks.len() <= 64, "expected at most 64 entries"),
        ("headers", config.headers.len() <= 32, "expected at most 32 entries"),
        (
            "concurrency",
            (1..=MAX_CONCURRENCY).contains(&config.concurrency),
            "expected 1 to 64",
        ),
        (
            "max_bytes",
            (1..=MAX_BYTES).contains(&config.max_bytes),
            "expected 1 to 1048576",
        ),
        (
            "plain_smtp",
            !config.plain_smtp || config.url.scheme() != "smtps",
            "contradicts smtps in `url`: expected smtp there, or no `plain_smtp`",
        ),
        ("timeout", is_time(config.timeout), time),
        ("connect_timeout", is_time(config.connect_timeout), time),
        (
            "hello_name",
            hello.is_none_or(|name| recipients::domain_name(name).is_some_and(|found| found == name)),
            "expected a domain's name in lower case, such as claimsmith.contoso.example",
        ),
    ];
    let broken = rules.into_iter().filter(|(_, holds, _)| !holds);
    problems.extend(broken.map(|(member, _, message)| Problem::at(member, message)));
}

fn recipients(config: &MailConfig, problems: &mut Problems) -> Recipients {
    let Some(patterns) = &config.recipients else {
        return Recipients::Everybody;
    };
    let patterns = patterns.iter().enumerate().filter_map(|(index, pattern)| {
        let parsed = pattern.parse();
        parsed
            .map_err(|message: String| problems.push(Problem::at(format!("recipients[{index}]"), message)))
            .ok()
    });
    Recipients::Only(patterns.collect())
}

fn composer(config: &MailConfig, problems: &mut Problems) -> Option<Composer> {
    let headers = own_headers(config, problems);
    let reply_to = config.reply_to.as_deref();
    let from = mailbox("from", &config.from, problems);
    let reply_to = reply_to.map(|text| mailbox("reply_to", text, problems));
    let ids = MessageIds::new().map_err(|message| problems.push(Problem::at("", message)));
    Some(Composer {
        from: from?,
        reply_to: reply_to.flatten(),
        headers,
        max_bytes: config.max_bytes,
        ids: ids.ok()?,
    })
}

/// A name and an address.
fn mailbox(member: &'static str, text: &str, problems: &mut Problems) -> Option<Mailbox> {
    let parsed = text.parse::<Mailbox>().ok();
    let made = parsed.filter(|_| !text.contains(char::is_control)).and_then(|mailbox| {
        let address = recipients::address(mailbox.email.as_ref()).ok()?;
        Some(Mailbox::new(mailbox.name, address))
    });
    if made.is_none() {
        let message = "expected one mail address, such as \"Contoso <no-reply@contoso.example>\"";
        problems.push(Problem::at(member, message));
    }
    made
}

/// The fields of every message.
fn own_headers(config: &MailConfig, problems: &mut Problems) -> Vec<HeaderValue> {
    let mut made = Vec::new();
    for (name, value) in &config.headers {
        let lower = name.to_ascii_lowercase();
        let is_hosts =
            HOSTS_FIELDS.contains(&lower.as_str()) || HOSTS_PREFIXES.iter().any(|prefix| lower.starts_with(prefix));
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let is_value = !value.is_empty() && value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        match HeaderName::new_from_ascii(name.clone()) {
            Ok(header) if is_name && is_value && !is_hosts => made.push(HeaderValue::new(header, value.clone())),
            _ => problems.push(Problem::at(
                format!("headers.{name}"),
                "expected a header field that the host does not write itself, and a value of visible ASCII characters",
            )),
        }
    }
    made
}

fn login(config: &MailConfig, scope: SecretScope<'_>) -> Result<Option<Login>, Problem> {
    let Some(authentication) = &config.authentication else {
        return Ok(None);
    };
    if config.plain_smtp {
        let message = "everybody on the way would read the password: remove `plain_smtp`, or `authentication`";
        return Err(Problem::at("authentication", message));
    }
    let at = |message: String| Problem::at("authentication.password", message);
    let password = authentication.password.read_text(scope).map_err(at)?;
    if password.is_empty() || password.contains(char::is_control) {
        return Err(at(
            "the password must not be empty, nor hold control characters".to_owned()
        ));
    }
    if authentication.username.is_empty() || authentication.username.contains(char::is_control) {
        let message = "must not be empty, nor hold control characters";
        return Err(Problem::at("authentication.username", message));
    }
    Ok(Some(Login {
        username: authentication.username.clone(),
        password,
    }))
}

/// How a connection is encrypted.
fn security(config: &MailConfig, host: &Host, scope: SecretScope<'_>) -> Result<Security, Problem> {
    let wrong = |message: String| Problem::at("ca", message);
    let ca = match &config.ca {
        Some(ca) => {
            let pem = ca.read(scope).map_err(wrong)?;
            if CertificateDer::pem_slice_iter(&pem).flatten().next().is_none() {
                return Err(wrong(format!("{ca} holds no certificate in PEM")));
            }
            Some(pem)
        }
        None => None,
    };
    let ca = ca.as_ref().map(|pem| pem.as_slice());
    let unusable = || wrong("the TLS client cannot be made of these certificates".to_owned());
    let name = host.to_string().trim_matches(['[', ']']).to_owned();
    if config.plain_smtp {
        Ok(Security::None)
    } else if config.url.scheme() == "smtps" {
        let connector = tls::connector(ca).map_err(|_| unusable())?;
        let name = ServerName::try_from(name);
        let name = name.map_err(|_| Problem::at("url", "no certificate can be for this host"))?;
        Ok(Security::Tls(connector, name))
    } else {
        Ok(Security::StartTls(starttls(ca, name).ok_or_else(unusable)?))
    }
}

/// TLS from STARTTLS on, by lettre, which would read the system's authorities for each upstream.
fn starttls(ca: Option<&[u8]>, name: String) -> Option<TlsParameters> {
    let parameters = TlsParameters::builder(name).certificate_store(CertificateStore::None);
    let parameters = if let Some(pem) = ca {
        parameters.add_root_certificate(Certificate::from_pem(pem).ok()?)
    } else {
        let mut system = tls::system_certificates().iter();
        let added = system.try_fold(parameters, |parameters, certificate| {
            let certificate = Certificate::from_der(certificate.to_vec())?;
            Ok::<_, lettre::transport::smtp::Error>(parameters.add_root_certificate(certificate))
        });
        added.ok()?
    };
    parameters.build().ok()
}
