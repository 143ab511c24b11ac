//! LDAP directories that the binding was granted.
//!
//! The tenant's configuration names an upstream, its address, its base, the attributes that may be read, and the
//! credentials; a plugin knows the name alone.
//!
//! ```no_run
//! use claimsmith_plugin::{Result, directory};
//!
//! fn groups(mail: &str) -> Result<Vec<String>> {
//!     let person = directory("corp")
//!         .search("(&(objectClass=person)(mail={mail}))")
//!         .argument("mail", mail)
//!         .attributes(["memberOf"])
//!         .one()?;
//!     Ok(person.map(|person| person.texts("memberOf").map(ToOwned::to_owned).collect()).unwrap_or_default())
//! }
//! ```
//!
//! What an argument holds is escaped by the host and stays a value, whoever has typed it: never put text into a filter by
//! `format!`.
//!
//! By `?`, an [`Error`] becomes a failure of the kind it is: a directory that does not answer is
//! [`unavailable`](crate::ErrorKind::Unavailable); anything else is [`internal`](crate::ErrorKind::Internal). A plugin that
//! can do without the directory matches on the error instead.
//!
//! A call takes at most what the callout has left; a [shorter time](SearchBuilder::timeout) leaves the plugin some for
//! another way.

mod entry;
mod error;
mod request;
#[cfg(not(target_family = "wasm"))]
pub mod test;

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::grants;

pub use self::entry::Entry;
pub use self::error::Error;
pub use self::request::{Authentication, Scope, Search, SearchBuilder};

/// A directory, by its upstream's name in the tenant's configuration.
pub fn directory(name: impl Into<String>) -> Directory {
    let name = name.into();
    grants::note(&name, grants::Kind::Directory);
    Directory { name, timeout: None }
}

/// A directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    name: String,
    timeout: Option<Duration>,
}

impl<'de> Deserialize<'de> for Directory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let name = grants::deserialize_name(deserializer, grants::Kind::Directory)?;
        Ok(Self { name, timeout: None })
    }
}

impl Directory {
    /// How long each call may take; the callout's remaining time is the most.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// A search below the upstream's base. `filter` is in the form of RFC 4515, with `{names}` in place of values, which
    /// [`SearchBuilder::argument`] fills in; other braces are written `\7b` and `\7d`.
    pub fn search(&self, filter: impl Into<String>) -> SearchBuilder {
        SearchBuilder::new(self.name.clone(), filter.into(), self.timeout)
    }

    /// Whether a password is that of a distinguished name, which is usually one that a search has found. The directory is
    /// asked by a bind; the upstream must have `allow_authenticate`. An empty password is wrong.
    ///
    /// ```no_run
    /// use claimsmith_plugin::{Credentials, Result, directory};
    ///
    /// fn is_right(credentials: &Credentials) -> Result<bool> {
    ///     let corp = directory("corp");
    ///     let person = corp.search("(uid={uid})").argument("uid", credentials.username()).one()?;
    ///     match person {
    ///         Some(person) => Ok(corp.authenticate(person.dn(), credentials.password())?),
    ///         None => Ok(false),
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// When the directory does not say.
    pub fn authenticate(&self, dn: &str, password: &str) -> Result<bool, Error> {
        crate::host::authenticate(Authentication::new(&self.name, dn, password, self.timeout))
    }
}
