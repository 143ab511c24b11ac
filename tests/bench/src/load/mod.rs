//! The load generator: a process of its own with one thread, which sends callouts over kept connections, checks every
//! answer, and counts how long each took.
//!
//! It is told what to do by a [`Job`] on standard input and answers with what it [`Measured`] on standard output. An
//! answer that is not exactly the expected one ends it with an error: a wrong answer is never a number.

mod client;
mod pace;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use client::Requests;

/// What is to be sent, where, and how fast.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    /// Where the server listens.
    pub address: SocketAddr,
    /// The callouts' paths, which are asked in turn.
    pub paths: Vec<String>,
    /// The callouts' body.
    pub body: String,
    /// The answers' body, byte by byte.
    pub answer: String,
    /// The bearer token of every callout, or of the warm-up alone when there is a pool.
    pub token: String,
    /// A file with one token a line, each of which is sent once. The measurement ends with the last of them.
    pub pool: Option<PathBuf>,
    /// How fast callouts are sent.
    pub pace: Pace,
    /// How many connections are kept.
    pub connections: usize,
    /// How long callouts are sent before anything is counted; each path is asked twice at least.
    pub warm_up: Duration,
    /// How long is measured.
    pub duration: Duration,
}

/// How fast callouts are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pace {
    /// Closed loop: each connection sends its next callout when it has its answer.
    Closed,
    /// Open loop: so many callouts a second are due, whatever the server does. Each one's latency counts from when it was
    /// due, so that a server that stalls is charged for all that had to wait (no coordinated omission).
    Open {
        /// Callouts a second.
        per_second: f64,
    },
}

/// What came out. Latencies are in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Callouts that were answered.
    pub requests: u64,
    /// How long that took.
    pub seconds: f64,
    /// Callouts a second.
    pub per_second: f64,
    /// The median latency.
    pub p50: f64,
    /// The latency that 99 of 100 have at most.
    pub p99: f64,
    /// The latency that 999 of 1,000 have at most.
    pub p999: f64,
    /// The largest latency.
    pub max: f64,
    /// The share of the time in which the generator had something to do: near 1 in a closed loop, it was the generator that
    /// was measured. It is not known of an open loop, and 1.
    pub generator_busy: f64,
    /// Whether callouts that were due were sent; false when more waited than the generator holds.
    pub kept_up: bool,
    /// Whether the measurement ended early because every token of the pool had been sent.
    pub tokens_used_up: bool,
}

/// What a pace gives back.
pub(crate) struct Tally {
    latencies: Histogram<u64>,
    elapsed: Duration,
    /// Of that, the time in which nothing was to be done.
    idle: Duration,
    kept_up: bool,
    tokens_used_up: bool,
}

/// Largest latency that is told apart, in microseconds; what takes longer counts as this.
const MAX_LATENCY_US: u64 = 120_000_000;

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            latencies: Histogram::new_with_bounds(1, MAX_LATENCY_US, 3)?,
            elapsed: Duration::ZERO,
            idle: Duration::ZERO,
            kept_up: true,
            tokens_used_up: false,
        })
    }

    fn record(&mut self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(microseconds);
    }

    fn measured(&self) -> Measured {
        let latency = |quantile| milliseconds(self.latencies.value_at_quantile(quantile));
        let seconds = self.elapsed.as_secs_f64();
        let requests = self.latencies.len();
        Measured {
            requests,
            seconds,
            per_second: count(requests) / seconds,
            p50: latency(0.5),
            p99: latency(0.99),
            p999: latency(0.999),
            max: milliseconds(self.latencies.max()),
            generator_busy: 1.0 - self.idle.as_secs_f64() / seconds,
            kept_up: self.kept_up,
            tokens_used_up: self.tokens_used_up,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^52 microseconds")]
fn milliseconds(microseconds: u64) -> f64 {
    microseconds as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "a run counts far fewer than 2^52 callouts")]
fn count(requests: u64) -> f64 {
    requests as f64
}

/// Does a job on this thread: warms up, then measures.
///
/// # Errors
/// When the server cannot be reached, closes a connection, or answers anything but what was expected.
pub fn run(job: &Job) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, work(job))
}

async fn work(job: &Job) -> Result<Measured> {
    let mut connections = Vec::with_capacity(job.connections);
    for _ in 0..job.connections {
        connections.push(client::Connection::open(job.address).await?);
    }
    let warm_up = Requests::repeating(job);
    pace::at_least(&mut connections, &warm_up, job.paths.len() * 2).await?;
    pace::run(&mut connections, &warm_up, job.pace, job.warm_up)
        .await
        .context("while warming up")?;
    let requests = Requests::of(job)?;
    let tally = pace::run(&mut connections, &requests, job.pace, job.duration).await?;
    Ok(tally.measured())
}

#[cfg(test)]
mod tests;
