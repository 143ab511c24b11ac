//! From records to rows: what the writer's thread does so that callouts need not.

use std::time::{SystemTime, UNIX_EPOCH};

use claimsmith_contract::token_issuance_start::ClaimValue;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use uuid::Uuid;

use crate::chain::{self, Content, Hash, NOBODY, NOTHING, Salt};
use crate::contexts::{Contexts, NewContexts, Place};
use crate::key::{Key, PSEUDONYM_BYTES};
use crate::record::{Call, Claim, Context, Disclosure, Record, Use};

/// The longest user identifier that is kept: longer ones are cut.
const MAX_USER_CHARS: usize = 256;

/// Codes of records that tell of the store itself, beside the outcomes of callouts.
pub(crate) mod code {
    /// Records that could not be kept.
    pub(crate) const LOST: &str = "records_lost";
    /// Refusals of callers that nothing is known of, which were counted only.
    pub(crate) const COUNTED: &str = "refusals_counted";
    /// Records that were deleted at the end of their time.
    pub(crate) const RETIRED: &str = "records_retired";
    /// A person's records whose personal data was erased.
    pub(crate) const ERASED: &str = "records_erased";
    /// The chain was not what its marks say when the store was opened, or not as it was written where records were to be deleted.
    pub(crate) const BROKEN: &str = "chain_broken";
    /// Records whose callouts were refused while they were being written: what they say was not answered.
    pub(crate) const WITHHELD: &str = "answer_withheld";
    /// All of them.
    pub(crate) const ALL: [&str; 6] = [LOST, COUNTED, RETIRED, ERASED, BROKEN, WITHHELD];
}

/// Rows that are ready but for their places in the chain.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    list: Vec<Row>,
    /// Details and personal data, one after another.
    texts: Vec<u8>,
    /// Contexts that are stored with them.
    pub(crate) contexts: NewContexts,
}

#[derive(Debug)]
struct Row {
    time: i64,
    context: (Place, Hash),
    outcome: &'static str,
    correlation: [u8; 16],
    application: [u8; 16],
    subject: [u8; PSEUDONYM_BYTES],
    salt: Salt,
    commitment: Hash,
    offset: usize,
    detail: usize,
    personal: usize,
}

/// What is bound to the statement that inserts rows.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Of each row: time, context, outcome, where its texts begin (from 1) and the bytes of both. JSON.
    pub(crate) index: String,
    /// Of each row: correlation id, application, subject, salt and hash.
    pub(crate) fixed: Vec<u8>,
    pub(crate) texts: Vec<u8>,
    /// The last record's hash.
    pub(crate) tail: Hash,
}

/// Microseconds since 1970.
pub(crate) fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[derive(Serialize)]
struct Detail<'r> {
    status: u16,
    duration_us: u64,
    generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entra_error: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<&'static str>,
    #[serde(skip_serializing_if = "<[Use]>::is_empty")]
    invocations: &'r [Use],
    #[serde(skip_serializing_if = "Calls::is_empty")]
    calls: Calls<'r>,
    #[serde(skip_serializing_if = "is_none")]
    unlisted_calls: usize,
    #[serde(skip_serializing_if = "Names::is_empty")]
    claims: Names<'r>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference to the member"
)]
fn is_none(count: &usize) -> bool {
    *count == 0
}

struct Calls<'r> {
    record: &'r Record,
    key: &'r Key,
}

impl Calls<'_> {
    fn is_empty(&self) -> bool {
        self.record.calls.is_empty()
    }
}

/// A call as it is kept.
#[derive(Serialize)]
struct KeptCall<'r> {
    invocation: usize,
    function: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    upstream: &'r str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    sent_bytes: u64,
    received_bytes: u64,
    began_us: u64,
    duration_us: u64,
    arguments: String,
}

impl Serialize for Calls<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let tenant = &self.record.context.tenant;
        serializer.collect_seq(self.record.calls.iter().map(|call: &Call| KeptCall {
            invocation: call.invocation,
            function: call.function,
            upstream: &call.upstream,
            result: call.result,
            status: call.status,
            sent_bytes: call.sent_bytes,
            received_bytes: call.received_bytes,
            began_us: call.began_us,
            duration_us: call.duration_us,
            arguments: hex::encode(self.key.pseudonym("call", tenant, &hex::encode(call.arguments))),
        }))
    }
}

struct Names<'r>(&'r [Claim]);

impl Names<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|claim| &claim.id))
    }
}

#[derive(Serialize)]
struct Personal<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<Values<'r>>,
}

struct Values<'r> {
    record: &'r Record,
    key: &'r Key,
}

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let hashed = |text: &str| hex::encode(self.key.pseudonym("claim", &self.record.context.tenant, text));
        for claim in &self.record.claims {
            match (&claim.value, self.record.privacy.claims) {
                (None, _) | (_, Disclosure::None) => {}
                (Some(ClaimValue::Text(text)), Disclosure::Plain) => map.serialize_entry(&*claim.id, text)?,
                (Some(ClaimValue::Texts(texts)), Disclosure::Plain) => map.serialize_entry(&*claim.id, texts)?,
                (Some(ClaimValue::Text(text)), Disclosure::Hashed) => {
                    map.serialize_entry(&*claim.id, &hashed(text))?;
                }
                (Some(ClaimValue::Texts(texts)), Disclosure::Hashed) => {
                    let texts: Vec<_> = texts.iter().map(|text| hashed(text)).collect();
                    map.serialize_entry(&*claim.id, &texts)?;
                }
            }
        }
        map.end()
    }
}

