//! SQLite: a file in the tenant's directory, which is read.
//!
//! Statements run in this process and no limit of SQLite's ends each of them in time. Each is executed on a thread of its
//! own, on a connection of its own, and the thread has the places that are counted, until it is done: what nobody waits for
//! any more still counts.

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

use claimsmith_runtime::interface::sql::{Error, Refusal, Value};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::types::{Null, ValueRef};
use rusqlite::{Batch, Connection, Row, Statement};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::confine::{check, open};
use super::failure::{Failure, Wrong};
use super::rows::{Collected, too_many_bytes};
use super::{CHECKED_WITHIN, Call, Limits};

/// Steps of its virtual machine between two looks whether a statement should end: some microseconds, if they are short.
const STEPS: i32 = 100;
/// What statements may have for sorting and the like, those that run at once together.
const MOST_MEMORY: i64 = 64 << 20;
/// SQLite's result codes (<https://www.sqlite.org/rescode.html>), without what says more of them.
const NOMEM: i32 = 7;
const READONLY: i32 = 8;
const INTERRUPT: i32 = 9;
const TOOBIG: i32 = 18;
const AUTH: i32 = 23;
/// Those that tell of the file: `IOERR`, `CORRUPT`, `CANTOPEN`, `NOTADB`.
const OF_THE_FILE: [i32; 4] = [10, 11, 14, 26];
/// `CANTOPEN_SYMLINK`.
const LINK: i32 = 1550;
/// What is refused before or while it is prepared is told as this.
const READS_ALONE: &str = "a statement reads its file and does nothing else: no writing, no PRAGMA, ATTACH or DETACH";

/// Statements of all tenants that run at once: few beside the cores, which are there to answer callouts.
static PLACES: LazyLock<Arc<Semaphore>> = LazyLock::new(|| {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Arc::new(Semaphore::new((cores / 2).max(1)))
});

/// A file.
#[derive(Debug)]
pub(super) struct Sqlite {
    /// The file, which was checked and has no links in it.
    pub(super) path: PathBuf,
    /// Calls of it at once.
    pub(super) places: Arc<Semaphore>,
    pub(super) max_bytes: usize,
}

