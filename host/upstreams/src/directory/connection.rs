//! Connections to a directory: to a checked address, encrypted as the configuration says, with ldap3 at this end.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, LdapResult, StdStream};
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::message::Operation;
use super::relay::{self, Exchange, Expected, Fault, Stream};
use crate::egress::{Egress, Unresolved};

/// `ExtendedRequest` with the name of `StartTLS` (RFC 4511, section 4.14.1) and the message id 1. It is sent before there is an
/// ldap3, which is given the encrypted connection.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// How a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// From the first byte.
    Tls,
    /// When both sides have agreed to.
    StartTls,
    Plain,
}

/// Makes connections.
pub(super) struct Connector {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) server_name: ServerName<'static>,
    pub(super) tls: TlsConnector,
    pub(super) egress: Egress,
    /// For making a connection.
    pub(super) timeout: Duration,
    /// Bytes that may come for one request.
    pub(super) max_received: usize,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// No address may be connected to.
    Unresolved(Unresolved),
    TooSlow,
    /// What was tried, and how it went.
    Failed(&'static str, io::Error),
}

/// A connection; closed when it is dropped.
pub(super) struct Connection {
    pub(super) ldap: Ldap,
    pub(super) exchange: Arc<Exchange>,
    _tasks: JoinSet<()>,
}

impl Connector {
    /// Makes a connection on which nothing has been said yet.
    pub(super) async fn connect(&self) -> Result<Connection, ConnectError> {
        let connecting = async {
            let stream = self.encrypted().await?;
            adopt(stream, self.max_received)
                .await
                .map_err(|error| ConnectError::Failed("handing the connection over", error))
        };
        timeout(self.timeout, connecting)
            .await
            .map_err(|_| ConnectError::TooSlow)?
    }

    async fn encrypted(&self) -> Result<Box<dyn Stream>, ConnectError> {
        let mut stream = self.tcp().await?;
        if self.security == Security::StartTls {
            start_tls(&mut stream)
                .await
                .map_err(|error| ConnectError::Failed("StartTLS", error))?;
        }
        if self.security == Security::Plain {
            return Ok(Box::new(stream));
        }
        let encrypted = self.tls.connect(self.server_name.clone(), stream).await;
        Ok(Box::new(encrypted.map_err(|error| ConnectError::Failed("TLS", error))?))
    }

    /// Connects to one of the addresses that may be connected to.
    async fn tcp(&self) -> Result<TcpStream, ConnectError> {
        let addresses = self.egress.addresses(&self.host).await;
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses.map_err(ConnectError::Unresolved)? {
            match TcpStream::connect((address, self.port)).await {
                Ok(stream) => {
                    let _is_only_slower = stream.set_nodelay(true).is_err();
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(ConnectError::Failed("connecting", last))
    }
}

/// Agrees on TLS.
async fn start_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(START_TLS).await?;
    let answer = relay::read_one(stream).await?;
    match (answer.operation, answer.id, answer.result_code) {
        (Operation::Extended, 1, Some(0)) => Ok(()),
        (Operation::Extended, 1, Some(code)) => {
            let why = format!("the directory refused it with the result code {code}");
            Err(io::Error::other(why))
        }
        _ => Err(io::Error::other("what came is no answer to it")),
    }
}

/// Gives a connection to ldap3, by way of the relay.
async fn adopt(stream: Box<dyn Stream>, max_received: usize) -> io::Result<Connection> {
    let (ours, theirs) = UnixStream::pair()?;
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs.into_std()?));
    let (connection, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///").await?;
    let exchange = Arc::new(Exchange::new(max_received));
    let mut tasks = JoinSet::new();
    let shared = Arc::clone(&exchange);
    tasks.spawn(async move { relay::relay(stream, ours, &shared).await });
    tasks.spawn(async move {
        // What went wrong is the relay's to know.
        let _has_failed = connection.drive().await.is_err();
    });
    Ok(Connection {
        ldap,
        exchange,
        _tasks: tasks,
    })
}

impl Connection {
    /// Says who asks: how the directory took it.
    pub(super) async fn bind(&mut self, dn: &str, password: &str) -> Result<LdapResult, Fault> {
        self.exchange.expect(Expected::Bind);
        let bound = self.ldap.simple_bind(dn, password).await;
        self.exchange.expect(Expected::Nothing);
        bound.map_err(|error| self.fault(&error))
    }

    /// Why an operation has no result.
    pub(super) fn fault(&self, _: &LdapError) -> Fault {
        self.exchange.fault().unwrap_or(Fault::Broken)
    }

    /// Whether it can be used, as far as is known at this end.
    pub(super) fn is_open(&mut self) -> bool {
        self.exchange.fault().is_none() && !self.ldap.is_closed()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved(Unresolved::Refused(refused)) => refused.fmt(formatter),
            Self::Unresolved(Unresolved::Failed(error)) => write!(formatter, "its name cannot be resolved: {error}"),
            Self::TooSlow => formatter.write_str("it took too long"),
            Self::Failed(what, error) => write!(formatter, "{what}: {error}"),
        }
    }
}

impl StdError for ConnectError {}

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connector")
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connection")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
