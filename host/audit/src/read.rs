//! Reading the store, also while a service appends to it: in pages, so that no reader keeps the write-ahead log from being
//! written back, and nothing is in memory but a page.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use claimsmith_contract::Outcome;
use serde::Serialize;
use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection as _, Row as _};
use uuid::Uuid;

use crate::chain::is_somebody;
use crate::encode::{code, micros, subject};
use crate::key::Key;
use crate::store::{self, StoreError};

/// Rows read at once.
const PAGE: i64 = 500;
/// How much later than its request's arrival a record can be written.
const LATE: Duration = Duration::from_mins(5);

/// Which records are wanted: those that fit all that is said.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The sign-in's correlation id.
    pub correlation_id: Option<Uuid>,
    /// Who signed in, as the tenant's plugin was told: an object id, or what the event has in its place.
    pub user: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The extension.
    pub extension: Option<String>,
    /// The application that the user signed in to.
    pub application: Option<Uuid>,
    /// How the callout ended: an outcome's code.
    pub outcome: Option<String>,
    /// A plugin's version: `1.2.3`, `name@1.2.3` or the beginning of its digest.
    pub version: Option<String>,
    /// Callouts that arrived then or later.
    pub since: Option<SystemTime>,
    /// Callouts that arrived before.
    pub until: Option<SystemTime>,
    /// The verified token's key that is not wanted: the service's own, which its probes have.
    pub without_key_id: Option<String>,
    /// So many at most: the newest.
    pub limit: Option<usize>,
}

/// The codes that a record's outcome can have: those of callouts, and those of what the store tells of itself.
pub fn outcomes() -> impl Iterator<Item = &'static str> {
    let of_callouts = Outcome::ALL.iter().map(|outcome| outcome.code());
    of_callouts.chain(code::ALL)
}

/// A record as it is read. Members of `context`, `detail` and `personal` that a version does not know are kept.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// Its place in the chain.
    pub seq: i64,
    /// When the request arrived, RFC 3339.
    pub time: String,
    /// How the callout ended.
    pub outcome: String,
    /// The sign-in's correlation id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<Uuid>,
    /// The application that the user signed in to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<Uuid>,
    /// What it has in common with other callouts.
    #[serde(flatten)]
    pub context: Map<String, Value>,
    /// What is its own.
    #[serde(flatten)]
    pub detail: Map<String, Value>,
    /// The user's pseudonym, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_pseudonym: Option<String>,
    /// The user, if the tenant's policy is to record it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<Value>,
    /// Claim values, if the tenant's policy is to record them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_values: Option<Value>,
    /// Whether its personal data was erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub erased: bool,
    /// Its hash in the chain, in hexadecimal digits.
    pub hash: String,
}

/// A context: its members.
#[derive(Debug)]
pub(crate) struct KnownContext {
    pub(crate) members: Map<String, Value>,
}

impl KnownContext {
    fn text(&self, member: &str) -> &str {
        self.members.get(member).and_then(Value::as_str).unwrap_or_default()
    }

    fn fits(&self, filter: &Filter) -> bool {
        let has = |member, wanted: &Option<String>| wanted.as_deref().is_none_or(|wanted| self.text(member) == wanted);
        let unwanted = filter.without_key_id.as_deref();
        has("tenant", &filter.tenant)
            && has("extension", &filter.extension)
            && unwanted.is_none_or(|unwanted| self.text("key_id") != unwanted)
            && filter
                .version
                .as_deref()
                .is_none_or(|version| self.has_version(version))
    }

    fn has_version(&self, wanted: &str) -> bool {
        let plugins = self.members.get("plugins").and_then(Value::as_array);
        plugins.into_iter().flatten().any(|plugin| {
            let text = |member: &str| plugin.get(member).and_then(Value::as_str).unwrap_or_default();
            let (name, version) = (text("plugin"), text("version"));
            let is_named = wanted.split_once('@') == Some((name, version));
            version == wanted || is_named || (wanted.len() >= 8 && text("digest").starts_with(wanted))
        })
    }
}

