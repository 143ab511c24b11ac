//! What one extension accepts, and the validation of a token against it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jsonwebtoken::Algorithm;
use quick_cache::sync::Cache;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use uuid::Uuid;

use crate::check::{check_claims, not_expired};
use crate::claims::{self, Unverified, check_length};
use crate::error::{TokenError, quoted};
use crate::metadata::{Key, KeySet, MetadataDocument, Refreshed};

/// How many accepted tokens one extension remembers. Entra reuses a token across callouts, so a directory needs a
/// handful; the bound keeps a caller with many valid tokens from filling memory.
const REMEMBERED_TOKENS: usize = 256;

/// How many published key ids a message names. Entra publishes half a dozen.
const MAX_NAMED_KEYS: usize = 20;

/// What one extension accepts.
#[derive(Debug)]
pub struct Policy {
    /// The tenant's directories.
    pub directories: Vec<Directory>,
    /// Accepted `aud` values, compared exactly: application ids and, for v1.0 tokens, identifier URIs.
    pub audiences: Vec<String>,
    /// The application that must have asked for the token; [`crate::ENTRA_CALLER`] unless a cloud differs.
    pub caller: Uuid,
    /// Further applications that may call, for diagnosis. Empty in production.
    pub accept_callers: Vec<Uuid>,
    /// Accepted signature algorithms; only asymmetric ones can verify.
    pub algorithms: Vec<Algorithm>,
    /// How far clocks may differ when `exp` and `nbf` are checked.
    pub leeway: Duration,
    /// Whether only tokens are accepted that an application got for itself, as Entra's callouts carry, and no user's.
    pub app_only: bool,
}

/// An Entra directory and the documents that have its keys.
#[derive(Debug)]
pub struct Directory {
    /// The directory's (tenant) id: what `tid` must say.
    pub id: Uuid,
    /// Where its keys are published.
    pub documents: Vec<TrustedDocument>,
}

/// A metadata document and the issuers that its keys may sign for.
#[derive(Debug)]
pub struct TrustedDocument {
    /// The document.
    pub document: Arc<MetadataDocument>,
    /// Issuers accepted besides the one that the document names itself.
    pub issuers: Vec<String>,
}

impl TrustedDocument {
    fn accepts(&self, issuer: &str, keys: &KeySet, directory: Uuid) -> bool {
        // Tenant-independent metadata has a placeholder in its issuer (contract.md, section 2.2).
        keys.issuer_of(directory) == issuer || self.issuers.iter().any(|accepted| accepted == issuer)
    }
}

/// Who called with an accepted token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Entra's authentication extensions service.
    Entra,
    /// An application of `accept_callers`.
    Diagnostic(Uuid),
}

/// What is known of an accepted token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidToken {
    /// The directory that issued the token.
    pub directory: Uuid,
    /// Who called.
    pub caller: Caller,
    /// The application that asked for the token: `azp` or `appid`.
    pub caller_id: Option<Uuid>,
    /// `exp`, seconds since 1970.
    pub expires_at: u64,
    /// The `kid` of the key that it was verified with.
    pub key_id: Arc<str>,
    /// `uti`, which identifies the token and is no secret; absent when it is missing or unusually long.
    pub token_id: Option<Arc<str>>,
}

/// A [`Policy`] and the tokens it has accepted.
#[derive(Debug)]
pub struct TokenPolicy {
    policy: Policy,
    remembered: Cache<[u8; 32], Remembered>,
}

/// An accepted token: valid as long as its document still has the keys it was verified with.
#[derive(Clone, Debug)]
struct Remembered {
    token: ValidToken,
    document: Arc<MetadataDocument>,
    keys: Arc<KeySet>,
}

