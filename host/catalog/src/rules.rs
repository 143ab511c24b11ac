//! Rules that a tenant's configuration must follow beyond its types.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use claimsmith_contract::Event;
use claimsmith_contract::token_issuance_start::{self, Claim, MAX_CLAIM_BYTES};
use claimsmith_token::MetadataStore;
use uuid::Uuid;

use crate::error::ConfigError;
use crate::failure_policy::{check_composition, wrong_policy};
use crate::rate_limit::{RateLimitConfig, RateLimitsConfig};
use crate::source::{Source, Step, steps};
use crate::tenant::{BindingConfig, ClaimValueConfig, ExtensionConfig, TenantConfig};

/// The shortest deadline that leaves room for a callout, and Entra's own maximum (contract.md, section 3.1).
const DEADLINES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// An empty answer has some 150 bytes; more than this is no answer that Entra could want.
const RESPONSE_BYTES: RangeInclusive<usize> = 1_024..=1 << 20;
/// More makes a stolen token last longer than any clock error explains.
const MAX_CLOCK_LEEWAY: Duration = Duration::from_mins(10);
/// Shorter silences are none; longer ones are somebody's holiday.
const EXPECTED_WITHIN: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(31 * 24);

/// Directories and extensions of a tenant: each extension has a memory of tokens, each document is fetched.
const MAX_DIRECTORIES: usize = 32;
const MAX_EXTENSIONS: usize = 1_000;
/// Of one directory: workforce or external, v1.0 and v2.0, and as many again while moving.
const MAX_DOCUMENTS: usize = 16;
/// Of one extension. Bindings are invoked one after another within one deadline.
const MAX_BINDINGS: usize = 16;
const MAX_APPLICATIONS: usize = 256;
const MAX_DECRYPTION_KEYS: usize = 16;
/// Every list whose entries are compared one by one in a callout.
const MAX_COMPARED: usize = 32;

/// Names become parts of URLs, file names and metric labels.
///
/// # Errors
/// What is expected.
pub fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_');
    if !name.is_empty() && name.len() <= 63 && name.chars().all(fits) {
        return Ok(());
    }
    Err(format!(
        "`{}` cannot be the name of a {what}: expected 1 to 63 of a-z, 0-9, `-` and `_`",
        name.escape_debug()
    ))
}

