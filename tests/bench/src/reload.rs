//! New versions while running: how long one takes to answer, and what callouts notice of a hundred of them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::time::sleep;
use toml::Table;

use crate::configuration::Configuration;
use crate::conformance;
use crate::load::Pace;
use crate::process::{Server, client, free_port};
use crate::results::{Reload, Results};
use crate::rounds::{USUAL_CONNECTIONS, repeated};
use crate::run::Bench;
use crate::scale::numbered;
use crate::scenario;
use crate::statistics::Summary;
use crate::subjects::{CLAIMSMITH, serve};

/// Part of the maximum at which callouts arrive while components are swapped: compiling takes CPU time on the same core.
const ARRIVALS: f64 = 0.3;
/// How often the host is asked which version answers; between callouts it has the core for the new one.
const POLL: Duration = Duration::from_millis(2);
/// The first number of the swaps that tell how long the others are going to take: each swap is to another digest.
const TRIALS: u64 = 1_000_000;
/// How long a new version may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The builds of the plugin that answers which it is, in the claim `build`.
pub const BUILDS: [&str; 2] = ["a", "b"];

/// Measures both.
///
/// # Errors
/// When the host does not start, answers wrongly, or does not take a new version.
pub async fn measure(bench: &Bench, results: &mut Results) -> Result<()> {
    let per_second = results.values(CLAIMSMITH, &repeated(USUAL_CONNECTIONS).name(), |sample| {
        sample.load.per_second
    });
    let Some(maximum) = Summary::of(per_second) else {
        return Ok(());
    };
    let (total, compiling) = first_answers(bench).await?;
    let rate = maximum.median * ARRIVALS;
    results.reload = Some(under_load(bench, rate, total, compiling).await?);
    Ok(())
}

/// Milliseconds from each new file to the first answer from it, and of them what compiling took.
async fn first_answers(bench: &Bench) -> Result<(Vec<f64>, Vec<f64>)> {
    let directory = bench.built.scratch.join("reload");
    fs::create_dir_all(&directory)?;
    let mut builds = Vec::new();
    for build in BUILDS {
        let file = bench.built.plugins.join(format!("misbehaving-{build}.wasm"));
        builds.push(fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?);
    }
    let first = directory.join("first.wasm");
    fs::write(&first, builds.first().context("no build")?)?;
    let server = start(bench, &directory, &first, Table::new()).await?;
    let (mut total, mut compiling) = (Vec::new(), Vec::new());
    for number in 1..=bench.plan.reloads {
        let turn = number % BUILDS.len();
        let (Some(build), Some(wasm)) = (BUILDS.get(turn), builds.get(turn)) else {
            bail!("no build {turn}");
        };
        let compiled_before = compile_seconds(&server).await?;
        let replaced = replace(&directory, &numbered(wasm, number)?)?;
        let took = answers(bench, &server, replaced, build).await?;
        let compile = compile_seconds(&server).await? - compiled_before;
        total.push(took.as_secs_f64() * 1e3);
        compiling.push(compile * 1e3);
        bench.progress.say(format!(
            "reload {number}/{}: {:.0} ms to the first answer, {:.0} ms of them compiling",
            bench.plan.reloads,
            took.as_secs_f64() * 1e3,
            compile * 1e3
        ));
    }
    server.stop().await?;
    Ok((total, compiling))
}

