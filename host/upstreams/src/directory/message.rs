//! What a directory sends, looked at before ldap3 is given it.
//!
//! ldap3 panics at messages of another shape than RFC 4511 says, and reads nested elements by recursion without a bound, so
//! that a few KiB of a hostile directory would end the process. What comes through here has the shape, and less depth than
//! could matter. Elements are in the definite form with tags below 31, as RFC 4511, section 5.1, has them, so that this
//! reading and ldap3's are the same.

use asn1_rs::{Any, Class, FromBer as _, Header, Length, Tag};

/// Elements within elements. A response has six levels, one with a control five.
const MAX_DEPTH: usize = 8;
/// The tag of a message's controls.
const CONTROLS: u32 = 0;
/// Where Active Directory puts the name of its notice of disconnection.
const MISPLACED_NAME: u32 = 10;
/// RFC 2696.
const PAGED_RESULTS: &[u8] = b"1.2.840.113556.1.4.319";

/// What a message is (RFC 4511, section 4.2 and on): the tags of the responses that are of use here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// `BindResponse`
    Bind,
    /// `SearchResultEntry`
    Entry,
    /// `SearchResultDone`
    Done,
    /// `SearchResultReference`
    Reference,
    /// `ExtendedResponse`
    Extended,
}

/// A message of the right shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// 0 for what was not asked for.
    pub(super) id: u64,
    pub(super) operation: Operation,
    /// What an operation ended with; 0 is success.
    pub(super) result_code: Option<u64>,
}

