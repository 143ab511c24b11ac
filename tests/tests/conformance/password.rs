//! The encrypted passwords of passwordSubmit: from what a case says to a compact JWE.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimsmith_local_entra::{ContentAlgorithm, EncryptionKey, Flaw, KeyAlgorithm, PasswordContext};
use claimsmith_tests::world;
use josekit::jwe::{Dir, JweEncrypter, JweHeader, serialize_compact};
use openssl::x509::X509;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The nonce of every password, unless a case says otherwise: what answers must return.
const NONCE: &str = "7f0a2c1e-0000-4000-8000-00000000abcd";

/// The keys that passwords are encrypted for.
#[derive(Debug)]
pub(crate) struct Keys {
    /// The one that the extensions have.
    pub(crate) own: EncryptionKey,
    /// One that they do not have.
    pub(crate) other: EncryptionKey,
}

impl Keys {
    pub(crate) fn generate() -> Self {
        Self {
            own: EncryptionKey::generate().unwrap(),
            other: EncryptionKey::generate().unwrap(),
        }
    }
}

/// A password, and in what its encrypted form differs from what Entra sends.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PasswordContextOf {
    pub(crate) username: String,
    pub(crate) password: String,
    /// Members of the JWE's header.
    header: Map<String, Value>,
    without_header: Vec<String>,
    /// Members that are put into the JWE's header after it was made, so that it does not fit any longer.
    changed_header: Map<String, Value>,
    /// Claims of the inner token.
    claims: Map<String, Value>,
    without_claims: Vec<String>,
    /// What is encrypted: the inner token is put in the place of `{token}`.
    plaintext: String,
    key_algorithm: KeyAlgorithm,
    content_algorithm: ContentAlgorithm,
    compressed: bool,
    /// The key that it is encrypted for; the header names the extension's own.
    key: Key,
    /// What is wrong with it on purpose.
    flaw: Option<FlawOf>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Key {
    Own,
    Other,
}

/// What the local Entra can do wrong, and what nobody encrypts.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FlawOf {
    CorruptedTag,
    CorruptedCiphertext,
    CorruptedKey,
    NotDeflated,
    /// The tag's first four bytes.
    ShortTag,
    /// Without the tag.
    FourParts,
    /// With one part more.
    SixParts,
    /// Parts with the padding of base64.
    Padded,
    /// The inner token, not encrypted.
    PlainText,
    /// Encrypted with RSAES-PKCS1-v1_5.
    Rsa15,
    /// Encrypted with a key that the sender chose (`dir`).
    Direct,
}

impl Default for PasswordContextOf {
    fn default() -> Self {
        Self {
            username: "ada@customers.example".to_owned(),
            password: "correct-horse-Battery-9".to_owned(),
            header: Map::new(),
            without_header: Vec::new(),
            changed_header: Map::new(),
            claims: Map::new(),
            without_claims: Vec::new(),
            plaintext: "{token}".to_owned(),
            key_algorithm: KeyAlgorithm::default(),
            content_algorithm: ContentAlgorithm::default(),
            compressed: true,
            key: Key::Own,
            flaw: None,
        }
    }
}

impl PasswordContextOf {
    /// The compact JWE.
    pub(crate) fn encrypt(&self, keys: &Keys) -> Result<String, String> {
        let context = self.context(keys);
        let text = self.plaintext.replace("{token}", &context.token());
        let jwe = match self.flaw {
            Some(FlawOf::PlainText) => return Ok(text),
            Some(FlawOf::Rsa15) => seal_with(rsa1_5(&keys.own).as_ref(), &context, &text)?,
            Some(FlawOf::Direct) => seal_with(&Dir.encrypter_from_bytes([7; 32]).unwrap(), &context, &text)?,
            _ => context.encrypt_text(&text).map_err(|error| error.to_string())?,
        };
        Ok(self.spoiled(&jwe))
    }

    fn context(&self, keys: &Keys) -> PasswordContext {
        let issuer = world::resource_id();
        let own = keys.own.clone();
        let mut context = PasswordContext::new(own, &self.username, &self.password, world::RESOURCE, &issuer)
            .claim("nonce", NONCE)
            .key_algorithm(self.key_algorithm)
            .content_algorithm(self.content_algorithm)
            .compressed(self.compressed);
        context.header.extend(self.header.clone());
        context.claims.extend(self.claims.clone());
        for name in &self.without_header {
            context = context.without_header(name);
        }
        for name in &self.without_claims {
            context = context.without_claim(name);
        }
        context.flaw = match self.flaw {
            Some(FlawOf::CorruptedTag) => Some(Flaw::CorruptedTag),
            Some(FlawOf::CorruptedCiphertext) => Some(Flaw::CorruptedCiphertext),
            Some(FlawOf::CorruptedKey) => Some(Flaw::CorruptedKey),
            Some(FlawOf::NotDeflated) => Some(Flaw::NotDeflated),
            _ => None,
        };
        match self.key {
            Key::Own => context,
            Key::Other => context.encrypt_for(keys.other.clone()),
        }
    }

    fn spoiled(&self, jwe: &str) -> String {
        let mut parts: Vec<String> = jwe.split('.').map(str::to_owned).collect();
        if !self.changed_header.is_empty() {
            let mut header: Map<String, Value> = serde_json::from_slice(&decoded(&parts[0])).unwrap();
            header.extend(self.changed_header.clone());
            parts[0] = URL_SAFE_NO_PAD.encode(json!(header).to_string());
        }
        match self.flaw {
            Some(FlawOf::ShortTag) => parts[4] = URL_SAFE_NO_PAD.encode(&decoded(&parts[4])[..4]),
            Some(FlawOf::FourParts) => drop(parts.pop()),
            Some(FlawOf::SixParts) => parts.push(parts[4].clone()),
            // The tag's 16 bytes always need it.
            Some(FlawOf::Padded) => parts[4].push_str("=="),
            _ => {}
        }
        parts.join(".")
    }
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

#[expect(deprecated, reason = "nobody should use it, and no host should accept it")]
fn rsa1_5(key: &EncryptionKey) -> Box<dyn JweEncrypter> {
    let certificate = X509::from_pem(key.certificate_pem().unwrap().as_bytes()).unwrap();
    let key = certificate.public_key().unwrap().public_key_to_pem().unwrap();
    Box::new(josekit::jwe::RSA1_5.encrypter_from_pem(key).unwrap())
}

fn seal_with(encrypter: &dyn JweEncrypter, context: &PasswordContext, text: &str) -> Result<String, String> {
    let header = JweHeader::from_map(context.header.clone()).map_err(|error| error.to_string())?;
    serialize_compact(text.as_bytes(), &header, encrypter).map_err(|error| error.to_string())
}
