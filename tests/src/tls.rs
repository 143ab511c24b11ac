//! An HTTPS server with an authority of its own, made anew in each test.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslAcceptor, SslAcceptorBuilder, SslMethod, SslVerifyMode};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that makes certificates.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate and its private key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = make("Test authority", &key, None, 1);
        Self { certificate, key }
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        String::from_utf8(self.certificate.to_pem().unwrap()).unwrap()
    }

    /// A certificate for a name.
    #[must_use]
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_until(name, 1)
    }

    /// A certificate for a name that has expired.
    #[must_use]
    pub fn issue_expired(&self, name: &str) -> Identity {
        self.issue_until(name, -1)
    }

    fn issue_until(&self, name: &str, days: i64) -> Identity {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = make(name, &key, Some(self), days);
        Identity {
            certificate: String::from_utf8(certificate.to_pem().unwrap()).unwrap(),
            key: String::from_utf8(key.private_key_to_pem_pkcs8().unwrap()).unwrap(),
        }
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A certificate for a name, of an authority or of itself, that ends so many days from now.
fn make(name: &str, key: &PKey<Private>, authority: Option<&Authority>, days: i64) -> X509 {
    let in_days = |days: i64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + days * 24 * 60 * 60).unwrap()
    };
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder.set_not_before(&in_days(days.min(0) - 1)).unwrap();
    builder.set_not_after(&in_days(days)).unwrap();
    builder.set_pubkey(key).unwrap();
    let signer = if let Some(authority) = authority {
        builder.set_issuer_name(authority.certificate.subject_name()).unwrap();
        let names = SubjectAlternativeName::new()
            .dns(name)
            .build(&builder.x509v3_context(Some(&authority.certificate), None))
            .unwrap();
        builder.append_extension(names).unwrap();
        &authority.key
    } else {
        builder.set_issuer_name(&subject).unwrap();
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        key
    };
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    builder.build()
}

/// The server's side of TLS, with a certificate of the authority.
pub(crate) fn acceptor(authority: &Authority, name: &str) -> SslAcceptorBuilder {
    let identity = authority.issue(name);
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
    let key = PKey::private_key_from_pem(identity.key.as_bytes()).unwrap();
    let certificate = X509::from_pem(identity.certificate.as_bytes()).unwrap();
    acceptor.set_private_key(&key).unwrap();
    acceptor.set_certificate(&certificate).unwrap();
    acceptor
}

/// The same for Tokio's streams.
pub(crate) fn server_config(authority: &Authority, name: &str) -> Arc<ServerConfig> {
    let identity = authority.issue(name);
    let certificates = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let certificates = certificates.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key);
    Arc::new(config.unwrap())
}

/// A server for `localhost` that answers every request with `{"tier":"gold"}`.
#[derive(Debug)]
pub struct TlsUpstream {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    clients: Arc<Mutex<Vec<String>>>,
}

impl TlsUpstream {
    /// Starts it with a certificate of the authority; with `clients`, only those with one of it too are served.
    #[must_use]
    pub fn start(authority: &Authority, name: &str, clients: bool) -> Self {
        let mut acceptor = acceptor(authority, name);
        if clients {
            acceptor
                .cert_store_mut()
                .add_cert(authority.certificate.clone())
                .unwrap();
            acceptor.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        let acceptor = Arc::new(acceptor.build());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            requests: Arc::default(),
            clients: Arc::default(),
        };
        let (requests, seen) = (Arc::clone(&server.requests), Arc::clone(&server.clients));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (acceptor, requests, seen) = (Arc::clone(&acceptor), Arc::clone(&requests), Arc::clone(&seen));
                std::thread::spawn(move || {
                    let mut stream = BufReader::new(acceptor.accept(stream).ok()?);
                    let client = stream.get_ref().ssl().peer_certificate();
                    let name = client.map(|client| format!("{:?}", client.subject_name()));
                    seen.lock().unwrap().extend(name);
                    let mut line = String::new();
                    while line != "\r\n" {
                        line.clear();
                        stream.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    let body = r#"{"tier":"gold"}"#;
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                        body.len()
                    );
                    stream.get_mut().write_all((head + body).as_bytes()).ok()?;
                    stream.get_mut().shutdown().ok()
                });
            }
        });
        server
    }

    /// How many requests there have been.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The subjects of the clients' certificates.
    #[must_use]
    pub fn clients(&self) -> Vec<String> {
        self.clients.lock().unwrap().clone()
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Authority")
    }
}
