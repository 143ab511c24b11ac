//! Signatures of plugins: minisign's, by keys that the tenant trusts.

use minisign_verify::{Error, PublicKey, Signature};
use schemars::JsonSchema;
use serde::Serialize;

/// Who signed a component, and what the signature says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Signed {
    /// The key, as the tenant's configuration has it.
    pub key: String,
    /// The comment that the signature covers, often a time and a file's name.
    pub trusted_comment: String,
}

/// Why a signature is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is none.
    #[error(
        "it is not signed; sign it with `minisign -S -m FILE` and put FILE.minisig beside it, or push it with that"
    )]
    Missing,
    /// It is no signature.
    #[error("its signature is not one of minisign: expected the four lines of a .minisig file")]
    Malformed,
    /// It is in the form of minisign before 0.8.
    #[error("its signature is in minisign's legacy form, which is not accepted; sign it again without `-l`")]
    Legacy,
    /// It was made with another key.
    #[error("it is signed with a key that the tenant does not trust; sign it with one of plugins.trusted_keys")]
    UnknownKey,
    /// It does not belong to the component, or its trusted comment was altered.
    #[error("its signature is wrong: the file, the signature or its trusted comment was changed after it was signed")]
    Wrong,
}

/// The keys that a tenant trusts.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(Vec<(String, PublicKey)>);

impl TrustedKeys {
    /// Reads keys as minisign prints them: the second line of a `.pub` file.
    ///
    /// # Errors
    /// Which of them is none, counted from 0, and what was expected.
    pub fn parse(texts: &[String]) -> Result<Self, (usize, String)> {
        let key = |(index, text): (usize, &String)| {
            let key = PublicKey::from_base64(text.trim()).map_err(|_| {
                let message = "expected a public key of minisign: the second line of a .pub file, which begins with RW";
                (index, message.to_owned())
            })?;
            Ok((text.trim().to_owned(), key))
        };
        texts.iter().enumerate().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// Whether signatures are asked for.
    #[must_use]
    pub fn are_required(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a component may be invoked whose signature was verified with this key, or with none, at some time.
    pub(crate) fn accept(&self, signed_by: Option<&str>) -> bool {
        !self.are_required() || self.0.iter().any(|(text, _)| Some(text.as_str()) == signed_by)
    }

    /// Verifies a component's signature, the text of a `.minisig` file.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn verify(&self, component: &[u8], signature: &str) -> Result<Signed, SignatureError> {
        let signature = Signature::decode(signature).map_err(|_| SignatureError::Malformed)?;
        let mut refused = SignatureError::UnknownKey;
        for (text, key) in &self.0 {
            match key.verify(component, &signature, false) {
                Ok(()) => {
                    return Ok(Signed {
                        key: text.clone(),
                        trusted_comment: signature.trusted_comment().to_owned(),
                    });
                }
                Err(Error::UnexpectedKeyId) => {}
                Err(Error::UnexpectedAlgorithm) => refused = SignatureError::Legacy,
                Err(_) => refused = SignatureError::Wrong,
            }
        }
        Err(refused)
    }

    /// The same, where it is only asked for a signature's form if no key is trusted.
    ///
    /// # Errors
    /// [`SignatureError`]
    pub fn verify_if_any(&self, component: &[u8], signature: &str) -> Result<Option<Signed>, SignatureError> {
        if self.are_required() {
            return self.verify(component, signature).map(Some);
        }
        let decoded = Signature::decode(signature);
        decoded.map(|_| None).map_err(|_| SignatureError::Malformed)
    }
}
