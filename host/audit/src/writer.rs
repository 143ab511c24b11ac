//! The writer: one thread that takes what is in the queue and writes it in one transaction, so that the disk is asked to
//! sync once for all of it. What comes meanwhile is the next batch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::auditor::{Mode, Pending, Shared};
use crate::chain::Salt;
use crate::contexts::Contexts;
use crate::encode::{Rows, code};
use crate::history::{self, Retirement};
use crate::key::Key;
use crate::record::Context;
use crate::store::{self, Store, StoreError};
use crate::verify::Fault;
use crate::waiter::Waiter;

/// How long the writer sleeps when nobody waits for it and nothing has come meanwhile. Records of `best_effort` are as old
/// as this before they are written; `required` wakes it.
const NAP: Duration = Duration::from_millis(100);
/// The same while records come. A large batch takes a core from callouts for some milliseconds, which is most of what the
/// slowest of them wait; a batch has at least what comes in this time, so that its transaction is worth it.
const SHORT_NAP: Duration = Duration::from_millis(10);
/// Records of one batch.
const BATCH_RECORDS: usize = 1024;
/// Bytes of one batch's texts, after which no more records are added.
const BATCH_BYTES: usize = 1 << 20;
/// How often the chain's end is sealed while there are new records.
const SEAL: Duration = Duration::from_secs(10);
/// How often old records are looked for.
const RETIRE: Duration = Duration::from_secs(10);
/// How much later than their time records may be deleted: each deletion has a record of its own.
const RETIRE_LATE: Duration = Duration::from_hours(1);
/// How often contexts are made anew, so that unused ones can be deleted.
const CONTEXTS: Duration = Duration::from_hours(24);

/// What is counted, with handles made once.
#[derive(Debug)]
pub(crate) struct Metrics {
    queue: Gauge,
    records: Counter,
    batches: Counter,
    commit: Histogram,
    lag: Gauge,
    available: Gauge,
    broken: Gauge,
    pub(crate) lost: Counter,
}

impl Metrics {
    pub(crate) fn register() -> Self {
        describe_gauge!("claimsmith_audit_queue_length", "Audit records that wait to be written");
        describe_counter!("claimsmith_audit_records_total", "Audit records that were written");
        describe_counter!(
            "claimsmith_audit_batches_total",
            "Transactions that they were written in: records divided by batches is the size of a batch"
        );
        describe_histogram!(
            "claimsmith_audit_commit_seconds",
            Unit::Seconds,
            "Transactions of audit records"
        );
        describe_gauge!(
            "claimsmith_audit_lag_seconds",
            Unit::Seconds,
            "From a request's arrival until its record was written: of the oldest of the last batch"
        );
        describe_gauge!("claimsmith_audit_available", "1 while the audit store can be written");
        describe_gauge!(
            "claimsmith_audit_chain_broken",
            "1 when the audit store was found cut off or rewritten, or its marks changed, since this start"
        );
        describe_counter!("claimsmith_audit_lost_total", "Audit records that could not be kept");
        Self {
            queue: gauge!("claimsmith_audit_queue_length"),
            records: counter!("claimsmith_audit_records_total"),
            batches: counter!("claimsmith_audit_batches_total"),
            commit: histogram!("claimsmith_audit_commit_seconds"),
            lag: gauge!("claimsmith_audit_lag_seconds"),
            available: gauge!("claimsmith_audit_available"),
            broken: gauge!("claimsmith_audit_chain_broken"),
            lost: counter!("claimsmith_audit_lost_total"),
        }
    }
}

/// Runs until the audit is closed. `tried` learns when the store has been opened, or could not be.
pub(crate) fn run(shared: &Shared, key: &Key, tried: oneshot::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    match runtime {
        Ok(runtime) => Writer::new(shared, key).run(&runtime, tried),
        Err(error) => tracing::error!(%error, "the audit has no runtime: no record is kept"),
    }
}

struct Writer<'s> {
    shared: &'s Shared,
    key: &'s Key,
    store: Option<Store>,
    contexts: Contexts,
    /// Taken out of the queue.
    pending: VecDeque<Pending>,
    /// For the next swap with the queue.
    empty: Vec<Pending>,
    /// Whether the store could be used the last time; unknown at first.
    available: Option<bool>,
    lost_since: Option<SystemTime>,
    /// The numbers of records whose callouts were refused while they were being written, by tenant and extension.
    withheld: BTreeMap<(Arc<str>, Arc<str>), Vec<i64>>,
    /// Whether opening it was tried.
    was_opened: bool,
    sealed: Instant,
    retired: Instant,
    /// Whether old records are kept, because the chain does not hold where they are: that has been told.
    keeps_all: bool,
    contexts_since: Instant,
}

