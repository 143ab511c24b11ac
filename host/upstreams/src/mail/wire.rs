//! What an SMTP connection reads through.
//!
//! Two things that the client above does not do. It reads a reply up to its end however long that is, and all of it again for
//! each line: here the other side can say so much before it is asked something again, and no more. And it keeps what came with the reply to STARTTLS, which whoever is on the
//! way could have put there, and takes it for the first encrypted reply (RFC 3207, section 6): here a read ends with a
//! line, so that what follows the reply goes to TLS, which does not take it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that a server may say at once: a reply, for which RFC 5321 has lines of 512 bytes, or its certificates.
const MAX_SAID_BYTES: usize = 16 << 10;
/// Bytes that are read at once.
const CHUNK_BYTES: usize = 2 << 10;

/// A stream whose reads end with a line, and which fails when the other side says too much at once.
pub(super) struct Wire<S> {
    stream: S,
    peer: SocketAddr,
    /// What was read and is still to be given.
    chunk: Box<[u8; CHUNK_BYTES]>,
    given: usize,
    filled: usize,
    left: usize,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, peer: SocketAddr) -> Self {
        Self {
            stream,
            peer,
            chunk: Box::new([0; CHUNK_BYTES]),
            given: 0,
            filled: 0,
            left: MAX_SAID_BYTES,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.given == wire.filled {
            let mut chunk = ReadBuf::new(wire.chunk.as_mut_slice());
            ready!(Pin::new(&mut wire.stream).poll_read(context, &mut chunk))?;
            (wire.given, wire.filled) = (0, chunk.filled().len());
            wire.left = wire
                .left
                .checked_sub(wire.filled)
                .ok_or_else(|| io::Error::other("the server has said more than is read of one reply"))?;
        }
        let rest = wire.chunk.get(wire.given..wire.filled).unwrap_or_default();
        let line = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        let given = line.min(buffer.remaining());
        buffer.put_slice(rest.get(..given).unwrap_or_default());
        wire.given += given;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.left = MAX_SAID_BYTES;
        Pin::new(&mut wire.stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Wire<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S> fmt::Debug for Wire<S> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wire")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
