//! What a PostgreSQL server sends, looked at before the driver is given it.
//!
//! The driver makes room for a whole message as soon as it has read how long it is, however long that is. It keeps for as long
//! as a connection lives what the server says of its settings, of statements and of types, however much that is. And it logs
//! notices as the server words them, at the level that the server wants. So messages are bounded here, each and together, and
//! those that nobody here has asked for are left out.
//!
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use tokio::io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// `SSLRequest`: its length and its code.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Types of messages.
const AUTHENTICATION: u8 = b'R';
const BIND: u8 = b'B';
const BACKEND_KEY: u8 = b'K';
const DATA_ROW: u8 = b'D';
const NOTICE: u8 = b'N';
const NOTIFICATION: u8 = b'A';
const PARAMETER_DESCRIPTION: u8 = b't';
const PARAMETER_STATUS: u8 = b'S';
const READY: u8 = b'Z';
const ROW_DESCRIPTION: u8 = b'T';

/// A server that is not in a transaction says so when it is ready.
const IDLE: u8 = b'I';

/// `AuthenticationSASLContinue`, by its body.
const SASL_CONTINUE: [u8; 4] = [0, 0, 0, 11];
/// The driver computes as many rounds of SCRAM (RFC 5802) as the server wants, in this process; PostgreSQL wants 4096.
const MAX_ROUNDS: u32 = 100_000;
/// Names of mechanisms, a challenge.
const MAX_AUTHENTICATION: usize = 4 << 10;

/// What comes for one request besides a result's values: the heads of all rows that there may be, and what is said around them.
const ROOM: usize = 1 << 20;
/// What the driver may keep of one connection.
const MAX_LASTING: usize = 1 << 20;
/// A connection of which the driver keeps more is replaced between two transactions, which nobody notices.
const MUCH_LASTING: usize = MAX_LASTING / 2;

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

/// A server sends what no server may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// A message, or all that came for one request, is larger than a result may be.
    TooLarge,
    /// There is too much that the driver would keep.
    TooMuchKept,
    /// It is not what it should be.
    Malformed,
}

/// Messages, as far as they have come.
#[derive(Debug, Default)]
struct Frames {
    /// A type and a length that have not come as a whole.
    head: Vec<u8>,
    /// Bytes of the message that are still to come.
    rest: usize,
}

/// A part of a message.
enum Part<'b> {
    Head {
        kind: u8,
        /// Of the message without its type.
        length: usize,
        bytes: [u8; 5],
    },
    Body(&'b [u8]),
}

impl Frames {
    /// Takes the next part off bytes that have come.
    fn next<'b>(&mut self, bytes: &mut &'b [u8]) -> Option<Part<'b>> {
        if self.rest > 0 && !bytes.is_empty() {
            let (here, after) = bytes.split_at_checked(self.rest).unwrap_or((bytes, &[]));
            self.rest -= here.len();
            *bytes = after;
            return Some(Part::Body(here));
        }
        while let Some((first, after)) = bytes.split_first() {
            *bytes = after;
            self.head.push(*first);
            if let Ok(head) = <[u8; 5]>::try_from(self.head.as_slice()) {
                self.head.clear();
                let [kind, length @ ..] = head;
                // The length counts itself.
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.rest = length.saturating_sub(4);
                return Some(Part::Head {
                    kind,
                    length,
                    bytes: head,
                });
            }
        }
        None
    }
}

/// What the driver sends.
#[derive(Debug)]
pub(super) struct Requests(Frames);

impl Requests {
    pub(super) fn new() -> Self {
        // The first message has no type.
        Self(Frames { head: vec![0], rest: 0 })
    }

    /// Whether a statement is executed that has been prepared: what is answered is a result, and not what the driver wants to
    /// know for itself.
    pub(super) fn execute(&mut self, mut bytes: &[u8]) -> bool {
        let mut executes = false;
        while let Some(part) = self.0.next(&mut bytes) {
            executes |= matches!(part, Part::Head { kind: BIND, .. });
        }
        executes
    }
}

/// What a server sends on one connection.
#[derive(Debug)]
pub(super) struct Answers {
    frames: Frames,
    /// The type of the message that is coming.
    kind: u8,
    /// The body of a message of the login, as far as it has come.
    login: Vec<u8>,
    /// Bytes of one message.
    most: usize,
    /// Bytes since the server was ready.
    unready: usize,
    /// Bytes of which the driver keeps something as long as the connection lives.
    lasting: usize,
    /// Whether the server has said that it is in a transaction.
    is_in_transaction: bool,
    /// Whether a transaction has just ended, and nothing came since.
    is_between: bool,
}

