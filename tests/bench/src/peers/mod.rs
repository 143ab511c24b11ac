//! What one would use instead: servers in other languages and runtimes that validate and answer the same.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

/// Where peers come from and go to.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Their sources: `tests/bench/peers`.
    pub sources: PathBuf,
    /// Where they are installed: `target/bench`.
    pub target: PathBuf,
}

/// A server that is measured beside Claimsmith. It is given its environment by the harness: `PORT`, `METADATA_URL`,
/// `AUDIENCE`, `TENANT_ID`, `CALLER`, and `TOKEN_CACHE` if it has such a cache.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// What it is called on the command line: `fastify-cache`.
    pub name: &'static str,
    /// What it is called in the report: `Fastify + jose with token cache`.
    pub title: &'static str,
    /// What it is made of, each with its pinned version.
    pub versions: &'static [(&'static str, &'static str)],
    /// `TOKEN_CACHE`: whether it keeps validated tokens; `None` if it can't.
    pub token_cache: Option<bool>,
    /// Installs it unless it is there, from its registry.
    pub install: fn(&Paths) -> Result<()>,
    /// The program that serves, with its arguments; it must not leave processes behind that outlive it.
    pub command: fn(&Paths) -> Command,
}

/// All of them, in the order of the report.
#[must_use]
pub fn all() -> Vec<Peer> {
    Vec::new()
}
