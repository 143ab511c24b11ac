//! What a guest writes to standard output and standard error: kept in part, because a panic's message may be nowhere else.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi_io::bytes::Bytes;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

use crate::budget::Transfer;
use crate::guest_text::clean_lines;
use crate::kept_out::{KeptOut, LEFT_OUT};

/// How much of the beginning and of the end of a stream is kept: a panic says why first, and comes last.
const KEPT_BYTES: usize = 2 << 10;
/// What a guest may write in one call.
const WRITE_BYTES: usize = 64 << 10;

/// What a guest said of its failure: for logs alone, never for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestWords {
    /// The end and the beginning of what it wrote to standard error: 4 KiB at most, lines kept, without other control
    /// characters.
    pub stderr: String,
    /// The same of standard output.
    pub stdout: String,
    /// Its innermost functions, innermost first: 16 at most.
    pub backtrace: Vec<String>,
}

impl GuestWords {
    /// The functions in one line; `None` when none is known.
    #[must_use]
    pub fn frames(&self) -> Option<String> {
        (!self.backtrace.is_empty()).then(|| self.backtrace.join(" < "))
    }
}

impl fmt::Display for GuestWords {
    /// To be added to the failure's message; empty when the guest said nothing.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(frames) = self.frames() {
            write!(formatter, " in {frames}")?;
        }
        if !self.stderr.is_empty() {
            // Quoted, so that its lines begin none of the log's.
            write!(formatter, "; it wrote to standard error: {:?}", self.stderr)?;
        }
        Ok(())
    }
}

/// A stream's bytes as far as they are kept; shared by all handles that the guest opens.
#[derive(Clone)]
pub(crate) struct Output {
    kept: Arc<Mutex<Kept>>,
    transfer: Transfer,
}

impl Output {
    /// An empty stream, whose bytes count as handed over.
    pub(crate) fn new(transfer: &Transfer) -> Self {
        Self {
            kept: Arc::default(),
            transfer: transfer.clone(),
        }
    }

    /// Forgets what was written: another invocation begins.
    pub(crate) fn clear(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// What is kept, fit for a log, if it does not hold the secret.
    pub(crate) fn text(&self, secret: Option<&KeptOut>) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if secret.is_some_and(|secret| kept.may_hold(secret)) {
            return LEFT_OUT.to_owned();
        }
        kept.text()
    }
}

#[derive(Default)]
struct Kept {
    first: Vec<u8>,
    /// Bytes that are neither among the first nor among the last.
    left_out: usize,
    last: VecDeque<u8>,
}

impl Kept {
    fn add(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.first.len().min(KEPT_BYTES);
        let (first, rest) = bytes.split_at(room.min(bytes.len()));
        self.first.extend_from_slice(first);
        let cut = rest.len().saturating_sub(KEPT_BYTES);
        let rest = rest.get(cut..).unwrap_or_default();
        let dropped = (self.last.len() + rest.len()).saturating_sub(KEPT_BYTES);
        self.last.drain(..dropped);
        self.last.extend(rest);
        self.left_out = self.left_out.saturating_add(cut + dropped);
    }

    /// Where something is cut, it could be the secret that is, and the rest of it could be kept.
    fn may_hold(&self, secret: &KeptOut) -> bool {
        let mut bytes = self.first.clone();
        bytes.extend(&self.last);
        self.left_out > 0 || secret.is_in(&String::from_utf8_lossy(&bytes))
    }

    fn text(&self) -> String {
        let mut text = clean_lines(&self.first);
        // What is replaced can grow to three times its length.
        text.truncate(text.floor_char_boundary(KEPT_BYTES));
        if self.left_out > 0 {
            // Writing to a string does not fail.
            let _infallible = write!(text, "… {} bytes …", self.left_out).is_ok();
        }
        let last: Vec<u8> = self.last.iter().copied().collect();
        let mut last = clean_lines(&last);
        let cut = last.ceil_char_boundary(last.len().saturating_sub(KEPT_BYTES));
        last.drain(..cut);
        text + &last
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Of WASI 0.3, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let taken = self.transfer.take(bytes.len());
        taken.map_err(|reached| StreamError::Trap(reached.into()))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.add(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES, Kept};
    use crate::kept_out::KeptOut;

    #[test]
    fn the_beginning_and_the_end_are_kept_and_the_rest_is_counted() {
        let mut kept = Kept::default();
        kept.add(b"begins ");
        for _ in 0..100 {
            kept.add(&[b'x'; 999]);
        }
        kept.add(&[b'y'; 3 * KEPT_BYTES]);
        kept.add(b" ends");
        let text = kept.text();
        assert!(text.starts_with("begins xxx"), "{text}");
        assert!(text.ends_with("yyy ends"), "{text}");
        let all = 7 + 99_900 + 3 * KEPT_BYTES + 5;
        assert!(text.contains(&format!("… {} bytes …", all - 2 * KEPT_BYTES)), "{text}");
        assert!(text.len() < 2 * KEPT_BYTES + 40, "{}", text.len());
    }

    #[test]
    fn what_is_replaced_takes_no_more_room() {
        let mut kept = Kept::default();
        kept.add(&[0xff; 4 * KEPT_BYTES]);
        let text = kept.text();
        assert!(text.starts_with('\u{fffd}') && text.ends_with('\u{fffd}'), "{text}");
        assert!(text.len() < 2 * KEPT_BYTES + 40, "{}", text.len());
    }

    #[test]
    fn a_secret_is_found_before_anything_is_replaced_and_suspected_where_something_is_cut() {
        let secret = KeptOut::new("hunter\t2");
        let kept = |parts: &[&[u8]]| {
            let mut kept = Kept::default();
            for part in parts {
                kept.add(part);
            }
            kept
        };
        assert!(kept(&[b"it is hun", b"ter\t2"]).may_hold(&secret));
        let astride = vec![b'x'; KEPT_BYTES - 3];
        assert!(kept(&[&astride, b"hunter\t2"]).may_hold(&secret));
        assert!(!kept(&[&astride, b"hunter"]).may_hold(&secret));
        assert!(kept(&[&[b'x'; 3 * KEPT_BYTES]]).may_hold(&secret));
    }

    #[test]
    fn little_is_kept_as_it_is() {
        let mut kept = Kept::default();
        kept.add(b"one\n");
        kept.add(b"two\x1b[31m");
        assert_eq!(kept.text(), "one\ntwo\u{fffd}[31m");
    }
}
