//! TLS from certificate files, read again when they change. Connections that are open keep what they began with.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::hub::config::TlsFiles;
use crate::hub::problem::Chain;

/// Between two looks at the files.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// For a handshake.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no such thing.
    #[error("{} holds no {what} in PEM", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// Everybody may read the private key.
    #[error("{} is a private key that everybody can read", path.display())]
    Open {
        /// Which.
        path: PathBuf,
    },
    /// Certificate and key do not go together, or one of them is not served here.
    #[error("certificate and private key cannot be used together")]
    Pair(#[source] rustls::Error),
}

impl TlsError {
    /// Returns the way out, where there is a plain one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { path } => Some(format!("chmod 600 {}", path.display())),
            Self::Pair(_) => {
                Some("tls_cert must be the chain whose first certificate is the one of tls_key".to_owned())
            }
            Self::Read { .. } | Self::Content { .. } => None,
        }
    }
}

/// What serves now.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

/// What a file looked like: another look means another content.
type Look = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads the files for the first time.
    pub(super) fn open(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self { files: files.clone(), current: ArcSwap::new(load(files)?) })
    }

    /// What the next connection is served with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again whenever they change; keeps what there is as long as they cannot be used. Never ends.
    pub(super) async fn follow(&self) {
        // What changed between the first reading and this look is read once more: no harm.
        let mut seen: Option<Look> = None;
        loop {
            let look = look(&self.files);
            if seen.is_none_or(|seen| seen != look) {
                match load(&self.files) {
                    Ok(config) => {
                        self.current.store(config);
                        if seen.is_some() {
                            tracing::info!(cert = %self.files.cert.display(), "the certificate was changed");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(error = %Chain(&error), "the new certificate cannot be used: the old one serves on");
                    }
                }
                seen = Some(look);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn look(files: &TlsFiles) -> Look {
    [&files.cert, &files.key].map(|path| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    })
}

/// Reads certificate and key, and checks that they go together.
pub(super) fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&files.cert)?)
        .collect::<Result<_, _>>()
        .map_err(|_| TlsError::Content { path: files.cert.clone(), what: "certificate" })?;
    if chain.is_empty() {
        return Err(TlsError::Content { path: files.cert.clone(), what: "certificate" });
    }
    private(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&zeroize::Zeroizing::new(read(&files.key)?))
        .map_err(|_| TlsError::Content { path: files.key.clone(), what: "private key" })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        builder.map_err(TlsError::Pair)?.with_no_client_auth().with_single_cert(chain, key).map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// A group of its own may read a key (as certbot's do), the world may not.
#[cfg(unix)]
fn private(path: &Path) -> Result<(), TlsError> {
    use std::os::unix::fs::PermissionsExt as _;
    let metadata = fs::metadata(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })?;
    let world = metadata.permissions().mode() % 0o10;
    if world == 0 { Ok(()) } else { Err(TlsError::Open { path: path.to_owned() }) }
}

#[cfg(not(unix))]
fn private(_path: &Path) -> Result<(), TlsError> {
    Ok(())
}
