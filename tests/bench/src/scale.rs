//! Many bindings over many components: callouts in turn to all of them, memory, and how long a start takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

use crate::configuration::{Configuration, Extension, Tenant};
use crate::conformance;
use crate::process::{Server, free_port};
use crate::results::{Results, ScaleRow, ScaleSample};
use crate::rounds::USUAL_CONNECTIONS;
use crate::run::Bench;
use crate::scenario;
use crate::subjects::serve;

/// Bindings and digests that figures are made of; measured in every round.
pub const FIGURES: [(usize, usize); 4] = [(1, 1), (1000, 1), (100, 100), (1000, 100)];
/// The others; measured once, in a full run.
const OTHERS: [(usize, usize); 10] = [
    (10, 1),
    (10, 10),
    (100, 1),
    (100, 10),
    (1000, 10),
    (1000, 1000),
    (10_000, 1),
    (10_000, 10),
    (10_000, 100),
    (10_000, 1000),
];
/// What the start that is a figure has.
pub const START: (usize, usize) = (1000, 100);

/// Measures starts, memory and callouts.
///
/// # Errors
/// When a server does not start or answers wrongly.
pub async fn measure(bench: &Bench, results: &mut Results) -> Result<()> {
    let directory = bench.built.scratch.join("scale");
    fs::create_dir_all(&directory)?;
    let others: &[(usize, usize)] = if bench.plan.quick { &[] } else { &OTHERS };
    let most = FIGURES
        .iter()
        .chain(others)
        .map(|(_, digests)| *digests)
        .max()
        .unwrap_or(1);
    let components = write_components(bench, most)?;
    results.cold_start = Some(cold_start(bench, &directory, &components).await?);
    for round in 1..=bench.plan.rounds {
        for size in FIGURES {
            one(bench, &directory, &components, size, results).await?;
        }
        if round == 1 && !others.is_empty() {
            compile_all(bench, &directory, &components, (most, most)).await?;
            for size in others {
                one(bench, &directory, &components, *size, results).await?;
            }
        }
    }
    Ok(())
}

/// The same code under different digests: each has a custom section with its number.
fn write_components(bench: &Bench, digests: usize) -> Result<Vec<PathBuf>> {
    let directory = bench.built.scratch.join("components");
    fs::create_dir_all(&directory)?;
    let wasm = fs::read(bench.built.component())?;
    let write = |number| {
        let file = directory.join(format!("{number}.wasm"));
        fs::write(&file, numbered(&wasm, number)?)?;
        Ok(file)
    };
    (0..digests).map(write).collect()
}

/// A component with a custom section, which changes its digest and nothing else.
pub(crate) fn numbered(wasm: &[u8], number: usize) -> Result<Vec<u8>> {
    // Section 0, of 6 bytes: a name of one, and four of the number.
    let number = u32::try_from(number)?.to_be_bytes();
    Ok([wasm, &[0, 6, 1, b'n'], &number].concat())
}

/// So many extensions with one binding each, over so many components; ten to a tenant, or as many as make 100 tenants.
fn configuration(
    bench: &Bench,
    cache: &Path,
    components: &[PathBuf],
    (bindings, digests): (usize, usize),
) -> Result<Configuration> {
    let tenants = (bindings / 10).clamp(1, 100);
    let mut configuration = Configuration::of_one(
        &bench.entra.metadata_url()?,
        &bench.built.component(),
        scenario::rules()?,
    );
    configuration.cache = Some(cache.to_owned());
    configuration.tenants = (0..tenants)
        .map(|tenant| Tenant {
            name: format!("tenant-{tenant}"),
            plugins: Vec::new(),
            extensions: Vec::new(),
            upstream: None,
        })
        .collect();
    let rules = scenario::rules()?;
    for number in 0..bindings {
        let digest = number % digests;
        // In blocks, so that a tenant has as few plugins as its bindings can have.
        let tenant = number * tenants / bindings;
        let (Some(tenant), Some(component)) = (configuration.tenants.get_mut(tenant), components.get(digest)) else {
            bail!("no tenant or component for binding {number}");
        };
        let plugin = format!("plugin-{digest}");
        if tenant.plugins.iter().all(|(name, _)| *name != plugin) {
            tenant.plugins.push((plugin.clone(), component.clone()));
        }
        tenant.extensions.push(Extension {
            name: format!("claims-{number}"),
            plugin,
            settings: rules.clone(),
            isolation: "fresh",
        });
    }
    Ok(configuration)
}

