//! Hot reload: seeing that files have changed, and publishing the catalog they make.
//!
//! Directories are watched, not files: editors and deployments replace files by renaming new ones over them, and
//! Kubernetes swaps a symbolic link. A notification only says *when* to look; what has changed is found by comparing
//! the files, which is also done without a notification at intervals. So a lost or extra notification costs nothing
//! but time.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::catalog::CurrentCatalog;
use crate::config::HostConfig;
use crate::loader::Loader;

/// Files that change without a pause are read after this many debounce times all the same.
const MAX_DEBOUNCES: u32 = 10;

/// Why files cannot be watched.
#[derive(Debug, thiserror::Error)]
#[error("files cannot be watched for changes")]
pub struct WatchError(#[from] notify::Error);

/// Reloads the configuration into `current` whenever its files change, until it is dropped.
///
/// Of `claimsmith.toml` at `file` only `[runtime.limits]` can change without a restart; other changes are warned about.
///
/// # Errors
/// When the system offers no notifications at all.
pub async fn watch(
    file: PathBuf,
    mut config: HostConfig,
    mut loader: Loader,
    current: Arc<CurrentCatalog>,
) -> Result<(), WatchError> {
    let (sender, mut changes) = mpsc::channel(1);
    let matters = Matters::new(&file, &config.tenants);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if event
            .as_ref()
            .map_or(true, |event| is_change(event) && matters.to(event))
        {
            // A full channel already says that something has changed.
            let _already_told = sender.try_send(()).is_err();
        }
    })?;
    let mut text = std::fs::read_to_string(&file).unwrap_or_default();
    loop {
        follow(&mut watcher, &file, &config.tenants);
        reread_host_config(&file, &mut text, &mut config, &mut loader);
        match loader.load(&current.get()).await {
            Ok(Some(catalog)) => {
                let generation = catalog.generation();
                current.publish(catalog);
                tracing::info!(generation, "catalog published");
            }
            Ok(None) => {}
            Err(error) => tracing::error!("{error}; the catalog stays as it is"),
        }
        if let Ok(Some(())) = timeout(config.watch.rescan, changes.recv()).await {
            settle(&mut changes, config.watch.debounce).await;
        }
    }
}

/// Applies what can be applied of a changed `claimsmith.toml`.
fn reread_host_config(file: &Path, text: &mut String, config: &mut HostConfig, loader: &mut Loader) {
    let now = std::fs::read_to_string(file).unwrap_or_default();
    if now == *text {
        return;
    }
    *text = now;
    match HostConfig::read(file) {
        Ok(changed) => {
            loader.set_limits(changed.limits());
            config.runtime.limits = changed.runtime.limits.clone();
            if *config == changed {
                tracing::info!(file = %file.display(), "runtime.limits apply from now on");
            } else {
                tracing::warn!(file = %file.display(), "restart the service to apply what changed besides runtime.limits");
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

/// Waits until nothing has changed for a while, so that a file is read after it has been written.
async fn settle(changes: &mut mpsc::Receiver<()>, debounce: Duration) {
    for _ in 0..MAX_DEBOUNCES {
        if timeout(debounce, changes.recv()).await.is_err() {
            return;
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
