//! Password contexts made by another implementation (`vectors.py`), and what becomes of them when they are changed.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use claimsmith_password::{Accepted, DecryptionKey, KeyError, PasswordContext, PasswordError, open};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    now: u64,
    audience: String,
    username: String,
    password: String,
    nonce: String,
    x5t: String,
    keys: Keys,
    contexts: Vec<Context>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    pkcs8: String,
    pkcs1: String,
    encrypted: String,
    certificate: String,
    other_certificate: String,
    short: String,
    pkcs12: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    name: String,
    jwe: String,
    expect: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

impl Vectors {
    fn key(&self) -> DecryptionKey {
        let certificate = Some(self.keys.certificate.as_bytes());
        DecryptionKey::from_pem(
            self.keys.pkcs8.as_bytes(),
            certificate,
            None,
            Some("migration-2026".to_owned()),
        )
        .unwrap()
    }

    fn open(&self, jwe: &str) -> Result<PasswordContext, PasswordError> {
        self.open_at(jwe, self.now)
    }

    fn open_at(&self, jwe: &str, now: u64) -> Result<PasswordContext, PasswordError> {
        let accepted = Accepted {
            audiences: vec![self.audience.clone()],
            leeway: Duration::from_mins(1),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        open(jwe, &[self.key()], &accepted, now)
    }

    fn context(&self, name: &str) -> &str {
        &self.contexts.iter().find(|context| context.name == name).unwrap().jwe
    }
}

#[test]
fn what_another_implementation_encrypts_is_read_or_refused_for_its_reason() {
    let vectors = vectors();
    assert!(vectors.contexts.len() > 30);
    for context in &vectors.contexts {
        let opened = vectors.open(&context.jwe);
        match (opened, context.expect.as_str()) {
            (Ok(opened), "ok") => {
                assert_eq!(*opened.username, vectors.username, "{}", context.name);
                assert_eq!(*opened.password, vectors.password, "{}", context.name);
                assert_eq!(opened.nonce, vectors.nonce, "{}", context.name);
                assert!(!format!("{opened:?}").contains(&vectors.username), "{}", context.name);
            }
            (Err(error), expected) => {
                assert!(error.to_string().contains(expected), "{}: {error}", context.name);
            }
            (Ok(_), expected) => panic!("{}: accepted, expected {expected}", context.name),
        }
    }
}

#[test]
fn times_have_the_leeway_and_no_more() {
    let vectors = vectors();
    let jwe = vectors.context("RSA-OAEP, A128CBC-HS256, zip DEF");
    let issued_at = vectors.now - 1;
    for (now, accepted) in [
        (issued_at - 61, false),
        (issued_at - 60, true),
        (issued_at + 659, true),
        (issued_at + 660, false),
    ] {
        assert_eq!(vectors.open_at(jwe, now).is_ok(), accepted, "{}", now - issued_at);
    }
}

/// The JWE with one of its parts changed.
fn changed(jwe: &str, part: usize, change: impl Fn(&mut Vec<u8>)) -> String {
    let mut parts: Vec<_> = jwe.split('.').map(str::to_owned).collect();
    let mut bytes = URL_SAFE_NO_PAD.decode(&parts[part]).unwrap();
    change(&mut bytes);
    parts[part] = URL_SAFE_NO_PAD.encode(bytes);
    parts.join(".")
}

#[test]
fn every_changed_part_is_refused_and_none_can_be_told_from_another() {
    let vectors = vectors();
    for name in ["RSA-OAEP, A128CBC-HS256, zip DEF", "RSA-OAEP-256, A256GCM, zip None"] {
        let jwe = vectors.context(name);
        for part in 1..5 {
            for last in [false, true] {
                let change = |bytes: &mut Vec<u8>| {
                    let index = if last { bytes.len() - 1 } else { 0 };
                    bytes[index] ^= 1;
                };
                let opened = vectors.open(&changed(jwe, part, change));
                assert_eq!(opened.unwrap_err(), PasswordError::Undecryptable, "{name}, part {part}");
            }
        }
        // The header is authenticated too: the same members in another spelling do not pass.
        let spaced = changed(jwe, 0, |bytes| bytes.push(b' '));
        assert_eq!(vectors.open(&spaced).unwrap_err(), PasswordError::Undecryptable);
    }
}

#[test]
fn short_tags_and_vectors_are_refused() {
    let vectors = vectors();
    for name in ["RSA-OAEP, A128CBC-HS256, zip DEF", "RSA-OAEP-256, A256GCM, zip None"] {
        for part in [2, 4] {
            for bytes in [0, 1, 4, 8, 15, 17, 32] {
                let jwe = changed(vectors.context(name), part, |part| part.resize(bytes, 0));
                let error = vectors.open(&jwe).unwrap_err();
                assert!(matches!(error, PasswordError::Malformed(_)), "{name}, {part}: {error}");
            }
        }
    }
}

#[test]
fn what_is_no_compact_jwe_is_refused() {
    let vectors = vectors();
    let good = vectors.context("RSA-OAEP, A128CBC-HS256, zip DEF");
    let (header, rest) = good.split_once('.').unwrap();
    let with_header = |json: &str| format!("{}.{rest}", URL_SAFE_NO_PAD.encode(json));
    let texts = [
        String::new(),
        "....".to_owned(),
        "a.b.c".to_owned(),
        format!("{good}.x"),
        format!(" {good}"),
        format!("{header}=.{rest}"),
        good.replace('.', ".="),
        "x".repeat(1 << 20),
        with_header("[]"),
        with_header("{"),
        with_header(r#"{"alg":"RSA-OAEP","alg":"RSA-OAEP","enc":"A256GCM"}"#),
        with_header(r#"{"alg":"dir","enc":"A256GCM"}"#),
        with_header(r#"{"alg":["RSA-OAEP"],"enc":"A256GCM"}"#),
        with_header(r#"{"alg":"RSA-OAEP","enc":"A128CBC-HS256","zip":"GZIP"}"#),
        with_header(r#"{"alg":"RSA-OAEP","enc":"A128CBC-HS256","zip":null}"#),
        with_header(r#"{"alg":"RSA-OAEP","enc":"A128CBC-HS256","crit":["exp"],"exp":1}"#),
    ];
    for text in texts {
        let error = vectors.open(&text).unwrap_err();
        assert!(
            matches!(error, PasswordError::Malformed(_) | PasswordError::Algorithm { .. }),
            "{error}"
        );
    }
}

#[test]
fn keys_come_from_every_usual_form() {
    let vectors = vectors();
    let keys = &vectors.keys;
    let certificate = Some(keys.certificate.as_bytes());
    let pkcs12 = STANDARD.decode(&keys.pkcs12).unwrap();
    for key in [
        DecryptionKey::from_pem(keys.pkcs8.as_bytes(), certificate, None, None),
        DecryptionKey::from_pem(keys.pkcs1.as_bytes(), certificate, None, None),
        DecryptionKey::from_pem(keys.encrypted.as_bytes(), certificate, Some("open sesame"), None),
        DecryptionKey::from_pkcs12(&pkcs12, Some("open sesame"), None),
    ] {
        let key = key.unwrap();
        assert_eq!(key.thumbprint(), Some(vectors.x5t.as_str()));
        assert!(!format!("{key:?} {key}").contains("PRIVATE"));
    }
}

#[test]
fn keys_that_cannot_serve_say_why() {
    let vectors = vectors();
    let keys = &vectors.keys;
    let certificate = Some(keys.certificate.as_bytes());
    let pkcs12 = STANDARD.decode(&keys.pkcs12).unwrap();
    let pem = |key: &str, certificate, password| DecryptionKey::from_pem(key.as_bytes(), certificate, password, None);
    let cases = [
        (pem("nonsense", certificate, None), KeyError::PrivateKey),
        (pem(&keys.encrypted, certificate, None), KeyError::PrivateKey),
        (pem(&keys.encrypted, certificate, Some("wrong")), KeyError::PrivateKey),
        (pem(&keys.pkcs8, Some(b"nonsense"), None), KeyError::Certificate),
        (
            pem(&keys.pkcs8, Some(keys.other_certificate.as_bytes()), None),
            KeyError::OtherCertificate,
        ),
        (pem(&keys.pkcs8, None, None), KeyError::Unnamed),
        (pem(&keys.short, None, None), KeyError::NotRsa),
        (
            DecryptionKey::from_pkcs12(&pkcs12, Some("wrong"), None),
            KeyError::Pkcs12,
        ),
        (DecryptionKey::from_pkcs12(b"nonsense", None, None), KeyError::Pkcs12),
    ];
    for (made, expected) in cases {
        assert_eq!(made.unwrap_err(), expected);
    }
}
