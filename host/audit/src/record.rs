//! What is recorded of a callout. Nothing here can hold a token, a password, a one-time code or an encrypted context.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use claimsmith_contract::Outcome;
use claimsmith_contract::token_issuance_start::ClaimValue;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// How a kind of personal data is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disclosure {
    /// As it is.
    Plain,
    /// As an HMAC-SHA-256 with the store's key: equal values can be found and told apart, and not read.
    Hashed,
    /// Not at all.
    None,
}

/// A tenant's privacy policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Privacy {
    /// Who signs in. Default `hashed`: a person's records can be found and erased by who knows the id, and are pseudonyms
    /// to who reads the store.
    pub users: Disclosure,
    /// The values of claims; their names are always recorded. Default `none`: most values are personal, and what a value
    /// was can be found out from the plugin's version.
    pub claims: Disclosure,
}

impl Privacy {
    /// What is wrong with it: values that could not be found when the person's records are to be erased.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        let is_lost = self.users == Disclosure::None && self.claims != Disclosure::None;
        is_lost.then_some(
            "values of claims are a person's, and with `users = \"none\"` nobody could find them to erase them; set `users = \
             \"hashed\"`, or `claims = \"none\"`",
        )
    }
}

impl Default for Privacy {
    fn default() -> Self {
        Self {
            users: Disclosure::Hashed,
            claims: Disclosure::None,
        }
    }
}

/// A version of a plugin that was to answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct PluginVersion {
    /// The plugin's name in the configuration.
    #[serde(serialize_with = "text")]
    pub plugin: Arc<str>,
    /// Its semantic version.
    #[serde(serialize_with = "text")]
    pub version: Arc<str>,
    /// The SHA-256 of its component.
    #[serde(serialize_with = "hexadecimal")]
    pub digest: [u8; 32],
}

/// What many callouts have in common; kept once for all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Context {
    /// The tenant; empty when the request's path led to none.
    #[serde(serialize_with = "text")]
    pub tenant: Arc<str>,
    /// The extension; empty when the request's path led to none.
    #[serde(serialize_with = "text")]
    pub extension: Arc<str>,
    /// The event's name.
    pub event: &'static str,
    /// The directory where the user signs in: the one that issued the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<Uuid>,
    /// `authenticationEventListenerId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<Uuid>,
    /// `customAuthenticationExtensionId`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_extension: Option<Uuid>,
    /// The application that asked for the token: `azp` or `appid`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Uuid>,
    /// The key that the token was verified with.
    #[serde(serialize_with = "optional_text", skip_serializing_if = "Option::is_none")]
    pub key_id: Option<Arc<str>>,
    /// The plugins that were to answer, in the order of the record's [`Use`]s.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginVersion>,
}

/// How one invocation ended and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Use {
    /// How it ended.
    #[serde(serialize_with = "code")]
    pub outcome: Outcome,
    /// From before the instance was made until it was done, in microseconds.
    pub elapsed_us: u64,
    /// CPU time, in whole milliseconds.
    pub cpu_ms: u64,
    /// Linear memory at the end, which is the most there was.
    pub memory_bytes: u64,
    /// Calls of imported functions.
    pub host_calls: u64,
    /// The failure policy that answered in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_policy: Option<&'static str>,
}

fn text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the member")]
fn optional_text<S: serde::Serializer>(text: &Option<Arc<str>>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_deref().serialize(serializer)
}

fn hexadecimal<S: serde::Serializer>(digest: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(digest))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference to the member"
)]
fn code<S: serde::Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.code())
}

/// Calls of upstreams that one record lists; further ones are counted.
pub const MAX_CALLS: usize = 64;

/// A call that a plugin made of an upstream. Nothing of what was asked or answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which of the record's invocations made it, from 0.
    pub invocation: usize,
    /// The interface and its function, such as `http.fetch`.
    pub function: &'static str,
    /// The upstream, by its name in the configuration; empty for one that the binding was not granted, and for its cache.
    pub upstream: Arc<str>,
    /// `ok`, or the error that the plugin was given.
    pub result: &'static str,
    /// What the upstream's protocol says of the result: an HTTP status.
    pub status: Option<u16>,
    /// Bytes of what was asked.
    pub sent_bytes: u64,
    /// Bytes of what the plugin was given.
    pub received_bytes: u64,
    /// After the invocation's start, in microseconds.
    pub began_us: u64,
    /// How long it took, in microseconds.
    pub duration_us: u64,
    /// The SHA-256 of what was asked. Kept is its HMAC with the store's key: from the digest alone, what can be guessed (a
    /// person's id, a one-time code) could be found out.
    pub arguments: [u8; 32],
}

/// A claim that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub id: Box<str>,
    /// Its value; absent when the tenant's policy is not to record values.
    pub value: Option<ClaimValue>,
}

/// The status in records of callouts whose client has gone: nobody is there to read it. What web servers write into their
/// logs for it.
pub const CLIENT_GONE_STATUS: u16 = 499;

/// One callout.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the request arrived.
    pub time: SystemTime,
    /// From then until the answer was ready.
    pub duration: Duration,
    /// What it has in common with other callouts.
    pub context: Context,
    /// Which catalog served. Not in the context: every tenant's reload makes another one, for all tenants.
    pub generation: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status.
    pub status: u16,
    /// What Entra would have said of an answer that was not sent.
    pub entra_error: Option<u32>,
    /// What the plugins answered, in Entra's terms.
    pub action: Option<&'static str>,
    /// The sign-in's correlation id.
    pub correlation_id: Option<Uuid>,
    /// The application that the user signs in to.
    pub application: Option<Uuid>,
    /// The token's `uti`, which identifies it and is no secret.
    pub token_id: Option<Arc<str>>,
    /// The invocations, in the order of the context's plugins.
    pub uses: Vec<Use>,
    /// The calls of upstreams, in order: [`MAX_CALLS`] at most.
    pub calls: Vec<Call>,
    /// How many calls there were besides these.
    pub unlisted_calls: usize,
    /// `joined` or `remembered`: it repeats a callout, whose invocations these are and whose answer it got.
    pub repeat: Option<&'static str>,
    /// The claims that were answered.
    pub claims: Vec<Claim>,
    /// Who signs in; absent when the tenant's policy is not to record it.
    pub user: Option<Box<str>>,
    /// How user and claim values are recorded.
    pub privacy: Privacy,
}

impl Record {
    /// Makes it the record of a callout whose client went away before it was answered.
    pub(crate) fn note_client_gone(&mut self) {
        self.outcome = Outcome::ClientGone;
        self.status = CLIENT_GONE_STATUS;
        self.entra_error = None;
        self.action = None;
        self.claims.clear();
    }
}
