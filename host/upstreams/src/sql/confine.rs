//! What keeps a SQLite connection to its file, whatever statements it is given and whatever the file is.
//!
//! <https://www.sqlite.org/security.html>

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

/// The schema has to be readable, whatever a result may have.
const LEAST_LENGTH: usize = 64 << 10;
/// What a statement may consist of. One step of SQLite's machine is never interrupted, so each has to be a short one; what a
/// file's own tables and views consist of is held to the same.
const LIMITS: [(Limit, i32); 11] = [
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_COLUMN, 128),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 16),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 32),
    // Time that is this times the length of what is compared.
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 256),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];
/// Pragmas that SQLite's own full-text and spatial tables ask. None changes anything when it is given nothing.
const ASKED_BY_TABLES: [&str; 2] = ["data_version", "page_size"];
/// Functions that no statement calls. The first reach into the process: one loads code, the other takes an address of some
/// from a parameter. The others make large values of nothing, or take their time over them.
const REFUSED: [&str; 7] = [
    "load_extension",
    "fts3_tokenizer",
    "format",
    "printf",
    "randomblob",
    "replace",
    "zeroblob",
];
/// What is in a URI as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// Opens a file for reading what it holds, and for nothing else.
///
/// It is opened as one that never changes: SQLite then looks at no journal, log or memory map beside it, all of which would be
/// the tenant's, and a journal's last page names a file that is deleted. No setting of the process can be made, and no value
/// be larger than a result.
///
/// # Errors
/// What SQLite says.
pub(super) fn open(path: &Path, max_bytes: usize) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?immutable=1", percent_encode(path.as_os_str().as_bytes(), PATH));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags)?;
    let length = i32::try_from(max_bytes.max(LEAST_LENGTH)).unwrap_or(i32::MAX);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
    for (limit, most) in LIMITS {
        connection.set_limit(limit, most)?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // What a schema brings along is not executed with more rights than a statement.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    // Memory is counted, and what is in temporary files would not be.
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.authorizer(Some(authorize))?;
    Ok(connection)
}

/// Asked by SQLite for each thing that a statement would do, while it is prepared.
fn authorize(context: AuthContext<'_>) -> Authorization {
    if only_reads(&context.action) {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}

/// Whether what a statement would do is part of reading its file (<https://www.sqlite.org/c3ref/c_alter_table.html>).
fn only_reads(action: &AuthAction<'_>) -> bool {
    let is_one_of = |name: &str, names: &[&str]| names.iter().any(|one| name.eq_ignore_ascii_case(one));
    match action {
        // SQLite's own tables prepare what they would write before they are read. The file takes nothing, and a statement that
        // writes is not executed.
        AuthAction::Select
        | AuthAction::Read { .. }
        | AuthAction::Recursive
        | AuthAction::Insert { .. }
        | AuthAction::Update { .. }
        | AuthAction::Delete { .. } => true,
        AuthAction::Function { function_name } => !is_one_of(function_name, &REFUSED),
        AuthAction::Pragma {
            pragma_name,
            pragma_value: None,
        } => is_one_of(pragma_name, &ASKED_BY_TABLES),
        _ => false,
    }
}

/// Whether a file is one that is whole by itself: no pipe or device, which may never be opened, and none that others write to
/// at the moment, who have a part of what it holds beside it.
///
/// # Errors
/// What it is instead.
pub(super) fn check(path: &Path) -> Result<(), String> {
    let metadata = fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    // A link is SQLite's to refuse, wherever on the way it is.
    if !metadata.is_file() && !metadata.is_symlink() {
        return Err("it is no regular file".to_owned());
    }
    let beside = ["-journal", "-wal"].map(|suffix| with_suffix(path, suffix));
    let unfinished = beside.iter().find(|path| !is_nothing(path));
    unfinished.map_or(Ok(()), |unfinished| {
        let name = unfinished.file_name().unwrap_or_default();
        Err(format!(
            "{} is beside it: expected a file to which nobody writes, that is replaced by renaming",
            name.display()
        ))
    })
}

fn is_nothing(path: &Path) -> bool {
    match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.len() == 0,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
