//! One call: a connection, what is asked on it, and what the answer means.

use std::time::Duration;

use claimsmith_runtime::interface::directory::{Attribute, Entry, Error};
use claimsmith_runtime::{BreakerPermit, CallContext};
use futures::TryFutureExt as _;
use ldap3::asn1::{PL, StructureTag};
use ldap3::controls::{ControlParser as _, ControlType, PagedResults};
use ldap3::{DerefAliases, LdapError, LdapResult, SearchOptions};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::DirectoryUpstream;
use super::connection::{ConnectError, Connection};
use super::relay::{Expected, Fault};
use super::request::Search;
use crate::egress::Unresolved;
use crate::told::told;

/// A directory that did not answer for as long is to blame, whatever time a plugin gives it.
const BLAMED_AFTER: Duration = Duration::from_millis(400);

/// Result codes (RFC 4511, appendix A).
const SUCCESS: u32 = 0;
const TIME_LIMIT_EXCEEDED: u32 = 3;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_CREDENTIALS: u32 = 49;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;

/// Why a call has no result.
pub(super) struct Failure {
    error: Error,
    /// Whether it tells of the directory.
    of_upstream: bool,
    /// Whether the connection was of no use: another one may be.
    of_connection: bool,
}

impl Failure {
    fn of_upstream(error: Error) -> Self {
        Self {
            error,
            of_upstream: true,
            of_connection: false,
        }
    }

    fn of_call(error: Error) -> Self {
        Self {
            error,
            of_upstream: false,
            of_connection: false,
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let what = match fault {
            Fault::TooLarge => {
                return Self::of_call(Error::TooLarge(
                    "the directory sent more bytes than the upstream allows".to_owned(),
                ));
            }
            Fault::Nonsense => "it did not speak LDAP",
            Fault::Disconnected | Fault::Broken => "the connection broke off",
        };
        Self {
            error: Error::Unavailable(what.to_owned()),
            of_upstream: true,
            of_connection: fault != Fault::Nonsense,
        }
    }
}

impl DirectoryUpstream {
    /// Makes a call within its time, unless the directory is left alone.
    pub(super) async fn call<T>(
        &self,
        context: CallContext,
        make: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        let until = context.until.min(Instant::now() + self.limits.timeout);
        let unavailable = |why: &str| Error::Unavailable(why.to_owned());
        let place = timeout_at(until, self.places.acquire()).await;
        let place = place.map_err(|_| Error::DeadlineExceeded)?;
        let _place = place.map_err(|_| unavailable("the service is stopping"))?;
        let permit = self.breaker.permit();
        let permit = permit.ok_or_else(|| unavailable("it has failed too often and is not asked for a while"))?;
        let began = Instant::now();
        match timeout_at(until, make).await {
            Ok(Ok(result)) => {
                permit.succeeded();
                Ok(result)
            }
            Ok(Err(failure)) => {
                settle(permit, failure.of_upstream);
                Err(failure.error)
            }
            Err(_) => {
                if began.elapsed() >= BLAMED_AFTER.min(self.limits.timeout) {
                    permit.failed();
                }
                Err(Error::DeadlineExceeded)
            }
        }
    }

    /// Searches, on a connection that there is or on a new one.
    pub(super) async fn find(&self, search: &Search) -> Result<Vec<Entry>, Failure> {
        if let Some(mut connection) = self.idle.take() {
            match self.find_on(&mut connection, search).await {
                // It broke off while nobody looked: what was asked changes nothing, so it is asked again.
                Err(failure) if failure.of_connection => self.tell("search", &"a connection was no longer open"),
                Err(failure) => return Err(failure),
                Ok(found) => {
                    self.idle.give(connection);
                    return Ok(found);
                }
            }
        }
        let mut connection = self.connect().await?;
        if let Some((dn, password)) = &self.bind {
            let bound = connection
                .bind(dn, password)
                .await
                .map_err(|fault| self.told("bind", fault))?;
            if bound.rc != SUCCESS {
                return Err(self.not_bound(&bound));
            }
        }
        let found = self.find_on(&mut connection, search).await?;
        self.idle.give(connection);
        Ok(found)
    }

    /// Searches, page for page (RFC 2696).
    async fn find_on(&self, connection: &mut Connection, search: &Search) -> Result<Vec<Entry>, Failure> {
        let mut found = Found::default();
        let mut cookie = Vec::new();
        loop {
            connection.exchange.expect(Expected::Search);
            let page = self.page(connection, search, cookie, &mut found).await;
            connection.exchange.expect(Expected::Nothing);
            cookie = page?;
            if cookie.is_empty() {
                return Ok(found.entries);
            }
        }
    }

    /// Reads a page; gives what the next one is asked for with, which is empty after the last one.
    async fn page(
        &self,
        connection: &mut Connection,
        search: &Search,
        cookie: Vec<u8>,
        found: &mut Found,
    ) -> Result<Vec<u8>, Failure> {
        let limits = &self.limits;
        let number = |size: usize| i32::try_from(size).unwrap_or(i32::MAX);
        let options = SearchOptions::new()
            .deref(DerefAliases::Never)
            // One more than may be, which tells that there are more.
            .sizelimit(number(limits.max_entries + 1));
        let page = PagedResults {
            size: number(limits.page_size),
            cookie,
        };
        let mut ldap = connection.ldap.clone();
        let broken = |error: LdapError| self.told("search", connection.fault(&error));
        ldap.with_search_options(options).with_controls(page);
        let attributes = search.attributes.as_slice();
        let asked = ldap.streaming_search(&search.base, search.scope, &search.filter, attributes);
        let mut stream = asked.map_err(broken).await?;
        while let Some(entry) = stream.next().await.map_err(broken)? {
            // Referrals are not followed.
            if !entry.is_ref() {
                found.add(entry.0, limits.max_entries, limits.max_bytes)?;
            }
        }
        let done = stream.finish().await;
        match done.rc {
            SUCCESS => {}
            // The plugin's base, and there is nothing.
            NO_SUCH_OBJECT if search.has_own_base => return Ok(Vec::new()),
            _ => return Err(self.refused("search", &done)),
        }
        let page = done
            .ctrls
            .iter()
            .find(|control| matches!(control.0, Some(ControlType::PagedResults)));
        let page = page.and_then(|control| control.1.val.as_deref());
        Ok(page.map(|value| PagedResults::parse(value).cookie).unwrap_or_default())
    }

