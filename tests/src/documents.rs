//! The way to the local Entra's metadata documents, which a test can watch and obstruct.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use claimsmith_local_entra::{Config, LocalEntra};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How the documents answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As they should.
    Serve,
    /// By closing the connection.
    Refuse,
    /// Never.
    Hang,
    /// As they should, but keys not before the mood changes, and then those of when they were asked for.
    Hold,
}

/// A proxy in front of the local Entra. Its issuers and documents carry the proxy's address.
#[derive(Debug)]
pub struct Documents {
    state: Arc<Mutex<State>>,
    base_url: String,
}

#[derive(Debug)]
struct State {
    mood: Mood,
    requests: Vec<String>,
    /// The whole of each request.
    heads: Vec<String>,
    published: HashMap<String, Value>,
}

impl Documents {
    /// Starts a local Entra behind a proxy.
    pub async fn start(config: Config, mood: Mood) -> (LocalEntra, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let public_url = Some(base_url.clone());
        let entra = LocalEntra::start(Config { public_url, ..config }).await.unwrap();
        let state = Arc::new(Mutex::new(State {
            mood,
            requests: Vec::new(),
            heads: Vec::new(),
            published: HashMap::new(),
        }));
        let (shared, upstream) = (Arc::clone(&state), entra.address());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(answer(client, upstream, Arc::clone(&shared)));
            }
        });
        (entra, Self { state, base_url })
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base_url)
    }

    /// Answers with this JSON for a path, instead of asking the local Entra.
    pub fn publish(&self, path: &str, document: Value) {
        self.state.lock().unwrap().published.insert(path.to_owned(), document);
    }

    /// Publishes a metadata document and its keys below a path; the document's URL.
    #[must_use]
    pub fn publish_issuer(&self, path: &str, issuer: &str, keys: &[Value]) -> String {
        let jwks_path = format!("{path}/keys");
        let metadata_path = format!("{path}/.well-known/openid-configuration");
        let metadata = json!({"issuer": issuer, "jwks_uri": self.url(&jwks_path)});
        self.publish(&jwks_path, json!({ "keys": keys }));
        self.publish(&metadata_path, metadata);
        self.url(&metadata_path)
    }

    /// Changes how the documents answer, from the next request on.
    pub fn set_mood(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Everything that anybody has sent.
    #[must_use]
    pub fn received(&self) -> String {
        self.state.lock().unwrap().heads.concat()
    }

    /// How often a path that ends so has been asked for.
    #[must_use]
    pub fn requests(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|request| request.ends_with(path)).count()
    }
}

/// Answers one request by handing it on; the connection is not kept.
async fn answer(mut client: TcpStream, upstream: SocketAddr, state: Arc<Mutex<State>>) -> Option<()> {
    let head = crate::raw::read_head(&mut client).await?;
    let path = head.split(' ').nth(1)?.to_owned();
    let (mood, published) = {
        let mut state = state.lock().unwrap();
        state.requests.push(path.clone());
        state.heads.push(head);
        (state.mood, state.published.get(&path).cloned())
    };
    match mood {
        Mood::Refuse => return None,
        Mood::Hang => std::future::pending().await,
        Mood::Serve | Mood::Hold => {}
    }
    let document = match published {
        Some(document) => response(&document),
        None => ask(upstream, &path).await?,
    };
    while mood == Mood::Hold && path.ends_with("/keys") && state.lock().unwrap().mood == Mood::Hold {
        sleep(Duration::from_millis(5)).await;
    }
    client.write_all(&document).await.ok()
}

fn response(document: &Value) -> Vec<u8> {
    let body = document.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// The local Entra's whole answer.
async fn ask(upstream: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(upstream).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {upstream}\r\nconnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).await.ok()?;
    let mut document = Vec::new();
    server.read_to_end(&mut document).await.ok()?;
    Some(document)
}
