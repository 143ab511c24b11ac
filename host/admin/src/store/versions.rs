//! Versions, and which of them are active.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use claimsmith_catalog::signature_file;
use claimsmith_runtime::Digest;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row as _};
use tokio::task;
use uuid::Uuid;

use super::log::{Action, Done, LogResult, Of, append};
use super::{Store, StoreError, digest, micros, private_directory, rfc3339};

/// A version that was pushed.
#[derive(Clone, Debug)]
pub(crate) struct VersionRow {
    pub(crate) plugin: String,
    pub(crate) version: String,
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
    /// RFC 3339.
    pub(crate) pushed: String,
    pub(crate) actor: String,
}

impl FromRow<'_, SqliteRow> for VersionRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            plugin: row.try_get("plugin")?,
            version: row.try_get("version")?,
            digest: digest(row.try_get("digest")?).map_err(|error| sqlx::Error::Decode(error.into()))?,
            bytes: row.try_get::<i64, _>("bytes")?.unsigned_abs(),
            pushed: rfc3339(row.try_get("pushed")?),
            actor: row.try_get("actor")?,
        })
    }
}

/// What there is of a version on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OnDisk {
    pub(crate) has_signature: bool,
    /// Its component is not there, or is not what was pushed.
    pub(crate) is_missing: bool,
}

/// What is active of a plugin.
#[derive(Clone, Debug)]
pub(crate) struct ActiveRow {
    pub(crate) plugin: String,
    pub(crate) version: String,
    pub(crate) digest: Digest,
    /// RFC 3339.
    pub(crate) since: String,
    pub(crate) actor: String,
    /// The version that was active before.
    pub(crate) previous: Option<String>,
    since_micros: i64,
}

impl FromRow<'_, SqliteRow> for ActiveRow {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        let since_micros = row.try_get("since")?;
        Ok(Self {
            plugin: row.try_get("plugin")?,
            version: row.try_get("version")?,
            digest: digest(row.try_get("digest")?).map_err(|error| sqlx::Error::Decode(error.into()))?,
            since: rfc3339(since_micros),
            actor: row.try_get("actor")?,
            previous: row.try_get("previous")?,
            since_micros,
        })
    }
}

/// What came of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It is new.
    New,
    /// The same bytes were pushed as this version before.
    Known,
    /// Other bytes were pushed as this version before.
    Taken(Digest),
    /// The tenant has as many plugins as it may.
    TooManyPlugins,
    /// With it the tenant's versions would have so many bytes, more than they may.
    TooManyBytes(u64),
}

/// What a tenant's versions may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// Versions of one plugin that are kept.
    pub(crate) keep: usize,
    /// Bytes of all versions together.
    pub(crate) max_bytes: u64,
}

/// Which version of a plugin becomes active in place of which.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) to: VersionRow,
    pub(crate) from: Option<ActiveRow>,
}

/// Plugins of one tenant that versions are kept of.
pub(crate) const MAX_PLUGINS: usize = 64;

impl Store {
    /// Keeps a version, which nobody else pushes at the same time, and deletes the oldest ones beyond those to keep that
    /// neither serve nor did before.
    pub(crate) async fn push(
        &self,
        done: Done<'_>,
        plugin: &str,
        version: &str,
        component: Vec<u8>,
        room: Room,
    ) -> Result<Pushed, StoreError> {
        let digest = Digest::of(&component);
        let bytes = i64::try_from(component.len()).unwrap_or(i64::MAX);
        let known = self.version(done.tenant, plugin, version).await?;
        if let Some(known) = known.filter(|known| known.digest != digest) {
            return Ok(Pushed::Taken(known.digest));
        }
        let plugins: i64 =
            sqlx::query_scalar("SELECT count(DISTINCT plugin) FROM version WHERE tenant = ? AND plugin <> ?")
                .bind(done.tenant)
                .bind(plugin)
                .fetch_one(&self.pool)
                .await?;
        if usize::try_from(plugins).unwrap_or(usize::MAX) >= MAX_PLUGINS {
            return Ok(Pushed::TooManyPlugins);
        }
        self.write(done.tenant, plugin, &format!("{digest}.wasm"), component)
            .await?;
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let text = digest.to_string();
        let inserted = sqlx::query(
            "INSERT INTO version (tenant, plugin, version, digest, bytes, pushed, actor) VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING",
        )
        .bind(done.tenant)
        .bind(plugin)
        .bind(version)
        .bind(&text)
        .bind(bytes)
        .bind(micros(SystemTime::now()))
        .bind(done.actor)
        .execute(&mut *transaction)
        .await?;
        if inserted.rows_affected() == 0 {
            return Ok(Pushed::Known);
        }
        let of = Of {
            plugin,
            version,
            digest: Some(&text),
        };
        append(&mut transaction, done, of, LogResult::Done, "").await?;
        let deleted = prune(&mut transaction, done, plugin, room.keep).await?;
        let kept = bytes_of(&mut transaction, done.tenant).await?;
        if kept > room.max_bytes {
            transaction.rollback().await?;
            self.remove_unless_known(done.tenant, plugin, text).await?;
            return Ok(Pushed::TooManyBytes(kept));
        }
        transaction.commit().await?;
        self.remove(done.tenant, plugin, deleted).await;
        Ok(Pushed::New)
    }

