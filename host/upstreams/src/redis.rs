//! Upstreams of kind `redis`: a Redis or Valkey as the second level of caches, which no plugin reaches otherwise.
//!
//! It is never worth waiting for: an answer that takes longer than `timeout` is none, nobody waits for a place or a
//! connection to be made, and a circuit breaker keeps a server that fails from being asked at each callout.

mod config;
mod connection;
mod guarded;
mod load;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_runtime::Breaker;
use redis::{Cmd, FromRedisValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

pub use self::config::RedisConfig;
use self::connection::Connections;

/// Questions at once. What they bring is small, and they go over one connection.
const PLACES: usize = 32;

/// A Redis or Valkey that has been checked, with its connection.
pub struct RedisUpstream {
    /// The tenant's and its own name, for the log.
    tenant: String,
    name: String,
    connections: Connections,
    places: Arc<Semaphore>,
    breaker: Arc<Breaker>,
    timeout: Duration,
}

/// Leave to ask.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

/// Why there is no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotAsked {
    /// It was asked, and answered wrongly, too late or not at all.
    Failed,
    /// It was not asked: its places are taken, or it has failed too often.
    Skipped,
}

impl RedisUpstream {
    /// What there is at a key.
    pub(crate) async fn get(&self, key: &str, until: Instant) -> Result<Option<Vec<u8>>, NotAsked> {
        let mut command = redis::cmd("GET");
        command.arg(key);
        let place = self.place().ok_or(NotAsked::Skipped)?;
        self.ask(place, &command, until).await
    }

    /// Leave to ask, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().map(Place).ok()
    }

    /// Keeps a value for so long.
    pub(crate) async fn set(&self, place: Place, key: &str, value: &[u8], kept: Duration) -> Result<(), NotAsked> {
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let mut command = redis::cmd("SET");
        command.arg(key).arg(value).arg("PX").arg(kept);
        self.ask(place, &command, Instant::now() + self.timeout).await
    }

    /// Removes a key.
    pub(crate) async fn remove(&self, key: &str, until: Instant) -> Result<(), NotAsked> {
        let mut command = redis::cmd("DEL");
        command.arg(key);
        let place = self.place().ok_or(NotAsked::Skipped)?;
        self.ask(place, &command, until).await
    }

    async fn ask<R: FromRedisValue>(&self, place: Place, command: &Cmd, until: Instant) -> Result<R, NotAsked> {
        let permit = self.breaker.permit().ok_or(NotAsked::Skipped)?;
        let own = Instant::now() + self.timeout;
        let answered = timeout_at(until.min(own), self.connections.ask(command)).await;
        drop(place);
        let why = match answered {
            Ok(Ok(answer)) => {
                permit.succeeded();
                return Ok(answer);
            }
            Ok(Err(why)) => why,
            // The callout had less time than the server may take, which says nothing of the server.
            Err(_) if until < own => return Err(NotAsked::Failed),
            Err(_) => {
                self.connections.distrust();
                format!("no answer in {:?}", self.timeout)
            }
        };
        permit.failed();
        tracing::info!(tenant = self.tenant, upstream = self.name, why, "redis failed");
        Err(NotAsked::Failed)
    }
}

impl fmt::Debug for RedisUpstream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisUpstream")
            .field("tenant", &self.tenant)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
