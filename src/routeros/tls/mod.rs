//! TLS to a router: which certificate is taken, and what went wrong if none was.
//!
//! TLS 1.2 and 1.3 by rustls with ring; never anonymous Diffie-Hellman (which is all that api-ssl without a certificate
//! offers, and protects against nobody who can answer in the router's place), never a fall back to the clear.

mod pin;
mod spki;
mod verify;

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    AlertDescription, ClientConfig, Error, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub use pin::{CertificatePin, InvalidPin};

use verify::{Rule, Verifier};

/// The largest CA file that is read. The bundle of all public authorities is a fifth of it.
pub const MAX_CA_FILE_BYTES: u64 = 1 << 20;

/// How to know the router's certificate.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Not at all: the handshake ends with the fingerprint.
    None,
    /// By its SHA-256. Names, dates and version are then of no account.
    Pin(CertificatePin),
    /// By the authorities in this PEM file, for the URL's host.
    CaFile(PathBuf),
    /// By meeting it first, and then only it. For measuring and tests: it does not protect the first connection.
    FirstSeen(FirstSeen),
}

/// Remembers the certificate that was met first. Clones share the memory.
#[derive(Debug, Clone, Default)]
pub struct FirstSeen(Arc<OnceLock<CertificatePin>>);

impl FirstSeen {
    /// Says whether this is the first certificate, or the same as the first.
    fn is(&self, seen: CertificatePin) -> bool {
        *self.0.get_or_init(|| seen) == seen
    }
}

/// Why there is no TLS session.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Neither pin nor CA were given.
    #[error("the router's certificate is not known: {fingerprint}")]
    UnknownCertificate {
        /// What it showed.
        fingerprint: CertificatePin,
    },
    /// Another certificate than the pinned one.
    #[error("the router shows another certificate than the pinned one: {fingerprint} instead of {expected}")]
    ChangedCertificate {
        /// The pin.
        expected: CertificatePin,
        /// What it showed.
        fingerprint: CertificatePin,
    },
    /// The authorities did not sign it, not for this name, or not for this day.
    #[error("the router's certificate {fingerprint} does not pass the CA file")]
    UntrustedCertificate {
        /// What it showed.
        fingerprint: CertificatePin,
        /// What is wrong with it.
        #[source]
        why: Error,
    },
    /// The CA file cannot be used.
    #[error("CA file {}: {why}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The service has no certificate: it offers only ciphers that authenticate nobody.
    #[error("the router's api-ssl service has no certificate")]
    NoCertificate,
    /// What answers is not TLS.
    #[error("what answers on this port is not TLS")]
    NotTls,
    /// Closed within the handshake.
    #[error("the router closed the connection during the TLS handshake")]
    Closed,
    /// The socket failed.
    #[error("the connection failed during the TLS handshake")]
    Io(#[source] io::Error),
    /// Anything else, in rustls' words.
    #[error("the TLS handshake failed")]
    Protocol(#[source] Error),
}

/// Speaks TLS over `stream`. Nothing is sent over it that the caller gives before the certificate has passed.
///
/// # Errors
/// [`TlsError`].
///
/// # Cancel safety
/// Not safe: a handshake that was dropped cannot be taken up again; drop the stream too.
pub async fn handshake<S>(stream: S, trust: &Trust, name: Option<&str>, ip: IpAddr) -> Result<TlsStream<S>, TlsError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(verifier(trust, &provider)?);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Protocol)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    // A resumed session would skip the certificate.
    config.resumption = Resumption::disabled();
    let name = name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let name = name.unwrap_or_else(|| ServerName::from(ip));
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    connected.map_err(|error| judge(error, &verifier))
}

fn verifier(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
    let rule = match trust {
        Trust::None => Rule::Nobody,
        Trust::Pin(pin) => Rule::Pin(*pin),
        Trust::FirstSeen(first) => Rule::FirstSeen(first.clone()),
        Trust::CaFile(path) => Rule::Authorities(authorities(path, provider)?),
    };
    Ok(Verifier { rule, seen: OnceLock::new(), algorithms: provider.signature_verification_algorithms })
}

/// Reads a PEM file of authorities.
fn authorities(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let wrong = |why: String| TlsError::CaFile { path: path.to_owned(), why };
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MAX_CA_FILE_BYTES + 1).read_to_end(&mut pem).map_err(|error| wrong(error.to_string()))?;
    if pem.len() as u64 > MAX_CA_FILE_BYTES {
        return Err(wrong(format!("larger than {MAX_CA_FILE_BYTES} bytes")));
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(format!("malformed PEM: {error}")))?;
        roots.add(certificate).map_err(|error| wrong(format!("not usable as an authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate in it".to_owned()));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| wrong(error.to_string()))
}

/// Says what a failed handshake means.
fn judge(error: io::Error, verifier: &Verifier) -> TlsError {
    let failure = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).cloned();
    match (failure, verifier.seen.get().copied()) {
        (Some(Error::InvalidCertificate(_)), Some(fingerprint)) => refused(error, verifier, fingerprint),
        (Some(Error::AlertReceived(AlertDescription::HandshakeFailure)), None) => TlsError::NoCertificate,
        (Some(Error::InvalidMessage(_)), None) => TlsError::NotTls,
        (Some(failure), _) => TlsError::Protocol(failure),
        (None, _) if is_closed(error.kind()) => TlsError::Closed,
        (None, _) => TlsError::Io(error),
    }
}

fn refused(error: io::Error, verifier: &Verifier, fingerprint: CertificatePin) -> TlsError {
    let why = error.into_inner().and_then(|inner| inner.downcast::<Error>().ok()).map(|inner| *inner);
    let why = why.unwrap_or(Error::HandshakeNotComplete);
    let is_ours = why == Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure);
    let expected = match &verifier.rule {
        Rule::Pin(pin) => Some(*pin),
        Rule::FirstSeen(first) => first.0.get().copied(),
        Rule::Nobody | Rule::Authorities(_) => None,
    };
    match (&verifier.rule, expected) {
        (Rule::Authorities(_), _) => TlsError::UntrustedCertificate { fingerprint, why },
        (Rule::Nobody, _) => TlsError::UnknownCertificate { fingerprint },
        (_, Some(expected)) if is_ours => TlsError::ChangedCertificate { expected, fingerprint },
        _ => TlsError::Protocol(why),
    }
}

fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}