    /// Whether credentials are right.
    pub(super) async fn check_credentials(&self, dn: &str, password: Zeroizing<String>) -> Result<bool, Failure> {
        self.idle.make_room();
        let mut connection = self.connect().await?;
        let bound = connection.bind(dn, &password).await;
        let bound = bound.map_err(|fault| self.told("authenticate", fault))?;
        match bound.rc {
            SUCCESS => Ok(true),
            INVALID_CREDENTIALS => Ok(false),
            _ => Err(self.refused("authenticate", &bound)),
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        self.connector.connect().await.map_err(|why| {
            let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
            if let ConnectError::Unresolved(Unresolved::Refused(refused)) = &why {
                let hint = refused.hint();
                tracing::warn!(tenant, upstream, %refused, hint, "egress refused");
                let why = "its address is not one that the host connects to";
                return Failure::of_call(Error::Unavailable(why.to_owned()));
            }
            self.tell("connect", &why);
            Failure::of_upstream(Error::Unavailable("no connection can be made".to_owned()))
        })
    }

    /// The host's own credentials were not taken, which the operator has to know.
    fn not_bound(&self, result: &LdapResult) -> Failure {
        let (tenant, upstream) = (self.tenant.as_str(), self.name.as_str());
        let (result, text) = (code(result), told(&result.text));
        tracing::warn!(
            tenant,
            upstream,
            result,
            text,
            "upstream does not take the credentials of `bind`"
        );
        Failure::of_upstream(Error::Unavailable("it does not take the host's credentials".to_owned()))
    }

    /// What a result code other than success means.
    fn refused(&self, operation: &'static str, result: &LdapResult) -> Failure {
        let code = code(result);
        self.tell(operation, &code);
        match result.rc {
            SIZE_LIMIT_EXCEEDED => Failure::of_call(self.too_many()),
            BUSY | UNAVAILABLE | TIME_LIMIT_EXCEEDED => Failure::of_upstream(Error::Unavailable(code)),
            _ => Failure::of_call(Error::Failed(code)),
        }
    }

    fn too_many(&self) -> Error {
        too_many(self.limits.max_entries)
    }

    fn told(&self, operation: &'static str, fault: Fault) -> Failure {
        self.tell(operation, &format_args!("{fault:?}"));
        fault.into()
    }

    /// What the operator is told: nothing of what was asked.
    fn tell(&self, operation: &'static str, why: &dyn std::fmt::Display) {
        let (tenant, upstream, why) = (self.tenant.as_str(), self.name.as_str(), told(why));
        tracing::info!(tenant, upstream, operation, why, "upstream failed");
    }
}

fn too_many(max_entries: usize) -> Error {
    Error::TooLarge(format!("there are more than {max_entries} entries"))
}

/// A result code and its name.
fn code(result: &LdapResult) -> String {
    let shown = result.to_string();
    // What follows is the directory's text, which can name people and machines.
    shown.split(',').next().unwrap_or_default().to_owned()
}

fn settle(permit: BreakerPermit<'_>, has_failed: bool) {
    if has_failed {
        permit.failed();
    } else {
        permit.succeeded();
    }
}

/// What a search has found so far.
#[derive(Default)]
struct Found {
    entries: Vec<Entry>,
    bytes: usize,
}

impl Found {
    fn add(&mut self, entry: StructureTag, max_entries: usize, max_bytes: usize) -> Result<(), Failure> {
        if self.entries.len() >= max_entries {
            return Err(Failure::of_call(too_many(max_entries)));
        }
        let entry = read_entry(entry).ok_or(Fault::Nonsense)?;
        let attributes = entry.attributes.iter();
        let values =
            attributes.map(|attribute| attribute.name.len() + attribute.values.iter().map(Vec::len).sum::<usize>());
        self.bytes += entry.dn.len() + values.sum::<usize>();
        if self.bytes > max_bytes {
            let why = format!("the entries have more than {max_bytes} bytes");
            return Err(Failure::of_call(Error::TooLarge(why)));
        }
        self.entries.push(entry);
        Ok(())
    }
}

/// `SearchResultEntry` (RFC 4511, section 4.5.2); `None` if it is none.
fn read_entry(entry: StructureTag) -> Option<Entry> {
    let mut members = entry.expect_constructed()?.into_iter();
    let dn = text(members.next()?)?;
    let attributes = members.next()?.expect_constructed()?.into_iter().map(|attribute| {
        let mut members = attribute.expect_constructed()?.into_iter();
        let name = text(members.next()?)?;
        let values = members.next()?.expect_constructed()?.into_iter();
        let values = values.map(StructureTag::expect_primitive).collect::<Option<_>>()?;
        Some(Attribute { name, values })
    });
    Some(Entry {
        dn,
        attributes: attributes.collect::<Option<_>>()?,
    })
}

fn text(element: StructureTag) -> Option<String> {
    match element.payload {
        PL::P(bytes) => String::from_utf8(bytes).ok(),
        PL::C(_) => None,
    }
}
