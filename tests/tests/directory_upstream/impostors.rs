//! What no directory sends ends the call, and nothing else.

use claimsmith_tests::eventually;
use claimsmith_tests::impostor::{Answer, BOUND, Impostor};
use serde_json::{Value, json};

use super::{SECRETS, result, start, upstream};

/// An element: its first byte and contents.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len()).unwrap().to_be_bytes();
    [&[tag, 0x84][..], &length, contents].concat()
}

/// A message in answer to the second request.
fn message(operation: &[u8]) -> Vec<u8> {
    element(0x30, &[&[2, 1, 2][..], operation].concat())
}

fn entry(value: &[u8]) -> Vec<u8> {
    let values = element(0x31, &element(4, value));
    let attributes = element(0x30, &element(0x30, &[element(4, b"uid"), values].concat()));
    message(&element(0x64, &[element(4, b"uid=x"), attributes].concat()))
}

fn nested(depth: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    // From the outside in; lengths are of 4 bytes, so each level has 6.
    for level in (0..depth).rev() {
        let length = u32::try_from(level * 6).unwrap().to_be_bytes();
        bytes.extend([0x30, 0x84]);
        bytes.extend(length);
    }
    bytes
}

const BIND: &str =
    "bind = { dn = \"cn=claimsmith\", password = \"file:service\" }\nconnect_timeout = \"2s\"\ntimeout = \"2s\"";

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_ends_the_call() {
    let bound = || Answer::Bytes(BOUND.to_vec());
    let cases = [
        (
            "text",
            vec![Answer::Bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())],
        ),
        ("deep", vec![bound(), Answer::Bytes(nested(40_000))]),
        (
            "deep-inside",
            vec![bound(), Answer::Bytes(message(&element(0x64, &nested(20_000))))],
        ),
        ("no-operation", vec![bound(), Answer::Bytes(element(0x30, &[2, 1, 2]))]),
        ("no-number", vec![bound(), Answer::Bytes(element(0x30, b""))]),
        (
            "a-bind-in-place-of-a-search",
            vec![bound(), Answer::Bytes(BOUND.to_vec())],
        ),
        ("a-search-in-place-of-a-bind", vec![Answer::Bytes(entry(b"x"))]),
        (
            "a-result-without-code",
            vec![bound(), Answer::Bytes(message(&element(0x65, &[4, 0, 4, 0])))],
        ),
        (
            "no-utf-8",
            vec![bound(), Answer::Bytes(message(&[0x65, 8, 10, 1, 0, 4, 0, 4, 1, 0xff]))],
        ),
        (
            "bad-controls",
            vec![
                bound(),
                Answer::Bytes(message(&[0x65, 7, 10, 1, 0, 4, 0, 4, 0, 0xa0, 2, 0x30, 0])),
            ],
        ),
        (
            "bad-entry",
            vec![bound(), Answer::Bytes(message(&element(0x64, &element(4, b"uid=x"))))],
        ),
        ("closes", vec![Answer::Close]),
        ("closes-later", vec![bound(), Answer::Close]),
        (
            "says-that-it-goes",
            vec![
                bound(),
                Answer::Bytes([&[0x30, 12, 2, 1, 0, 0x78, 7, 10, 1, 52, 4, 0, 4, 0][..]].concat()),
            ],
        ),
    ];
    let mut upstreams = String::new();
    let mut impostors = Vec::new();
    for (name, answers) in &cases {
        let impostor = Impostor::start(answers.clone()).await;
        upstreams += &upstream(name, impostor.address, BIND);
        impostors.push(impostor);
    }
    let platform = start(&upstreams, SECRETS).await;
    for ((name, _), impostor) in cases.iter().zip(&impostors) {
        assert_eq!(
            result(&platform, &json!({ "upstream": name })).await,
            "unavailable",
            "{name}"
        );
        eventually("the connection is closed", async || {
            impostor.ended() == impostor.connections()
        })
        .await;
    }
    // Nothing panicked, and the host is there.
    let log = Value::from(platform.host.log()).to_string();
    assert!(!log.contains("panicked"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_come_is_not_taken() {
    let bound = || Answer::Bytes(BOUND.to_vec());
    // Announces 2 GiB, sends entries without end, the same one entry without end.
    let huge = Impostor::start(vec![bound(), Answer::Endless(vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff])]).await;
    let endless = Impostor::start(vec![bound(), Answer::Endless(entry(&[b'x'; 1_000]))]).await;
    let referrals = Impostor::start(vec![
        bound(),
        Answer::Endless(message(&element(0x73, &element(4, b"ldap://x")))),
    ])
    .await;
    let small = "max_bytes = 10000\nmax_entries = 10000";
    let upstreams = upstream("huge", huge.address, &format!("{BIND}\n{small}"))
        + &upstream("endless", endless.address, &format!("{BIND}\n{small}"))
        + &upstream("referrals", referrals.address, &format!("{BIND}\n{small}"));
    let platform = start(&upstreams, SECRETS).await;
    for (name, impostor) in [("huge", &huge), ("endless", &endless), ("referrals", &referrals)] {
        assert_eq!(
            result(&platform, &json!({ "upstream": name })).await,
            "too-large",
            "{name}"
        );
        eventually("the connection is closed", async || impostor.ended() == 1).await;
        // What was on the way is in the buffers of two sockets.
        assert!(impostor.sent() < 16 << 20, "{name}: {} bytes", impostor.sent());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_takes_nothing_that_came_before_tls() {
    let agreed = [0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 0, 4, 0, 4, 0];
    let refused = [0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 2, 4, 0, 4, 0];
    let injected = [&agreed[..], BOUND].concat();
    let cases = [
        ("refused", vec![Answer::Bytes(refused.to_vec())]),
        ("injected", vec![Answer::Bytes(injected)]),
        ("another", vec![Answer::Bytes(BOUND.to_vec())]),
        (
            "no-tls",
            vec![Answer::Bytes(agreed.to_vec()), Answer::Bytes(BOUND.to_vec())],
        ),
    ];
    let mut upstreams = String::new();
    let mut impostors = Vec::new();
    for (name, answers) in &cases {
        let impostor = Impostor::start(answers.clone()).await;
        let encrypted = upstream(name, impostor.address, BIND).replace("plain_ldap = true", "start_tls = true");
        upstreams += &encrypted;
        impostors.push(impostor);
    }
    let platform = start(&upstreams, SECRETS).await;
    for (name, _) in &cases {
        assert_eq!(
            result(&platform, &json!({ "upstream": name })).await,
            "unavailable",
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_of_a_failure_is_cut_and_what_it_makes_up_is_not_logged() {
    let text = [b"planted\nERROR forged ".as_slice(), &[b'x'; 5_000]].concat();
    // `invalidCredentials`
    let refused = element(0x61, &[&[10, 1, 49, 4, 0][..], &element(4, &text)].concat());
    let refused = element(0x30, &[&[2, 1, 1][..], &refused].concat());
    let wordy = Impostor::start(vec![Answer::Bytes(refused)]).await;
    // Entries for something that nobody has asked.
    let mut made_up = entry(b"x");
    let id = made_up.windows(3).position(|bytes| bytes == [2, 1, 2]).unwrap();
    made_up[id + 2] = 9;
    let strange = Impostor::start(vec![Answer::Bytes(BOUND.to_vec()), Answer::Endless(made_up)]).await;
    let upstreams = upstream("wordy", wordy.address, BIND)
        + &upstream("strange", strange.address, &format!("{BIND}\nmax_bytes = 10000"));
    let platform = start(&upstreams, SECRETS).await;
    assert_eq!(result(&platform, &json!({ "upstream": "wordy" })).await, "unavailable");
    assert_eq!(result(&platform, &json!({ "upstream": "strange" })).await, "too-large");
    let tells = |line: &Value| line["text"].to_string().contains("planted");
    platform.host.log_line("the operator is told", tells).await;
    for line in platform.host.log() {
        let line = line.to_string();
        assert!(line.len() < 2_000 && !line.contains(r"planted\n"), "{line}");
        assert!(!line.contains("unmatched id"), "{line}");
    }
}
