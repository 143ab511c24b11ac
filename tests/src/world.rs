//! What the tests' local Entra has: a workforce and an external directory, each with one application, people, and
//! extensions for both token versions.

use std::collections::BTreeMap;

use claimsmith_local_entra::{
    ApplicationConfig, ClaimsMappingPolicy, Config, Directory, DirectoryConfig, DirectoryKind, Event, ExtensionConfig,
    ListenerConfig, LocalEntra, MappingSource, SchemaEntry, TokenVersion, UserConfig,
};
use uuid::{Uuid, uuid};

/// The workforce directory.
pub const DIRECTORY: Uuid = uuid!("0d1e0001-0000-4000-8000-000000000001");
/// The external directory.
pub const EXTERNAL_DIRECTORY: Uuid = uuid!("0d1e0001-0000-4000-8000-000000000002");
/// The application that people sign in to, in either directory.
pub const APPLICATION: &str = "Shop";
/// A member of the workforce directory.
pub const USER: &str = "ada@contoso.example";
/// A guest of the workforce directory.
pub const GUEST: &str = "grace@fabrikam.example";
/// A social account of the external directory.
pub const SOCIAL_USER: &str = "lin@social.example";
/// The workforce directory's extension, whose tokens are v2.0.
pub const EXTENSION: Uuid = uuid!("0d1e0001-0000-4000-8000-0000000000e1");
/// The workforce directory's extension whose tokens are v1.0; no listener names it.
pub const EXTENSION_V1: Uuid = uuid!("0d1e0001-0000-4000-8000-0000000000e2");
/// The external directory's extension.
pub const EXTERNAL_EXTENSION: Uuid = uuid!("0d1e0001-0000-4000-8000-0000000000e3");
/// The resource application that all extensions' tokens are for.
pub const RESOURCE: Uuid = uuid!("0d1e0001-0000-4000-8000-0000000000c1");

const APP_ID: Uuid = uuid!("0d1e0001-0000-4000-8000-0000000000a1");

/// The resource application's identifier URI: the audience of v1.0 tokens.
#[must_use]
pub fn resource_id() -> String {
    format!("api://127.0.0.1/{RESOURCE}")
}

/// Both directories; the extensions' target URLs are set when the host's port is known.
#[must_use]
pub fn config() -> Config {
    Config {
        listen: ([127, 0, 0, 1], 0).into(),
        directories: vec![workforce(), external()],
        ..Config::default()
    }
}

fn workforce() -> DirectoryConfig {
    DirectoryConfig {
        id: DIRECTORY,
        kind: DirectoryKind::Workforce,
        domain: "contoso.example".to_owned(),
        users: vec![
            UserConfig {
                id: uuid!("0d1e0001-0000-4000-8000-0000000000f1"),
                display_name: Some("Ada Byron".to_owned()),
                mail: Some(USER.to_owned()),
                user_principal_name: Some(USER.to_owned()),
                user_type: Some("Member".to_owned()),
                preferred_data_location: Some("EUR".to_owned()),
                ..UserConfig::default()
            },
            UserConfig {
                id: uuid!("0d1e0001-0000-4000-8000-0000000000f2"),
                display_name: Some("Grace Murray".to_owned()),
                mail: Some(GUEST.to_owned()),
                user_principal_name: Some("grace_fabrikam.example#EXT#@contoso.example".to_owned()),
                user_type: Some("Guest".to_owned()),
                ..UserConfig::default()
            },
        ],
        extensions: vec![
            extension(EXTENSION, TokenVersion::V2),
            extension(EXTENSION_V1, TokenVersion::V1),
        ],
        listeners: vec![listener(EXTENSION)],
        applications: vec![application()],
        claims_mapping_policies: vec![policy()],
    }
}

fn external() -> DirectoryConfig {
    DirectoryConfig {
        id: EXTERNAL_DIRECTORY,
        kind: DirectoryKind::External,
        domain: "customers.example".to_owned(),
        users: vec![UserConfig {
            id: uuid!("0d1e0001-0000-4000-8000-0000000000f3"),
            display_name: Some("Lin".to_owned()),
            mail: Some(SOCIAL_USER.to_owned()),
            ..UserConfig::default()
        }],
        extensions: vec![extension(EXTERNAL_EXTENSION, TokenVersion::V2)],
        listeners: vec![listener(EXTERNAL_EXTENSION)],
        applications: vec![application()],
        claims_mapping_policies: vec![policy()],
    }
}

fn application() -> ApplicationConfig {
    ApplicationConfig {
        app_id: APP_ID,
        display_name: APPLICATION.to_owned(),
        service_principal_id: uuid!("0d1e0001-0000-4000-8000-0000000000b1"),
        accept_mapped_claims: true,
        redirect_uri: None,
        client_secret: None,
        secret: None,
        token_claims: BTreeMap::new(),
    }
}

fn extension(id: Uuid, token_version: TokenVersion) -> ExtensionConfig {
    ExtensionConfig {
        id,
        target_url: "http://127.0.0.1:9/not-set-yet".to_owned(),
        resource_app_id: RESOURCE,
        resource_id: resource_id(),
        token_version,
        timeout: 2000,
        maximum_retries: 1,
        refused_with: None,
    }
}

fn listener(extension: Uuid) -> ListenerConfig {
    ListenerConfig {
        id: uuid!("0d1e0001-0000-4000-8000-0000000000d1"),
        event: Event::TokenIssuanceStart,
        applications: vec![APP_ID],
        extension,
        timeout: None,
        maximum_retries: None,
    }
}

/// Maps every claim that the tests' bindings answer, under a name of its own.
fn policy() -> ClaimsMappingPolicy {
    let mapped = |(id, name): (&str, &str)| SchemaEntry {
        source: Some(MappingSource::CustomClaimsProvider),
        id: Some(id.to_owned()),
        value: None,
        jwt_claim_type: Some(name.to_owned()),
        saml_claim_type: None,
    };
    let claims = [
        ("loyaltyTier", "loyalty_tier"),
        ("loyaltyBenefits", "loyalty_benefits"),
        ("region", "region"),
        ("marker", "marker"),
    ];
    ClaimsMappingPolicy {
        applications: vec![APP_ID],
        include_basic_claim_set: true,
        schema: claims.into_iter().map(mapped).collect(),
        definition: None,
    }
}

/// A directory as the tenant's configuration names it, with the documents of both token versions.
#[must_use]
pub fn directory_toml(directory: &Directory) -> String {
    format!(
        "[[directories]]\nid = \"{}\"\nmetadata = [{{ url = \"{}\" }}, {{ url = \"{}\" }}]\n",
        directory.id(),
        directory.metadata_url(TokenVersion::V2),
        directory.metadata_url(TokenVersion::V1),
    )
}

/// All directories, as the tenant's configuration names them.
#[must_use]
pub fn directories_toml(entra: &LocalEntra) -> String {
    entra.directories().map(directory_toml).collect()
}

/// The audiences of tokens of both versions.
#[must_use]
pub fn audiences_toml() -> String {
    format!("[\"{RESOURCE}\", \"{}\"]", resource_id())
}

/// An extension with one binding, with more members of either (TOML).
#[must_use]
pub fn extension_toml(name: &str, members: &str, plugin: &str, binding: &str) -> String {
    format!(
        "[extensions.{name}]
event = \"tokenIssuanceStart\"
audiences = {}
{members}
[[extensions.{name}.bindings]]
plugin = \"{plugin}\"
{binding}
",
        audiences_toml(),
    )
}
