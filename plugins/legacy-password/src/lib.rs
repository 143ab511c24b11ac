//! Migrates users whose password an LDAP directory or a database knows.
//!
//! See the README for the settings.

mod hash;
mod settings;

use claimsmith_plugin::sql::Value;
use claimsmith_plugin::{Callout, Context as _, Credentials, Error, PasswordSubmit, Result, log};

use crate::settings::{Database, Directory, Settings, Source};

/// What the old system says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Right,
    Wrong,
    /// It does not know the user.
    Unknown,
}

#[claimsmith_plugin::password_submit]
fn submit_password(_: &Callout, credentials: &Credentials, settings: &Settings) -> Result<PasswordSubmit> {
    let verdict = match &settings.source {
        // Neither is anybody's, and a directory would take either for something else.
        _ if credentials.username().is_empty() || credentials.password().is_empty() => Verdict::Wrong,
        Source::Directory(source) => ask_directory(source, credentials).context("the directory")?,
        Source::Database(source) => ask_database(source, credentials).context("the database")?,
    };
    log::debug!("the old system says: {verdict:?}");
    Ok(match verdict {
        Verdict::Right if credentials.password().chars().count() < settings.min_length => PasswordSubmit::Update,
        Verdict::Right => PasswordSubmit::Migrate,
        Verdict::Wrong => PasswordSubmit::Retry,
        Verdict::Unknown => settings.unknown_user(),
    })
}

/// Searches the user, and has the directory check the password by a bind.
fn ask_directory(source: &Directory, credentials: &Credentials) -> Result<Verdict> {
    let directory = &source.upstream;
    let mut search = directory
        .search(&source.filter)
        .argument("username", credentials.username());
    if let Some(base) = &source.base {
        search = search.base(base);
    }
    let Some(user) = search.one()? else {
        return Ok(Verdict::Unknown);
    };
    let is_right = directory.authenticate(user.dn(), credentials.password())?;
    Ok(if is_right { Verdict::Right } else { Verdict::Wrong })
}

/// Reads the user's hash, and compares the password with it.
fn ask_database(source: &Database, credentials: &Credentials) -> Result<Verdict> {
    let rows = source
        .upstream
        .query(&source.statement, &[credentials.username().into()])?;
    let mut rows = rows.iter();
    let hash = match (rows.next(), rows.next()) {
        (None, _) => return Ok(Verdict::Unknown),
        (Some(row), None) => row.iter().next().map(|(_, value)| value),
        (Some(_), Some(_)) => return Err(Error::internal("the statement gives several rows for one user")),
    };
    let hash = match hash {
        Some(Value::Text(hash)) => Some(hash.as_str()),
        Some(Value::Bytes(hash)) => std::str::from_utf8(hash).ok(),
        // A user without a password has no right one.
        Some(Value::Null) => return Ok(Verdict::Wrong),
        _ => None,
    };
    let hash = hash.ok_or_else(|| Error::internal("the statement's first column is no text: expected the hash"))?;
    let is_right = hash::is_of(hash, credentials.password())?;
    Ok(if is_right { Verdict::Right } else { Verdict::Wrong })
}

#[cfg(test)]
mod tests;