impl Answers {
    /// Of a server whose messages have `most` bytes at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            frames: Frames::default(),
            kind: 0,
            login: Vec::new(),
            most,
            unready: 0,
            lasting: 0,
            is_in_transaction: false,
            is_between: false,
        }
    }

    /// Takes bytes that have come, and adds those to `passed` that the driver may be given. `is_result` is whether rows are a
    /// result's; it is unset when the server is ready for something else.
    ///
    /// # Errors
    /// The server sends what it may not: the connection is to be ended.
    pub(super) fn pass(&mut self, mut bytes: &[u8], is_result: &mut bool, passed: &mut Vec<u8>) -> Result<(), Refused> {
        while let Some(part) = self.frames.next(&mut bytes) {
            let part = match &part {
                Part::Head { kind, length, bytes } => {
                    self.begin(*kind, *length, *is_result)?;
                    bytes.as_slice()
                }
                Part::Body(body) => {
                    match self.kind {
                        READY => {
                            *is_result = false;
                            self.ready(body);
                        }
                        AUTHENTICATION => self.log_in(body)?,
                        _ => {}
                    }
                    body
                }
            };
            if !is_left_out(self.kind) {
                passed.extend_from_slice(part);
            }
        }
        Ok(())
    }

    /// Whether the connection should be replaced, which can be done now.
    pub(super) fn has_had_its_time(&self) -> bool {
        self.is_between && self.lasting > MUCH_LASTING
    }

    fn begin(&mut self, kind: u8, length: usize, is_result: bool) -> Result<(), Refused> {
        (self.kind, self.is_between) = (kind, false);
        // The driver takes these for granted.
        let least = match kind {
            READY => 5,
            BACKEND_KEY => 12,
            PARAMETER_DESCRIPTION => 6,
            _ => 4,
        };
        if length < least {
            return Err(Refused::Malformed);
        }
        if length > self.most {
            return Err(Refused::TooLarge);
        }
        if kind == AUTHENTICATION {
            self.login.clear();
            if length > MAX_AUTHENTICATION {
                return Err(Refused::Malformed);
            }
        }
        if is_left_out(kind) {
            return Ok(());
        }
        self.unready = self.unready.saturating_add(length);
        // A value of a result is counted with at least half of what it has here.
        if self.unready > self.most.saturating_mul(2).saturating_add(ROOM) {
            return Err(Refused::TooLarge);
        }
        let is_kept = match kind {
            ROW_DESCRIPTION | PARAMETER_DESCRIPTION => true,
            // The driver asks for types, by itself.
            DATA_ROW => !is_result,
            _ => false,
        };
        if is_kept {
            self.lasting = self.lasting.saturating_add(length);
            if self.lasting > MAX_LASTING {
                return Err(Refused::TooMuchKept);
            }
        }
        Ok(())
    }

    fn log_in(&mut self, body: &[u8]) -> Result<(), Refused> {
        self.login.extend_from_slice(body);
        let challenge = self.login.strip_prefix(&SASL_CONTINUE);
        if self.frames.rest == 0 && challenge.is_some_and(|challenge| !is_computed_soon(challenge)) {
            return Err(Refused::Malformed);
        }
        Ok(())
    }

    /// The server has answered what it was asked.
    fn ready(&mut self, body: &[u8]) {
        let is_in_transaction = body.last() != Some(&IDLE);
        self.is_between = self.is_in_transaction && !is_in_transaction;
        self.is_in_transaction = is_in_transaction;
        self.unready = 0;
    }
}

/// Whether a challenge wants no more rounds than may be, read as the driver does.
fn is_computed_soon(challenge: &[u8]) -> bool {
    challenge.split(|byte| *byte == b',').all(|item| match item {
        [b'i', _, rounds @ ..] => {
            let rounds = std::str::from_utf8(rounds).ok().and_then(|rounds| rounds.parse().ok());
            rounds.is_some_and(|rounds: u32| rounds <= MAX_ROUNDS)
        }
        _ => true,
    })
}

/// What the driver would log or keep, and nobody here has a use for: settings of the server's that it reports, also whenever one
/// changes, notices and notifications.
fn is_left_out(kind: u8) -> bool {
    matches!(kind, PARAMETER_STATUS | NOTICE | NOTIFICATION)
}

#[cfg(test)]
mod tests;
