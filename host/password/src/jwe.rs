//! From a compact JWE (RFC 7516, section 7.1) to what it holds.
//!
//! josekit's own reading of a compact JWE removes the padding before it checks the tag, takes tags and initialisation
//! vectors of any length, inflates without a limit and leaves the text in memory. So the parts are taken apart here, and
//! josekit decrypts them.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimsmith_contract::json::Value;
use flate2::read::DeflateDecoder;
use josekit::jwe::enc::aescbc_hmac::AescbcHmacJweEncryption;
use josekit::jwe::enc::aesgcm::AesgcmJweEncryption;
use josekit::jwe::{JweContentEncryption, JweDecrypter, JweHeader};
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;
use zeroize::Zeroizing;

use crate::error::PasswordError;
use crate::key::{DecryptionKey, Names};

/// Longer texts are refused unread: a password, a user name and a nonce take about 1 KiB.
const MAX_JWE_BYTES: usize = 16 << 10;
/// How large the text may be when it is inflated.
const MAX_TEXT_BYTES: usize = 16 << 10;
/// Both of the accepted algorithms have tags of 128 bits (RFC 7518, sections 5.2.3 and 5.3).
const TAG_BYTES: usize = 16;
/// The larger of the accepted key lengths; both are the same.
const CONTENT_KEY_BYTES: usize = 32;

/// The five parts, decoded.
struct Parts<'t> {
    /// As it was sent: what the tag authenticates.
    header_text: &'t str,
    key: Vec<u8>,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

/// How the content is encrypted.
#[derive(Clone, Copy)]
enum ContentAlgorithm {
    A128CbcHs256,
    A256Gcm,
}

/// What the header says, as far as it matters.
struct Header {
    rsa_oaep_256: bool,
    content: ContentAlgorithm,
    deflated: bool,
    names: Names,
}

/// Decrypts with the key that the header names.
pub(crate) fn decrypt(text: &str, keys: &[DecryptionKey]) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    let parts = Parts::of(text)?;
    let header = Header::of(parts.header_text)?;
    header.content.check_lengths(&parts)?;
    let key = keys
        .iter()
        .find(|key| key.is_named(&header.names))
        .ok_or_else(|| unknown_key(&header.names, keys))?;
    let decrypter = if header.rsa_oaep_256 { &key.oaep_256 } else { &key.oaep };
    let content_key = content_key(decrypter, header.content, &parts.key)?;
    let text = header.content.decrypt(&content_key, &parts)?;
    if header.deflated { inflate(&text) } else { Ok(text) }
}

/// The content's key. One that cannot be decrypted is replaced by a random one, so that nobody can tell from the time
/// that it takes whether the key or the content was at fault (RFC 7516, section 11.5).
fn content_key(
    decrypter: &dyn JweDecrypter,
    content: ContentAlgorithm,
    encrypted: &[u8],
) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    let mut random = Zeroizing::new(vec![0; CONTENT_KEY_BYTES]);
    rand_bytes(&mut random).map_err(|_| PasswordError::Undecryptable)?;
    let key = decrypter.decrypt(Some(encrypted), content.library(), &JweHeader::new());
    let key = key.map(|key| Zeroizing::new(key.into_owned()));
    Ok(match key {
        Ok(key) if key.len() == CONTENT_KEY_BYTES => key,
        _ => random,
    })
}

/// Inflates (RFC 1951) into memory that is never moved, so that all of it is wiped.
fn inflate(text: &[u8]) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
    let mut inflated = Zeroizing::new(Vec::with_capacity(MAX_TEXT_BYTES + 1));
    let mut decoder = DeflateDecoder::new(text).take(MAX_TEXT_BYTES as u64 + 1);
    let read = decoder.read_to_end(&mut inflated);
    match read {
        Ok(bytes) if bytes <= MAX_TEXT_BYTES => Ok(inflated),
        _ => Err(PasswordError::Inflate(MAX_TEXT_BYTES)),
    }
}

fn unknown_key(names: &Names, keys: &[DecryptionKey]) -> PasswordError {
    let asked_for = [
        ("kid", &names.key_id),
        ("x5t", &names.x5t),
        ("x5t#S256", &names.x5t_s256),
    ];
    let asked_for = asked_for.iter().filter_map(|(member, name)| {
        // The sender chose it: it is cut, and control characters are escaped.
        let name: String = name.as_ref()?.chars().take(100).collect();
        Some(format!("{member} {name:?}"))
    });
    let configured = keys.iter().map(ToString::to_string);
    PasswordError::UnknownKey {
        named: joined(asked_for),
        configured: joined(configured),
    }
}