#[derive(Serialize)]
struct Lost {
    records: u64,
    since: String,
}

#[derive(Serialize)]
struct Withheld<'w> {
    seqs: &'w [i64],
}

#[derive(Serialize)]
struct Counted {
    refusals: u64,
    refused_for: &'static str,
}

impl<'s> Writer<'s> {
    fn new(shared: &'s Shared, key: &'s Key) -> Self {
        let now = Instant::now();
        Self {
            shared,
            key,
            store: None,
            contexts: Contexts::default(),
            pending: VecDeque::new(),
            empty: Vec::new(),
            available: None,
            lost_since: None,
            withheld: BTreeMap::new(),
            was_opened: false,
            sealed: now,
            retired: now,
            keeps_all: false,
            contexts_since: now,
        }
    }

    fn run(mut self, runtime: &tokio::runtime::Runtime, tried: oneshot::Sender<()>) {
        let mut tried = Some(tried);
        loop {
            let closing = self.shared.closing.load(Ordering::Relaxed);
            self.shared.take(&mut self.empty);
            self.pending.extend(self.empty.drain(..));
            let nap = if self.pending.is_empty() { NAP } else { SHORT_NAP };
            #[expect(clippy::cast_precision_loss, reason = "no queue has 2^52 records")]
            self.shared.metrics.queue.set(self.pending.len() as f64);
            let went_well = runtime.block_on(self.turn(closing));
            let _nobody_waits = tried.take().is_some_and(|tried| tried.send(()).is_err());
            if closing && (self.pending.is_empty() || !went_well) {
                self.lose_pending();
                runtime.block_on(self.end());
                return;
            }
            if !went_well {
                std::thread::park_timeout(NAP);
            } else if self.pending.is_empty() {
                std::thread::park_timeout(nap);
            }
        }
    }

    /// Writes one batch, and does what is due. Whether the store could be used.
    async fn turn(&mut self, closing: bool) -> bool {
        let done = match self.work(closing).await {
            Ok(()) => true,
            Err(error) => {
                self.failed(&error);
                false
            }
        };
        if done && self.store.is_some() {
            self.note_available();
        }
        done
    }

    async fn work(&mut self, closing: bool) -> Result<(), StoreError> {
        self.open().await?;
        self.write(closing).await?;
        let now = Instant::now();
        let Some(store) = &mut self.store else { return Ok(()) };
        if closing || now.duration_since(self.sealed) >= SEAL {
            self.sealed = now;
            store.seal(self.key).await?;
        }
        if now.duration_since(self.contexts_since) >= CONTEXTS {
            self.contexts_since = now;
            self.contexts.forget();
        }
        if now.duration_since(self.retired) >= RETIRE && self.pending.is_empty() && !self.keeps_all {
            let retention = self.shared.options.retention;
            match history::retire(store, self.key, retention, RETIRE_LATE).await? {
                // Until nothing is left to do, one small transaction a turn.
                Retirement::More => {}
                Retirement::Done => self.retired = now,
                Retirement::Broken(fault) => {
                    let consequence = "old records are not deleted any more, so that it can be seen";
                    tell_broken(store, self.key, &self.shared.metrics, &fault, consequence).await?;
                    self.keeps_all = true;
                }
            }
        }
        Ok(())
    }

    async fn open(&mut self) -> Result<(), StoreError> {
        if self.store.is_some() {
            return Ok(());
        }
        let path = &self.shared.options.path;
        let first = !std::mem::replace(&mut self.was_opened, true);
        let durable = self.shared.options.mode == Mode::Required;
        if first && store::was_damaged(path) {
            self.set_aside()?;
        }
        let opened = Store::open(path, self.key, durable).await;
        let opened = match opened {
            // Only at the start: while the service runs, whoever looks after it must see what happened.
            Err(StoreError::Corrupt(error)) if first => {
                tracing::error!(%error, "the audit store is damaged");
                self.set_aside()?;
                Store::open(path, self.key, durable).await
            }
            opened => opened,
        };
        let mut store = opened?;
        self.check(&mut store).await?;
        self.store = Some(store);
        self.contexts.forget();
        Ok(())
    }