/// A message has not the shape that LDAP has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// How many bytes a message has that begins so; `None` when more of it is needed to tell.
pub(super) fn length(begin: &[u8]) -> Result<Option<usize>, Malformed> {
    let (rest, header) = match Header::from_ber(begin) {
        Ok(read) => read,
        Err(asn1_rs::Err::Incomplete(_)) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let Length::Definite(contents) = header.length() else {
        return Err(Malformed);
    };
    require(is_sequence(&header))?;
    let head = begin.len() - rest.len();
    head.checked_add(contents).map(Some).ok_or(Malformed)
}

/// Looks at a whole message.
pub(super) fn check(message: &[u8]) -> Result<Message, Malformed> {
    check_nesting(message)?;
    let (rest, envelope) = Any::from_ber(message).map_err(|_| Malformed)?;
    require(rest.is_empty() && is_sequence(&envelope.header))?;
    let elements = elements(envelope.data)?;
    let (id, operation) = match elements.as_slice() {
        [id, operation] => (id, operation),
        [id, operation, last] => {
            require(last.class() == Class::ContextSpecific)?;
            match last.tag() {
                Tag(CONTROLS) => check_controls(last)?,
                Tag(MISPLACED_NAME) => {}
                _ => return Err(Malformed),
            }
            (id, operation)
        }
        _ => return Err(Malformed),
    };
    require(operation.class() == Class::Application && operation.header.is_constructed())?;
    let kind = match operation.tag().0 {
        1 => Operation::Bind,
        4 => Operation::Entry,
        5 => Operation::Done,
        19 => Operation::Reference,
        24 => Operation::Extended,
        _ => return Err(Malformed),
    };
    let result_code = match kind {
        Operation::Bind | Operation::Done | Operation::Extended => Some(check_result(operation)?),
        Operation::Entry | Operation::Reference => None,
    };
    Ok(Message {
        id: number(id, Tag::Integer)?,
        operation: kind,
        result_code,
    })
}

/// Whether every element is within the one around it, and none too deep: without recursion.
fn check_nesting(message: &[u8]) -> Result<(), Malformed> {
    // Where the elements around end, as bytes that are left then.
    let mut ends: Vec<usize> = Vec::with_capacity(MAX_DEPTH);
    let mut rest = message;
    loop {
        while ends.last() == Some(&rest.len()) {
            ends.pop();
        }
        if rest.is_empty() {
            return require(ends.is_empty());
        }
        let (contents, header) = Header::from_ber(rest).map_err(|_| Malformed)?;
        let Length::Definite(length) = header.length() else {
            return Err(Malformed);
        };
        let end = contents.len().checked_sub(length).ok_or(Malformed)?;
        require(header.tag().0 < 31 && ends.last().is_none_or(|outer| *outer <= end))?;
        if header.is_constructed() {
            require(ends.len() < MAX_DEPTH)?;
            ends.push(end);
            rest = contents;
        } else {
            rest = contents.get(length..).ok_or(Malformed)?;
        }
    }
}

/// `LDAPResult` and what can follow it (RFC 4511, section 4.1.9): its code.
fn check_result(operation: &Any<'_>) -> Result<u64, Malformed> {
    let elements = elements(operation.data)?;
    let [code, matched, diagnostic, more @ ..] = elements.as_slice() else {
        return Err(Malformed);
    };
    check_text(matched)?;
    check_text(diagnostic)?;
    for element in more {
        match element.tag().0 {
            // Referral
            3 => {
                require(element.header.is_constructed())?;
                self::elements(element.data)?.iter().try_for_each(check_text)?;
            }
            // The name of an extended response.
            10 => check_text(element)?,
            // Credentials and values.
            7 | 11 => require(!element.header.is_constructed())?,
            _ => {}
        }
    }
    number(code, Tag::Enumerated)
}

fn check_controls(controls: &Any<'_>) -> Result<(), Malformed> {
    require(controls.header.is_constructed())?;
    for control in elements(controls.data)? {
        require(is_sequence(&control.header))?;
        let members = elements(control.data)?;
        let (name, value) = match members.as_slice() {
            [name] => (name, None),
            [name, value] if value.tag() == Tag::OctetString => (name, Some(value)),
            [name, critical] => {
                check_boolean(critical)?;
                (name, None)
            }
            [name, critical, value] => {
                check_boolean(critical)?;
                (name, Some(value))
            }
            _ => return Err(Malformed),
        };
        check_text(name)?;
        require(value.is_none_or(|value| !value.header.is_constructed()))?;
        if name.data == PAGED_RESULTS {
            check_page(value.ok_or(Malformed)?.data)?;
        }
    }
    Ok(())
}

/// `realSearchControlValue` (RFC 2696, section 2).
fn check_page(value: &[u8]) -> Result<(), Malformed> {
    check_nesting(value)?;
    let (_, page) = Any::from_ber(value).map_err(|_| Malformed)?;
    require(is_sequence(&page.header))?;
    match elements(page.data)?.as_slice() {
        [size, cookie] => {
            number(size, Tag::Integer)?;
            require(!cookie.header.is_constructed())
        }
        _ => Err(Malformed),
    }
}

fn elements(mut contents: &[u8]) -> Result<Vec<Any<'_>>, Malformed> {
    let mut elements = Vec::new();
    while !contents.is_empty() {
        let (rest, element) = Any::from_ber(contents).map_err(|_| Malformed)?;
        elements.push(element);
        contents = rest;
    }
    Ok(elements)
}

fn is_sequence(header: &Header<'_>) -> bool {
    header.class() == Class::Universal && header.tag() == Tag::Sequence && header.is_constructed()
}

fn number(element: &Any<'_>, tag: Tag) -> Result<u64, Malformed> {
    let of_tag = element.class() == Class::Universal && element.tag() == tag && !element.header.is_constructed();
    require(of_tag && (1..=4).contains(&element.data.len()))?;
    Ok(element.data.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn check_text(element: &Any<'_>) -> Result<(), Malformed> {
    require(!element.header.is_constructed() && std::str::from_utf8(element.data).is_ok())
}

fn check_boolean(element: &Any<'_>) -> Result<(), Malformed> {
    require(element.tag() == Tag::Boolean && !element.header.is_constructed() && element.data.len() == 1)
}

const fn require(holds: bool) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests;
