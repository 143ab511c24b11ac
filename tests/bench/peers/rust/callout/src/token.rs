//! Entra's bearer token, checked as its documentation asks.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde::Deserialize;
use uuid::Uuid;

use crate::Refusal;

const LEEWAY_SECONDS: u64 = 60;
const CACHED_TOKENS: usize = 10_000;

/// What a token must say.
#[derive(Debug)]
pub struct Expected {
    pub issuer: String,
    pub audience: String,
    /// `azp`
    pub caller: Uuid,
    /// `tid`
    pub tenant_id: Uuid,
}

/// The claims that are looked at; `jsonwebtoken` looks at `iss`, `aud` and `nbf` itself.
#[derive(Debug, Deserialize)]
pub struct Token {
    exp: u64,
    ver: String,
    azp: Uuid,
    pub tid: Uuid,
}

/// A key with its `kid`.
type Key = (String, DecodingKey);

pub struct Verifier {
    caller: Uuid,
    tenant_id: Uuid,
    validation: Validation,
    keys: ArcSwap<Vec<Key>>,
    cache: Option<Cache<String, Arc<Token>>>,
}

impl Verifier {
    #[must_use]
    pub fn new(expected: Expected, keys: &JwkSet, with_cache: bool) -> Self {
        let mut validation = Validation::new(Algorithm::RS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_audience(&[expected.audience]);
        validation.set_issuer(&[expected.issuer]);
        validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud"]);
        Self {
            caller: expected.caller,
            tenant_id: expected.tenant_id,
            validation,
            keys: ArcSwap::from_pointee(usable(keys)),
            cache: with_cache.then(|| Cache::new(CACHED_TOKENS)),
        }
    }

    /// Takes keys that were fetched again.
    pub fn set_keys(&self, keys: &JwkSet) {
        self.keys.store(Arc::new(usable(keys)));
    }

    /// The claims of the token in an `authorization` header. A token that was verified before is not verified again
    /// until it expires.
    ///
    /// # Errors
    /// When there is none, or it is refused.
    pub fn authenticate(&self, authorization: Option<&[u8]>) -> Result<Arc<Token>, Refusal> {
        let token = authorization.and_then(bearer).ok_or(Refusal::Unauthorized)?;
        let Some(cache) = &self.cache else {
            return self.verify(token).map(Arc::new);
        };
        if let Some(known) = cache.get(token)
            && now() < known.exp + LEEWAY_SECONDS
        {
            return Ok(known);
        }
        let verified = Arc::new(self.verify(token)?);
        cache.insert(token.to_owned(), Arc::clone(&verified));
        Ok(verified)
    }

    fn verify(&self, token: &str) -> Result<Token, Refusal> {
        let header = decode_header(token).map_err(|_| Refusal::Unauthorized)?;
        let kid = header.kid.ok_or(Refusal::Unauthorized)?;
        let keys = self.keys.load();
        let (_, key) = keys
            .iter()
            .find(|(known, _)| *known == kid)
            .ok_or(Refusal::Unauthorized)?;
        let token: Token = decode(token, key, &self.validation)
            .map_err(|_| Refusal::Unauthorized)?
            .claims;
        if token.ver != "2.0" || token.azp != self.caller || token.tid != self.tenant_id {
            return Err(Refusal::Unauthorized);
        }
        Ok(token)
    }
}

/// The keys that can check a signature of this kind; a set may hold others.
fn usable(keys: &JwkSet) -> Vec<Key> {
    keys.keys
        .iter()
        .filter_map(|key| Some((key.common.key_id.clone()?, DecodingKey::from_jwk(key).ok()?)))
        .collect()
}

fn bearer(authorization: &[u8]) -> Option<&str> {
    let (scheme, token) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(u64::MAX, |since| since.as_secs())
}
