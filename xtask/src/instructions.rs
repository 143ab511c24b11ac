//! `cargo xtask instructions`: how many instructions the steps of a callout take, held against what they took.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::cargo::{self, cargo, root, target_directory};

/// By how many per cent a step may take more than it took. What is random (seeds of hash maps, addresses) makes less.
const TOLERANCE: f64 = 3.0;

/// Where the functions are whose instructions are counted.
const MEASURED: &str = "claimsmith_instructions::measured::";

/// The functions there.
const STEPS: &[&str] = &[
    "parse",
    "remembered_token",
    "new_token",
    "render",
    "invocation",
    "callout",
    "refusal",
];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Write what is counted now into tests/instructions/counts.toml, to be held against from now on.
    #[arg(long)]
    accept: bool,
}

/// The file of counts.
#[derive(Debug, Deserialize, Serialize)]
struct Recorded {
    instructions: BTreeMap<String, u64>,
}

/// Counts, and compares with what is recorded or records it.
///
/// # Errors
/// When a step takes more than it may, nothing is recorded for it, or nothing can be counted.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let counted = count()?;
    if arguments.accept {
        return accept(counted);
    }
    compare(&recorded()?, &counted)
}

/// The same, as a step of `cargo xtask test`.
///
/// # Errors
/// As [`run`].
pub(crate) fn check() -> Result<()> {
    compare(&recorded()?, &count()?)
}

fn file() -> PathBuf {
    root().join("tests/instructions/counts.toml")
}

fn accept(instructions: BTreeMap<String, u64>) -> Result<()> {
    let comment = "# What each step of a callout takes, in instructions: the functions of src/measured.rs.\n\
                   # Written by `cargo xtask instructions --accept`.\n\n";
    let text = toml::to_string(&Recorded { instructions })?;
    let file = file();
    fs::write(&file, format!("{comment}{text}"))?;
    println!("{text}\nwritten to {}", file.display());
    Ok(())
}

fn recorded() -> Result<BTreeMap<String, u64>> {
    let file = file();
    let text = fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))?;
    let recorded: Recorded =
        toml::from_str(&text).with_context(|| format!("{} is no file of counts", file.display()))?;
    Ok(recorded.instructions)
}

fn compare(recorded: &BTreeMap<String, u64>, counted: &BTreeMap<String, u64>) -> Result<()> {
    let mut more = Vec::new();
    println!("{:<18} {:>11} {:>11} {:>9}", "step", "recorded", "counted", "change");
    for (step, now) in counted {
        let Some(before) = recorded.get(step) else {
            more.push(format!(
                "`{step}` takes {now} instructions, and nothing is recorded for it"
            ));
            continue;
        };
        let change = change(*before, *now);
        println!("{step:<18} {before:>11} {now:>11} {change:>+8.2} %");
        if change > TOLERANCE {
            more.push(format!(
                "`{step}` took {before} instructions and takes {now}: {change:+.2} %"
            ));
        } else if change < -TOLERANCE {
            println!("`{step}` takes fewer: `cargo xtask instructions --accept` keeps it so");
        }
    }
    let gone = recorded.keys().filter(|step| !counted.contains_key(*step));
    more.extend(gone.map(|step| format!("`{step}` is recorded and was not counted")));
    if more.is_empty() {
        return Ok(());
    }
    bail!(
        "{}; at most {TOLERANCE} % more are expected. Make it cheaper, or say in the commit why it has to cost more, after \
         `cargo xtask instructions --accept`",
        more.join("; ")
    )
}

/// By how many per cent `now` is more than `before`.
#[expect(clippy::cast_precision_loss, reason = "no step takes 2^52 instructions")]
fn change(before: u64, now: u64) -> f64 {
    (now as f64 - before as f64) * 100.0 / before as f64
}

