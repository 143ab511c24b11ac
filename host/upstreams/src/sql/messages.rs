//! What a PostgreSQL server sends, looked at before the driver is given it: the driver makes room for a whole message as soon as
//! it has read how long it is, however long that is.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// `SSLRequest`: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Asks a server to go on in TLS.
///
/// # Errors
/// When it does not.
pub(super) async fn request_tls(server: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    server.write_all(&SSL_REQUEST).await?;
    match server.read_u8().await? {
        b'S' => Ok(()),
        b'N' => Err(io::Error::other(
            "the server does not speak TLS, which `tls = false` does without",
        )),
        _ => Err(io::Error::other("what came is no answer of PostgreSQL's")),
    }
}

/// Messages of a server, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// A type and a length that have not come as a whole.
    head: Vec<u8>,
    /// Bytes of the message that are still to come.
    rest: usize,
}

impl Messages {
    /// Takes bytes that have come. Whether no message in them has more than `most`.
    pub(super) fn admit(&mut self, mut bytes: &[u8], most: usize) -> bool {
        while let Some((first, after)) = bytes.split_first() {
            if self.rest > 0 {
                let here = self.rest.min(bytes.len());
                self.rest -= here;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            bytes = after;
            self.head.push(*first);
            if let [_, length @ ..] = self.head.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                // The length counts itself.
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if length > most {
                    return false;
                }
                self.rest = length.saturating_sub(4);
                self.head.clear();
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Messages;

    #[test]
    fn a_message_is_refused_by_its_head_however_it_comes() {
        let small = b"D\x00\x00\x00\x08aaaaC\x00\x00\x00\x04";
        let large = [small.as_slice(), b"D\x00\x00\x00\x65"].concat();
        for chunk in 1..large.len() {
            let mut messages = Messages::default();
            assert!(small.chunks(chunk).all(|bytes| messages.admit(bytes, 100)), "{chunk}");
            let mut messages = Messages::default();
            assert!(!large.chunks(chunk).all(|bytes| messages.admit(bytes, 100)), "{chunk}");
            let mut messages = Messages::default();
            assert!(large.chunks(chunk).all(|bytes| messages.admit(bytes, 101)), "{chunk}");
        }
    }
}