impl TokenPolicy {
    /// A policy that has accepted nothing yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            remembered: Cache::new(REMEMBERED_TOKENS),
        }
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The documents this policy takes keys from.
    pub fn documents(&self) -> impl Iterator<Item = &Arc<MetadataDocument>> {
        self.trusted().map(|(_, trusted)| &trusted.document)
    }

    /// Validates a token. Does no I/O unless its `kid` is in no document; then waits for the documents' refresh, if
    /// one may be made, until `deadline`.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub async fn validate(&self, token: &str, deadline: Instant) -> Result<ValidToken, TokenError> {
        check_length(token)?;
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(known) = self.remembered.get(&digest) {
            if Arc::ptr_eq(&known.keys, &known.document.keys_or_empty()) {
                not_expired(known.token.expires_at, self.policy.leeway, unix_now())?;
                return Ok(known.token);
            }
            self.remembered.remove(&digest);
        }

        let unverified = Unverified::parse(token)?;
        let algorithm = unverified.algorithm(&self.policy.algorithms)?;
        let found = self.find_or_fetch_key(&unverified, deadline).await?;
        found.key.verify(&unverified, algorithm)?;
        let caller = check_claims(&unverified.claims, &self.policy, found.directory, unix_now())?;

        let token = ValidToken {
            directory: found.directory,
            caller,
            caller_id: unverified.claims.caller_id(),
            expires_at: unverified.claims.exp,
            key_id: unverified.kid.as_str().into(),
            token_id: unverified.claims.uti.as_deref().map(Into::into),
        };
        let remembered = Remembered {
            token: token.clone(),
            document: found.document,
            keys: found.keys,
        };
        self.remembered.insert(digest, remembered);
        Ok(token)
    }

    /// Validates a token as [`Self::validate`] does, and reads further claims: of each name its texts, one or an array of
    /// them, none when the token has no such claim.
    ///
    /// # Errors
    /// The first check that the token fails, or a claim that is no text.
    pub async fn validate_and_read(
        &self,
        token: &str,
        names: &[&str],
        deadline: Instant,
    ) -> Result<(ValidToken, Vec<Vec<String>>), TokenError> {
        let valid = self.validate(token, deadline).await?;
        Ok((valid, claims::texts(token, names)?))
    }

    fn trusted(&self) -> impl Iterator<Item = (Uuid, &TrustedDocument)> {
        self.policy
            .directories
            .iter()
            .flat_map(|directory| directory.documents.iter().map(|trusted| (directory.id, trusted)))
    }

    /// The key that must have signed the token, from a document that is fetched for it if need be.
    async fn find_or_fetch_key(&self, unverified: &Unverified<'_>, deadline: Instant) -> Result<Found, TokenError> {
        let mut found = self.find_key(unverified);
        if matches!(found, Err(TokenError::KeysUnavailable(_))) {
            // Right after the start the first fetch is under way: another one would only come later.
            let first = self.documents().map(|document| document.wait_for_fetch(deadline));
            (found, _) = self.find_key_after(unverified, first).await;
        }
        if is_to_be_fetched(&found) {
            let refreshes = self.candidates(unverified);
            let refreshes = refreshes.map(|document| document.refresh_for_unknown_key(deadline));
            let (after, ended) = self.find_key_after(unverified, refreshes).await;
            found = after.map_err(|error| in_view_of(ended, error));
        }
        found
    }

    /// Looks for the key after each of these fetches, until it is found: a document that is slow must not hold up a
    /// token of another. Tells what came of the fetches.
    async fn find_key_after<T>(
        &self,
        unverified: &Unverified<'_>,
        fetches: impl Iterator<Item = impl Future<Output = T>>,
    ) -> (Result<Found, TokenError>, Vec<T>) {
        let mut fetches: FuturesUnordered<_> = fetches.collect();
        let (mut found, mut ended) = (self.find_key(unverified), Vec::new());
        while is_to_be_fetched(&found)
            && let Some(end) = fetches.next().await
        {
            ended.push(end);
            found = self.find_key(unverified);
        }
        (found, ended)
    }

    /// The key that must have signed the token: by `kid`, among the documents that accept its issuer.
    pub(crate) fn find_key(&self, unverified: &Unverified<'_>) -> Result<Found, TokenError> {
        let issuer = unverified.claims.iss.as_str();
        let mut issuer_is_accepted = false;
        let (mut accepted, mut known) = (Vec::new(), Vec::new());
        let mut failure = None;
        for (directory, trusted) in self.trusted() {
            let Some(keys) = trusted.document.keys() else {
                failure.get_or_insert_with(|| trusted.document.last_error());
                continue;
            };
            if !trusted.accepts(issuer, &keys, directory) {
                accepted.push(keys.issuer_of(directory));
                accepted.extend(trusted.issuers.iter().cloned());
                continue;
            }
            issuer_is_accepted = true;
            if let Some(key) = keys.find(&unverified.kid, issuer, directory) {
                return Ok(Found {
                    directory,
                    key,
                    document: Arc::clone(&trusted.document),
                    keys,
                });
            }
            known.extend(keys.ids().into_iter().map(str::to_owned));
        }
        match failure {
            // A document whose keys are not known yet could be the token's issuer's.
            Some(why) => Err(TokenError::KeysUnavailable(why)),
            None if issuer_is_accepted => {
                known.truncate(MAX_NAMED_KEYS);
                Err(TokenError::UnknownKey {
                    kid: quoted(&unverified.kid),
                    issuer: quoted(issuer),
                    known,
                    pause: None,
                })
            }
            None => Err(TokenError::Issuer {
                found: quoted(issuer),
                accepted,
            }),
        }
    }

    /// The documents that could have the key.
    fn candidates(&self, unverified: &Unverified<'_>) -> impl Iterator<Item = &Arc<MetadataDocument>> {
        let issuer = unverified.claims.iss.as_str();
        let could_have = move |(directory, trusted): &(Uuid, &TrustedDocument)| {
            let keys = trusted.document.keys();
            keys.is_none_or(|keys| trusted.accepts(issuer, &keys, *directory))
        };
        self.trusted().filter(could_have).map(|(_, trusted)| &trusted.document)
    }
}

