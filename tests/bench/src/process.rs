//! Processes under measurement: pinned to a core, stopped on every path, and what the kernel says of them.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command as AsyncCommand};
use tokio::time::{sleep, timeout};

/// How long a server may take to become ready: a thousand components are compiled in minutes.
const START_PATIENCE: Duration = Duration::from_mins(20);
/// How long a server may take to end after it was asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(15);
/// How often a server is asked whether it is ready: much less than any start takes.
const POLL: Duration = Duration::from_millis(2);
/// Linux's unit of CPU time in `/proc`, the same on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// Which cores servers and the load generator have.
#[derive(Clone, Copy, Debug)]
pub struct Cores {
    /// The server's.
    pub server: usize,
    /// The load generator's.
    pub load: usize,
}

impl Cores {
    /// The first two cores that this process may use.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn choose() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let list = line(&status, "Cpus_allowed_list:").context("/proc/self/status has no Cpus_allowed_list")?;
        let mut cores = list.split(',').filter_map(|range| {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            Some(from.trim().parse::<usize>().ok()?..=to.trim().parse().ok()?)
        });
        let mut cores = cores.by_ref().flatten();
        match (cores.next(), cores.next()) {
            (Some(server), Some(load)) => Ok(Self { server, load }),
            _ => bail!("two cores are needed, one for the server and one for the load; this process may use: {list}"),
        }
    }
}

/// A command whose threads all stay on one core.
#[must_use]
pub fn pinned(core: usize, command: &Command) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["--cpu-list", &core.to_string()]);
    pinned.arg(command.get_program()).args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        pinned.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => pinned.env(name, value),
            None => pinned.env_remove(name),
        };
    }
    // It makes every handled error slower.
    pinned.env_remove("RUST_BACKTRACE");
    pinned
}

/// A port that nobody uses at this moment.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A server that listens on loopback; killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// How long it took from its start until it was ready.
    pub started_in: Duration,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a server on its core and waits until this path answers 200. What it prints goes to `log`.
    ///
    /// # Errors
    /// When it cannot be started, ends or is not ready in time.
    pub async fn start(command: &Command, core: usize, port: u16, ready: &str, log: &Path) -> Result<Self> {
        let shown = command.get_program().to_string_lossy().into_owned();
        let mut command = pinned(core, command);
        let output = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let began = Instant::now();
        let child = AsyncCommand::from(command)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("`taskset` cannot be started for {shown}; it is part of util-linux"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut server = Self {
            address,
            started_in: Duration::ZERO,
            child,
            log: log.to_owned(),
        };
        let url = server.url(ready);
        let client = client()?;
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            server.still_runs()?;
            if began.elapsed() > START_PATIENCE {
                bail!("{url} is not ready; see {}", log.display());
            }
            sleep(POLL).await;
        }
        server.started_in = began.elapsed();
        Ok(server)
    }

    /// The URL of a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Resident memory in bytes: `Rss` of `/proc/PID/smaps_rollup`.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()?))?;
        let kib = line(&rollup, "Rss:").and_then(|rss| rss.trim_end_matches("kB").trim().parse::<u64>().ok());
        Ok(kib.context("smaps_rollup has no Rss")? * 1024)
    }

    /// The CPU time that it has used.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.pid()?)
    }

    /// Asks it to end, and waits for that.
    ///
    /// # Errors
    /// When it has ended already.
    pub async fn stop(mut self) -> Result<()> {
        self.still_runs()?;
        let pid = i32::try_from(self.pid()?).ok().and_then(Pid::from_raw);
        kill_process(pid.context("an impossible process id")?, Signal::TERM)?;
        // One that does not end is killed when it is dropped, as is one whose connections are still open.
        let _in_time = timeout(STOP_PATIENCE, self.child.wait()).await.is_ok();
        Ok(())
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().context("the server has ended")
    }

    fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let last: Vec<_> = log.lines().rev().take(20).collect();
            let last: Vec<_> = last.into_iter().rev().collect();
            bail!("the server ended ({status}); its last lines:\n{}", last.join("\n"));
        }
        Ok(())
    }
}

/// A client without proxies and without kept connections, which would be in a server's way when it stops.
///
/// # Errors
/// When the client cannot be made.
pub fn client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .build()?)
}

/// The CPU time that a process has used, in hundredths of a second.
///
/// # Errors
/// When the process has ended.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // After the name in parentheses come the state and, as fields 14 and 15 of all, user and system time.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The rest of the line that begins so.
fn line<'a>(text: &'a str, begin: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(begin)).map(str::trim)
}
