//! Whether the chain holds: what was removed, changed, reordered or cut off.
//!
//! What cannot be known from the store alone: that the whole store was put back to what it was at an earlier time, key
//! and marks included, and records after the last seal that were cut off. For both there is the log, where the service
//! writes the chain's end when it stops, and which `expected` is taken from.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::chain::{self, BEGINNING, Content, Hash, NOTHING, is_somebody, mark};
use crate::encode::code;
use crate::key::Key;
use crate::read::{Filter, Reader};
use crate::store::{StoreError, read_mark};

/// Rows read at once.
const PAGE: i64 = 500;
/// How many faults are told.
const MAX_FAULTS: usize = 1000;

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Fault {
    /// Records are missing.
    Removed {
        /// The first that is missing.
        from: i64,
        /// The last that is missing.
        to: i64,
    },
    /// A record is not what its hash covers: it, its context or its place was changed.
    Changed {
        /// Its number.
        seq: i64,
    },
    /// The chain ends before a place where it has been.
    CutOff {
        /// The last record there was at least.
        expected: i64,
    },
    /// At a place where the chain has been, it is another one now: it was rewritten.
    Rewritten {
        /// The place.
        seq: i64,
    },
    /// What was expected cannot be compared: the record has been retired.
    Retired {
        /// Its number.
        seq: i64,
    },
    /// A mark was not made with the store's key.
    Mark {
        /// Its name: `begin` or `sealed`.
        name: String,
    },
    /// A mark that every store has is missing.
    NoMark {
        /// Its name: `sealed`.
        name: String,
    },
}

impl Fault {
    pub(crate) fn of_mark(name: &str) -> Self {
        Self::Mark { name: name.to_owned() }
    }
}

/// What verifying found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The number of the first.
    pub first: i64,
    /// The number of the last.
    pub last: i64,
    /// The last one's hash, in hexadecimal digits.
    pub hash: String,
    /// Up to here the store's key authenticates the chain.
    pub sealed: i64,
    /// How many records have been erased.
    pub erased: u64,
    /// What is wrong: the first thousand.
    pub faults: Vec<Fault>,
}

/// Verifies the whole chain, also while a service appends to it. `expected`: a place and a hash that are known from
/// elsewhere.
///
/// # Errors
/// [`StoreError`]: the store cannot be read.
pub async fn verify(path: &Path, expected: Option<(i64, [u8; 32])>) -> Result<Verified, StoreError> {
    let key = Key::read(path)?;
    let mut reader = Reader::open(path, Filter::default()).await?;
    // One view of it all, whatever is appended or retired meanwhile.
    sqlx::raw_sql("BEGIN").execute(&mut reader.connection).await?;
    let mut faults = Vec::new();
    let begin = read_mark(&mut reader.connection, &key, mark::BEGIN).await?;
    let sealed = read_mark(&mut reader.connection, &key, mark::SEALED).await?;
    for (name, mark) in [(mark::BEGIN, &begin), (mark::SEALED, &sealed)] {
        if mark.as_ref().is_some_and(|mark| !mark.is_authentic) {
            faults.push(Fault::of_mark(name));
        }
    }
    let (begin_seq, begin_hash) = begin.map_or((0, BEGINNING), |mark| (mark.seq, mark.hash));
    let mut places: Vec<_> = sealed
        .iter()
        .map(|mark| (mark.seq, mark.hash))
        .chain(expected)
        .collect();
    places.retain(|(seq, _)| *seq > begin_seq);
    match expected {
        Some((seq, _)) if seq < begin_seq => faults.push(Fault::Retired { seq }),
        Some((seq, hash)) if seq == begin_seq && hash != begin_hash => faults.push(Fault::Rewritten { seq }),
        _ => {}
    }

    let mut verified = Verified {
        records: 0,
        first: begin_seq + 1,
        last: begin_seq,
        hash: String::new(),
        sealed: sealed.as_ref().map_or(begin_seq, |mark| mark.seq),
        erased: 0,
        faults,
    };
    let mut previous = begin_hash;
    loop {
        let page = sqlx::query("SELECT * FROM record WHERE seq > ? ORDER BY seq LIMIT ?")
            .bind(verified.last)
            .bind(PAGE)
            .fetch_all(&mut reader.connection)
            .await?;
        if page.is_empty() {
            break;
        }
        for row in &page {
            let seq: i64 = row.try_get("seq")?;
            if seq != verified.last + 1 {
                let from = verified.last + 1;
                note(&mut verified, Fault::Removed { from, to: seq - 1 });
            }
            let context = reader.context(row.try_get("context")?).await?;
            let stored: Vec<u8> = row.try_get("hash")?;
            let computed = computed(row, seq, &previous, &context.hash, &mut verified)?;
            // After removed records nothing is known of the one before, so the first one after is believed.
            if computed.as_slice() != stored && seq == verified.last + 1 {
                note(&mut verified, Fault::Changed { seq });
            }
            previous = chain::to_hash(&stored);
            note_found_before(row, &mut verified)?;
            if places.iter().any(|(place, hash)| *place == seq && *hash != previous) {
                note(&mut verified, Fault::Rewritten { seq });
            }
            verified.records += 1;
            verified.last = seq;
        }
    }
    if let Some((expected, _)) = places.iter().filter(|(place, _)| *place > verified.last).max() {
        note(&mut verified, Fault::CutOff { expected: *expected });
    }
    if sealed.is_none() && verified.last > 0 {
        let name = mark::SEALED.to_owned();
        note(&mut verified, Fault::NoMark { name });
    }
    verified.hash = hex::encode(previous);
    Ok(verified)
}

/// What a start of the service found, which the marks that it wrote since do not show any more.
fn note_found_before(row: &SqliteRow, verified: &mut Verified) -> Result<(), StoreError> {
    if row.try_get::<&str, _>("outcome")? == code::BROKEN
        && let Ok(fault) = serde_json::from_str(row.try_get("detail")?)
    {
        note(verified, fault);
    }
    Ok(())
}

fn note(verified: &mut Verified, fault: Fault) {
    if verified.faults.len() < MAX_FAULTS {
        verified.faults.push(fault);
    }
}

/// The hash that a record should have.
fn computed(
    row: &SqliteRow,
    seq: i64,
    previous: &Hash,
    context: &Hash,
    verified: &mut Verified,
) -> Result<Hash, StoreError> {
    let (salt, subject): (Vec<u8>, Vec<u8>) = (row.try_get("salt")?, row.try_get("subject")?);
    let personal: String = row.try_get("personal")?;
    let erased: Option<Vec<u8>> = row.try_get("erased")?;
    let has_personal = is_somebody(&salt) || is_somebody(&subject) || !personal.is_empty();
    verified.erased += u64::from(erased.is_some());
    let commitment = match erased {
        // What was erased is gone: data beside the commitment was put there.
        Some(commitment) if !has_personal => chain::to_hash(&commitment),
        _ if has_personal => chain::commitment(&salt, &subject, &personal),
        _ => NOTHING,
    };
    let (correlation, application): (Vec<u8>, Vec<u8>) = (row.try_get("correlation")?, row.try_get("application")?);
    let (outcome, detail): (String, String) = (row.try_get("outcome")?, row.try_get("detail")?);
    let covered = Content {
        time: row.try_get("time")?,
        context,
        outcome: &outcome,
        correlation: &correlation,
        application: &application,
        detail: &detail,
        commitment: &commitment,
    };
    Ok(chain::hash(seq, previous, &covered))
}
