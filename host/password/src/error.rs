//! Why a key cannot be used, and why a password context is refused.

/// Why text or bytes are no key that passwords can be decrypted with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No private key in PEM, or its password is wrong.
    #[error(
        "no private key could be read: expected PEM (`-----BEGIN PRIVATE KEY-----`); an encrypted one needs its password"
    )]
    PrivateKey,
    /// No certificate in PEM.
    #[error("no certificate could be read: expected PEM (`-----BEGIN CERTIFICATE-----`)")]
    Certificate,
    /// No PKCS#12 file, or its password is wrong.
    #[error(
        "the PKCS#12 file could not be read: the password is wrong, or it was written with algorithms that are no \
         longer supported; write it again with `openssl pkcs12 -export -keypbe AES-256-CBC -certpbe AES-256-CBC`"
    )]
    Pkcs12,
    /// A PKCS#12 file without a private key.
    #[error("the PKCS#12 file holds no private key")]
    NoPrivateKey,
    /// Not RSA, or too short.
    #[error("expected an RSA key of at least 2048 bits, which is what Entra encrypts passwords for")]
    NotRsa,
    /// Key and certificate do not belong together.
    #[error("the certificate is of another key")]
    OtherCertificate,
    /// Nothing says when to use the key.
    #[error(
        "nothing tells when to use the key: give its certificate, whose thumbprint Entra names as `x5t`, or its `key_id`"
    )]
    Unnamed,
}

/// Why a password context is refused. The messages go to the log: they hold nothing that was decrypted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not a compact JWE of an expected form.
    #[error("it is no compact JWE as Entra sends it: {0}")]
    Malformed(&'static str),
    /// An algorithm that is not accepted.
    #[error("its {member} is not accepted, expected {expected}")]
    Algorithm {
        /// `alg`, `enc` or `zip`.
        member: &'static str,
        /// What is accepted.
        expected: &'static str,
    },
    /// The header names a key that is not configured.
    #[error(
        "it is encrypted for a key that is not configured ({named}); configured are {configured}: compare the \
         application's `tokenEncryptionKeyId` and `keyCredentials`"
    )]
    UnknownKey {
        /// What the header names.
        named: String,
        /// The keys there are.
        configured: String,
    },
    /// The key does not fit, or the text was changed: which of them is not told to anybody.
    #[error("it cannot be decrypted: it was encrypted for another key, or changed on its way")]
    Undecryptable,
    /// What was decrypted cannot be inflated within the limit.
    #[error("what it holds is not compressed as its `zip` says, or is larger than {0} bytes")]
    Inflate(usize),
    /// The token inside is not as expected.
    #[error("the token in it is not as Entra sends it: {0}")]
    Token(&'static str),
    /// The token inside has expired.
    #[error("the token in it expired {seconds_ago} s ago")]
    Expired {
        /// Seconds since `exp`.
        seconds_ago: u64,
    },
    /// The token inside is not valid yet.
    #[error("the token in it is valid in {seconds_ahead} s only; compare the clocks")]
    NotYetValid {
        /// Seconds until `nbf`.
        seconds_ahead: u64,
    },
    /// The token inside is for somebody else.
    #[error("the token in it has an `aud` that is not one of the extension's audiences")]
    Audience,
}
