//! TLS by rustls: a certificate from files, and the next one when they change.
//!
//! The files are looked at rather than a signal waited for: whoever renews certificates (certbot, cert-manager, a mounted secret)
//! replaces files, and often knows no process to tell. A handshake takes the certificate of its moment, so connections that are
//! there notice nothing.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at: a renewed certificate overlaps the old one by days.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The only protocol that is spoken here.
const ALPN: &[u8] = b"http/1.1";

/// A certificate and its key; cheap to clone.
#[derive(Clone)]
pub struct Tls {
    files: Arc<Files>,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
    look_every: Duration,
}

#[derive(Debug)]
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

/// What callers are shown.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCertificate {
    /// The file that is to blame.
    pub file: PathBuf,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.why)
    }
}

impl std::error::Error for BadCertificate {}

impl Tls {
    /// Reads the files (PEM).
    pub fn load(cert: &Path, key: &Path) -> Result<Self, BadCertificate> {
        let files = Files {
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        let provider = Arc::new(ring::default_provider());
        let shown = Arc::new(Shown(ArcSwap::from_pointee(files.read(&provider)?)));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(cert, error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self {
            files: Arc::new(files),
            shown,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            look_every: LOOK_EVERY,
        })
    }

    /// The same, which looks for new files so often.
    #[must_use]
    pub fn looking_every(self, look_every: Duration) -> Self {
        Self { look_every, ..self }
    }

    /// Those with certificates of their own.
    pub(crate) fn each_once<'a>(all: impl Iterator<Item = &'a Self>) -> Vec<Self> {
        let mut once: Vec<Self> = Vec::new();
        for tls in all {
            if !once.iter().any(|other| Arc::ptr_eq(&other.shown, &tls.shown)) {
                once.push(tls.clone());
            }
        }
        once
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Takes the files anew when they have changed, until `stop`.
    pub(crate) async fn keep_fresh(self, stop: CancellationToken) {
        // As of before they were read would be better; a change in between shows in their numbers all the same, unless it
        // fell into the few milliseconds of the start.
        let mut known = self.files.stamp().await;
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.look_every) => {}
                () = stop.cancelled() => return,
            }
            let now = self.files.stamp().await;
            if now == known {
                continue;
            }
            known = now;
            let files = Arc::clone(&self.files);
            let read = tokio::task::spawn_blocking(move || files.read(&ring::default_provider())).await;
            match read {
                Ok(Ok(fresh)) => {
                    self.shown.0.store(Arc::new(fresh));
                    tracing::info!(file = %self.files.cert.display(), "a new certificate is shown from now on");
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the new certificate cannot be used; the old one is shown as before");
                }
                Err(error) => tracing::error!(%error, "the new certificate was not read"),
            }
        }
    }
}

/// When each file was written, and which it is.
type Stamp = [Option<(i64, i64, u64, u64)>; 2];

impl Files {
    fn read(&self, provider: &CryptoProvider) -> Result<CertifiedKey, BadCertificate> {
        let chain: Vec<_> = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect)
            .map_err(|error| bad(&self.cert, error))?;
        if chain.is_empty() {
            return Err(bad(&self.cert, "there is no certificate in it (PEM)"));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| bad(&self.key, error))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            Error::InconsistentKeys(_) => bad(&self.key, "is not the key of the certificate"),
            Error::InvalidCertificate(_) => bad(&self.cert, error),
            _ => bad(&self.key, error),
        })
    }

    async fn stamp(&self) -> Stamp {
        let mut stamp = [None; 2];
        for (of, file) in stamp.iter_mut().zip([&self.cert, &self.key]) {
            // What cannot be looked at is different from what could.
            if let Ok(found) = tokio::fs::metadata(file).await {
                *of = Some((found.mtime(), found.mtime_nsec(), found.ino(), found.size()));
            }
        }
        stamp
    }
}

fn bad(file: &Path, why: impl fmt::Display) -> BadCertificate {
    BadCertificate {
        file: file.to_owned(),
        why: why.to_string(),
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