    /// Removes the file of a component that was not kept after all, unless another version is the same.
    async fn remove_unless_known(&self, tenant: &str, plugin: &str, digest: String) -> Result<(), StoreError> {
        let known: i64 =
            sqlx::query_scalar("SELECT count(*) FROM version WHERE tenant = ? AND plugin = ? AND digest = ?")
                .bind(tenant)
                .bind(plugin)
                .bind(&digest)
                .fetch_one(&self.pool)
                .await?;
        if known == 0 {
            self.remove(tenant, plugin, vec![digest]).await;
        }
        Ok(())
    }

    /// Removes the files of versions that there are no more.
    async fn remove(&self, tenant: &str, plugin: &str, digests: Vec<String>) {
        if digests.is_empty() {
            return;
        }
        let directory = self.directory.join(tenant).join(plugin);
        let removing = task::spawn_blocking(move || digests.iter().for_each(|digest| remove(&directory, digest)));
        if let Err(error) = removing.await {
            tracing::warn!(%error, "deleted versions' files could not be removed");
        }
    }

    /// Keeps the signature of a version, in place of the one it had.
    ///
    /// Unlike a version, it has no row without which its file would count for nothing. So its line of the log is committed
    /// first: a crash leaves a line that is not true yet, which pushing the signature again mends, and never a signature that
    /// the log does not know.
    pub(crate) async fn sign(&self, done: Done<'_>, version: &VersionRow, signature: String) -> Result<(), StoreError> {
        let digest = version.digest.to_string();
        let name = format!("{digest}.wasm.minisig");
        let of = Of {
            plugin: &version.plugin,
            version: &version.version,
            digest: Some(&digest),
        };
        self.note(done, of, LogResult::Done, "").await?;
        let written = self.write(done.tenant, &version.plugin, &name, signature.into_bytes());
        if let Err(error) = written.await {
            self.note(done, of, LogResult::Undone, &error.to_string()).await?;
            return Err(error);
        }
        Ok(())
    }