/// A page of records, from either end.
macro_rules! page {
    ($order:literal) => {
        concat!(
            "SELECT seq, time, context, outcome, correlation, application, subject, detail, personal, erased, hash
             FROM record WHERE seq > ?1 AND seq < ?2
             AND (?3 IS NULL OR correlation = ?3) AND (?4 IS NULL OR application = ?4)
             AND (?5 IS NULL OR outcome = ?5) AND (?6 IS NULL OR time >= ?6) AND (?7 IS NULL OR time < ?7)
             AND (?8 IS NULL OR subject IN (SELECT unhex(value) FROM json_each(?8)))
             ORDER BY seq ",
            $order,
            " LIMIT ?9"
        )
    };
}

/// A store that is read.
#[derive(Debug)]
pub struct Reader {
    connection: SqliteConnection,
    contexts: HashMap<i64, Arc<KnownContext>>,
    filter: Filter,
    /// The person's pseudonyms, one for each tenant.
    subjects: Vec<[u8; 16]>,
    page: VecDeque<SqliteRow>,
    last: i64,
    end: i64,
    /// The newest ones that fit, the oldest of them last, when only so many are wanted.
    newest: Option<Vec<Entry>>,
}

impl Reader {
    /// Opens a store for reading the records that fit a filter, oldest first.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open(path: &Path, filter: Filter) -> Result<Self, StoreError> {
        let connection = SqliteConnection::connect_with(&store::options(path)?).await?;
        let mut reader = Self {
            connection,
            contexts: HashMap::new(),
            filter,
            subjects: Vec::new(),
            page: VecDeque::new(),
            last: 0,
            end: i64::MAX,
            newest: None,
        };
        if let Some(user) = reader.filter.user.clone() {
            let key = Key::read(path)?;
            store::check_key(&mut reader.connection, path, &key).await?;
            for tenant in reader.tenants().await? {
                reader.subjects.push(subject(&key, &tenant, &user));
            }
        }
        if let Some(since) = reader.filter.since {
            reader.last = reader.first_at(micros(since)).await? - 1;
        }
        if let Some(until) = reader.filter.until.and_then(|until| until.checked_add(LATE)) {
            reader.end = reader.first_at(micros(until)).await?;
        }
        Ok(reader)
    }

    async fn tenants(&mut self) -> Result<Vec<String>, StoreError> {
        if let Some(tenant) = &self.filter.tenant {
            return Ok(vec![tenant.clone()]);
        }
        self.known_tenants().await
    }

    /// The first record from which on all arrived at `time` or later, found by halving: records are written in nearly
    /// the order of their arrival.
    async fn first_at(&mut self, time: i64) -> Result<i64, StoreError> {
        let ends = sqlx::query_as("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM record");
        let (mut low, mut high): (i64, i64) = ends.fetch_one(&mut self.connection).await?;
        while low <= high {
            let middle = low.midpoint(high);
            let found = sqlx::query_scalar("SELECT time FROM record WHERE seq >= ? ORDER BY seq LIMIT 1");
            let found: Option<i64> = found.bind(middle).fetch_optional(&mut self.connection).await?;
            if found.is_some_and(|found| found < time) {
                low = middle + 1;
            } else {
                high = middle - 1;
            }
        }
        Ok(low)
    }

    /// The next record; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn next(&mut self) -> Result<Option<Entry>, StoreError> {
        let Some(limit) = self.filter.limit else {
            return self.read_next().await;
        };
        if self.newest.is_none() {
            let mut newest = Vec::new();
            while newest.len() < limit
                && let Some(entry) = self.read_next().await?
            {
                newest.push(entry);
            }
            self.newest = Some(newest);
        }
        Ok(self.newest.as_mut().and_then(Vec::pop))
    }

    /// The tenants that the store knows.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn known_tenants(&mut self) -> Result<Vec<String>, StoreError> {
        let tenants = sqlx::query_scalar("SELECT DISTINCT text->>'tenant' FROM context ORDER BY 1");
        Ok(tenants.fetch_all(&mut self.connection).await?)
    }

    /// The extensions that the store knows.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn known_extensions(&mut self) -> Result<Vec<String>, StoreError> {
        let extensions = sqlx::query_scalar("SELECT DISTINCT text->>'extension' FROM context ORDER BY 1");
        Ok(extensions.fetch_all(&mut self.connection).await?)
    }

    async fn read_next(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            let Some(row) = self.page.pop_front() else {
                if !self.read_page().await? {
                    return Ok(None);
                }
                continue;
            };
            let context = self.context(row.try_get("context")?).await?;
            if context.fits(&self.filter) {
                return entry(&row, &context).map(Some);
            }
        }
    }

    async fn read_page(&mut self) -> Result<bool, StoreError> {
        let filter = &self.filter;
        let id = |id: Option<Uuid>| id.map(|id| id.as_bytes().to_vec());
        // Several tenants, several pseudonyms: as JSON, because the statement is the same for any number.
        let subjects: Vec<_> = self.subjects.iter().map(hex::encode).collect();
        let subjects = filter.user.is_some().then(|| Value::from(subjects).to_string());
        let is_backward = filter.limit.is_some();
        let rows = sqlx::query(if is_backward { page!("DESC") } else { page!("ASC") })
            .bind(self.last)
            .bind(self.end)
            .bind(id(filter.correlation_id))
            .bind(id(filter.application))
            .bind(filter.outcome.clone())
            .bind(filter.since.map(micros))
            .bind(filter.until.map(micros))
            .bind(subjects)
            .bind(PAGE)
            .fetch_all(&mut self.connection)
            .await?;
        let Some(last) = rows.last() else { return Ok(false) };
        let last = last.try_get("seq")?;
        if is_backward {
            self.end = last;
        } else {
            self.last = last;
        }
        self.page = rows.into();
        Ok(true)
    }

    /// A context by its number. One that is gone or unreadable has no members, which verifying finds.
    async fn context(&mut self, id: i64) -> Result<Arc<KnownContext>, StoreError> {
        if let Some(known) = self.contexts.get(&id) {
            return Ok(Arc::clone(known));
        }
        let text = sqlx::query_scalar("SELECT text FROM context WHERE id = ?").bind(id);
        let text: Option<String> = text.fetch_optional(&mut self.connection).await?;
        let text = text.unwrap_or_default();
        let context = Arc::new(KnownContext {
            members: serde_json::from_str(&text).unwrap_or_default(),
        });
        if self.contexts.len() >= 4096 {
            self.contexts.clear();
        }
        self.contexts.insert(id, Arc::clone(&context));
        Ok(context)
    }
}

