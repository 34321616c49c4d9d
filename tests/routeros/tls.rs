//! Which certificates are taken, and what is said of the others. Nothing of the login goes to a router that is not known.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    version::{TLS12, TLS13},
};
use sitepeer::routeros::{
    Access, Client, ConnectError, connect,
    target::{FailureClass, Step},
    tls::{CertificatePin, FirstSeen, InvalidPin, TlsError, Trust},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fake::{Fake, accept, listen};

/// sha256sum of `certificates/v1-expired.pem` as DER, reckoned with openssl and coreutils.
const V1_EXPIRED: &str = "sha256:1f7db2a44671d2d28f913f7f68b37f7a0130b72ada04ce73e5cdb1691576462c";
const SIGNED: &str = "sha256:bf7cfee8dc0de41b48213286670bd8c44e44eacb02e465f6cf2f5de327456ce1";

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "routeros", "certificates", name].iter().collect()
}

fn pin(text: &str) -> Trust {
    Trust::Pin(text.parse().unwrap())
}

/// Serves TLS with a certificate that RouterOS might have, and says what it heard over it.
async fn serve(
    listener: &TcpListener,
    certificate: &str,
    version: &'static SupportedProtocolVersion,
) -> Option<String> {
    let chain = vec![CertificateDer::from_pem_file(file(certificate)).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("router.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth();
    // rustls itself will not load a version 1 certificate beside its key.
    let signer = ring::sign::any_supported_type(&key).unwrap();
    let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, signer));
    let config = config.with_cert_resolver(Arc::new(Always(certified)));
    let (socket, _) = listener.accept().await.unwrap();
    let stream = TlsAcceptor::from(Arc::new(config)).accept(socket).await.ok()?;
    let mut router = Fake::new(stream);
    let login = router.hear().await?;
    let tag = format!(".tag={}", std::str::from_utf8(login.tag().unwrap()).unwrap());
    router.say(&["!done", &tag]).await;
    // Until the client closes.
    while router.hear().await.is_some() {}
    Some(String::from_utf8(login.first().to_vec()).unwrap())
}

#[derive(Debug)]
struct Always(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Always {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }
}

async fn meet(
    certificate: &str,
    trust: Trust,
    version: &'static SupportedProtocolVersion,
) -> (Result<Client, ConnectError>, Option<String>) {
    let (listener, mut access) = listen("apis").await;
    access.trust = trust;
    // An RSA signature in a debug build on a busy machine.
    access.deadlines.tls = Duration::from_secs(20);
    meet_at(&listener, &access, certificate, version).await
}

async fn meet_at(
    listener: &TcpListener,
    access: &Access,
    certificate: &str,
    version: &'static SupportedProtocolVersion,
) -> (Result<Client, ConnectError>, Option<String>) {
    let (client, heard) = tokio::join!(
        async {
            let client = connect(access).await?;
            client.clone().close().await;
            Ok(client)
        },
        serve(listener, certificate, version)
    );
    (client, heard)
}

