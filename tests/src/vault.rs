//! A server that speaks the part of Vault's API that the host uses: key/value secrets of both versions, tokens, `AppRole`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssl::ssl::SslAcceptor;
use serde_json::{Value, json};

use crate::tls::acceptor;
use crate::{Authority, raw};

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultMood {
    /// As it should.
    Serve,
    /// By closing connections.
    Down,
    /// As a sealed Vault.
    Sealed,
    /// After longer than anybody waits.
    Slow,
    /// With something else than its API.
    Broken,
}

/// Vault, for `localhost`.
#[derive(Debug)]
pub struct VaultServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    mood: VaultMood,
    tokens: BTreeSet<String>,
    /// The role's id and its secret.
    role: (String, String),
    logins: usize,
    /// How long a login lasts, in seconds.
    lease: u64,
    secrets: BTreeMap<String, Value>,
    denied: BTreeSet<String>,
    heads: Vec<String>,
}

impl VaultServer {
    /// Starts it with a certificate of the authority, which takes one token.
    #[must_use]
    pub fn start(authority: &Authority, token: &str) -> Self {
        let acceptor = Arc::new(acceptor(authority, "localhost").build());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            mood: VaultMood::Serve,
            tokens: [token.to_owned()].into(),
            role: (String::new(), String::new()),
            logins: 0,
            lease: 3600,
            secrets: BTreeMap::new(),
            denied: BTreeSet::new(),
            heads: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (acceptor, state) = (Arc::clone(&acceptor), Arc::clone(&shared));
                std::thread::spawn(move || serve(&acceptor, stream, &state));
            }
        });
        Self { address, state }
    }

    /// Changes how it answers, from the next request on.
    pub fn set_mood(&self, mood: VaultMood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Keeps a secret at a path as the API has it: `secret/data/...` with version 2, `kv/...` with version 1.
    pub fn put(&self, path: &str, fields: Value) {
        self.state.lock().unwrap().secrets.insert(path.to_owned(), fields);
    }

    /// Denies a path to everybody.
    pub fn deny(&self, path: &str) {
        self.state.lock().unwrap().denied.insert(path.to_owned());
    }

    /// Takes a role, whose logins last so many seconds.
    pub fn set_role(&self, role_id: &str, secret_id: &str, lease: u64) {
        let mut state = self.state.lock().unwrap();
        state.role = (role_id.to_owned(), secret_id.to_owned());
        state.lease = lease;
    }

    /// Takes none of the tokens any more that there are.
    pub fn revoke_tokens(&self) {
        self.state.lock().unwrap().tokens.clear();
    }

    /// How often somebody has logged in.
    #[must_use]
    pub fn logins(&self) -> usize {
        self.state.lock().unwrap().logins
    }

    /// Request lines and header fields, in order.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.state.lock().unwrap().heads.clone()
    }
}

fn serve(acceptor: &SslAcceptor, stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    if state.lock().unwrap().mood == VaultMood::Down {
        return None;
    }
    let mut stream = BufReader::new(acceptor.accept(stream).ok()?);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            stream.read_line(&mut head).ok().filter(|bytes| *bytes > 0)?;
        }
        let length = raw::header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let mood = {
            let mut state = state.lock().unwrap();
            state.heads.push(head.clone());
            state.mood
        };
        let (status, answer) = match mood {
            VaultMood::Down => return None,
            VaultMood::Sealed => (503, json!({ "errors": ["Vault is sealed"] })),
            VaultMood::Broken => (200, json!(["what is this?"])),
            VaultMood::Slow => {
                std::thread::sleep(Duration::from_secs(20));
                return None;
            }
            VaultMood::Serve => state.lock().unwrap().answer(&head, &body)?,
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        stream.get_mut().write_all((head + &answer).as_bytes()).ok()?;
        stream.get_mut().flush().ok()?;
    }
}

impl State {
    fn answer(&mut self, head: &str, body: &[u8]) -> Option<(u16, Value)> {
        let mut words = head.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.strip_prefix("/v1/")?;
        let errors = |status: u16, errors: &[&str]| Some((status, json!({ "errors": errors })));
        if raw::header(head, "x-vault-request") != Some("true") {
            return errors(412, &["missing X-Vault-Request"]);
        }
        if (method, path) == ("POST", "auth/approle/login") {
            return self.log_in(body);
        }
        let is_known = raw::header(head, "x-vault-token").is_some_and(|token| self.tokens.contains(token));
        if method != "GET" || !is_known || self.denied.contains(path) {
            return errors(403, &["1 error occurred:\n\t* permission denied\n\n"]);
        }
        let Some(fields) = self.secrets.get(path) else {
            return errors(404, &[]);
        };
        let version = json!({ "created_time": "2026-01-01T00:00:00Z", "destroyed": false, "version": 1 });
        let data = if path.contains("/data/") {
            json!({ "data": fields, "metadata": version })
        } else {
            fields.clone()
        };
        let answer =
            json!({ "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": data });
        Some((200, answer))
    }

    fn log_in(&mut self, body: &[u8]) -> Option<(u16, Value)> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let sent = (body["role_id"].as_str()?, body["secret_id"].as_str()?);
        if sent != (self.role.0.as_str(), self.role.1.as_str()) {
            return Some((400, json!({ "errors": ["invalid role or secret ID"] })));
        }
        self.logins += 1;
        let token = format!("hvs.login-{}", self.logins);
        self.tokens.insert(token.clone());
        let auth = json!({ "client_token": token, "lease_duration": self.lease, "renewable": true, "policies": [] });
        Some((200, json!({ "auth": auth })))
    }
}
