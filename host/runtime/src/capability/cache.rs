//! `claimsmith:plugin/cache`.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use wasmtime::component::Resource;

use crate::bindings::cache::{self, Error, Lookup, Stale};
use crate::capability::{Asked, CallContext, CapabilityFuture, CapabilityResult};
use crate::journal::Digester;
use crate::state::CallState;

/// A result of a cache that is on its way.
pub type CacheFuture<'c, R> = CapabilityFuture<'c, R, Error>;

/// What one binding keeps from one callout to another.
pub trait Cache: fmt::Debug + Send + Sync {
    /// The value of a key, if there is one that is fresh.
    fn get(&self, key: String, context: CallContext) -> CacheFuture<'_, Option<Vec<u8>>>;

    /// The value of a key, or the key to fill; waits while somebody else fills it.
    fn get_or_reserve(&self, key: String, context: CallContext) -> CacheFuture<'_, CacheLookup>;

    /// Puts a value: fresh for `fresh`, then stale for `stale`, both in milliseconds.
    fn put(&self, key: String, value: Vec<u8>, fresh: u32, stale: u32, context: CallContext) -> CacheFuture<'_, ()>;

    /// Removes a key.
    fn remove(&self, key: String, context: CallContext) -> CacheFuture<'_, ()>;
}

/// A key that its holder has been given to fill. Dropped, it is passed on.
pub trait ReservedKey: fmt::Debug + Send + Sync {
    /// Puts the value and gives it to all who wait for it: fresh for `fresh`, then stale for `stale`, both in milliseconds.
    fn fill(self: Box<Self>, value: Vec<u8>, fresh: u32, stale: u32, context: CallContext) -> CacheFuture<'static, ()>;

    /// Gives the key back unfilled; nobody is given it for so many milliseconds while there is a stale value.
    fn postpone(self: Box<Self>, milliseconds: u32, context: CallContext) -> CacheFuture<'static, ()>;
}

/// What there is of a key.
#[derive(Debug, Deserialize, Serialize)]
pub enum CacheLookup {
    /// A value.
    Fresh(Vec<u8>),
    /// A value that is older than it should be, and the key to fill anew, if nobody else is doing it.
    Stale(Vec<u8>, Option<Box<dyn ReservedKey>>),
    /// No value: the key to fill.
    Reserved(Box<dyn ReservedKey>),
}

/// A reserved key, as guests hold it.
#[derive(Debug)]
pub struct Reservation {
    /// For the digest of what it is filled with.
    key: String,
    /// None once the invocation it was given to is over: an instance that is kept still has the handle.
    reserved: Option<Box<dyn ReservedKey>>,
}

impl Reservation {
    /// Passes the key on.
    pub(crate) fn release(&mut self) {
        self.reserved = None;
    }
}

impl CallState {
    fn cache(&self) -> Result<Arc<dyn Cache>, Error> {
        self.grants.cache().map_err(Error::NotGranted)
    }
}

impl cache::Host for CallState {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let cache = self.cache();
        self.through(asked("cache.get", &key, &[], &[]), |context| async move {
            cache?.get(key, context).await
        })
        .await
    }

    async fn get_or_reserve(&mut self, key: String) -> wasmtime::Result<Result<Lookup, Error>> {
        let cache = self.cache();
        let asked = asked("cache.get-or-reserve", &key, &[], &[]);
        let name = key.clone();
        let looked_up = self
            .through(
                asked,
                |context| async move { cache?.get_or_reserve(name, context).await },
            )
            .await?;
        Ok(match looked_up {
            Ok(CacheLookup::Fresh(value)) => Ok(Lookup::Fresh(value)),
            Ok(CacheLookup::Stale(value, reserved)) => {
                let reservation = reserved.map(|reserved| self.hold(key, reserved)).transpose()?;
                Ok(Lookup::Stale(Stale { value, reservation }))
            }
            Ok(CacheLookup::Reserved(reserved)) => Ok(Lookup::Reserved(self.hold(key, reserved)?)),
            Err(error) => Err(error),
        })
    }

    async fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        fresh: u32,
        stale: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let cache = self.cache();
        self.through(
            asked("cache.put", &key, &value, &[fresh, stale]),
            |context| async move { cache?.put(key, value, fresh, stale, context).await },
        )
        .await
    }

    async fn remove(&mut self, key: String) -> wasmtime::Result<Result<(), Error>> {
        let cache = self.cache();
        self.through(asked("cache.remove", &key, &[], &[]), |context| async move {
            cache?.remove(key, context).await
        })
        .await
    }
}

