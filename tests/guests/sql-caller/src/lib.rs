//! Asks a database.
//!
//! The user's display name holds the request as JSON, whatever is in it, and the claims tell what came of it: this is how
//! tests try requests that no good plugin makes.

use std::time::Duration;

use claimsmith_plugin::sql::{self, Row, Rows, Statement, Value};
use claimsmith_plugin::{Callout, Claims, Context as _, Error, Result, deadline};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Of the rows, as a claim.
const MAX_SHOWN: usize = 2_000;

#[claimsmith_plugin::settings]
struct Settings {
    /// The database's name in place of the request's.
    database: Option<String>,
}

/// A request that a test wants.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    #[serde(default = "default_database")]
    database: String,
    /// A statement's name.
    statement: Option<String>,
    /// A statement's text, or.
    text: Option<String>,
    #[serde(default)]
    parameters: Vec<Json>,
    /// Instead of `parameters`, one of so many bytes.
    parameter_bytes: Option<usize>,
    /// Whether it is executed for its effect.
    #[serde(default)]
    execute: bool,
    timeout_ms: Option<u64>,
    /// How often to ask.
    #[serde(default = "once")]
    times: usize,
    /// Whether an error is the plugin's failure.
    #[serde(default)]
    fail: bool,
}

fn default_database() -> String {
    "hr".to_owned()
}

const fn once() -> usize {
    1
}

#[claimsmith_plugin::token_issuance_start]
fn provide_claims(callout: &Callout, settings: &Settings) -> Result<Claims> {
    let probe = callout.user()?.display_name.as_deref().context("display name")?;
    let mut probe: Probe = serde_json::from_str(probe).context("the request")?;
    if let Some(database) = &settings.database {
        probe.database.clone_from(database);
    }
    let mut results = Vec::new();
    let mut claims = Claims::new();
    for _ in 0..probe.times {
        match ask(&probe) {
            Ok((result, shown)) => {
                results.push(result);
                claims = Claims::new().with("rows", shown.chars().take(MAX_SHOWN).collect::<String>());
            }
            Err(error) if probe.fail => return Err(Error::from(error)),
            Err(error) => {
                results.push(code(&error));
                claims = Claims::new().with("error", error.to_string());
            }
        }
    }
    let left = deadline::remaining().as_millis().to_string();
    Ok(claims.with("results", results).with("left_ms", left))
}

fn ask(probe: &Probe) -> Result<(String, String), sql::Error> {
    let database = sql::database(probe.database.as_str());
    let database = match probe.timeout_ms {
        Some(timeout) => database.timeout(Duration::from_millis(timeout)),
        None => database,
    };
    let statement = match (&probe.statement, &probe.text) {
        (Some(name), _) => Statement::from(name),
        (None, text) => sql::text(text.clone().unwrap_or_default()),
    };
    let parameters: Vec<Value> = match probe.parameter_bytes {
        Some(bytes) => vec!["x".repeat(bytes).into()],
        None => probe.parameters.iter().map(value).collect(),
    };
    if probe.execute {
        let count = database.execute(statement, &parameters)?;
        return Ok((format!("executed {count}"), String::new()));
    }
    let rows = database.query(statement, &parameters)?;
    Ok((format!("rows {}", rows.len()), shown(&rows)))
}

fn value(json: &Json) -> Value {
    match json {
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match number.as_i64() {
            Some(integer) => integer.into(),
            None => number.as_f64().into(),
        },
        Json::String(text) => text.into(),
        Json::Array(bytes) => {
            let bytes = bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok());
            Value::Bytes(bytes.collect())
        }
        Json::Null | Json::Object(_) => Value::Null,
    }
}

/// The rows as JSON, in which each value has its type before it.
fn shown(rows: &Rows) -> String {
    let cell = |(name, value): (&str, &Value)| {
        let value = match value {
            Value::Null => json!("null"),
            Value::Boolean(value) => json!(["boolean", value]),
            Value::Integer(value) => json!(["integer", value]),
            Value::Real(value) => json!(["real", value]),
            Value::Text(value) => json!(["text", value]),
            Value::Bytes(value) => json!(["bytes", value]),
        };
        (name.to_owned(), value)
    };
    let row = |row: Row<'_>| Json::Object(row.iter().map(cell).collect());
    Json::Array(rows.iter().map(row).collect()).to_string()
}

fn code(error: &sql::Error) -> String {
    match error {
        sql::Error::NotGranted(_) => "not-granted".to_owned(),
        sql::Error::NotAllowed(_) => "not-allowed".to_owned(),
        sql::Error::Invalid(_) => "invalid".to_owned(),
        sql::Error::TooLarge(_) => "too-large".to_owned(),
        sql::Error::Failed { code, .. } => format!("failed {}", code.as_deref().unwrap_or_default()),
        sql::Error::Unavailable(_) => "unavailable".to_owned(),
        sql::Error::QuotaExceeded => "quota-exceeded".to_owned(),
        sql::Error::DeadlineExceeded => "deadline-exceeded".to_owned(),
        _ => "other".to_owned(),
    }
}
