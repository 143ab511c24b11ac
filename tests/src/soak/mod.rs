//! The soak: a real host under good and hostile callouts, clients that go away, and reloads, stopped and started again,
//! which must have afterwards what it had before.

mod change;
mod load;
mod sample;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{Platform, Stage};
use load::Counts;
use sample::Sample;

/// How long one host lives at most before it is stopped and the next one started.
const LIFE: Duration = Duration::from_mins(5);
/// How many hosts there are at least.
const LIVES: u32 = 2;
/// How long a host may take to have what it had: idle threads of the runtime end after ten seconds.
const SETTLE: Duration = Duration::from_secs(20);
/// How long a host may take to end: `server.drain_timeout`, and some for a busy machine.
const STOP: Duration = Duration::from_secs(15);

const HOST: &str = "runtime.breaker.consecutive_failures = 4294967295
runtime.breaker.failure_rate = 1.0
watch.rescan = \"500ms\"
";

/// What a soak found.
#[derive(Debug, Default)]
pub struct Report {
    counts: Counts,
    lives: Vec<Life>,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Life {
    base: Sample,
    most: Sample,
    end: Sample,
    stopped_in: Duration,
}

/// Runs for so long; `progress` is told a line now and then.
pub async fn run(time: Duration, progress: impl Fn(&str)) -> Report {
    let lives = LIVES.max(u32::try_from(time.as_secs() / LIFE.as_secs()).unwrap_or(u32::MAX));
    let mut report = Report::default();
    for number in 1..=lives {
        progress(&format!("host {number} of {lives}"));
        life(time / lives, &mut report, &progress).await;
    }
    report
}

async fn life(time: Duration, report: &mut Report, progress: &impl Fn(&str)) {
    let stage = Stage::new().await.host_config(HOST);
    let platform = Arc::new(load::tenants(stage).start().await);
    // Pools, caches and warm slots fill.
    let until = Instant::now() + time * 2 / 5;
    traffic(&platform, until, report, progress).await;
    let base = settled(&platform, None).await;
    let until = Instant::now() + time * 3 / 5;
    let most = traffic(&platform, until, report, progress).await;
    let end = settled(&platform, Some(&base)).await;
    report.problems.extend(end.exceeds(&base));

    let stopped_in = stop(platform, report).await;
    report.lives.push(Life {
        base,
        most,
        end,
        stopped_in,
    });
}

/// Everything at once until then; the most of everything that was seen.
async fn traffic(platform: &Arc<Platform>, until: Instant, report: &mut Report, progress: &impl Fn(&str)) -> Sample {
    let stop = Arc::new(AtomicBool::new(false));
    let load = load::start(platform, &stop);
    let changes = tokio::spawn(change::all(Arc::clone(platform), Arc::clone(&stop)));
    let mut most = Sample::default();
    let mut told = Instant::now();
    while Instant::now() < until {
        sleep(Duration::from_millis(500)).await;
        let sample = Sample::take(platform).await;
        most = most.max(&sample);
        platform.host.forget_log();
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            let left = until.saturating_duration_since(told).as_secs();
            progress(&format!("{left:>5} s left in this phase; {sample}"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    let counts = load.join_all().await;
    for (counts, problems) in counts {
        report.counts.add(&counts);
        report.problems.extend(problems);
    }
    match changes.await {
        Ok(changes) => report.counts.changes += changes,
        Err(error) => report.problems.push(format!("the changes ended: {error}")),
    }
    most
}

/// What the host has once it is quiet: as little as `base`, or after some time whatever it is.
async fn settled(platform: &Platform, base: Option<&Sample>) -> Sample {
    let until = Instant::now() + SETTLE;
    loop {
        sleep(Duration::from_millis(250)).await;
        let sample = Sample::take(platform).await;
        let quiet = sample.is_quiet() && base.is_none_or(|base| sample.exceeds(base).is_empty());
        if quiet || Instant::now() > until {
            return sample;
        }
    }
}

/// Stops the host while callouts are in flight; how long it took.
async fn stop(platform: Arc<Platform>, report: &mut Report) -> Duration {
    let stop = Arc::new(AtomicBool::new(false));
    let in_flight = load::abandoned(&platform, &stop).await;
    let started = Instant::now();
    platform.host.terminate();
    sleep(Duration::from_millis(100)).await;
    drop(in_flight);
    let Some(mut platform) = Arc::into_inner(platform) else {
        report.problems.push("a client still uses the host".to_owned());
        return started.elapsed();
    };
    match tokio::time::timeout(STOP, platform.host.ended()).await {
        Ok(status) if status.success() => {}
        Ok(status) => report.problems.push(format!("the host ended with {status}")),
        Err(_) => report
            .problems
            .push(format!("the host did not end within {STOP:?} of SIGTERM")),
    }
    started.elapsed()
}

impl Report {
    /// What is wrong; nothing if all is well.
    #[must_use]
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The report for people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines = vec![self.counts.to_string(), Sample::HEADINGS.to_owned()];
        for (number, life) in (1..).zip(&self.lives) {
            for (when, sample) in [("base", &life.base), ("most", &life.most), ("end", &life.end)] {
                lines.push(format!("{:<14}{}", format!("host {number}, {when}"), sample.row()));
            }
            lines.push(format!("host {number} stopped in {:?}", life.stopped_in));
        }
        lines.extend(self.problems.iter().map(|problem| format!("PROBLEM: {problem}")));
        lines.join("\n")
    }

    /// The report for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let life = |life: &Life| {
            json!({
                "base": life.base.json(),
                "most": life.most.json(),
                "end": life.end.json(),
                "stopped_in_ms": life.stopped_in.as_millis(),
            })
        };
        json!({
            "counts": self.counts.json(),
            "hosts": self.lives.iter().map(life).collect::<Vec<_>>(),
            "problems": self.problems,
        })
    }
}
