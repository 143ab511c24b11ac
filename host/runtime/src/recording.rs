//! The recording point: whatever an invocation learns from outside passes here, so that it can be told the same again.
//!
//! A guest is a function of its component, of the callout and of what its imports answer. With recording on, all of
//! these answers are kept, in order: upstreams, cache, settings, the deadline, clocks, waiting, random numbers. Replayed,
//! an invocation is given them back, each after a check that the plugin asks for the same thing, and reaches no upstream.
//!
//! What is recorded is what the guest was given: it is as sensitive as the systems that it came from. So nothing is recorded
//! unless it was asked for, nothing here shows a result in its `Debug`, and only [`Recording::write`] hands any out.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, BufRead, Read as _, Write};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::InvocationError;
use crate::guest_text::clean;
use crate::plugin::Digest;

/// What one recording holds. An invocation that is given more goes on, and its recording cannot be replayed.
const MAX_RECORDED_BYTES: usize = 32 << 20;
/// What a call takes of it besides its result.
const CALL_BYTES: usize = 128;
/// The form of the files.
const FORM: u32 = 1;

/// What one call of an imported function gave.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RecordedCall {
    /// The interface and its function, such as `http.fetch` or `wall-clock.now`.
    pub function: Cow<'static, str>,
    /// The upstream, as the guest named it; empty where there is none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub upstream: Box<str>,
    /// The SHA-256 of what was asked.
    pub arguments: Digest,
    /// What the guest was given, in postcard's form, which keeps every bit of a number.
    #[serde(with = "digits")]
    result: Vec<u8>,
}

/// Everything that one invocation was given.
#[derive(Clone, PartialEq, Eq)]
pub struct Recording {
    head: Head,
    calls: Vec<RecordedCall>,
    /// Bytes it may still take; none once something was left out.
    room: Option<usize>,
}

/// The first line of a file.
#[derive(Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Head {
    claimsmith_recording: u32,
    plugin: Digest,
    event: Cow<'static, str>,
    callout: Digest,
    calls: usize,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("the recording cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A line of it is not what it should be.
    #[error("line {0} of the recording is not what a recording has there: {1}")]
    Line(usize, String),
    /// It was written in another form.
    #[error("the recording has the form {0}, expected {FORM}: it was written by another version")]
    Form(u32),
    /// Lines are missing or too many.
    #[error("the recording has {found} calls, expected {expected}: the file is incomplete")]
    Calls {
        /// What its first line says.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// More than any recording has.
    #[error("the recording is larger than {} bytes", 3 * MAX_RECORDED_BYTES)]
    TooLarge,
}

/// Where a replay left what was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replay diverged at call {call}: {what}")]
pub struct Divergence {
    /// The number of the call, the first one being 1; 0 for what comes before all calls.
    pub call: usize,
    /// What is different: what the plugin asked for now, and what was recorded. No arguments and no results.
    pub what: String,
}

/// A call, as far as a recording tells one from another.
#[derive(Clone, Copy)]
pub(crate) struct Call<'c> {
    pub(crate) function: &'static str,
    pub(crate) upstream: &'c str,
    pub(crate) arguments: Digest,
}

/// Whether invocations of a binding are recorded or replayed.
#[derive(Clone, Default)]
pub(crate) enum Taping {
    #[default]
    Live,
    Record,
    Replay(Arc<Recording>),
}

/// One invocation's.
#[derive(Default)]
pub(crate) enum Tape {
    #[default]
    Off,
    Recording(Box<Recording>),
    Replaying(Player),
}

pub(crate) struct Player {
    recording: Arc<Recording>,
    /// How many calls have been replayed.
    made: usize,
}

impl Recording {
    /// The version that was recorded.
    #[must_use]
    pub fn plugin(&self) -> Digest {
        self.head.plugin
    }

    /// The event's name, as the runtime has it, such as `token_issuance_start`.
    #[must_use]
    pub fn event(&self) -> &str {
        &self.head.event
    }

    /// Every call, in order.
    #[must_use]
    pub fn calls(&self) -> &[RecordedCall] {
        &self.calls
    }

