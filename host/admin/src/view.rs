//! What the admin API is asked and answers, as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use claimsmith_catalog::{BoundPlugin, Catalog, Extension, Managed, Signed, Tenant};
use claimsmith_contract::schema::without_null;
use schemars::JsonSchema;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::manager::Activated;
use crate::plan::Plan;
use crate::store::{ActiveRow, LogLine, MAX_PLUGINS, OnDisk, VersionRow};

/// What is to be activated.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActivationRequest {
    /// The version of each plugin, as it was pushed.
    #[serde(deserialize_with = "each_once")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = MAX_PLUGINS))]
    pub(crate) versions: BTreeMap<String, String>,
    /// Why: 1 to 500 characters. A plan needs none, because nobody keeps it.
    #[serde(default)]
    pub(crate) reason: String,
    /// Only say what would change.
    #[serde(default)]
    pub(crate) plan: bool,
    /// How long it is watched before it is called done, such as `30s`, at most 1 minute. When a circuit breaker of
    /// these plugins opens meanwhile, it is taken back.
    #[serde(default, with = "humantime_serde")]
    #[schemars(with = "String")]
    pub(crate) verify_for: Duration,
}

/// Reads versions by plugins, each of which is named once: with two versions of one, either could be meant.
fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    struct EachOnce;

    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("an object with a version of each plugin")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut versions = BTreeMap::new();
            while let Some((plugin, version)) = members.next_entry::<String, String>()? {
                let named = plugin.escape_debug().to_string();
                if versions.insert(plugin, version).is_some() {
                    let message =
                        format!("versions: plugin `{named}` is named twice; only one version of it can be active");
                    return Err(A::Error::custom(message));
                }
            }
            Ok(versions)
        }
    }

    deserializer.deserialize_map(EachOnce)
}

/// Which plugin goes back to the version that was active before.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollbackRequest {
    pub(crate) plugin: String,
    /// Why: 1 to 500 characters. A plan needs none, because nobody keeps it.
    #[serde(default)]
    pub(crate) reason: String,
    /// Only say what would change.
    #[serde(default)]
    pub(crate) plan: bool,
}

/// What came of an activation or a rollback.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ActivationAnswer {
    pub(crate) plan: Plan,
    /// The generation of the catalog that serves it; absent when it was only planned, or there was nothing to change.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    pub(crate) generation: Option<u64>,
}

impl From<Activated> for ActivationAnswer {
    fn from(activated: Activated) -> Self {
        Self {
            plan: activated.plan,
            generation: activated.generation,
        }
    }
}

/// A version that was pushed.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(
    clippy::struct_field_names,
    reason = "a version's version is its label, in the words of the command line"
)]
pub(crate) struct Version {
    pub(crate) plugin: String,
    pub(crate) version: String,
    /// The SHA-256 of its bytes.
    pub(crate) digest: String,
    pub(crate) bytes: u64,
    /// When, in RFC 3339.
    pub(crate) pushed: String,
    /// Who pushed it.
    pub(crate) actor: String,
    /// Whether it has a signature, which an activation checks.
    pub(crate) has_signature: bool,
    /// Whether its file is missing or has another size, so that it cannot serve: pushing the same bytes again mends it.
    pub(crate) is_missing: bool,
    /// Whether it is active.
    pub(crate) active: bool,
}

impl Version {
    pub(crate) fn of(row: VersionRow, files: OnDisk, active: &[ActiveRow]) -> Self {
        let is_active = |active: &ActiveRow| active.plugin == row.plugin && active.version == row.version;
        Self {
            active: active.iter().any(is_active),
            plugin: row.plugin,
            version: row.version,
            digest: row.digest.to_string(),
            bytes: row.bytes,
            pushed: row.pushed,
            actor: row.actor,
            has_signature: files.has_signature,
            is_missing: files.is_missing,
        }
    }
}

/// What came of a push.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PushAnswer {
    #[serde(flatten)]
    pub(crate) version: Version,
    /// What the component calls itself.
    pub(crate) describes_itself_as: String,
    /// Whether it needs a signature to be activated, because the tenant trusts keys.
    pub(crate) needs_signature: bool,
    /// The interfaces that it imports.
    pub(crate) imports: Vec<String>,
}

