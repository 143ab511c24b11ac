//! The admin log: who did what, when and why. Append-only.

use std::time::SystemTime;

use claimsmith_contract::schema::without_null;
use schemars::JsonSchema;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{FromRow, Row as _};

use super::{Store, StoreError, micros, rfc3339};

/// Longer details, such as the mistakes of a large tenant, are cut.
const MAX_DETAIL_BYTES: usize = 4096;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Push,
    Sign,
    Activate,
    Rollback,
    Delete,
    Forget,
}

impl Action {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Sign => "sign",
            Self::Activate => "activate",
            Self::Rollback => "rollback",
            Self::Delete => "delete",
            Self::Forget => "forget",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogResult {
    /// It was done.
    Done,
    /// It was not done.
    Refused,
    /// It was done and taken back.
    Undone,
}

impl LogResult {
    const fn code(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Undone => "undone",
        }
    }
}

/// Who does it, what and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done<'d> {
    pub(crate) actor: &'d str,
    pub(crate) reason: &'d str,
    pub(crate) action: Action,
    pub(crate) tenant: &'d str,
}

/// A line of the admin log.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogLine {
    /// Its number: each line has the next, and none is taken out.
    pub(crate) seq: i64,
    /// When, in RFC 3339.
    pub(crate) time: String,
    /// Who: an application and a person of the directory, or a user of the machine.
    pub(crate) actor: String,
    pub(crate) tenant: String,
    pub(crate) plugin: String,
    /// `push`, `sign`, `activate`, `rollback`, `delete`, or `forget`: of a tenant, without plugin and version.
    pub(crate) action: String,
    pub(crate) version: String,
    /// The SHA-256 of the version, or of what was refused as it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = without_null)]
    pub(crate) digest: Option<String>,
    /// Why, as the actor said; empty in a line that tells how many more were refused.
    pub(crate) reason: String,
    /// `done`, `refused`, or `undone`: done and taken back.
    pub(crate) result: String,
    /// What else there is to know; empty when there is nothing.
    pub(crate) detail: String,
}

impl FromRow<'_, SqliteRow> for LogLine {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            seq: row.try_get("seq")?,
            time: rfc3339(row.try_get("time")?),
            actor: row.try_get("actor")?,
            tenant: row.try_get("tenant")?,
            plugin: row.try_get("plugin")?,
            action: row.try_get("action")?,
            version: row.try_get("version")?,
            digest: row.try_get("digest")?,
            reason: row.try_get("reason")?,
            result: row.try_get("result")?,
            detail: row.try_get("detail")?,
        })
    }
}

/// Which lines.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFilter<'f> {
    /// All tenants' when absent.
    pub(crate) tenant: Option<&'f str>,
    /// Also lines of a tenant of the same name that was forgotten.
    pub(crate) forgotten: bool,
    /// Lines with lower numbers; the last ones when absent.
    pub(crate) before: Option<i64>,
    /// How many.
    pub(crate) limit: u32,
}

/// A plugin's version in a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Of<'v> {
    pub(crate) plugin: &'v str,
    pub(crate) version: &'v str,
    pub(crate) digest: Option<&'v str>,
}

/// Appends a line within a transaction.
pub(super) async fn append(
    connection: &mut SqliteConnection,
    done: Done<'_>,
    of: Of<'_>,
    result: LogResult,
    detail: &str,
) -> Result<(), StoreError> {
    let detail = detail
        .get(..detail.floor_char_boundary(MAX_DETAIL_BYTES))
        .unwrap_or_default();
    sqlx::query(
        "INSERT INTO log (time, actor, tenant, plugin, action, version, digest, reason, result, detail)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(micros(SystemTime::now()))
    .bind(done.actor)
    .bind(done.tenant)
    .bind(of.plugin)
    .bind(done.action.code())
    .bind(of.version)
    .bind(of.digest)
    .bind(done.reason)
    .bind(result.code())
    .bind(detail)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Notes what was not done.
    pub(crate) async fn note_refused(
        &self,
        done: Done<'_>,
        versions: &[Of<'_>],
        detail: &str,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await?;
        for of in versions {
            append(&mut transaction, done, *of, LogResult::Refused, detail).await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Lines of the log, the last first.
    pub(crate) async fn log(&self, filter: LogFilter<'_>) -> Result<Vec<LogLine>, StoreError> {
        let lines = sqlx::query_as(
            "SELECT seq, time, actor, tenant, plugin, action, version, digest, reason, result, detail FROM log
             WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR seq < ?2)
             AND (?4 OR seq > (SELECT coalesce(max(seq), 0) FROM log WHERE tenant = ?1 AND action = 'forget'))
             ORDER BY seq DESC LIMIT ?3",
        )
        .bind(filter.tenant)
        .bind(filter.before)
        .bind(filter.limit)
        .bind(filter.forgotten);
        Ok(lines.fetch_all(&self.pool).await?)
    }
}