    /// Whether it holds all that the invocation was given; otherwise it was too much, and cannot be replayed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.room.is_some()
    }

    /// Writes it as JSON Lines: what it is of, then a line for each call.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&self, mut output: impl Write) -> io::Result<()> {
        let head = Head {
            calls: self.calls.len(),
            ..self.head.clone()
        };
        serde_json::to_writer(&mut output, &head)?;
        output.write_all(b"\n")?;
        for call in &self.calls {
            serde_json::to_writer(&mut output, call)?;
            output.write_all(b"\n")?;
        }
        output.flush()
    }

    /// Reads what [`Self::write`] has written.
    ///
    /// # Errors
    /// [`RecordingError`], with the line.
    pub fn read(input: impl BufRead) -> Result<Self, RecordingError> {
        // Results are written as hexadecimal digits.
        let mut input = input.take(3 * MAX_RECORDED_BYTES as u64);
        let mut lines = input.by_ref().lines();
        let wrong = |line: usize| move |error: serde_json::Error| RecordingError::Line(line, error.to_string());
        let first = lines.next().transpose()?.unwrap_or_default();
        let head: Head = serde_json::from_str(&first).map_err(wrong(1))?;
        if head.claimsmith_recording != FORM {
            return Err(RecordingError::Form(head.claimsmith_recording));
        }
        let mut calls = Vec::new();
        for (line, text) in (2..).zip(lines) {
            calls.push(serde_json::from_str(&text?).map_err(wrong(line))?);
        }
        if input.limit() == 0 {
            return Err(RecordingError::TooLarge);
        }
        if calls.len() != head.calls {
            return Err(RecordingError::Calls {
                expected: head.calls,
                found: calls.len(),
            });
        }
        Ok(Self {
            head,
            calls,
            room: Some(0),
        })
    }

    fn new(plugin: Digest) -> Self {
        Self {
            head: Head {
                claimsmith_recording: FORM,
                plugin,
                event: Cow::Borrowed(""),
                callout: Digest::of(b""),
                calls: 0,
            },
            calls: Vec::new(),
            room: Some(MAX_RECORDED_BYTES),
        }
    }

    fn add(&mut self, call: Call<'_>, result: &impl Serialize) {
        let Some(room) = self.room else { return };
        let result = postcard::to_allocvec(result).ok();
        let bytes = result
            .as_ref()
            .map_or(room, |result| result.len() + call.upstream.len());
        self.room = room.checked_sub(bytes.saturating_add(CALL_BYTES));
        if let Some(result) = result.filter(|_| self.room.is_some()) {
            self.calls.push(RecordedCall {
                function: Cow::Borrowed(call.function),
                upstream: call.upstream.into(),
                arguments: call.arguments,
                result,
            });
        }
    }
}

impl Taping {
    /// What an invocation of this version begins with.
    pub(crate) fn begin(&self, plugin: Digest) -> Tape {
        match self {
            Self::Live => Tape::Off,
            Self::Record => Tape::Recording(Box::new(Recording::new(plugin))),
            Self::Replay(recording) => Tape::Replaying(Player {
                recording: Arc::clone(recording),
                made: 0,
            }),
        }
    }
}

impl Tape {
    /// Notes what the invocation is given before it asks for anything, or compares it.
    ///
    /// # Errors
    /// It is something else than was recorded, or the recording cannot be replayed at all.
    pub(crate) fn given(&mut self, event: &'static str, callout: &impl fmt::Debug) -> Result<(), Divergence> {
        match self {
            Self::Off => Ok(()),
            Self::Recording(recording) => {
                recording.head.event = Cow::Borrowed(event);
                recording.head.callout = digest(callout);
                Ok(())
            }
            Self::Replaying(player) => {
                let head = &player.recording.head;
                let diverged = |what: String| Err(Divergence { call: 0, what });
                if !player.recording.is_complete() {
                    return diverged(format!(
                        "the recording is incomplete: the invocation was given more than {MAX_RECORDED_BYTES} bytes"
                    ));
                }
                if head.event != event {
                    return diverged(format!("the event is {event}, {} was recorded", head.event));
                }
                if head.callout != digest(callout) {
                    return diverged("the callout is another than the one that was recorded".to_owned());
                }
                Ok(())
            }
        }
    }

    /// What a call gave when it was recorded; `None` when this is no replay.
    ///
    /// # Errors
    /// Another call was recorded.
    pub(crate) fn replay<'c, R: DeserializeOwned>(
        &mut self,
        call: impl FnOnce() -> Call<'c>,
    ) -> Result<Option<R>, Divergence> {
        match self {
            Self::Off | Self::Recording(_) => Ok(None),
            Self::Replaying(player) => player.next(call()).map(Some),
        }
    }

    /// Notes what a call gave, when that is recorded.
    pub(crate) fn record<'c>(&mut self, call: impl FnOnce() -> Call<'c>, result: &impl Serialize) {
        if let Self::Recording(recording) = self {
            recording.add(call(), result);
        }
    }

    /// The recording, or whether all of it was replayed.
    pub(crate) fn end<R>(
        self,
        result: Result<R, InvocationError>,
    ) -> (Result<R, InvocationError>, Option<Box<Recording>>) {
        match self {
            Self::Off => (result, None),
            Self::Recording(recording) => (result, Some(recording)),
            Self::Replaying(player) => {
                let ended = result.and_then(|answer| player.end().map(|()| answer).map_err(InvocationError::Diverged));
                (ended, None)
            }
        }
    }

    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Self::Replaying(_))
    }
}

