//! The keys that passwords are decrypted with.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use josekit::jwe::alg::rsaes::RsaesJweDecrypter;
use josekit::jwe::{RSA_OAEP, RSA_OAEP_256};
use openssl::hash::MessageDigest;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Ref};
use zeroize::Zeroizing;

use crate::error::KeyError;

/// Shorter keys are not what Entra encrypts for, and can be broken.
const MIN_KEY_BITS: u32 = 2_048;

/// A private RSA key, and the names by which a JWE asks for it.
#[derive(Clone)]
pub struct DecryptionKey {
    key_id: Option<String>,
    thumbprints: Option<Thumbprints>,
    pub(crate) oaep: RsaesJweDecrypter,
    pub(crate) oaep_256: RsaesJweDecrypter,
}

/// A certificate's thumbprints (RFC 7515, sections 4.1.7 and 4.1.8), as headers write them.
#[derive(Clone, Debug)]
struct Thumbprints {
    sha1: String,
    sha1_hex: String,
    sha256: String,
}

/// The names of a key in a JWE's header.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) key_id: Option<String>,
    pub(crate) x5t: Option<String>,
    pub(crate) x5t_s256: Option<String>,
}

impl DecryptionKey {
    /// A private key in PEM (PKCS#8 or PKCS#1), encrypted with `password` or not, and its certificate in PEM. `key_id` is
    /// the `kid` that Entra names it by, if it does.
    ///
    /// # Errors
    /// [`KeyError`]; without a certificate and a `key_id` the key could never be chosen.
    pub fn from_pem(
        private_key: &[u8],
        certificate: Option<&[u8]>,
        password: Option<&str>,
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        // A passphrase is always given, even an empty one: without it OpenSSL would ask at the terminal.
        let passphrase = password.unwrap_or_default().as_bytes();
        let key = PKey::private_key_from_pem_passphrase(private_key, passphrase).map_err(|_| KeyError::PrivateKey)?;
        let certificate = certificate
            .map(|pem| X509::from_pem(pem).map_err(|_| KeyError::Certificate))
            .transpose()?;
        Self::new(&key, certificate.as_deref(), key_id)
    }

    /// The private key and its certificate of a PKCS#12 file.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn from_pkcs12(file: &[u8], password: Option<&str>, key_id: Option<String>) -> Result<Self, KeyError> {
        let file = Pkcs12::from_der(file).map_err(|_| KeyError::Pkcs12)?;
        let parsed = file
            .parse2(password.unwrap_or_default())
            .map_err(|_| KeyError::Pkcs12)?;
        let key = parsed.pkey.ok_or(KeyError::NoPrivateKey)?;
        Self::new(&key, parsed.cert.as_deref(), key_id)
    }

    fn new(key: &PKey<Private>, certificate: Option<&X509Ref>, key_id: Option<String>) -> Result<Self, KeyError> {
        if key.rsa().is_err() || key.bits() < MIN_KEY_BITS {
            return Err(KeyError::NotRsa);
        }
        if let Some(certificate) = certificate {
            let public = certificate.public_key().map_err(|_| KeyError::Certificate)?;
            if !public.public_eq(key) {
                return Err(KeyError::OtherCertificate);
            }
        }
        if certificate.is_none() && key_id.is_none() {
            return Err(KeyError::Unnamed);
        }
        let der = Zeroizing::new(key.private_key_to_pkcs8().map_err(|_| KeyError::NotRsa)?);
        Ok(Self {
            key_id,
            thumbprints: certificate.map(Thumbprints::of).transpose()?,
            oaep: RSA_OAEP.decrypter_from_der(&der).map_err(|_| KeyError::NotRsa)?,
            oaep_256: RSA_OAEP_256.decrypter_from_der(&der).map_err(|_| KeyError::NotRsa)?,
        })
    }

    /// The certificate's SHA-1 thumbprint in base64url: what Entra names as `x5t`.
    #[must_use]
    pub fn thumbprint(&self) -> Option<&str> {
        self.thumbprints.as_ref().map(|thumbprints| thumbprints.sha1.as_str())
    }

    /// Whether a header that has these names means this key. One that fits is enough: Entra sends `x5t` alone.
    pub(crate) fn is_named(&self, names: &Names) -> bool {
        if names.key_id.is_some() && names.key_id == self.key_id {
            return true;
        }
        let Some(own) = &self.thumbprints else { return false };
        // Elsewhere Microsoft writes thumbprints, and key ids made of them, in hexadecimal.
        let is_sha1 = |name: &Option<String>| {
            name.as_deref()
                .is_some_and(|name| name == own.sha1 || name.eq_ignore_ascii_case(&own.sha1_hex))
        };
        is_sha1(&names.x5t) || is_sha1(&names.key_id) || names.x5t_s256.as_deref() == Some(own.sha256.as_str())
    }
}

impl Thumbprints {
    fn of(certificate: &X509Ref) -> Result<Self, KeyError> {
        let digest = |algorithm| certificate.digest(algorithm).map_err(|_| KeyError::Certificate);
        let sha1 = digest(MessageDigest::sha1())?;
        Ok(Self {
            sha1: URL_SAFE_NO_PAD.encode(sha1),
            sha1_hex: hex::encode(sha1),
            sha256: URL_SAFE_NO_PAD.encode(digest(MessageDigest::sha256())?),
        })
    }
}

impl fmt::Display for DecryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.thumbprints, &self.key_id) {
            (Some(thumbprints), _) => write!(formatter, "x5t {}", thumbprints.sha1),
            (None, Some(key_id)) => write!(formatter, "kid {key_id:?}"),
            (None, None) => formatter.write_str("a key without a name"),
        }
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DecryptionKey")
            .field("key_id", &self.key_id)
            .field("thumbprint", &self.thumbprint())
            .finish_non_exhaustive()
    }
}
