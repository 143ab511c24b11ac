//! A real directory: slapd with people and groups, on free loopback ports, over LDAP with `StartTLS` and LDAPS.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Authority, signals};

/// The directory's base.
pub const BASE: &str = "dc=contoso,dc=example";
/// Who the host is.
pub const SERVICE: &str = "cn=claimsmith,ou=services,dc=contoso,dc=example";
/// The host's password.
pub const SERVICE_PASSWORD: &str = "planted-service-9c41";
/// Ada's name and password.
pub const ADA: &str = "uid=ada,ou=people,dc=contoso,dc=example";
/// Ada's password.
pub const ADA_PASSWORD: &str = "correct horse battery staple";
/// How many entries `ou=bulk` has.
pub const BULK: usize = 250;

const PROGRAM: &str = "/usr/sbin/slapd";

/// The people, groups and odd entries that there are, beside `ou=bulk`.
const ENTRIES: &str = include_str!("slapd.ldif");

/// A running slapd; killed when dropped.
#[derive(Debug)]
pub struct Slapd {
    /// Where it speaks LDAP, with `StartTLS`.
    pub ldap: SocketAddr,
    /// Where it speaks LDAPS.
    pub ldaps: SocketAddr,
    directory: TempDir,
    child: Child,
}

impl Slapd {
    /// Starts it with a certificate of its own authority, which nobody else knows.
    #[must_use]
    pub fn start() -> Self {
        Self::begin(&Authority::new(), "localhost", "")
    }

    /// The same with more entries (LDIF, beginning with an empty line).
    #[must_use]
    pub fn start_with_entries(entries: &str) -> Self {
        Self::begin(&Authority::new(), "localhost", entries)
    }

    /// Starts it with a certificate of an authority for a name.
    #[must_use]
    pub fn start_with(authority: &Authority, name: &str) -> Self {
        Self::begin(authority, name, "")
    }

    fn begin(authority: &Authority, name: &str, entries: &str) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: apt-get install slapd"
        );
        let directory = TempDir::new().unwrap();
        write_files(directory.path(), authority, name, entries);
        let loaded = Command::new(PROGRAM)
            .args(["-T", "add", "-f", "slapd.conf", "-l", "entries.ldif"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&loaded.stderr);
        assert!(loaded.status.success(), "slapadd: {errors}");
        let (ldap, ldaps) = (free_address(), free_address());
        let child = run(directory.path(), ldap, ldaps);
        let mut slapd = Self {
            ldap,
            ldaps,
            directory,
            child,
        };
        slapd.wait();
        slapd
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        let _had_ended = self.child.kill().is_err();
        self.child.wait().unwrap();
    }

    /// Starts it again, in the same place with the same entries.
    pub fn start_again(&mut self) {
        self.child = run(self.directory.path(), self.ldap, self.ldaps);
        self.wait();
    }

    /// Has it do nothing: connections are made, and nothing is answered.
    pub fn pause(&self) {
        signals::pause(self.child.id());
    }

    /// Has it go on.
    pub fn resume(&self) {
        signals::resume(self.child.id());
    }

    /// What it has said, which holds each operation.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// How many connections there have been, but for those of the test.
    #[must_use]
    pub fn connections(&self) -> usize {
        // Whoever only connects, to see whether it is there, sends nothing.
        let log = self.log();
        let of_operations = log.lines().filter_map(|line| line.split_once(" op=0 "));
        let mut connections: Vec<_> = of_operations
            .filter_map(|(before, _)| before.split("conn=").nth(1))
            .collect();
        connections.sort_unstable();
        connections.dedup();
        connections.len()
    }

    fn wait(&mut self) {
        let until = Instant::now() + Duration::from_secs(30);
        for address in [self.ldap, self.ldaps] {
            while TcpStream::connect(address).is_err() {
                let ended = self.child.try_wait().unwrap();
                assert!(
                    ended.is_none() && Instant::now() < until,
                    "slapd does not listen: {}",
                    self.log()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _had_ended = self.child.kill().is_err();
        let _unknown = self.child.wait().is_err();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn run(directory: &Path, ldap: SocketAddr, ldaps: SocketAddr) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .unwrap();
    // With `-d` it stays in the foreground and says what it does.
    Command::new(PROGRAM)
        .args(["-d", "stats", "-f", "slapd.conf", "-h"])
        .arg(format!("ldap://{ldap}/ ldaps://{ldaps}/"))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn write_files(directory: &Path, authority: &Authority, name: &str, more_entries: &str) {
    let identity = authority.issue(name);
    let write = |file: &str, text: &str| fs::write(directory.join(file), text).unwrap();
    write("ca.pem", &authority.pem());
    write("certificate.pem", &identity.certificate);
    write("key.pem", &identity.key);
    fs::create_dir(directory.join("database")).unwrap();
    write(
        "slapd.conf",
        &format!(
            "include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
# For the attribute memberOf: entries say themselves what they are members of.
moduleload memberof
TLSCACertificateFile ca.pem
TLSCertificateFile certificate.pem
TLSCertificateKeyFile key.pem
database mdb
suffix \"{BASE}\"
directory database
maxsize 16777216
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact=\"{SERVICE}\" read by * none
"
        ),
    );
    let mut entries = format!("{ENTRIES}{more_entries}");
    for number in 0..BULK {
        writeln!(
            entries,
            "\ndn: uid=bulk-{number:03},ou=bulk,{BASE}\nobjectClass: inetOrgPerson\nuid: bulk-{number:03}\ncn: Bulk\nsn: {}",
            "x".repeat(200)
        )
        .unwrap();
    }
    write("entries.ldif", &entries);
}
