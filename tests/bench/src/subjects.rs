//! Who is measured: each one a name, and how it is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};

use crate::configuration::Configuration;
use crate::entra::{AUDIENCE, CALLER, DIRECTORY, Entra};
use crate::peers::{self, Peer};
use crate::process::{Cores, Server, free_port};
use crate::scenario;

/// Where everything is that was built before.
#[derive(Clone, Debug)]
pub struct Built {
    /// The directory with `claimsmith`, `claimsmith-native-twin` and this program.
    pub programs: PathBuf,
    /// The directory with plugins: `attribute_map.wasm`, and the two builds of the plugin that says which it is.
    pub plugins: PathBuf,
    /// A directory for what is written while measuring: `target/bench`.
    pub scratch: PathBuf,
    /// The peers' sources and where they are installed.
    pub peers: peers::Paths,
}

impl Built {
    /// The plugin that is measured.
    #[must_use]
    pub fn component(&self) -> PathBuf {
        self.plugins.join("attribute_map.wasm")
    }
}

/// One who is measured.
#[derive(Clone, Debug)]
pub struct Subject {
    /// On the command line and in file names.
    pub name: &'static str,
    /// In the report.
    pub title: &'static str,
    /// How it is started.
    pub kind: Kind,
}

/// How a subject is started.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A program with Claimsmith's command line.
    Claimsmith {
        /// `claimsmith`, or the twin.
        program: &'static str,
        /// `[audit] mode`.
        audit: &'static str,
        /// The binding's isolation.
        isolation: &'static str,
    },
    /// This program's constant answer.
    Floor,
    /// A peer.
    Peer(Peer),
}

/// Claimsmith as it is quoted.
pub const CLAIMSMITH: &str = "claimsmith";
/// Claimsmith with the audit that answers only what has been recorded.
pub const CLAIMSMITH_REQUIRED: &str = "claimsmith-required";
/// Claimsmith with instances that are used again.
pub const CLAIMSMITH_REUSE: &str = "claimsmith-reuse";
/// Claimsmith with the plugin linked in.
pub const NATIVE_TWIN: &str = "native-twin";
/// The constant answer.
pub const FLOOR: &str = "floor";
/// The peer that keeps validated tokens, on Node.
pub const FASTIFY_CACHE: &str = "fastify-cache";
/// The same without.
pub const FASTIFY: &str = "fastify";
/// The peer that is a component too.
pub const WASMTIME_SERVE: &str = "wasmtime-serve";

/// All subjects, in the order of the report.
#[must_use]
pub fn all() -> Vec<Subject> {
    let claimsmith = |name, title, program, audit, isolation| Subject {
        name,
        title,
        kind: Kind::Claimsmith {
            program,
            audit,
            isolation,
        },
    };
    let mut subjects = vec![
        claimsmith(CLAIMSMITH, "Claimsmith", "claimsmith", "best_effort", "fresh"),
        claimsmith(
            CLAIMSMITH_REQUIRED,
            "Claimsmith, audit `required`",
            "claimsmith",
            "required",
            "fresh",
        ),
        claimsmith(
            CLAIMSMITH_REUSE,
            "Claimsmith, isolation `reuse`",
            "claimsmith",
            "best_effort",
            "reuse",
        ),
        claimsmith(
            NATIVE_TWIN,
            "native twin",
            "claimsmith-native-twin",
            "best_effort",
            "fresh",
        ),
        Subject {
            name: FLOOR,
            title: "floor (axum, a constant)",
            kind: Kind::Floor,
        },
    ];
    subjects.extend(peers::all().into_iter().map(|peer| Subject {
        name: peer.name,
        title: peer.title,
        kind: Kind::Peer(peer),
    }));
    subjects
}

impl Subject {
    /// Whether it validates tokens, and so can be asked with a new one each time, and be wrong.
    #[must_use]
    pub fn validates(&self) -> bool {
        !matches!(self.kind, Kind::Floor)
    }

    /// Starts it on the server's core and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&self, built: &Built, entra: &Entra, cores: Cores) -> Result<Server> {
        let port = free_port()?;
        let directory = built.scratch.join("run").join(self.name);
        std::fs::create_dir_all(&directory)?;
        let (command, ready) = match self.kind {
            Kind::Claimsmith {
                program,
                audit,
                isolation,
            } => {
                let mut configuration =
                    Configuration::of_one(&entra.metadata_url()?, &built.component(), scenario::rules()?);
                configuration.audit = audit;
                for extension in configuration
                    .tenants
                    .iter_mut()
                    .flat_map(|tenant| &mut tenant.extensions)
                {
                    extension.isolation = isolation;
                }
                configuration.write(&directory, port)?;
                (serve(built, program, &directory)?, "/readyz")
            }
            Kind::Floor => {
                let mut command = Command::new(built.programs.join("claimsmith-bench"));
                command.args(["floor", &port.to_string()]);
                (command, "/healthz")
            }
            Kind::Peer(peer) => (
                environment((peer.command)(&built.peers), &peer, entra, port)?,
                "/healthz",
            ),
        };
        Server::start(&command, cores.server, port, ready, &directory.join("log")).await
    }
}

/// The command that serves a configuration directory.
///
/// # Errors
/// When the program was not built.
pub fn serve(built: &Built, program: &str, directory: &Path) -> Result<Command> {
    let path = built.programs.join(program);
    ensure!(
        path.exists(),
        "{} does not exist; `cargo xtask bench` builds it",
        path.display()
    );
    let mut command = Command::new(path);
    command
        .args(["serve", "--config", "claimsmith.toml"])
        .current_dir(directory);
    Ok(command)
}

fn environment(mut command: Command, peer: &Peer, entra: &Entra, port: u16) -> Result<Command> {
    command
        .env("PORT", port.to_string())
        .env("METADATA_URL", entra.metadata_url()?)
        .env("AUDIENCE", AUDIENCE.to_string())
        .env("TENANT_ID", DIRECTORY.to_string())
        .env("CALLER", CALLER.to_string());
    if let Some(cache) = peer.token_cache {
        command.env("TOKEN_CACHE", if cache { "on" } else { "off" });
    }
    Ok(command)
}
