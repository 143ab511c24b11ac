//! What callouts see of the audit: a queue, and whether a record is kept.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use sqlx::Connection as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::key::{self, Key, KeyError, OF_OTHERS};
use crate::record::Record;
use crate::refusals::{Kind, Refusals};
use crate::store::{self, StoreError};
use crate::waiter::{Wait, Waiter, waiter};
use crate::writer::{self, Metrics};

/// How long a start waits for the store: longer, and callouts are answered or refused meanwhile.
const FIRST_TRY: Duration = Duration::from_secs(2);

/// What records and answers are given at most: several times what a disk takes to sync.
const MOST_RESERVED: Duration = Duration::from_millis(50);

/// Whether callouts wait for their records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// An answer leaves when its record is durable: it outlives a loss of power.
    Required,
    /// An answer never waits; records that cannot be kept are counted.
    BestEffort,
}

/// How the audit is done.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether callouts wait for their records.
    pub mode: Mode,
    /// The store's file; its key is beside it.
    pub path: PathBuf,
    /// How many records can wait to be written.
    pub queue_length: usize,
    /// How long records are kept.
    pub retention: Duration,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is kept, or nobody has to wait for it.
    Kept,
    /// It is not durable, and must be.
    Unavailable,
}

/// A record on its way to the store.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) record: Record,
    /// Who waits for it.
    pub(crate) waiter: Option<Waiter>,
}

impl Pending {
    /// Takes note of what has become of who waits. Whether the record is still to be written: not when its callout has been
    /// refused for want of it.
    pub(crate) fn settle(&mut self) -> bool {
        match self.waiter.as_ref().map_or(Wait::Goes, Waiter::state) {
            Wait::Goes => true,
            Wait::GivenUp => false,
            Wait::Abandoned => {
                self.waiter = None;
                self.record.note_client_gone();
                true
            }
        }
    }
}

/// What callouts and the writer share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: Options,
    queue: Mutex<Vec<Pending>>,
    refusals: Mutex<Refusals<Kind>>,
    pub(crate) lost: AtomicU64,
    pub(crate) closing: AtomicBool,
    /// Whether the store could be written when that was tried last.
    pub(crate) available: AtomicBool,
    writer: OnceLock<Thread>,
    pub(crate) metrics: Metrics,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing is left half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Takes all that waits, and leaves `empty` in its place.
    pub(crate) fn take(&self, empty: &mut Vec<Pending>) {
        std::mem::swap(&mut *locked(&self.queue), empty);
    }

    pub(crate) fn queue_length(&self) -> usize {
        locked(&self.queue).len()
    }

    pub(crate) fn refusals(&self) -> MutexGuard<'_, Refusals<Kind>> {
        locked(&self.refusals)
    }

    /// Counts records that are not going to be kept.
    pub(crate) fn lose(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
        self.metrics.lost.increment(records);
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// Puts a record into the queue unless it has `most` already.
    fn push(&self, pending: Pending, most: usize) -> bool {
        let length = {
            let mut queue = locked(&self.queue);
            if queue.len() >= most {
                drop(queue);
                self.lose(1);
                return false;
            }
            queue.push(pending);
            queue.len()
        };
        // Without anybody waiting the writer looks by itself now and then: waking a thread costs more than a record.
        if self.options.mode == Mode::Required || length == self.options.queue_length / 4 {
            self.wake();
        }
        true
    }
}

/// The audit of a running service.
#[derive(Debug)]
pub struct Auditor {
    shared: Arc<Shared>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl Auditor {
    /// Starts the writer, and gives it a moment to open the store. A store that cannot be used yet does not keep it from
    /// starting: it is tried again.
    ///
    /// # Errors
    /// The store's directory or key cannot be used, the key is missing or another store's, or no thread can be made.
    pub async fn start(options: Options) -> Result<Self, StoreError> {
        let path = options.path.clone();
        if let Some(directory) = path.parent() {
            make_directory(directory).map_err(|source| StoreError::File {
                path: directory.to_owned(),
                source,
            })?;
        }
        let key = key_of(&path).await?;
        warn_if_exposed(&path);
        let shared = Arc::new(Shared {
            options,
            queue: Mutex::default(),
            refusals: Mutex::new(Refusals::of_strangers()),
            lost: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            available: AtomicBool::new(true),
            writer: OnceLock::new(),
            metrics: Metrics::register(),
        });
        let (sender, ended) = oneshot::channel();
        let (tried, was_tried) = oneshot::channel();
        let for_writer = Arc::clone(&shared);
        let failed = |source| StoreError::File { path, source };
        let writer = std::thread::Builder::new().name("audit".to_owned()).spawn(move || {
            writer::run(&for_writer, &key, tried);
            let _nobody_waits = sender.send(()).is_err();
        });
        let writer = writer.map_err(failed)?;
        let _was_set = shared.writer.set(writer.thread().clone()).is_err();
        let _takes_longer = timeout(FIRST_TRY, was_tried).await.is_err();
        Ok(Self {
            shared,
            ended: Mutex::new(Some(ended)),
        })
    }

    /// Whether callouts wait for their records.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.shared.options.mode
    }

