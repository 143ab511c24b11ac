//! What it costs that a plugin calls an upstream: so many calls, and an upstream that answers at once or later.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use toml::{Table, toml};

use crate::configuration::{Configuration, Extension, Tenant, UPSTREAM};
use crate::conformance;
use crate::process::{Server, free_port};
use crate::results::Results;
use crate::rounds::USUAL_CONNECTIONS;
use crate::run::Bench;
use crate::scenario;
use crate::subjects::{Built, CLAIMSMITH, serve as serve_configuration};

/// What is measured.
pub const POINTS: [Point; 9] = [
    Point::new(0, 0),
    Point::new(1, 0),
    Point::new(2, 0),
    Point::new(3, 0),
    Point::new(4, 0),
    Point::new(1, 20),
    Point::new(2, 20),
    Point::new(3, 20),
    Point::new(4, 20),
];
/// Rounds at most: this widens the picture and is no figure.
const ROUNDS: usize = 3;
const TENANT: &str = "bench";
const PLUGIN: &str = "http-caller";

/// Calls to an upstream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// How many, one after the other.
    pub calls: u32,
    /// How long the upstream takes for each.
    pub milliseconds: u32,
}

impl Point {
    const fn new(calls: u32, milliseconds: u32) -> Self {
        Self { calls, milliseconds }
    }

    /// What it is called in the results, and in the configuration.
    #[must_use]
    pub fn name(self) -> String {
        format!("host-calls-{}-of-{}-ms", self.calls, self.milliseconds)
    }

    /// The path of the extension whose plugin does this.
    #[must_use]
    pub fn path(self) -> String {
        format!("/tenants/{TENANT}/extensions/{}", self.name())
    }

    fn settings(self) -> Table {
        let (calls, path) = (self.calls, format!("/after/{}/members/{{id}}", self.milliseconds));
        toml! {
            calls = calls
            upstream = UPSTREAM
            path = path
        }
    }

    /// The claim that the plugin makes of the last response.
    fn tier(self) -> &'static str {
        if self.calls == 0 { "none" } else { "gold" }
    }
}

/// A host whose extensions call an upstream, and that upstream.
#[derive(Debug)]
pub struct Servers {
    /// The host.
    pub host: Server,
    upstream: Server,
}

impl Servers {
    /// Starts the upstream on one core and the host on the other.
    ///
    /// # Errors
    /// When one of them does not start.
    pub async fn start(built: &Built, metadata_url: &str, cores: crate::process::Cores) -> Result<Self> {
        let directory = built.scratch.join("run").join("host-calls");
        std::fs::create_dir_all(&directory)?;
        let port = free_port()?;
        let mut command = Command::new(built.programs.join("claimsmith-bench"));
        command.args(["upstream", &port.to_string()]);
        let upstream = Server::start(&command, cores.load, port, "/healthz", &directory.join("upstream-log")).await?;
        let port = free_port()?;
        configuration(built, metadata_url, upstream.address).write(&directory, port)?;
        let command = serve_configuration(built, "claimsmith", &directory)?;
        let host = Server::start(&command, cores.server, port, "/readyz", &directory.join("log")).await?;
        Ok(Self { host, upstream })
    }

    /// Checks that a callout gets its claim from the upstream; the answer, byte by byte.
    ///
    /// # Errors
    /// When it does not.
    pub async fn check(&self, token: &str, point: Point) -> Result<String> {
        let url = self.host.url(&point.path());
        let answer = conformance::good_answer(&url, token, scenario::request(), None).await?;
        let parsed: Value = serde_json::from_str(&answer)?;
        let tier = parsed.pointer("/data/actions/0/claims/tier").and_then(Value::as_str);
        ensure!(
            tier == Some(point.tier()),
            "{url}: answered `{answer}`, expected the claim `tier` to be `{}`",
            point.tier()
        );
        Ok(answer)
    }

    /// Stops both.
    ///
    /// # Errors
    /// When one of them has ended before.
    pub async fn stop(self) -> Result<()> {
        self.host.stop().await?;
        self.upstream.stop().await
    }
}

/// One tenant with an extension for each point.
fn configuration(built: &Built, metadata_url: &str, upstream: SocketAddr) -> Configuration {
    let component = built.plugins.join("http_caller.wasm");
    let mut configuration = Configuration::of_one(metadata_url, &component, Table::new());
    configuration.tenants = vec![Tenant {
        name: TENANT.to_owned(),
        plugins: vec![(PLUGIN.to_owned(), component)],
        extensions: POINTS
            .into_iter()
            .map(|point| Extension {
                name: point.name(),
                plugin: PLUGIN.to_owned(),
                settings: point.settings(),
                isolation: "fresh",
            })
            .collect(),
        upstream: Some(upstream),
    }];
    configuration
}

/// Measures all points, round by round.
///
/// # Errors
/// When a server does not start or answers wrongly.
pub async fn measure(bench: &Bench, results: &mut Results) -> Result<()> {
    for round in 1..=bench.plan.rounds.min(ROUNDS) {
        bench.progress.say(format!("host calls, round {round}"));
        let servers = Servers::start(&bench.built, &bench.entra.metadata_url()?, bench.cores).await?;
        for point in POINTS {
            let answer = servers.check(&bench.token, point).await?;
            let mut job = bench.job(&servers.host, &answer, USUAL_CONNECTIONS, bench.plan.closed);
            job.paths = vec![point.path()];
            let sample = bench.measure(&servers.host, &job).await?;
            results.add(CLAIMSMITH, &point.name(), sample);
        }
        servers.stop().await?;
    }
    Ok(())
}

/// Serves what plugins call until the process is ended: a member, after so many milliseconds.
///
/// # Errors
/// When the port is taken.
pub async fn serve(port: u16) -> Result<()> {
    let member = async |Path((milliseconds, _id)): Path<(u64, String)>| {
        if milliseconds > 0 {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        }
        ([(CONTENT_TYPE, "application/json")], r#"{"tier":"gold"}"#)
    };
    let router = Router::new()
        .route("/after/{milliseconds}/members/{id}", get(member))
        .route("/healthz", get(async || "alive"));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .await
        .with_context(|| format!("port {port}"))?;
    Ok(axum::serve(listener, router).await?)
}
