//! `claimsmith validate`: the host's own checks of requests and responses, offline.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use claimsmith_contract::token_issuance_start::{DEFAULT_MAX_CLAIM_BYTES, MAX_CLAIM_BYTES};
use claimsmith_contract::{Callout, Event, EventData, ParseError, check_response};
use clap::Subcommand;
use serde::Serialize;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Check a request body that Entra would send.
    Request(FileArguments),
    /// Check a response body against what Entra accepts.
    Response {
        #[command(flatten)]
        file: FileArguments,
        /// The request that it answers: attributes are then compared with the ones that it has.
        #[arg(long, value_name = "FILE")]
        request: Option<PathBuf>,
        /// Bytes that all claim ids and values may have, at most 3072.
        #[arg(long, default_value_t = DEFAULT_MAX_CLAIM_BYTES, value_parser = claim_bytes)]
        max_claim_bytes: usize,
    },
}

#[derive(Debug, clap::Args)]
struct FileArguments {
    /// The file with the JSON body.
    file: PathBuf,
    /// The event that the body is of, for example `tokenIssuanceStart`.
    #[arg(long)]
    event: Event,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// As much as a tenant can configure.
fn claim_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok().filter(|bytes| *bytes <= MAX_CLAIM_BYTES);
    bytes.ok_or_else(|| format!("expected a number up to {MAX_CLAIM_BYTES}: Entra accepts no more"))
}

/// What a check found.
#[derive(Serialize)]
struct Report {
    valid: bool,
    problems: Vec<Problem>,
}

#[derive(Serialize)]
struct Problem {
    /// The code that Entra's sign-in log would show; only responses have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    entra_error: Option<u32>,
    /// Where it is, as JSON Pointer; empty for the whole body. Only requests have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    message: String,
}

/// Checks a file and prints what is wrong with it; fails when anything is.
pub(crate) fn validate(arguments: &Arguments) -> anyhow::Result<()> {
    let (file, problems) = match &arguments.what {
        What::Request(file) => (file, check_request(&read(&file.file)?, file.event)),
        What::Response {
            file,
            request,
            max_claim_bytes,
        } => {
            let request = request.as_deref().map(read).transpose()?;
            let body = read(&file.file)?;
            (
                file,
                check_answer(&body, file.event, request.as_deref(), *max_claim_bytes)?,
            )
        }
    };
    let report = Report {
        valid: problems.is_empty(),
        problems,
    };
    print(&report, file)?;
    if !report.valid {
        bail!("{} is not valid", file.file.display());
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

fn check_request(body: &[u8], event: Event) -> Vec<Problem> {
    let problem = |pointer: Option<String>, message: String| Problem {
        entra_error: None,
        pointer,
        message,
    };
    match Callout::parse(body, event) {
        Ok(_) => Vec::new(),
        Err(ParseError::Invalid { problems, .. }) => problems
            .into_iter()
            .map(|found| problem(Some(found.pointer.clone()), found.to_string()))
            .collect(),
        Err(error) => vec![problem(None, error.to_string())],
    }
}

fn check_answer(
    body: &[u8],
    event: Event,
    request: Option<&[u8]>,
    max_claim_bytes: usize,
) -> anyhow::Result<Vec<Problem>> {
    let callout = request
        .map(|request| Callout::parse(request, event))
        .transpose()
        .context("the request that it answers is not valid itself")?;
    let sign_up = match callout.as_ref().map(|callout| &callout.data) {
        Some(EventData::SignUp(sign_up)) => Some(sign_up),
        _ => None,
    };
    let violations = check_response(body, event, sign_up, max_claim_bytes).into_iter();
    Ok(violations
        .map(|violation| Problem {
            entra_error: Some(violation.entra_error.code()),
            pointer: None,
            message: violation.message,
        })
        .collect())
}

fn print(report: &Report, file: &FileArguments) -> anyhow::Result<()> {
    let mut output = std::io::stdout().lock();
    if file.json {
        writeln!(output, "{}", serde_json::to_string_pretty(report)?)?;
        return Ok(());
    }
    for problem in &report.problems {
        let code = problem.entra_error.map(|code| format!("{code} ")).unwrap_or_default();
        writeln!(output, "{code}{}", problem.message)?;
    }
    if report.valid {
        writeln!(output, "{} is a valid {} body", file.file.display(), file.event)?;
    }
    Ok(())
}
