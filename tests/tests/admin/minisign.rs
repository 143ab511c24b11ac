//! Signing as minisign does, with OpenSSL: written after minisign's format, and not with the crate that the host verifies
//! with.
//!
//! <https://jedisct1.github.io/minisign/#signature-format>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

/// An Ed25519 key and the number that it is found by.
pub(crate) struct KeyPair {
    key: PKey<Private>,
    pub(crate) number: [u8; 8],
}

impl KeyPair {
    pub(crate) fn generate() -> Self {
        let key = PKey::generate_ed25519().unwrap();
        let number = key.raw_public_key().unwrap()[..8].try_into().unwrap();
        Self { key, number }
    }

    /// The public key, as the second line of a `.pub` file.
    pub(crate) fn public(&self) -> String {
        let key = self.key.raw_public_key().unwrap();
        STANDARD.encode([b"Ed", &self.number[..], &key].concat())
    }

    /// The text of a `.minisig` file: of the file's `BLAKE2b` hash, and of that signature with the trusted comment.
    pub(crate) fn sign(&self, file: &[u8], trusted_comment: &str) -> String {
        let blake2b = MessageDigest::from_name("blake2b512").unwrap();
        let signature = self.ed25519(&hash(blake2b, file).unwrap());
        let global = self.ed25519(&[&signature, trusted_comment.as_bytes()].concat());
        format!(
            "untrusted comment: a test\n{}\ntrusted comment: {trusted_comment}\n{}\n",
            STANDARD.encode([b"ED", &self.number[..], &signature].concat()),
            STANDARD.encode(global),
        )
    }

    fn ed25519(&self, message: &[u8]) -> Vec<u8> {
        let mut signer = Signer::new_without_digest(&self.key).unwrap();
        signer.sign_oneshot_to_vec(message).unwrap()
    }
}
