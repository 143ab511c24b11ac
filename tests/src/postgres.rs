//! A PostgreSQL server of a test's own, from the Debian package `postgresql`.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Identity;

/// Who is asked by [`Postgres::sql`].
const ADMINISTRATOR: &str = "postgres";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a free port of 127.0.0.1 with a data directory of its own; stopped when dropped. Over TCP it asks for
/// passwords, and speaks TLS to who wants it.
#[derive(Debug)]
pub struct Postgres {
    /// Its port.
    pub port: u16,
    directory: TempDir,
    server: Option<Child>,
}

impl Postgres {
    /// Starts it with a certificate.
    ///
    /// # Panics
    /// When the package is not installed, with its name.
    #[must_use]
    pub fn start(identity: &Identity) -> Self {
        let directory = TempDir::new().unwrap();
        let mut server = Self {
            port: TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port(),
            directory,
            server: None,
        };
        server.initialise(identity);
        server.start_again();
        server
    }

    /// Starts it with a certificate, a role and a database of these names, and what is created in the database.
    #[must_use]
    pub fn with_database(identity: &Identity, role: &str, password: &str, database: &str, sql: &str) -> Self {
        let server = Self::start(identity);
        server.sql("postgres", &format!("create role {role} login password '{password}'"));
        server.sql("postgres", &format!("create database {database} owner {role}"));
        server.sql(database, &format!("set role {role};\n{sql}"));
        server
    }

    fn initialise(&self, identity: &Identity) {
        let directory = self.directory.path();
        fs::write(directory.join("server.pem"), &identity.certificate).unwrap();
        fs::write(directory.join("server.key"), &identity.key).unwrap();
        fs::set_permissions(directory.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
        if is_root() {
            // The server refuses to run as root.
            run(Command::new("chown").arg("-R").arg(ADMINISTRATOR).arg(directory));
        }
        let mut initdb = command("initdb", directory);
        let data = directory.join("data");
        run(initdb.arg("-D").arg(&data).args([
            "-U",
            ADMINISTRATOR,
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]));
        let access = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), access).unwrap();
    }

    /// Starts it where it was, after [`Self::stop`].
    pub fn start_again(&mut self) {
        let directory = self.directory.path();
        let data = directory.join("data");
        let mut server = command("postgres", directory);
        server.arg("-D").arg(&data).args(["-k"]).arg(directory);
        let key = |name: &str| directory.join(name).display().to_string();
        for setting in [
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", key("server.pem")),
            format!("ssl_key_file={}", key("server.key")),
            "fsync=off".to_owned(),
            "shared_buffers=16MB".to_owned(),
            "max_connections=60".to_owned(),
        ] {
            server.args(["-c", &setting]);
        }
        let log = fs::File::create(directory.join("log")).unwrap();
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        self.server = Some(server.unwrap());
        let until = Instant::now() + PATIENCE;
        while !self.psql("postgres", "select 1").output().unwrap().status.success() {
            let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
            assert!(Instant::now() < until, "PostgreSQL does not start: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Stops it at once: whoever is connected is not any more.
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let pid = server.id().to_string();
            // An immediate shutdown: its children end too.
            let asked = Command::new("kill").args(["-QUIT", &pid]).status();
            if !asked.is_ok_and(|status| status.success()) {
                server.kill().unwrap();
            }
            server.wait().unwrap();
        }
    }

    /// Executes statements as the administrator; what they give, unaligned.
    #[must_use = "or it is a statement for its effect: see `sql`"]
    pub fn ask(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database, sql).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Executes statements as the administrator.
    pub fn sql(&self, database: &str, sql: &str) {
        let _said = self.ask(database, sql);
    }

    /// How many statements run at the moment that hold this text, and how many sessions there are of a role.
    #[must_use]
    pub fn running(&self, text: &str) -> usize {
        let sql = format!(
            "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() and query like '%{text}%'"
        );
        self.ask("postgres", &sql).parse().unwrap()
    }

    /// The sessions of a role.
    #[must_use]
    pub fn sessions(&self, role: &str) -> usize {
        let sql = format!("select count(*) from pg_stat_activity where usename = '{role}'");
        self.ask("postgres", &sql).parse().unwrap()
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut psql = command("psql", self.directory.path());
        psql.arg("-h")
            .arg(self.directory.path())
            .args(["-p", &self.port.to_string(), "-U", ADMINISTRATOR, "-d", database])
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]);
        psql
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A program of the package, as the user it runs as, which may enter the directory.
fn command(program: &str, directory: &Path) -> Command {
    let program = programs().join(program);
    let mut command = if is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", ADMINISTRATOR, "--regid", ADMINISTRATOR, "--clear-groups"])
            .arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir(directory).env("LC_ALL", "C");
    command
}

/// Where the newest version's programs are.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin"));
    let newest = found.filter(|path| path.join("postgres").exists()).max();
    newest.expect("PostgreSQL is not installed: install the Debian package `postgresql`")
}

pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