/// Everything that is wrong with a tenant's directories, audit and extensions, except their bindings.
pub(crate) fn check_tenant(config: &TenantConfig, source: &Source, store: &MetadataStore) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if config.directories.is_empty() {
        errors.push(ConfigError::in_file(
            &source.path,
            "a tenant needs at least one [[directories]]: the Entra directory whose tokens it accepts",
        ));
    }
    for (list, found, most) in [
        ("directories", config.directories.len(), MAX_DIRECTORIES),
        ("extensions", config.extensions.len(), MAX_EXTENSIONS),
    ] {
        if found > most {
            errors.push(source.error_at_path(&[Step::Key(list)], too_many(list, found, most)));
        }
    }
    for (index, directory) in config.directories.iter().enumerate() {
        let place = [Step::Key("directories"), Step::Index(index)];
        if directory.id.is_nil() {
            errors.push(source.error_at_path(&place, "the directory's id must not be all zeros"));
        }
        if directory.metadata.is_empty() {
            errors.push(source.error_at_path(&place, "the directory needs at least one metadata document"));
        }
        let documents = directory.metadata.len();
        if documents > MAX_DOCUMENTS {
            errors.push(source.error_at_path(&place, too_many("metadata", documents, MAX_DOCUMENTS)));
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
    if let Some(mistake) = config.audit.mistake() {
        errors.push(source.error_at_path(&[Step::Key("audit"), Step::Key("claims")], mistake));
    }
    for (name, extension) in &config.extensions {
        check_extension(name, extension, source, &mut errors);
    }
    errors
}

fn check_extension(name: &str, extension: &ExtensionConfig, source: &Source, errors: &mut Vec<ConfigError>) {
    let mut wrong = |member: &str, message: String| {
        let mut place = vec![Step::Key("extensions"), Step::Key(name)];
        place.extend(steps(member));
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
    if extension.audiences.iter().any(|audience| is_nil(audience)) {
        wrong(
            "audiences",
            "the audience must not be all zeros: it is the application id of the API that the extension is registered with"
                .to_owned(),
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
    if !RESPONSE_BYTES.contains(&extension.max_response_bytes) {
        wrong(
            "max_response_bytes",
            format!("expected {} to {}", RESPONSE_BYTES.start(), RESPONSE_BYTES.end()),
        );
    }
    check_counts(extension, &mut wrong);
    check_watched(extension, &mut wrong);
    check_event(extension, &mut wrong);
    check_composition(extension, &mut wrong);
    check_applications(extension, &mut wrong);
    if extension.bindings.is_empty() {
        wrong(
            "bindings",
            "expected at least one [[bindings]] with a plugin".to_owned(),
        );
    }
}

/// Whether it is the id that stands for none: what `claimsmith init` writes for somebody to fill in.
fn is_nil(audience: &str) -> bool {
    Uuid::try_parse(audience).is_ok_and(|id| id.is_nil())
}

fn too_many(list: &str, found: usize, most: usize) -> String {
    format!("`{list}` has {found} entries: expected at most {most}")
}

/// Nothing that a tenant lists is without bound.
fn check_counts(extension: &ExtensionConfig, wrong: &mut impl FnMut(&str, String)) {
    for (list, found, most) in [
        ("audiences", extension.audiences.len(), MAX_COMPARED),
        ("accept_callers", extension.accept_callers.len(), MAX_COMPARED),
        ("applications", extension.applications.len(), MAX_APPLICATIONS),
        ("decryption_keys", extension.decryption_keys.len(), MAX_DECRYPTION_KEYS),
        ("bindings", extension.bindings.len(), MAX_BINDINGS),
    ] {
        if found > most {
            wrong(list, too_many(list, found, most));
        }
    }
}

/// What the service watches of an extension by itself.
fn check_watched(extension: &ExtensionConfig, wrong: &mut impl FnMut(&str, String)) {
    let within = extension.expect_callouts_within;
    if within.is_some_and(|within| !EXPECTED_WITHIN.contains(&within)) {
        wrong("expect_callouts_within", "expected 1s to 31d".to_owned());
    }
    if extension.probe.is_some() && extension.event == Event::PasswordSubmit {
        let message =
            "passwordSubmit cannot be probed: only Entra can encrypt a password context for the extension's keys";
        wrong("probe", message.to_owned());
    }
}

/// What only some events have.
fn check_event(extension: &ExtensionConfig, wrong: &mut impl FnMut(&str, String)) {
    let event = extension.event;
    let claims_of_an_application = extension.applications.iter().any(|entry| entry.claims.is_some());
    if event != Event::TokenIssuanceStart {
        if extension.bindings.len() > 1 {
            let message = format!("{event} is answered with one action: expected one binding");
            wrong("bindings", message);
        }
        let members = [
            ("claims", extension.claims.is_some()),
            ("mapping", extension.mapping.is_some()),
            ("applications", claims_of_an_application),
        ];
        for (member, _) in members.iter().filter(|(_, there)| *there) {
            wrong(member, format!("{event} is not answered with claims"));
        }
    }
    for (index, binding) in extension.bindings.iter().enumerate() {
        if let Some((member, message)) = wrong_policy(event, binding) {
            wrong(&format!("bindings[{index}].{member}"), message);
        }
        let defaults = default_claims(binding);
        if let Err(error) = token_issuance_start::respond(&defaults, extension.max_claim_bytes) {
            wrong(&format!("bindings[{index}].default_claims"), error.to_string());
        }
    }
    match (event, extension.decryption_keys.is_empty()) {
        (Event::PasswordSubmit, true) => wrong(
            "event",
            "passwordSubmit needs at least one [[decryption_keys]]: the private key of the certificate that Entra \
             encrypts passwords for"
                .to_owned(),
        ),
        (Event::PasswordSubmit, false) | (_, true) => {}
        (_, false) => wrong("decryption_keys", format!("{event} carries nothing that is encrypted")),
    }
}

/// The claims that are configured for failures.
pub(crate) fn default_claims(binding: &BindingConfig) -> Vec<Claim> {
    let claim = |(id, value): (&String, &ClaimValueConfig)| Claim {
        id: id.clone(),
        value: value.clone().into(),
    };
    binding.default_claims.iter().flatten().map(claim).collect()
}

fn check_applications(extension: &ExtensionConfig, wrong: &mut impl FnMut(&str, String)) {
    let mut seen = HashSet::new();
    for (index, entry) in extension.applications.iter().enumerate() {
        let place = format!("applications[{index}]");
        if entry.client_ids.is_empty() {
            let message = "expected at least one application (client) id".to_owned();
            wrong(&format!("{place}.client_ids"), message);
        }
        for id in &entry.client_ids {
            if id.is_nil() || !seen.insert(id) {
                let message = format!("{id} must be an application's id, and named once");
                wrong(&format!("{place}.client_ids"), message);
            }
        }
        for plugin in entry.settings.keys() {
            if !extension.bindings.iter().any(|binding| binding.plugin == *plugin) {
                let message = format!("settings for `{plugin}`, which is not the plugin of any of the bindings");
                wrong(&format!("{place}.settings.{plugin}"), message);
            }
        }
    }
}

/// What is wrong with a tenant's own rate limits.
pub(crate) fn check_rate_limits(config: &TenantConfig, most: &RateLimitsConfig, source: &Source) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    let mut check = |place: &[Step<'_>], limit: Option<RateLimitConfig>, key: &str, most: Option<RateLimitConfig>| {
        let Some(limit) = limit else { return };
        let mut place = place.to_vec();
        place.push(Step::Key("rate_limit"));
        if let Some(message) = limit.mistake() {
            errors.push(source.error_at_path(&place, message));
        }
        if let Some((member, asked, most)) = most.and_then(|most| limit.exceeding(most)) {
            let message = format!(
                "`{member}` is {asked}, larger than the operator allows, which is {most} (claimsmith.toml, \
                 rate_limits.{key}); ask for no more, or leave it out"
            );
            place.push(Step::Key(member));
            errors.push(source.error_at_path(&place, message));
        }
    };
    check(&[], config.rate_limit, "tenant", most.tenant);
    for (name, extension) in &config.extensions {
        let place = [Step::Key("extensions"), Step::Key(name)];
        check(&place, extension.rate_limit, "extension", most.extension);
    }
    errors
}