    /// Whether callouts are refused for want of records: they have to be kept, and the store could not be written when that was
    /// tried last. The writer tries again by itself.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.mode() == Mode::Required && !self.shared.available.load(Ordering::Relaxed)
    }

    /// How much of a callout's time plugins leave to what comes after them: a tenth of `deadline`, 50 ms at most. Without it a
    /// plugin that answers just in time, or a policy that answers in its place, would be refused for want of a record. Where no
    /// answer waits for one it is as much: many callouts whose upstream hangs end at the same moment, and their answers have to
    /// be made by the deadline too.
    #[must_use]
    pub fn reserve(deadline: Duration) -> Duration {
        (deadline / 10).min(MOST_RESERVED)
    }

    /// Records a callout whose caller is known. With [`Mode::Required`], waits until the record is durable, until
    /// `deadline` at most. Whoever drops the future has no client any more: the record says so, and is kept.
    pub async fn record(&self, record: Record, deadline: Instant) -> Verdict {
        let most = self.shared.options.queue_length;
        match self.shared.options.mode {
            Mode::BestEffort => {
                let pending = Pending { record, waiter: None };
                let _was_lost = !self.shared.push(pending, most);
                Verdict::Kept
            }
            Mode::Required => {
                let (waiter, waiting) = waiter();
                let pending = Pending {
                    record,
                    waiter: Some(waiter),
                };
                if !self.shared.push(pending, most) {
                    return Verdict::Unavailable;
                }
                if waiting.until(deadline).await {
                    Verdict::Kept
                } else {
                    Verdict::Unavailable
                }
            }
        }
    }

    /// Records what nobody waits for. Half of the queue is left to those who do.
    pub fn note(&self, record: Record) {
        let pending = Pending { record, waiter: None };
        let _was_lost = !self.shared.push(pending, self.shared.options.queue_length / 2);
    }

    /// Records a refusal of a caller that nothing is known of; of many, only some have records, and the others are counted.
    pub fn note_refusal(&self, record: Record) {
        let context = &record.context;
        let kind = || {
            (
                Arc::clone(&context.tenant),
                Arc::clone(&context.extension),
                record.outcome,
            )
        };
        let is_admitted = self.shared.refusals().admit(&context.tenant, kind);
        if is_admitted {
            self.note(record);
        }
    }

    /// Writes what is in the queue and ends, within this time.
    pub async fn close(&self, within: Duration) {
        self.shared.closing.store(true, Ordering::Relaxed);
        self.shared.wake();
        let ended = locked(&self.ended).take();
        if let Some(ended) = ended
            && timeout(within, ended).await.is_err()
        {
            let records = self.shared.queue_length();
            tracing::error!(records, "audit records were not written in time and are lost");
        }
    }
}

/// The key of a store, made if the store has nothing yet. Another one in its place would do without a word until somebody
/// looks for a user, or verifies the chain.
async fn key_of(path: &Path) -> Result<Key, StoreError> {
    let existing = store::existing(path).await;
    match Key::read(path) {
        Ok(key) => {
            Key::check_mode(path)?;
            // What else is wrong with the store, opening it for appending tells.
            if let Ok(Some(mut connection)) = existing {
                let checked = store::check_key(&mut connection, path, &key).await;
                // Not while the writer opens its own.
                let _reads_only = connection.close().await.is_err();
                if let Err(StoreError::Key(error)) = checked {
                    return Err(error.into());
                }
            }
            Ok(key)
        }
        Err(KeyError::Missing(_)) if existing?.is_none() => Ok(Key::make(path)?),
        Err(error) => Err(error.into()),
    }
}

/// A new store is made so that nobody else can read it; one that is there, others may have been given.
fn warn_if_exposed(path: &Path) {
    let is_open = |path: &Path| key::mode(path).is_ok_and(|mode| mode & OF_OTHERS != 0);
    if is_open(path) && path.parent().is_some_and(is_open) {
        tracing::warn!(
            store = %path.display(),
            "others than the service can read the audit store: run `chmod 600` on it, or `chmod 700` on its directory"
        );
    }
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(directory)
}
