//! What is taken out of the store: old records, and the personal data of a person.

use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _};

use crate::chain::{self, Hash, NOBODY, Salt, mark};
use crate::contexts::Contexts;
use crate::encode::{Rows, code, micros, subject};
use crate::key::Key;
use crate::marks::{fault_of_marks, put_mark, read_mark};
use crate::record::Context;
use crate::store::{Store, StoreError, as_one};
use crate::verify::Fault;
use crate::walk::Walk;

/// Records that are deleted in one transaction, which callouts wait for.
const RETIRED_AT_ONCE: i64 = 500;
/// A context is used for a day after it was made, and two hosts' clocks may differ.
const CONTEXT_USE: Duration = Duration::from_hours(72);

#[derive(Serialize)]
struct Retired {
    records: i64,
    up_to: i64,
}

#[derive(Serialize)]
struct ErasedRecords {
    records: u64,
}

/// What became of deleting old records.
#[derive(Debug)]
pub(crate) enum Retirement {
    /// There may be more to delete.
    More,
    /// There is nothing to delete any more.
    Done,
    /// Nothing is deleted, because the chain does not hold.
    Broken(Fault),
}

/// Deletes some of the records that are older than `retention`, once the oldest is so by `late`, and notes where the chain now
/// begins: only what is as it was written, because nothing is left of the rest to see what it was.
pub(crate) async fn retire(
    store: &mut Store,
    key: &Key,
    retention: Duration,
    late: Duration,
) -> Result<Retirement, StoreError> {
    let Some(before) = SystemTime::now().checked_sub(retention) else {
        return Ok(Retirement::Done);
    };
    // A short retention is kept more exactly.
    let overdue = before.checked_sub(late.min(retention / 10)).map_or(0, micros);
    let before = micros(before);
    let oldest: Option<i64> = sqlx::query_scalar("SELECT time FROM record ORDER BY seq LIMIT 1")
        .fetch_optional(&mut store.connection)
        .await?;
    if oldest.is_none_or(|oldest| oldest >= overdue) {
        return Ok(Retirement::Done);
    }
    let taken = as_one(&mut store.connection, async |connection: &mut SqliteConnection| {
        take_out(connection, key, before).await
    });
    let retired = match taken.await? {
        Taken::Broken(fault) => return Ok(Retirement::Broken(fault)),
        Taken::Records(retired) => retired,
    };
    if retired.records == 0 {
        return Ok(Retirement::Done);
    }
    append_event(store, code::RETIRED, "", &retired).await?;
    Ok(if retired.records == RETIRED_AT_ONCE {
        Retirement::More
    } else {
        Retirement::Done
    })
}

/// What was taken out of the store at once.
enum Taken {
    Records(Retired),
    Broken(Fault),
}