/// Callouts at a constant rate, first in quiet, then while the plugin is swapped for another digest again and again.
#[expect(clippy::cast_precision_loss, reason = "there are not 2^52 swaps")]
async fn under_load(bench: &Bench, rate: f64, total: Vec<f64>, compiling: Vec<f64>) -> Result<Reload> {
    let directory = bench.built.scratch.join("swaps");
    fs::create_dir_all(&directory)?;
    let wasm = fs::read(bench.built.component())?;
    let server = start(bench, &directory, &bench.built.component(), scenario::rules()?).await?;
    let answer = scenario::answer()?;
    let url = server.url(scenario::PATH);
    let answer = conformance::good_answer(&url, &bench.token, scenario::request(), Some(&answer)).await?;
    let mut job = bench.job(&server, &answer, USUAL_CONNECTIONS, bench.plan.open);
    job.pace = Pace::Open { per_second: rate };
    let quiet = bench.measure(&server, &job).await?;
    let mut tried = TRIALS;
    tokio::select! {
        sample = bench.measure(&server, &job) => sample?,
        failed = swap(&server, &directory, &wasm, &mut tried) => return Err(failed),
    };
    let as_long = job.warm_up + job.duration;
    job.duration = as_long.mul_f64(bench.plan.swaps as f64 / (tried - TRIALS).max(1) as f64);
    bench.progress.say(format!(
        "reload: {} swaps at {rate:.0} callouts/s, about {} s",
        bench.plan.swaps,
        job.duration.as_secs()
    ));
    let mut swaps = 0;
    let swapping = tokio::select! {
        sample = bench.measure(&server, &job) => sample?,
        failed = swap(&server, &directory, &wasm, &mut swaps) => return Err(failed),
    };
    bench.progress.say(format!(
        "reload: p99 {:.2} ms without, {:.2} ms during {swaps} swaps",
        quiet.load.p99, swapping.load.p99
    ));
    server.stop().await?;
    Ok(Reload {
        total,
        compiling,
        quiet,
        swapping,
        swaps,
    })
}

/// Swaps until it is dropped.
async fn swap(server: &Server, directory: &Path, wasm: &[u8], swaps: &mut u64) -> anyhow::Error {
    loop {
        if let Err(error) = swap_once(server, directory, wasm, *swaps).await {
            return error;
        }
        *swaps += 1;
    }
}

async fn swap_once(server: &Server, directory: &Path, wasm: &[u8], number: u64) -> Result<()> {
    let before = metric(server, "claimsmith_catalog_generation").await?;
    let replaced = replace(directory, &numbered(wasm, usize::try_from(number)? + 1)?)?;
    while metric(server, "claimsmith_catalog_generation").await? <= before {
        if replaced.elapsed() > PATIENCE {
            bail!("the host did not take swap {number}");
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// With nothing compiled: each version that a run before this one swapped in has its digest again.
async fn start(bench: &Bench, directory: &Path, component: &Path, settings: Table) -> Result<Server> {
    let cache = directory.join("cache");
    if cache.exists() {
        fs::remove_dir_all(cache)?;
    }
    let port = free_port()?;
    let configuration = Configuration::of_one(&bench.entra.metadata_url()?, component, settings);
    configuration.write(directory, port)?;
    let command = serve(&bench.built, "claimsmith", directory)?;
    Server::start(&command, bench.cores.server, port, "/readyz", &directory.join("log")).await
}

/// Replaces the plugin's file in one step; when that was.
fn replace(directory: &Path, wasm: &[u8]) -> Result<Instant> {
    let scratch = directory.join("next.wasm");
    fs::write(&scratch, wasm)?;
    let replaced = Instant::now();
    fs::rename(scratch, directory.join("tenants/bench/plugins/attribute-map.wasm"))?;
    Ok(replaced)
}

/// Waits for an answer of this build.
async fn answers(bench: &Bench, server: &Server, since: Instant, build: &str) -> Result<Duration> {
    let url = server.url(scenario::PATH);
    loop {
        let answer = conformance::good_answer(&url, &bench.token, scenario::request(), None).await?;
        let answer: Value = serde_json::from_str(&answer)?;
        if answer.pointer("/data/actions/0/claims/build").and_then(Value::as_str) == Some(build) {
            return Ok(since.elapsed());
        }
        if since.elapsed() > PATIENCE {
            bail!("the host did not take build {build}; it answers {answer}");
        }
        sleep(POLL).await;
    }
}

/// Seconds that the host has spent compiling.
async fn compile_seconds(server: &Server) -> Result<f64> {
    metric(server, "claimsmith_compile_seconds_sum").await
}

/// The value of a metric without labels; 0 if the host has not counted it yet.
async fn metric(server: &Server, name: &str) -> Result<f64> {
    let text = client()?.get(server.url("/metrics")).send().await?.text().await?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(Ok(0.0), |value| Ok(value.trim().parse()?))
}
