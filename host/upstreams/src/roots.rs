//! The authorities that the system trusts.

use std::sync::{Arc, LazyLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

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

/// The system's authorities, which all share.
pub(crate) fn system() -> Arc<RootCertStore> {
    Arc::clone(&SYSTEM.roots)
}

/// The same for clients that make a store of their own: those certificates that can be used.
pub(crate) fn system_certificates() -> &'static [CertificateDer<'static>] {
    &SYSTEM.certificates
}
