//! Which certificates of a hub are taken.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sitepeer::uplink::{Hub, HubUrl, Trust, UplinkError};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fake::{Line, json};

type Map = BTreeMap<String, u32>;

struct Served {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).unwrap()
}

fn self_signed(params: CertificateParams) -> (Served, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let pem = certificate.pem();
    (Served { certificate: certificate.into(), key }, pem)
}

fn authority(mut params: CertificateParams) -> CertificateParams {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Serves one request over TLS, and asks it with `pem` as CA file (or the public authorities) under `host`.
async fn ask(served: Served, pem: Option<&str>, host: &str) -> Result<Map, UplinkError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(served.key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![served.certificate], key)
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trust = pem.map_or(Trust::Public, |pem| {
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, pem).unwrap();
        Trust::CaFile(file)
    });
    let url: HubUrl = format!("https://{host}:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let hub = Hub::new(url, &trust, None)?;
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let Ok(stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
        let mut line = Line::new(stream);
        if line.hear().await.is_some() {
            line.say(json("{}")).await;
        }
    };
    let (got, ()) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    got
}

#[tokio::test]
async fn what_an_authority_of_the_file_signed_is_taken() {
    let issuer =
        CertifiedIssuer::self_signed(authority(params("the authority")), KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params("localhost").signed_by(&key, &issuer).unwrap();
    let pem = issuer.pem();
    ask(Served { certificate: certificate.into(), key }, Some(&pem), "localhost").await.unwrap();
}

#[tokio::test]
async fn a_self_signed_certificate_in_the_file_is_taken_whether_it_calls_itself_an_authority_or_not() {
    for params in [params("localhost"), authority(params("localhost"))] {
        let (served, pem) = self_signed(params);
        ask(served, Some(&pem), "localhost").await.unwrap();
    }
    let (served, pem) = self_signed(authority(params("127.0.0.1")));
    ask(served, Some(&pem), "127.0.0.1").await.unwrap();
}

#[tokio::test]
async fn name_and_dates_count_even_where_the_certificate_is_in_the_file() {
    for make in [|params| params, authority] {
        let (served, pem) = self_signed(make(params("elsewhere.example")));
        let error = ask(served, Some(&pem), "localhost").await.unwrap_err();
        assert!(error.hint().unwrap().contains("another name"), "{error:?}");
        let mut late = make(params("localhost"));
        late.not_after = date_time_ymd(2020, 1, 1);
        let (served, pem) = self_signed(late);
        let error = ask(served, Some(&pem), "localhost").await.unwrap_err();
        assert!(error.hint().unwrap().contains("past its time"), "{error:?}");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_refused_with_the_way_out() {
    let (other, pem) = self_signed(authority(params("localhost")));
    drop(other);
    for pem in [None, Some(pem.as_str())] {
        for make in [|params| params, authority] {
            let (served, _) = self_signed(make(params("localhost")));
            let error = ask(served, pem, "localhost").await.unwrap_err();
            assert!(matches!(error, UplinkError::Tls(_)), "{error:?}");
            assert!(error.hint().unwrap().contains("--hub-ca"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_file_without_a_certificate_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for file in [empty, PathBuf::from("/does/not/exist.pem")] {
        let url: HubUrl = "https://localhost".parse().unwrap();
        let error = Hub::new(url, &Trust::CaFile(file.clone()), None).unwrap_err();
        assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_said_to_speak_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: HubUrl = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    let hub = Hub::new(url, &Trust::Public, None).unwrap();
    let serving = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut line = Line::new(stream);
        line.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        line.closed().await;
    };
    let (got, ()) = futures_util::join!(hub.get::<Map>("/v1/x"), serving);
    let error = got.unwrap_err();
    assert!(error.hint().unwrap().contains("does not speak TLS"), "{error:?}");
}
