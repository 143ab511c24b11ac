//! A `claimsmith serve` process and its log.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::postgres::is_root;
use crate::signals;

/// How long anything that must happen may take: generous, because nothing waits for it when it happens.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everything but what compilers and watchers tell of themselves.
const LOG: &str = "debug,hyper=info,cranelift=info,wasmtime=info,notify=info";

/// A line of the host's log: an object in the format `json`, text in the format `text`.
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
    /// Starts a host with the `claimsmith.toml` in `directory` and waits until it listens. `format` is of its log.
    pub async fn start(directory: &Path, format: &str) -> Self {
        Self::begin(command(directory, format)).await
    }

    /// The same with more arguments.
    pub async fn start_with(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = command(directory, "json");
        command.args(arguments);
        Self::begin(command).await
    }

    /// The same with more variables in its environment, everything in its log, and what it writes to standard output in the
    /// file `stdout`.
    pub async fn start_in(directory: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = logging(directory, "json", "trace");
        let output = std::fs::File::create(directory.join("stdout")).unwrap();
        command.envs(environment.iter().copied()).stdout(output);
        Self::begin(command).await
    }

    /// The same with variables in its environment.
    pub async fn start_in_environment(directory: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = command(directory, "json");
        command.envs(variables.iter().copied());
        Self::begin(command).await
    }

    /// The same with files that can have so many KiB at most: a disk that is full, until [`Self::make_room`].
    pub async fn start_on_a_full_disk(directory: &Path, kib: u32) -> Self {
        let host = command(directory, "json");
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", kib * 2))
            .arg(host.get_program())
            .args(host.get_args())
            .current_dir(directory)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self::begin(shell).await
    }

    /// The same bound by the permissions of files as any user is, also where the tests run as root.
    pub async fn start_without_overrides(directory: &Path) -> Self {
        let host = command(directory, "json");
        if !is_root() {
            return Self::begin(host).await;
        }
        let overrides = "-dac_override,-dac_read_search";
        let mut setpriv = Command::new("setpriv");
        setpriv
            .args(["--inh-caps", overrides, "--bounding-set", overrides])
            .arg(host.get_program())
            .args(host.get_args())
            .current_dir(directory)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self::begin(setpriv).await
    }

    /// Lets files have any size again.
    pub fn make_room(&self) {
        let pid = self.child.id().to_string();
        let set = Command::new("prlimit")
            .args(["--pid", &pid, "--fsize=unlimited"])
            .status();
        assert!(set.unwrap().success());
    }

    /// The same with a file system of 1 MiB at `disk`, which no other process sees ([`Self::seen_at`]).
    pub async fn start_with_small_disk(directory: &Path, disk: &Path) -> Self {
        std::fs::create_dir_all(disk).unwrap();
        let host = command(directory, "json");
        let mut shell = Command::new("unshare");
        shell
            .args(["--map-root-user", "--mount", "sh", "-c"])
            .arg("mount -t tmpfs -o size=1m tmpfs \"$0\" && exec \"$@\"")
            .arg(disk)
            .arg(host.get_program())
            .args(host.get_args())
            .current_dir(directory)
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self::begin(shell).await
    }

    /// The same as another user, without rights, where there is nothing but the executable, its libraries and the
    /// certificates of authorities, and nothing can be written but `state`, which is at `/var/lib/claimsmith`. The
    /// `directory` is at `/etc/claimsmith`; `root` is any empty one.
    pub async fn start_in_container(directory: &Path, state: &Path, root: &Path) -> Self {
        let mut unshare = Command::new("unshare");
        unshare
            .args([
                "--map-root-user",
                "--mount",
                "sh",
                "-c",
                include_str!("container.sh"),
                "sh",
            ])
            .args([root, directory, state])
            .arg(crate::build::host())
            .args(["serve", "--config", "/etc/claimsmith/claimsmith.toml"])
            .args(["--log-format", "json", "--log", LOG])
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self::begin(unshare).await
    }

    /// Runs `claimsmith audit` where the host is, which sees its small disk.
    pub async fn audit(&self, directory: &Path, arguments: &[&str]) -> Output {
        let mut nsenter = tokio::process::Command::new("nsenter");
        nsenter
            .args([
                "--target",
                &self.child.id().to_string(),
                "--user",
                "--mount",
                "--preserve-credentials",
            ])
            .arg(crate::build::host())
            .arg("audit")
            .args(arguments)
            .arg("--config")
            .arg(directory.join("claimsmith.toml"));
        nsenter.output().await.unwrap()
    }

    /// Where a file that the host sees at `path` is to be found.
    #[must_use]
    pub fn seen_at(&self, path: &Path) -> PathBuf {
        let inside = path.strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.child.id())).join(inside)
    }

    async fn begin(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
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
                "the host ended ({ended:?}): {}",
                last_lines(&log.lock().unwrap())
            );
            assert!(
                Instant::now() < until,
                "the host does not listen: {}",
                last_lines(&log.lock().unwrap())
            );
            sleep(Duration::from_millis(5)).await;
        };
        Self { address, child, log }
    }

    /// Runs a host that is expected not to start: its exit status and what it printed.
    pub async fn fail_to_start(directory: &Path) -> (ExitStatus, String) {
        let mut child = command(directory, "text").spawn().unwrap();
        let until = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > until {
                child.kill().unwrap();
            }
            sleep(Duration::from_millis(5)).await;
        }
        let output = child.wait_with_output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Every log line so far.
    #[must_use]
    pub fn log(&self) -> Vec<LogLine> {
        self.log_after(0)
    }

    /// How many log lines there are so far: a mark for [`Self::log_after`] and [`Self::log_line_after`].
    #[must_use]
    pub fn log_mark(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// The log lines after a mark.
    #[must_use]
    pub fn log_after(&self, mark: usize) -> Vec<LogLine> {
        self.log.lock().unwrap()[mark..].to_vec()
    }

    /// Waits for a log line.
    pub async fn log_line(&self, what: &str, matches: impl Fn(&LogLine) -> bool) -> LogLine {
        self.log_line_after(0, what, matches).await
    }

    /// Waits for a log line after a mark.
    pub async fn log_line_after(&self, mark: usize, what: &str, matches: impl Fn(&LogLine) -> bool) -> LogLine {
        let until = Instant::now() + PATIENCE;
        let mut seen = mark;
        loop {
            {
                let log = self.log.lock().unwrap();
                if let Some(line) = log[seen..].iter().find(|line| matches(line)) {
                    return line.clone();
                }
                seen = log.len();
            }
            assert!(
                Instant::now() < until,
                "no log line: {what}; the last are\n{}",
                last_lines(&self.log_after(mark))
            );
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits for the line that tells how the first callout after a mark ended. It can come after the answer, so whoever
    /// asks must have waited for the lines of earlier callouts too.
    pub async fn callout_line(&self, mark: usize) -> LogLine {
        self.log_line_after(mark, "the end of a callout", ends_callout).await
    }

    /// Waits for the line that tells how the callout with this body ended.
    pub async fn line_of_callout(&self, body: &Value) -> LogLine {
        let correlation_id = &body["data"]["authenticationContext"]["correlationId"];
        let ends = |line: &LogLine| ends_callout(line) && &line["span"]["correlation_id"] == correlation_id;
        self.log_line("the end of a callout", ends).await
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes that the host has started and that have not ended.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
        numbers
            .filter(|process: &u32| {
                // After the name in parentheses: the state, then the parent.
                let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
                let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
                let mut words = rest.split(' ');
                words.next() != Some("Z") && words.next() == Some(&self.child.id().to_string())
            })
            .collect()
    }

    /// Forgets the log so far, which grows with every callout.
    pub fn forget_log(&self) {
        self.log.lock().unwrap().clear();
    }

    /// Asks the host to stop, as a service manager does.
    pub fn terminate(&self) {
        signals::signal(self.child.id(), "TERM");
    }

    /// Kills the process at once, and waits until it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
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

fn command(directory: &Path, format: &str) -> Command {
    logging(directory, format, LOG)
}

fn logging(directory: &Path, format: &str, log: &str) -> Command {
    let mut command = Command::new(crate::build::host());
    command
        .args([
            "serve",
            "--config",
            "claimsmith.toml",
            "--log-format",
            format,
            "--log",
            log,
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
        // What is not JSON (a crash's last words, the format `text`) is kept as text.
        let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
        log.lock().unwrap().push(line);
    }
}

fn listening_address(line: &LogLine) -> Option<SocketAddr> {
    let address = match line {
        Value::String(text) => text.split_once("listening address=")?.1,
        line if line["message"] == "listening" => line["address"].as_str()?,
        _ => return None,
    };
    Some(address.parse().unwrap())
}

fn last_lines(log: &[LogLine]) -> String {
    let last = log.iter().rev().take(20).rev();
    last.map(LogLine::to_string).collect::<Vec<_>>().join("\n")
}

fn ends_callout(line: &LogLine) -> bool {
    line["message"] == "callout answered" || line["message"] == "callout refused"
}

/// Waits until something is so.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < until, "never happened: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