fn joined(names: impl Iterator<Item = String>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

impl<'t> Parts<'t> {
    fn of(text: &'t str) -> Result<Self, PasswordError> {
        if text.len() > MAX_JWE_BYTES {
            return Err(PasswordError::Malformed("it has more than 16384 bytes"));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header_text, key, iv, ciphertext, tag] = parts[..] else {
            return Err(PasswordError::Malformed("it has not five parts separated by dots"));
        };
        Ok(Self {
            header_text,
            key: decode(key)?,
            iv: decode(iv)?,
            ciphertext: decode(ciphertext)?,
            tag: decode(tag)?,
        })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, PasswordError> {
    let malformed = |_| PasswordError::Malformed("a part is not base64url without padding");
    URL_SAFE_NO_PAD.decode(part).map_err(malformed)
}

impl Header {
    fn of(text: &str) -> Result<Self, PasswordError> {
        let bytes = decode(text)?;
        let Ok(Value::Object(members)) = Value::parse(&bytes) else {
            return Err(PasswordError::Malformed(
                "its header is no JSON object, or repeats a member",
            ));
        };
        let find = |name: &str| {
            members
                .iter()
                .find(|(member, _)| member == name)
                .map(|(_, value)| value)
        };
        let text = |name: &str| match find(name) {
            Some(Value::String(text)) => Some(text.as_ref()),
            _ => None,
        };
        if find("crit").is_some() {
            return Err(PasswordError::Malformed(
                "its header has critical extensions (crit), none is supported",
            ));
        }
        let refused = |member, expected| PasswordError::Algorithm { member, expected };
        Ok(Self {
            rsa_oaep_256: match text("alg") {
                Some("RSA-OAEP") => false,
                Some("RSA-OAEP-256") => true,
                _ => return Err(refused("alg", "RSA-OAEP or RSA-OAEP-256")),
            },
            content: match text("enc") {
                Some("A128CBC-HS256") => ContentAlgorithm::A128CbcHs256,
                Some("A256GCM") => ContentAlgorithm::A256Gcm,
                _ => return Err(refused("enc", "A128CBC-HS256 or A256GCM")),
            },
            deflated: match (find("zip"), text("zip")) {
                (None, _) => false,
                (_, Some("DEF")) => true,
                _ => return Err(refused("zip", "DEF or none")),
            },
            names: Names {
                key_id: text("kid").map(str::to_owned),
                x5t: text("x5t").map(str::to_owned),
                x5t_s256: text("x5t#S256").map(str::to_owned),
            },
        })
    }
}

impl ContentAlgorithm {
    fn library(self) -> &'static dyn JweContentEncryption {
        match self {
            Self::A128CbcHs256 => &AescbcHmacJweEncryption::A128cbcHs256,
            Self::A256Gcm => &AesgcmJweEncryption::A256gcm,
        }
    }

    /// OpenSSL takes short tags for GCM, which are easily forged, and ends the process for other lengths of a vector.
    fn check_lengths(self, parts: &Parts<'_>) -> Result<(), PasswordError> {
        if parts.iv.len() != self.library().iv_len() {
            return Err(PasswordError::Malformed(
                "its initialisation vector has the wrong length",
            ));
        }
        if parts.tag.len() != TAG_BYTES {
            return Err(PasswordError::Malformed("its authentication tag has the wrong length"));
        }
        Ok(())
    }

    fn decrypt(self, key: &[u8], parts: &Parts<'_>) -> Result<Zeroizing<Vec<u8>>, PasswordError> {
        let aad = parts.header_text.as_bytes();
        if matches!(self, Self::A128CbcHs256) && !cbc_tag_fits(key, parts, aad) {
            return Err(PasswordError::Undecryptable);
        }
        self.library()
            .decrypt(key, Some(&parts.iv), &parts.ciphertext, aad, Some(&parts.tag))
            .map(Zeroizing::new)
            .map_err(|_| PasswordError::Undecryptable)
    }
}

/// Checks the tag of A128CBC-HS256 (RFC 7518, section 5.2.2.2) in constant time and before the padding is looked at: from
/// whether the padding is right, the text could be found out byte by byte.
fn cbc_tag_fits(key: &[u8], parts: &Parts<'_>, aad: &[u8]) -> bool {
    let Some((mac_key, _encryption_key)) = key.split_at_checked(CONTENT_KEY_BYTES / 2) else {
        return false;
    };
    let aad_bits = (aad.len() as u64 * 8).to_be_bytes();
    let mac = || {
        let key = PKey::hmac(mac_key)?;
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        for part in [aad, &parts.iv, &parts.ciphertext, &aad_bits] {
            signer.update(part)?;
        }
        signer.sign_to_vec()
    };
    let mac: Result<Vec<u8>, openssl::error::ErrorStack> = mac();
    let expected = mac.as_deref().ok().and_then(|mac| mac.get(..TAG_BYTES));
    expected.is_some_and(|expected| parts.tag.len() == expected.len() && memcmp::eq(expected, &parts.tag))
}
