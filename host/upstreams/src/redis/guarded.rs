//! A connection whose server cannot fill the host's memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::PLACES;
use crate::cache::MAX_VALUE_BYTES;

/// A value, with what goes before it.
const MAX_REPLY_BYTES: usize = MAX_VALUE_BYTES + 1_024;
/// More than all answers that can be due together have.
const MAX_UNANSWERED_BYTES: usize = PLACES * MAX_REPLY_BYTES;
/// A status, a number or an error with its text.
const MAX_LINE_BYTES: usize = 4 << 10;

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

/// Replies of a server, as far as they have come.
///
/// What is asked here is answered with one value. The client would also take values of values, and make many times the memory
/// of them that they have on the way.
///
/// <https://redis.io/docs/latest/develop/reference/protocol-spec/>
#[derive(Debug, Default)]
struct Replies {
    /// A line that has not come as a whole.
    line: Vec<u8>,
    /// Bytes of a value that are still to come.
    rest: usize,
}

impl Replies {
    /// Takes bytes that have come; how many there are before one that no reply can have here.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while let Some((first, after)) = left.split_first() {
            if self.rest > 0 {
                let here = self.rest.min(left.len());
                self.rest -= here;
                left = left.get(here..).unwrap_or_default();
                continue;
            }
            self.line.push(*first);
            let Some(rest) = after_line(&self.line) else {
                break;
            };
            if self.line.ends_with(b"\r\n") {
                self.line.clear();
                self.rest = rest;
            }
            left = after;
        }
        bytes.len() - left.len()
    }
}

/// How many bytes of the reply come after this line, or beginning of one; none if it is no reply's.
fn after_line(line: &[u8]) -> Option<usize> {
    match line {
        [b'+' | b'-' | b':', ..] => (line.len() <= MAX_LINE_BYTES).then_some(0),
        [b'$', length @ .., b'\r', b'\n'] => {
            let length: i64 = std::str::from_utf8(length).ok()?.trim().parse().ok()?;
            // What is less than nothing stands for no value.
            let length = usize::try_from(length).map_or(0, |length| length.saturating_add(2));
            (length <= MAX_REPLY_BYTES).then_some(length)
        }
        [b'$', ..] => (line.len() <= 32).then_some(0),
        _ => None,
    }
}

/// A stream that ends when the server sends too much, or what it was not asked for.
#[derive(Debug)]
pub(super) struct Guarded<S> {
    stream: S,
    unanswered: Unanswered,
    replies: Replies,
    is_over: bool,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, unanswered: Unanswered) -> Self {
        Self {
            stream,
            unanswered,
            replies: Replies::default(),
            is_over: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guarded = self.get_mut();
        let before = buffer.filled().len();
        if !guarded.is_over {
            ready!(Pin::new(&mut guarded.stream).poll_read(context, buffer))?;
            let came = buffer.filled().get(before..).unwrap_or_default();
            let admitted = guarded.replies.admit(came);
            guarded.is_over = admitted < came.len();
            // What was whole before it is an answer all the same.
            buffer.set_filled(before + admitted);
        }
        let given = buffer.filled().len() - before;
        if guarded.is_over && given == 0 {
            let why = "the server sends what is no reply to what it was asked";
            return Poll::Ready(Err(io::Error::other(why)));
        }
        Poll::Ready(guarded.unanswered.take(given))
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

#[cfg(test)]
mod tests {
    use super::{MAX_LINE_BYTES, MAX_VALUE_BYTES, Replies};

    /// How many bytes are admitted that come in chunks of a size.
    fn admitted(bytes: &[u8], chunk: usize) -> usize {
        let mut replies = Replies::default();
        let mut admitted = 0;
        for bytes in bytes.chunks(chunk) {
            let here = replies.admit(bytes);
            admitted += here;
            if here < bytes.len() {
                break;
            }
        }
        admitted
    }

    #[test]
    fn replies_of_one_value_are_admitted_however_they_come() {
        let replies = b"+OK\r\n-NOAUTH x\r\n:-1\r\n$-1\r\n$0\r\n\r\n$7\r\n*1\r\n%2\r\r\n:1\r\n";
        for chunk in 1..=replies.len() {
            assert_eq!(admitted(replies, chunk), replies.len(), "{chunk}");
        }
        let largest = [
            format!("${MAX_VALUE_BYTES}\r\n").as_bytes(),
            &vec![0; MAX_VALUE_BYTES],
            b"\r\n+OK\r\n",
        ]
        .concat();
        assert_eq!(admitted(&largest, 8 << 10), largest.len());
    }

    #[test]
    fn nothing_else_is_and_what_was_before_it_is() {
        let long = [b"-".as_slice(), &[b'x'; MAX_LINE_BYTES], b"\r\n"].concat();
        let long_length = [b"$".as_slice(), &[b'0'; 64], b"1\r\n"].concat();
        let huge = format!("${}\r\n", MAX_VALUE_BYTES + 2_000);
        for reply in [
            b"*4000000\r\n_\r\n".as_slice(),
            b"*-1\r\n",
            b"%1\r\n+a\r\n+b\r\n",
            b"~1\r\n+a\r\n",
            b">1\r\n+a\r\n",
            b"|1\r\n+a\r\n+b\r\n+c\r\n",
            b"_\r\n",
            b"=5\r\ntxt:a\r\n",
            b"220 mail.example ESMTP\r\n",
            b"$x\r\n",
            huge.as_bytes(),
            long.as_slice(),
            long_length.as_slice(),
        ] {
            let bytes = [b"+OK\r\n$1\r\na\r\n".as_slice(), reply].concat();
            for chunk in [1, 5, 12, bytes.len()] {
                let admitted = admitted(&bytes, chunk);
                assert!((12..bytes.len()).contains(&admitted), "{reply:?} {chunk} {admitted}");
            }
        }
    }
}
