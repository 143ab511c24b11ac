//! Metadata documents and their signing keys: fetched at first use, refreshed in the background.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use backon::{BackoffBuilder as _, ConstantBuilder, ExponentialBuilder};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use url::Url;

pub use self::fetch::FetchError;
pub(crate) use self::keys::{Key, KeySet, PublishedKeys};
use self::limit::FetchLimit;

mod fetch;
mod keys;
mod limit;

/// When documents are fetched.
#[derive(Clone, Debug)]
pub struct MetadataOptions {
    /// How often a document is fetched again (contract.md, section 2.2: hourly); each time up to a tenth earlier.
    pub refresh_interval: Duration,
    /// How often on average a `kid` that no document has may cause a fetch at most (contract.md, section 2.2: 5 minutes); a
    /// few may follow each other at once after a quiet time.
    pub unknown_key_interval: Duration,
    /// Whether documents may come over plain http from this machine: for a local Entra. Off, because tenant teams name the
    /// documents, and should not be able to make the host call what listens on its loopback.
    pub allow_loopback_http: bool,
    /// How long one request for a document may take.
    pub timeout: Duration,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            refresh_interval: Duration::from_hours(1),
            unknown_key_interval: Duration::from_mins(5),
            allow_loopback_http: false,
            timeout: Duration::from_secs(5),
        }
    }
}

/// The metadata documents of the process, one for each URL.
///
/// A document lives as long as somebody holds it; then its background task ends.
#[derive(Debug)]
pub struct MetadataStore {
    options: MetadataOptions,
    /// Absent when nothing is to be fetched.
    client: Option<reqwest::Client>,
    documents: Mutex<HashMap<Url, Weak<MetadataDocument>>>,
}

impl MetadataStore {
    /// A store without documents.
    ///
    /// # Errors
    /// When the system's TLS configuration cannot be loaded.
    pub fn new(options: MetadataOptions) -> Result<Self, FetchError> {
        let client = Some(fetch::client(options.timeout)?);
        Ok(Self {
            options,
            client,
            documents: Mutex::default(),
        })
    }

    /// A store that fetches nothing, for checking what names documents.
    #[must_use]
    pub fn offline(options: MetadataOptions) -> Self {
        Self {
            options,
            client: None,
            documents: Mutex::default(),
        }
    }

    /// Whether a document may be at `url`.
    ///
    /// # Errors
    /// [`FetchError::Insecure`] unless it is https, or http to this machine where that is allowed.
    pub fn check_url(&self, url: &Url) -> Result<(), FetchError> {
        fetch::require_secure(url, self.options.allow_loopback_http)
    }

    /// The document at `url`; fetching starts in the background if nobody holds it yet. Must be called within a tokio
    /// runtime.
    pub fn document(&self, url: &Url) -> Arc<MetadataDocument> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = documents.get(url).and_then(Weak::upgrade) {
            return document;
        }
        documents.retain(|_, document| document.strong_count() > 0);
        let document = MetadataDocument::start(url.clone(), self.client.clone(), self.options.clone());
        documents.insert(url.clone(), Arc::downgrade(&document));
        document
    }
}

/// One metadata document (OpenID Connect Discovery 1.0, section 4) and the keys it points to.
#[derive(Debug)]
pub struct MetadataDocument {
    url: Url,
    keys: ArcSwapOption<KeySet>,
    last: Mutex<LastFetch>,
    fetches: watch::Sender<Fetches>,
    /// How often tokens may have it fetched; absent when nobody fetches it.
    limit: Option<FetchLimit>,
    task: Mutex<Option<AbortHandle>>,
}

/// The fetches of a document, which are made one after another and numbered from 1.
#[derive(Clone, Copy, Debug, Default)]
struct Fetches {
    /// The number of the last one that has begun.
    begun: u64,
    /// The number of the last one that has finished, well or not.
    finished: u64,
    /// The number of the last one that must not wait until it is due.
    wanted: u64,
}

/// The last fetch that has finished.
#[derive(Clone, Debug, Default)]
struct LastFetch {
    /// When it finished; absent when none has.
    at: Option<Instant>,
    /// Why it failed, if it did.
    error: Option<String>,
}

