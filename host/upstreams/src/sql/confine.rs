//! What keeps a SQLite connection to its file, whatever statements it is given.
//!
//! <https://www.sqlite.org/security.html>

use std::ffi::{CStr, OsStr};
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use libsqlite3_sys::{
    SQLITE_ATTACH, SQLITE_DBCONFIG_DEFENSIVE, SQLITE_DENY, SQLITE_DETACH, SQLITE_FUNCTION, SQLITE_LIMIT_ATTACHED,
    SQLITE_LIMIT_LENGTH, SQLITE_OK, SQLITE_PRAGMA, sqlite3_db_config, sqlite3_db_filename, sqlite3_limit,
    sqlite3_set_authorizer,
};
use sqlx::sqlite::LockedSqliteHandle;

/// The schema has to be readable, whatever a result may have.
const LEAST_LENGTH: usize = 1 << 20;
/// Pragmas that SQLite's own full-text and spatial tables ask. None changes anything when it is given nothing.
const ASKED_BY_TABLES: [&str; 2] = ["data_version", "page_size"];
/// Functions that reach into the process: one loads code, the other takes an address of some from a parameter.
const REACHING_OUT: [&str; 2] = ["load_extension", "fts3_tokenizer"];

/// No other file can be attached, as `VACUUM INTO` does too, no setting be made, most of which are the process's and are made
/// as soon as the statement is prepared, and no value be larger than a result. To be called when the driver has made its own.
///
/// # Errors
/// When SQLite does not take it.
#[expect(unsafe_code, reason = "the driver has no function for it")]
pub(super) fn confine(handle: &mut LockedSqliteHandle<'_>, max_bytes: usize) -> Result<(), sqlx::Error> {
    let length = c_int::try_from(max_bytes.max(LEAST_LENGTH)).unwrap_or(c_int::MAX);
    let on: c_int = 1;
    let connection = handle.as_raw_handle().as_ptr();
    // SAFETY: the connection is open as long as its handle is locked, and its thread does not use it meanwhile. This setting
    // takes a number and a place for the new value, which may be null; the authorizer is a function and is given nothing.
    let results = unsafe {
        sqlite3_limit(connection, SQLITE_LIMIT_ATTACHED, 0);
        sqlite3_limit(connection, SQLITE_LIMIT_LENGTH, length);
        [
            sqlite3_db_config(connection, SQLITE_DBCONFIG_DEFENSIVE, on, ptr::null_mut::<c_int>()),
            sqlite3_set_authorizer(connection, Some(authorize), ptr::null_mut()),
        ]
    };
    if results == [SQLITE_OK; 2] {
        return Ok(());
    }
    Err(sqlx::Error::Configuration("SQLite cannot be confined".into()))
}

/// Asked by SQLite for each thing that a statement would do, while it is prepared.
#[expect(unsafe_code, reason = "SQLite calls it")]
unsafe extern "C" fn authorize(
    _: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: SQLite gives null or a text that ends with NUL and is there until this function returns.
    let (first, second) = unsafe { (text(first), text(second)) };
    if stays_inside(action, first, second) {
        SQLITE_OK
    } else {
        SQLITE_DENY
    }
}

/// The text at an address, which is null or that of one that ends with NUL and is not changed for `'t`.
#[expect(unsafe_code, reason = "SQLite gives addresses")]
unsafe fn text<'t>(address: *const c_char) -> Option<&'t [u8]> {
    // SAFETY: what the caller promises.
    (!address.is_null()).then(|| unsafe { CStr::from_ptr(address) }.to_bytes())
}

/// Whether what a statement would do concerns its file alone (<https://www.sqlite.org/c3ref/c_alter_table.html>).
fn stays_inside(action: c_int, first: Option<&[u8]>, second: Option<&[u8]>) -> bool {
    let is_one_of = |name: Option<&[u8]>, names: [&str; 2]| {
        name.is_some_and(|name| names.iter().any(|one| name.eq_ignore_ascii_case(one.as_bytes())))
    };
    match action {
        SQLITE_ATTACH | SQLITE_DETACH => false,
        SQLITE_PRAGMA => second.is_none() && is_one_of(first, ASKED_BY_TABLES),
        SQLITE_FUNCTION => !is_one_of(second, REACHING_OUT),
        _ => true,
    }
}

/// Whether the file that is open is this one: SQLite follows links first, and then opens what is none.
#[expect(unsafe_code, reason = "the driver has no function for it")]
pub(super) fn is_open(handle: &mut LockedSqliteHandle<'_>, path: &Path) -> bool {
    let connection = handle.as_raw_handle().as_ptr();
    // SAFETY: the connection is open as long as its handle is locked, and so is its first database, whose name is there as
    // long.
    let name = unsafe { text(sqlite3_db_filename(connection, c"main".as_ptr())) };
    name.is_some_and(|name| Path::new(OsStr::from_bytes(name)) == path)
}