#[tokio::test]
async fn a_pinned_certificate_is_taken_whatever_its_version_and_dates() {
    for version in [&TLS12, &TLS13] {
        let (client, heard) = meet("v1-expired.pem", pin(V1_EXPIRED), version).await;
        client.unwrap();
        assert_eq!(heard.as_deref(), Some("/login"));
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_shown_and_nothing_is_sent() {
    for version in [&TLS12, &TLS13] {
        let (client, heard) = meet("v1-expired.pem", Trust::None, version).await;
        let error = client.unwrap_err();
        let ConnectError::Tls(TlsError::UnknownCertificate { fingerprint }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(fingerprint.to_string(), V1_EXPIRED);
        assert!(error.hint().unwrap().contains(&format!("--pin {V1_EXPIRED}")));
        assert_eq!(error.class(), FailureClass::Safety);
        assert_eq!(heard, None);
    }
}

#[tokio::test]
async fn a_changed_certificate_is_shown_beside_the_expected_one() {
    let (client, heard) = meet("signed.pem", pin(V1_EXPIRED), &TLS13).await;
    let error = client.unwrap_err();
    let ConnectError::Tls(TlsError::ChangedCertificate { expected, fingerprint }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!((expected.to_string(), fingerprint.to_string()), (V1_EXPIRED.into(), SIGNED.into()));
    assert_eq!(error.class(), FailureClass::Safety);
    assert_eq!(heard, None);
}

#[tokio::test]
async fn a_ca_file_vouches_for_the_name_in_the_url_only() {
    let (client, heard) = meet("signed.pem", Trust::CaFile(file("ca.pem")), &TLS13).await;
    client.unwrap();
    assert_eq!(heard.as_deref(), Some("/login"));
    for certificate in ["signed-elsewhere.pem", "v1-expired.pem"] {
        let (client, heard) = meet(certificate, Trust::CaFile(file("ca.pem")), &TLS13).await;
        let error = client.unwrap_err();
        assert!(matches!(error, ConnectError::Tls(TlsError::UntrustedCertificate { .. })), "{certificate}: {error:?}");
        assert_eq!(error.class(), FailureClass::Safety);
        assert_eq!(heard, None);
    }
}

#[tokio::test]
async fn a_ca_file_that_is_none_is_the_users_mistake() {
    for name in ["no-such-file.pem", "router.key", "../main.rs"] {
        let (listener, mut access) = listen("apis").await;
        access.trust = Trust::CaFile(file(name));
        let error = connect(&access).await.unwrap_err();
        assert!(matches!(error, ConnectError::Tls(TlsError::CaFile { .. })), "{name}: {error:?}");
        assert_eq!(error.class(), FailureClass::Usage);
        drop(listener);
    }
}

#[tokio::test]
async fn holding_the_certificate_without_its_key_is_not_enough() {
    // The right certificate, shown by someone who has another key.
    let (listener, mut access) = listen("apis").await;
    access.trust = pin(SIGNED);
    access.deadlines.tls = Duration::from_secs(20);
    for version in [&TLS12, &TLS13] {
        let serve = async {
            let chain = vec![CertificateDer::from_pem_file(file("signed.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_file(file("other.key")).unwrap();
            let signer = ring::sign::any_supported_type(&key).unwrap();
            let certified = Arc::new(rustls::sign::CertifiedKey::new(chain, signer));
            let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(Always(certified)));
            let (socket, _) = listener.accept().await.unwrap();
            let stream = TlsAcceptor::from(Arc::new(config)).accept(socket).await.ok()?;
            Fake::new(stream).hear().await
        };
        let (client, heard) = tokio::join!(connect(&access), serve);
        let error = client.unwrap_err();
        assert!(matches!(error, ConnectError::Tls(TlsError::Protocol(_))), "{error:?}");
        assert!(heard.is_none());
    }
}

#[tokio::test]
async fn the_first_certificate_is_the_pin_of_all_that_follow() {
    let (listener, mut access) = listen("apis").await;
    access.trust = Trust::FirstSeen(FirstSeen::default());
    access.deadlines.tls = Duration::from_secs(20);
    for _ in 0..2 {
        meet_at(&listener, &access, "signed.pem", &TLS13).await.0.unwrap();
    }
    let error = meet_at(&listener, &access, "v1-expired.pem", &TLS13).await.0.unwrap_err();
    assert!(matches!(error, ConnectError::Tls(TlsError::ChangedCertificate { .. })), "{error:?}");
}

/// Answers the client hello with these bytes.
async fn answer_hello(bytes: &'static [u8], stay: bool) -> ConnectError {
    let (listener, access) = listen("apis").await;
    let server = tokio::spawn(async move {
        let mut router = accept(&listener).await;
        let mut hello = [0; 64];
        tokio::io::AsyncReadExt::read_exact(&mut router.stream, &mut hello).await.unwrap();
        router.raw(bytes).await;
        if stay {
            std::future::pending::<()>().await;
        }
    });
    let began = Instant::now();
    let error = connect(&access).await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(error.class(), FailureClass::Unreachable);
    server.abort();
    error
}

#[tokio::test]
async fn a_router_without_a_certificate_is_told_how_to_get_one() {
    // Fatal alert, handshake_failure: it has no cipher in common with who wants it authenticated.
    let error = answer_hello(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x28], true).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::NoCertificate)), "{error:?}");
    assert!(error.hint().unwrap().contains("/ip/service set api-ssl certificate="));
}

#[tokio::test]
async fn the_clear_on_the_port_of_tls_is_named() {
    for greeting in [&b"\x06!fatal\x0dnot logged in\0"[..], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let error = answer_hello(greeting, true).await;
        assert!(matches!(error, ConnectError::Tls(TlsError::NotTls)), "{error:?}");
        assert!(error.hint().unwrap().contains("api://"));
    }
}

#[tokio::test]
async fn a_connection_closed_in_the_handshake_is_named() {
    let error = answer_hello(&[], false).await;
    assert!(matches!(error, ConnectError::Tls(TlsError::Closed)), "{error:?}");
    assert!(error.hint().unwrap().contains("available-from"));
}

#[tokio::test]
async fn a_handshake_that_gets_no_answer_is_given_up() {
    let error = answer_hello(&[], true).await;
    assert!(matches!(error, ConnectError::Timeout { step: Step::Tls, .. }), "{error:?}");
}

#[test]
fn a_pin_is_read_with_and_without_colons_in_any_case() {
    let colons: Vec<_> = V1_EXPIRED.as_bytes()["sha256:".len()..].chunks(2).collect();
    let colons = colons.iter().map(|pair| std::str::from_utf8(pair).unwrap()).collect::<Vec<_>>().join(":");
    for given in [V1_EXPIRED.to_owned(), V1_EXPIRED.to_uppercase(), format!("SHA256:{}", colons.to_uppercase())] {
        assert_eq!(given.parse::<CertificatePin>().unwrap().to_string(), V1_EXPIRED);
    }
}

#[test]
fn what_is_no_pin_is_refused_by_name() {
    for (given, why) in [
        ("1f7db2a4", InvalidPin::Prefix),
        ("sha1:1f7db2a4", InvalidPin::Prefix),
        ("", InvalidPin::Prefix),
        ("sha256:1f7db2a4", InvalidPin::Length(8)),
        ("sha256:", InvalidPin::Length(0)),
        ("sha256:xyz", InvalidPin::Digit('x')),
        ("sha256:ü", InvalidPin::Digit('ü')),
    ] {
        assert_eq!(given.parse::<CertificatePin>(), Err(why), "{given}");
    }
    assert_eq!(format!("{V1_EXPIRED}00").parse::<CertificatePin>(), Err(InvalidPin::Length(66)));
}
