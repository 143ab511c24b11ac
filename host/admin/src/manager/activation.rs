//! Which versions serve: validate -> plan -> apply -> verify, going back, and taking back what does not serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_catalog::{ActiveVersion, PluginVersions, Published, Restored, Tenant, Trial};
use claimsmith_runtime::Digest;
use tokio::time::{Instant, sleep};

use super::{Asked, Manager};
use crate::plan::Plan;
use crate::problem::{Code, Refusal};
use crate::store::{Action, ActiveRow, Change, Of};

/// How often a trial is made again because the tenant was loaded anew meanwhile.
const TRIALS: usize = 5;
/// How often it is looked whether what was activated still serves.
const LOOK: Duration = Duration::from_millis(50);

/// What came of an activation.
#[derive(Debug)]
pub(crate) struct Activated {
    pub(crate) plan: Plan,
    /// The generation of the catalog that serves it; absent when nothing was changed.
    pub(crate) generation: Option<u64>,
}

/// What a change comes to.
struct Changed {
    plan: Plan,
    /// Absent when it was only planned, or when there was nothing to change.
    applied: Option<Applied>,
}

/// An activation that could serve.
struct Validated {
    active: Vec<ActiveRow>,
    changes: Vec<Change>,
    candidate: PluginVersions,
    trial: Trial,
}

/// An activation that serves, with what there was before it.
struct Applied {
    published: Published,
    action: Action,
    changes: Vec<Change>,
    candidate: PluginVersions,
    active: Vec<ActiveRow>,
    before: Option<Arc<Tenant>>,
}

impl From<Changed> for Activated {
    fn from(changed: Changed) -> Self {
        Self {
            plan: changed.plan,
            generation: changed.applied.map(|applied| applied.published.generation),
        }
    }
}

/// How an activation is done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manner {
    /// Only planned.
    pub(crate) plan: bool,
    /// How long it is watched before it is called done.
    pub(crate) verify_for: Duration,
}

impl Manager {
    /// Makes versions active, by their plugins' names.
    pub(crate) async fn activate(
        &self,
        asked: &Asked,
        versions: &BTreeMap<String, String>,
        manner: Manner,
    ) -> Result<Activated, Refusal> {
        let managed = self.activator.managed_keys(&asked.tenant).await;
        let lines = lines(versions, manner.plan);
        self.told(asked, Action::Activate, &lines, managed.map_err(Refusal::from))
            .await?;
        let alone = self.alone_with(&asked.tenant).await;
        let changed = self.change(asked, Action::Activate, versions, manner.plan).await?;
        // Whoever wants to roll back need not wait until this has been watched.
        drop(alone);
        if let Some(applied) = &changed.applied {
            self.watch(asked, applied, manner.verify_for).await?;
        }
        Ok(changed.into())
    }

    /// Goes back to the version of a plugin that was active before the one that is.
    pub(crate) async fn roll_back(&self, asked: &Asked, plugin: &str, plan: bool) -> Result<Activated, Refusal> {
        let managed = self.activator.managed_keys(&asked.tenant).await;
        let unknown = BTreeMap::from([(plugin.to_owned(), String::new())]);
        let lines = lines(&unknown, plan);
        self.told(asked, Action::Rollback, &lines, managed.map_err(Refusal::from))
            .await?;
        let _alone = self.alone_with(&asked.tenant).await;
        let previous = self.previous(&asked.tenant, plugin).await;
        let previous = self.told(asked, Action::Rollback, &lines, previous).await?;
        let versions = BTreeMap::from([(plugin.to_owned(), previous)]);
        let changed = self.change(asked, Action::Rollback, &versions, plan).await?;
        Ok(changed.into())
    }

    /// The version of a plugin that was active before the one that is.
    async fn previous(&self, tenant: &str, plugin: &str) -> Result<String, Refusal> {
        let active = self.store.active(tenant).await?;
        let message = match active.into_iter().find(|row| row.plugin == plugin) {
            Some(ActiveRow {
                previous: Some(previous),
                ..
            }) => return Ok(previous),
            Some(row) => format!(
                "version {} of plugin `{plugin}` is the first that is active, so there is none to go back to",
                row.version
            ),
            None => format!("no version of plugin `{plugin}` is active; `claimsmith status` lists what is"),
        };
        Err(Refusal::new(Code::NothingBefore, message))
    }

