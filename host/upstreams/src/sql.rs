//! Databases: the capability `claimsmith:plugin/sql`.
//!
//! A [`Database`] has the connections and is shared by all bindings of a tenant; what one binding may ask is in its
//! [`GrantedDatabase`].

mod config;
mod confine;
mod failure;
mod lease;
mod load;
mod messages;
mod moments;
mod postgres;
mod relay;
mod rows;
mod sqlite;
mod types;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use claimsmith_runtime::interface::sql::{Error, Request, Rows, Statement, Value};
use claimsmith_runtime::{Breaker, BreakerPermit, CallContext, CapabilityFuture, SqlUpstream};
use futures::FutureExt as _;
use tokio::time::{Instant, timeout, timeout_at};

pub use self::config::{Access, SqlAuthentication, SqlConfig};
use self::failure::{Failure, Wrong};
use self::postgres::Postgres;
use self::rows::Collected;
use self::sqlite::Sqlite;
use crate::problem::{Problem, Problems};

/// A database that did not answer for as long is to blame, whatever time a plugin gives it.
const BLAMED_AFTER: Duration = Duration::from_millis(400);
/// What a database may take while a tenant is loaded: to be connected to and to prepare all statements, together.
const CHECKED_WITHIN: Duration = Duration::from_secs(2);
/// Statements that a binding names, of one database, and bytes of one.
const MAX_STATEMENTS: usize = 64;
const MAX_STATEMENT_BYTES: usize = 16 << 10;

/// A database that has been checked, with its connections.
pub struct Database {
    /// The tenant's and its own name, for the log.
    tenant: String,
    name: String,
    engine: Engine,
    access: Access,
    any_statement: bool,
    breaker: Arc<Breaker>,
    limits: Limits,
    /// Whether it did not answer when the tenant was loaded.
    is_silent: AtomicBool,
    /// Microseconds that it has taken while the tenant was loaded.
    asked_for: AtomicU64,
}

#[derive(Debug)]
enum Engine {
    Postgres(Postgres),
    Sqlite(Sqlite),
}

/// What one call may use.
#[derive(Clone, Copy, Debug)]
struct Limits {
    timeout: Duration,
    max_rows: usize,
    max_bytes: usize,
    max_request_bytes: usize,
}

/// What is executed, and within what.
struct Call<'c> {
    text: Arc<str>,
    /// Whether it is one of the binding's, and not a plugin's own.
    is_named: bool,
    parameters: &'c [Value],
    /// Whether rows are wanted, and not only their number.
    wants_rows: bool,
    until: Instant,
    limits: Limits,
}

impl Database {
    /// Connects, so that statements can be checked. Whether it could is in the log.
    pub async fn reach(&self) {
        let reaching = async {
            match &self.engine {
                Engine::Postgres(engine) => engine.reach().await,
                Engine::Sqlite(engine) => engine.reach().await,
            }
        };
        match self.while_loading(Box::pin(reaching)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => self.note_silent(&why),
            Err(why) => self.note_silent(why),
        }
    }

