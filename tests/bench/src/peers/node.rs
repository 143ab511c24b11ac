//! Fastify and Express, on the machine's Node.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::install::{copy, first_line, once, run};
use super::{Paths, Peer};

const LEAST_NODE: u32 = 20;
const HINT: &str = "Node 20 or later with npm is needed; \
                    on Debian and Ubuntu, the packages nodejs and npm, if they are recent enough";

pub(super) const FASTIFY: Peer = Peer {
    name: "fastify",
    title: "Fastify + jose without token cache",
    versions: &[("fastify", "5.12.8"), ("jose", "6.2.17"), ("lru-cache", "11.5.3")],
    token_cache: Some(false),
    install,
    command: |paths| serve(paths, "fastify.js"),
};

pub(super) const EXPRESS: Peer = Peer {
    name: "express",
    title: "Express + jose without token cache",
    versions: &[
        ("express", "5.3.0"),
        ("ajv", "8.20.0"),
        ("jose", "6.2.17"),
        ("lru-cache", "11.5.3"),
    ],
    token_cache: Some(false),
    install,
    command: |paths| serve(paths, "express.js"),
};

fn home(paths: &Paths) -> PathBuf {
    paths.target.join("node")
}

fn install(paths: &Paths) -> Result<()> {
    let version = first_line(Command::new("node").arg("--version")).unwrap_or_default();
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    if !major.parse().is_ok_and(|major: u32| major >= LEAST_NODE) {
        bail!("`node --version` says `{version}`: {HINT}");
    }
    let home = home(paths);
    copy(&paths.sources.join("node"), &home)?;
    once(&home.join("package-lock.json"), &home, || {
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&home);
        run(&mut npm, HINT)
    })
}

fn serve(paths: &Paths, file: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(home(paths).join(file)).env("NODE_ENV", "production");
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_that_are_installed() {
        let package = include_str!("../../peers/node/package.json");
        for (name, version) in [FASTIFY.versions, EXPRESS.versions].concat() {
            assert!(package.contains(&format!("\"{name}\": \"{version}\"")), "{name}");
        }
    }
}