    /// Tells of a chain that is not what its marks say, before the next seal hides it.
    async fn check(&self, store: &mut Store) -> Result<(), StoreError> {
        let Some(fault) = store.check_marks(self.key).await? else {
            return Ok(());
        };
        let consequence = "`claimsmith audit verify` says so for as long as they would have been kept";
        tell_broken(store, self.key, &self.shared.metrics, &fault, consequence).await
    }

    fn set_aside(&self) -> Result<(), StoreError> {
        let aside = store::set_aside(&self.shared.options.path)?;
        tracing::error!(
            file = %aside.display(),
            "the damaged audit store was set aside, and a new one is begun: what can be read of it, \
             `claimsmith audit export --store FILE` reads"
        );
        Ok(())
    }

    async fn write(&mut self, closing: bool) -> Result<(), StoreError> {
        self.tell_withheld().await?;
        self.settle();
        let salts = salts(self.pending.len().min(BATCH_RECORDS))?;
        let mut rows = Rows::default();
        let mut oldest: Option<SystemTime> = None;
        let mut taken = 0;
        for (pending, salt) in self.pending.iter().zip(&salts) {
            let record = &pending.record;
            rows.add(record, &self.contexts, *salt, self.key)?;
            oldest = Some(oldest.map_or(record.time, |oldest| oldest.min(record.time)));
            taken += 1;
            if rows.bytes() >= BATCH_BYTES {
                break;
            }
        }
        let lost = self.shared.lost.load(Ordering::Relaxed);
        let counted = self.add_events(&mut rows, lost, closing)?;
        let Some(store) = self.store.as_mut().filter(|_| rows.len() > 0) else {
            return Ok(());
        };
        let began = Instant::now();
        match store.append(&rows).await {
            Ok(ids) => self.contexts.learn(std::mem::take(&mut rows.contexts), &ids),
            Err(error) => {
                self.shared.lose(counted);
                return Err(error);
            }
        }
        let metrics = &self.shared.metrics;
        metrics.commit.record(began.elapsed());
        metrics.records.increment(rows.len() as u64);
        metrics.batches.increment(1);
        if let Some(age) = oldest.and_then(|oldest| oldest.elapsed().ok()) {
            metrics.lag.set(age.as_secs_f64());
        }
        self.shared.lost.fetch_sub(lost, Ordering::Relaxed);
        if lost > 0 {
            self.lost_since = None;
        }
        let first = store.seq + 1 - i64::try_from(rows.len()).unwrap_or_default();
        for (seq, pending) in (first..).zip(self.pending.drain(..taken)) {
            if pending.waiter.is_some_and(Waiter::tell_kept) {
                let Context { tenant, extension, .. } = pending.record.context;
                self.withheld.entry((tenant, extension)).or_default().push(seq);
            }
        }
        self.tell_withheld().await
    }

    /// Drops the records of callouts that were told that they have none.
    fn settle(&mut self) {
        let before = self.pending.len();
        self.pending.retain_mut(Pending::settle);
        self.shared.lose((before - self.pending.len()) as u64);
    }

    /// Tells in the chain which of its records' callouts were refused while they were being written. Until it is told, nothing
    /// else is written.
    async fn tell_withheld(&mut self) -> Result<(), StoreError> {
        let Some(store) = self.store.as_mut().filter(|_| !self.withheld.is_empty()) else {
            return Ok(());
        };
        let mut rows = Rows::default();
        for ((tenant, extension), seqs) in &self.withheld {
            let context = Context {
                tenant: Arc::clone(tenant),
                extension: Arc::clone(extension),
                ..Context::default()
            };
            let of = (&context, &self.contexts);
            rows.add_event(code::WITHHELD, SystemTime::now(), of, &Withheld { seqs })?;
        }
        let ids = store.append(&rows).await?;
        self.contexts.learn(rows.contexts, &ids);
        self.withheld.clear();
        Ok(())
    }