/// Why there is nothing.
enum Trouble {
    /// SQLite says so.
    Sqlite(rusqlite::Error),
    /// What tells of the call alone.
    Call(Error),
    /// What tells of the file or the host.
    Upstream(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl Sqlite {
    /// Opens the file.
    pub(super) async fn reach(&self) -> Result<(), String> {
        let until = Instant::now() + CHECKED_WITHIN;
        let reached = self.with_connection(until, |_| Ok(())).await;
        reached.map_err(Trouble::describe)
    }

    /// Prepares a statement; whether it gives rows.
    pub(super) async fn prepare(&self, text: Arc<str>) -> Result<bool, Wrong> {
        let until = Instant::now() + CHECKED_WITHIN;
        let prepare = move |connection: &Connection| Ok(only_statement(connection, &text)?.column_count() > 0);
        self.with_connection(until, prepare)
            .await
            .map_err(Trouble::while_loading)
    }

    /// Executes a statement.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Collected, Failure> {
        let (text, parameters, limits) = (Arc::clone(&call.text), call.parameters.to_vec(), call.limits);
        let query = move |connection: &Connection| query(connection, &text, &parameters, &limits);
        let collected = self.with_connection(call.until, query).await;
        collected.map_err(|trouble| trouble.of_call(&call.limits))
    }

    /// Does something with a connection on a thread of its own, in which it is interrupted when the time is over or nobody
    /// waits for it any more.
    async fn with_connection<T: Send + 'static>(
        &self,
        until: Instant,
        work: impl FnOnce(&Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Trouble> {
        let places = [place(&self.places).await?, place(&PLACES).await?];
        let waiting = Waiting::default();
        let watch = Watch {
            until,
            is_waited_for: Arc::clone(&waiting.0),
            memory: memory_used(),
            has_too_much: Arc::default(),
        };
        let (path, max_bytes) = (self.path.clone(), self.max_bytes);
        let (sender, receiver) = oneshot::channel();
        let run = move || {
            give_way();
            let has_too_much = Arc::clone(&watch.has_too_much);
            let result = check(&path).map_err(Trouble::Upstream).and_then(|()| {
                let connection = open(&path, max_bytes)?;
                connection.progress_handler(STEPS, Some(move || watch.is_over()))?;
                work(&connection)
            });
            let result = match result {
                Err(_) if has_too_much.load(Ordering::Relaxed) => Err(Trouble::Call(too_much_memory())),
                result => result,
            };
            drop(places);
            // Perhaps nobody waits for it any more.
            let _unread = sender.send(result);
        };
        let started = thread::Builder::new().name("sqlite".to_owned()).spawn(run);
        let thread = started.map_err(|error| Trouble::Upstream(format!("a thread cannot be started: {error}")))?;
        match receiver.await {
            Ok(result) => result,
            // It has ended without a result.
            Err(_) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                Ok(()) => Err(Trouble::Upstream("it was not read".to_owned())),
            },
        }
    }
}

async fn place(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Trouble> {
    let place = Arc::clone(places).acquire_owned().await;
    place.map_err(|error| Trouble::Upstream(error.to_string()))
}

/// Whoever answers callouts goes first, also when a statement cannot be interrupted.
fn give_way() {
    // Elsewhere the whole process would.
    #[cfg(target_os = "linux")]
    let _already_lower = rustix::process::nice(5).is_err();
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

/// What ends a statement.
struct Watch {
    until: Instant,
    is_waited_for: Arc<AtomicBool>,
    /// What SQLite had of the process's memory before.
    memory: i64,
    has_too_much: Arc<AtomicBool>,
}

impl Watch {
    fn is_over(&self) -> bool {
        if memory_used() - self.memory > MOST_MEMORY {
            self.has_too_much.store(true, Ordering::Relaxed);
            return true;
        }
        !self.is_waited_for.load(Ordering::Relaxed) || Instant::now() >= self.until
    }
}

/// Bytes that SQLite has, for all statements and the audit's store together, which has little.
#[expect(unsafe_code, reason = "rusqlite has no function for it")]
fn memory_used() -> i64 {
    // SAFETY: it takes nothing, and may be called at any time on any thread.
    unsafe { rusqlite::ffi::sqlite3_memory_used() }
}

fn too_much_memory() -> Error {
    Error::TooLarge(format!("the statement needs more than {MOST_MEMORY} bytes of memory"))
}

/// The statement that a text consists of.
fn only_statement<'c>(connection: &'c Connection, text: &str) -> Result<Statement<'c>, Trouble> {
    let not_one = || {
        let message = "expected one statement".to_owned();
        Trouble::Call(Error::Failed(Refusal { code: None, message }))
    };
    let mut batch = Batch::new(connection, text);
    let statement = batch.next()?.ok_or_else(not_one)?;
    if !statement.readonly() {
        return Err(Trouble::Call(Error::NotAllowed(READS_ALONE.to_owned())));
    }
    match batch.next()? {
        None => Ok(statement),
        Some(_) => Err(not_one()),
    }
}

fn query(connection: &Connection, text: &str, parameters: &[Value], limits: &Limits) -> Result<Collected, Trouble> {
    let mut statement = only_statement(connection, text)?;
    bind(&mut statement, parameters)?;
    let are_boolean: Vec<_> = statement
        .columns()
        .iter()
        .map(|column| is_boolean(column.decl_type()))
        .collect();
    let mut collected = Collected::new(statement.column_names().into_iter());
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        let values = (0..are_boolean.len()).map(|index| row.get_ref(index));
        let bytes: usize = values.map(|value| value.map(size)).sum::<Result<_, _>>()?;
        // Before any of it is copied.
        collected.make_room(bytes, limits).map_err(Trouble::Call)?;
        collected.rows.rows.push(values_of(row, &are_boolean)?);
    }
    Ok(collected)
}

fn bind(statement: &mut Statement<'_>, values: &[Value]) -> Result<(), Trouble> {
    let (takes, given) = (statement.parameter_count(), values.len());
    if takes != given {
        return Err(Trouble::Call(Error::Invalid(format!(
            "the statement takes {takes} parameters: {given} are given"
        ))));
    }
    for (index, value) in (1..).zip(values) {
        match value {
            Value::Null => statement.raw_bind_parameter(index, Null),
            Value::Boolean(value) => statement.raw_bind_parameter(index, value),
            Value::Integer(value) => statement.raw_bind_parameter(index, value),
            Value::Real(value) => statement.raw_bind_parameter(index, value),
            Value::Text(value) => statement.raw_bind_parameter(index, value),
            Value::Bytes(value) => statement.raw_bind_parameter(index, value),
        }?;
    }
    Ok(())
}

