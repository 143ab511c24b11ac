//! The one connection to a server, made when it is needed.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue};
use reqwest::dns::{Name, Resolve as _};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::guarded::{Guarded, Unanswered};
use super::load::Login;
use crate::egress::{Egress, NameRefused};
use crate::told::told;

/// Makes connections and keeps the last one.
pub(super) struct Connections {
    server: Arc<Server>,
    state: Mutex<State>,
}

/// A connection that is there, or on its way for whoever needs it.
type Connecting = Shared<BoxFuture<'static, Result<Arc<Connection>, Arc<str>>>>;

#[derive(Default)]
struct State {
    connecting: Option<Connecting>,
    /// Which one it is.
    number: u64,
}

/// Where to connect to, and how.
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) egress: Egress,
    pub(super) tls: Option<Tls>,
    pub(super) login: Login,
    /// How long connecting may take.
    pub(super) timeout: Duration,
}

/// Whom TLS is spoken with.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

struct Connection {
    commands: MultiplexedConnection,
    unanswered: Unanswered,
    /// Moves bytes both ways.
    driver: JoinHandle<()>,
}

impl Connections {
    pub(super) fn new(server: Server) -> Self {
        Self {
            server: Arc::new(server),
            state: Mutex::default(),
        }
    }

    /// Asks the server.
    ///
    /// # Errors
    /// What went wrong, for the operator. Nothing of what was asked.
    pub(super) async fn ask<R: FromRedisValue>(&self, command: &Cmd) -> Result<R, String> {
        let (number, connecting) = self.connection();
        let connection = match connecting.await {
            Ok(connection) => connection,
            Err(why) => {
                self.forget(number);
                return Err(why.to_string());
            }
        };
        let mut commands = connection.commands.clone();
        match command.query_async(&mut commands).await {
            Ok(answer) => {
                connection.unanswered.answered();
                Ok(answer)
            }
            Err(error) => {
                // What a server says of a command leaves the connection as it was; its words may repeat the command.
                let Some(code) = error.code() else {
                    self.forget(number);
                    return Err(format!(
                        "the connection broke off, or did not speak Redis: {}",
                        error.category()
                    ));
                };
                connection.unanswered.answered();
                Err(format!("the server answered {}", told(code)))
            }
        }
    }

    /// The connection, or one that begins to be made, which goes on when nobody waits any more.
    fn connection(&self) -> (u64, Connecting) {
        let mut state = self.lock();
        let is_over = |made: &Result<Arc<Connection>, _>| matches!(made, Ok(made) if made.driver.is_finished());
        let known = state.connecting.clone();
        let known = known.filter(|connecting| !connecting.peek().is_some_and(is_over));
        if let Some(connecting) = known {
            return (state.number, connecting);
        }
        let server = Arc::clone(&self.server);
        let making = tokio::spawn(async move { server.connect().await });
        let connecting = async move {
            let made = making.await.map_err(|_| Arc::from("connecting was interrupted"))?;
            made.map(Arc::new)
        };
        let connecting = connecting.boxed().shared();
        state.number += 1;
        state.connecting = Some(connecting.clone());
        (state.number, connecting)
    }

    /// Makes a new connection next time, because this one does not answer: it may lead nowhere any more. One that is being made
    /// has a time limit of its own.
    pub(super) fn distrust(&self) {
        let mut state = self.lock();
        if state.connecting.as_ref().is_some_and(|made| made.peek().is_some()) {
            state.connecting = None;
        }
    }

    /// Makes a new connection next time, unless that has been done.
    fn forget(&self, number: u64) {
        let mut state = self.lock();
        if state.number == number {
            state.connecting = None;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    async fn connect(&self) -> Result<Connection, Arc<str>> {
        let made = timeout(self.timeout, self.make()).await;
        let made = made.map_err(|_| Arc::from(format!("no connection in {:?}", self.timeout)))?;
        made.map_err(|why| Arc::from(why.as_str()))
    }

    async fn make(&self) -> Result<Connection, String> {
        let addresses = self.addresses().await?;
        let stream = TcpStream::connect(&*addresses).await;
        let stream = stream.map_err(|error| format!("no connection can be made: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match &self.tls {
            None => self.log_in(stream).await,
            Some(tls) => {
                let secured = tls.connector.connect(tls.name.clone(), stream).await;
                let secured = secured.map_err(|error: io::Error| format!("TLS: {}", told(&error)))?;
                self.log_in(secured).await
            }
        }
    }

    /// The addresses that may be connected to.
    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            let refused = |refused| format!("egress refused: the host does not connect to {refused}");
            self.egress.check(address).map_err(refused)?;
            return Ok(vec![(address, self.port).into()]);
        }
        let name = Name::from_str(&self.host).map_err(|error| error.to_string())?;
        let found = self.egress.resolve(name).await;
        let found = found.map_err(|error| match error.downcast_ref::<NameRefused>() {
            Some(refused) => format!("egress refused: {refused}; {}", refused.hint()),
            None => format!("the name cannot be resolved: {error}"),
        })?;
        Ok(found.map(|found| (found.ip(), self.port).into()).collect())
    }

    async fn log_in<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
    ) -> Result<Connection, String> {
        let unanswered = Unanswered::default();
        let guarded = Guarded::new(stream, unanswered.clone());
        // Whoever asks has a time limit of its own.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let made = MultiplexedConnection::new_with_config(&self.login.info(), guarded, config).await;
        let (commands, driver) = made.map_err(|error| match error.code() {
            Some(code) => format!("the server refuses the login or the database: {}", told(code)),
            None => format!("the server does not speak Redis: {}", error.category()),
        })?;
        unanswered.answered();
        let driver = tokio::spawn(driver);
        Ok(Connection {
            commands,
            unanswered,
            driver,
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Connections")
            .field("host", &self.server.host)
            .finish_non_exhaustive()
    }
}
