//! What could not exist in a directory: duplicate ids, numbers out of range, references to nothing.

mod flows;

use std::collections::HashSet;
use std::hash::Hash;
use std::ops::RangeInclusive;

use url::Url;
use uuid::Uuid;

use super::location::{Place, Problem};
use super::{ApplicationConfig, ClaimsMappingPolicy, Config, DirectoryConfig, ListenerConfig, SchemaEntry};
use crate::callout::Event;

/// Graph's bounds of `timeoutInMilliseconds`.
const TIMEOUT_MS: RangeInclusive<u64> = 200..=2000;
/// Graph's largest `maximumRetries`.
const MAXIMUM_RETRIES: u8 = 1;

/// Every problem of a configuration.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut check = Check::default();
    let root = Place::default();
    if !config.listen.ip().is_loopback() && !config.allow_remote {
        check.report(
            root.member("listen"),
            "other machines would reach this address and could sign in as anybody: use 127.0.0.1, or set \
             `allow_remote = true` where the network is closed (a container)",
        );
    }
    if let Some(public_url) = &config.public_url
        && !Url::parse(public_url).is_ok_and(|url| url.has_host() && matches!(url.scheme(), "http" | "https"))
    {
        check.report(
            root.member("public_url"),
            "is not an http or https URL such as https://entra.example.org",
        );
    }
    if config.max_response_bytes == 0 {
        check.report(root.member("max_response_bytes"), "no answer would fit: use 1 or more");
    }
    check.unique(
        &root,
        "directories",
        "id",
        config.directories.iter().map(|directory| directory.id),
    );
    check.unique(
        &root,
        "directories",
        "domain",
        config.directories.iter().map(|directory| &directory.domain),
    );
    let mut extensions = HashSet::new();
    for (index, directory) in config.directories.iter().enumerate() {
        let place = root.item("directories", index);
        check.directory(directory, &place);
        for (position, extension) in directory.extensions.iter().enumerate() {
            if !extensions.insert(extension.id) {
                check.report(
                    place.item("extensions", position).member("id"),
                    "another extension has this id",
                );
            }
        }
    }
    check.flows(config, &root);
    check.problems
}

