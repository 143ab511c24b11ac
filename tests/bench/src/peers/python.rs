//! `FastAPI`, on the machine's Python, with packages of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::install::{copy, once, run};
use super::{Paths, Peer};

const HINT: &str =
    "Python 3.11 or later with venv is needed; on Debian and Ubuntu, the packages python3 and python3-venv";

pub(super) const FASTAPI: Peer = Peer {
    name: "fastapi",
    title: "FastAPI + PyJWT without token cache",
    versions: &[
        ("fastapi", "0.165.0"),
        ("pydantic", "2.14.3"),
        ("pyjwt", "2.15.1"),
        ("cryptography", "50.0.2"),
        ("uvicorn", "0.54.0"),
        ("uvloop", "0.23.0"),
        ("httptools", "0.9.0"),
        ("cachetools", "8.0.1"),
    ],
    token_cache: Some(false),
    install,
    command,
};

fn home(paths: &Paths) -> PathBuf {
    paths.target.join("fastapi")
}

fn install(paths: &Paths) -> Result<()> {
    let home = home(paths);
    copy(&paths.sources.join("fastapi"), &home)?;
    let requirements = home.join("requirements.txt");
    once(&requirements, &home, || {
        let environment = home.join("venv");
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv", "--clear"]).arg(&environment), HINT)?;
        let mut pip = Command::new(environment.join("bin/pip"));
        // The file names every package, so that nothing comes in without a hash.
        pip.args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--require-hashes",
        ])
        .arg("--requirement")
        .arg(&requirements);
        run(&mut pip, HINT)
    })
}

fn command(paths: &Paths) -> Command {
    let home = home(paths);
    let mut python = Command::new(home.join("venv/bin/python"));
    python.arg("serve.py").current_dir(home);
    python
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_that_are_installed() {
        let requirements = include_str!("../../peers/fastapi/requirements.txt");
        for (name, version) in FASTAPI.versions {
            assert!(requirements.contains(&format!("{name}=={version} ")), "{name}");
        }
    }
}
