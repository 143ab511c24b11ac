//! Whether the chain holds: what was removed, changed, reordered or cut off.
//!
//! What cannot be known from the store alone: that the whole store was put back to what it was at an earlier time, key
//! and marks included, and records after the last seal that were cut off. For both there is the log, where the service
//! writes the chain's end when it stops, and which `expected` is taken from.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Row as _};

use crate::chain::{BEGINNING, mark};
use crate::encode::code;
use crate::key::Key;
use crate::marks::read_mark;
use crate::store::{self, StoreError};
use crate::walk::Walk;

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
    /// A record's personal data was erased, or put back, without the store's key.
    Erasure {
        /// Its number.
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
    let mut connection = SqliteConnection::connect_with(&store::options(path)?).await?;
    // One view of it all, whatever is appended or retired meanwhile.
    sqlx::raw_sql("BEGIN").execute(&mut connection).await?;
    let mut faults = Vec::new();
    let begin = read_mark(&mut connection, &key, mark::BEGIN).await?;
    let sealed = read_mark(&mut connection, &key, mark::SEALED).await?;
    for (name, mark) in [(mark::BEGIN, &begin), (mark::SEALED, &sealed)] {
        if mark.as_ref().is_some_and(|mark| !mark.is_authentic) {
            faults.push(Fault::of_mark(name));
        }
    }
    let mut walk = Walk::from(&key, begin.as_ref());
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
    loop {
        let page = walk.page(&mut connection, i64::MAX).await?;
        if page.is_empty() {
            break;
        }
        for row in &page {
            if let Some(fault) = walk.step(&mut connection, row).await? {
                note(&mut verified, fault);
            }
            let (seq, hash) = (walk.seq, walk.hash);
            note_found_before(row, &mut verified)?;
            if places
                .iter()
                .any(|(place, expected)| *place == seq && *expected != hash)
            {
                note(&mut verified, Fault::Rewritten { seq });
            }
            verified.erased += u64::from(row.try_get::<Option<&[u8]>, _>("erased")?.is_some());
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
    verified.hash = hex::encode(walk.hash);
    Ok(verified)
}

/// What the service found, which the marks that it wrote since may not show any more.
fn note_found_before(row: &SqliteRow, verified: &mut Verified) -> Result<(), StoreError> {
    if row.try_get::<&str, _>("outcome")? == code::BROKEN
        && let Ok(fault) = serde_json::from_str(row.try_get("detail")?)
    {
        note(verified, fault);
    }
    Ok(())
}

fn note(verified: &mut Verified, fault: Fault) {
    // What was found before, and told in the chain, is usually found again.
    if verified.faults.len() < MAX_FAULTS && !verified.faults.contains(&fault) {
        verified.faults.push(fault);
    }
}
