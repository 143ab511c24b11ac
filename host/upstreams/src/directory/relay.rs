//! Between ldap3 and a directory: what the directory sends is bounded and looked at before ldap3 is given it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::message::{self, Operation};

/// A connection on which nothing came for so long is closed: calls are shorter.
const IDLE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 8 << 10;

/// A connection to a directory, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Expected {
    Nothing,
    Bind,
    Search,
}

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// What came is no LDAP, or not what was asked for.
    Nonsense,
    /// More came than may.
    TooLarge,
    /// The directory said that it goes.
    Disconnected,
    /// The connection broke off.
    Broken,
}

/// What the sides of a connection know of each other.
#[derive(Debug)]
pub(super) struct Exchange {
    expected: AtomicU8,
    /// Bytes since the last request.
    received: AtomicUsize,
    /// Bytes that may come for one request.
    max_received: usize,
    fault: OnceLock<Fault>,
}

impl Exchange {
    pub(super) fn new(max_received: usize) -> Self {
        Self {
            expected: AtomicU8::new(Expected::Nothing as u8),
            received: AtomicUsize::new(0),
            max_received,
            fault: OnceLock::new(),
        }
    }

    /// To be called before something is asked, and with `Nothing` when it is done.
    pub(super) fn expect(&self, expected: Expected) {
        self.received.store(0, Ordering::Relaxed);
        self.expected.store(expected as u8, Ordering::Release);
    }

    /// What went wrong first.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    fn admit(&self, message: &[u8]) -> Result<(), Fault> {
        let message = message::check(message).map_err(|_| Fault::Nonsense)?;
        let expected = self.expected.load(Ordering::Acquire);
        match message.operation {
            Operation::Extended if message.id == 0 => Err(Fault::Disconnected),
            Operation::Bind if expected == Expected::Bind as u8 => Ok(()),
            Operation::Entry | Operation::Reference | Operation::Done if expected == Expected::Search as u8 => Ok(()),
            _ => Err(Fault::Nonsense),
        }
    }

    /// Whether a message of so many bytes may come.
    fn admit_bytes(&self, bytes: usize) -> Result<(), Fault> {
        let received = self.received.fetch_add(bytes, Ordering::Relaxed);
        if received.saturating_add(bytes) > self.max_received {
            return Err(Fault::TooLarge);
        }
        Ok(())
    }
}

/// Relays until either side ends, and keeps why.
pub(super) async fn relay(directory: Box<dyn Stream>, client: UnixStream, exchange: &Exchange) {
    let (from_directory, to_directory) = io::split(directory);
    let (from_client, mut to_client) = client.into_split();
    let ended = tokio::select! {
        ended = ask(from_client, to_directory) => ended,
        ended = answer(from_directory, &mut to_client, exchange) => ended,
    };
    // Before the connection to ldap3 is closed, which ends what waits for an answer.
    if let Err(fault) = ended {
        exchange.fault.get_or_init(|| fault);
    }
}

/// Takes requests to the directory. They hold passwords, so nothing of them is left.
async fn ask(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> Result<(), Fault> {
    let mut buffer = Zeroizing::new(vec![0; BUFFER_BYTES]);
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Fault::Broken)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        to.write_all(bytes).await.map_err(|_| Fault::Broken)?;
        to.flush().await.map_err(|_| Fault::Broken)?;
    }
}

/// Takes whole messages to ldap3.
async fn answer(
    mut from: impl AsyncRead + Unpin,
    to: &mut (impl AsyncWrite + Unpin),
    exchange: &Exchange,
) -> Result<(), Fault> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        buffer.reserve(BUFFER_BYTES);
        let read = timeout(IDLE, from.read_buf(&mut buffer)).await;
        match read {
            Err(_) => return Ok(()),
            Ok(Ok(0) | Err(_)) => return Err(Fault::Broken),
            Ok(Ok(_)) => {}
        }
        let mut rest = buffer.as_slice();
        while let Some(length) = message::length(rest).map_err(|_| Fault::Nonsense)? {
            let Some((message, after)) = rest.split_at_checked(length) else {
                // It is not waited for more than may come.
                if length > exchange.max_received {
                    return Err(Fault::TooLarge);
                }
                break;
            };
            exchange.admit_bytes(length)?;
            exchange.admit(message)?;
            to.write_all(message).await.map_err(|_| Fault::Broken)?;
            rest = after;
        }
        let used = buffer.len() - rest.len();
        buffer.drain(..used);
    }
}

/// Reads one message, after which nothing may have come yet.
///
/// # Errors
/// What came was no message, or more than one.
pub(super) async fn read_one(from: &mut (impl AsyncRead + Unpin)) -> io::Result<message::Message> {
    let nonsense = || io::Error::other("what came was not one LDAP message");
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    loop {
        match message::length(&buffer).map_err(|_| nonsense())? {
            Some(length) if length > BUFFER_BYTES || buffer.len() > length => return Err(nonsense()),
            Some(length) if buffer.len() == length => return message::check(&buffer).map_err(|_| nonsense()),
            _ => {}
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
