//! The admin API: versions of plugins, which of them serve, and who may change that.
//!
//! [`Store`] keeps what was pushed, what is active and the admin log. [`Admin`] answers on a unix socket, to the machine's
//! owner, and on a TCP port, to whoever shows a token with a role. A version becomes active as validate -> plan -> apply ->
//! verify (`manager`): it is tried on the tenant's files, what would change is told, it is written down and published, and
//! taken back if it does not serve. `docs/admin.md` tells operators and tenants the rest.

mod api;
mod authenticate;
mod identity;
mod listener;
mod manager;
mod openapi;
mod plan;
mod problem;
mod store;
mod view;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use claimsmith_catalog::{Activator, AdminConfig};
use claimsmith_token::{FetchError, MetadataStore};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api::{Api, router};
use crate::authenticate::Tokens;
use crate::manager::Manager;
pub use crate::openapi::document as openapi;
use crate::store::Room;
pub use crate::store::{Store, StoreError};

/// How long the end of the service may wait for what is not told yet.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// Why there is no admin API.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The version store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The unix socket cannot be made.
    #[error("the admin socket {path} cannot be made: {source}; change admin.socket (a path of at most 107 bytes)")]
    Socket {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}; change admin.listen or stop what uses it")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A metadata document's URL is not acceptable.
    #[error("admin.token.metadata: {0}")]
    Metadata(#[from] FetchError),
}

/// The admin API, listening but not yet answering.
#[derive(Debug)]
pub struct Admin {
    router: Router,
    manager: Arc<Manager>,
    #[cfg(unix)]
    socket: (tokio::net::UnixListener, PathBuf),
    tcp: Option<(TcpListener, Arc<Tokens>)>,
    write_timeout: Duration,
}

impl Admin {
    /// Binds the socket and the address. Components have `max_component_bytes` at most, and a client that reads nothing of
    /// its answers for `write_timeout` loses its connection.
    ///
    /// # Errors
    /// [`AdminError`]
    pub async fn start(
        config: &AdminConfig,
        store: Store,
        activator: Activator,
        metadata: &MetadataStore,
        max_component_bytes: usize,
        write_timeout: Duration,
    ) -> Result<Self, AdminError> {
        let tcp = match (config.listen, &config.token) {
            (Some(address), Some(token)) => {
                let tokens = Arc::new(Tokens::new(token, metadata)?);
                let failed = |source| AdminError::Listen { address, source };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?;
                tracing::info!(%address, "admin API listening");
                Some((listener, tokens))
            }
            _ => None,
        };
        let room = Room {
            keep: config.keep_versions,
            max_bytes: config.max_bytes_per_tenant,
        };
        let manager = Arc::new(Manager::new(store, activator, room));
        let api = Api::new(
            Arc::clone(&manager),
            max_component_bytes,
            openapi::document().to_string().into(),
        );
        Ok(Self {
            router: router(Arc::new(api)),
            manager,
            #[cfg(unix)]
            socket: socket(config.socket())?,
            tcp,
            write_timeout,
        })
    }

    /// Answers until `stop`, and then tells what is not told yet.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let manager = Arc::clone(&self.manager);
        tokio::select! {
            () = self.answer() => {}
            () = manager.tell_counted_refusals() => {}
            () = stop => {}
        }
        let _was_late = timeout(TOLD_WITHIN, manager.tell_refusals_counted_so_far())
            .await
            .is_err();
    }

    async fn answer(self) {
        let mut listeners = JoinSet::new();
        #[cfg(unix)]
        {
            let (listener, path) = self.socket;
            tracing::info!(socket = %path.display(), "admin socket listening");
            listeners.spawn(listener::serve_unix(listener, self.router.clone(), self.write_timeout));
        }
        if let Some((listener, tokens)) = self.tcp {
            listeners.spawn(listener::serve_tcp(listener, self.router, tokens, self.write_timeout));
        }
        while listeners.join_next().await.is_some() {}
    }
}

/// Makes the socket that nobody but its owner can open, in place of one that a service before this has left. Nobody else
/// has it: the store is locked.
#[cfg(unix)]
fn socket(path: PathBuf) -> Result<(tokio::net::UnixListener, PathBuf), AdminError> {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};

    let bind = || {
        let is_socket = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket {
            fs::remove_file(&path)?;
        }
        // Under another name until it is closed to others.
        let scratch = path.with_extension("new");
        let _was_there = fs::remove_file(&scratch).is_ok();
        let listener = tokio::net::UnixListener::bind(&scratch)?;
        fs::set_permissions(&scratch, Permissions::from_mode(0o600))?;
        fs::rename(&scratch, &path)?;
        Ok(listener)
    };
    let bound = bind();
    bound
        .map(|listener| (listener, path.clone()))
        .map_err(|source| AdminError::Socket { path, source })
}
