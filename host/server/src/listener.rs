//! Accepting connections, and letting them finish.

use std::error::Error;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use claimsmith_catalog::ServerConfig;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::service::Answers;
use crate::tls::Tls;

/// Room for a request's head, and for one piece of its body.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// How long to wait after the system refused a connection, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then lets requests in flight finish for `drain_timeout` at most.
pub(crate) async fn serve(
    listener: TcpListener,
    answers: Answers,
    tls: Option<Arc<Tls>>,
    config: &ServerConfig,
    shutdown: impl Future<Output = ()>,
) {
    // HTTP/1 only: hyper-util waits for the first bytes that tell the versions apart, and keeps idle HTTP/2 connections,
    // without any time limit, so that a few silent clients could take all places.
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        // Entra's headers have 2 to 3 KiB; hyper's default would let each connection hold 400 KiB.
        .max_buf_size(MAX_HEADER_BYTES);
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    let places = Arc::new(Semaphore::new(config.max_connections));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut shutdown => break,
        };
        let (stream, peer, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                refused(&error).await;
                continue;
            }
        };
        let stream = limited(stream, config.write_timeout);
        let answers = answers.to(peer.ip());
        let Some(tls) = tls.clone() else {
            let connection = builder.serve_connection(TokioIo::new(stream), answers).into_owned();
            attend(graceful.watch(connection), place);
            continue;
        };
        let (builder, watcher) = (builder.clone(), graceful.watcher());
        tokio::spawn(async move {
            match tls.accept(stream).await {
                Ok(stream) => {
                    let connection = builder.serve_connection(TokioIo::new(stream), answers).into_owned();
                    attend(watcher.watch(connection), place);
                }
                Err(error) => tracing::debug!(%error, %peer, "no TLS handshake"),
            }
        });
    }
    drop(listener);
    if timeout(config.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::warn!(
            drain_timeout = ?config.drain_timeout,
            "callouts in flight were cut off: they did not finish in time"
        );
    }
}

/// The next connection, once there is a place for it: until then the system's backlog holds it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// A stream that fails when the client reads nothing for `write_timeout`: it would hold its place for ever.
fn limited(stream: TcpStream, write_timeout: Duration) -> Pin<Box<TimeoutStream<TcpStream>>> {
    // Answers are one small write: waiting to fill a packet only delays a sign-in.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no TCP_NODELAY");
    }
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(write_timeout));
    stream
}

/// Serves a connection to its end, which frees its place.
fn attend(
    connection: impl Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 'static,
    place: OwnedSemaphorePermit,
) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error, "connection ended");
        }
        drop(place);
    });
}

async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    sleep(ACCEPT_PAUSE).await;
}
