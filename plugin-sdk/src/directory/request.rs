//! What is asked of a directory.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{Entry, Error};
use crate::bindings::directory as wit;

/// How far below its base a search goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The base alone.
    Base,
    /// What is directly below it.
    OneLevel,
    /// It and everything below it.
    #[default]
    Subtree,
}

/// A search as it goes to the host; tests get it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// The upstream's name.
    pub upstream: String,
    /// The base, with `{names}`; the upstream's when absent.
    pub base: Option<String>,
    /// How far below the base.
    pub scope: Scope,
    /// The filter, with `{names}`.
    pub filter: String,
    /// What the names stand for.
    pub arguments: Vec<(String, String)>,
    /// The attributes wanted.
    pub attributes: Vec<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Search {
    /// What a name stands for: for tests.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&str> {
        let found = self.arguments.iter().find(|(argument, _)| argument == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A search that is being made.
#[derive(Clone, Debug)]
#[must_use = "a search is sent by `entries` or `one`"]
pub struct SearchBuilder {
    search: Search,
}

impl SearchBuilder {
    pub(super) fn new(upstream: String, filter: String, timeout: Option<Duration>) -> Self {
        Self {
            search: Search {
                upstream,
                base: None,
                scope: Scope::default(),
                filter,
                arguments: Vec::new(),
                attributes: Vec::new(),
                timeout,
            },
        }
    }

    /// What `{name}` stands for in filter and base: whatever it is, it stays one value. It is not empty.
    pub fn argument(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.search.arguments.push((name.into(), value.to_string()));
        self
    }

    /// Where to search, at the upstream's base or below it, with `{names}` in place of values. One that does not exist has
    /// no entries.
    pub fn base(mut self, base: impl Into<String>) -> Self {
        self.search.base = Some(base.into());
        self
    }

    /// How far below the base; everything when not said.
    pub fn scope(mut self, scope: Scope) -> Self {
        self.search.scope = scope;
        self
    }

    /// The attributes wanted; none when not said.
    pub fn attributes<A: Into<String>>(mut self, attributes: impl IntoIterator<Item = A>) -> Self {
        self.search.attributes.extend(attributes.into_iter().map(Into::into));
        self
    }

    /// How long the call may take; the callout's remaining time is the most.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.search.timeout = Some(timeout);
        self
    }

    /// All entries, as many as the upstream allows.
    ///
    /// # Errors
    /// When there is no answer, or too large a one.
    pub fn entries(self) -> Result<Vec<Entry>, Error> {
        crate::host::search(self.search)
    }

    /// The entry, if there is one.
    ///
    /// # Errors
    /// As [`Self::entries`], and when there are several: who is meant must not depend on their order.
    pub fn one(self) -> Result<Option<Entry>, Error> {
        let mut entries = self.entries()?;
        match entries.len() {
            0 | 1 => Ok(entries.pop()),
            _ => Err(Error::Ambiguous),
        }
    }
}

/// Credentials as they go to the host; tests get them. The password is wiped when this is dropped, and `Debug` leaves it out.
#[non_exhaustive]
pub struct Authentication {
    /// The upstream's name.
    pub upstream: String,
    /// Whose they are.
    pub dn: String,
    /// The password. A secret.
    pub password: Zeroizing<String>,
    /// How long it may take.
    pub timeout: Option<Duration>,
}

impl Authentication {
    pub(super) fn new(upstream: &str, dn: &str, password: &str, timeout: Option<Duration>) -> Self {
        Self {
            upstream: upstream.to_owned(),
            dn: dn.to_owned(),
            password: Zeroizing::new(password.to_owned()),
            timeout,
        }
    }
}

impl From<Search> for wit::SearchRequest {
    fn from(search: Search) -> Self {
        let argument = |(name, value)| wit::Argument { name, value };
        Self {
            upstream: search.upstream,
            base: search.base,
            scope: match search.scope {
                Scope::Base => wit::Scope::Base,
                Scope::OneLevel => wit::Scope::OneLevel,
                Scope::Subtree => wit::Scope::Subtree,
            },
            filter: search.filter,
            arguments: search.arguments.into_iter().map(argument).collect(),
            attributes: search.attributes,
            timeout_milliseconds: milliseconds(search.timeout),
        }
    }
}

/// Moves the password: whoever has the request wipes it.
impl From<Authentication> for wit::AuthenticateRequest {
    fn from(mut authentication: Authentication) -> Self {
        Self {
            upstream: authentication.upstream,
            dn: authentication.dn,
            password: std::mem::take(&mut *authentication.password),
            timeout_milliseconds: milliseconds(authentication.timeout),
        }
    }
}

fn milliseconds(timeout: Option<Duration>) -> Option<u32> {
    let timeout = crate::deadline::at_most(timeout);
    timeout.map(|timeout| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX))
}

impl fmt::Debug for Search {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments are what is known of people; a log is no place for that.
        formatter
            .debug_struct("Search")
            .field("upstream", &self.upstream)
            .field("filter", &self.filter)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authentication")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}