    /// Appends a line to the log that tells of no row.
    async fn note(&self, done: Done<'_>, of: Of<'_>, result: LogResult, detail: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        append(&mut transaction, done, of, result, detail).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Reads a version's component and its signature, if it has one.
    pub(crate) async fn read(
        &self,
        tenant: &str,
        version: &VersionRow,
    ) -> Result<(Vec<u8>, Option<String>), StoreError> {
        let file = self.directory.join(tenant).join(&version.plugin);
        let file = file.join(format!("{}.wasm", version.digest));
        blocking(file.clone(), move || {
            let signature = match fs::read_to_string(signature_file(&file)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                read => Some(read?),
            };
            Ok((fs::read(&file)?, signature))
        })
        .await
    }

    /// Versions, each with what there is of it on disk.
    pub(crate) async fn with_files(
        &self,
        tenant: &str,
        versions: Vec<VersionRow>,
    ) -> Result<Vec<(VersionRow, OnDisk)>, StoreError> {
        let directory = self.directory.join(tenant);
        blocking(directory.clone(), move || {
            let on_disk = |version: &VersionRow| {
                let file = directory.join(&version.plugin).join(format!("{}.wasm", version.digest));
                OnDisk {
                    has_signature: signature_file(&file).exists(),
                    is_missing: !fs::metadata(&file).is_ok_and(|found| found.len() == version.bytes),
                }
            };
            let versions = versions.into_iter().map(|version| {
                let files = on_disk(&version);
                (version, files)
            });
            Ok(versions.collect())
        })
        .await
    }

    /// One version.
    pub(crate) async fn version(
        &self,
        tenant: &str,
        plugin: &str,
        version: &str,
    ) -> Result<Option<VersionRow>, StoreError> {
        let row = sqlx::query_as("SELECT * FROM version WHERE tenant = ? AND plugin = ? AND version = ?")
            .bind(tenant)
            .bind(plugin)
            .bind(version);
        Ok(row.fetch_optional(&self.pool).await?)
    }

    /// All versions of a tenant, of each plugin the one pushed last first.
    pub(crate) async fn versions(&self, tenant: &str) -> Result<Vec<VersionRow>, StoreError> {
        let rows = sqlx::query_as("SELECT * FROM version WHERE tenant = ? ORDER BY plugin, version.pushed DESC");
        Ok(rows.bind(tenant).fetch_all(&self.pool).await?)
    }

    /// What is active of a tenant.
    pub(crate) async fn active(&self, tenant: &str) -> Result<Vec<ActiveRow>, StoreError> {
        let rows = sqlx::query_as("SELECT * FROM active WHERE tenant = ? ORDER BY plugin");
        Ok(rows.bind(tenant).fetch_all(&self.pool).await?)
    }

    /// Makes versions active, all or none.
    pub(crate) async fn activate(&self, done: Done<'_>, changes: &[Change]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for Change { to, from } in changes {
            let digest = to.digest.to_string();
            let from = from.as_ref().map(|from| from.version.as_str());
            sqlx::query(
                "INSERT OR REPLACE INTO active (tenant, plugin, version, digest, since, actor, previous)
                 VALUES (?, ?, ?, ?, ?, ?, ?)",
            )
            .bind(done.tenant)
            .bind(&to.plugin)
            .bind(&to.version)
            .bind(&digest)
            .bind(micros(SystemTime::now()))
            .bind(done.actor)
            .bind(from)
            .execute(&mut *transaction)
            .await?;
            let of = Of {
                plugin: &to.plugin,
                version: &to.version,
                digest: Some(&digest),
            };
            let detail = from.map(|from| format!("in place of {from}")).unwrap_or_default();
            append(&mut transaction, done, of, LogResult::Done, &detail).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Takes an activation back.
    pub(crate) async fn undo(&self, done: Done<'_>, changes: &[Change], why: &str) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        for Change { to, from } in changes {
            sqlx::query("DELETE FROM active WHERE tenant = ? AND plugin = ?")
                .bind(done.tenant)
                .bind(&to.plugin)
                .execute(&mut *transaction)
                .await?;
            if let Some(from) = from {
                sqlx::query(
                    "INSERT INTO active (tenant, plugin, version, digest, since, actor, previous)
                     VALUES (?, ?, ?, ?, ?, ?, ?)",
                )
                .bind(done.tenant)
                .bind(&from.plugin)
                .bind(&from.version)
                .bind(from.digest.to_string())
                .bind(from.since_micros)
                .bind(&from.actor)
                .bind(&from.previous)
                .execute(&mut *transaction)
                .await?;
            }
            let digest = to.digest.to_string();
            let of = Of {
                plugin: &to.plugin,
                version: &to.version,
                digest: Some(&digest),
            };
            append(&mut transaction, done, of, LogResult::Undone, why).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Forgets the versions of a tenant that was deleted and what was active of it: how many versions there were. `None` if
    /// nothing was done for a tenant of this name since it was forgotten last.
    pub(crate) async fn forget(&self, done: Done<'_>) -> Result<Option<u64>, StoreError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let is_known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM log WHERE tenant = ?1 AND seq >
                 (SELECT coalesce(max(seq), 0) FROM log WHERE tenant = ?1 AND action = 'forget'))",
        )
        .bind(done.tenant)
        .fetch_one(&mut *transaction)
        .await?;
        if !is_known {
            return Ok(None);
        }
        // Files first: after a crash in between it can be done again.
        let directory = self.directory.join(done.tenant);
        blocking(directory.clone(), move || match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })
        .await?;
        let versions = sqlx::query("DELETE FROM version WHERE tenant = ?").bind(done.tenant);
        let versions = versions.execute(&mut *transaction).await?.rows_affected();
        let active = sqlx::query("DELETE FROM active WHERE tenant = ?").bind(done.tenant);
        active.execute(&mut *transaction).await?;
        let of = Of {
            plugin: "",
            version: "",
            digest: None,
        };
        let detail = format!("versions: {versions}");
        append(&mut transaction, done, of, LogResult::Done, &detail).await?;
        transaction.commit().await?;
        Ok(Some(versions))
    }

