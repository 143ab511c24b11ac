//! Decrypting what passwordSubmit carries: a password in an unsigned token in a compact JWE (contract.md, section 1.5).
//!
//! [`DecryptionKey`]s come from PEM or PKCS#12; [`open()`] chooses one by what the JWE's header names, decrypts, and checks
//! the token inside. What comes out is wiped from memory when it is dropped and never shown by `Debug`.
//!
//! The cryptography is josekit's and OpenSSL's. What is decided here is what josekit leaves open: which algorithms, that
//! nothing is decrypted whose authentication tag does not fit, that nobody can tell one failed decryption from
//! another, and how large the text may become when it is inflated.

mod error;
mod jwe;
mod key;
mod token;

pub use error::{KeyError, PasswordError};
pub use key::DecryptionKey;
pub use token::{Accepted, PasswordContext};

use std::time::SystemTime;

/// Decrypts `encrypted` (`data.encryptedPasswordContext`) with the one of `keys` that its header names, and checks the
/// token inside at the time `now`. Takes about a millisecond of CPU time with a key of 2,048 bits.
///
/// # Errors
/// [`PasswordError`]; its messages hold nothing of what was decrypted.
pub fn open(
    encrypted: &str,
    keys: &[DecryptionKey],
    accepted: &Accepted,
    now: SystemTime,
) -> Result<PasswordContext, PasswordError> {
    let decrypted = jwe::decrypt(encrypted, keys)?;
    token::read(&decrypted, accepted, now)
}