/// The form in which a user is looked for: directory ids and addresses do not differ by case.
pub(crate) fn subject(key: &Key, tenant: &str, user: &str) -> [u8; PSEUDONYM_BYTES] {
    key.pseudonym("user", tenant, &cut(user).to_lowercase())
}

fn cut(user: &str) -> &str {
    let end = user.char_indices().nth(MAX_USER_CHARS).map_or(user.len(), |(at, _)| at);
    user.get(..end).unwrap_or(user)
}

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.texts.len()
    }

    /// Adds a callout's record, whose context is one of the `known` or new.
    ///
    /// # Errors
    /// A defect: nothing in a record cannot be serialised.
    pub(crate) fn add(&mut self, record: &Record, known: &Contexts, salt: Salt, key: &Key) -> serde_json::Result<()> {
        let context = self.contexts.place(known, &record.context)?;
        let offset = self.texts.len();
        let detail = Detail {
            status: record.status,
            duration_us: u64::try_from(record.duration.as_micros()).unwrap_or(u64::MAX),
            generation: record.generation,
            action: record.action,
            entra_error: record.entra_error,
            token_id: record.token_id.as_deref(),
            repeat: record.repeat,
            invocations: &record.uses,
            calls: Calls { record, key },
            unlisted_calls: record.unlisted_calls,
            claims: Names(&record.claims),
        };
        serde_json::to_writer(&mut self.texts, &detail)?;
        let detail = self.texts.len() - offset;

        let user = record
            .user
            .as_deref()
            .filter(|_| record.privacy.users != Disclosure::None);
        let subject = user.map_or(NOBODY, |user| subject(key, &record.context.tenant, user));
        // Values of nobody could not be found when somebody's are to be erased.
        let has_values = user.is_some()
            && record.privacy.claims != Disclosure::None
            && record.claims.iter().any(|claim| claim.value.is_some());
        let personal = Personal {
            user: user.filter(|_| record.privacy.users == Disclosure::Plain).map(cut),
            claims: has_values.then_some(Values { record, key }),
        };
        if personal.user.is_some() || personal.claims.is_some() {
            serde_json::to_writer(&mut self.texts, &personal)?;
        }
        let personal = self.texts.len() - offset - detail;
        let is_personal = user.is_some() || personal > 0;
        let text = self.texts.get(offset + detail..).unwrap_or_default();
        let commitment = if is_personal {
            chain::commitment(&salt, &subject, std::str::from_utf8(text).unwrap_or_default())
        } else {
            NOTHING
        };
        self.list.push(Row {
            time: micros(record.time),
            context,
            outcome: record.outcome.code(),
            correlation: bytes(record.correlation_id),
            application: bytes(record.application),
            subject,
            salt: if is_personal { salt } else { Salt::default() },
            commitment,
            offset,
            detail,
            personal,
        });
        Ok(())
    }

    /// Adds a record of the store itself.
    ///
    /// # Errors
    /// A defect: nothing in it cannot be serialised.
    pub(crate) fn add_event(
        &mut self,
        outcome: &'static str,
        time: SystemTime,
        (context, known): (&Context, &Contexts),
        detail: &impl Serialize,
    ) -> serde_json::Result<()> {
        let context = self.contexts.place(known, context)?;
        let offset = self.texts.len();
        serde_json::to_writer(&mut self.texts, detail)?;
        self.list.push(Row {
            time: micros(time),
            context,
            outcome,
            correlation: [0; 16],
            application: [0; 16],
            subject: NOBODY,
            salt: Salt::default(),
            commitment: NOTHING,
            offset,
            detail: self.texts.len() - offset,
            personal: 0,
        });
        Ok(())
    }

    /// The rows after a record with this hash, the first one with the number `first`; their new contexts have these numbers.
    ///
    /// # Errors
    /// A defect: the index is made of numbers and codes.
    pub(crate) fn bind(&self, first: i64, mut tail: Hash, contexts: &[i64]) -> serde_json::Result<Bound> {
        let mut fixed = Vec::with_capacity(self.list.len() * 96);
        for (seq, row) in (first..).zip(&self.list) {
            let detail = self.texts.get(row.offset..row.offset + row.detail).unwrap_or_default();
            tail = chain::hash(
                seq,
                &tail,
                &Content {
                    time: row.time,
                    context: &row.context.1,
                    outcome: row.outcome,
                    correlation: &row.correlation,
                    application: &row.application,
                    detail: std::str::from_utf8(detail).unwrap_or_default(),
                    commitment: &row.commitment,
                },
            );
            for part in [&row.correlation, &row.application, &row.subject, &row.salt] {
                fixed.extend_from_slice(part);
            }
            fixed.extend_from_slice(&tail);
        }
        let index: Vec<_> = self
            .list
            .iter()
            .map(|row| {
                (
                    row.time,
                    row.context.0.id(contexts),
                    row.outcome,
                    row.offset + 1,
                    row.detail,
                    row.personal,
                )
            })
            .collect();
        Ok(Bound {
            index: serde_json::to_string(&index)?,
            fixed,
            texts: self.texts.clone(),
            tail,
        })
    }
}

fn bytes(id: Option<Uuid>) -> [u8; 16] {
    id.unwrap_or_default().into_bytes()
}