fn entry(row: &SqliteRow, context: &KnownContext) -> Result<Entry, StoreError> {
    let seq: i64 = row.try_get("seq")?;
    let id = |column| -> Result<Option<Uuid>, StoreError> {
        let bytes: Vec<u8> = row.try_get(column)?;
        Ok(Uuid::from_slice(&bytes).ok().filter(|id| !id.is_nil()))
    };
    let detail: String = row.try_get("detail")?;
    let mut detail: Map<String, Value> = serde_json::from_str(&detail).map_err(|_| StoreError::Unreadable(seq))?;
    // Both are members of one object.
    detail.retain(|member, _| !context.members.contains_key(member));
    let personal: String = row.try_get("personal")?;
    let mut personal: Map<String, Value> = serde_json::from_str(&personal).unwrap_or_default();
    let subject: Vec<u8> = row.try_get("subject")?;
    let time: i64 = row.try_get("time")?;
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(u64::try_from(time).unwrap_or_default());
    let erased: Option<Vec<u8>> = row.try_get("erased")?;
    let hash: Vec<u8> = row.try_get("hash")?;
    Ok(Entry {
        seq,
        time: humantime::format_rfc3339_micros(time).to_string(),
        outcome: row.try_get("outcome")?,
        correlation_id: id("correlation")?,
        application: id("application")?,
        context: context.members.clone(),
        detail,
        user_pseudonym: is_somebody(&subject).then(|| hex::encode(subject)),
        user: personal.remove("user"),
        claim_values: personal.remove("claims"),
        erased: erased.is_some(),
        hash: hex::encode(hash),
    })
}
