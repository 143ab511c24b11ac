//! From a tenant's directories and an extension to the token policy.

use std::path::Path;

use claimsmith_token::{Directory, MetadataStore, Policy, TokenPolicy, TrustedDocument};

use crate::error::{ConfigError, ConfigErrors};
use crate::rules;
use crate::source::Source;
use crate::tenant::{DirectoryConfig, ExtensionConfig, TenantConfig};

/// The policy of an extension. Documents begin to be fetched.
pub(crate) fn policy(config: &ExtensionConfig, directories: &[DirectoryConfig], store: &MetadataStore) -> Policy {
    let trusted = |directory: &DirectoryConfig| {
        // What `rules` refuses must not be fetched either, although the tenant will not be published.
        let documents = directory
            .metadata
            .iter()
            .filter(|metadata| store.check_url(&metadata.url).is_ok());
        Directory {
            id: directory.id,
            documents: documents
                .map(|metadata| TrustedDocument {
                    document: store.document(&metadata.url),
                    issuers: metadata.issuers.clone(),
                })
                .collect(),
        }
    };
    Policy {
        directories: directories.iter().map(trusted).collect(),
        audiences: config.audiences.clone(),
        caller: config.caller,
        accept_callers: config.accept_callers.clone(),
        algorithms: config.algorithms.iter().map(|algorithm| (*algorithm).into()).collect(),
        leeway: config.clock_leeway,
        app_only: true,
    }
}

/// The token policy of one extension, from the files below `tenants` as they are, without loading any plugin.
///
/// # Errors
/// What is wrong with the tenant's file, or that it has no such extension.
pub fn token_policy(
    tenants: &Path,
    tenant: &str,
    extension: &str,
    store: &MetadataStore,
) -> Result<TokenPolicy, ConfigErrors> {
    let source = Source::read(&tenants.join(tenant).join("tenant.toml"))?;
    let config: TenantConfig = source.parse()?;
    let errors = rules::check_tenant(&config, &source, store);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let Some(found) = config.extensions.get(extension) else {
        let known: Vec<_> = config.extensions.keys().map(String::as_str).collect();
        let message = format!("there is no extension `{extension}`; there is: {}", known.join(", "));
        return Err(ConfigError::in_file(&source.path, message).into());
    };
    Ok(TokenPolicy::new(policy(found, &config.directories, store)))
}
