//! A `claimsmith serve` process and its log.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

/// How long anything that must happen may take: generous, because nothing waits for it when it happens.
const PATIENCE: Duration = Duration::from_secs(30);

/// A line of the host's JSON log.
pub type LogLine = Value;

/// A host process; killed when dropped.
#[derive(Debug)]
pub struct Host {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    log: Arc<Mutex<Vec<LogLine>>>,
}

impl Host {
    /// Starts a host with the `claimsmith.toml` in `directory` and waits until it listens.
    pub async fn start(directory: &Path) -> Self {
        let mut child = command(directory).spawn().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || collect(stderr, &lines));
        let until = Instant::now() + PATIENCE;
        let address = loop {
            let listening = log.lock().unwrap().iter().find_map(listening_address);
            if let Some(address) = listening {
                break address;
            }
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none(),
                "the host ended ({ended:?}): {:#?}",
                log.lock().unwrap()
            );
            assert!(
                Instant::now() < until,
                "the host does not listen: {:#?}",
                log.lock().unwrap()
            );
            sleep(Duration::from_millis(5)).await;
        };
        Self { address, child, log }
    }

    /// Runs a host that is expected not to start: its exit status and what it printed.
    #[must_use]
    pub fn fail_to_start(directory: &Path) -> (ExitStatus, String) {
        let output = command(directory).output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Every log line so far.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a log line.
    pub async fn log_line(&self, what: &str, matches: impl Fn(&LogLine) -> bool) -> LogLine {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.log().into_iter().find(|line| matches(line)) {
                return line;
            }
            assert!(Instant::now() < until, "no log line: {what}\n{:#?}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Asks the host to stop, as a service manager does.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the host does not end");
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _had_ended = self.child.kill().is_err();
        let _unknown = self.child.wait().is_err();
    }
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(crate::build::host());
    command
        .args([
            "serve",
            "--config",
            "claimsmith.toml",
            "--log-format",
            "json",
            "--log",
            "debug,hyper=info",
        ])
        .current_dir(directory)
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

fn collect(stderr: ChildStderr, log: &Mutex<Vec<LogLine>>) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        // What is not JSON (a crash's last words) is kept as text.
        let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
        log.lock().unwrap().push(line);
    }
}

fn listening_address(line: &LogLine) -> Option<SocketAddr> {
    (line["message"] == "listening").then(|| line["address"].as_str().unwrap().parse().unwrap())
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "never happened: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
