//! Hot reload: seeing that files have changed, and publishing the catalog they make.
//!
//! Directories are watched, not files: editors and deployments replace files by renaming new ones over them, and
//! Kubernetes swaps a symbolic link. A notification only says *when* to look; what has changed is found by comparing
//! the files, which is also done without a notification at intervals. So a lost or extra notification costs nothing
//! but time.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::catalog::CurrentCatalog;
use crate::config::HostConfig;
use crate::loader::{Loader, News};

/// Files that change without a pause are read after this many debounce times all the same.
const MAX_DEBOUNCES: u32 = 10;
/// A file that was closed or renamed is most often the last of a change: what part of the debounce time is waited then.
const FINISHED_IS_QUIET_SOONER: u32 = 4;

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("files cannot be watched for changes")]
pub struct WatchError(#[from] notify::Error);

/// Reloads the configuration into `current` whenever its files change, until it is dropped.
///
/// Of `claimsmith.toml` at `file` only `[runtime.limits]`, and what `apply` applies (`[log]` and
/// `telemetry.traces.sample_ratio`), can change without a restart; other changes are warned about.
///
/// # Errors
/// When the system offers no notifications at all.
pub async fn watch(
    file: PathBuf,
    mut config: HostConfig,
    mut loader: Loader,
    current: Arc<CurrentCatalog>,
    apply: impl Fn(&HostConfig) + Send,
) -> Result<(), WatchError> {
    let matters = Matters::new(&file, &config.tenants);
    let (mut changes, mut notify) = Changes::new();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        let matters = |event: &Event| is_change(event) && matters.to(event);
        if event.as_ref().map_or(true, matters) {
            notify(event.is_ok_and(|event| is_unfinished(&event)));
        }
    })?;
    let mut text = std::fs::read_to_string(&file).unwrap_or_default();
    let vault = loader.vault();
    let secrets_changed = async || match &vault {
        Some(vault) => vault.changed().await,
        None => std::future::pending().await,
    };
    loop {
        follow(&mut watcher, &file, &config.tenants);
        reread_host_config(&file, &mut text, &mut config, &mut loader, &apply);
        match loader.look(&current.get()).await {
            // Tenants that there are no more are gone at once.
            Ok(()) => publish(&mut loader, &current, News::default()),
            Err(error) => tracing::error!("{error}; the catalog stays as it is"),
        }
        let rescan = Instant::now() + config.watch.rescan;
        while !loader.must_look_again() {
            tokio::select! {
                // One tenant does not wait for another whose components compile slowly.
                news = loader.news(), if loader.is_loading() => publish(&mut loader, &current, news),
                () = changes.settle(config.watch.debounce) => break,
                () = secrets_changed() => break,
                () = sleep_until(rescan) => break,
            }
        }
    }
}

fn publish(loader: &mut Loader, current: &CurrentCatalog, news: News) {
    let _alone = current.publishing();
    let previous = current.get();
    let Some(catalog) = loader.catalog(&previous, news) else {
        return;
    };
    let generation = catalog.generation();
    if catalog.serves_as(&previous) {
        tracing::debug!(
            generation,
            "catalog published: only what is known of mistakes has changed"
        );
    } else {
        tracing::info!(generation, "catalog published");
    }
    current.publish(catalog);
}

/// Applies what can be applied of a changed `claimsmith.toml`.
fn reread_host_config(
    file: &Path,
    text: &mut String,
    config: &mut HostConfig,
    loader: &mut Loader,
    apply: &impl Fn(&HostConfig),
) {
    let now = std::fs::read_to_string(file).unwrap_or_default();
    if now == *text {
        return;
    }
    *text = now;
    match HostConfig::read(file) {
        Ok(changed) => {
            loader.set_limits(changed.limits());
            apply(&changed);
            config.runtime.limits = changed.runtime.limits.clone();
            config.log = changed.log.clone();
            config.telemetry.traces.sample_ratio = changed.telemetry.traces.sample_ratio;
            if *config == changed {
                tracing::info!(file = %file.display(), "runtime.limits, log and telemetry.traces.sample_ratio apply from now on");
            } else {
                tracing::warn!(file = %file.display(), "restart the service to apply what changed besides runtime.limits, log and telemetry.traces.sample_ratio");
            }
        }
        Err(errors) => tracing::error!("{errors}; the service goes on as it was configured"),
    }
}

