//! Mail servers: a real one, and one that breaks the protocol in every way.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader as AsyncBufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::{Authority, eventually};

/// Python of Debian, which has its packages.
const PYTHON: &str = "/usr/bin/python3";

/// How a mail server's connections are encrypted.
#[derive(Clone, Copy, Debug)]
pub enum MailSecurity<'a> {
    /// Not at all.
    None,
    /// From STARTTLS on, which it wants; with a certificate of this authority for this name.
    StartTls(&'a Authority, &'a str),
    /// The same, and somebody on the way adds replies to the one to STARTTLS.
    InjectedStartTls(&'a Authority, &'a str),
    /// From the start.
    Tls(&'a Authority, &'a str),
}

/// A mail server (aiosmtpd); killed when dropped.
#[derive(Debug)]
pub struct MailServer {
    /// Where it listens, at 127.0.0.1.
    pub port: u16,
    options: Value,
    child: Child,
    told: Arc<Mutex<Vec<Value>>>,
    /// Its certificate and key.
    _files: TempDir,
}

impl MailServer {
    /// Starts one on a free port that wants no authentication.
    pub async fn start(security: MailSecurity<'_>) -> Self {
        Self::start_with(security, None).await
    }

    /// Starts one that wants this name and password.
    pub async fn start_with(security: MailSecurity<'_>, login: Option<(&str, &str)>) -> Self {
        let files = TempDir::new().unwrap();
        let (name, identity) = match security {
            MailSecurity::None => ("none", None),
            MailSecurity::StartTls(authority, name) | MailSecurity::InjectedStartTls(authority, name) => {
                ("starttls", Some(authority.issue(name)))
            }
            MailSecurity::Tls(authority, name) => ("tls", Some(authority.issue(name))),
        };
        let (certificate, key) = (files.path().join("certificate.pem"), files.path().join("key.pem"));
        if let Some(identity) = identity {
            std::fs::write(&certificate, identity.certificate).unwrap();
            std::fs::write(&key, identity.key).unwrap();
        }
        let options = json!({
            "port": 0, "security": name, "inject": matches!(security, MailSecurity::InjectedStartTls(..)), "certificate": certificate, "key": key,
            "user": login.map(|(user, _)| user), "password": login.map(|(_, password)| password),
        });
        let (child, told) = run(&options);
        let mut server = Self {
            port: 0,
            options,
            child,
            told,
            _files: files,
        };
        server.port = server.listening().await;
        server
    }

    /// Starts it again on the same port, after it has ended.
    pub async fn restart(&mut self) {
        self.kill();
        self.options["port"] = json!(self.port);
        self.told.lock().unwrap().retain(|line| line["event"] != "listening");
        let (child, told) = run(&self.options);
        self.child = child;
        self.told = told;
        self.listening().await;
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _had_ended = self.child.kill().is_err();
        self.child.wait().unwrap();
    }

    /// The messages since it was started, in their order.
    #[must_use]
    pub fn messages(&self) -> Vec<Value> {
        self.events("message")
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.events("connection").len()
    }

    /// The same when there have been so many: it tells of a message before it takes it, by another way.
    pub async fn delivered(&self, count: usize) -> Vec<Value> {
        eventually("the messages are there", async || self.messages().len() >= count).await;
        let messages = self.messages();
        assert_eq!(messages.len(), count, "{messages:?}");
        messages
    }

    fn events(&self, event: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap();
        told.iter().filter(|line| line["event"] == event).cloned().collect()
    }

    async fn listening(&mut self) -> u16 {
        let mut port = None;
        eventually("the mail server listens", async || {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the mail server ended ({ended:?}): is Debian's package python3-aiosmtpd installed?"
            );
            let told = self.told.lock().unwrap();
            let line = told.iter().find(|line| line["event"] == "listening");
            port = line
                .and_then(|line| line["port"].as_u64())
                .and_then(|port| u16::try_from(port).ok());
            port.is_some()
        })
        .await;
        port.unwrap()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(options: &Value) -> (Child, Arc<Mutex<Vec<Value>>>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("smtp/server.py");
    let child = Command::new(PYTHON)
        .args(["-W", "ignore"])
        .arg(script)
        .arg(options.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.expect("/usr/bin/python3; is Debian's package python3-aiosmtpd installed?");
    let told = Arc::default();
    let (stdout, lines) = (child.stdout.take().unwrap(), Arc::clone(&told));
    std::thread::spawn(move || collect(stdout, &lines));
    (child, told)
}

fn collect(stdout: ChildStdout, told: &Mutex<Vec<Value>>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        told.lock().unwrap().push(serde_json::from_str(&line).unwrap());
    }
}

/// What is wrong with a mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailFault {
    /// Says nothing.
    Silent,
    /// Greets without an end of line.
    EndlessGreeting,
    /// Greets with lines that are never the last.
    EndlessLines,
    /// Speaks HTTP.
    Http,
    /// Does not serve.
    NotServing,
    /// Closes at MAIL.
    CloseAtMail,
    /// Says nothing to MAIL.
    SilentAtMail,
    /// Answers DATA as if it had the message.
    TakenTooEarly,
    /// Reads the message and says nothing.
    SilentAfterText,
    /// Reads the message and closes.
    CloseAfterText,
    /// Reads the message and answers with what was in it.
    EchoAfterText,
    /// Takes the message, and closes the connection after it.
    CloseAfterTaken,
    /// Takes the message, and never ends its reply.
    EndlessAfterText,
}

