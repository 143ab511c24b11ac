//! What checks need of the system: servers that tests start, and valgrind. Nothing is skipped without them.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};

use crate::cargo;

/// A Debian package.
struct Package {
    name: &'static str,
    /// The step that needs it.
    step: &'static str,
    /// What for.
    purpose: &'static str,
    is_installed: fn() -> bool,
}

const PACKAGES: &[Package] = &[
    Package {
        name: "postgresql",
        step: "tests",
        purpose: "sql upstreams",
        is_installed: has_postgresql,
    },
    Package {
        name: "slapd",
        step: "tests",
        purpose: "directory upstreams",
        is_installed: || Path::new("/usr/sbin/slapd").exists() || is_command("slapd"),
    },
    Package {
        name: "ldap-utils",
        step: "tests",
        purpose: "filling the directory",
        is_installed: || is_command("ldapadd"),
    },
    Package {
        name: "redis-server",
        step: "tests",
        purpose: "the cache's second level",
        is_installed: || is_command("redis-server"),
    },
    Package {
        name: "python3-aiosmtpd",
        step: "tests",
        purpose: "mail upstreams",
        is_installed: || succeeds("/usr/bin/python3", &["-c", "import aiosmtpd"]),
    },
    Package {
        name: "prometheus",
        step: "tests",
        purpose: "alert rules, by promtool",
        is_installed: || is_command("promtool"),
    },
    Package {
        name: "valgrind",
        step: "instructions",
        purpose: "counting instructions",
        is_installed: || is_command("valgrind"),
    },
];

/// Sees to it that what these steps need is there, before an hour of them has run; with `install`, has apt install it.
///
/// # Errors
/// The packages that are missing, and the command that installs them.
pub(crate) fn ensure_installed(is_wanted: impl Fn(&str) -> bool, install: bool) -> Result<()> {
    let missing = || -> Vec<&Package> {
        let wanted = PACKAGES.iter().filter(|package| is_wanted(package.step));
        wanted.filter(|package| !(package.is_installed)()).collect()
    };
    let mut lacking = missing();
    if install && !lacking.is_empty() {
        apt_get(&["update"])?;
        let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
        arguments.extend(lacking.iter().map(|package| package.name));
        apt_get(&arguments)?;
        lacking = missing();
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = lacking.iter().map(|package| package.name).collect();
    let told = lacking.iter().map(|package| {
        format!(
            "\n  {:<18} for {} (step `{}`)",
            package.name, package.purpose, package.step
        )
    });
    bail!(
        "the checks need Debian packages that are not installed:{}\ninstall them with `apt-get install \
         --no-install-recommends {}`, or run `cargo xtask test --install-packages`",
        told.collect::<String>(),
        names.join(" ")
    );
}

/// Debian has each version in a directory of its own, out of `PATH`.
fn has_postgresql() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("bin/postgres"))
        .any(|server| server.exists())
}

fn is_command(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    ensure!(
        is_command("apt-get"),
        "there is no apt-get here: only Debian's packages can be installed by this command"
    );
    cargo::run(
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}
