//! SQLite: a file in the tenant's directory.

use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use claimsmith_runtime::interface::sql::{Error, Value};
use futures::TryStreamExt as _;
use libsqlite3_sys::{SQLITE_LIMIT_ATTACHED, SQLITE_LIMIT_LENGTH, sqlite3_limit};
use sqlx::error::DatabaseError;
use sqlx::sqlite::{LockedSqliteHandle, SqliteArguments, SqliteConnection, SqlitePool, SqliteRow, SqliteStatement};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _, ValueRef as _,
};
use tokio::time::Instant;

use super::Call;
use super::failure::{Failure, Stop, Wrong, describe, refused};
use super::lease::Lease;
use super::rows::{Collected, too_many_bytes};

/// Steps of its virtual machine between two looks whether a statement should end: some microseconds.
const STEPS: i32 = 1_000;
/// The schema has to be readable, whatever a result may have.
const LEAST_LENGTH: usize = 1 << 20;

/// A pool of connections, each with a thread.
#[derive(Debug)]
pub(super) struct Sqlite {
    pub(super) pool: SqlitePool,
    pub(super) is_read_only: bool,
    /// Whether a connection is used for one statement alone: what any statement may leave in it, pragmas and temporary
    /// tables, cannot be undone otherwise.
    pub(super) is_opened_anew: bool,
}

impl Sqlite {
    /// Opens the file, or finds it opened.
    pub(super) async fn reach(&self) -> Result<(), sqlx::Error> {
        Lease::of(self.pool.acquire().await?).keep();
        Ok(())
    }

    /// Prepares a statement; whether it gives rows.
    pub(super) async fn prepare(&self, text: Arc<str>) -> Result<bool, Wrong> {
        let connection = self.pool.acquire().await.map_err(Wrong::Database)?;
        let mut lease = Lease::of(connection);
        let prepared = (*lease).prepare(AssertSqlSafe(text).into_sql_str()).await;
        lease.keep();
        match prepared {
            Ok(statement) => Ok(!statement.columns().is_empty()),
            Err(error) => Err(Wrong::Statement(format!(
                "the database refuses it: {}",
                describe(&error)
            ))),
        }
    }

    /// Executes a statement in a transaction of its own.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Collected, Failure> {
        let failed = |error: sqlx::Error| failure(&error, call);
        let mut stale = 0;
        loop {
            let mut lease = Lease::of(self.pool.acquire().await.map_err(failed)?);
            let waiting = Waiting::default();
            let (until, goes_on) = (call.until, Arc::clone(&waiting.0));
            lease
                .lock_handle()
                .await
                .map_err(failed)?
                .set_progress_handler(STEPS, move || goes_on.load(Ordering::Relaxed) && Instant::now() < until);
            let ended = self.transact(&mut lease, call).await;
            match &ended {
                // The statement before this one has ended the transaction by itself, which the driver does not know.
                Err(Stop::Begin(sqlx::Error::InvalidSavePointStatement))
                    if stale < self.pool.options().get_max_connections() =>
                {
                    stale += 1;
                    continue;
                }
                Ok(_) | Err(Stop::Before(_) | Stop::Driver(sqlx::Error::Database(_))) if !self.is_opened_anew => {
                    lease.keep();
                }
                _ => {}
            }
            return ended.map_err(|stop| match stop {
                Stop::Before(error) | Stop::During(error) => Failure::of_call(error),
                Stop::Begin(error) | Stop::Driver(error) => failure(&error, call),
            });
        }
    }

    async fn transact(&self, connection: &mut SqliteConnection, call: &Call<'_>) -> Result<Collected, Stop> {
        let begin = if self.is_read_only { "BEGIN" } else { "BEGIN IMMEDIATE" };
        let mut transaction = connection.begin_with(begin).await.map_err(Stop::Begin)?;
        let collected = execute(&mut transaction, call).await?;
        if !self.is_read_only {
            transaction.commit().await?;
        }
        Ok(collected)
    }
}

