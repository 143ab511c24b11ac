//! Turning a password context into a compact JWE. The JOSE library does all of it; here is what it is told.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::{JweCompression, JweContext, JweEncrypter, JweHeader, RSA_OAEP, RSA_OAEP_256};

use super::{Error, Flaw, KeyAlgorithm, PasswordContext};

/// Encrypts a text, and spoils the result where that is wanted.
pub(super) fn seal(context: &PasswordContext, text: &str) -> Result<String, Error> {
    let header = JweHeader::from_map(context.header.clone())?;
    let encrypter: Box<dyn JweEncrypter> = match context.key_algorithm {
        KeyAlgorithm::RsaOaep => Box::new(RSA_OAEP.encrypter_from_pem(context.key.public_key_pem())?),
        KeyAlgorithm::RsaOaep256 => Box::new(RSA_OAEP_256.encrypter_from_pem(context.key.public_key_pem())?),
    };
    let mut library = JweContext::new();
    if context.flaw == Some(Flaw::NotDeflated) {
        library.add_compression(Box::new(PretendsToDeflate));
    }
    let jwe = library.serialize_compact(text.as_bytes(), &header, encrypter.as_ref())?;
    Ok(match context.flaw {
        Some(Flaw::CorruptedKey) => corrupt(&jwe, 1),
        Some(Flaw::CorruptedCiphertext) => corrupt(&jwe, 3),
        Some(Flaw::CorruptedTag) => corrupt(&jwe, 4),
        Some(Flaw::NotDeflated) | None => jwe,
    })
}

/// Changes one bit of one of the five parts.
fn corrupt(jwe: &str, number: usize) -> String {
    let mut parts: Vec<String> = jwe.split('.').map(ToOwned::to_owned).collect();
    if let Some(part) = parts.get_mut(number) {
        let mut bytes = URL_SAFE_NO_PAD.decode(&*part).unwrap_or_default();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        *part = URL_SAFE_NO_PAD.encode(bytes);
    }
    parts.join(".")
}

/// A compression that says DEF and does nothing.
#[derive(Debug, Clone)]
struct PretendsToDeflate;

impl JweCompression for PretendsToDeflate {
    fn name(&self) -> &'static str {
        "DEF"
    }

    fn compress(&self, message: &[u8]) -> Result<Vec<u8>, io::Error> {
        Ok(message.to_vec())
    }

    fn decompress(&self, message: &[u8]) -> Result<Vec<u8>, io::Error> {
        Ok(message.to_vec())
    }

    fn box_clone(&self) -> Box<dyn JweCompression> {
        Box::new(self.clone())
    }
}
