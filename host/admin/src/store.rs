//! The version store: what was pushed, what is active, and the admin log.
//!
//! A version is a file below `versions/<tenant>/<plugin>/`, named by its digest, and a row that labels it. The file is
//! written aside, synced and renamed into place before the row is committed, so that every row has its file; a file without
//! a row, left by a crash, is written over when that version is pushed again. Every change of a row is committed in one
//! transaction with its line of the log, which the database itself refuses to change or delete. A signature is a file beside
//! its version's, and its line is committed before it is written.

mod log;
mod versions;

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use claimsmith_catalog::{ActiveVersion, ActiveVersions, PluginVersions};
use claimsmith_runtime::Digest;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Executor, Row as _, Sqlite};

pub(crate) use self::log::{Action, Done, LogFilter, LogLine, Of};
pub(crate) use self::versions::{ActiveRow, Change, MAX_PLUGINS, OnDisk, Pushed, Room, VersionRow};

/// How long a change waits for another one.
const BUSY: Duration = Duration::from_secs(5);
/// Connections: changes are made one at a time, and a few may look meanwhile.
const CONNECTIONS: u32 = 4;

const SCHEMA: &str = "
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS version (
    tenant TEXT NOT NULL,
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    pushed INTEGER NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY (tenant, plugin, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS active (
    tenant TEXT NOT NULL,
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    since INTEGER NOT NULL,
    actor TEXT NOT NULL,
    previous TEXT,
    PRIMARY KEY (tenant, plugin)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time INTEGER NOT NULL,
    actor TEXT NOT NULL,
    tenant TEXT NOT NULL,
    plugin TEXT NOT NULL,
    action TEXT NOT NULL,
    version TEXT NOT NULL,
    digest TEXT,
    reason TEXT NOT NULL,
    result TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS log_is_not_changed BEFORE UPDATE ON log
BEGIN SELECT RAISE(ABORT, 'the admin log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_is_not_deleted BEFORE DELETE ON log
BEGIN SELECT RAISE(ABORT, 'the admin log is append-only'); END;
CREATE TRIGGER IF NOT EXISTS log_is_not_replaced BEFORE INSERT ON log
WHEN EXISTS (SELECT 1 FROM log WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the admin log is append-only'); END;
COMMIT;
";

/// Why the version store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or directory of it.
    #[error("the version store's {path} cannot be used: {source}; the service must be able to write admin.state")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another service has it.
    #[error("the version store {0} is in use by another service; each needs an admin.state of its own")]
    InUse(PathBuf),
    /// The database.
    #[error("the version store's database cannot be used: {0}")]
    Database(#[from] sqlx::Error),
    /// A row that this version cannot have written.
    #[error("the version store's database holds what is no digest: {0}; restore it from a backup")]
    Malformed(String),
}

/// The store, open.
#[derive(Debug)]
pub struct Store {
    pool: SqlitePool,
    /// Where versions are.
    directory: PathBuf,
    /// Where files are written before they are renamed into place; the same file system.
    incoming: PathBuf,
    /// Keeps other services out as long as the process lives.
    _lock: File,
}

impl Store {
    /// Opens the store in a directory, or makes it.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open(state: &Path) -> Result<Self, StoreError> {
        let (directory, incoming) = (state.join("versions"), state.join("incoming"));
        make(state)?;
        // Before anything is touched that may be another service's.
        let lock = lock(state)?;
        // What a crash has left half written.
        match fs::remove_dir_all(&incoming) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::File { path: incoming, source });
            }
            _ => {}
        }
        make(&directory)?;
        make(&incoming)?;
        let options = SqliteConnectOptions::new()
            .filename(state.join("admin.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self {
            pool,
            directory,
            incoming,
            _lock: lock,
        })
    }

    /// What is active, for the catalog's loader.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn active_versions(&self) -> Result<ActiveVersions, StoreError> {
        active(&self.pool, self.directory.clone()).await
    }

    /// The same of a store that is not opened, because a service may have it or because nothing is to be written. A store
    /// that has not been made has nothing active.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn read_active_versions(state: &Path) -> Result<ActiveVersions, StoreError> {
        let (path, directory) = (state.join("admin.db"), state.join("versions"));
        match path.try_exists() {
            Ok(true) => {}
            Ok(false) => return Ok(ActiveVersions::new(directory, BTreeMap::new())),
            Err(source) => return Err(StoreError::File { path, source }),
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let mut connection = SqliteConnection::connect_with(&options).await?;
        active(&mut connection, directory).await
    }
}

async fn active<'c>(
    database: impl Executor<'c, Database = Sqlite>,
    directory: PathBuf,
) -> Result<ActiveVersions, StoreError> {
    let rows = sqlx::query("SELECT tenant, plugin, digest, version FROM active");
    let mut active: BTreeMap<String, PluginVersions> = BTreeMap::new();
    for row in rows.fetch_all(database).await? {
        let versions = active.entry(row.try_get(0)?).or_default();
        let version = ActiveVersion {
            digest: digest(row.try_get(2)?)?,
            version: row.try_get::<&str, _>(3)?.into(),
        };
        versions.insert(row.try_get(1)?, version);
    }
    Ok(ActiveVersions::new(directory, active))
}

fn digest(text: &str) -> Result<Digest, StoreError> {
    text.parse().map_err(|_| StoreError::Malformed(text.to_owned()))
}

/// Microseconds since 1970.
fn micros(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A time as RFC 3339 has it.
fn rfc3339(micros: i64) -> String {
    let since = Duration::from_micros(u64::try_from(micros).unwrap_or_default());
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

fn make(directory: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File {
        path: directory.to_owned(),
        source,
    };
    private_directory(directory).map_err(failed)
}

/// A directory that nobody else can look into, if there is none yet.
fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

fn lock(state: &Path) -> Result<File, StoreError> {
    let path = state.join("lock");
    let failed = |source| StoreError::File {
        path: path.clone(),
        source,
    };
    let mut options = File::options();
    let file = options
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse(state.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
