//! AMQP in TLS. A client that knows nothing of TLS goes through a plug in the test, which does.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use lepus::server::TlsOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::{ChannelExt, Client, builder, within};

/// An authority, what it has signed, and the files a server reads them from.
struct Papers {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
    options: TlsOptions,
}

impl Papers {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = std::env::temp_dir().join(format!("lepus-tls-{:x}", rand::random::<u64>()));
        std::fs::create_dir(&directory).unwrap();
        let file = |name: &str, pem: &str| {
            let path = directory.join(name);
            std::fs::write(&path, pem).unwrap();
            path
        };
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let options = TlsOptions {
            certificates: file("certificate.pem", &certificate.pem()),
            key: file("key.pem", &key.serialize_pem()),
            authorities: Some(file("authority.pem", &authority.pem())),
            ..TlsOptions::default()
        };
        Self { authority, directory, options }
    }

    /// A client that trusts the authority, and shows a certificate of its own if it has one.
    fn client(&self, shows_certificate: bool) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = if shows_certificate {
            let key = KeyPair::generate().unwrap();
            let signed = CertificateParams::new(["hare".to_owned()]).unwrap().signed_by(&key, &self.authority).unwrap();
            let chain: Vec<CertificateDer<'static>> = vec![signed.der().clone()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        TlsConnector::from(Arc::new(config))
    }
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

async fn connect_tls(client: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from("localhost").unwrap(), stream).await
}

/// The first octet of the answer to a protocol header: 1 is a method frame, connection.start. `None`: the connection
/// ended.
async fn first_octet(client: &TlsConnector, address: SocketAddr) -> Option<u8> {
    let mut stream = connect_tls(client, address).await.ok()?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
    stream.read_u8().await.ok()
}

/// FEATURES 5.9.
#[tokio::test]
async fn a_client_works_in_tls() {
    let papers = Papers::new();
    let server = builder().amqps("127.0.0.1:0").tls(papers.options.clone()).start().await.unwrap();
    let target = server.amqps_addrs()[0];
    let plug = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plug_addr = plug.local_addr().unwrap();
    let tls = papers.client(false);
    let plugged = async {
        let (mut plain, _) = plug.accept().await.unwrap();
        let mut stream = connect_tls(&tls, target).await.unwrap();
        let _ = copy_bidirectional(&mut plain, &mut stream).await;
    };
    let work = async {
        let uri = format!("amqp://guest:guest@{plug_addr}/%2f");
        let client = Client::open(&uri).await.unwrap();
        let queue = client.queue("burrow").await;
        let bodies: Vec<Vec<u8>> = [1, 100, 10_000, 1_000_000].map(|length| vec![length as u8; length]).into();
        for body in &bodies {
            client.publish("", &queue, body).await;
        }
        for body in &bodies {
            assert!(client.get(&queue).await.unwrap().delivery.data == *body, "a body of {} bytes", body.len());
        }
        client.close().await;
    };
    tokio::join!(plugged, work);
    server.shutdown().await;
}

/// FEATURES 5.9: fail_if_no_peer_cert, and without it.
#[tokio::test]
async fn clients_without_a_certificate_are_refused_if_one_is_asked_for() {
    let papers = Papers::new();
    for (fail_if_no_peer_cert, answer) in [(true, None), (false, Some(1))] {
        let options = TlsOptions { verify_peer: true, fail_if_no_peer_cert, ..papers.options.clone() };
        let server = builder().amqps("127.0.0.1:0").tls(options).start().await.unwrap();
        let address = server.amqps_addrs()[0];
        assert_eq!(within(first_octet(&papers.client(false), address)).await, answer);
        assert_eq!(within(first_octet(&papers.client(true), address)).await, Some(1));
        let strangers = Papers::new();
        assert_eq!(within(first_octet(&strangers.client(true), address)).await, None);
        server.shutdown().await;
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_cut_off() {
    let papers = Papers::new();
    let server = builder().amqps("127.0.0.1:0").tls(papers.options.clone()).start().await.unwrap();
    let mut stream = TcpStream::connect(server.amqps_addrs()[0]).await.unwrap();
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.unwrap();
    let mut answer = Vec::new();
    // An alert, or nothing, and then the end.
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.first() != Some(&1), "{answer:?}");
    server.shutdown().await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let papers = Papers::new();
    let start = |tls: Option<TlsOptions>| async {
        let mut server = builder().amqps("127.0.0.1:0");
        if let Some(tls) = tls {
            server = server.tls(tls);
        }
        server.start().await.unwrap_err().to_string()
    };
    assert!(start(None).await.starts_with("nothing says which certificate to show"));
    let no_key = TlsOptions { key: "/nowhere.pem".into(), ..papers.options.clone() };
    assert!(start(Some(no_key)).await.starts_with("cannot use /nowhere.pem for TLS: "));
    let swapped = TlsOptions { certificates: papers.options.key.clone(), ..papers.options.clone() };
    let error = start(Some(swapped)).await;
    assert!(error.ends_with("key.pem for TLS: there is no certificate in it"), "{error}");
    let nobody = TlsOptions { verify_peer: true, authorities: None, ..papers.options.clone() };
    assert!(start(Some(nobody)).await.starts_with("verify_peer needs"));
}
