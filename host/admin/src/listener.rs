//! Accepting connections of the admin API: from a TCP port with tokens, and from a unix socket for the machine's owner.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;

use crate::authenticate::{Door, Tokens};

/// Connections of one listener at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send a request's headers, and how long a connection may be idle.
const HEADER_TIME: Duration = Duration::from_secs(30);
/// How long to wait after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers whoever shows a token.
pub(crate) async fn serve_tcp(listener: TcpListener, router: Router, tokens: Arc<Tokens>, write_timeout: Duration) {
    let router = router.layer(Extension(Door::Tokens(tokens)));
    let accept = async || listener.accept().await.map(|(stream, _)| (stream, router.clone()));
    accept_all(accept, write_timeout).await;
}

/// Answers the user that the service runs as, and the superuser.
#[cfg(unix)]
pub(crate) async fn serve_unix(listener: tokio::net::UnixListener, router: Router, write_timeout: Duration) {
    let own = rustix::process::geteuid().as_raw();
    let accept = async || {
        let (stream, _) = listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        if uid != own && uid != 0 {
            tracing::warn!(uid, "a connection to the admin socket was refused: another user's");
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        Ok((stream, router.clone().layer(Extension(Door::Owner { uid }))))
    };
    accept_all(accept, write_timeout).await;
}

async fn accept_all<S, F>(mut accept: impl FnMut() -> F, write_timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = io::Result<(S, Router)>>,
{
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match accept().await {
            Ok((stream, router)) => {
                tokio::spawn(connection(stream, router, place, write_timeout));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => {
                tracing::warn!(%error, "a connection to the admin API could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection<S>(stream: S, router: Router, place: OwnedSemaphorePermit, write_timeout: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME);
    let service = TowerToHyperService::new(router);
    // A client that reads nothing of its answers, one of which needs no token, would hold its place for ever.
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(write_timeout));
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(error, "connection of the admin API ended");
    }
    drop(place);
}
