//! Which certificate of a hub is taken.
//!
//! TLS 1.2 and 1.3 by rustls with ring. There is no way through here that accepts whatever comes.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_rustls::TlsConnector;

use super::UplinkError;

/// The largest CA file that is read, in bytes. The bundle of all public authorities is a fifth of it.
pub const MAX_CA_FILE_BYTES: u64 = 1 << 20;

/// TLS sessions that are kept to be resumed: there is one hub.
const SESSIONS: usize = 4;

/// How to know the hub's certificate. Its name and its dates count either way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// By the public authorities.
    Public,
    /// By the certificates in this PEM file: authorities, or the hub's own self-signed certificate.
    CaFile(PathBuf),
}

pub(super) fn connector(trust: &Trust) -> Result<TlsConnector, UplinkError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| UplinkError::Tls(Box::new(error)))?;
    let mut config = match trust {
        Trust::Public => {
            let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::CaFile(path) => {
            let verifier = Arc::new(OwnAuthorities::read(path, &provider)?);
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
    };
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The authorities of a file, one of which may be the hub's own certificate.
#[derive(Debug)]
struct OwnAuthorities {
    listed: Vec<CertificateDer<'static>>,
    webpki: Arc<WebPkiServerVerifier>,
}

impl OwnAuthorities {
    fn read(path: &Path, provider: &Arc<CryptoProvider>) -> Result<Self, UplinkError> {
        let wrong = |why: String| UplinkError::CaFile { path: path.to_owned(), why };
        let mut pem = Vec::new();
        let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        file.take(MAX_CA_FILE_BYTES + 1).read_to_end(&mut pem).map_err(|error| wrong(error.to_string()))?;
        if pem.len() as u64 > MAX_CA_FILE_BYTES {
            return Err(wrong(format!("larger than {MAX_CA_FILE_BYTES} bytes")));
        }
        let listed = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
        let listed = listed.map_err(|error| wrong(format!("malformed PEM: {error}")))?;
        let mut roots = RootCertStore::empty();
        for certificate in &listed {
            let added = roots.add(certificate.clone());
            added.map_err(|error| wrong(format!("not usable as an authority: {error}")))?;
        }
        if roots.is_empty() {
            return Err(wrong("no certificate in it".to_owned()));
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        Ok(Self { listed, webpki: webpki.map_err(|error| wrong(error.to_string()))? })
    }
}

/// Says whether the only thing wrong is that an authority serves with its own certificate, which is what
/// `openssl req -x509` makes. webpki looks at the dates before it says so.
fn is_authority_itself(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(why)) if why.to_string() == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for OwnAuthorities {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.webpki.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(error) if is_authority_itself(&error) && self.listed.iter().any(|listed| listed == certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

/// Says what a failed handshake means.
pub(super) fn judge(error: io::Error) -> UplinkError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        // That an authority serves with its own certificate is taken where it is listed: here it is one that nobody knows.
        Some(inner) if is_authority_itself(inner) => {
            UplinkError::Tls(Box::new(Error::InvalidCertificate(CertificateError::UnknownIssuer)))
        }
        Some(inner) => UplinkError::Tls(Box::new(inner.clone())),
        None => UplinkError::Lost { why: Box::new(error) },
    }
}
