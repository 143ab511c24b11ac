use super::{Answers, MAX_LASTING, MUCH_LASTING, ROOM, Refused, Requests};

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}

/// What is passed on of these bytes, in chunks of a size.
fn passed(answers: &mut Answers, bytes: &[u8], chunk: usize, is_result: bool) -> Result<Vec<u8>, Refused> {
    let (mut passed, mut is_result) = (Vec::new(), is_result);
    for bytes in bytes.chunks(chunk) {
        answers.pass(bytes, &mut is_result, &mut passed)?;
    }
    Ok(passed)
}

#[test]
fn a_message_is_refused_by_its_head_however_it_comes() {
    let small = b"D\x00\x00\x00\x08aaaaC\x00\x00\x00\x04";
    let large = [small.as_slice(), b"D\x00\x00\x00\x65"].concat();
    for chunk in 1..large.len() {
        let pass = |bytes: &[u8], most| passed(&mut Answers::new(most), bytes, chunk, true);
        assert_eq!(pass(small, 100), Ok(small.to_vec()), "{chunk}");
        assert_eq!(pass(&large, 100), Err(Refused::TooLarge), "{chunk}");
        assert_eq!(pass(&large, 101), Ok(large.clone()), "{chunk}");
    }
    for short in [
        message(b'Z', b""),
        message(b'K', b"1234567"),
        message(b't', b"1"),
        b"C\0\0\0\x03".to_vec(),
    ] {
        let refused = passed(&mut Answers::new(100), &short, 100, true);
        assert_eq!(refused, Err(Refused::Malformed), "{short:?}");
    }
}

#[test]
fn what_nobody_asked_for_is_left_out_however_it_comes() {
    let wanted = [message(b'C', b"BEGIN\0"), message(b'Z', b"T")].concat();
    let unasked = [
        message(b'S', b"a\0b\0"),
        message(b'N', b"MC\nforged\0\0"),
        message(b'A', b"1234a\0b\0"),
    ];
    let unasked = unasked.concat();
    let all = [unasked.as_slice(), &wanted, &unasked, &wanted, &unasked].concat();
    for chunk in 1..all.len() {
        let passed = passed(&mut Answers::new(100), &all, chunk, false);
        assert_eq!(passed, Ok(wanted.repeat(2)), "{chunk}");
    }
}

#[test]
fn an_answer_is_bounded_as_a_whole_and_answers_together_are_not() {
    let (most, row) = (1_000, message(b'D', &[0; 900]));
    let mut answers = Answers::new(most);
    let fits = (2 * most + ROOM) / (row.len() - 1);
    for _ in 0..3 {
        let answer = [row.repeat(fits - 1), message(b'Z', b"T")].concat();
        assert!(passed(&mut answers, &answer, 16 << 10, true).is_ok());
    }
    let refused = passed(&mut answers, &row.repeat(fits + 1), 16 << 10, true);
    assert_eq!(refused, Err(Refused::TooLarge));
}

#[test]
fn what_the_driver_keeps_is_bounded_for_a_whole_connection() {
    let most = 10 << 20;
    let half = vec![0; MUCH_LASTING - 100];
    for (kept, is_result) in [(b'T', true), (b't', true), (b'D', false)] {
        let mut answers = Answers::new(most);
        let ready = |status: &[u8]| message(b'Z', status);
        let first = [ready(b"T"), message(kept, &half)].concat();
        // Whether rows are a result's is said anew for each request.
        let take = |answers: &mut Answers, bytes: &[u8]| {
            let mut passed = Vec::new();
            answers.pass(bytes, &mut { is_result }, &mut passed)
        };
        assert_eq!(take(&mut answers, &first), Ok(()));
        assert_eq!(take(&mut answers, &ready(b"I")), Ok(()));
        assert!(!answers.has_had_its_time());
        assert_eq!(take(&mut answers, &ready(b"T")), Ok(()));
        assert_eq!(take(&mut answers, &message(kept, &[0; 200])), Ok(()));
        assert!(!answers.has_had_its_time(), "in the middle of a transaction");
        assert_eq!(take(&mut answers, &ready(b"I")), Ok(()));
        assert!(answers.has_had_its_time());
        let refused = take(&mut answers, &message(kept, &vec![0; MAX_LASTING / 2]));
        assert_eq!(refused, Err(Refused::TooMuchKept), "{kept}");
    }
    // A result's rows are nothing that is kept.
    let mut answers = Answers::new(most);
    assert!(passed(&mut answers, &message(b'D', &vec![0; MAX_LASTING * 2]), 16 << 10, true).is_ok());
}

#[test]
fn rows_are_a_results_from_when_a_statement_is_executed_until_the_server_is_ready() {
    let startup = [0, 0, 0, 9, 0, 3, 0, 0, b'B'];
    let preparing = [message(b'P', b"BBBB"), message(b'D', b"SB"), message(b'S', b"")].concat();
    let executing = [message(b'B', b"\0"), message(b'E', b"\0"), message(b'S', b"")].concat();
    let mut requests = Requests::new();
    assert!(!requests.execute(&[startup.as_slice(), &preparing].concat()));
    assert!(requests.execute(&executing));
    assert!(!requests.execute(&message(b'Q', b"B")));
    let mut is_result = true;
    let answers = &mut Answers::new(100);
    answers
        .pass(&message(b'Z', b"I"), &mut is_result, &mut Vec::new())
        .unwrap();
    assert!(!is_result);
}

#[test]
fn a_login_is_not_computed_for_longer_than_any_server_wants() {
    let sasl = |rounds: &str| message(b'R', format!("\0\0\0\x0br=nonce,s=c2FsdA==,i={rounds}").as_bytes());
    for (challenge, expected) in [
        (sasl("4096"), None),
        (sasl("100000"), None),
        (sasl("100001"), Some(Refused::Malformed)),
        (sasl("4294967295"), Some(Refused::Malformed)),
        (sasl("99999999x"), Some(Refused::Malformed)),
        (sasl("4096,i=4294967295"), Some(Refused::Malformed)),
        (message(b'R', &[0, 0, 0, 0]), None),
        (message(b'R', &[0; 5_000]), Some(Refused::Malformed)),
    ] {
        for chunk in [1, 7, challenge.len()] {
            let passed = passed(&mut Answers::new(10_000), &challenge, chunk, false);
            assert_eq!(passed.err(), expected, "{challenge:?} {chunk}");
        }
    }
}
