//! The way to the local Entra's metadata documents, which a test can watch and obstruct.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use claimsmith_local_entra::{Config, LocalEntra};

/// How the documents answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As they should.
    Serve,
    /// By closing the connection.
    Refuse,
    /// Never.
    Hang,
}

/// A proxy in front of the local Entra. Its issuers and documents carry the proxy's address.
#[derive(Debug)]
pub struct Documents {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    requests: Vec<String>,
}

impl Documents {
    /// Starts a local Entra behind a proxy.
    pub async fn start(config: Config, mood: Mood) -> (LocalEntra, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public_url = Some(format!("http://{}", listener.local_addr().unwrap()));
        let entra = LocalEntra::start(Config { public_url, ..config }).await.unwrap();
        let state = Arc::new(Mutex::new(State {
            mood,
            requests: Vec::new(),
        }));
        let (shared, upstream) = (Arc::clone(&state), entra.address());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, upstream, Arc::clone(&shared)));
            }
        });
        (entra, Self { state })
    }

    /// Changes how the documents answer, from the next request on.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// How often a path that ends so has been asked for.
    #[must_use]
    pub fn requests(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|request| request.ends_with(path)).count()
    }
}

/// Answers one request by handing it on; the connection is not kept.
async fn answer(mut client: TcpStream, upstream: std::net::SocketAddr, state: Arc<Mutex<State>>) -> Option<()> {
    let head = crate::raw::read_head(&mut client).await?;
    let path = head.split(' ').nth(1)?.to_owned();
    let mood = {
        let mut state = state.lock().unwrap();
        state.requests.push(path.clone());
        state.mood
    };
    match mood {
        Mood::Refuse => return None,
        Mood::Hang => std::future::pending().await,
        Mood::Serve => {}
    }
    let mut server = TcpStream::connect(upstream).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {upstream}\r\nconnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).await.ok()?;
    let mut document = Vec::new();
    server.read_to_end(&mut document).await.ok()?;
    client.write_all(&document).await.ok()
}
