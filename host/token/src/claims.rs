//! The parts of a token, decoded but not trusted.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use claimsmith_contract::json::Value;
use jsonwebtoken::Algorithm;
use uuid::Uuid;

use crate::error::{TokenError, quoted};

/// Longer tokens are refused unread. Entra's app-only tokens have about 1.5 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Longer token identifiers are not recorded. Entra's have 22 characters.
const MAX_UTI_BYTES: usize = 64;

/// Header members that say that the token is more than a plain JWS of claims: critical extensions (RFC 7515, section
/// 4.1.11), a nested token (RFC 7519, section 5.2) and an unencoded payload (RFC 7797). Entra sends none, and whoever
/// ignores one reads another token than the one who signed it.
const REFUSED_HEADERS: [&str; 3] = ["crit", "cty", "b64"];

/// Kinds of token that a bearer token may say it is (RFC 7519, section 5.1; RFC 9068, section 2.1). Entra says `JWT`;
/// a `logout+jwt` or `secevent+jwt` of the same issuer is no token to call with (RFC 8725, section 3.11).
const TOKEN_TYPES: [&str; 2] = ["JWT", "at+jwt"];

/// The claims that Entra's app-only tokens carry and that are checked. Types are strict: an `aud` array or an `exp`
/// string is not what Entra sends.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) exp: u64,
    pub(crate) nbf: u64,
    pub(crate) ver: String,
    pub(crate) tid: String,
    pub(crate) azp: Option<String>,
    pub(crate) appid: Option<String>,
    /// In users' tokens: what the application may do for the user.
    pub(crate) scp: Option<String>,
    /// `app` or `user`, where it is configured to be there.
    pub(crate) idtyp: Option<String>,
    /// Not checked, and recorded: it is left out when it is no short text.
    pub(crate) uti: Option<String>,
}

/// A compact JWS (RFC 7515, section 7.1) taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub(crate) struct Unverified<'t> {
    pub(crate) alg: String,
    pub(crate) kid: String,
    pub(crate) claims: Claims,
    /// Header and payload as they were signed.
    pub(crate) message: &'t str,
    pub(crate) signature: &'t str,
}

/// Refuses a token that is too long to be one of Entra's.
pub(crate) fn check_length(token: &str) -> Result<(), TokenError> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed(format!("it has more than {MAX_TOKEN_BYTES} bytes")));
    }
    Ok(())
}

impl<'t> Unverified<'t> {
    /// Takes a token apart. Header members that would name another key source (`jku`, `x5u`, `jwk`, `x5c`) are not
    /// looked at.
    pub(crate) fn parse(token: &'t str) -> Result<Self, TokenError> {
        check_length(token)?;
        let [header, payload, signature] = three_parts(token)?;
        let (message, _) = token.rsplit_once('.').unwrap_or_default();

        let header = decode("header", header)?;
        let header = Members::parse("header", &header)?;
        header.check_is_plain()?;
        let (alg, kid) = (header.text("alg")?, header.text("kid")?);
        let payload = decode("payload", payload)?;
        let claims = Claims::parse(&Members::parse("payload", &payload)?)?;
        decode("signature", signature)?;
        Ok(Self {
            alg,
            kid,
            claims,
            message,
            signature,
        })
    }

    /// The algorithm, if it is allowed.
    pub(crate) fn algorithm(&self, allowed: &[Algorithm]) -> Result<Algorithm, TokenError> {
        let algorithm = self.alg.parse().ok();
        algorithm
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or_else(|| TokenError::Algorithm {
                found: quoted(&self.alg),
                allowed: allowed.to_vec(),
            })
    }
}

/// Header, payload and signature.
fn three_parts(token: &str) -> Result<[&str; 3], TokenError> {
    // One more than is told apart: a token may be all dots.
    let parts: Vec<_> = token.splitn(6, '.').collect();
    parts.try_into().map_err(|parts: Vec<_>| {
        malformed(match parts.len() {
            5 => "it has five parts, as an encrypted token (JWE), expected the three of a signed one".to_owned(),
            6 => "expected three parts separated by dots, found more than five".to_owned(),
            count => format!("expected three parts separated by dots, found {count}"),
        })
    })
}

fn decode(part: &str, text: &str) -> Result<Vec<u8>, TokenError> {
    let why = "is not base64url without padding";
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| malformed(format!("its {part} {why}")))
}

