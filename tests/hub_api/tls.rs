//! TLS: served from files, changed without a connection noticing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::PATIENCE;
use crate::fake::Fake;
use crate::running::Running;

/// Makes a certificate and writes both files; returns the certificate.
fn make(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["hub.test".to_owned()]).unwrap();
    let key = folder.join("key.pem");
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    made.cert.der().clone()
}

async fn connect(running: &Running, trusted: &CertificateDer<'static>) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(running.address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("hub.test").unwrap(), stream).await
}

async fn health(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: hub.test\r\n\r\n").await.unwrap();
    let mut head = [0; 15];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap().unwrap();
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    // The rest of a short answer comes with its beginning; what is left is not looked at.
    let _rest = stream.read(&mut [0; 4096]).await.unwrap();
}

#[tokio::test]
async fn a_changed_certificate_is_served_to_the_next_and_kept_from_none() {
    let folder = tempfile::tempdir().unwrap();
    let first = make(folder.path());
    let files = ["cert", "key"].map(|name| folder.path().join(format!("{name}.pem")));
    let settings = format!("tls_cert = {:?}\ntls_key = {:?}", files[0], files[1]);
    let running = Running::start(&settings, Arc::new(Fake::default())).await;
    let mut old = connect(&running, &first).await.unwrap();
    health(&mut old).await;

    // A certificate that does not go with the key changes nothing.
    fs::write(&files[0], "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    health(&mut connect(&running, &first).await.unwrap()).await;

    let second = make(folder.path());
    let deadline = Instant::now() + PATIENCE;
    let mut new = loop {
        match connect(&running, &second).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "the new certificate is not served: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    health(&mut new).await;
    health(&mut old).await;
}

#[tokio::test]
async fn plaintext_and_silence_do_not_hold_a_tls_listener_up() {
    let folder = tempfile::tempdir().unwrap();
    let trusted = make(folder.path());
    let files = ["cert", "key"].map(|name| folder.path().join(format!("{name}.pem")));
    let settings = format!("tls_cert = {:?}\ntls_key = {:?}", files[0], files[1]);
    let running = Running::start(&settings, Arc::new(Fake::default())).await;
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut plain = TcpStream::connect(running.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    health(&mut connect(&running, &trusted).await.unwrap()).await;
    let mut bytes = Vec::new();
    let _reset =
        tokio::time::timeout(PATIENCE, plain.read_to_end(&mut bytes)).await.expect("plaintext is still connected");
    assert!(!bytes.starts_with(b"HTTP"));
    tokio::time::timeout(PATIENCE, silent.read(&mut [0])).await.expect("silence is still connected").unwrap();
}

#[test]
fn a_key_that_everybody_reads_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    fs::set_permissions(folder.path().join("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    let files = ["cert", "key"].map(|name| folder.path().join(format!("{name}.pem")));
    let text = format!("tls_cert = {:?}\ntls_key = {:?}\nlisten = \"127.0.0.1:0\"", files[0], files[1]);
    let config = sitepeer::hub::config::HubConfig::parse(&text, Path::new("test.toml")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(sitepeer::hub::server::check(&config)).unwrap_err();
    assert!(error.hint().unwrap().starts_with("chmod 600"), "{error}");
}
