//! Closed and open loops over all subjects, round by round.

use anyhow::{Context as _, Result};

use crate::conformance;
use crate::load::Pace;
use crate::results::{Results, Sample};
use crate::run::{Bench, Plan};
use crate::scenario;
use crate::statistics::Summary;
use crate::subjects::{CLAIMSMITH, NATIVE_TWIN, Subject};

/// Connections of the closed loops.
pub const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Connections of what is measured with one number of them.
pub const USUAL_CONNECTIONS: usize = 16;
/// Connections of the open loops: more than are ever busy while the server keeps up.
const OPEN_CONNECTIONS: usize = 64;
/// Parts of the measured maximum at which callouts arrive in the open loops.
pub const ARRIVALS: [(&str, f64); 2] = [("50 %", 0.5), ("80 %", 0.8)];

/// A closed loop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// How many connections.
    pub connections: usize,
    /// Whether each callout has another token.
    pub new_tokens: bool,
}

impl Point {
    /// What it is called in the results.
    #[must_use]
    pub fn name(self) -> String {
        let token = if self.new_tokens { "new" } else { "repeated" };
        format!("{} connections, {token} token", self.connections)
    }
}

/// A closed loop with a token that is repeated.
#[must_use]
pub fn repeated(connections: usize) -> Point {
    Point {
        connections,
        new_tokens: false,
    }
}

/// A closed loop with a new token in each callout.
#[must_use]
pub fn new_tokens() -> Point {
    Point {
        connections: USUAL_CONNECTIONS,
        new_tokens: true,
    }
}

/// What an open loop is called in the results.
#[must_use]
pub fn arrivals(share: &str) -> String {
    format!("open loop, {share} of Claimsmith's maximum")
}

/// The closed loops of one subject in one round.
pub(crate) fn points(_plan: &Plan, validates: bool) -> impl Iterator<Item = Point> + use<> {
    let repeated = CONNECTIONS.into_iter().map(repeated);
    repeated.chain(validates.then(new_tokens))
}

/// Measures all closed loops. A subject's server is started anew in each round: every new token is new to it.
///
/// # Errors
/// When a subject does not start, does not do its work, or answers wrongly under load.
pub async fn closed(bench: &Bench, subjects: &[Subject], results: &mut Results) -> Result<()> {
    for round in 1..=bench.plan.rounds {
        for subject in subjects {
            one_subject(bench, subject, round, results)
                .await
                .with_context(|| format!("{} failed", subject.name))?;
        }
    }
    Ok(())
}

async fn one_subject(bench: &Bench, subject: &Subject, round: usize, results: &mut Results) -> Result<()> {
    let server = subject.start(&bench.built, &bench.entra, bench.cores).await?;
    let answer = if subject.validates() && round == 1 {
        conformance::check(&bench.entra, server.address).await?
    } else {
        let url = server.url(scenario::PATH);
        conformance::good_answer(&url, &bench.token, scenario::request(), Some(&scenario::answer()?)).await?
    };
    let mut told = Vec::new();
    for point in points(&bench.plan, subject.validates()) {
        let mut job = bench.job(&server, &answer, point.connections, bench.plan.closed);
        job.pool = point.new_tokens.then(|| bench.pool.clone());
        let sample = bench.measure(&server, &job).await?;
        told.push(format!("{:.0}", sample.load.per_second));
        results.add(subject.name, &point.name(), sample);
    }
    let rounds = bench.plan.rounds;
    bench.progress.say(format!(
        "round {round}/{rounds}, {}: {} callouts/s (1, 16, 64 connections; new tokens)",
        subject.name,
        told.join(", ")
    ));
    server.stop().await
}

/// Measures the open loops of Claimsmith and of its twin, both at parts of what Claimsmith did at most.
///
/// # Errors
/// As [`closed`].
pub async fn open(bench: &Bench, subjects: &[Subject], results: &mut Results) -> Result<()> {
    let per_second = |sample: &Sample| sample.load.per_second;
    let maxima = CONNECTIONS
        .into_iter()
        .filter_map(|connections| Summary::of(results.values(CLAIMSMITH, &repeated(connections).name(), per_second)));
    let Some(maximum) = maxima.map(|summary| summary.median).max_by(f64::total_cmp) else {
        return Ok(());
    };
    let both = subjects
        .iter()
        .filter(|subject| [CLAIMSMITH, NATIVE_TWIN].contains(&subject.name));
    let both: Vec<_> = both.collect();
    for round in 1..=bench.plan.rounds {
        for subject in &both {
            let server = subject.start(&bench.built, &bench.entra, bench.cores).await?;
            let url = server.url(scenario::PATH);
            let answer = conformance::good_answer(&url, &bench.token, scenario::request(), None).await?;
            for (name, share) in ARRIVALS {
                let mut job = bench.job(&server, &answer, OPEN_CONNECTIONS, bench.plan.open);
                let rate = maximum * share;
                job.pace = Pace::Open { per_second: rate };
                let sample = bench.measure(&server, &job).await?;
                let load = sample.load;
                let kept_up = if load.kept_up { "" } else { "; it did not keep up" };
                bench.progress.say(format!(
                    "open loop, round {round}/{}, {} at {rate:.0}/s ({name}): p50 {:.2} ms, p99 {:.2} ms{kept_up}",
                    bench.plan.rounds, subject.name, load.p50, load.p99
                ));
                results.add(subject.name, &arrivals(name), sample);
            }
            server.stop().await?;
        }
    }
    Ok(())
}
