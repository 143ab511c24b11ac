//! The demo's directory, and the two processes in it.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Person, SignIn, WORKFORCE, WORKFORCE_EXTENSION};
use crate::cargo::{PLUGINS, root, target_directory};

/// How long the processes may take to become ready, and a log line to be written.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What the local Entra answers to a sign-in; the claims are absent when there is no token.
#[derive(Deserialize)]
struct SignInAnswer {
    correlation_id: String,
    #[serde(default)]
    claims_before: Map<String, Value>,
    #[serde(default)]
    claims_after: Map<String, Value>,
    #[serde(default)]
    added: Map<String, Value>,
    callout: CalloutRecord,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CalloutRecord {
    duration_ms: f64,
}

#[derive(Deserialize)]
struct CalloutToken {
    access_token: String,
}

/// The configuration that the demo copies, with `@HOST@` and `@ENTRA@` where the addresses belong.
const TEMPLATES: &[&str] = &[
    "claimsmith.toml",
    "local-entra.toml",
    "callout.json",
    "tenants/contoso/tenant.toml",
];

/// A host and a local Entra that run.
pub(super) struct Stage {
    pub(super) directory: PathBuf,
    pub(super) host: SocketAddr,
    pub(super) entra: SocketAddr,
    processes: Vec<Process>,
}

impl Stage {
    /// Writes the configuration, starts both processes and waits until they are ready.
    pub(super) fn set(host_binary: &Path, plugins: &Path) -> Result<Self> {
        let directory = target_directory().join("demo");
        let (host, entra) = free_addresses()?;
        write_configuration(&directory, plugins, host, entra)?;
        let start = |name, arguments: [&str; 2]| Process::start(host_binary, &directory, name, arguments);
        let processes = vec![
            start("local-entra", ["local-entra", "--config=local-entra.toml"])?,
            start("claimsmith", ["serve", "--config=claimsmith.toml"])?,
        ];
        let mut stage = Self {
            directory,
            host,
            entra,
            processes,
        };
        stage.wait_for(&format!("http://{entra}/"))?;
        stage.wait_for(&format!("http://{host}/readyz"))?;
        let extension = json!({ "extension": WORKFORCE_EXTENSION });
        let token: CalloutToken = stage.post(&format!("{WORKFORCE}/callout-tokens"), &extension)?;
        fs::write(stage.directory.join("callout-token"), token.access_token)?;
        Ok(stage)
    }

    /// Signs somebody in at the local Entra, which calls the extension.
    pub(super) fn sign_in(&self, person: &Person) -> Result<SignIn> {
        let request = json!({
            "user": person.mail,
            "application": "Shop",
            "client": {"ip": "203.0.113.7", "locale": "en-gb", "market": "en-gb"},
        });
        let answer: SignInAnswer = self.post(&format!("{}/sign-in", person.directory), &request)?;
        let log_line = self.log_line(&answer.correlation_id)?;
        Ok(SignIn {
            user: person.mail.to_owned(),
            before: answer.claims_before,
            after: answer.claims_after,
            added: answer.added,
            callout_ms: answer.callout.duration_ms,
            outcome: field(&log_line, "outcome").unwrap_or_else(|| "not logged".to_owned()),
            log_line,
        })
    }

    /// Waits for Ctrl-C or SIGTERM, at which the processes end too, or for the end of either of them.
    pub(super) fn run_on(mut self) -> Result<()> {
        loop {
            sleep(Duration::from_millis(200));
            self.all_running()?;
        }
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let url = format!("http://{}/{path}", self.entra);
        let mut response = client()
            .post(&url)
            .send_json(body)
            .with_context(|| format!("POST {url}"))?;
        response
            .body_mut()
            .read_json()
            .with_context(|| format!("the answer of {url} is not as expected"))
    }

    fn wait_for(&mut self, url: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answered = client().get(url).call();
            if answered.is_ok_and(|response| response.status() == 200) {
                return Ok(());
            }
            self.all_running()?;
            if Instant::now() > until {
                bail!("{url} is not ready; see the logs in {}", self.directory.display());
            }
            sleep(POLL);
        }
    }

