//! The certificate of api-ssl: given, or made at every start.

use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use ring::digest::{SHA256, digest};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

/// Why api-ssl cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file has no usable certificate or key.
    #[error("{path}: no certificate and key in PEM")]
    File {
        /// Which file.
        path: String,
        /// What the reader says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate")]
    Make(#[from] rcgen::Error),
    /// Certificate and key do not fit.
    #[error("certificate and key cannot be used")]
    Use(#[from] rustls::Error),
}

/// What api-ssl shows, and the fingerprint a client can pin.
pub(super) struct Identity {
    pub(super) acceptor: TlsAcceptor,
    /// SHA-256 of the certificate.
    pub(super) fingerprint: [u8; 32],
}

/// Reads the certificate from a PEM file, or makes one for this start.
///
/// # Errors
/// [`TlsError`] if there is none to be had.
pub(super) fn identity(file: Option<&Path>, name: &str) -> Result<Identity, TlsError> {
    let (chain, key) = match file {
        Some(path) => from_file(path)?,
        None => made(name)?,
    };
    let end_entity = chain.first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let mut fingerprint = [0_u8; 32];
    fingerprint.copy_from_slice(digest(&SHA256, end_entity).as_ref());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Identity { acceptor: TlsAcceptor::from(Arc::new(config)), fingerprint })
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn from_file(path: &Path) -> Result<ChainAndKey, TlsError> {
    let failed = |source| TlsError::File { path: path.display().to_string(), source };
    let chain = CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let key = PrivateKeyDer::from_pem_file(path).map_err(failed)?;
    Ok((chain, key))
}

fn made(name: &str) -> Result<ChainAndKey, TlsError> {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), name.to_owned()];
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    Ok((vec![cert.der().clone()], key.into()))
}
