//! The way of a driver's connections: to an address that was checked, encrypted as the configuration says.
//!
//! The driver resolves a host's name by itself when it connects, and reads messages of any length. So it connects to a socket
//! of this process instead, and each of its connections is passed on to an address that [`Egress`] has checked, in TLS, with
//! an eye on what comes.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::messages::{Answers, Refused, Requests, request_tls};
use crate::egress::{Egress, Unresolved};
use crate::told::told;

/// Read from one side before it is written to the other.
const CHUNK: usize = 16 << 10;

/// A connection to a server, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where connections are passed on to.
pub(super) struct Target {
    /// The tenant's and the upstream's name, for the log.
    pub(super) tenant: String,
    pub(super) upstream: String,
    /// A name or an address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) egress: Egress,
    /// How it is encrypted, and the name that the server's certificate must be for; not at all when absent.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(super) connect_timeout: Duration,
    /// How long a side may take none of what is written to it.
    pub(super) write_timeout: Duration,
    /// Bytes of one message of the server's.
    pub(super) most_bytes: usize,
}

/// Accepts the driver's connections and passes them on, until it is dropped.
#[derive(Debug)]
pub(super) struct Relay {
    /// What the driver is told to be the directory of the server's socket.
    pub(super) directory: PathBuf,
    cut: Arc<AtomicU64>,
    accepting: AbortHandle,
}

impl Relay {
    /// Begins to accept connections. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(super) fn start(target: Target) -> io::Result<Self> {
        let mut random = [0; 16];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
        // In Linux's abstract namespace: nothing is left on a disk, whatever becomes of this process.
        let directory = PathBuf::from(format!("\0claimsmith-{:032x}", u128::from_ne_bytes(random)));
        let listener = UnixListener::bind(directory.join(format!(".s.PGSQL.{}", target.port)))?;
        let cut = Arc::new(AtomicU64::new(0));
        let accepting = tokio::spawn(accept(listener, Arc::new(target), Arc::clone(&cut)));
        Ok(Self {
            directory,
            cut,
            accepting: accepting.abort_handle(),
        })
    }

    /// How many connections were cut off because the server's answer was too large.
    pub(super) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Connections that are open end with it.
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, target: Arc<Target>, cut: Arc<AtomicU64>) {
    let mut passing = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = passing.join_next() => continue,
        };
        let Ok((driver, _)) = accepted else {
            // Out of file descriptors, most likely.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        // Others on this machine are not let into the tenant's networks.
        let process = driver.peer_cred().ok().and_then(|peer| peer.pid());
        if process != i32::try_from(std::process::id()).ok() {
            continue;
        }
        let (target, cut) = (Arc::clone(&target), Arc::clone(&cut));
        passing.spawn(async move {
            if let Some(server) = target.connect().await {
                let _broke_off = pass_on(driver, server, &target, &cut).await.is_err();
            }
        });
    }
}

impl Target {
    /// A connection, or none: the operator has been told why, and the driver's connection ends.
    async fn connect(&self) -> Option<Box<dyn Stream>> {
        let (tenant, upstream) = (self.tenant.as_str(), self.upstream.as_str());
        let connected = timeout(self.connect_timeout, async {
            let addresses = self.egress.addresses(&self.host).await?;
            let server = self.first(&addresses).await.map_err(Unresolved::Failed)?;
            self.encrypted(server).await.map_err(Unresolved::Failed)
        });
        let why = match connected.await {
            Ok(Ok(server)) => return Some(server),
            Ok(Err(Unresolved::Refused(refused))) => {
                let hint = refused.hint();
                tracing::warn!(tenant, upstream, %refused, hint, "egress refused");
                return None;
            }
            // What TLS has against a certificate quotes it.
            Ok(Err(Unresolved::Failed(error))) => told(&error),
            Err(_) => "making a connection took too long".to_owned(),
        };
        tracing::info!(tenant, upstream, why, "database cannot be connected to");
        None
    }

