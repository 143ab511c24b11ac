//! A system that plugins call: an HTTP server on loopback that answers as its path says, and keeps what it was sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::Authority;

/// What a request was.
#[derive(Clone, Debug)]
pub struct Received {
    /// Request line and header fields.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

/// A server that plugins call.
#[derive(Debug)]
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    encryption: Option<Arc<ServerConfig>>,
    serving: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    connections: AtomicUsize,
    /// Connections that the other side has closed while a response was due.
    abandoned: AtomicUsize,
    received: Mutex<Vec<Received>>,
    tokens: AtomicUsize,
    restarts: AtomicUsize,
    /// Whether requests are answered with what is no TLS record.
    is_garbled: AtomicBool,
    /// What `/crm/…` answers.
    crm: Mutex<Answer>,
}

/// What `/crm/…` answers whoever has a token.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// How long it takes.
    pub after: Duration,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            status: 200,
            body: "{}".to_owned(),
            after: Duration::ZERO,
        }
    }
}

impl Upstream {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start() -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts it on a free port of any address.
    pub async fn start_on(address: IpAddr) -> Self {
        Self::begin(address, None).await
    }

    /// Starts it on a free port of 127.0.0.1 with TLS: its certificate is of the authority, for `localhost`.
    pub async fn start_encrypted(authority: &Authority) -> Self {
        let encryption = crate::tls::server_config(authority, "localhost");
        Self::begin(Ipv4Addr::LOCALHOST.into(), Some(encryption)).await
    }

    async fn begin(address: IpAddr, encryption: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let serving = tokio::spawn(accept(listener, encryption.clone(), Arc::clone(&state)));
        Self {
            address,
            state,
            encryption,
            serving,
        }
    }

    /// Ends all connections at once, and connections cannot be made any more.
    pub async fn stop(&mut self) {
        self.serving.abort();
        let _was_aborted = (&mut self.serving).await.is_err();
    }

    /// Ends all connections at once and begins again in the same place. What `/first/…` let hang is answered from now on.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.state.restarts.fetch_add(1, Ordering::SeqCst);
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = tokio::spawn(accept(listener, self.encryption.clone(), Arc::clone(&self.state)));
    }

    /// A URL on it.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        if self.encryption.is_some() {
            return format!("https://localhost:{}{path}", self.address.port());
        }
        format!("http://{}{path}", self.address)
    }

    /// Has `/crm/…` answer so from now on.
    pub fn crm_answers(&self, status: u16, body: &str, after: Duration) {
        let body = body.to_owned();
        *self.state.crm.lock().unwrap() = Answer { status, body, after };
    }

    /// Has it answer with bytes that are no TLS record, on connections that are made from now on.
    pub fn garble(&self) {
        self.state.is_garbled.store(true, Ordering::SeqCst);
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many connections were closed by the other side while it waited.
    #[must_use]
    pub fn abandoned(&self) -> usize {
        self.state.abandoned.load(Ordering::SeqCst)
    }

    /// Everything it was sent.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    /// The requests whose target begins so.
    #[must_use]
    pub fn requests(&self, target: &str) -> Vec<Received> {
        let of_target = |request: &Received| {
            let found = request.head.split(' ').nth(1);
            found.is_some_and(|found| found.starts_with(target))
        };
        self.received().into_iter().filter(of_target).collect()
    }
}

/// Takes connections. They end with it.
async fn accept(listener: TcpListener, encryption: Option<Arc<ServerConfig>>, state: Arc<State>) {
    let encryption = encryption.map(TlsAcceptor::from);
    let mut serving = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::SeqCst);
        let (encryption, state) = (encryption.clone(), Arc::clone(&state));
        serving.spawn(async move { begin(stream, encryption, &state).await });
        while serving.try_join_next().is_some() {}
    }
}

async fn begin(stream: TcpStream, encryption: Option<TlsAcceptor>, state: &State) -> Option<()> {
    let Some(encryption) = encryption else {
        return serve(stream, state).await;
    };
    let mut stream = encryption.accept(stream).await.ok()?;
    // Below TLS, for who asks for nothing else.
    if state.is_garbled.load(Ordering::SeqCst) {
        crate::raw::read_head(&mut stream).await?;
        let (below, _) = stream.get_mut();
        send(below, b"no TLS record at all").await?;
        return wait_until_abandoned(below, state).await.map(drop);
    }
    serve(stream, state).await
}

