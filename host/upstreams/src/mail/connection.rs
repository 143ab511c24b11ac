//! Connections to a mail server.
//!
//! lettre speaks SMTP; which connection it speaks on is decided here. Its own pool resolves names by itself, and takes a
//! connection back whose call was cancelled in the middle of a message, so that the next one would be written into that.
//! Here a connection belongs to a call, and is kept only after a message that was taken.

use std::error::Error as StdError;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Host;
use zeroize::Zeroizing;

use super::wire::Wire;
use crate::egress::{Egress, NameRefused, Unresolved};
use crate::told::told;

/// Connections that nobody uses are not used again: servers close them after some minutes, and ways to them sooner.
const IDLE: Duration = Duration::from_secs(30);
/// Messages on one connection; some servers take no more.
const MAX_MESSAGES: u32 = 100;
/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 4;

/// A mail server, and the connections to it that wait for a message.
pub(super) struct Server {
    pub(super) host: Host<String>,
    pub(super) port: u16,
    pub(super) egress: Egress,
    pub(super) security: Security,
    pub(super) hello: ClientId,
    pub(super) login: Option<Login>,
    pub(super) connect_timeout: Duration,
    /// How many connections may wait.
    pub(super) most_idle: usize,
    pub(super) idle: Mutex<Vec<Connection>>,
}

/// Who reads along.
pub(super) enum Security {
    /// Everybody on the way.
    None,
    /// Nobody, from the start.
    Tls(TlsConnector, ServerName<'static>),
    /// Nobody, from before anything is said but greetings.
    StartTls(TlsParameters),
}

/// The host's credentials.
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Zeroizing<String>,
}

/// A connection on which a message can be offered.
pub(super) struct Connection {
    pub(super) smtp: AsyncSmtpConnection,
    messages: u32,
    since: Instant,
}

/// Why a message was not taken.
pub(super) enum Failed {
    /// The name has no address that may be connected to.
    Address(NameRefused),
    /// The server does not take the host's credentials.
    Login(String),
    /// There is no connection, or none any more: what happened, and why, for the operator.
    Connection(&'static str, String),
    /// The server said so: its reply's code, with the enhanced status code (RFC 3463) if there was one.
    Reply(u16, String),
}

impl Failed {
    /// What a reply said, or what became of the connection instead. A reply's text is not in it: it can hold anything,
    /// and holds the address.
    pub(super) fn of(error: &smtp::Error, otherwise: &'static str) -> Self {
        if let Some(code) = error.status() {
            let text = error.source().map(ToString::to_string).unwrap_or_default();
            let shown = match enhanced_status(&text) {
                Some(status) => format!("{code} {status}"),
                None => code.to_string(),
            };
            return Self::Reply(code.into(), shown);
        }
        if error.is_response() {
            return Self::no_smtp("a reply that is none");
        }
        Self::Connection(otherwise, innermost(error))
    }

    /// The server speaks something else.
    pub(super) fn no_smtp(cause: &str) -> Self {
        Self::Connection("it did not speak SMTP", cause.to_owned())
    }

    /// Whether it is about the connection alone: another one may do.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Connection(..) | Self::Reply(421, _))
    }
}

impl Server {
    /// A connection that has been used before.
    pub(super) fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|connection| connection.since.elapsed() < IDLE);
        idle.pop()
    }

    /// Keeps a connection on which a message was taken.
    pub(super) fn keep(&self, mut connection: Connection) {
        connection.messages += 1;
        connection.since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.messages < MAX_MESSAGES && idle.len() < self.most_idle {
            idle.push(connection);
        }
    }

    /// A new connection, encrypted and authenticated as the upstream says.
    pub(super) async fn connect(&self) -> Result<Connection, Failed> {
        let connecting = timeout(self.connect_timeout, self.log_in()).await;
        let late = |_| Failed::Connection("making a connection took too long", "connect_timeout".to_owned());
        let smtp = connecting.map_err(late)??;
        Ok(Connection {
            smtp,
            messages: 0,
            since: Instant::now(),
        })
    }

    async fn log_in(&self) -> Result<AsyncSmtpConnection, Failed> {
        let mut smtp = self.greet().await?;
        if let Some(login) = &self.login {
            let credentials = Credentials::new(login.username.clone(), login.password.to_string());
            let taken = smtp.auth(DEFAULT_MECHANISMS, &credentials).await;
            if let Err(error) = taken {
                return Err(match Failed::of(&error, "the connection broke off") {
                    Failed::Reply(code @ 500.., shown) => Failed::Login(format!("reply {code}: {shown}")),
                    _ if error.is_client() => Failed::Login("it offers neither PLAIN nor LOGIN".to_owned()),
                    other => other,
                });
            }
        }
        Ok(smtp)
    }

    /// A connection on which greetings have been exchanged, encrypted if it has to be.
    async fn greet(&self) -> Result<AsyncSmtpConnection, Failed> {
        const WHAT: &str = "no connection can be made";
        let (stream, peer) = self.reach().await?;
        let stream: Box<dyn smtp::client::AsyncTokioStream> = match &self.security {
            Security::Tls(connector, name) => {
                let encrypted = connector.connect(name.clone(), stream).await;
                let encrypted = encrypted.map_err(|error| Failed::Connection(WHAT, told(&error)))?;
                Box::new(Wire::new(encrypted, peer))
            }
            _ => Box::new(Wire::new(stream, peer)),
        };
        let refused = |error: smtp::Error| match Failed::of(&error, WHAT) {
            Failed::Reply(_, shown) => Failed::Connection("it does not serve at the moment", shown),
            other => other,
        };
        let smtp = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
        let mut smtp = smtp.map_err(refused)?;
        if let Security::StartTls(parameters) = &self.security {
            let encrypted = smtp.starttls(parameters.clone(), &self.hello).await;
            encrypted.map_err(refused)?;
        }
        Ok(smtp)
    }

    /// Connects to one of the server's addresses, all of which have been checked.
    async fn reach(&self) -> Result<(TcpStream, SocketAddr), Failed> {
        const WHAT: &str = "no connection can be made";
        let addresses = self.addresses().await?;
        let tried = addresses.len().clamp(1, MAX_ADDRESSES);
        let each = self.connect_timeout / u32::try_from(tried).unwrap_or(1);
        let mut last = "no address".to_owned();
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            let peer = SocketAddr::new(address, self.port);
            match timeout(each, TcpStream::connect(peer)).await {
                Ok(Ok(stream)) => {
                    let at_once = stream.set_nodelay(true);
                    at_once.map_err(|error| Failed::Connection(WHAT, error.to_string()))?;
                    return Ok((stream, peer));
                }
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => "it does not answer".clone_into(&mut last),
            }
        }
        Err(Failed::Connection(WHAT, last))
    }

    async fn addresses(&self) -> Result<Vec<IpAddr>, Failed> {
        match &self.host {
            // Checked at load.
            Host::Ipv4(address) => Ok(vec![IpAddr::V4(*address)]),
            Host::Ipv6(address) => Ok(vec![IpAddr::V6(*address)]),
            Host::Domain(name) => self.egress.addresses(name).await.map_err(|error| match error {
                Unresolved::Refused(refused) => Failed::Address(refused),
                Unresolved::Failed(error) => Failed::Connection("its name cannot be resolved", error.to_string()),
            }),
        }
    }
}

/// The enhanced status code that a reply's text begins with (RFC 2034).
fn enhanced_status(text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    let is_number = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    (word.split('.').count() == 3 && word.split('.').all(is_number)).then_some(word)
}

fn innermost(error: &smtp::Error) -> String {
    let mut cause: &dyn StdError = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    told(cause)
}