/// What came of a signature.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SignAnswer {
    /// Who signed; absent when the tenant trusts no keys, so that nobody has checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    pub(crate) signed: Option<Signed>,
}

/// The versions of a tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Versions {
    pub(crate) versions: Vec<Version>,
}

/// What was forgotten of a tenant that was deleted.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Forgotten {
    /// How many versions it had.
    pub(crate) versions: u64,
}

/// A part of the admin log, the last line first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Log {
    pub(crate) lines: Vec<LogLine>,
}

/// What serves of the tenants that one may look at.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Status {
    /// Counts up with every change of any tenant.
    pub(crate) generation: u64,
    pub(crate) tenants: BTreeMap<String, TenantStatus>,
}

/// What serves of one tenant.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TenantStatus {
    /// Where its plugins come from; absent while it does not serve and its file does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    managed: Option<Managed>,
    /// What is wrong with its files as they are, each with its place; what serves is the last state without.
    mistakes: Vec<String>,
    /// The active versions, when they are managed through the admin API.
    active: Vec<Active>,
    /// Empty while it does not serve.
    extensions: BTreeMap<String, ExtensionStatus>,
}

/// An active version.
#[derive(Debug, Serialize, JsonSchema)]
struct Active {
    plugin: String,
    version: String,
    digest: String,
    /// Since when, in RFC 3339.
    since: String,
    /// Who activated it.
    actor: String,
    /// The version that a rollback goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    previous: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ExtensionStatus {
    event: String,
    bindings: Vec<BindingStatus>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct BindingStatus {
    plugin: String,
    /// The application that it is for, if not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    application: Option<String>,
    /// What the plugin says of itself.
    version: String,
    digest: String,
    /// `closed`, `open` or `half_open`.
    breaker: String,
    /// Who signed it; absent when the tenant asks for no signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    signed: Option<Signed>,
}

impl TenantStatus {
    /// `says` is what its file says of its plugins, for a tenant that does not serve.
    pub(crate) fn of(catalog: &Catalog, name: &str, active: Vec<ActiveRow>, says: Option<Managed>) -> Self {
        let tenant = catalog.tenant(name);
        let mistakes = catalog.problems().filter(|(tenant, _)| *tenant == name);
        let managed = tenant.map(Tenant::managed).or(says);
        let is_api = managed.is_none_or(|managed| managed == Managed::Api);
        Self {
            managed,
            mistakes: mistakes
                .flat_map(|(_, mistakes)| mistakes)
                .map(ToString::to_string)
                .collect(),
            active: active
                .into_iter()
                .filter(|_| is_api)
                .map(|row| Active {
                    plugin: row.plugin,
                    version: row.version,
                    digest: row.digest.to_string(),
                    since: row.since,
                    actor: row.actor,
                    previous: row.previous,
                })
                .collect(),
            extensions: tenant
                .into_iter()
                .flat_map(|tenant| {
                    tenant
                        .extensions()
                        .map(move |(name, extension)| (tenant, name, extension))
                })
                .map(|(tenant, name, extension)| (name.to_owned(), ExtensionStatus::of(tenant, extension)))
                .collect(),
        }
    }
}

impl ExtensionStatus {
    fn of(tenant: &Tenant, extension: &Extension) -> Self {
        let of_binding = |((application, _), bound): ((Option<uuid::Uuid>, usize), &BoundPlugin)| {
            let plugin = bound.binding.plugin();
            BindingStatus {
                plugin: bound.name.to_string(),
                application: application.map(|id| id.to_string()),
                version: bound.binding.version().to_string(),
                digest: plugin.digest().to_string(),
                breaker: bound.breaker.state().name().to_owned(),
                signed: tenant.plugin_file(&bound.name).and_then(|file| file.signed.clone()),
            }
        };
        Self {
            event: extension.event.name().to_owned(),
            bindings: extension.bindings().map(of_binding).collect(),
        }
    }
}
