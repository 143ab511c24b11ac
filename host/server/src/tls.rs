//! TLS on the callout listener: a certificate that is read again while the service runs.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use claimsmith_catalog::TlsConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;
use x509_parser::parse_x509_certificate;

/// Larger files hold no certificate.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is told of a certificate whose time is over.
const EXPIRED: &str =
    "the certificate has expired: clients will refuse it; replace the files, which are read again by themselves";

/// What handshakes are made with: the files as they were last read and found good.
#[derive(Debug)]
pub(crate) struct Tls {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
}

/// The files' content.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: zeroize::Zeroizing<Vec<u8>>,
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(crate) fn load(config: TlsConfig) -> Result<Self, String> {
        let files = Files::read(&config)?;
        let current = ArcSwap::from(files.server_config(&config)?);
        Ok(Self { config, current })
    }

    /// Makes the handshake, in the time that it may take.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        let accepted = timeout(self.config.handshake_timeout, acceptor.accept(stream)).await;
        accepted.unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the TLS handshake took too long",
            ))
        })
    }

    /// Reads the files again and again. New ones are used from the next handshake on; ones that are not good are told
    /// once, and the old ones stay.
    pub(crate) async fn tend(self: Arc<Self>) {
        let mut ticks = interval(self.config.reload_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            ticks.tick().await;
            let config = self.config.clone();
            let read = tokio::task::spawn_blocking(move || Files::read(&config)).await;
            let Ok(read) = read else { continue };
            if seen.as_ref() == Some(&read) {
                continue;
            }
            let is_first = seen.is_none();
            let made = read
                .as_ref()
                .map_err(Clone::clone)
                .and_then(|files| files.server_config(&self.config));
            match made {
                Ok(config) => {
                    self.current.store(config);
                    if !is_first {
                        tracing::info!(certificate = %self.config.certificate.display(), "a new certificate is used");
                    }
                }
                Err(error) => tracing::error!(error, "the new certificate is not used, and the old one still is"),
            }
            seen = Some(read);
        }
    }
}

/// Whether a certificate and its key can be served, and what should be known of them all the same.
///
/// # Errors
/// What is wrong with which file.
pub fn check_tls(config: &TlsConfig) -> Result<Option<String>, String> {
    let files = Files::read(config)?;
    files.server_config(config)?;
    let first = CertificateDer::pem_slice_iter(&files.certificate).next();
    let expires = first.and_then(Result::ok).and_then(|first| expiry(&first));
    let told = || format!("{}: {EXPIRED}", config.certificate.display());
    Ok(expires.is_some_and(has_passed).then(told))
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, String> {
        Ok(Self {
            certificate: read(&config.certificate)?,
            key: read(&config.key)?.into(),
        })
    }

    fn server_config(&self, config: &TlsConfig) -> Result<Arc<ServerConfig>, String> {
        let wrong = |file: &Path, expected: &str| format!("{}: {expected}", file.display());
        let not_certificates = || wrong(&config.certificate, "expected certificates in PEM");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| not_certificates())?;
        let first = chain.first().ok_or_else(not_certificates)?;
        let expires = expiry(first).ok_or_else(not_certificates)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|_| wrong(&config.key, "expected a private key in PEM, not encrypted"))?;
        let mut made = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&config.certificate, &describe(&error)))?;
        made.alpn_protocols = vec![b"http/1.1".to_vec()];
        tell_expiry(config, expires);
        Ok(Arc::new(made))
    }
}

fn describe(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the private key is another certificate's; expected a pair".to_owned(),
        other => other.to_string(),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|opened| opened.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(format!("{} cannot be read: {error}", file.display())),
    }
}

/// When a certificate ends, in seconds since 1970.
fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

fn tell_expiry(config: &TlsConfig, expires: i64) {
    #[expect(clippy::cast_precision_loss, reason = "seconds until the year 9999 are below 2^52")]
    metrics::gauge!("claimsmith_tls_certificate_expires_timestamp_seconds").set(expires as f64);
    if has_passed(expires) {
        tracing::warn!(certificate = %config.certificate.display(), "{EXPIRED}");
    }
}

/// Whether a time, in seconds since 1970, is over.
fn has_passed(time: i64) -> bool {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Duration::from_secs(u64::try_from(time).unwrap_or_default()) <= now
}