/// What a document can tell of a key that it does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refreshed {
    /// It was fetched for the key: it has no such key.
    Fetched,
    /// It was not fetched for the key, because too many keys were unknown before: it had none when it was last fetched.
    Paused(FetchPause),
    /// It could not be fetched, or not yet: whether it has the key is not known.
    Failed(String),
}

/// A document that is not fetched again for an unknown key for a while, because it was lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPause {
    url: Url,
    fetched_before: Duration,
    again_in: Duration,
}

impl fmt::Display for FetchPause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, .. } = self;
        let (before, again) = (self.fetched_before.as_secs(), self.again_in.as_secs() + 1);
        write!(
            formatter,
            "{url} was fetched {before} s ago and is asked for an unknown kid again in {again} s at the earliest, so a key \
             that was published since is not known yet"
        )
    }
}

impl Drop for MetadataDocument {
    fn drop(&mut self) {
        let task = self.task.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = task {
            task.abort();
        }
    }
}

impl MetadataDocument {
    fn start(url: Url, client: Option<reqwest::Client>, options: MetadataOptions) -> Arc<Self> {
        let document = Arc::new(Self {
            url,
            keys: ArcSwapOption::empty(),
            last: Mutex::default(),
            fetches: watch::Sender::default(),
            limit: client
                .as_ref()
                .and_then(|_| FetchLimit::new(options.unknown_key_interval)),
            task: Mutex::default(),
        });
        if let Some(client) = client {
            let task = tokio::spawn(keep_fresh(Arc::downgrade(&document), client, options));
            *document.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        }
        document
    }

    /// A document that is fetched from nowhere: keys of this process's own.
    pub(crate) fn of_own_keys(url: Url, keys: KeySet) -> Arc<Self> {
        let fetched = Fetches {
            begun: 1,
            finished: 1,
            wanted: 0,
        };
        Arc::new(Self {
            url,
            keys: ArcSwapOption::from_pointee(keys),
            last: Mutex::default(),
            fetches: watch::Sender::new(fetched),
            limit: None,
            task: Mutex::default(),
        })
    }

    /// Where the document is.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether keys have been fetched, now or earlier.
    #[must_use]
    pub fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    /// Whether a fetch has finished, well or not.
    #[must_use]
    pub fn was_fetched(&self) -> bool {
        self.fetches.borrow().finished > 0
    }

    /// Waits until a fetch has finished, well or not, until `deadline` at most.
    pub async fn wait_for_fetch(&self, deadline: Instant) {
        self.wait_for(1, deadline).await;
    }

    /// Waits until the fetch with this number has finished, until `deadline` at most.
    async fn wait_for(&self, number: u64, deadline: Instant) {
        let mut fetches = self.fetches.subscribe();
        let finished = fetches.wait_for(|fetches| fetches.finished >= number);
        // Running out of time shows as keys that are not there.
        let _elapsed = tokio::time::timeout_at(deadline, finished).await.is_err();
    }

    /// Why the last fetch failed, or that none has finished.
    #[must_use]
    pub fn last_error(&self) -> String {
        let error = self.last_fetch().error;
        error.unwrap_or_else(|| format!("{} has not been fetched yet", self.url))
    }