    /// Validates, plans, applies and verifies, while nobody else changes the tenant.
    async fn change(
        &self,
        asked: &Asked,
        action: Action,
        versions: &BTreeMap<String, String>,
        plan_only: bool,
    ) -> Result<Changed, Refusal> {
        let tenant = asked.tenant.as_str();
        let validated = self.validate(tenant, versions).await;
        let lines = lines(versions, plan_only);
        let Validated {
            active,
            changes,
            candidate,
            trial,
        } = self.told(asked, action, &lines, validated).await?;
        let plan = Plan::of(tenant, &trial, &changes);
        if plan_only || changes.is_empty() {
            return Ok(Changed { plan, applied: None });
        }
        let applied = self.apply(asked, action, trial, changes, candidate, active).await?;
        let applied = Some(applied);
        Ok(Changed { plan, applied })
    }

    /// Tries the tenant with these versions.
    async fn validate(&self, tenant: &str, versions: &BTreeMap<String, String>) -> Result<Validated, Refusal> {
        let active = self.store.active(tenant).await?;
        let mut changes = Vec::with_capacity(versions.len());
        for (plugin, version) in versions {
            let to = self.find(tenant, plugin, version).await?;
            let from = active.iter().find(|row| row.plugin == *plugin).cloned();
            // Activating what is active changes nothing, above all not what a rollback goes back to.
            if from.as_ref().is_none_or(|from| from.version != *version) {
                changes.push(Change { to, from });
            }
        }
        let candidate = candidate(&active, &changes);
        let trial = self.activator.try_versions(tenant, &candidate).await?;
        Ok(Validated {
            active,
            changes,
            candidate,
            trial,
        })
    }

    async fn apply(
        &self,
        asked: &Asked,
        action: Action,
        trial: Trial,
        changes: Vec<Change>,
        candidate: PluginVersions,
        active: Vec<ActiveRow>,
    ) -> Result<Applied, Refusal> {
        let tenant = asked.tenant.as_str();
        let before = trial.before().cloned();
        self.store.activate(asked.done(action), &changes).await?;
        let published = match self.publish(tenant, trial, &candidate).await {
            Ok(published) => published,
            Err(why) => {
                self.store.undo(asked.done(action), &changes, &why).await?;
                return Err(Refusal::new(Code::Busy, why));
            }
        };
        let generation = published.generation;
        let applied = Applied {
            published,
            action,
            changes,
            candidate,
            active,
            before,
        };
        if let Err(why) = self.activator.verify(tenant, &applied.candidate) {
            return Err(self.take_back(asked, &applied, why).await?);
        }
        let (actor, action) = (asked.actor.as_str(), action.code());
        let versions = applied
            .changes
            .iter()
            .map(|change| format!("{}@{}", change.to.plugin, change.to.version));
        let versions: Vec<_> = versions.collect();
        tracing::info!(tenant, actor, action, ?versions, generation, "versions activated");
        Ok(applied)
    }

    /// Sees to it that what was activated goes on to serve, and takes it back if it does not.
    async fn watch(&self, asked: &Asked, applied: &Applied, time: Duration) -> Result<(), Refusal> {
        let until = Instant::now() + time;
        // How the tenant's other plugins fare is not this activation's doing.
        let changed: Vec<_> = applied.changes.iter().map(|change| change.to.plugin.as_str()).collect();
        while Instant::now() < until {
            sleep(LOOK).await;
            let serves = self.activator.verify(&asked.tenant, &applied.candidate);
            let fares = serves.and_then(|()| self.activator.verify_breakers(&asked.tenant, &changed));
            let Err(why) = fares else {
                continue;
            };
            let _alone = self.alone_with(&asked.tenant).await;
            let active = self.store.active(&asked.tenant).await?;
            if candidate(&active, &[]) != applied.candidate {
                let message = "the tenant's versions were changed by somebody else while this activation was watched";
                return Err(Refusal::new(Code::Busy, message));
            }
            return Err(self.take_back(asked, applied, why).await?);
        }
        Ok(())
    }

