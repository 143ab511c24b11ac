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
use crate::record::Context;
use crate::store::{Store, StoreError, put_mark};

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

/// Deletes some of the records that are older than `retention`, once the oldest is so by `late`, and notes where the chain now begins. Whether there may be
/// more.
pub(crate) async fn retire(
    store: &mut Store,
    key: &Key,
    retention: Duration,
    late: Duration,
) -> Result<bool, StoreError> {
    let Some(before) = SystemTime::now().checked_sub(retention) else {
        return Ok(false);
    };
    // A short retention is kept more exactly.
    let overdue = before.checked_sub(late.min(retention / 10)).map_or(0, micros);
    let before = micros(before);
    let oldest: Option<i64> = sqlx::query_scalar("SELECT time FROM record ORDER BY seq LIMIT 1")
        .fetch_optional(&mut store.connection)
        .await?;
    if oldest.is_none_or(|oldest| oldest >= overdue) {
        return Ok(false);
    }
    // Records are in the order in which they were written, and nearly in that of their times.
    let oldest = sqlx::query(
        "SELECT max(seq), count(*) FROM (SELECT seq, time FROM record ORDER BY seq LIMIT ?1) WHERE time < ?2
         AND NOT EXISTS (SELECT 1 FROM (SELECT time FROM record ORDER BY seq LIMIT ?1) WHERE time >= ?2 LIMIT 1)",
    );
    let all_old = oldest
        .bind(RETIRED_AT_ONCE)
        .bind(before)
        .fetch_one(&mut store.connection)
        .await?;
    let mut up_to: Option<i64> = all_old.try_get(0)?;
    if up_to.is_none() {
        // Not all of them are old: those before the first that is not.
        let first_kept = sqlx::query_scalar::<_, Option<i64>>(
            "SELECT min(seq) - 1 FROM (SELECT seq, time FROM record ORDER BY seq LIMIT ?1) WHERE time >= ?2",
        );
        up_to = first_kept
            .bind(RETIRED_AT_ONCE)
            .bind(before)
            .fetch_one(&mut store.connection)
            .await?;
    }
    let Some(up_to) = up_to else { return Ok(false) };
    let hash: Option<Vec<u8>> = sqlx::query_scalar("SELECT hash FROM record WHERE seq = ?")
        .bind(up_to)
        .fetch_optional(&mut store.connection)
        .await?;
    let Some(hash) = hash else { return Ok(false) };
    let mut transaction = store.connection.begin_with("BEGIN IMMEDIATE").await?;
    put_mark(&mut transaction, key, mark::BEGIN, up_to, &chain::to_hash(&hash)).await?;
    let deleted = sqlx::query("DELETE FROM record WHERE seq <= ?")
        .bind(up_to)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("DELETE FROM context WHERE made < coalesce((SELECT time FROM record ORDER BY seq LIMIT 1), ?1) - ?2")
        .bind(before)
        .bind(i64::try_from(CONTEXT_USE.as_micros()).unwrap_or(i64::MAX))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let records = i64::try_from(deleted.rows_affected()).unwrap_or_default();
    append_event(store, code::RETIRED, "", &Retired { records, up_to }).await?;
    Ok(records == RETIRED_AT_ONCE)
}

/// Deletes records that are older than `retention` from a store, beside a running service or without one. How many.
///
/// # Errors
/// [`StoreError`]
pub async fn retain(path: &Path, retention: Duration) -> Result<u64, StoreError> {
    let key = Key::read(path)?;
    let mut store = Store::open(path, &key, true).await?;
    let before = count(&mut store.connection).await?;
    while retire(&mut store, &key, retention, Duration::ZERO).await? {}
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
            erase_record(&mut transaction, row.try_get(0)?, &commitment).await?;
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

async fn erase_record(connection: &mut SqliteConnection, seq: i64, commitment: &Hash) -> Result<(), StoreError> {
    sqlx::query("UPDATE record SET subject = ?, salt = ?, personal = '', erased = ? WHERE seq = ?")
        .bind(NOBODY.as_slice())
        .bind(Salt::default().as_slice())
        .bind(commitment.as_slice())
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