    /// What the store has to tell of itself. How many refusals are counted there, and nowhere else any more.
    fn add_events(&self, rows: &mut Rows, lost: u64, closing: bool) -> Result<u64, StoreError> {
        let now = SystemTime::now();
        if lost > 0 {
            let since = humantime::format_rfc3339_millis(self.lost_since.unwrap_or(now)).to_string();
            let context = (&Context::default(), &self.contexts);
            rows.add_event(code::LOST, now, context, &Lost { records: lost, since })?;
        }
        let counted = self.shared.refusals().take(closing);
        let total = counted.iter().map(|(_, refusals)| refusals).sum();
        for ((tenant, extension, outcome), refusals) in counted {
            let context = Context {
                tenant,
                extension,
                ..Context::default()
            };
            let context = (&context, &self.contexts);
            let refused_for = outcome.code();
            rows.add_event(code::COUNTED, now, context, &Counted { refusals, refused_for })?;
        }
        Ok(total)
    }

    fn failed(&mut self, error: &StoreError) {
        if self.available != Some(false) {
            let consequence = match self.shared.options.mode {
                Mode::Required => "callouts are refused (audit_unavailable) until it can be written again",
                Mode::BestEffort => "records are lost, and counted, when the queue is full",
            };
            tracing::error!(%error, consequence, "the audit store cannot be written");
        }
        self.available = Some(false);
        self.shared.available.store(false, Ordering::Relaxed);
        self.shared.metrics.available.set(0.0);
        self.lost_since.get_or_insert_with(SystemTime::now);
        if matches!(error, StoreError::Corrupt(_)) {
            self.note_damaged();
        }
        if !matches!(error, StoreError::Locked(_) | StoreError::Full(_)) {
            self.store = None;
        }
        self.settle();
        let before = self.pending.len();
        // Who waits is told at once, and may be tried again by Entra. The others are tried again here, as long as there is room.
        self.pending.retain(|pending| pending.waiter.is_none());
        let too_many = self.pending.len().saturating_sub(self.shared.options.queue_length);
        drop(self.pending.drain(..too_many));
        self.shared.lose((before - self.pending.len()) as u64);
    }

    fn note_damaged(&self) {
        let path = &self.shared.options.path;
        if store::was_damaged(path) {
            return;
        }
        match store::note_damaged(path) {
            Ok(()) => tracing::error!("the next start of the service sets the damaged audit store aside"),
            Err(error) => tracing::error!(%error, "no word can be left for the next start"),
        }
    }

    fn lose_pending(&mut self) {
        let records = self.pending.len() as u64;
        self.pending.clear();
        if records > 0 {
            self.shared.lose(records);
        }
    }

    fn note_available(&mut self) {
        if self.available == Some(false) {
            tracing::warn!("the audit store can be written again");
        }
        if self.available != Some(true) {
            self.shared.available.store(true, Ordering::Relaxed);
            self.shared.metrics.available.set(1.0);
        }
        self.available = Some(true);
    }

    /// Closes the store, and says where the chain ends: whoever keeps the log can tell whether its end was cut off.
    async fn end(&mut self) {
        use sqlx::Connection as _;
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::error!(records = lost, "audit records were lost");
        }
        if !self.withheld.is_empty() {
            tracing::error!(records = ?self.withheld, "records say what was not answered, and it could not be noted beside them");
        }
        let Some(store) = self.store.take() else { return };
        tracing::info!(records = store.seq, hash = hex::encode(store.tail), "audit closed");
        if let Err(error) = store.connection.close().await {
            tracing::warn!(%error, "the audit store was not closed well; the next start recovers it");
        }
    }
}

/// Tells that the chain is not as it was written, and keeps that in the chain, sealed.
async fn tell_broken(
    store: &mut Store,
    key: &Key,
    metrics: &Metrics,
    fault: &Fault,
    consequence: &str,
) -> Result<(), StoreError> {
    tracing::error!(
        ?fault,
        consequence,
        "the audit store is not as it was written: records may have been removed or changed"
    );
    metrics.broken.set(1.0);
    history::append_event(store, code::BROKEN, "", fault).await?;
    store.seal(key).await?;
    Ok(())
}

/// Random salts, all at once.
fn salts(count: usize) -> Result<Vec<Salt>, StoreError> {
    let mut salts = vec![Salt::default(); count];
    let filled = aws_lc_rs::rand::fill(salts.as_flattened_mut());
    filled.map_err(|_| StoreError::Other(sqlx::Error::Io(std::io::Error::other("no random bytes"))))?;
    Ok(salts)
}
