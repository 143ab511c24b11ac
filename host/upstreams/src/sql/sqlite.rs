//! SQLite: a file in the tenant's directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use claimsmith_runtime::interface::sql::{Error, Value};
use futures::TryStreamExt as _;
use sqlx::error::DatabaseError;
use sqlx::sqlite::{
    LockedSqliteHandle, Sqlite as Driver, SqliteArguments, SqliteConnection, SqlitePool, SqliteRow, SqliteStatement,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, Column as _, Connection as _, Either, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _, TypeInfo as _, ValueRef as _,
};
use tokio::time::Instant;

use super::Call;
use super::confine::is_open;
use super::failure::{Failure, Stop, Wrong, describe, refused};
use super::lease::Lease;
use super::rows::{Collected, too_many_bytes};

/// Steps of its virtual machine between two looks whether a statement should end: some microseconds.
const STEPS: i32 = 1_000;

/// What [`confine`](super::confine::confine) refuses, and what it is told as.
const SQLITE_AUTH: u32 = 23;
const ITS_FILE_ALONE: &str = "a statement reads and writes its file and does nothing else: no PRAGMA, ATTACH or DETACH";

/// A pool of connections, each with a thread.
#[derive(Debug)]
pub(super) struct Sqlite {
    pub(super) pool: SqlitePool,
    /// The file, which was checked and has no links in it.
    pub(super) path: PathBuf,
    pub(super) is_read_only: bool,
}

impl Sqlite {
    /// Opens the file, or finds it opened.
    pub(super) async fn reach(&self) -> Result<(), sqlx::Error> {
        self.acquire(|_| ()).await?.keep();
        Ok(())
    }

    /// A connection to the file that was checked, on which something is done first. The pool opens it by its name, which may
    /// be another file's by now.
    async fn acquire(&self, first: impl FnOnce(&mut LockedSqliteHandle<'_>)) -> Result<Lease<Driver>, sqlx::Error> {
        let mut lease = Lease::of(self.pool.acquire().await?);
        let mut handle = lease.lock_handle().await?;
        if !is_open(&mut handle, &self.path) {
            let why = "its file was replaced by a link, or is below one: expected a file in the tenant's directory";
            return Err(sqlx::Error::Configuration(why.into()));
        }
        first(&mut handle);
        drop(handle);
        Ok(lease)
    }

    /// Prepares a statement; whether it gives rows.
    pub(super) async fn prepare(&self, text: Arc<str>) -> Result<bool, Wrong> {
        let mut lease = self.acquire(|_| ()).await.map_err(Wrong::Database)?;
        let prepared = (*lease).prepare(AssertSqlSafe(text).into_sql_str()).await;
        lease.keep();
        match prepared {
            Ok(statement) => Ok(!statement.columns().is_empty()),
            Err(sqlx::Error::Database(error)) if primary_code(error.as_ref()) == Some(SQLITE_AUTH) => {
                Err(Wrong::Statement(ITS_FILE_ALONE.to_owned()))
            }
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
            let waiting = Waiting::default();
            let (until, goes_on) = (call.until, Arc::clone(&waiting.0));
            let is_wanted = move || goes_on.load(Ordering::Relaxed) && Instant::now() < until;
            let acquired = self.acquire(|handle| handle.set_progress_handler(STEPS, is_wanted));
            let mut lease = acquired.await.map_err(failed)?;
            let ended = self.transact(&mut lease, call).await;
            match &ended {
                // The statement before this one has ended the transaction by itself, which the driver does not know.
                Err(Stop::Begin(sqlx::Error::InvalidSavePointStatement))
                    if stale < self.pool.options().get_max_connections() =>
                {
                    stale += 1;
                    continue;
                }
                Ok(_) | Err(Stop::Before(_) | Stop::Driver(sqlx::Error::Database(_))) if call.is_named => {
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
        Some(SQLITE_AUTH) => Some(Error::NotAllowed(ITS_FILE_ALONE.to_owned())),
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
