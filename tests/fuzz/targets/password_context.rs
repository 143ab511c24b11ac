//! Any text as an encrypted password context, and any text inside one that is encrypted well: nothing panics, and what
//! comes out is what was put in.
#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use claimsmith_password::{Accepted, DecryptionKey, PasswordError, open};
use josekit::jwe::{JweHeader, RSA_OAEP, serialize_compact};
use libfuzzer_sys::fuzz_target;
use openssl::x509::X509;
use serde_json::Value;

struct World {
    keys: [DecryptionKey; 1],
    accepted: Accepted,
    now: SystemTime,
    public_key_pem: Vec<u8>,
    /// The contexts that are known to be good.
    good: HashSet<String>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let vectors = include_str!("../../../host/password/tests/vectors.json");
    let vectors: Value = serde_json::from_str(vectors).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    let certificate = text(&vectors["keys"]["certificate"]);
    let key_id = Some("migration-2026".to_owned());
    let private_key = text(&vectors["keys"]["pkcs8"]);
    let key = DecryptionKey::from_pem(private_key.as_bytes(), Some(certificate.as_bytes()), None, key_id);
    let public_key = X509::from_pem(certificate.as_bytes()).and_then(|certificate| certificate.public_key());
    let contexts = vectors["contexts"].as_array().expect("an array").iter();
    World {
        keys: [key.expect("a key")],
        accepted: Accepted {
            audiences: vec![text(&vectors["audience"])],
            leeway: Duration::from_secs(60),
        },
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(vectors["now"].as_u64().expect("a time")),
        public_key_pem: public_key.and_then(|key| key.public_key_to_pem()).expect("PEM"),
        good: contexts.map(|context| text(&context["jwe"])).collect(),
    }
});

fuzz_target!(|input: &[u8]| {
    let world = &*WORLD;
    let open = |text: &str| open(text, &world.keys, &world.accepted, world.now);
    match input.split_first() {
        // Encrypted well, so that the token inside is reached.
        Some((b'!', inside)) => {
            let opened = open(&encrypt(world, inside));
            assert!(!matches!(opened, Err(PasswordError::Undecryptable)));
            if let Ok(context) = opened {
                assert!((1..=128).contains(&context.nonce.len()));
            }
        }
        _ => {
            let text = String::from_utf8_lossy(input);
            // No change of a good one is another good one.
            if open(&text).is_ok() {
                assert!(world.good.contains(text.as_ref()));
            }
        }
    }
});

fn encrypt(world: &World, inside: &[u8]) -> String {
    let mut header = JweHeader::new();
    header.set_content_encryption("A128CBC-HS256");
    header.set_key_id("migration-2026");
    let encrypter = RSA_OAEP.encrypter_from_pem(&world.public_key_pem).expect("a key");
    serialize_compact(inside, &header, &encrypter).expect("encrypted")
}
