//! What an activation would change: shown before it is done, and told with what was done.

use std::collections::{BTreeMap, BTreeSet};

use claimsmith_catalog::{BoundPlugin, Signed, Tenant, Trial};
use claimsmith_contract::schema::without_null;
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::Change;

/// What an activation changes.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Plan {
    tenant: String,
    /// What differs of each plugin that is activated.
    plugins: Vec<PluginPlan>,
    /// What differs of each binding. Settings and upstreams are those of `tenant.toml` as it is now.
    bindings: Vec<BindingPlan>,
}

/// What differs of one plugin.
#[derive(Debug, Serialize, JsonSchema)]
struct PluginPlan {
    plugin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    from: Option<PlannedVersion>,
    to: PlannedVersion,
    /// Interfaces that the new version imports and the old one does not.
    imports_added: Vec<String>,
    /// The other way round.
    imports_removed: Vec<String>,
}

/// A version in a plan.
#[derive(Debug, Serialize, JsonSchema)]
struct PlannedVersion {
    /// What it was pushed as.
    version: String,
    /// The SHA-256 of its bytes.
    digest: String,
    /// What it calls itself; absent when no binding names the plugin, which then serves nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    describes_itself_as: Option<String>,
    /// Bytes of the component; absent when it served for no binding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    bytes: Option<u64>,
    /// Who signed it; absent when the tenant asks for no signatures.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    signed: Option<Signed>,
}

/// What differs of one binding.
#[derive(Debug, Serialize, JsonSchema)]
struct BindingPlan {
    extension: String,
    plugin: String,
    /// The application that it is for, if not for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    application: Option<String>,
    /// Whether it is new in its extension.
    added: bool,
    /// The members of the settings that differ. The new version has accepted all of them.
    settings_changed: Vec<String>,
    /// Upstreams that it may use and could not before.
    upstreams_added: Vec<String>,
    /// The other way round.
    upstreams_removed: Vec<String>,
}

impl Plan {
    pub(crate) fn of(tenant: &str, trial: &Trial, changes: &[Change]) -> Self {
        let (before, now) = (trial.before().map(AsRef::as_ref), trial.tenant());
        Self {
            tenant: tenant.to_owned(),
            plugins: changes
                .iter()
                .map(|change| PluginPlan::of(change, before, now))
                .collect(),
            bindings: bindings(now)
                .filter_map(|(extension, place, bound)| {
                    let before = before.and_then(|before| find(before, extension, place, &bound.name));
                    BindingPlan::of(extension, place.0.map(|id| id.to_string()), before, bound)
                })
                .collect(),
        }
    }
}

type Place = (Option<uuid::Uuid>, usize);

fn bindings(tenant: &Tenant) -> impl Iterator<Item = (&str, Place, &BoundPlugin)> {
    tenant.extensions().flat_map(|(name, extension)| {
        let bindings = extension.bindings();
        bindings.map(move |(place, bound)| (name, place, bound))
    })
}

fn find<'t>(tenant: &'t Tenant, extension: &str, place: Place, plugin: &str) -> Option<&'t BoundPlugin> {
    let mut bindings = bindings(tenant);
    let found = bindings.find(|(name, other, bound)| *name == extension && *other == place && *bound.name == *plugin);
    found.map(|(_, _, bound)| bound)
}

/// A plugin as any of its bindings has it.
fn bound<'t>(tenant: &'t Tenant, plugin: &str) -> Option<&'t BoundPlugin> {
    let mut bindings = bindings(tenant);
    bindings
        .find(|(_, _, bound)| *bound.name == *plugin)
        .map(|(_, _, bound)| bound)
}

impl PluginPlan {
    fn of(Change { to, from }: &Change, before: Option<&Tenant>, now: &Tenant) -> Self {
        let imports = |tenant: Option<&Tenant>| -> BTreeSet<String> {
            let bound = tenant.and_then(|tenant| bound(tenant, &to.plugin));
            bound
                .map(|bound| bound.binding.plugin().imports().iter().cloned().collect())
                .unwrap_or_default()
        };
        let (imported_before, imported) = (imports(before), imports(Some(now)));
        let version = |version: &str, digest: String, bytes: Option<u64>, tenant: Option<&Tenant>| {
            let file = tenant.and_then(|tenant| tenant.plugin_file(&to.plugin));
            let bound = tenant.and_then(|tenant| bound(tenant, &to.plugin));
            PlannedVersion {
                version: version.to_owned(),
                digest,
                describes_itself_as: bound.map(|bound| {
                    let plugin = bound.binding.plugin();
                    format!("{} {}", plugin.name(), plugin.version())
                }),
                bytes: bytes.or(file.map(|file| file.bytes)),
                signed: file.and_then(|file| file.signed.clone()),
            }
        };
        Self {
            plugin: to.plugin.clone(),
            from: from
                .as_ref()
                .map(|from| version(&from.version, from.digest.to_string(), None, before)),
            to: version(&to.version, to.digest.to_string(), Some(to.bytes), Some(now)),
            imports_added: difference(&imported, &imported_before),
            imports_removed: difference(&imported_before, &imported),
        }
    }
}

impl BindingPlan {
    /// `None` when nothing but the version differs.
    fn of(
        extension: &str,
        application: Option<String>,
        before: Option<&BoundPlugin>,
        now: &BoundPlugin,
    ) -> Option<Self> {
        let upstreams = |bound: Option<&BoundPlugin>| -> BTreeSet<String> {
            let names = bound.into_iter().flat_map(|bound| bound.binding.upstreams());
            names.map(str::to_owned).collect()
        };
        let (had, has) = (upstreams(before), upstreams(Some(now)));
        let plan = Self {
            extension: extension.to_owned(),
            plugin: now.name.to_string(),
            application,
            added: before.is_none(),
            settings_changed: settings_changed(
                before.map_or("{}", |bound| bound.binding.settings()),
                now.binding.settings(),
            ),
            upstreams_added: difference(&has, &had),
            upstreams_removed: difference(&had, &has),
        };
        let differs = plan.added
            || !(plan.settings_changed.is_empty()
                && plan.upstreams_added.is_empty()
                && plan.upstreams_removed.is_empty());
        differs.then_some(plan)
    }
}

fn difference(of: &BTreeSet<String>, without: &BTreeSet<String>) -> Vec<String> {
    of.difference(without).cloned().collect()
}

/// The first members that differ: values of settings may be nobody's business.
fn settings_changed(before: &str, now: &str) -> Vec<String> {
    let members =
        |text: &str| -> BTreeMap<String, serde_json::Value> { serde_json::from_str(text).unwrap_or_default() };
    let (before, now) = (members(before), members(now));
    let names: BTreeSet<_> = before.keys().chain(now.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
    changed.cloned().collect()
}
