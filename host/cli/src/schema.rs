//! `claimsmith schema`: the JSON Schemas of what Entra sends and is answered, and the OpenAPI document.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use claimsmith_contract::Event;
use claimsmith_contract::schema::{request, response};
use claimsmith_server::schema::{openapi, problem};
use clap::ValueEnum;
use serde_json::Value;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The event, for example `tokenIssuanceStart`.
    #[arg(required_unless_present_any = ["error", "openapi", "admin_openapi", "write"])]
    event: Option<Event>,
    /// Which of the event's bodies.
    #[arg(value_enum, default_value = "request")]
    body: Body,
    /// Print the schema of the problem document that answers a refused callout.
    #[arg(long, conflicts_with_all = ["event", "openapi", "admin_openapi", "write"])]
    error: bool,
    /// Print the OpenAPI document, which `/openapi.json` answers too.
    #[arg(long, conflicts_with_all = ["event", "admin_openapi", "write"])]
    openapi: bool,
    /// Print the OpenAPI document of the admin API.
    #[arg(long, conflicts_with_all = ["event", "write"])]
    admin_openapi: bool,
    /// Write the documents and, below `schemas`, every schema into this directory.
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "event")]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Body {
    /// What Entra sends.
    Request,
    /// What it is answered.
    Response,
}

/// Prints a schema or the document, or writes all of them.
pub(crate) fn schema(arguments: &Arguments) -> Result<()> {
    let printed = match (arguments.event, arguments.body) {
        (Some(event), Body::Request) => request(event),
        (Some(event), Body::Response) => response(event),
        (None, _) if arguments.error => problem(),
        (None, _) if arguments.openapi => openapi(),
        (None, _) if arguments.admin_openapi => claimsmith_admin::openapi(),
        (None, _) => return arguments.write.as_deref().map_or(Ok(()), write_all),
    };
    write!(std::io::stdout().lock(), "{}", text(&printed)?)?;
    Ok(())
}

fn text(schema: &Value) -> Result<String> {
    Ok(serde_json::to_string_pretty(schema)? + "\n")
}

fn write_all(directory: &Path) -> Result<()> {
    let schemas = directory.join("schemas");
    fs::create_dir_all(&schemas).with_context(|| format!("{} cannot be made", schemas.display()))?;
    for event in Event::ALL {
        write(&schemas.join(format!("{event}.request.json")), &request(event))?;
        write(&schemas.join(format!("{event}.response.json")), &response(event))?;
    }
    write(&schemas.join("error.json"), &problem())?;
    write(&directory.join("openapi.json"), &openapi())?;
    write(&directory.join("admin-openapi.json"), &claimsmith_admin::openapi())
}

fn write(file: &Path, schema: &Value) -> Result<()> {
    fs::write(file, text(schema)?).with_context(|| format!("{} cannot be written", file.display()))
}
