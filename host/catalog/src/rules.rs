//! Rules that a tenant's configuration must follow beyond its types.

use std::time::Duration;

use claimsmith_contract::Event;
use claimsmith_token::MetadataStore;

use crate::error::ConfigError;
use crate::source::{Source, Step};
use crate::tenant::{ExtensionConfig, TenantConfig};

/// The shortest deadline that leaves room for a callout, and Entra's own maximum (contract.md, section 3.1).
const DEADLINES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// Every reading of Entra's "3 KB".
const MAX_CLAIM_BYTES: usize = 3_072;
/// More makes a stolen token last longer than any clock error explains.
const MAX_CLOCK_LEEWAY: Duration = Duration::from_mins(10);

/// Names become parts of URLs, file names and metric labels.
///
/// # Errors
/// What is expected.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_');
    if !name.is_empty() && name.len() <= 63 && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot be the name of a {what}: expected 1 to 63 of a-z, 0-9, `-` and `_`",
        name.escape_debug()
    ))
}

/// Everything that is wrong with a tenant's directories and extensions, except their bindings.
pub(crate) fn check_tenant(config: &TenantConfig, source: &Source, store: &MetadataStore) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if config.directories.is_empty() {
        errors.push(ConfigError::in_file(
            &source.path,
            "a tenant needs at least one [[directories]]: the Entra directory whose tokens it accepts",
        ));
    }
    for (index, directory) in config.directories.iter().enumerate() {
        let place = [Step::Key("directories"), Step::Index(index)];
        if directory.id.is_nil() {
            errors.push(source.error_at_path(&place, "the directory's id must not be all zeros"));
        }
        if directory.metadata.is_empty() {
            errors.push(source.error_at_path(&place, "the directory needs at least one metadata document"));
        }
        for (index, metadata) in directory.metadata.iter().enumerate() {
            if let Err(error) = store.check_url(&metadata.url) {
                let place = [
                    place[0],
                    place[1],
                    Step::Key("metadata"),
                    Step::Index(index),
                    Step::Key("url"),
                ];
                errors.push(source.error_at_path(&place, error.to_string()));
            }
        }
    }
    for (name, extension) in &config.extensions {
        check_extension(name, extension, source, &mut errors);
    }
    errors
}

fn check_extension(name: &str, extension: &ExtensionConfig, source: &Source, errors: &mut Vec<ConfigError>) {
    let mut wrong = |member: &str, message: String| {
        let place = [Step::Key("extensions"), Step::Key(name), Step::Key(member)];
        errors.push(source.error_at_path(&place, format!("extension `{name}`: {message}")));
    };
    if let Err(message) = check_name("extension", name) {
        wrong("event", message);
    }
    if extension.audiences.is_empty() || extension.audiences.iter().any(String::is_empty) {
        wrong(
            "audiences",
            "expected the application id that the token is for (and, for v1.0 tokens, the identifier URI)".to_owned(),
        );
    }
    if extension.algorithms.is_empty() {
        wrong(
            "algorithms",
            "at least one algorithm must be accepted, usually \"RS256\"".to_owned(),
        );
    }
    if extension.deadline < DEADLINES.0 || extension.deadline > DEADLINES.1 {
        wrong("deadline", format!("expected {:?} to {:?}", DEADLINES.0, DEADLINES.1));
    }
    if extension.clock_leeway > MAX_CLOCK_LEEWAY {
        wrong("clock_leeway", format!("expected at most {MAX_CLOCK_LEEWAY:?}"));
    }
    if extension.max_claim_bytes > MAX_CLAIM_BYTES {
        wrong(
            "max_claim_bytes",
            format!("expected at most {MAX_CLAIM_BYTES}, Entra accepts no more"),
        );
    }
    if extension.event == Event::PasswordSubmit {
        wrong("event", "passwordSubmit is not answered by this version".to_owned());
    }
    if extension.event != Event::TokenIssuanceStart && extension.bindings.len() > 1 {
        let message = format!("{} is answered with one action: expected one binding", extension.event);
        wrong("bindings", message);
    }
    if extension.bindings.is_empty() {
        wrong(
            "bindings",
            "expected at least one [[bindings]] with a plugin".to_owned(),
        );
    }
}
