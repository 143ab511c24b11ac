//! What is valid in a tenant's configuration, and most probably not meant.

use claimsmith_contract::is_restricted_jwt_claim;
use uuid::Uuid;

use crate::error::ConfigError;
use crate::source::{Source, Step};
use crate::tenant::{ExtensionConfig, TenantConfig};

/// What every metadata document's URL ends with (`OpenID` Connect Discovery 1.0, section 4).
const METADATA_ENDS: &str = "/.well-known/openid-configuration";

/// Everything that a tenant is warned of when it is loaded.
pub(crate) fn warnings(config: &TenantConfig, source: &Source) -> Vec<ConfigError> {
    let mut warnings = of_directories(config, source);
    for (name, extension) in &config.extensions {
        let mut warn = |member: &str, message: String| {
            let place = [Step::Key("extensions"), Step::Key(name), Step::Key(member)];
            warnings.push(source.error_at_path(&place, format!("extension `{name}`: {message}")));
        };
        of_audiences(extension, &mut warn);
        of_mapping(extension, &mut warn);
    }
    warnings
}

/// Documents that can hardly be metadata documents.
fn of_directories(config: &TenantConfig, source: &Source) -> Vec<ConfigError> {
    let mut warnings = Vec::new();
    for (index, directory) in config.directories.iter().enumerate() {
        for (document, metadata) in directory.metadata.iter().enumerate() {
            if metadata.url.path().ends_with(METADATA_ENDS) {
                continue;
            }
            let place = [
                Step::Key("directories"),
                Step::Index(index),
                Step::Key("metadata"),
                Step::Index(document),
                Step::Key("url"),
            ];
            let message =
                format!("the metadata document's URL does not end with {METADATA_ENDS}, as those of Entra do");
            warnings.push(source.error_at_path(&place, message));
        }
    }
    warnings
}

/// Audiences that no token of Entra for an extension has.
fn of_audiences(extension: &ExtensionConfig, warn: &mut impl FnMut(&str, String)) {
    let is_usual = |audience: &str| Uuid::try_parse(audience).is_ok() || audience.starts_with("api://");
    for audience in extension.audiences.iter().filter(|audience| !is_usual(audience)) {
        let message = format!(
            "audience `{}` is neither an application id (a GUID) nor an identifier URI (api://…): Entra's tokens have one of \
             these",
            audience.escape_debug()
        );
        warn("audiences", message);
    }
}

/// What Entra would drop or refuse without a word, of what is declared of its claims mapping.
fn of_mapping(extension: &ExtensionConfig, warn: &mut impl FnMut(&str, String)) {
    let Some(mapping) = &extension.mapping else { return };
    for (id, emitted) in mapping.iter().filter(|(_, emitted)| is_restricted_jwt_claim(emitted)) {
        let message = format!(
            "claim `{id}` is mapped to `{emitted}`, which is in Entra's restricted claim set: Entra does not emit it"
        );
        warn("mapping", message);
    }
    let answered = extension
        .claims
        .iter()
        .chain(extension.applications.iter().flat_map(|entry| &entry.claims));
    for id in answered.flatten().filter(|id| !mapping.contains_key(*id)) {
        let message =
            format!("claim `{id}` is not in the mapping: Entra drops what it does not map; ids differ by case");
        warn("claims", message);
    }
}