impl Player {
    fn next<R: DeserializeOwned>(&mut self, call: Call<'_>) -> Result<R, Divergence> {
        let number = self.made + 1;
        let diverged = |what: String| Divergence { call: number, what };
        let asked = name(call.function, call.upstream);
        let Some(recorded) = self.recording.calls.get(self.made) else {
            let what = format!(
                "the plugin calls {asked}, the recording has no more than {} calls",
                self.made
            );
            return Err(diverged(what));
        };
        let was_asked = name(&recorded.function, &recorded.upstream);
        if asked != was_asked {
            return Err(diverged(format!("the plugin calls {asked}, {was_asked} was recorded")));
        }
        if call.arguments != recorded.arguments {
            let what = format!(
                "the plugin calls {asked}, as recorded, with other arguments: their SHA-256 is {}, recorded was {}",
                call.arguments, recorded.arguments
            );
            return Err(diverged(what));
        }
        let result = postcard::from_bytes(&recorded.result)
            .map_err(|error| diverged(format!("the recorded result of {asked} is not readable: {error}")))?;
        self.made = number;
        Ok(result)
    }

    fn end(&self) -> Result<(), Divergence> {
        let Some(next) = self.recording.calls.get(self.made) else {
            return Ok(());
        };
        Err(Divergence {
            call: self.made + 1,
            what: format!(
                "the plugin is done, {} was recorded",
                name(&next.function, &next.upstream)
            ),
        })
    }
}

/// Bytes as hexadecimal digits.
mod digits {
    use std::borrow::Cow;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let digits = Cow::<str>::deserialize(deserializer)?;
        hex::decode(&*digits).map_err(serde::de::Error::custom)
    }
}

/// A call's name in messages.
fn name(function: &str, upstream: &str) -> String {
    if upstream.is_empty() {
        return format!("`{}`", clean(function));
    }
    format!("`{}` of upstream `{}`", clean(function), clean(upstream))
}

/// The digest of a callout: of its `Debug` form, which has all of its members.
fn digest(callout: &impl fmt::Debug) -> Digest {
    struct Hasher(Sha256);

    impl fmt::Write for Hasher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }

    let mut hasher = Hasher(Sha256::new());
    // Writing into a hash does not fail.
    let _infallible = write!(hasher, "{callout:?}").is_ok();
    Digest::from_bytes(hasher.0.finalize().into())
}

impl fmt::Debug for RecordedCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RecordedCall")
            .field("function", &self.function)
            .field("upstream", &self.upstream)
            .field("arguments", &self.arguments)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Recording")
            .field("plugin", &self.head.plugin)
            .field("event", &self.head.event)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Call, Recording, Tape, Taping};
    use crate::capability::CacheLookup;
    use crate::interface::cache::Error;
    use crate::plugin::Digest;

    fn call() -> Call<'static> {
        Call {
            function: "cache.get-or-reserve",
            upstream: "",
            arguments: Digest::of(b"key"),
        }
    }

    #[test]
    fn a_recording_has_an_end_and_is_then_no_recording() {
        let mut recording = Recording::new(Digest::of(b"plugin"));
        for _ in 0..40 {
            recording.add(call(), &vec![0_u8; 1 << 20]);
        }
        assert_eq!(recording.calls().len(), 31);
        assert!(!recording.is_complete());
        // What comes after what was left out is left out too, or a replay would be given it in its place.
        recording.add(call(), &());
        assert_eq!(recording.calls().len(), 31);
        let mut tape = Taping::Replay(Arc::new(recording)).begin(Digest::of(b"plugin"));
        let diverged = tape.given("", &"").unwrap_err();
        assert!(diverged.what.contains("incomplete"), "{diverged}");
    }

    #[test]
    fn what_a_cache_has_given_is_given_again() {
        let mut recorded = Taping::Record.begin(Digest::of(b"plugin"));
        recorded.given("event", &"callout").unwrap();
        let give = |found: CacheLookup| -> Result<CacheLookup, Error> { Ok(found) };
        recorded.record(call, &give(CacheLookup::Fresh(vec![1])));
        recorded.record(call, &give(CacheLookup::Stale(vec![2], None)));
        recorded.record(call, &Err::<CacheLookup, _>(Error::TooLarge("why".to_owned())));
        let Tape::Recording(recording) = recorded else {
            unreachable!()
        };
        let mut tape = Taping::Replay(Arc::new(*recording)).begin(Digest::of(b"plugin"));
        tape.given("event", &"callout").unwrap();
        let mut next = || {
            format!(
                "{:?}",
                tape.replay::<Result<CacheLookup, Error>>(call).unwrap().unwrap()
            )
        };
        assert_eq!(next(), "Ok(Fresh([1]))");
        assert_eq!(next(), "Ok(Stale([2], None))");
        assert_eq!(next(), "Err(Error::TooLarge(\"why\"))");
    }
}