/// Answers the requests of a connection one after another.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, state: &State) -> Option<()> {
    loop {
        let head = crate::raw::read_head(&mut stream).await?;
        let length = crate::raw::header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.ok()?;
        let request = Received { head, body };
        state.received.lock().unwrap().push(request.clone());
        if !answer(&mut stream, &request, state).await? {
            return None;
        }
    }
}

/// Answers one request; whether the connection can be used again.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, request: &Received, state: &State) -> Option<bool> {
    let target = request.head.split(' ').nth(1)?;
    let path = target.split('?').next()?;
    let below = path.strip_prefix('/')?;
    let below = match below.strip_prefix("first/") {
        Some(_) if state.restarts.load(Ordering::SeqCst) == 0 => return wait_until_abandoned(stream, state).await,
        later => later.unwrap_or(below),
    };
    let (first, rest) = below.split_once('/').unwrap_or((below, ""));
    let whole = match first {
        "members" => response("200 OK", "content-type: application/json\r\n", br#"{"tier":"gold"}"#),
        "crm" => {
            let Answer { status, body, after } = state.crm.lock().unwrap().clone();
            sleep(after).await;
            let sent = crate::raw::header(&request.head, "authorization").unwrap_or_default();
            let status = if sent.starts_with("Bearer token-") { status } else { 401 };
            response(&format!("{status} Status"), "", body.as_bytes())
        }
        "echo" => response("200 OK", "", request.head.as_bytes()),
        "status" => response(&format!("{rest} Status"), "retry-after: 1\r\n", b"as asked"),
        "redirect" => {
            let to = target.split_once("to=").map_or("", |(_, to)| to);
            response("302 Found", &format!("location: {to}\r\n"), b"")
        }
        // Tokens are numbered; the rest of the path is how long they last.
        "token" | "slow-token" => {
            if first == "slow-token" {
                sleep(Duration::from_millis(300)).await;
            }
            let number = state.tokens.fetch_add(1, Ordering::SeqCst) + 1;
            let token = format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":{rest}}}"#);
            response("200 OK", "content-type: application/json\r\n", token.as_bytes())
        }
        // Takes the tokens from this number on.
        "protected" => {
            let from: usize = rest.parse().unwrap();
            let sent = crate::raw::header(&request.head, "authorization").unwrap_or_default();
            let number = sent
                .strip_prefix("Bearer token-")
                .and_then(|number| number.parse().ok());
            let taken = number.is_some_and(|number: usize| number >= from);
            let status = if taken { "200 OK" } else { "401 Unauthorized" };
            response(status, "", b"protected")
        }
        "fields" => response(
            "200 OK",
            "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nSet-Cookie: session=1\r\nX-Kept: yes\r\nKeep-Alive: 5\r\n",
            b"",
        ),
        "big" => response("200 OK", "", &vec![b'b'; rest.parse().unwrap()]),
        "endless" => {
            send(stream, b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            loop {
                send(stream, b"1000\r\n").await?;
                send(stream, &[b'c'; 0x1000]).await?;
                send(stream, b"\r\n").await?;
            }
        }
        "endless-head" => {
            send(stream, b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                send(stream, b"x-more: and more and more and more\r\n").await?;
            }
        }
        "hang" => return wait_until_abandoned(stream, state).await,
        "half" => {
            send(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await?;
            return wait_until_abandoned(stream, state).await;
        }
        "trickle" => {
            send(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            loop {
                if send(stream, b".").await.is_none() {
                    state.abandoned.fetch_add(1, Ordering::SeqCst);
                    return None;
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        "broken" | "cut" => {
            send(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbroken").await?;
            // Ends well, as far as TLS says.
            if first == "cut" {
                stream.shutdown().await.ok()?;
            }
            return None;
        }
        "no-http" => {
            send(stream, b"220 mail.example ESMTP\r\n").await?;
            return None;
        }
        "close" => return None,
        _ => response("200 OK", "", b"fine"),
    };
    let bodyless = request.head.starts_with("HEAD ");
    let end = if bodyless {
        whole.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4
    } else {
        whole.len()
    };
    send(stream, &whole[..end]).await?;
    Some(true)
}

fn response(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).await.ok()?;
    stream.flush().await.ok()
}

/// Never answers; notes when the other side goes.
async fn wait_until_abandoned<S: AsyncRead + Unpin>(stream: &mut S, state: &State) -> Option<bool> {
    let mut ignored = Vec::new();
    let _was_reset = stream.read_to_end(&mut ignored).await.is_err();
    state.abandoned.fetch_add(1, Ordering::SeqCst);
    None
}
