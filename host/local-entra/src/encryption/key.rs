//! The key that passwords are encrypted for, and its certificate.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkey::{PKey, Public};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509NameBuilder};

use super::Error;

/// Entra takes certificates of 2,048 and 4,096 bits.
const GENERATED_BITS: u32 = 2048;
/// How long a generated certificate is valid; nothing checks it.
const GENERATED_DAYS: u32 = 365;

/// An RSA key that passwords are encrypted for: an entry of an application's `keyCredentials` with the usage `Encrypt`.
#[derive(Clone)]
pub struct EncryptionKey {
    thumbprint: String,
    public_key_pem: Vec<u8>,
    certificate_pem: Option<String>,
    private_key_pem: Option<String>,
}

impl EncryptionKey {
    /// Makes a new key of 2,048 bits with a certificate that it signs itself.
    ///
    /// # Errors
    /// When the cryptography library fails.
    pub fn generate() -> Result<Self, Error> {
        Self::try_generate().map_err(|error| Error::Key(error.to_string()))
    }

    /// Takes the first certificate, public key or private key of a PEM text; of a private key only the public half is
    /// used. Without a certificate, the thumbprint is that of the public key.
    ///
    /// # Errors
    /// When there is none, or it is not for RSA.
    pub fn from_pem(text: &str) -> Result<Self, Error> {
        let bytes = text.as_bytes();
        if let Ok(certificate) = X509::from_pem(bytes) {
            return Self::of_certificate(&certificate).map_err(|error| Error::Key(error.to_string()));
        }
        let public = match (PKey::public_key_from_pem(bytes), PKey::private_key_from_pem(bytes)) {
            (Ok(public), _) => public,
            (_, Ok(private)) => private
                .public_key_to_pem()
                .and_then(|pem| PKey::public_key_from_pem(&pem))
                .map_err(|error| Error::Key(error.to_string()))?,
            _ => {
                let reason =
                    "the text holds neither a certificate nor a key in PEM (BEGIN CERTIFICATE, BEGIN PUBLIC KEY)";
                return Err(Error::Key(reason.to_owned()));
            }
        };
        public
            .rsa()
            .and_then(|_| {
                let digest = hash(MessageDigest::sha1(), &public.public_key_to_der()?)?;
                Self::new(&public, &digest)
            })
            .map_err(|error| Error::Key(error.to_string()))
    }

    /// The `x5t` of tokens for this key: the certificate's SHA-1 thumbprint in base64url.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The certificate in PEM; absent when the key was given without one.
    #[must_use]
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate_pem.as_deref()
    }

    /// The private key in PEM (PKCS#8), which decrypts; only a generated key has it.
    #[must_use]
    pub fn private_key_pem(&self) -> Option<&str> {
        self.private_key_pem.as_deref()
    }

    pub(super) fn public_key_pem(&self) -> &[u8] {
        &self.public_key_pem
    }

    fn try_generate() -> Result<Self, ErrorStack> {
        let pair = PKey::from_rsa(Rsa::generate(GENERATED_BITS)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "Local Entra password migration")?;
        let name = name.build();
        let mut certificate = X509::builder()?;
        certificate.set_version(2)?;
        certificate.set_subject_name(&name)?;
        certificate.set_issuer_name(&name)?;
        certificate.set_pubkey(&pair)?;
        let (not_before, not_after) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(GENERATED_DAYS)?);
        certificate.set_not_before(&not_before)?;
        certificate.set_not_after(&not_after)?;
        certificate.sign(&pair, MessageDigest::sha256())?;
        let private_key_pem = pair.private_key_to_pem_pkcs8()?;
        Ok(Self {
            private_key_pem: Some(String::from_utf8_lossy(&private_key_pem).into_owned()),
            ..Self::of_certificate(&certificate.build())?
        })
    }

    fn of_certificate(certificate: &X509) -> Result<Self, ErrorStack> {
        let public = certificate.public_key()?;
        public.rsa()?;
        let digest = certificate.digest(MessageDigest::sha1())?;
        let pem = certificate.to_pem()?;
        Ok(Self {
            certificate_pem: Some(String::from_utf8_lossy(&pem).into_owned()),
            ..Self::new(&public, &digest)?
        })
    }

    fn new(public: &PKey<Public>, digest: &[u8]) -> Result<Self, ErrorStack> {
        Ok(Self {
            thumbprint: URL_SAFE_NO_PAD.encode(digest),
            public_key_pem: public.public_key_to_pem()?,
            certificate_pem: None,
            private_key_pem: None,
        })
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EncryptionKey")
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_and_a_bare_key_have_their_own_thumbprints_and_print_nothing_else() {
        let generated = EncryptionKey::generate().unwrap();
        let certificate = EncryptionKey::from_pem(generated.certificate_pem().unwrap()).unwrap();
        assert_eq!(certificate.thumbprint(), generated.thumbprint());
        assert!(certificate.private_key_pem().is_none());
        let private = EncryptionKey::from_pem(generated.private_key_pem().unwrap()).unwrap();
        let public = EncryptionKey::from_pem(std::str::from_utf8(private.public_key_pem()).unwrap()).unwrap();
        assert_eq!(private.thumbprint(), public.thumbprint());
        assert_ne!(private.thumbprint(), generated.thumbprint());
        assert!(
            private.private_key_pem().is_none(),
            "a key that was given is not given out"
        );
        assert_eq!(
            format!("{generated:?}"),
            format!("EncryptionKey {{ thumbprint: {:?}, .. }}", generated.thumbprint())
        );
    }

    #[test]
    fn what_is_not_an_rsa_key_is_refused() {
        assert!(
            EncryptionKey::from_pem("nonsense")
                .unwrap_err()
                .to_string()
                .contains("BEGIN CERTIFICATE")
        );
        let curve = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).unwrap();
        let pair = PKey::from_ec_key(openssl::ec::EcKey::generate(&curve).unwrap()).unwrap();
        let pem = String::from_utf8(pair.public_key_to_pem().unwrap()).unwrap();
        EncryptionKey::from_pem(&pem).unwrap_err();
    }
}