/// Somebody waits for the statement until this is dropped.
struct Waiting(Arc<AtomicBool>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// No other file can be attached, as `VACUUM INTO` does too, and no value be larger than a result.
#[expect(unsafe_code, reason = "the driver has no function for it")]
pub(super) fn confine(handle: &mut LockedSqliteHandle<'_>, max_bytes: usize) {
    let length = c_int::try_from(max_bytes.max(LEAST_LENGTH)).unwrap_or(c_int::MAX);
    let connection = handle.as_raw_handle().as_ptr();
    // SAFETY: the connection is open as long as its handle is locked, and its thread does not use it meanwhile.
    unsafe {
        sqlite3_limit(connection, SQLITE_LIMIT_ATTACHED, 0);
        sqlite3_limit(connection, SQLITE_LIMIT_LENGTH, length);
    }
}

async fn execute(connection: &mut SqliteConnection, call: &Call<'_>) -> Result<Collected, Stop> {
    let text = AssertSqlSafe(Arc::clone(&call.text)).into_sql_str();
    let statement = (&mut *connection).prepare(text).await?;
    let arguments = arguments(&statement, call.parameters).map_err(Stop::Before)?;
    let mut collected = Collected::new(statement.columns().iter().map(sqlx::Column::name));
    let query = statement.query_with(arguments);
    let mut results = (&mut *connection).fetch_many(query);
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Left(done) => collected.affected += done.rows_affected(),
            Either::Right(row) if call.wants_rows => {
                let row = values(&row).map_err(Stop::During)?;
                collected.push(row, &call.limits).map_err(Stop::During)?;
            }
            Either::Right(_) => {}
        }
    }
    Ok(collected)
}

fn arguments(statement: &SqliteStatement, values: &[Value]) -> Result<SqliteArguments, Error> {
    let takes = match statement.parameters() {
        Some(Either::Right(takes)) => takes,
        _ => 0,
    };
    if takes != values.len() {
        let given = values.len();
        return Err(Error::Invalid(format!(
            "the statement takes {takes} parameters: {given} are given"
        )));
    }
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<String>),
            Value::Boolean(value) => arguments.add(*value),
            Value::Integer(value) => arguments.add(*value),
            Value::Real(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.clone()),
            Value::Bytes(value) => arguments.add(value.clone()),
        };
        added.map_err(|error| Error::Invalid(error.to_string()))?;
    }
    Ok(arguments)
}

/// A row's values, each of the type that it has: columns have none.
fn values(row: &SqliteRow) -> Result<Vec<Value>, Error> {
    (0..row.len())
        .map(|index| value(row, index).map_err(|error| Error::Invalid(describe(&error))))
        .collect()
}

fn value(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let is_boolean = row.column(index).type_info().name() == "BOOLEAN";
    match raw.type_info().name() {
        "INTEGER" => row.try_get_unchecked(index).map(|value: i64| match value {
            0 | 1 if is_boolean => Value::Boolean(value == 1),
            value => Value::Integer(value),
        }),
        "REAL" => row.try_get_unchecked(index).map(Value::Real),
        "TEXT" => row.try_get_unchecked(index).map(Value::Text),
        _ => row.try_get_unchecked(index).map(Value::Bytes),
    }
}

/// What an error is (<https://www.sqlite.org/rescode.html>).
fn failure(error: &sqlx::Error, call: &Call<'_>) -> Failure {
    Failure::of(error, |error| match primary_code(error) {
        // SQLITE_BUSY, SQLITE_LOCKED
        Some(5 | 6) => Some(Error::Unavailable("others had locked it".to_owned())),
        // SQLITE_READONLY
        Some(8) => Some(Error::NotAllowed(
            "the upstream is read-only; see its `access`".to_owned(),
        )),
        // SQLITE_INTERRUPT
        Some(9) => Some(Error::DeadlineExceeded),
        // SQLITE_TOOBIG
        Some(18) => Some(too_many_bytes(&call.limits)),
        // SQLITE_NOMEM, SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_NOTADB
        Some(7 | 10 | 11 | 13 | 14 | 26) => None,
        _ => Some(refused(error)),
    })
}

/// The code without what says more of it.
fn primary_code(error: &dyn DatabaseError) -> Option<u32> {
    let extended: u32 = error.code()?.parse().ok()?;
    Some(extended & 0xff)
}