    fn all_running(&mut self) -> Result<()> {
        for process in &mut self.processes {
            if let Some(status) = process.child.try_wait()? {
                let log = fs::read_to_string(&process.log).unwrap_or_default();
                bail!("`claimsmith {}` ended ({status}):\n{log}", process.name);
            }
        }
        Ok(())
    }

    /// The host's line of the callout with this correlation id.
    fn log_line(&self, correlation_id: &str) -> Result<String> {
        let file = self.directory.join("claimsmith.log");
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let log = fs::read_to_string(&file)?;
            let is_of_callout = |line: &&str| line.contains(correlation_id) && line.contains("outcome=");
            if let Some(line) = log.lines().find(is_of_callout) {
                return Ok(line.to_owned());
            }
            sleep(POLL);
        }
        bail!("{} has no line of callout {correlation_id}", file.display())
    }
}

fn write_configuration(directory: &Path, plugins: &Path, host: SocketAddr, entra: SocketAddr) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    let plugin_directory = directory.join("tenants/contoso/plugins");
    fs::create_dir_all(&plugin_directory)?;
    for template in TEMPLATES {
        let text = fs::read_to_string(root().join("xtask/demo").join(template))?;
        let text = text
            .replace("@HOST@", &host.to_string())
            .replace("@ENTRA@", &entra.to_string());
        fs::write(directory.join(template), text)?;
    }
    for plugin in PLUGINS {
        // Cargo names a library's file after the crate in code, with underscores.
        let built = plugins.join(format!("{}.wasm", plugin.replace('-', "_")));
        let copy = plugin_directory.join(format!("{plugin}.wasm"));
        fs::copy(&built, &copy).with_context(|| format!("{} cannot be copied", built.display()))?;
    }
    Ok(())
}

/// Two addresses that nobody uses at this moment.
fn free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    let first = TcpListener::bind("127.0.0.1:0")?;
    let second = TcpListener::bind("127.0.0.1:0")?;
    Ok((first.local_addr()?, second.local_addr()?))
}

/// A client that answers with every status: a refused sign-in is a result too.
fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

/// The text of a field in a log line, `name="text"`.
fn field(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(text, _)| text.to_owned())
}

/// A process that ends with the demo.
struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(binary: &Path, directory: &Path, name: &'static str, arguments: [&str; 2]) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let child = ending_with_us(binary)
            .args(arguments)
            .current_dir(directory)
            .env_remove("RUST_BACKTRACE")
            // With a line for each callout that was answered, which the demo shows.
            .env("CLAIMSMITH_LOG", "info,claimsmith_server::callout=debug")
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", binary.display()))?;
        Ok(Self { name, child, log })
    }
}

/// Has a process end when its standard input does, and begin without one. Somebody waits beside it, at the other end of a pipe
/// that closes with this process, whatever ends it: a signal too, after which nothing is dropped.
const WATCHED: &str = r#"exec 3<&0; (read -r _ <&3; kill "$$" 2>/dev/null) & exec "$@" 3<&- </dev/null"#;

/// A program whose process ends when this one does.
fn ending_with_us(binary: &Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHED, "sh"]).arg(binary).stdin(Stdio::piped());
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _had_ended = self.child.kill().is_err();
        let _unknown_status = self.child.wait().is_err();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Whether it ends within the time that a test has.
    fn ends(child: &mut Child) -> bool {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if child.try_wait().unwrap().is_some() {
                return true;
            }
            sleep(POLL);
        }
        false
    }

    #[test]
    fn what_the_demo_starts_ends_with_it() {
        let mut child = ending_with_us(Path::new("sleep")).arg("600").spawn().unwrap();
        sleep(Duration::from_millis(200));
        assert!(child.try_wait().unwrap().is_none(), "it runs as long as we do");
        // The end of a process closes what it has open.
        drop(child.stdin.take());
        assert!(ends(&mut child));
    }

    #[test]
    fn the_end_of_what_the_demo_started_is_seen() {
        let mut child = ending_with_us(Path::new("true")).spawn().unwrap();
        assert!(ends(&mut child));
    }
}
