//! Does each step of the callout path a few times, so that callgrind can count its instructions.
//!
//! Given a directory of its own, and the file of `attribute-map`. `cargo xtask instructions` starts it under callgrind,
//! which counts in the functions of [`measured`] alone, and writes what each call of them took.

mod documents;
mod measured;
mod stage;

use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

use crate::stage::{Stage, new_tokens};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let usage = "expected a directory and the file of attribute-map; run `cargo xtask instructions`";
    let directory = arguments.next().context(usage)?;
    let plugin = arguments.next().context(usage)?;
    // As the command's, and written to nowhere.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(io::sink)
        .json()
        .flatten_event(true)
        .with_span_list(false)
        .with_filter_reloading()
        .init();
    // One thread: callgrind follows calls on the thread that makes them.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut stage = runtime.block_on(Stage::set(&directory, &plugin))?;
    // The least of a step's counts is its count: the first call finds nothing warm, and an epoch's tick or a background
    // task can fall into any.
    for token in new_tokens() {
        stage.each_step(&runtime, token)?;
    }
    Ok(())
}