/// Watches the directory of tenants and the ones that it and the host's file are in, anew each time: after a link was swapped, the old watch is
/// on a directory that nobody changes any more.
fn follow(watcher: &mut RecommendedWatcher, file: &Path, tenants: &Path) {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut places = vec![
        (parent(file), RecursiveMode::NonRecursive),
        (parent(tenants), RecursiveMode::NonRecursive),
        (tenants.to_owned(), RecursiveMode::Recursive),
    ];
    places.dedup();
    for (path, mode) in places {
        let _was_not_watched = watcher.unwatch(&path).is_err();
        if let Err(error) = watcher.watch(&path, mode) {
            tracing::warn!(path = %path.display(), %error, "cannot be watched; changes are found by comparing only");
        }
    }
}

/// What has been notified of and not yet read.
struct Changes {
    receiver: mpsc::Receiver<()>,
    /// Whether the last was of a file that is still being written.
    unfinished: Arc<AtomicBool>,
    /// When the first and the last were.
    times: Option<(Instant, Instant)>,
}

impl Changes {
    /// Changes, and what to call at each: with whether more of it is to come.
    fn new() -> (Self, impl FnMut(bool) + Send + 'static) {
        let (sender, receiver) = mpsc::channel(1);
        let unfinished = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&unfinished);
        let notify = move |is_unfinished| {
            noted.store(is_unfinished, Ordering::Relaxed);
            // A full channel already says that something has changed.
            let _already_told = sender.try_send(()).is_err();
        };
        let changes = Self {
            receiver,
            unfinished,
            times: None,
        };
        (changes, notify)
    }

    /// Waits until something has changed and nothing has for a while since, so that a file is read after it has been
    /// written: for `debounce`, or for a part of that when the last file was closed or renamed. Can be waited for again.
    async fn settle(&mut self, debounce: Duration) {
        loop {
            let Some((first, last)) = self.times else {
                if self.receiver.recv().await.is_none() {
                    // There will be no more: its watcher is gone.
                    return std::future::pending().await;
                }
                let now = Instant::now();
                self.times = Some((now, now));
                continue;
            };
            let quiet = if self.unfinished.load(Ordering::Relaxed) {
                debounce
            } else {
                debounce / FINISHED_IS_QUIET_SOONER
            };
            let until = (last + quiet).min(first + debounce * MAX_DEBOUNCES);
            if !matches!(timeout_at(until, self.receiver.recv()).await, Ok(Some(()))) {
                self.times = None;
                return;
            }
            self.times = Some((first, Instant::now()));
        }
    }
}

/// What of the watched directories is ours: `claimsmith.toml` may be beside the service's own log, whose every line would
/// be a change.
struct Matters {
    file: Option<OsString>,
    tenants: Option<OsString>,
}

impl Matters {
    fn new(file: &Path, tenants: &Path) -> Self {
        Self {
            file: file.file_name().map(OsStr::to_owned),
            tenants: tenants.file_name().map(OsStr::to_owned),
        }
    }

    /// Whether an event is of the host's file, of the tenants or of a link: Kubernetes swaps hidden ones.
    fn to(&self, event: &Event) -> bool {
        let is_ours = |name: &OsStr| {
            let known = [&self.file, &self.tenants];
            known.iter().any(|known| known.as_deref() == Some(name)) || name.as_encoded_bytes().starts_with(b"..")
        };
        let concerns = |path: &PathBuf| path.is_symlink() || path.iter().any(is_ours);
        event.paths.is_empty() || event.need_rescan() || event.paths.iter().any(concerns)
    }
}

/// Reading a file is an event too, and reading is what a reload does.
fn is_change(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

/// Whether somebody still has the file open that it is of, to write more.
fn is_unfinished(event: &Event) -> bool {
    let written = matches!(event.kind, EventKind::Modify(ModifyKind::Data(_)));
    written || event.kind == EventKind::Create(CreateKind::File)
}