    /// What comes of asking the database within the time that is left to it while the tenant is loaded, or why nothing does.
    async fn while_loading<T>(&self, asking: Pin<Box<impl Future<Output = T>>>) -> Result<T, &'static str> {
        let began = Instant::now();
        let taken = Duration::from_micros(self.asked_for.load(Ordering::Relaxed));
        let asking = self.or_panicked(Box::pin(asking));
        let answer = timeout(CHECKED_WITHIN.saturating_sub(taken), asking).await;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.asked_for.fetch_add(took, Ordering::Relaxed);
        answer
            .map_err(|_| "it did not answer in time")?
            .map_err(|Panicked| PANICKED)
    }

    /// Leaves the database alone: statements are not checked by it.
    pub fn leave(&self) {
        self.is_silent.store(true, Ordering::Relaxed);
    }

    fn note_silent(&self, why: &str) {
        let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
        tracing::warn!(
            tenant,
            upstream,
            why,
            "database does not answer: statements are not checked"
        );
        self.is_silent.store(true, Ordering::Relaxed);
    }

    /// What is wrong with a binding's statements, each at its name. What only the database can tell is not found while it
    /// does not answer.
    pub async fn check(&self, statements: &BTreeMap<String, String>) -> Problems {
        if statements.len() > MAX_STATEMENTS {
            let message = format!(
                "expected at most {MAX_STATEMENTS} statements, found {}",
                statements.len()
            );
            return vec![Problem::at("", message)];
        }
        let mut problems = Vec::new();
        for (name, text) in statements {
            let found = if text.trim().is_empty() || text.len() > MAX_STATEMENT_BYTES {
                Some(format!("expected a statement of 1 to {MAX_STATEMENT_BYTES} bytes"))
            } else {
                self.prepare(text).await
            };
            problems.extend(found.map(|message| Problem::at(name.as_str(), message)));
        }
        problems
    }

    /// What the database has against a statement.
    async fn prepare(&self, text: &str) -> Option<String> {
        if self.is_silent.load(Ordering::Relaxed) {
            return None;
        }
        let text = text.into();
        let preparing = async {
            match &self.engine {
                Engine::Postgres(engine) => engine.prepare(text).await,
                Engine::Sqlite(engine) => engine.prepare(text).await,
            }
        };
        match self.while_loading(Box::pin(preparing)).await {
            Ok(Ok(gives_rows)) if gives_rows || self.access == Access::ReadWrite => None,
            Ok(Ok(_)) => Some(
                "it gives no rows, and the upstream is read-only: expected a query, or `access = \"read-write\"`"
                    .into(),
            ),
            Ok(Err(Wrong::Statement(message))) => Some(message),
            Ok(Err(Wrong::Database(why))) => {
                self.note_silent(&why);
                None
            }
            Err(why) => {
                self.note_silent(why);
                None
            }
        }
    }

    /// What a binding is granted that names these statements.
    pub fn grant(self: &Arc<Self>, statements: &BTreeMap<String, String>) -> GrantedDatabase {
        let statements = statements
            .iter()
            .map(|(name, text)| (name.clone(), text.as_str().into()));
        GrantedDatabase {
            database: Arc::clone(self),
            statements: statements.collect(),
        }
    }

    /// Executes a statement within the call's time, unless the database has failed too often.
    async fn call(&self, call: Call<'_>) -> Result<Collected, Error> {
        let unavailable = || Error::Unavailable("it has failed too often and is not asked for a while".to_owned());
        let permit = self.breaker.permit().ok_or_else(unavailable)?;
        let began = Instant::now();
        let running = async {
            match &self.engine {
                Engine::Postgres(engine) => engine.run(&call).await,
                Engine::Sqlite(engine) => engine.run(&call).await,
            }
        };
        let failure = match timeout_at(call.until, self.or_panicked(Box::pin(running))).await {
            Ok(Ok(Ok(collected))) => {
                permit.succeeded();
                return Ok(collected);
            }
            Ok(Ok(Err(failure))) => failure,
            Ok(Err(Panicked)) => Failure::of_upstream(PANICKED.to_owned()),
            Err(_) => Failure::of_call(Error::DeadlineExceeded),
        };
        self.settle(permit, &failure, began);
        Err(failure.error)
    }

    /// What an engine says, or that its driver panicked over what a server sent: then there is no answer, as from one that broke
    /// off, and the connection is not used again, because the unwinding has dropped its lease.
    async fn or_panicked<T>(&self, asking: Pin<Box<impl Future<Output = T>>>) -> Result<T, Panicked> {
        let ended = AssertUnwindSafe(asking).catch_unwind().await;
        ended.map_err(|panic| {
            let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
            let panic = message_of(panic.as_ref());
            tracing::error!(
                tenant,
                upstream,
                panic,
                "a defect of the host: a database's driver panicked"
            );
            Panicked
        })
    }

    /// Tells the circuit breaker and the operator of a failure.
    fn settle(&self, permit: BreakerPermit<'_>, failure: &Failure, began: Instant) {
        let blamed_after = BLAMED_AFTER.min(self.limits.timeout);
        let is_late = failure.error == Error::DeadlineExceeded;
        if failure.of_upstream || (is_late && began.elapsed() >= blamed_after) {
            permit.failed();
        } else if !is_late {
            permit.succeeded();
        }
        if let Some(cause) = &failure.cause {
            let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
            tracing::info!(tenant, upstream, cause, "database failed");
        }
    }
}

/// An engine's driver panicked, which has been logged.
struct Panicked;

const PANICKED: &str = "the driver panicked over what it sent";

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
    message.unwrap_or("no message")
}

/// A database with the statements that one binding may execute.
#[derive(Debug)]
pub struct GrantedDatabase {
    database: Arc<Database>,
    statements: BTreeMap<String, Arc<str>>,
}

impl SqlUpstream for GrantedDatabase {
    fn query(&self, request: Request, context: CallContext) -> CapabilityFuture<'_, Rows, Error> {
        Box::pin(async move { Ok(self.call(&request, context, true).await?.rows) })
    }

    fn execute(&self, request: Request, context: CallContext) -> CapabilityFuture<'_, u64, Error> {
        Box::pin(async move {
            if self.database.access == Access::ReadOnly {
                let why = format!("upstream `{}` is read-only; see its `access`", self.database.name);
                return Err(Error::NotAllowed(why));
            }
            Ok(self.call(&request, context, false).await?.affected)
        })
    }
}

impl GrantedDatabase {
    async fn call(&self, request: &Request, context: CallContext, wants_rows: bool) -> Result<Collected, Error> {
        let limits = self.database.limits;
        let text = self.text(&request.statement)?;
        let bytes: usize = request.parameters.iter().map(rows::size).sum();
        if bytes > limits.max_request_bytes {
            let most = limits.max_request_bytes;
            return Err(Error::TooLarge(format!(
                "the parameters have {bytes} bytes: expected at most {most}"
            )));
        }
        let call = Call {
            text,
            is_named: matches!(request.statement, Statement::Named(_)),
            parameters: &request.parameters,
            wants_rows,
            until: context.until.min(Instant::now() + limits.timeout),
            limits,
        };
        self.database.call(call).await
    }

    /// The text of a statement that the binding may execute.
    fn text(&self, statement: &Statement) -> Result<Arc<str>, Error> {
        let database = &self.database;
        match statement {
            Statement::Named(name) => {
                let why = || {
                    Error::NotAllowed(format!(
                        "the binding's `statements` name no such statement of `{}`",
                        database.name
                    ))
                };
                self.statements.get(name).cloned().ok_or_else(why)
            }
            Statement::Text(_) if !database.any_statement => {
                let why = format!(
                    "upstream `{}` takes only statements that the binding names",
                    database.name
                );
                Err(Error::NotAllowed(why))
            }
            Statement::Text(text) if text.len() > MAX_STATEMENT_BYTES => {
                let why = format!(
                    "the statement has {} bytes: expected at most {MAX_STATEMENT_BYTES}",
                    text.len()
                );
                Err(Error::TooLarge(why))
            }
            Statement::Text(text) => Ok(text.as_str().into()),
        }
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Database")
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