/// Does the steps under callgrind; for each, the least of its calls.
fn count() -> Result<BTreeMap<String, u64>> {
    let plugin = cargo::build_plugins()?.join("attribute_map.wasm");
    let program = build()?;
    let home = target_directory().join("instructions");
    let counts = home.join("counts");
    drop(fs::remove_dir_all(&counts));
    fs::create_dir_all(&counts)?;
    let stage = home.join("stage");
    // Fills the cache of compiled plugins: compiling takes long under callgrind, and outside valgrind it would be for
    // another processor than the one that valgrind shows.
    valgrind(&["--tool=none"], &program, &stage, &plugin)?;
    let output = format!("--callgrind-out-file={}", counts.join("of").display());
    let collect = format!("--toggle-collect={MEASURED}*");
    let mut options = vec!["--tool=callgrind", &output, &collect];
    // By their names: of two options with one pattern, callgrind knows the last.
    let dump = |step: &&str| format!("--dump-after={MEASURED}{step}");
    let dumps: Vec<_> = STEPS.iter().map(dump).collect();
    options.extend(dumps.iter().map(String::as_str));
    valgrind(&options, &program, &stage, &plugin)?;
    let mut least = BTreeMap::new();
    for entry in fs::read_dir(&counts)? {
        let text = fs::read_to_string(entry?.path())?;
        if let Some((step, count)) = read(&text) {
            let known = least.entry(step).or_insert(count);
            *known = count.min(*known);
        }
    }
    if let Some(missing) = STEPS.iter().find(|step| !least.contains_key(**step)) {
        bail!(
            "callgrind has not counted `{missing}`; what it wrote is in {}",
            counts.display()
        );
    }
    Ok(least)
}

/// The program with the steps, optimised as its profile says.
fn build() -> Result<PathBuf> {
    let profile = root().join("tests/instructions/profile.toml");
    let profile = profile.to_str().context("the repository's path is not UTF-8")?;
    let name = "claimsmith-instructions";
    cargo::run(&mut cargo(&[
        "build",
        "--workspace",
        "--config",
        profile,
        "--bin",
        name,
    ]))?;
    Ok(target_directory().join("debug").join(name))
}

fn valgrind(options: &[&str], program: &Path, stage: &Path, plugin: &Path) -> Result<()> {
    let mut command = Command::new("valgrind");
    command
        .args(["--quiet", "--error-exitcode=1"])
        .args(options)
        .arg(program)
        .arg(stage)
        .arg(plugin)
        .current_dir(root())
        // All symbols are looked up before anything is counted.
        .env("LD_BIND_NOW", "1")
        .env_remove("RUST_BACKTRACE");
    cargo::run(&mut command).context("is valgrind installed? Debian's package is `valgrind`")
}

/// What callgrind wrote at the end of a step: its name and its instructions.
fn read(text: &str) -> Option<(String, u64)> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let step = value("desc: Trigger: --dump-after=")?.strip_prefix(MEASURED)?;
    Some((step.to_owned(), value("summary:")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
        counts
            .iter()
            .map(|(step, count)| ((*step).to_owned(), *count))
            .collect()
    }

    #[test]
    fn what_callgrind_writes_is_read() {
        let dump =
            "part: 1\n\ndesc: Trigger: --dump-after=claimsmith_instructions::measured::parse\n\nsummary: 54842\n";
        assert_eq!(read(dump), Some(("parse".to_owned(), 54_842)));
        assert_eq!(read("desc: Trigger: Program termination\nsummary: 0\n"), None);
    }

    #[test]
    fn three_per_cent_more_are_borne_and_no_more() {
        let recorded = counts(&[("parse", 1_000)]);
        assert!(compare(&recorded, &counts(&[("parse", 1_030)])).is_ok());
        assert!(compare(&recorded, &counts(&[("parse", 100)])).is_ok());
        let error = compare(&recorded, &counts(&[("parse", 1_031)]))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`parse` took 1000 instructions and takes 1031: +3.10 %;"),
            "{error}"
        );
    }

    #[test]
    fn what_is_only_recorded_or_only_counted_is_told() {
        let error = compare(&counts(&[("a", 1)]), &counts(&[("b", 2)]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`b` takes 2 instructions, and nothing is recorded for it"),
            "{error}"
        );
        assert!(error.contains("`a` is recorded and was not counted"), "{error}");
    }
}