#[derive(Default)]
struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn report(&mut self, place: Place, message: impl Into<String>) {
        self.problems.push(Problem {
            place,
            message: message.into(),
        });
    }

    fn unique<T: Eq + Hash>(
        &mut self,
        place: &Place,
        list: &'static str,
        member: &'static str,
        values: impl Iterator<Item = T>,
    ) {
        let mut seen = HashSet::new();
        for (index, value) in values.enumerate() {
            if !seen.insert(value) {
                self.report(
                    place.item(list, index).member(member),
                    format!("another entry of `{list}` has the same `{member}`"),
                );
            }
        }
    }

    fn directory(&mut self, directory: &DirectoryConfig, place: &Place) {
        if directory.domain.is_empty() || directory.domain.contains('/') {
            self.report(
                place.member("domain"),
                "is a domain name such as contoso.onmicrosoft.com",
            );
        }
        self.unique(
            place,
            "applications",
            "app_id",
            directory.applications.iter().map(|application| application.app_id),
        );
        self.unique(place, "users", "id", directory.users.iter().map(|user| user.id));
        self.unique(
            place,
            "listeners",
            "id",
            directory.listeners.iter().map(|listener| listener.id),
        );
        for (index, application) in directory.applications.iter().enumerate() {
            self.application(application, &place.item("applications", index));
        }
        for (index, extension) in directory.extensions.iter().enumerate() {
            let place = place.item("extensions", index);
            self.limits(Some(extension.timeout), Some(extension.maximum_retries), &place);
            if let Some(code) = extension.refused_with
                && !code.is_state_of_entra()
            {
                self.report(
                    place.member("refused_with"),
                    format!("{code} is not one of 1003004, 1003016 to 1003019, 1003021 to 1003023"),
                );
            }
        }
        let mut taken = HashSet::new();
        for (index, listener) in directory.listeners.iter().enumerate() {
            let place = place.item("listeners", index);
            self.limits(listener.timeout, listener.maximum_retries, &place);
            self.known_applications(&listener.applications, directory, &place);
            self.single_listener(listener, &mut taken, &place);
            self.event_of_kind(listener.event, directory.kind, &place);
        }
        let mut mapped = HashSet::new();
        for (index, policy) in directory.claims_mapping_policies.iter().enumerate() {
            let place = place.item("claims_mapping_policies", index);
            self.known_applications(&policy.applications, directory, &place);
            for application in &policy.applications {
                if !mapped.insert(*application) {
                    self.report(
                        place.member("applications"),
                        format!("application {application} already has a claims mapping policy; Entra allows one"),
                    );
                }
            }
            self.policy(policy, &place);
        }
    }

    fn application(&mut self, application: &ApplicationConfig, place: &Place) {
        match (&application.client_secret, &application.secret) {
            (Some(_), Some(_)) => {
                self.report(place.member("secret"), "set `client_secret` or `secret`, not both");
            }
            (Some(reference), None) if !reference.starts_with("env:") && !reference.starts_with("file:") => {
                self.report(
                    place.member("client_secret"),
                    "is a reference, `env:NAME` or `file:path`; for a made-up secret use `secret`",
                );
            }
            _ => {}
        }
    }

    fn limits(&mut self, timeout: Option<u64>, maximum_retries: Option<u8>, place: &Place) {
        if timeout.is_some_and(|timeout| !TIMEOUT_MS.contains(&timeout)) {
            self.report(place.member("timeout"), "Entra allows 200 to 2000 milliseconds");
        }
        if maximum_retries.is_some_and(|retries| retries > MAXIMUM_RETRIES) {
            self.report(place.member("maximum_retries"), "Entra allows 0 or 1");
        }
    }

    fn known_applications(&mut self, applications: &[Uuid], directory: &DirectoryConfig, place: &Place) {
        if applications.is_empty() {
            self.report(
                place.member("applications"),
                "names no application, so it would never apply",
            );
        }
        for unknown in applications {
            if !directory
                .applications
                .iter()
                .any(|application| application.app_id == *unknown)
            {
                self.report(
                    place.member("applications"),
                    format!("the directory has no application with the app_id {unknown}"),
                );
            }
        }
    }

    fn single_listener(&mut self, listener: &ListenerConfig, taken: &mut HashSet<(Event, Uuid)>, place: &Place) {
        for application in &listener.applications {
            if !taken.insert((listener.event, *application)) {
                self.report(
                    place.member("applications"),
                    format!(
                        "application {application} already has a listener for {}",
                        listener.event
                    ),
                );
            }
        }
    }

    fn policy(&mut self, policy: &ClaimsMappingPolicy, place: &Place) {
        if policy.definition.is_some() && !policy.schema.is_empty() {
            self.report(place.member("definition"), "set `schema` or `definition`, not both");
        }
        let list = if policy.definition.is_some() {
            place.member("definition")
        } else {
            place.member("schema")
        };
        for (index, entry) in policy.entries().iter().enumerate() {
            if let Err(message) = check_entry(entry) {
                let place = if policy.definition.is_some() {
                    list.clone()
                } else {
                    place.item("schema", index)
                };
                self.report(place, format!("entry {index}: {message}"));
            }
        }
    }
}

fn check_entry(entry: &SchemaEntry) -> Result<(), &'static str> {
    match (&entry.source, &entry.id, &entry.value) {
        (Some(_), Some(id), None) if !id.is_empty() => Ok(()),
        (Some(_), _, None) => Err("a claim from a source needs its `id`"),
        (None, None, Some(_)) if entry.jwt_claim_type.is_some() || entry.saml_claim_type.is_some() => Ok(()),
        (None, None, Some(_)) => Err("a fixed value needs a `jwt_claim_type`"),
        _ => Err("is either { source, id, jwt_claim_type } or { value, jwt_claim_type }"),
    }
}
