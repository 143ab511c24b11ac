//! One run of the benchmark from its beginning to its results.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::entra::Entra;
use crate::load::{Job, Measured, Pace};
use crate::process::{Cores, Server, pinned};
use crate::progress::Progress;
use crate::report::machine::Machine;
use crate::results::{Results, Sample};
use crate::subjects::{self, Built, Kind, Subject};
use crate::{conformance, host_calls, reload, rounds, scale, scenario, shape};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether everything that only widens the picture is left out.
    pub quick: bool,
    /// How often each figure is measured, interleaved with the others.
    pub rounds: usize,
    /// How long callouts are sent before they count.
    pub warm_up: Duration,
    /// How long a closed loop is measured.
    pub closed: Duration,
    /// How long an open loop is measured.
    pub open: Duration,
    /// Tokens that are signed before, to be sent once each.
    pub pool: usize,
    /// New components whose way to their first answer is measured.
    pub reloads: usize,
    /// Swaps under load.
    pub swaps: usize,
}

impl Plan {
    /// Everything, in about 25 minutes.
    #[must_use]
    pub fn full(rounds: usize) -> Self {
        Self {
            quick: false,
            rounds,
            warm_up: Duration::from_millis(700),
            closed: Duration::from_millis(1500),
            open: Duration::from_secs(5),
            pool: 30_000,
            reloads: 10,
            swaps: 100,
        }
    }

    /// The figures alone, roughly, in about five minutes.
    #[must_use]
    pub fn quick(rounds: usize) -> Self {
        Self {
            quick: true,
            rounds,
            warm_up: Duration::from_millis(400),
            closed: Duration::from_millis(600),
            open: Duration::from_secs(2),
            pool: 10_000,
            reloads: 4,
            swaps: 10,
        }
    }
}

/// What all measurements of a run use.
#[derive(Debug)]
pub struct Bench {
    /// What was built.
    pub built: Built,
    /// Who has which core.
    pub cores: Cores,
    /// Who signs.
    pub entra: Entra,
    /// The token that is repeated.
    pub token: String,
    /// The file of tokens that are not.
    pub pool: PathBuf,
    /// How much is measured.
    pub plan: Plan,
    /// What the user sees.
    pub progress: Progress,
}

/// Plugins that call an upstream.
const HOST_CALLS: &str = "host-calls";
/// Callouts of several sizes.
const PAYLOADS: &str = "payloads";
/// New versions while running; it needs Claimsmith's throughput.
const RELOAD: &str = "reload";
/// Many bindings and digests.
const SCALE: &str = "scale";

/// Measures everything, or the subjects and parts whose names are in `only`.
///
/// # Errors
/// When a subject does not start, does not do its work, or answers wrongly under load.
pub async fn run(built: Built, plan: Plan, only: &[String]) -> Result<Results> {
    let chosen = choose(only)?;
    let mut results = Results {
        machine: Machine::read()?,
        quick: plan.quick,
        partial: !only.is_empty(),
        rounds: plan.rounds,
        seconds: 0,
        versions: crate::report::machine::versions(&built),
        subjects: Vec::new(),
        missing: Vec::new(),
        series: Vec::new(),
        scale: Vec::new(),
        cold_start: None,
        reload: None,
    };
    let progress = Progress::begin(expected(&plan, &chosen, only.is_empty()));
    let subjects = install(&chosen, &built, &progress, &mut results);
    progress.say(format!("signing {} tokens", plan.pool));
    let bench = Bench::begin(built, plan, progress).await?;
    rounds::closed(&bench, &subjects, &mut results).await?;
    rounds::open(&bench, &subjects, &mut results).await?;
    if measures(PAYLOADS, only) && !plan.quick {
        shape::measure(&bench, &subjects, &mut results).await?;
    }
    if measures(HOST_CALLS, only) && !plan.quick {
        host_calls::measure(&bench, &mut results).await?;
    }
    if measures(RELOAD, only) {
        reload::measure(&bench, &mut results).await?;
    }
    if measures(SCALE, only) {
        scale::measure(&bench, &mut results).await?;
    }
    results.seconds = bench.progress.passed().as_secs();
    Ok(results)
}

/// Starts one subject, writes the job of a closed loop for it, and waits.
///
/// # Errors
/// When there is no such subject, or it does not start.
pub async fn hold(built: Built, name: &str) -> Result<()> {
    let plan = Plan::quick(1);
    let subjects = choose(&[name.to_owned()])?;
    let subject = subjects
        .first()
        .with_context(|| format!("{name} is not one that is started"))?;
    let bench = Bench::begin(built, plan, Progress::begin(Duration::ZERO)).await?;
    let server = subject.start(&bench.built, &bench.entra, bench.cores).await?;
    let answer = conformance::check(&bench.entra, server.address).await?;
    let job = bench.job(&server, &answer, rounds::USUAL_CONNECTIONS, Duration::from_secs(5));
    let file = bench.built.scratch.join("job.json");
    std::fs::write(&file, serde_json::to_vec(&job)?)?;
    bench.progress.say(format!("{name} serves; {}", file.display()));
    std::future::pending().await
}