    /// Writes a file aside, syncs it and renames it into place.
    async fn write(&self, tenant: &str, plugin: &str, name: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let tenant_directory = self.directory.join(tenant);
        let directory = tenant_directory.join(plugin);
        let (scratch, file) = (self.incoming.join(Uuid::new_v4().to_string()), directory.join(name));
        let parents = [self.directory.clone(), tenant_directory, directory.clone()];
        blocking(file.clone(), move || {
            private_directory(&directory)?;
            let mut written = File::create(&scratch)?;
            let renamed = written
                .write_all(&bytes)
                .and_then(|()| written.sync_all())
                .and_then(|()| fs::rename(&scratch, &file));
            if renamed.is_err() {
                let _is_gone = fs::remove_file(&scratch).is_err();
            }
            renamed?;
            parents.iter().try_for_each(|directory| sync(directory))
        })
        .await
    }
}

/// Removes a version's files. One that stays costs room and nothing else.
fn remove(directory: &Path, digest: &str) {
    let file = directory.join(format!("{digest}.wasm"));
    let removed = fs::remove_file(&file);
    let signature = fs::remove_file(signature_file(&file));
    let signature = signature.err().filter(|error| error.kind() != io::ErrorKind::NotFound);
    if let Some(error) = removed.err().or(signature) {
        tracing::warn!(file = %file.display(), %error, "a deleted version's file cannot be removed");
    }
}

/// The bytes of a tenant's versions: of each file once, however many versions it is.
async fn bytes_of(connection: &mut SqliteConnection, tenant: &str) -> Result<u64, StoreError> {
    let bytes: i64 = sqlx::query_scalar(
        "SELECT coalesce(sum(bytes), 0) FROM (SELECT DISTINCT plugin, digest, bytes FROM version WHERE tenant = ?)",
    )
    .bind(tenant)
    .fetch_one(connection)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// Deletes the oldest versions of a plugin beyond `keep` that neither serve nor did before: the digests that no version
/// has any more.
async fn prune(
    connection: &mut SqliteConnection,
    done: Done<'_>,
    plugin: &str,
    keep: usize,
) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query(
        "SELECT version, digest FROM version WHERE tenant = ?1 AND plugin = ?2
         AND version NOT IN (SELECT version FROM active WHERE tenant = ?1 AND plugin = ?2
             UNION SELECT previous FROM active WHERE tenant = ?1 AND plugin = ?2 AND previous IS NOT NULL)
         AND version NOT IN (SELECT version FROM version WHERE tenant = ?1 AND plugin = ?2
             ORDER BY pushed DESC LIMIT ?3)",
    )
    .bind(done.tenant)
    .bind(plugin)
    .bind(i64::try_from(keep).unwrap_or(i64::MAX))
    .fetch_all(&mut *connection)
    .await?;
    let mut gone = Vec::new();
    for row in rows {
        let (version, digest): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        sqlx::query("DELETE FROM version WHERE tenant = ? AND plugin = ? AND version = ?")
            .bind(done.tenant)
            .bind(plugin)
            .bind(&version)
            .execute(&mut *connection)
            .await?;
        let of = Of {
            plugin,
            version: &version,
            digest: Some(&digest),
        };
        let done = Done {
            action: Action::Delete,
            ..done
        };
        let detail = "the oldest beyond admin.keep_versions";
        append(connection, done, of, LogResult::Done, detail).await?;
        let others: i64 =
            sqlx::query_scalar("SELECT count(*) FROM version WHERE tenant = ? AND plugin = ? AND digest = ?")
                .bind(done.tenant)
                .bind(plugin)
                .bind(&digest)
                .fetch_one(&mut *connection)
                .await?;
        if others == 0 {
            gone.push(digest);
        }
    }
    Ok(gone)
}

/// Runs what reads or writes a file where it may block.
async fn blocking<T: Send + 'static>(
    path: std::path::PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let ended = task::spawn_blocking(work).await;
    let ended = ended.map_err(io::Error::other).and_then(|result| result);
    ended.map_err(|source| StoreError::File { path, source })
}

/// Makes the names in a directory outlive a loss of power.
fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