fn cache(directory: &Path) -> PathBuf {
    directory.join("aot")
}

/// A host reads files that were changed just now twice, because their times cannot be trusted yet; each tenant has just
/// got its links. Those of a host that is started again are older.
const SETTLED: Duration = Duration::from_millis(2500);

async fn start(bench: &Bench, directory: &Path, configuration: &Configuration) -> Result<Server> {
    let port = free_port()?;
    configuration.write(directory, port)?;
    tokio::time::sleep(SETTLED).await;
    let command = serve(&bench.built, "claimsmith", directory)?;
    Server::start(&command, bench.cores.server, port, "/readyz", &directory.join("log")).await
}

/// Seconds of a start with nothing in the cache.
async fn cold_start(bench: &Bench, directory: &Path, components: &[PathBuf]) -> Result<f64> {
    let (bindings, digests) = START;
    bench.progress.say(format!(
        "scale: a start of {bindings} bindings over {digests} digests that are all to be compiled (a minute or so)"
    ));
    let cache = cache(directory);
    if cache.exists() {
        fs::remove_dir_all(&cache)?;
    }
    let configuration = configuration(bench, &cache, components, START)?;
    let server = start(bench, directory, &configuration).await?;
    let seconds = server.started_in.as_secs_f64();
    bench.progress.say(format!("scale: that took {seconds:.1} s"));
    server.stop().await?;
    Ok(seconds)
}

/// Fills the cache, on every core.
async fn compile_all(bench: &Bench, directory: &Path, components: &[PathBuf], size: (usize, usize)) -> Result<()> {
    bench.progress.say(format!(
        "scale: compiling {} components into the cache (some minutes)",
        size.1
    ));
    configuration(bench, &cache(directory), components, size)?.write(directory, free_port()?)?;
    let mut command = Command::new(bench.built.programs.join("claimsmith"));
    let output = command
        .args(["compile", "--all", "--config", "claimsmith.toml"])
        .current_dir(directory)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .context("claimsmith compile cannot be started")?;
    if !output.status.success() {
        bail!("claimsmith compile failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

async fn one(
    bench: &Bench,
    directory: &Path,
    components: &[PathBuf],
    (bindings, digests): (usize, usize),
    results: &mut Results,
) -> Result<()> {
    let configuration = configuration(bench, &cache(directory), components, (bindings, digests))?;
    let paths = configuration.paths();
    // The first start may compile; what is measured is one that does not.
    let server = start(bench, directory, &configuration).await?;
    let idle_bytes = server.resident_bytes()?;
    let first = server.url(paths.first().context("no binding")?);
    let answer = scenario::answer()?;
    let answer = conformance::good_answer(&first, &bench.token, scenario::request(), Some(&answer)).await?;
    let mut job = bench.job(&server, &answer, USUAL_CONNECTIONS, bench.plan.closed);
    job.paths = paths;
    let sample = bench.measure(&server, &job).await?;
    let warm_start = server.started_in.as_secs_f64();
    bench.progress.say(format!(
        "scale: {bindings} bindings over {digests} digests: ready after {warm_start:.2} s, {:.0} callouts/s, p99 {:.2} ms, {:.0} MiB",
        sample.load.per_second,
        sample.load.p99,
        mebibytes(sample.resident_bytes)
    ));
    server.stop().await?;
    let sample = ScaleSample {
        warm_start,
        idle_bytes,
        sample,
    };
    let row = results
        .scale
        .iter_mut()
        .find(|row| (row.bindings, row.digests) == (bindings, digests));
    match row {
        Some(row) => row.samples.push(sample),
        None => results.scale.push(ScaleRow {
            bindings,
            digests,
            samples: vec![sample],
        }),
    }
    Ok(())
}

/// Bytes in MiB.
#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^52 bytes")]
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}
