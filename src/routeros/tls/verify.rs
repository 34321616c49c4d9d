//! Judges the router's certificate, and remembers which one it was.
//!
//! There is no way through here that accepts whatever comes: with neither pin nor CA the handshake goes just far enough to
//! learn the certificate's fingerprint, and fails.

use std::sync::{Arc, OnceLock};

use rustls::{
    DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
};

use super::{CertificatePin, FirstSeen, spki::Spki};

/// Whom to trust.
#[derive(Debug)]
pub(super) enum Rule {
    /// Nobody.
    Nobody,
    /// This certificate, whatever its names and dates.
    Pin(CertificatePin),
    /// The certificate that comes first, and then only that.
    FirstSeen(FirstSeen),
    /// What these authorities signed for this name.
    Authorities(Arc<WebPkiServerVerifier>),
}

/// A certificate verifier that remembers what it saw.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) rule: Rule,
    pub(super) seen: OnceLock<CertificatePin>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = *self.seen.get_or_init(|| CertificatePin::of(certificate));
        let is_trusted = match &self.rule {
            Rule::Nobody => false,
            Rule::Pin(pin) => *pin == seen,
            Rule::FirstSeen(first) => first.is(seen),
            Rule::Authorities(authorities) => {
                return authorities.verify_server_cert(certificate, intermediates, name, ocsp, now);
            }
        };
        if is_trusted {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = spki_of(certificate)?;
        let candidates = self.algorithms.mapping.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let is_valid = candidates.flat_map(|(_, algorithms)| algorithms.iter()).any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == spki.algorithm
                && algorithm.verify_signature(spki.key, message, signed.signature()).is_ok()
        });
        if is_valid {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(rustls::CertificateError::BadSignature.into())
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // rustls holds TLS 1.3's list of schemes against it, which leaves PKCS #1 v1.5 out.
        if !self.algorithms.supported_schemes().contains(&signed.scheme) {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let spki = SubjectPublicKeyInfoDer::from(spki_of(certificate)?.whole);
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn spki_of<'a>(certificate: &'a CertificateDer<'_>) -> Result<Spki<'a>, Error> {
    Spki::of_certificate(certificate).ok_or_else(|| rustls::CertificateError::BadEncoding.into())
}