/// A mail server that breaks the protocol.
#[derive(Debug)]
pub struct FaultyMailServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Faulty>,
}

#[derive(Debug, Default)]
struct Faulty {
    connections: AtomicUsize,
    /// Connections that have ended.
    ended: AtomicUsize,
    /// Bytes that were sent without end.
    sent: AtomicUsize,
    texts: Mutex<Vec<String>>,
}

impl FaultyMailServer {
    /// Starts it on a free port of 127.0.0.1.
    pub async fn start(fault: MailFault) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Faulty::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let _closed = converse(stream, fault, &state).await;
                    state.ended.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, state }
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many of them have ended.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.state.ended.load(Ordering::SeqCst)
    }

    /// How many bytes were sent without end.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// The messages that were given, taken or not.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.state.texts.lock().unwrap().clone()
    }
}

/// Serves a connection until either side closes it.
async fn converse(stream: TcpStream, fault: MailFault, state: &Faulty) -> Option<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = AsyncBufReader::new(reader);
    match fault {
        MailFault::Silent => {}
        MailFault::EndlessGreeting => return endless(&mut writer, b"220 welcome and ", state).await,
        MailFault::EndlessLines => return endless(&mut writer, b"220-welcome\r\n", state).await,
        MailFault::Http => say(&mut writer, "HTTP/1.1 400 Bad Request\r\n\r\n").await?,
        MailFault::NotServing => say(&mut writer, "554 5.3.2 not today\r\n").await?,
        _ => say(&mut writer, "220 mail.example\r\n").await?,
    }
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let command = line.split([' ', '\r']).next()?.to_ascii_uppercase();
        let reply = match (command.as_str(), fault) {
            (_, MailFault::Silent) | ("MAIL", MailFault::SilentAtMail) => continue,
            ("EHLO", _) => "250 mail.example\r\n",
            ("MAIL", MailFault::CloseAtMail) => return None,
            ("DATA", MailFault::TakenTooEarly) => "250 2.0.0 taken\r\n",
            ("DATA", _) => {
                say(&mut writer, "354 go ahead\r\n").await?;
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    let mut byte = [0];
                    reader.read_exact(&mut byte).await.ok()?;
                    text.push(byte[0].into());
                }
                state.texts.lock().unwrap().push(text.clone());
                match fault {
                    MailFault::SilentAfterText => continue,
                    MailFault::CloseAfterText => return None,
                    MailFault::EndlessAfterText => return endless(&mut writer, b"250-taken\r\n", state).await,
                    MailFault::EchoAfterText => {
                        say(&mut writer, &text).await?;
                        return None;
                    }
                    MailFault::CloseAfterTaken => {
                        say(&mut writer, "250 2.0.0 taken\r\n").await?;
                        return None;
                    }
                    _ => "250 2.0.0 taken\r\n",
                }
            }
            _ => "250 2.0.0 fine\r\n",
        };
        say(&mut writer, reply).await?;
    }
}

async fn say(writer: &mut OwnedWriteHalf, text: &str) -> Option<()> {
    writer.write_all(text.as_bytes()).await.ok()
}

/// Sends the same for ever, until the other side goes.
async fn endless(writer: &mut OwnedWriteHalf, bytes: &[u8], state: &Faulty) -> Option<()> {
    let chunk = bytes.repeat(512);
    loop {
        writer.write_all(&chunk).await.ok()?;
        state.sent.fetch_add(chunk.len(), Ordering::SeqCst);
        sleep(Duration::from_millis(1)).await;
    }
}
