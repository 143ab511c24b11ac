//! The binding's settings: what they are read into, and how they are checked.

use std::cell::Cell;

use serde::de::DeserializeOwned;

pub use crate::bindings::lifecycle::Problem;
use crate::{Context as _, Result, grants};

/// The type a plugin's settings are read into. [`#[claimsmith_plugin::settings]`](macro@crate::settings) implements it.
///
/// What is wrong with settings is what their `Deserialize` refuses, so a check beyond types belongs there too:
/// `#[serde(try_from = "…")]` or `#[serde(deserialize_with = "…")]` on the member it is about, whose path then is in the
/// [`Problem`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not this plugin's settings type",
    label = "not marked as settings",
    note = "write `#[claimsmith_plugin::settings]` before the type; a plugin without settings has an empty one: `struct Settings {{}}`"
)]
pub trait Settings: DeserializeOwned {}

/// Reads settings from JSON.
///
/// # Errors
/// [`internal`](crate::ErrorKind::Internal) when they are not what the type wants: the host checks settings before a
/// binding serves.
pub fn read<S: Settings>(json: &str) -> Result<S> {
    serde_json::from_str(json).context("settings")
}

/// Checks settings as the host does before a binding serves. No problem: accepted.
///
/// ```
/// use claimsmith_plugin::settings;
///
/// #[claimsmith_plugin::settings]
/// struct Settings {
///     greetings: Vec<String>,
/// }
///
/// let problems = settings::check::<Settings>(r#"{ "greetings": ["Hello", 7] }"#);
/// assert_eq!(problems[0].path, "greetings[1]");
/// assert_eq!(problems[0].message, "invalid type: integer `7`, expected a string");
/// ```
#[must_use]
pub fn check<S: Settings>(json: &str) -> Vec<Problem> {
    let _check = Check::begin();
    let _of_another_check = grants::take_wrong();
    let mut reader = serde_json::Deserializer::from_str(json);
    let problem = match serde_path_to_error::deserialize::<_, S>(&mut reader) {
        Ok(_) => match reader.end() {
            Ok(()) => return grants::take_wrong().into_iter().map(of_whole).collect(),
            Err(error) => Some(problem(String::new(), &error)),
        },
        Err(error) => {
            let path = if error.path().iter().len() == 0 {
                String::new()
            } else {
                error.path().to_string()
            };
            Some(problem(path, error.inner()))
        }
    };
    problem.into_iter().collect()
}

fn of_whole(message: String) -> Problem {
    Problem {
        path: String::new(),
        message,
    }
}

fn problem(path: String, error: &serde_json::Error) -> Problem {
    let mut message = error.to_string();
    // The JSON is the host's rendering of its configuration: its lines and columns mean nothing to the reader.
    if let Some(end) = message.rfind(" at line ") {
        message.truncate(end);
    }
    Problem { path, message }
}

/// Whether settings are being [checked](check), rather than read for a callout.
///
/// For a `Deserialize` that checks something too dear for every callout, such as compiling a pattern that a rule only
/// sometimes needs.
#[must_use]
pub fn are_being_checked() -> bool {
    CHECKING.get()
}

thread_local! {
    static CHECKING: Cell<bool> = const { Cell::new(false) };
}

struct Check;

impl Check {
    fn begin() -> Self {
        CHECKING.set(true);
        Self
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        CHECKING.set(false);
    }
}
