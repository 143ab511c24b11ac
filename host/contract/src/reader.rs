//! Reading a [`Value`] member by member, collecting every [`Problem`] instead of stopping at the first.

use std::borrow::Cow;
use std::fmt;

use uuid::Uuid;

use crate::json::Value;

/// One thing wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as JSON Pointer (RFC 6901); empty for the whole body.
    pub pointer: String,
    /// What was expected and what was found. Holds no value of the request.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.pointer.is_empty() {
            "the body"
        } else {
            &self.pointer
        };
        write!(formatter, "{place}: {}", self.message)
    }
}

/// Further problems of one body are not noted: they are the same mistake again.
const MAX_PROBLEMS: usize = 20;
/// Names in a body can be long; a pointer to one is cut.
const MAX_POINTER_CHARACTERS: usize = 256;

fn shortened(pointer: String) -> String {
    match pointer.char_indices().nth(MAX_POINTER_CHARACTERS) {
        Some((end, _)) => format!("{}…", pointer.get(..end).unwrap_or_default()),
        None => pointer,
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

impl Problems {
    pub(crate) fn add(&mut self, pointer: impl Into<String>, message: impl Into<String>) {
        if self.0.len() == MAX_PROBLEMS {
            return;
        }
        self.0.push(Problem {
            pointer: shortened(pointer.into()),
            message: message.into(),
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// How many members deep a place is known by their names: `/data/authenticationContext/user` is the deepest in Entra's
/// envelope.
const KNOWN_DEPTH: usize = 3;

/// Where an object is. It becomes text only when something is wrong there.
#[derive(Clone, Debug, Default)]
struct Place {
    /// A pointer, empty for the whole body.
    base: String,
    /// The members that lead on from there; the rest are empty.
    names: [&'static str; KNOWN_DEPTH],
}

impl Place {
    fn of(&self, member: &'static str) -> Self {
        let mut place = self.clone();
        match place.names.iter_mut().find(|name| name.is_empty()) {
            Some(free) => {
                *free = member;
                place
            }
            None => Self::from(self.pointer_to(member)),
        }
    }

    fn pointer_to(&self, member: &str) -> String {
        format!("{self}/{}", escaped(member))
    }
}

impl From<String> for Place {
    fn from(base: String) -> Self {
        Self {
            base,
            ..Self::default()
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)?;
        let mut names = self.names.iter().filter(|name| !name.is_empty());
        names.try_for_each(|name| write!(formatter, "/{}", escaped(name)))
    }
}

/// A member's name as a pointer has it (RFC 6901, section 3).
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// An object whose members are taken out one by one; `null` counts as absent (contract.md, section 0.4).
#[derive(Debug)]
pub(crate) struct ObjectReader<'a> {
    place: Place,
    /// Of a member that was taken, [`TAKEN`] is left.
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    /// After the member that was taken last: the next one is mostly asked for next.
    next: usize,
}

/// What is left of a member that was taken, so that the others need not move up: one that has no name and says nothing.
const TAKEN: (Cow<'static, str>, Value<'static>) = (Cow::Borrowed(""), Value::Null);

impl<'a> ObjectReader<'a> {
    /// Reads `value`, which is at `pointer`; anything but an object is a problem.
    pub(crate) fn new(pointer: impl Into<String>, value: Value<'a>, problems: &mut Problems) -> Option<Self> {
        Self::at(Place::from(pointer.into()), value, problems)
    }

    fn at(place: Place, value: Value<'a>, problems: &mut Problems) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self {
                place,
                members,
                next: 0,
            }),
            other => {
                problems.add(place.to_string(), format!("expected an object, found {}", other.kind()));
                None
            }
        }
    }

    /// Where a member of this object is.
    pub(crate) fn pointer_to(&self, member: &str) -> String {
        self.place.pointer_to(member)
    }

    /// Takes a member; absent and `null` are the same.
    pub(crate) fn take(&mut self, member: &str) -> Option<Value<'a>> {
        let is_asked_for = |(name, _): &(Cow<'_, str>, _)| name == member;
        let (before, after) = self.members.split_at(self.next.min(self.members.len()));
        let index = match after.iter().position(is_asked_for) {
            Some(index) => before.len() + index,
            None => before.iter().position(is_asked_for)?,
        };
        self.next = index + 1;
        let found = self.members.get_mut(index)?;
        match std::mem::replace(found, TAKEN).1 {
            Value::Null => None,
            value => Some(value),
        }
    }

    /// Forgets every member of that name, in whatever case it is spelled.
    pub(crate) fn forget(&mut self, member: &str) {
        self.members.retain(|(name, _)| !name.eq_ignore_ascii_case(member));
    }

    /// Takes a member whose name is spelled in more than one case. Two of them are refused as a repetition is: readers
    /// could disagree about which counts.
    fn take_in_any_case(&mut self, member: &str, problems: &mut Problems) -> Option<Value<'a>> {
        let mut found = None;
        for index in 0..self.members.len() {
            let matches = |(name, _): &&mut (Cow<'_, str>, _)| name.eq_ignore_ascii_case(member);
            let Some(one) = self.members.get_mut(index).filter(matches) else {
                continue;
            };
            match std::mem::replace(one, TAKEN) {
                (_, Value::Null) => {}
                (_, value) if found.is_none() => found = Some(value),
                (name, _) => problems.add(self.pointer_to(&name), "occurs twice, in two spellings"),
            }
        }
        found
    }

    /// Takes `@odata.type`, which Microsoft's documentation once writes as `@odata.Type` (contract.md, section 0.2).
    pub(crate) fn take_odata_type(&mut self, problems: &mut Problems) -> Option<Cow<'a, str>> {
        let value = self.take_in_any_case("@odata.type", problems)?;
        self.expect_text("@odata.type", value, problems)
    }

    /// Takes an object.
    pub(crate) fn object(&mut self, member: &'static str, problems: &mut Problems) -> Option<ObjectReader<'a>> {
        let value = self.take(member)?;
        ObjectReader::at(self.place.of(member), value, problems)
    }

    /// Takes an object that must be there.
    pub(crate) fn required_object(
        &mut self,
        member: &'static str,
        problems: &mut Problems,
    ) -> Option<ObjectReader<'a>> {
        let Some(value) = self.take(member) else {
            problems.add(self.pointer_to(member), "missing, expected an object");
            return None;
        };
        ObjectReader::at(self.place.of(member), value, problems)
    }

    /// Takes a string.
    pub(crate) fn text(&mut self, member: &str, problems: &mut Problems) -> Option<Cow<'a, str>> {
        let value = self.take(member)?;
        self.expect_text(member, value, problems)
    }

    /// Takes a string that must be there.
    pub(crate) fn required_text(&mut self, member: &str, problems: &mut Problems) -> Option<Cow<'a, str>> {
        let Some(value) = self.take(member) else {
            problems.add(self.pointer_to(member), "missing, expected a string");
            return None;
        };
        self.expect_text(member, value, problems)
    }

    /// Takes a string that must be there and have text in it.
    pub(crate) fn required_filled_text(&mut self, member: &str, problems: &mut Problems) -> Option<Cow<'a, str>> {
        let text = self.required_text(member, problems)?;
        self.expect_filled(member, text, problems)
    }

    /// The same, under a name that samples spell in more than one case.
    pub(crate) fn required_filled_text_in_any_case(
        &mut self,
        member: &str,
        problems: &mut Problems,
    ) -> Option<Cow<'a, str>> {
        let Some(value) = self.take_in_any_case(member, problems) else {
            problems.add(self.pointer_to(member), "missing, expected a string");
            return None;
        };
        let text = self.expect_text(member, value, problems)?;
        self.expect_filled(member, text, problems)
    }

    /// Takes a GUID that must be there.
    pub(crate) fn required_guid(&mut self, member: &str, problems: &mut Problems) -> Option<Guid<'a>> {
        let Some(value) = self.take(member) else {
            problems.add(self.pointer_to(member), "missing, expected a GUID");
            return None;
        };
        self.expect_guid(member, value, problems)
    }

    /// Takes a GUID.
    pub(crate) fn guid(&mut self, member: &str, problems: &mut Problems) -> Option<Guid<'a>> {
        let value = self.take(member)?;
        self.expect_guid(member, value, problems)
    }

    fn expect_text(&self, member: &str, value: Value<'a>, problems: &mut Problems) -> Option<Cow<'a, str>> {
        match value {
            Value::String(text) => Some(text),
            other => {
                problems.add(
                    self.pointer_to(member),
                    format!("expected a string, found {}", other.kind()),
                );
                None
            }
        }
    }

    fn expect_filled(&self, member: &str, text: Cow<'a, str>, problems: &mut Problems) -> Option<Cow<'a, str>> {
        if text.trim().is_empty() {
            problems.add(self.pointer_to(member), "expected a string with text in it");
            return None;
        }
        Some(text)
    }

    fn expect_guid(&self, member: &str, value: Value<'a>, problems: &mut Problems) -> Option<Guid<'a>> {
        let text = self.expect_text(member, value, problems)?;
        let Some(id) = parse_guid(&text) else {
            problems.add(
                self.pointer_to(member),
                "expected a GUID like `6dbcc7e2-0000-4000-8000-3c8cb4d3b5a1` that is not all zeros",
            );
            return None;
        };
        Some(Guid { id, text })
    }

    /// All members, with their places.
    pub(crate) fn into_members(self) -> Vec<(Cow<'a, str>, String, Value<'a>)> {
        let Self { place, members, .. } = self;
        let left = members.into_iter().filter(is_left);
        left.map(|(name, value)| {
            let pointer = place.pointer_to(&name);
            (name, pointer, value)
        })
        .collect()
    }

    /// All members as strings; `null` counts as absent.
    pub(crate) fn into_texts(self, problems: &mut Problems) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let mut texts = Vec::with_capacity(self.members.len());
        for (name, place, value) in self.into_members() {
            match value {
                Value::Null => {}
                Value::String(text) => texts.push((name, text)),
                other => problems.add(place, format!("expected a string, found {}", other.kind())),
            }
        }
        texts
    }

    /// The members nobody took.
    pub(crate) fn into_rest(self) -> impl Iterator<Item = (Cow<'a, str>, Value<'a>)> {
        self.members.into_iter().filter(is_left)
    }
}

/// Whether a member has not been taken. An absent member may be without a name, too: nobody asks for it either.
fn is_left((name, value): &(Cow<'_, str>, Value<'_>)) -> bool {
    !(name.is_empty() && *value == Value::Null)
}

/// A GUID and its text as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guid<'a> {
    pub(crate) id: Uuid,
    pub(crate) text: Cow<'a, str>,
}

/// A GUID in the hyphenated form, not all zeros.
pub(crate) fn parse_guid(text: &str) -> Option<Uuid> {
    // `try_parse` also reads braced, URN and unhyphenated forms, which differ in length.
    let id = Uuid::try_parse(text).ok().filter(|_| text.len() == 36)?;
    (!id.is_nil()).then_some(id)
}