impl cache::HostReservation for CallState {
    async fn fill(
        &mut self,
        reservation: Resource<Reservation>,
        value: Vec<u8>,
        fresh: u32,
        stale: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let Reservation { key, reserved } = self.table().delete(reservation)?;
        self.through(
            asked("cache.reservation.fill", &key, &value, &[fresh, stale]),
            |context| async move {
                let reserved = reserved.ok_or(Error::DeadlineExceeded)?;
                reserved.fill(value, fresh, stale, context).await
            },
        )
        .await
    }

    async fn postpone(
        &mut self,
        reservation: Resource<Reservation>,
        milliseconds: u32,
    ) -> wasmtime::Result<Result<(), Error>> {
        let Reservation { key, reserved } = self.table().delete(reservation)?;
        let asked = asked("cache.reservation.postpone", &key, &[], &[milliseconds]);
        self.through(asked, |context| async move {
            let reserved = reserved.ok_or(Error::DeadlineExceeded)?;
            reserved.postpone(milliseconds, context).await
        })
        .await
    }

    async fn drop(&mut self, reservation: Resource<Reservation>) -> wasmtime::Result<()> {
        self.table().delete(reservation)?;
        Ok(())
    }
}

impl CallState {
    fn hold(&mut self, key: String, reserved: Box<dyn ReservedKey>) -> wasmtime::Result<Resource<Reservation>> {
        let reserved = Some(reserved);
        Ok(self.table().push(Reservation { key, reserved })?)
    }
}

fn asked(function: &'static str, key: &str, value: &[u8], times: &[u32]) -> Asked<'static> {
    let mut arguments = Digester::default();
    arguments.add(key.as_bytes());
    arguments.add(value);
    for time in times {
        arguments.add(&time.to_le_bytes());
    }
    Asked {
        function,
        upstream: "",
        arguments,
        timeout: None,
    }
}

capability_error!(Error {
    NotGranted(_) => "not_granted",
    TooLarge(_) => "too_large",
    QuotaExceeded => "quota_exceeded",
    DeadlineExceeded => "deadline_exceeded",
});

impl CapabilityResult for Option<Vec<u8>> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, Vec::len)
    }
}

impl CapabilityResult for CacheLookup {
    fn bytes(&self) -> usize {
        match self {
            Self::Fresh(value) | Self::Stale(value, _) => value.len(),
            Self::Reserved(_) => 0,
        }
    }
}

// What is recorded of a cache: that a key was reserved, and not by whom.

impl Serialize for dyn ReservedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Box<dyn ReservedKey> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Box::new(ReplayedKey))
    }
}

/// A key of a replay, which gives what was recorded and fills nothing.
#[derive(Debug)]
struct ReplayedKey;

impl ReservedKey for ReplayedKey {
    fn fill(self: Box<Self>, _: Vec<u8>, _: u32, _: u32, _: CallContext) -> CacheFuture<'static, ()> {
        Box::pin(async { Ok(()) })
    }

    fn postpone(self: Box<Self>, _: u32, _: CallContext) -> CacheFuture<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// [`Error`], whose bindings have a resource beside it and therefore no derived form.
#[derive(Deserialize, Serialize)]
#[serde(remote = "Error")]
enum RecordedError {
    NotGranted(String),
    TooLarge(String),
    QuotaExceeded,
    DeadlineExceeded,
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RecordedError::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        RecordedError::deserialize(deserializer)
    }
}
