use ldap3::asn1::parse_tag;

use super::{Malformed, Message, Operation, check, length};

/// An element: its first byte and contents.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    match u8::try_from(contents.len()) {
        Ok(short @ 0..128) => element.push(short),
        _ => element.extend([&[0x84][..], &u32::try_from(contents.len()).unwrap().to_be_bytes()].concat()),
    }
    element.extend(contents);
    element
}

fn message(id: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    element(0x30, &[&element(2, id)[..], &rest.concat()].concat())
}

fn result(tag: u8, code: u8, more: &[u8]) -> Vec<u8> {
    element(tag, &[&[10, 1, code, 4, 0, 4, 0][..], more].concat())
}

fn entry() -> Vec<u8> {
    let values = element(0x31, &element(4, b"ada"));
    let attribute = element(0x30, &[element(4, b"uid"), values].concat());
    element(0x64, &[element(4, b"uid=ada"), element(0x30, &attribute)].concat())
}

fn page(value: &[u8]) -> Vec<u8> {
    let members = [element(4, b"1.2.840.113556.1.4.319"), element(4, value)].concat();
    element(0xa0, &element(0x30, &members))
}

fn nested(depth: usize) -> Vec<u8> {
    (0..depth).fold(Vec::new(), |inner, _| element(0x30, &inner))
}

#[test]
fn responses_pass() {
    let good_page = page(&element(0x30, &[&[2, 1, 0][..], &element(4, b"cookie")].concat()));
    let referral = element(0xa3, &element(4, b"ldap://other"));
    for (bytes, operation, code) in [
        (message(&[1], &[&result(0x61, 49, &[])]), Operation::Bind, Some(49)),
        (message(&[2], &[&entry()]), Operation::Entry, None),
        (
            message(&[2], &[&result(0x65, 0, &[]), &good_page]),
            Operation::Done,
            Some(0),
        ),
        (
            message(&[2], &[&result(0x65, 10, &referral)]),
            Operation::Done,
            Some(10),
        ),
        (
            message(&[2], &[&element(0x73, &element(4, b"ldap://other"))]),
            Operation::Reference,
            None,
        ),
        (
            message(&[0], &[&result(0x78, 52, &element(0x8a, b"1.3.6.1"))]),
            Operation::Extended,
            Some(52),
        ),
        // As Active Directory says that it goes.
        (
            message(&[0], &[&result(0x78, 52, &[]), &element(0x8a, b"1.3.6.1")]),
            Operation::Extended,
            Some(52),
        ),
    ] {
        let id = u64::from(bytes[4]);
        let expected = Message {
            id,
            operation,
            result_code: code,
        };
        assert_eq!(check(&bytes), Ok(expected), "{bytes:x?}");
        assert_eq!(length(&bytes), Ok(Some(bytes.len())));
        assert_eq!(parse_tag(&bytes).unwrap().0, b"", "ldap3 reads the same");
    }
}

#[test]
fn what_ldap3_panics_at_does_not_pass() {
    let empty_boolean = element(0x30, &[element(4, b"1.2.3"), element(1, b"")].concat());
    for (what, bytes) in [
        ("no element", element(0x30, b"")),
        ("one element", element(0x30, &[2, 1, 1])),
        (
            "no number",
            element(0x30, &[element(4, b"1"), result(0x61, 0, &[])].concat()),
        ),
        (
            "four elements",
            message(&[1], &[&result(0x65, 0, &[]), &page(b""), &page(b"")]),
        ),
        ("an operation of no response", message(&[1], &[&element(0x60, b"")])),
        ("a primitive operation", message(&[1], &[&element(0x44, b"")])),
        ("no result code", message(&[1], &[&element(0x61, &[4, 0, 4, 0])])),
        ("a result code alone", message(&[1], &[&element(0x61, &[10, 1, 0])])),
        (
            "text that is none",
            message(&[1], &[&element(0x61, &[10, 1, 0, 4, 1, 0xff, 4, 0])]),
        ),
        (
            "a primitive referral",
            message(&[1], &[&result(0x65, 10, &element(0x83, b"x"))]),
        ),
        (
            "a page that is none",
            message(&[1], &[&result(0x65, 0, &[]), &page(b"x")]),
        ),
        (
            "an empty page",
            message(&[1], &[&result(0x65, 0, &[]), &page(&element(0x30, b""))]),
        ),
        (
            "a boolean without value",
            message(&[1], &[&result(0x65, 0, &[]), &element(0xa0, &empty_boolean)]),
        ),
        (
            "primitive controls",
            message(&[1], &[&result(0x65, 0, &[]), &element(0x80, b"")]),
        ),
        (
            "an element beyond its parent",
            message(&[1], &[&[0x61, 5, 10, 4, 0, 4, 0]]),
        ),
        (
            "indefinite length",
            vec![0x30, 0x80, 2, 1, 1, 0x61, 7, 10, 1, 0, 4, 0, 4, 0, 0, 0],
        ),
        (
            "a long tag",
            message(&[1], &[&element(0x65, &[10, 1, 0, 4, 0, 4, 0, 0x1f, 0x20, 0])]),
        ),
        ("text", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
    ] {
        assert_eq!(check(&bytes), Err(Malformed), "{what}");
    }
}

#[test]
fn depth_is_bounded() {
    let deep = nested(200_000);
    assert_eq!(check(&deep), Err(Malformed));
    assert_eq!(check(&message(&[1], &[&nested(20)])), Err(Malformed));
}

#[test]
fn a_length_is_known_from_the_beginning() {
    assert_eq!(length(b""), Ok(None));
    assert_eq!(length(&[0x30]), Ok(None));
    assert_eq!(length(&[0x30, 0x84, 0xff]), Ok(None));
    assert_eq!(length(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]), Ok(Some(6 + 0xffff_ffff)));
    assert_eq!(
        length(&[0x30, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        Err(Malformed)
    );
    assert_eq!(length(b"220 mail.example ESMTP"), Err(Malformed));
}