/// Whether a part of the run, or a subject, is wanted.
fn measures(name: &str, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|wanted| wanted == name)
}

/// The subjects with these names; all, if there is none.
fn choose(only: &[String]) -> Result<Vec<Subject>> {
    let all = subjects::all();
    let subjects = all.iter().map(|subject| subject.name);
    let names: Vec<_> = subjects.chain([PAYLOADS, HOST_CALLS, RELOAD, SCALE]).collect();
    for name in only {
        ensure!(
            names.contains(&name.as_str()),
            "there is no `{name}` to measure; there is: {}",
            names.join(", ")
        );
    }
    Ok(all.into_iter().filter(|subject| measures(subject.name, only)).collect())
}

/// Installs the peers. One that cannot be had is left out, and the report says so.
fn install(chosen: &[Subject], built: &Built, progress: &Progress, results: &mut Results) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for subject in chosen {
        if let Kind::Peer(peer) = subject.kind {
            progress.say(format!("{}: installing, unless it is there", subject.name));
            if let Err(error) = (peer.install)(&built.peers) {
                progress.say(format!("{}: left out: {error:#}", subject.name));
                let title = subject.title.to_owned();
                results.missing.push((title, format!("{error:#}")));
                continue;
            }
            let versions = peer
                .versions
                .iter()
                .map(|(what, version)| ((*what).to_owned(), (*version).to_owned()));
            for version in versions {
                if !results.versions.contains(&version) {
                    results.versions.push(version);
                }
            }
        }
        let named = (subject.name.to_owned(), subject.title.to_owned());
        results.subjects.push(named);
        subjects.push(subject.clone());
    }
    subjects
}

/// How long a run is expected to take, without installing.
fn expected(plan: &Plan, subjects: &[Subject], whole: bool) -> Duration {
    let starts = Duration::from_secs(1);
    let closed = (plan.warm_up + plan.closed) * rounds::points(plan, true).count().try_into().unwrap_or(1) + starts;
    let subjects = u32::try_from(subjects.len()).unwrap_or(u32::MAX);
    let rounds = u32::try_from(plan.rounds).unwrap_or(u32::MAX);
    let open = (plan.warm_up + plan.open) * 4 + starts * 2;
    let rest = match (whole, plan.quick) {
        (false, _) => Duration::ZERO,
        (true, true) => Duration::from_secs(100),
        (true, false) => Duration::from_mins(13),
    };
    let signing = Duration::from_millis(u64::try_from(plan.pool).unwrap_or(u64::MAX));
    (closed * subjects + open) * rounds + rest + signing
}

impl Bench {
    async fn begin(built: Built, plan: Plan, progress: Progress) -> Result<Self> {
        let entra = Entra::start().await?;
        let pool = built.scratch.join("tokens");
        entra.write_pool(plan.pool, &pool)?;
        Ok(Self {
            cores: Cores::choose()?,
            token: entra.token()?,
            built,
            entra,
            pool,
            plan,
            progress,
        })
    }

    /// A job for the scenario's callout.
    #[must_use]
    pub fn job(&self, server: &Server, answer: &str, connections: usize, duration: Duration) -> Job {
        Job {
            address: server.address,
            paths: vec![scenario::PATH.to_owned()],
            body: scenario::request().to_owned(),
            answer: answer.to_owned(),
            token: self.token.clone(),
            pool: None,
            pace: Pace::Closed,
            connections,
            warm_up: self.plan.warm_up,
            duration,
        }
    }

    /// Has the load generator do a job.
    ///
    /// # Errors
    /// When an answer was wrong, or the server is gone.
    pub async fn measure(&self, server: &Server, job: &Job) -> Result<Sample> {
        let mut command = std::process::Command::new(self.built.programs.join("claimsmith-bench"));
        command.arg("load");
        let mut command = Command::from(pinned(self.cores.load, &command));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let before = server.cpu_time()?;
        let mut generator = command.spawn().context("the load generator cannot be started")?;
        let mut stdin = generator
            .stdin
            .take()
            .context("the load generator has no standard input")?;
        stdin.write_all(&serde_json::to_vec(job)?).await?;
        drop(stdin);
        let output = generator.wait_with_output().await?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        let load: Measured = serde_json::from_slice(&output.stdout).context("the load generator's result")?;
        let busy = server.cpu_time()?.saturating_sub(before).as_secs_f64();
        // The warm-up counts on both sides: the server is as busy then.
        let server_busy = (busy / (load.seconds + job.warm_up.as_secs_f64())).min(1.0);
        Ok(Sample {
            load,
            server_busy,
            resident_bytes: server.resident_bytes()?,
        })
    }
}
