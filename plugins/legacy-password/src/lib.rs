//! Migrates users whose password an LDAP directory or a database knows.
//!
//! See the README for the settings.

mod database;
mod hash;
mod settings;

use claimsmith_plugin::{Callout, Context as _, Credentials, PasswordSubmit, Result, directory, log};

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
    let directory = directory(&source.upstream);
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
    let hashes = database::hashes(&source.upstream, &source.statement, credentials.username())?;
    let hash = match hashes.as_slice() {
        [] => return Ok(Verdict::Unknown),
        [Some(hash)] => hash,
        // A user without a password has no right one.
        [None] => return Ok(Verdict::Wrong),
        _ => {
            return Err(claimsmith_plugin::Error::internal(
                "the statement gives several rows for one user",
            ));
        }
    };
    let is_right = hash::is_of(hash, credentials.password())?;
    Ok(if is_right { Verdict::Right } else { Verdict::Wrong })
}

#[cfg(test)]
mod tests;