    /// Goes back to what served before: the refusal that tells of it.
    async fn take_back(&self, asked: &Asked, applied: &Applied, why: String) -> Result<Refusal, Refusal> {
        let tenant = asked.tenant.as_str();
        // First what serves, then what is written down.
        let versions: PluginVersions = serving(&applied.active).collect();
        let before = applied.before.clone();
        let restored = self.activator.restore(tenant, &versions, &applied.published, before);
        // Of the files as they are: what was taken out of them since does not come back with the versions.
        let loaded = match restored {
            Restored::Gone => Ok(()),
            Restored::AsBefore | Restored::LoadedSince => self.load_again(tenant, &versions).await,
        };
        match loaded {
            Err(error) if restored == Restored::LoadedSince => {
                return self.not_taken_back(asked, applied, &why, &error).await;
            }
            Err(error) => tracing::warn!(
                tenant,
                error,
                "the tenant's files are not valid with the versions before"
            ),
            Ok(()) => {}
        }
        tracing::warn!(tenant, why, "an activation was taken back");
        self.store
            .undo(asked.done(applied.action), &applied.changes, &why)
            .await?;
        Ok(Refusal::new(Code::RolledBack, why))
    }

    /// Tells that an activation stays, because the tenant's files have changed so that the versions before it cannot serve.
    async fn not_taken_back(
        &self,
        asked: &Asked,
        applied: &Applied,
        why: &str,
        error: &str,
    ) -> Result<Refusal, Refusal> {
        let told = format!("{why}; and it cannot be taken back, because the versions before cannot serve now: {error}");
        tracing::error!(tenant = asked.tenant, "an activation stays: {told}");
        let changes = applied.changes.iter();
        let versions = changes.map(|change| (change.to.plugin.clone(), change.to.version.clone()));
        let versions: BTreeMap<_, _> = versions.collect();
        self.store
            .note_refused(asked.done(applied.action), &lines(&versions, false), &told)
            .await?;
        Ok(Refusal::new(Code::Invalid, told))
    }

    /// Publishes a tenant's files as they are with these versions.
    async fn load_again(&self, tenant: &str, versions: &PluginVersions) -> Result<(), String> {
        let trial = self.activator.try_versions(tenant, versions).await;
        let trial = trial.map_err(|error| error.to_string())?;
        self.publish(tenant, trial, versions).await?;
        Ok(())
    }

    /// Publishes a trial, or what is made again of the tenant's files if they have changed meanwhile.
    async fn publish(&self, tenant: &str, trial: Trial, candidate: &PluginVersions) -> Result<Published, String> {
        let mut trial = trial;
        for _ in 0..TRIALS {
            if let Ok(published) = self.activator.publish(trial) {
                return Ok(published);
            }
            let again = self.activator.try_versions(tenant, candidate).await;
            trial = again.map_err(|error| error.to_string())?;
        }
        Err("the tenant's files changed all the time".to_owned())
    }
}

fn active_version(digest: Digest, version: &str) -> ActiveVersion {
    let version = version.into();
    ActiveVersion { digest, version }
}

/// What is active.
fn serving(active: &[ActiveRow]) -> impl Iterator<Item = (String, ActiveVersion)> {
    let version = |row: &ActiveRow| (row.plugin.clone(), active_version(row.digest, &row.version));
    active.iter().map(version)
}

/// What the admin log says was refused; nothing when it was only to be planned.
fn lines(versions: &BTreeMap<String, String>, plan: bool) -> Vec<Of<'_>> {
    let versions = versions.iter().filter(|_| !plan);
    let of = versions.map(|(plugin, version)| Of {
        plugin,
        version,
        digest: None,
    });
    of.collect()
}

/// What is active after these changes.
fn candidate(active: &[ActiveRow], changes: &[Change]) -> PluginVersions {
    let new = changes.iter().map(|change| &change.to);
    let new = new.map(|row| (row.plugin.clone(), active_version(row.digest, &row.version)));
    serving(active).chain(new).collect()
}
