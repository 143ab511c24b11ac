//! What one would use instead: servers in other languages and runtimes that validate and answer the same.
//!
//! Their sources are in `tests/bench/peers`, whose README says why they are as they are.

mod install;
mod node;
mod python;
mod rust;

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
    [
        with_and_without_cache(node::FASTIFY, "fastify-cache", "Fastify + jose with token cache"),
        with_and_without_cache(
            rust::WASMTIME_SERVE,
            "wasmtime-serve-reuse",
            "`wasmtime serve`, instances reused, with token cache",
        ),
        with_and_without_cache(node::EXPRESS, "express-cache", "Express + jose with token cache"),
        with_and_without_cache(python::FASTAPI, "fastapi-cache", "FastAPI + PyJWT with token cache"),
        with_and_without_cache(rust::AXUM, "axum-cache", "hand-written axum with token cache"),
    ]
    .concat()
}

/// A peer as it is, and once more with its token cache.
fn with_and_without_cache(peer: Peer, name: &'static str, title: &'static str) -> [Peer; 2] {
    let with_cache = Peer {
        name,
        title,
        token_cache: Some(true),
        ..peer
    };
    [with_cache, peer]
}
