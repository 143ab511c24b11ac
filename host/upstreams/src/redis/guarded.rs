//! A connection whose server cannot fill the host's memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PLACES;
use crate::cache::MAX_VALUE_BYTES;

/// More than all answers that can be due together have.
const MAX_UNANSWERED_BYTES: usize = PLACES * (MAX_VALUE_BYTES + 1_024);

/// Bytes that came since the last answer was whole. The client keeps what is not whole yet however long it is announced to
/// be, whoever has asked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Unanswered(Arc<AtomicUsize>);

impl Unanswered {
    /// An answer is whole.
    pub(super) fn answered(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> io::Result<()> {
        let taken = self.0.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if taken > MAX_UNANSWERED_BYTES {
            return Err(io::Error::other("the server sends more than it was asked for"));
        }
        Ok(())
    }
}

/// A stream that ends when the server sends too much.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    pub(super) stream: S,
    pub(super) unanswered: Unanswered,
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.unanswered.take(buffer.filled().len() - before))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