    fn last_fetch(&self) -> LastFetch {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// The keys, for comparing identities: an empty set is never one that a token was verified with.
    pub(crate) fn keys_or_empty(&self) -> Arc<KeySet> {
        self.keys().unwrap_or_default()
    }

    /// Has the document fetched because of a `kid` that it does not have, unless that was done too often lately, and
    /// waits for that fetch until `deadline`. Callers that come before it begins share it.
    pub(crate) async fn refresh_for_unknown_key(&self, deadline: Instant) -> Refreshed {
        let Some(limit) = &self.limit else {
            return Refreshed::Fetched;
        };
        let wanted = self.want_fetch(limit);
        // One that runs anyway is worth waiting for: it may bring the key.
        let number = wanted.unwrap_or_else(|_| self.fetches.borrow().begun);
        self.wait_for(number, deadline).await;
        if self.fetches.borrow().finished < number {
            let url = &self.url;
            return Refreshed::Failed(format!(
                "{url} was asked for the token's kid and did not answer before the deadline"
            ));
        }
        let last = self.last_fetch();
        match (last.error, wanted) {
            (Some(why), _) => Refreshed::Failed(why),
            (None, Ok(_)) => Refreshed::Fetched,
            (None, Err(again_in)) => Refreshed::Paused(FetchPause {
                url: self.url.clone(),
                fetched_before: last.at.map(|at| at.elapsed()).unwrap_or_default(),
                again_in,
            }),
        }
    }

    /// Wants a fetch that has not begun yet, as one that runs may have read the keys before the unknown one was among
    /// them, and tells its number.
    ///
    /// # Errors
    /// None may be wanted before so much time has passed.
    fn want_fetch(&self, limit: &FetchLimit) -> Result<u64, Duration> {
        let mut wanted = Ok(0);
        self.fetches.send_if_modified(|fetches| {
            let is_new = fetches.wanted <= fetches.begun;
            let taken = if is_new { limit.take() } else { Ok(()) };
            wanted = taken.map(|()| {
                fetches.wanted = fetches.begun + 1;
                fetches.wanted
            });
            is_new && taken.is_ok()
        });
        wanted
    }

    fn store(&self, fetched: Result<KeySet, FetchError>) -> bool {
        let (ok, error) = match fetched {
            Ok(keys) => {
                metrics::counter!("claimsmith_metadata_fetches_total", "result" => "ok").increment(1);
                self.replace_keys(keys);
                (true, None)
            }
            Err(error) => {
                metrics::counter!("claimsmith_metadata_fetches_total", "result" => "failed").increment(1);
                let text = error.chain();
                tracing::warn!(url = %self.url, error = text, last_good_keys = self.has_keys(),
                    "metadata document could not be fetched");
                (false, Some(text))
            }
        };
        let at = Some(Instant::now());
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = LastFetch { at, error };
        self.fetches.send_modify(|fetches| fetches.finished = fetches.begun);
        ok
    }

    /// Unchanged keys keep their identity, and with it the tokens remembered by it.
    fn replace_keys(&self, keys: KeySet) {
        if self.keys.load().as_deref() == Some(&keys) {
            return;
        }
        tracing::info!(url = %self.url, issuer = keys.issuer(), keys = ?keys.ids(), "signing keys loaded");
        self.keys.store(Some(Arc::new(keys)));
    }
}

/// Fetches the document at once, then at each interval or when wanted; after a failure again soon, backing off.
async fn keep_fresh(document: Weak<MetadataDocument>, client: reqwest::Client, options: MetadataOptions) {
    let backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(500))
        .with_max_delay(options.refresh_interval.min(Duration::from_mins(5)))
        .with_jitter()
        .without_max_times();
    let mut delays = backoff.build();
    loop {
        let Some(strong) = document.upgrade() else { return };
        strong.fetches.send_modify(|fetches| fetches.begun += 1);
        let fetched = fetch::fetch(&client, &strong.url, options.allow_loopback_http).await;
        let pause = if strong.store(fetched) {
            delays = backoff.build();
            up_to_a_tenth_less(options.refresh_interval)
        } else {
            delays.next().unwrap_or(options.refresh_interval)
        };
        // While waiting, only the document's users hold it; when the last lets go, this task is aborted.
        let mut progress = strong.fetches.subscribe();
        drop(strong);
        let wanted = progress.wait_for(|fetches| fetches.wanted > fetches.begun);
        // Either end is the same: it is time to fetch.
        let _due = tokio::time::timeout(pause, wanted).await.is_err();
    }
}

/// So that documents and hosts that started together do not fetch together for ever.
fn up_to_a_tenth_less(interval: Duration) -> Duration {
    let tenth = interval / 10;
    let mut jitter = ConstantBuilder::default().with_delay(tenth).with_jitter().build();
    // Between one tenth and two.
    let jittered = jitter.next().unwrap_or(tenth);
    interval.saturating_sub(jittered.saturating_sub(tenth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_differ_by_a_tenth_at_most() {
        let hour = Duration::from_hours(1);
        let intervals: Vec<_> = (0..100).map(|_| up_to_a_tenth_less(hour)).collect();
        assert!(
            intervals
                .iter()
                .all(|interval| (hour * 9 / 10..=hour).contains(interval))
        );
        assert!(intervals.iter().any(|interval| interval != &intervals[0]));
    }
}
