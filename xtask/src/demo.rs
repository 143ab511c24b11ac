//! `cargo xtask demo`: the whole product on one machine, without a cloud.

mod show;
mod stage;

use anyhow::Result;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::cargo;
use stage::Stage;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Exit after the sign-ins instead of running on.
    #[arg(long)]
    once: bool,
    /// Print one JSON array of the sign-ins, and nothing else, to standard output.
    #[arg(long, requires = "once")]
    json: bool,
}

/// Somebody who signs in.
struct Person {
    name: &'static str,
    kind: &'static str,
    directory: &'static str,
    mail: &'static str,
}

/// The workforce directory of `demo/local-entra.toml`, and its extension.
const WORKFORCE: &str = "5ad1c8a6-6b0f-4c5e-9f0e-0c0a5e1d0001";
const WORKFORCE_EXTENSION: &str = "5ad1c8a6-6b0f-4c5e-9f0e-0c0a5e1d00e1";
const CUSTOMERS: &str = "5ad1c8a6-6b0f-4c5e-9f0e-0c0a5e1d0002";

const PEOPLE: &[Person] = &[
    Person {
        name: "Ada Byron",
        kind: "a member of the workforce directory",
        directory: WORKFORCE,
        mail: "ada@contoso.example",
    },
    Person {
        name: "Lin",
        kind: "a social account of the customers' directory, without user principal name",
        directory: CUSTOMERS,
        mail: "lin@social.example",
    },
    Person {
        name: "Grace Murray",
        kind: "a guest of the workforce directory",
        directory: WORKFORCE,
        mail: "Grace@Fabrikam.example",
    },
];

/// What one sign-in showed.
#[derive(Debug, Serialize)]
struct SignIn {
    /// Who signed in, by mail.
    user: String,
    /// The ID token's claims without the extension.
    before: Map<String, Value>,
    /// The ID token's claims.
    after: Map<String, Value>,
    /// What the extension added.
    added: Map<String, Value>,
    /// How long Entra waited for the callout, in milliseconds.
    callout_ms: f64,
    /// The callout's outcome, as the host logged it.
    outcome: String,
    /// The host's log line of the callout.
    #[serde(skip)]
    log_line: String,
}

/// Builds, starts, signs three people in, and runs on unless told otherwise.
///
/// # Errors
/// When anything of it fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    eprintln!("building the plugins and the host (minutes the first time, seconds later) ...");
    let plugins = cargo::build_plugins()?;
    let host = cargo::build_host()?;
    let stage = Stage::set(&host, &plugins)?;
    let sign_ins = PEOPLE
        .iter()
        .map(|person| stage.sign_in(person))
        .collect::<Result<Vec<_>>>()?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&sign_ins)?);
    } else {
        for (person, sign_in) in PEOPLE.iter().zip(&sign_ins) {
            show::sign_in(person, sign_in);
        }
    }
    if arguments.once {
        return Ok(());
    }
    show::what_to_try(&stage);
    stage.run_on()
}