/// Deletes the first records if they are from before this time.
async fn take_out(connection: &mut SqliteConnection, key: &Key, before: i64) -> Result<Taken, StoreError> {
    // Records are in the order in which they were written, and nearly in that of their times: those before the first that is
    // not old, which is the first that is not looked at where all are old.
    let up_to: Option<i64> = sqlx::query_scalar(
        "SELECT coalesce(min(seq) FILTER (WHERE time >= ?2) - 1, max(seq))
         FROM (SELECT seq, time FROM record ORDER BY seq LIMIT ?1)",
    )
    .bind(RETIRED_AT_ONCE)
    .bind(before)
    .fetch_one(&mut *connection)
    .await?;
    let nothing = Retired { records: 0, up_to: 0 };
    let Some(up_to) = up_to else {
        return Ok(Taken::Records(nothing));
    };
    let (up_to, hash) = match followed(connection, key, up_to).await? {
        Ok(end) => end,
        Err(fault) => return Ok(Taken::Broken(fault)),
    };
    let deleted = sqlx::query("DELETE FROM record WHERE seq <= ?")
        .bind(up_to)
        .execute(&mut *connection)
        .await?;
    let records = i64::try_from(deleted.rows_affected()).unwrap_or_default();
    if records == 0 {
        return Ok(Taken::Records(nothing));
    }
    put_mark(connection, key, mark::BEGIN, up_to, &hash).await?;
    sqlx::query("DELETE FROM context WHERE made < coalesce((SELECT time FROM record ORDER BY seq LIMIT 1), ?1) - ?2")
        .bind(before)
        .bind(i64::try_from(CONTEXT_USE.as_micros()).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await?;
    Ok(Taken::Records(Retired { records, up_to }))
}

/// Follows the chain from its beginning up to this record: its end there, or what is wrong with it or with its marks.
async fn followed(
    connection: &mut SqliteConnection,
    key: &Key,
    up_to: i64,
) -> Result<Result<(i64, Hash), Fault>, StoreError> {
    if let Some(fault) = fault_of_marks(connection, key).await? {
        return Ok(Err(fault));
    }
    let begin = read_mark(connection, key, mark::BEGIN).await?;
    let mut walk = Walk::from(key, begin.as_ref());
    loop {
        let page = walk.page(connection, up_to).await?;
        if page.is_empty() {
            return Ok(Ok((walk.seq, walk.hash)));
        }
        for row in &page {
            match walk.step(connection, row).await? {
                // Older versions erased without the key; what is left of the record is as it was written.
                None | Some(Fault::Erasure { .. }) => {}
                Some(fault) => return Ok(Err(fault)),
            }
        }
    }
}

/// Deletes records that are older than `retention` from a store, beside a running service or without one. How many.
///
/// # Errors
/// [`StoreError`]
pub async fn retain(path: &Path, retention: Duration) -> Result<u64, StoreError> {
    let key = Key::read(path)?;
    let mut store = Store::open(path, &key, true).await?;
    let before = count(&mut store.connection).await?;
    loop {
        match retire(&mut store, &key, retention, Duration::ZERO).await? {
            Retirement::More => {}
            Retirement::Done => break,
            Retirement::Broken(_) => return Err(StoreError::Broken),
        }
    }
    // Each round has a record of its own.
    Ok(before.saturating_sub(count(&mut store.connection).await?))
}

async fn count(connection: &mut SqliteConnection) -> Result<u64, StoreError> {
    let records: i64 = sqlx::query_scalar("SELECT count(*) FROM record WHERE outcome <> ?")
        .bind(code::RETIRED)
        .fetch_one(connection)
        .await?;
    Ok(u64::try_from(records).unwrap_or_default())
}

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Records that were this person's, and are nobody's now.
    pub records: u64,
}

/// Erases the personal data of a person from the records of a tenant. The records stay, and the chain holds: what it
/// covers of personal data is a commitment that nothing can be read from.
///
/// # Errors
/// [`StoreError`]
pub async fn erase(path: &Path, tenant: &str, user: &str) -> Result<Erased, StoreError> {
    let key = Key::read(path)?;
    let mut store = Store::open(path, &key, true).await?;
    // What is erased must not be left in free pages.
    sqlx::raw_sql("PRAGMA secure_delete = ON")
        .execute(&mut store.connection)
        .await?;
    let subject = subject(&key, tenant, user);
    let mut records = 0;
    loop {
        let mut transaction = store.connection.begin_with("BEGIN IMMEDIATE").await?;
        let found = sqlx::query("SELECT seq, salt, personal FROM record WHERE subject = ? LIMIT 500")
            .bind(subject.as_slice())
            .fetch_all(&mut *transaction)
            .await?;
        if found.is_empty() {
            break;
        }
        for row in &found {
            let (salt, personal): (Vec<u8>, String) = (row.try_get(1)?, row.try_get(2)?);
            let commitment = chain::commitment(&salt, &subject, &personal);
            erase_record(&mut transaction, &key, row.try_get(0)?, &commitment).await?;
            records += 1;
        }
        transaction.commit().await?;
    }
    append_event(&mut store, code::ERASED, tenant, &ErasedRecords { records }).await?;
    // Nor in the log that it was written to.
    sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut store.connection)
        .await?;
    store.connection.close().await?;
    Ok(Erased { records })
}

async fn erase_record(
    connection: &mut SqliteConnection,
    key: &Key,
    seq: i64,
    commitment: &Hash,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE record SET subject = ?, salt = ?, personal = '', erased = ? WHERE seq = ?")
        .bind(NOBODY.as_slice())
        .bind(Salt::default().as_slice())
        .bind(chain::erasure(key, seq, commitment))
        .bind(seq)
        .execute(connection)
        .await?;
    Ok(())
}

/// Appends a record of the store itself.
pub(crate) async fn append_event(
    store: &mut Store,
    outcome: &'static str,
    tenant: &str,
    detail: &impl Serialize,
) -> Result<(), StoreError> {
    let context = Context {
        tenant: tenant.into(),
        ..Context::default()
    };
    let mut rows = Rows::default();
    rows.add_event(outcome, SystemTime::now(), (&context, &Contexts::default()), detail)?;
    store.append(&rows).await?;
    Ok(())
}
