//! TLS to upstreams that no HTTP client speaks to: whom it trusts, and how it is made.

use std::sync::{Arc, LazyLock};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Read once in the life of the process: they are some hundred files or one large one, and every upstream without a `ca` of
/// its own trusts the same.
static SYSTEM: LazyLock<System> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "an authority that the system trusts cannot be read");
    }
    let usable = |certificate: &CertificateDer<'_>| roots.add(certificate.clone().into_owned()).is_ok();
    let certificates = found.certs.into_iter().filter(usable).collect();
    System {
        roots: Arc::new(roots),
        certificates,
    }
});

struct System {
    roots: Arc<RootCertStore>,
    certificates: Vec<CertificateDer<'static>>,
}

/// TLS that trusts the authorities of `ca`, in PEM, in place of the system's.
///
/// # Errors
/// What is wrong with `ca`, to be said after its name.
pub(crate) fn connector(ca: Option<&[u8]>) -> Result<TlsConnector, &'static str> {
    let roots = ca.map_or_else(|| Ok(Arc::clone(&SYSTEM.roots)), authorities)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| "cannot be used: the TLS client cannot be made")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(client)))
}

fn authorities(pem: &[u8]) -> Result<Arc<RootCertStore>, &'static str> {
    let mut roots = RootCertStore::empty();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let (added, ignored) = roots.add_parsable_certificates(certificates.unwrap_or_default());
    if added == 0 || ignored > 0 {
        return Err("holds no certificate in PEM, or one that is none");
    }
    Ok(Arc::new(roots))
}

/// The system's authorities for clients that make a store of their own: those certificates that can be used.
pub(crate) fn system_certificates() -> &'static [CertificateDer<'static>] {
    &SYSTEM.certificates
}
