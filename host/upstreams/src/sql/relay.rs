//! The way of a driver's connections: to an address that was checked, and to no other.
//!
//! The driver resolves a host's name by itself when it connects, and what it is given as the host is also the name that the
//! server's certificate must be for. So it connects to a socket of this process instead, and each of its connections is
//! passed on to an address that [`Egress`] has checked. TLS is between the driver and the server: nothing is decrypted here.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::egress::{Egress, NotResolved};

/// Read from one side before it is written to the other.
const CHUNK: usize = 16 << 10;

/// Where connections are passed on to.
#[derive(Debug)]
pub(super) struct Target {
    /// The tenant's and the upstream's name, for the log.
    pub(super) tenant: String,
    pub(super) upstream: String,
    /// A name or an address.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) egress: Egress,
    pub(super) connect_timeout: Duration,
    /// Bytes that the server may send before the driver says something again.
    pub(super) most_bytes: usize,
}

/// Accepts the driver's connections until it is dropped.
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

    /// How many connections were cut off because the server sent too much.
    pub(super) fn cut(&self) -> u64 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Connections that are open end with the driver's.
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, target: Arc<Target>, cut: Arc<AtomicU64>) {
    loop {
        let Ok((driver, _)) = listener.accept().await else {
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
        tokio::spawn(async move {
            if let Some(server) = target.connect().await {
                let _broke_off = pass_on(driver, server, target.most_bytes, &cut).await.is_err();
            }
        });
    }
}

impl Target {
    /// A connection, or none: the operator has been told why, and the driver's connection ends.
    async fn connect(&self) -> Option<TcpStream> {
        let (tenant, upstream) = (self.tenant.as_str(), self.upstream.as_str());
        let connected = timeout(self.connect_timeout, async {
            let addresses = self.egress.addresses(&self.host).await?;
            self.first(&addresses).await.map_err(NotResolved::Lookup)
        });
        let why = match connected.await {
            Ok(Ok(server)) => return Some(server),
            Ok(Err(NotResolved::Refused(refused))) => {
                let hint = refused.hint();
                tracing::warn!(tenant, upstream, %refused, hint, "egress refused");
                return None;
            }
            Ok(Err(NotResolved::Lookup(error))) => error.to_string(),
            Err(_) => "making a connection took too long".to_owned(),
        };
        tracing::info!(tenant, upstream, why, "database cannot be connected to");
        None
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

/// Passes bytes on until one side ends, or the server has sent more without being asked again than it may.
async fn pass_on(mut driver: UnixStream, mut server: TcpStream, most: usize, cut: &AtomicU64) -> io::Result<()> {
    let (mut from_driver, mut to_driver) = driver.split();
    let (mut from_server, mut to_server) = server.split();
    let unasked = AtomicUsize::new(0);
    let asking = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_driver.read(&mut chunk).await?;
            unasked.store(0, Ordering::Relaxed);
            match chunk.get(..read) {
                Some(bytes) if read > 0 => to_server.write_all(bytes).await?,
                _ => return to_server.shutdown().await,
            }
        }
    };
    let answering = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from_server.read(&mut chunk).await?;
            if unasked.fetch_add(read, Ordering::Relaxed) + read > most {
                cut.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            match chunk.get(..read) {
                Some(bytes) if read > 0 => to_driver.write_all(bytes).await?,
                _ => return Ok(()),
            }
        }
    };
    tokio::select! {
        ended = asking => ended,
        ended = answering => ended,
    }
}