/// Whether a document that is fetched now could have the key.
fn is_to_be_fetched(found: &Result<Found, TokenError>) -> bool {
    matches!(
        found,
        Err(TokenError::UnknownKey { .. } | TokenError::KeysUnavailable(_))
    )
}

/// What an unknown key says, once it is known what came of the fetches for it: only a document that was fetched tells that
/// it has no such key.
fn in_view_of(refreshed: Vec<Refreshed>, error: TokenError) -> TokenError {
    let TokenError::UnknownKey { kid, issuer, known, .. } = error else {
        return error;
    };
    let mut pause = None;
    for document in refreshed {
        match document {
            Refreshed::Failed(why) => {
                return TokenError::KeysUnavailable(format!("the token's kid {kid} is not known, and {why}"));
            }
            Refreshed::Paused(paused) => pause = Some(paused),
            Refreshed::Fetched => {}
        }
    }
    TokenError::UnknownKey {
        kid,
        issuer,
        known,
        pause,
    }
}

pub(crate) struct Found {
    pub(crate) directory: Uuid,
    pub(crate) key: Arc<Key>,
    pub(crate) document: Arc<MetadataDocument>,
    keys: Arc<KeySet>,
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|since| since.as_secs())
        .unwrap_or_default()
}

/// The token of an `Authorization` header's values.
///
/// # Errors
/// [`TokenError::Missing`] unless there is exactly one value, of the scheme `Bearer` in any case (RFC 6750, section
/// 2.1).
pub fn bearer_token<'h>(mut values: impl Iterator<Item = &'h [u8]>) -> Result<&'h str, TokenError> {
    let value = values
        .next()
        .ok_or(TokenError::Missing("the request has no Authorization header"))?;
    if values.next().is_some() {
        return Err(TokenError::Missing("the request has several Authorization headers"));
    }
    let text =
        std::str::from_utf8(value).map_err(|_| TokenError::Missing("the Authorization header is not ASCII text"))?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => Ok(token.trim()),
        _ => Err(TokenError::Missing("the Authorization header holds no bearer token")),
    }
}