fn is_boolean(declared: Option<&str>) -> bool {
    declared.is_some_and(|kind| kind.eq_ignore_ascii_case("boolean") || kind.eq_ignore_ascii_case("bool"))
}

/// What a value will take.
fn size(value: ValueRef<'_>) -> usize {
    let owned = match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 0,
    };
    owned + size_of::<u64>()
}

/// A row's values, each of the type that it has: columns have none.
fn values_of(row: &Row<'_>, are_boolean: &[bool]) -> Result<Vec<Value>, Trouble> {
    let columns = are_boolean.iter().enumerate();
    columns
        .map(|(index, is_boolean)| match row.get_ref(index)? {
            ValueRef::Null => Ok(Value::Null),
            ValueRef::Integer(value @ (0 | 1)) if *is_boolean => Ok(Value::Boolean(value == 1)),
            ValueRef::Integer(value) => Ok(Value::Integer(value)),
            ValueRef::Real(value) => Ok(Value::Real(value)),
            ValueRef::Text(text) => match str::from_utf8(text) {
                Ok(text) => Ok(Value::Text(text.to_owned())),
                Err(_) => Err(Trouble::Call(Error::Invalid(format!(
                    "column {} has a text that is not UTF-8",
                    index + 1
                )))),
            },
            ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes.to_vec())),
        })
        .collect()
}

impl Trouble {
    fn describe(self) -> String {
        match self {
            Self::Sqlite(error) => describe(&error),
            Self::Call(error) => told(error),
            Self::Upstream(cause) => cause,
        }
    }

    /// What it is to a call.
    fn of_call(self, limits: &Limits) -> Failure {
        let error = match self {
            Self::Sqlite(error) => error,
            Self::Call(error) => return Failure::of_call(error),
            Self::Upstream(cause) => return Failure::of_upstream(cause),
        };
        let extended = code(&error);
        match extended & 0xff {
            INTERRUPT => Failure::of_call(Error::DeadlineExceeded),
            TOOBIG => Failure::of_call(too_many_bytes(limits)),
            // More steps than a statement may have are told so too.
            NOMEM => Failure::of_call(Error::TooLarge("the statement has too many steps".to_owned())),
            AUTH | READONLY => Failure::of_call(Error::NotAllowed(READS_ALONE.to_owned())),
            code if OF_THE_FILE.contains(&code) => Failure::of_upstream(describe(&error)),
            _ => Failure::of_call(Error::Failed(Refusal {
                code: Some(extended.to_string()),
                message: message(&error),
            })),
        }
    }

    /// What it is to a statement that is prepared while its tenant is loaded.
    fn while_loading(self) -> Wrong {
        match self {
            Self::Call(error) => Wrong::Statement(told(error)),
            Self::Upstream(cause) => Wrong::Database(cause),
            Self::Sqlite(error) => match code(&error) & 0xff {
                AUTH | READONLY => Wrong::Statement(READS_ALONE.to_owned()),
                code if code == INTERRUPT || OF_THE_FILE.contains(&code) => Wrong::Database(describe(&error)),
                _ => Wrong::Statement(format!("the database refuses it: {}", describe(&error))),
            },
        }
    }
}

/// What is told of an error beside its kind.
fn told(error: Error) -> String {
    match error {
        Error::NotAllowed(why) | Error::Invalid(why) | Error::TooLarge(why) => why,
        Error::Failed(refusal) => refusal.message,
        other => format!("{other:?}"),
    }
}

fn code(error: &rusqlite::Error) -> i32 {
    error.sqlite_error().map_or(1, |error| error.extended_code)
}

fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

fn describe(error: &rusqlite::Error) -> String {
    match code(error) {
        LINK => {
            "its file was replaced by a link, or is below one: expected a file in the tenant's directory".to_owned()
        }
        code => format!("{code}: {}", message(error)),
    }
}