impl Claims {
    fn parse(payload: &Members<'_>) -> Result<Self, TokenError> {
        Ok(Self {
            iss: payload.text("iss")?,
            aud: payload.text("aud")?,
            exp: payload.seconds("exp")?,
            nbf: payload.seconds("nbf")?,
            ver: payload.text("ver")?,
            tid: payload.text("tid")?,
            azp: payload.optional_text("azp")?,
            appid: payload.optional_text("appid")?,
            scp: payload.optional_text("scp")?,
            idtyp: payload.optional_text("idtyp")?,
            uti: payload
                .optional_text("uti")
                .ok()
                .flatten()
                .filter(|uti| uti.len() <= MAX_UTI_BYTES),
        })
    }

    /// The application that asked for the token, whichever member names it.
    pub(crate) fn caller_id(&self) -> Option<Uuid> {
        let id = self.azp.as_deref().or(self.appid.as_deref())?;
        Uuid::try_parse(id).ok()
    }
}

/// Further claims of a token that has been validated: of each name its texts, one or an array of them.
pub(crate) fn texts(token: &str, names: &[&str]) -> Result<Vec<Vec<String>>, TokenError> {
    let [_, payload, _] = three_parts(token)?;
    let payload = decode("payload", payload)?;
    let payload = Members::parse("payload", &payload)?;
    names.iter().map(|name| payload.texts(name)).collect()
}

/// The members of a header or payload: a JSON object without repeated members, because two readers of a repeated one
/// could disagree about which was checked (RFC 7515, section 4; RFC 7519, section 4).
struct Members<'b> {
    part: &'static str,
    members: Vec<(Cow<'b, str>, Value<'b>)>,
}

impl<'b> Members<'b> {
    fn parse(part: &'static str, bytes: &'b [u8]) -> Result<Self, TokenError> {
        // The error tells of structure, member names and places; it never holds a value.
        match Value::parse(bytes) {
            Ok(Value::Object(members)) => Ok(Self { part, members }),
            Ok(other) => Err(malformed(format!("its {part} is {}, expected an object", other.kind()))),
            Err(error) => Err(malformed(format!("its {part} is not acceptable JSON: {error}"))),
        }
    }

    fn find(&self, name: &str) -> Option<&Value<'b>> {
        let mut members = self.members.iter();
        members.find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn text(&self, name: &str) -> Result<String, TokenError> {
        self.optional_text(name)?
            .ok_or_else(|| malformed(format!("its {} has no {name}", self.part)))
    }

    fn optional_text(&self, name: &str) -> Result<Option<String>, TokenError> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone().into_owned())),
            Some(other) => Err(self.wrong_type(name, other, "a string")),
        }
    }

    /// A string, or the strings of an array; nothing when the member is absent.
    fn texts(&self, name: &str) -> Result<Vec<String>, TokenError> {
        let text = |value: &Value<'b>| match value {
            Value::String(text) => Ok(text.clone().into_owned()),
            other => Err(self.wrong_type(name, other, "strings")),
        };
        match self.find(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values.iter().map(text).collect(),
            Some(value) => Ok(vec![text(value)?]),
        }
    }

    /// Whole seconds since 1970; RFC 7519 allows fractions, Entra sends none.
    fn seconds(&self, name: &str) -> Result<u64, TokenError> {
        match self.find(name) {
            None => Err(malformed(format!("its {} has no {name}", self.part))),
            Some(Value::Number(number)) if number.is_u64() => Ok(number.as_u64().unwrap_or_default()),
            Some(other) => Err(self.wrong_type(name, other, "whole seconds since 1970")),
        }
    }

    fn wrong_type(&self, name: &str, found: &Value<'_>, expected: &str) -> TokenError {
        let found = match found {
            Value::Number(number) => number.to_string(),
            other => other.kind().to_owned(),
        };
        malformed(format!("its {}'s {name} is {found}, expected {expected}", self.part))
    }

    /// Refuses a header of something else than a plain JWS of claims.
    fn check_is_plain(&self) -> Result<(), TokenError> {
        if let Some(name) = REFUSED_HEADERS.into_iter().find(|name| self.find(name).is_some()) {
            return Err(malformed(format!(
                "its header has {name}, expected a plain signed token without it"
            )));
        }
        let Some(typ) = self.optional_text("typ")? else {
            return Ok(());
        };
        // The prefix may be left out (RFC 7515, section 4.1.9), and case does not count in media types.
        let bare = match typ.split_once('/') {
            Some((prefix, bare)) if prefix.eq_ignore_ascii_case("application") => bare,
            _ => typ.as_str(),
        };
        if TOKEN_TYPES.iter().any(|accepted| bare.eq_ignore_ascii_case(accepted)) {
            return Ok(());
        }
        let typ = quoted(&typ);
        Err(malformed(format!("its header's typ is {typ}, expected JWT or at+jwt")))
    }
}

pub(crate) fn malformed(why: impl Into<String>) -> TokenError {
    TokenError::Malformed(why.into())
}
