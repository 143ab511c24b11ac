//! A real Redis server of a test's own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Identity, eventually, signals};

/// What it is asked with.
const PASSWORD: &str = "planted-redis-5d1c";

/// A Redis server on a loopback port with a directory of its own; ended when dropped.
#[derive(Debug)]
pub struct RedisServer {
    /// Where it listens.
    pub address: SocketAddr,
    directory: TempDir,
    tls: bool,
    child: Option<Child>,
}

impl RedisServer {
    /// The password of its default user.
    pub const PASSWORD: &str = PASSWORD;

    /// Starts it and waits until it answers.
    pub async fn start() -> Self {
        let mut server = Self::new(false);
        server.begin().await;
        server
    }

    /// The same with TLS.
    pub async fn start_with_tls(identity: &Identity) -> Self {
        let mut server = Self::new(true);
        std::fs::write(server.directory.path().join("certificate"), &identity.certificate).unwrap();
        std::fs::write(server.directory.path().join("key"), &identity.key).unwrap();
        server.begin().await;
        server
    }

    fn new(tls: bool) -> Self {
        // Free at the moment, and nobody else looks for one on all of the machine.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            directory: TempDir::new().unwrap(),
            tls,
            child: None,
        }
    }

    /// Starts it where it was, with nothing in it.
    pub async fn begin(&mut self) {
        let port = self.address.port().to_string();
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--requirepass", PASSWORD, "--daemonize", "no"])
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if self.tls {
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"]);
            command.args(["--tls-cert-file", "certificate", "--tls-key-file", "key"]);
            command.args(["--tls-ca-cert-file", "certificate"]);
        } else {
            command.args(["--port", &port]);
        }
        let child = command.spawn();
        self.child = Some(child.expect("redis-server cannot be started: install the Debian package redis-server"));
        eventually("Redis listens", async || TcpStream::connect(self.address).await.is_ok()).await;
        if !self.tls {
            eventually("Redis answers", async || self.ask("PING").await.contains("PONG")).await;
        }
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _had_ended = child.kill().is_err();
            let _unknown = child.wait().is_err();
        }
    }

    /// Has it accept connections and answer nothing.
    pub fn pause(&self) {
        signals::pause(self.pid());
    }

    /// Has it go on.
    pub fn resume(&self) {
        signals::resume(self.pid());
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// What it answers a command: the first bytes of it.
    pub async fn ask(&self, command: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let lines = format!("AUTH {PASSWORD}\r\n{command}\r\nQUIT\r\n");
        stream.write_all(lines.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _was_reset = stream.read_to_end(&mut answer).await.is_err();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// All keys.
    pub async fn keys(&self) -> Vec<String> {
        let answer = self.ask("KEYS *").await;
        let keys = answer.lines().filter(|line| line.starts_with("claimsmith"));
        keys.map(str::to_owned).collect()
    }

    /// How often a command was called.
    pub async fn calls(&self, command: &str) -> usize {
        let answer = self.ask("INFO commandstats").await;
        let counted = answer.split_once(&format!("cmdstat_{command}:calls="));
        let digits = counted.map(|(_, rest)| rest.split(',').next().unwrap_or_default());
        digits.map_or(0, |digits| digits.parse().unwrap())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}