    async fn encrypted(&self, mut server: TcpStream) -> io::Result<Box<dyn Stream>> {
        let Some((connector, name)) = &self.tls else {
            return Ok(Box::new(server));
        };
        request_tls(&mut server).await?;
        Ok(Box::new(connector.connect(name.clone(), server).await?))
    }

    /// Tells why a connection is ended: the plugin, when a result is too large, and the operator of anything else.
    fn note(&self, refused: Refused, cut: &AtomicU64) {
        let (tenant, upstream) = (self.tenant.as_str(), self.upstream.as_str());
        let why = match refused {
            Refused::TooLarge => {
                cut.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Refused::TooMuchKept => "it says more of its types and statements than is kept",
            Refused::Malformed => "it does not speak PostgreSQL",
        };
        tracing::info!(tenant, upstream, why, "database sends what it may not");
    }

    /// Connects to the first address that answers.
    async fn first(&self, addresses: &[IpAddr]) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect((*address, self.port)).await {
                Ok(server) => {
                    server.set_nodelay(true)?;
                    return Ok(server);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Passes bytes on until one side ends or takes none, or the server sends what it may not.
async fn pass_on(mut driver: UnixStream, server: Box<dyn Stream>, target: &Target, cut: &AtomicU64) -> io::Result<()> {
    let within = target.write_timeout;
    let (mut from_driver, mut to_driver) = driver.split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    // Whether the rows that come are a result's. The driver asks for one only after all else that it asked is answered, and it
    // has been given the answer.
    let is_result = AtomicBool::new(false);
    let asking = async {
        let mut chunk = Zeroizing::new(vec![0; CHUNK]);
        let mut requests = Requests::new();
        loop {
            let read = from_driver.read(&mut chunk).await?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return timeout(within, to_server.shutdown()).await?;
            };
            if requests.execute(bytes) {
                is_result.store(true, Ordering::Relaxed);
            }
            timeout(within, to_server.write_all(bytes)).await??;
            timeout(within, to_server.flush()).await??;
        }
    };
    let answering = async {
        let mut chunk = vec![0; CHUNK];
        let mut passed = Vec::with_capacity(CHUNK);
        let mut answers = Answers::new(target.most_bytes);
        while !answers.has_had_its_time() {
            let read = from_server.read(&mut chunk).await?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            passed.clear();
            let mut rows_are_a_result = is_result.load(Ordering::Relaxed);
            if let Err(refused) = answers.pass(bytes, &mut rows_are_a_result, &mut passed) {
                target.note(refused, cut);
                break;
            }
            is_result.store(rows_are_a_result, Ordering::Relaxed);
            timeout(within, to_driver.write_all(&passed)).await??;
        }
        Ok(())
    };
    tokio::select! {
        ended = asking => ended,
        ended = answering => ended,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, UnixStream};
    use tokio::time::timeout;

    use super::{Relay, Target};
    use crate::egress::Egress;

    #[tokio::test]
    async fn what_is_passed_on_ends_with_the_relay() {
        let hour = Duration::from_hours(1);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Relay::start(Target {
            tenant: String::new(),
            upstream: String::new(),
            host: "127.0.0.1".to_owned(),
            port,
            egress: Egress::new(&["127.0.0.0/8".parse().unwrap()]),
            tls: None,
            connect_timeout: hour,
            write_timeout: hour,
            most_bytes: 1,
        });
        let relay = relay.unwrap();
        let socket = relay.directory.join(format!(".s.PGSQL.{port}"));
        let mut driver = UnixStream::connect(socket).await.unwrap();
        driver.write_all(b"x").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        drop(relay);
        let ended = timeout(Duration::from_secs(30), async {
            (driver.read(&mut [0]).await.is_ok(), server.read(&mut [0]).await.is_ok())
        });
        assert_eq!(ended.await, Ok((true, true)));
    }
}
