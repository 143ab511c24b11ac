//! PostgreSQL.

use std::sync::Arc;

use claimsmith_runtime::interface::sql::Error;
use futures::TryStreamExt as _;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor as _, SqlSafeStr as _, Statement as _};
use tokio::time::Instant;

use super::failure::{Failure, Stop, Wrong, describe, describe_refusal, refused};
use super::lease::Lease;
use super::relay::Relay;
use super::rows::{Collected, too_many_bytes};
use super::{Call, types};

/// A pool of connections.
#[derive(Debug)]
pub(super) struct Postgres {
    pub(super) pool: PgPool,
    pub(super) relay: Relay,
    pub(super) is_read_only: bool,
}

impl Postgres {
    /// Makes a connection, or finds one.
    pub(super) async fn reach(&self) -> Result<(), String> {
        let connection = self.pool.acquire().await.map_err(|error| describe(&error))?;
        Lease::of(connection).keep();
        Ok(())
    }

    /// Prepares a statement; whether it gives rows.
    pub(super) async fn prepare(&self, text: Arc<str>) -> Result<bool, Wrong> {
        let acquired = self.pool.acquire().await;
        let connection = acquired.map_err(|error| Wrong::Database(describe(&error)))?;
        let mut lease = Lease::of(connection);
        let prepared = (*lease).prepare(AssertSqlSafe(text).into_sql_str()).await;
        let statement = match prepared {
            Ok(statement) => statement,
            Err(sqlx::Error::Database(error)) if !is_gone(error.as_ref()) => {
                lease.keep();
                let why = describe_refusal(error.as_ref());
                return Err(Wrong::Statement(format!("the database refuses it: {why}")));
            }
            Err(error) => return Err(Wrong::Database(describe(&error))),
        };
        lease.keep();
        types::check(&statement).map_err(Wrong::Statement)?;
        Ok(!statement.columns().is_empty())
    }

    /// Executes a statement in a transaction of its own.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Collected, Failure> {
        let cut = self.relay.cut();
        let mut stale = 0;
        loop {
            let connection = self.pool.acquire().await.map_err(|error| failure(&error))?;
            let mut lease = Lease::of(connection);
            let ended = self.transact(&mut lease, call).await;
            match &ended {
                Err(stop) if stale < self.pool.options().get_max_connections() && is_stale(stop) => {
                    stale += 1;
                    continue;
                }
                // What a plugin's own statement leaves in its session ends with it. Undoing it would take the driver's
                // prepared statements along, and among them it could have left some of their names.
                _ if !call.is_named => {}
                Ok(_) | Err(Stop::Before(_)) => lease.keep(),
                Err(Stop::Driver(sqlx::Error::Database(error))) if !is_gone(error.as_ref()) => lease.keep(),
                Err(_) => {}
            }
            return ended.map_err(|stop| match stop {
                Stop::Before(error) | Stop::During(error) => Failure::of_call(error),
                // One row was so large that it was not even read.
                Stop::Driver(_) if self.relay.cut() != cut => Failure::of_call(too_many_bytes(&call.limits)),
                Stop::Begin(error) | Stop::Driver(error) => failure(&error),
            });
        }
    }

    async fn transact(&self, connection: &mut PgConnection, call: &Call<'_>) -> Result<Collected, Stop> {
        let begun = connection.begin_with(AssertSqlSafe(self.begin(call.until))).await;
        let mut transaction = begun.map_err(Stop::Begin)?;
        let collected = execute(&mut transaction, call).await?;
        if !self.is_read_only {
            transaction.commit().await?;
        }
        // Otherwise it is rolled back while nobody waits for it.
        Ok(collected)
    }

    /// One request for the transaction and for what is to be so in it.
    fn begin(&self, until: Instant) -> String {
        let mode = if self.is_read_only { "READ ONLY" } else { "READ WRITE" };
        let left = until.saturating_duration_since(Instant::now()).as_millis().max(1);
        // The server cancels the statement itself, whether it learns that nobody waits for it or not. What it warns of could
        // hold values, and would be in the log.
        format!("BEGIN {mode}; SET LOCAL statement_timeout = {left}; SET LOCAL client_min_messages = error")
    }
}

async fn execute(connection: &mut PgConnection, call: &Call<'_>) -> Result<Collected, Stop> {
    let text = AssertSqlSafe(Arc::clone(&call.text)).into_sql_str();
    let statement = (&mut *connection).prepare(text).await?;
    let arguments = types::arguments(&statement, call.parameters).map_err(Stop::Before)?;
    let mut collected = Collected::new(statement.columns().iter().map(sqlx::Column::name));
    let query = statement.query_with(arguments);
    let mut results = (&mut *connection).fetch_many(query);
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Left(done) => collected.affected += done.rows_affected(),
            Either::Right(row) if call.wants_rows => {
                let row = types::row(&row).map_err(Stop::During)?;
                collected.push(row, &call.limits).map_err(Stop::During)?;
            }
            Either::Right(_) => {}
        }
    }
    Ok(collected)
}

/// Whether a connection that has been idle turns out to be of no use, or what was prepared on it. Nothing has been done then,
/// so it can be done on another one.
fn is_stale(stop: &Stop) -> bool {
    match stop {
        // A server that was restarted has closed all connections.
        Stop::Begin(sqlx::Error::Io(_)) => true,
        Stop::Begin(sqlx::Error::Database(error)) => is_gone(error.as_ref()),
        // feature_not_supported, "cached plan must not change result type": a table was changed.
        // invalid_sql_statement_name: it is not prepared any more.
        Stop::Driver(sqlx::Error::Database(error)) => {
            matches!(error.code().as_deref(), Some("0A000" | "26000"))
        }
        _ => false,
    }
}

/// Whether an error ends its connection, or says that there is none to be had.
fn is_gone(error: &dyn DatabaseError) -> bool {
    let code = error.code();
    let code = code.as_deref().unwrap_or_default();
    // Connection exception; invalid authorization; invalid catalog name; operator intervention, of which cancelling a
    // query is no such; system error; internal error.
    ["08", "28", "3D", "57", "58", "XX"]
        .iter()
        .any(|class| code.starts_with(class))
        && code != QUERY_CANCELED
}

const QUERY_CANCELED: &str = "57014";

fn failure(error: &sqlx::Error) -> Failure {
    Failure::of(error, |error| {
        let code = error.code();
        match code.as_deref().unwrap_or_default() {
            QUERY_CANCELED => Some(Error::DeadlineExceeded),
            "25006" => Some(Error::NotAllowed(
                "the upstream is read-only; see its `access`".to_owned(),
            )),
            // serialization_failure, deadlock_detected, lock_not_available
            "40001" | "40P01" | "55P03" => Some(Error::Unavailable("others had locked what it concerns".to_owned())),
            // insufficient_resources, too many connections among them
            code if code.starts_with("53") || is_gone(error) => None,
            _ => Some(refused(error)),
        }
    })
}
