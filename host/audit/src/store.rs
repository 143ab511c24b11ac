//! The store: a `SQLite` file, appended to in batches.
//!
//! Tables: `record`, one row a record, in the order of the chain, without other indexes: random keys cost more than the
//! row itself, several times over. `context`, what many records have in common. `mark`, the chain's authenticated places.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteError, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::chain::{self, BEGINNING, Hash, mark};
use crate::encode::{Rows, micros};
use crate::key::{self, Key, KeyError, SET_ASIDE};
use crate::marks::{fault_of_marks, put_mark, read_mark};
use crate::verify::Fault;

/// How long to wait for another process's lock: shorter than any sensible deadline of a callout.
const BUSY: Duration = Duration::from_millis(250);
/// Bytes of a page, of new stores: fewer pages are written for as many records than with the usual 4096.
const PAGE_BYTES: u32 = 8192;
/// Pages of the write-ahead log after which it is written back.
const CHECKPOINT_PAGES: &str = "2000";

const SCHEMA: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS context (
    id INTEGER PRIMARY KEY,
    made INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS record (
    seq INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    context INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    correlation BLOB NOT NULL,
    application BLOB NOT NULL,
    subject BLOB NOT NULL,
    salt BLOB NOT NULL,
    hash BLOB NOT NULL,
    detail TEXT NOT NULL,
    personal TEXT NOT NULL,
    erased BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS mark (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    tag BLOB NOT NULL
) STRICT, WITHOUT ROWID;
COMMIT;
";

/// One statement for any number of rows: parameters for each value of each row would cost as much as the rows.
const APPEND: &str = "
INSERT INTO record (seq, time, context, outcome, correlation, application, subject, salt, hash, detail, personal)
SELECT ?1 + key, value->>0, value->>1, value->>2,
    substr(?2, key * 96 + 1, 16), substr(?2, key * 96 + 17, 16), substr(?2, key * 96 + 33, 16),
    substr(?2, key * 96 + 49, 16), substr(?2, key * 96 + 65, 32),
    CAST(substr(?3, value->>3, value->>4) AS TEXT),
    CAST(substr(?3, (value->>3) + (value->>4), value->>5) AS TEXT)
FROM json_each(?4)";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it locked.
    #[error("the audit store is locked by another process")]
    Locked(#[source] sqlx::Error),
    /// There is no room for it.
    #[error("the audit store cannot be written: the disk is full, or the file as large as it may be")]
    Full(#[source] sqlx::Error),
    /// It is damaged, or no audit store.
    #[error("the audit store is damaged, or is none")]
    Corrupt(#[source] sqlx::Error),
    /// Anything else.
    #[error("the audit store cannot be used: {0}")]
    Other(#[source] sqlx::Error),
    /// Its directory cannot be made, or it cannot be set aside.
    #[error("the audit store's file {path} cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A record cannot be serialised: a defect.
    #[error("an audit record cannot be serialised: {0}")]
    Serialise(#[from] serde_json::Error),
    /// What was exported cannot be written.
    #[error("the export cannot be written: {0}")]
    Export(#[source] std::io::Error),
    /// Its chain does not hold where records were to be deleted, of which nothing would be left to see.
    #[error(
        "the audit store's chain is not as it was written where records are to be deleted, so that none is: `claimsmith audit \
         verify` says what is wrong"
    )]
    Broken,
    /// A record is in no form that this version knows.
    #[error("record {0} of the audit store is not readable")]
    Unreadable(i64),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        // https://www.sqlite.org/rescode.html: the lowest byte is the primary code.
        let primary = match &error {
            sqlx::Error::Database(database) => database
                .try_downcast_ref::<SqliteError>()
                .and_then(|error| sqlx::error::DatabaseError::code(error)?.parse::<u32>().ok())
                .map(|code| code & 0xff),
            _ => None,
        };
        match primary {
            Some(5 | 6) => Self::Locked(error),
            Some(10 | 13) => Self::Full(error),
            Some(11 | 26) => Self::Corrupt(error),
            _ => Self::Other(error),
        }
    }
}

/// The end of the chain that is open for appending.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connection: SqliteConnection,
    pub(crate) seq: i64,
    pub(crate) tail: Hash,
    sealed: Option<i64>,
}

/// How a store is opened: for appending, or by a command beside the service.
pub(crate) fn options(path: &Path) -> Result<SqliteConnectOptions, StoreError> {
    let options = SqliteConnectOptions::from_str("sqlite:").map_err(StoreError::from)?;
    Ok(options.filename(path).busy_timeout(BUSY).disable_statement_logging())
}

impl Store {
    /// Opens the store of a key, or makes it. `durable`: what is appended outlives a loss of power.
    pub(crate) async fn open(path: &Path, key: &Key, durable: bool) -> Result<Self, StoreError> {
        let synchronous = if durable {
            SqliteSynchronous::Full
        } else {
            SqliteSynchronous::Normal
        };
        let options = options(path)?
            .create_if_missing(true)
            .page_size(PAGE_BYTES)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(synchronous)
            .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
            .pragma("journal_size_limit", "67108864");
        begin_file(path)?;
        let mut connection = SqliteConnection::connect_with(&options).await?;
        if !has_tables(&mut connection).await? {
            sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
        }
        check_key(&mut connection, path, key).await?;
        let (seq, tail) = tail(&mut connection).await?;
        Ok(Self {
            connection,
            seq,
            tail,
            sealed: None,
        })
    }

    /// Compares the chain with its marks, which sealing and retention write anew: what they have to tell must be told before.
    /// A store that is new gets its first seal, so that one without has lost it.
    pub(crate) async fn check_marks(&mut self, key: &Key) -> Result<Option<Fault>, StoreError> {
        let mut view = self.connection.begin().await?;
        let sealed = read_mark(&mut view, key, mark::SEALED).await?;
        let fault = fault_of_marks(&mut view, key).await?;
        view.rollback().await?;
        self.sealed = sealed.map(|mark| mark.seq);
        if fault.is_none() {
            self.seal(key).await?;
        }
        Ok(fault)
    }

    /// Appends rows and the contexts that are new with them, all or nothing. The numbers of these contexts.
    pub(crate) async fn append(&mut self, rows: &Rows) -> Result<Vec<i64>, StoreError> {
        let mut end = (self.seq, self.tail);
        let contexts = as_one(&mut self.connection, async |connection: &mut SqliteConnection| {
            let contexts = insert_contexts(connection, rows).await?;
            end = match insert(connection, rows, &contexts, end).await {
                // A command has appended meanwhile: the chain goes on after its record. None can from now on.
                Err(StoreError::Other(error)) if is_taken(&error) => {
                    let end = tail(connection).await?;
                    insert(connection, rows, &contexts, end).await?
                }
                inserted => inserted?,
            };
            Ok(contexts)
        })
        .await?;
        (self.seq, self.tail) = end;
        Ok(contexts)
    }

    /// Notes how far the chain goes, so that a tail that is cut off later shows. `false` when nothing is new.
    pub(crate) async fn seal(&mut self, key: &Key) -> Result<bool, StoreError> {
        if self.sealed == Some(self.seq) {
            return Ok(false);
        }
        put_mark(&mut self.connection, key, mark::SEALED, self.seq, &self.tail).await?;
        self.sealed = Some(self.seq);
        Ok(true)
    }
}

/// Does all of something, or nothing of it, while no other process writes.
pub(crate) async fn as_one<T>(
    connection: &mut SqliteConnection,
    work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    // Not sqlx's transactions: where SQLite has undone one itself, as it does when the disk is full, they let no other begin.
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    let mut done = work(connection).await;
    if done.is_ok()
        && let Err(error) = sqlx::query("COMMIT").execute(&mut *connection).await
    {
        done = Err(error.into());
    }
    if done.is_err() {
        let _was_undone = sqlx::query("ROLLBACK").execute(connection).await.is_err();
    }
    done
}

/// Inserts the contexts that are new with these rows; their numbers.
async fn insert_contexts(connection: &mut SqliteConnection, rows: &Rows) -> Result<Vec<i64>, StoreError> {
    let made = micros(SystemTime::now());
    let mut ids = Vec::new();
    for text in rows.contexts.texts() {
        let insert = sqlx::query("INSERT INTO context (made, text) VALUES (?, ?)").bind(made);
        let inserted = insert.bind(text).execute(&mut *connection).await?;
        ids.push(inserted.last_insert_rowid());
    }
    Ok(ids)
}

/// Inserts rows after the chain's end; its new end.
async fn insert(
    connection: &mut SqliteConnection,
    rows: &Rows,
    contexts: &[i64],
    (seq, tail): (i64, Hash),
) -> Result<(i64, Hash), StoreError> {
    let bound = rows.bind(seq + 1, tail, contexts)?;
    let insert = sqlx::query(APPEND).bind(seq + 1).bind(bound.fixed);
    let insert = insert.bind(bound.texts).bind(bound.index);
    insert.execute(connection).await?;
    Ok((seq + i64::try_from(rows.len()).unwrap_or_default(), bound.tail))
}

fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// The last record's number and hash. After all records have been retired, the mark's.
pub(crate) async fn tail(connection: &mut SqliteConnection) -> Result<(i64, Hash), StoreError> {
    let last = sqlx::query(
        "SELECT seq, hash FROM (SELECT seq, hash FROM record ORDER BY seq DESC LIMIT 1)
         UNION ALL SELECT seq, hash FROM mark WHERE name = 'begin' ORDER BY seq DESC LIMIT 1",
    );
    let Some(row) = last.fetch_optional(connection).await? else {
        return Ok((0, BEGINNING));
    };
    let hash: Vec<u8> = row.try_get(1)?;
    Ok((row.try_get(0)?, chain::to_hash(&hash)))
}

/// Makes the file, if there is none, so that nobody else can read it: `SQLite` would leave that to the umask, and gives its
/// other files the mode of this one.
fn begin_file(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    match key::open_private(path, options) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(StoreError::File {
            path: path.to_owned(),
            source,
        }),
    }
}

async fn has_tables(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    let tables: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name IN ('context', 'record', 'mark')")
            .fetch_one(connection)
            .await?;
    Ok(tables == 3)
}

/// A store that has something its key was needed for. One that is damaged is set aside, and has nothing to go on with.
pub(crate) async fn existing(path: &Path) -> Result<Option<SqliteConnection>, StoreError> {
    if !path.exists() {
        return Ok(None);
    }
    match open_used(path).await {
        Err(StoreError::Corrupt(_)) => Ok(None),
        opened => opened,
    }
}

async fn open_used(path: &Path) -> Result<Option<SqliteConnection>, StoreError> {
    let mut connection = SqliteConnection::connect_with(&options(path)?).await?;
    if !has_tables(&mut connection).await? {
        return Ok(None);
    }
    let is_used = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM record) OR EXISTS (SELECT 1 FROM mark)");
    let is_used: bool = is_used.fetch_one(&mut connection).await?;
    Ok(is_used.then_some(connection))
}

/// Whether a key is the one that the store's marks were made with: one of them, because others may have been changed.
///
/// # Errors
/// [`KeyError::Foreign`], or the store cannot be read.
pub(crate) async fn check_key(connection: &mut SqliteConnection, path: &Path, key: &Key) -> Result<(), StoreError> {
    let begin = read_mark(connection, key, mark::BEGIN).await?;
    let sealed = read_mark(connection, key, mark::SEALED).await?;
    let marks: Vec<_> = begin.iter().chain(&sealed).collect();
    if !marks.is_empty() && !marks.iter().any(|mark| mark.is_authentic) {
        return Err(KeyError::Foreign(Key::path(path)).into());
    }
    Ok(())
}

/// The file that tells the next start that this store is damaged.
fn damaged(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

/// Leaves word for the next start that the store is damaged.
pub(crate) fn note_damaged(path: &Path) -> std::io::Result<()> {
    std::fs::write(damaged(path), b"")
}

/// Whether a service before this one found the store damaged.
pub(crate) fn was_damaged(path: &Path) -> bool {
    damaged(path).exists()
}

/// Renames the store's files, with the time, so that a new one can be begun beside them.
pub(crate) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let time = humantime::format_rfc3339_seconds(SystemTime::now())
        .to_string()
        .replace(':', "");
    let suffixed = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let aside = suffixed(&format!("{SET_ASIDE}{time}"));
    for suffix in ["", "-wal", "-shm"] {
        let (from, to) = (suffixed(suffix), suffixed(&format!("{SET_ASIDE}{time}{suffix}")));
        match std::fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StoreError::File { path: from, source }),
        }
    }
    let note = damaged(path);
    match std::fs::remove_file(&note) {
        Ok(()) => Ok(aside),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(aside),
        Err(source) => Err(StoreError::File { path: note, source }),
    }
}
