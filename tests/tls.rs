//! Listeners in TLS: who may connect, and what is shown to whom.

use std::net::SocketAddr;
use std::time::Duration;

use lepus::server::{TlsOptions, TlsVersion};
use lepus::{Server, ServerBuilder};
use rcgen::{CertificateParams, KeyPair};
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::common::http::{Http, fetch};
use crate::common::papers::{Papers, connect_tls};
use crate::common::raw::Raw;
use crate::common::{ChannelExt, Client, builder, options_of, within};

/// The first octet of the answer to a protocol header: 1 is a method frame, connection.start. `None`: the connection
/// ended.
async fn first_octet(client: &TlsConnector, address: SocketAddr) -> Option<u8> {
    let mut stream = connect_tls(client, "localhost", address).await.ok()?;
    stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
    stream.read_u8().await.ok()
}

/// FEATURES 5.9.
#[tokio::test]
async fn a_client_works_in_tls() {
    let papers = Papers::new();
    let server = builder().amqps("127.0.0.1:0").tls(papers.options.clone()).start().await.unwrap();
    let address = papers.plug(papers.client(), server.amqps_addrs()[0]).await;
    let client = Client::open(&format!("amqp://guest:guest@{address}/%2f")).await.unwrap();
    let queue = client.queue("burrow").await;
    let bodies: Vec<Vec<u8>> = [1, 100, 10_000, 1_000_000].map(|length| vec![length as u8; length]).into();
    for body in &bodies {
        client.publish("", &queue, body).await;
    }
    for body in &bodies {
        assert!(client.get(&queue).await.unwrap().delivery.data == *body, "a body of {} bytes", body.len());
    }
    client.close().await;
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
        assert_eq!(within(first_octet(&papers.client(), address)).await, answer);
        assert_eq!(within(first_octet(&papers.client_named("hare"), address)).await, Some(1));
        let strangers = Papers::new();
        assert_eq!(within(first_octet(&strangers.client_named("hare"), address)).await, None);
        server.shutdown().await;
    }
}

/// FEATURES 5.9: by `rabbitmq.conf`, too, `verify_peer` alone lets clients without a certificate in, as in RabbitMQ.
#[tokio::test]
async fn verify_peer_alone_asks_and_does_not_insist() {
    let papers = Papers::new();
    let paths = [&papers.options.certificates, &papers.options.key, papers.options.authorities.as_ref().unwrap()];
    let [certificate, key, authorities] = paths.map(|path| path.display().to_string());
    let files = format!(
        "ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\nssl_options.cacertfile = {authorities}\n"
    );
    let strangers = Papers::new();
    for (settings, without, of_a_stranger) in [
        ("", Some(1), Some(1)),
        ("ssl_options.verify = verify_none\n", Some(1), Some(1)),
        ("ssl_options.verify = verify_peer\n", Some(1), None),
        ("ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n", Some(1), None),
        ("ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n", None, None),
    ] {
        let server = configured(&(files.clone() + settings)).start().await.unwrap();
        let address = server.amqps_addrs()[0];
        assert_eq!(within(first_octet(&papers.client(), address)).await, without, "{settings}");
        assert_eq!(within(first_octet(&papers.client_named("hare"), address)).await, Some(1), "{settings}");
        let stranger = within(first_octet(&strangers_with_our_trust(&papers, &strangers), address)).await;
        assert_eq!(stranger, of_a_stranger, "{settings}");
        server.shutdown().await;
    }
    // Nobody is asked, and everybody without is refused: that cannot be meant.
    let contradiction = files + "ssl_options.fail_if_no_peer_cert = true\n";
    let error = configured(&contradiction).start().await.unwrap_err().to_string();
    assert!(error.contains("fail_if_no_peer_cert needs verify_peer"), "{error}");
}

/// A listener in TLS as this `rabbitmq.conf` has it.
fn configured(text: &str) -> ServerBuilder {
    let mut options = options_of(text);
    options.amqps = vec!["127.0.0.1:0".into()];
    Server::with_options(options)
}

/// A client that shows a certificate of strangers to a server that it trusts.
fn strangers_with_our_trust(papers: &Papers, strangers: &Papers) -> TlsConnector {
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new([]).unwrap().signed_by(&key, &strangers.authority).unwrap();
    papers.client_with(Some((vec![signed.der().clone()], &key)), rustls::ALL_VERSIONS)
}

/// `ssl_options.depth`: FEATURES 4.6.
#[tokio::test]
async fn a_clients_authority_is_not_too_far() {
    let papers = Papers::new();
    for (depth, answer) in [(Some(0), None), (Some(1), Some(1)), (None, Some(1))] {
        let options = TlsOptions { verify_peer: true, depth, ..papers.options.clone() };
        let server = builder().amqps("127.0.0.1:0").tls(options).start().await.unwrap();
        let address = server.amqps_addrs()[0];
        assert_eq!(within(first_octet(&papers.client_at_second_hand(), address)).await, answer, "{depth:?}");
        assert_eq!(within(first_octet(&papers.client_named("hare"), address)).await, Some(1));
        server.shutdown().await;
    }
}

/// `ssl_options.versions`, `.ciphers`: FEATURES 4.6, 5.9.
#[tokio::test]
async fn versions_and_ciphers_can_be_chosen() {
    let papers = Papers::new();
    let clients = [&TLS12, &TLS13].map(|version| papers.client_with(None, &[version]));
    for (versions, answers) in [
        (vec![], [Some(1), Some(1)]),
        (vec![TlsVersion::V1_2], [Some(1), None]),
        (vec![TlsVersion::V1_3], [None, Some(1)]),
    ] {
        let options = TlsOptions { versions, ..papers.options.clone() };
        let server = builder().amqps("127.0.0.1:0").tls(options).start().await.unwrap();
        for (client, answer) in clients.iter().zip(answers) {
            assert_eq!(within(first_octet(client, server.amqps_addrs()[0])).await, answer);
        }
        server.shutdown().await;
    }
    let ciphers = vec!["ECDHE-ECDSA-CHACHA20-POLY1305".to_owned()];
    let options = TlsOptions { ciphers, versions: vec![TlsVersion::V1_2], ..papers.options.clone() };
    let server = builder().amqps("127.0.0.1:0").tls(options).start().await.unwrap();
    let stream = within(connect_tls(&papers.client(), "localhost", server.amqps_addrs()[0])).await.unwrap();
    let chosen = format!("{:?}", stream.get_ref().1.negotiated_cipher_suite().unwrap().suite());
    assert_eq!(chosen, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256");
    server.shutdown().await;
}

/// The certificate for the host that the client names (SNI).
#[tokio::test]
async fn each_host_has_its_certificate() {
    let papers = Papers::new();
    let more_certificates =
        vec![papers.issue("shop", &["shop.example", "www.shop.example"]), papers.issue("any", &["*.any.example"])];
    let options = TlsOptions { more_certificates, ..papers.options.clone() };
    let server = builder().amqps("127.0.0.1:0").tls(options).start().await.unwrap();
    let address = server.amqps_addrs()[0];
    // The client verifies that the certificate is for the host.
    for host in ["localhost", "shop.example", "www.shop.example", "a.any.example"] {
        assert!(within(connect_tls(&papers.client(), host, address)).await.is_ok(), "{host}");
    }
    for host in ["any.example", "a.b.any.example", "127.0.0.1"] {
        assert!(within(connect_tls(&papers.client(), host, address)).await.is_err(), "{host}");
    }
    server.shutdown().await;
}

/// Certificates are read again without an end of what is connected; what cannot be read changes nothing.
#[tokio::test]
async fn certificates_are_reloaded() {
    let papers = Papers::new();
    let server = builder().amqps("127.0.0.1:0").tls(papers.options.clone()).start().await.unwrap();
    let address = server.amqps_addrs()[0];
    let mut before = Raw::open_channel(papers.plug(papers.client(), address).await).await;
    papers.issue("server", &["renewed.example"]);
    server.reload_certificates();
    assert!(within(connect_tls(&papers.client(), "renewed.example", address)).await.is_ok());
    assert!(within(connect_tls(&papers.client(), "localhost", address)).await.is_err());
    before.expect_alive(1).await;
    std::fs::write(&papers.options.certificates, "nothing").unwrap();
    server.reload_certificates();
    assert!(within(connect_tls(&papers.client(), "renewed.example", address)).await.is_ok());
    server.shutdown().await;
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

/// FEATURES HS-8: the TLS handshake has a time of its own.
#[tokio::test]
async fn who_says_nothing_is_cut_off_in_time() {
    let papers = Papers::new();
    let timeout = Duration::from_millis(100);
    let server = builder().amqps("127.0.0.1:0").tls(papers.options.clone()).tls_handshake_timeout(timeout);
    let server = server.start().await.unwrap();
    let since = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(server.amqps_addrs()[0]).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() && since.elapsed() >= timeout, "{:?}", since.elapsed());
    server.shutdown().await;
}

/// FEATURES 5.9: TLS behind the header of a balancer, and what the management API shows of it.
#[tokio::test]
async fn tls_behind_the_proxy_protocol_is_shown() {
    let papers = Papers::new();
    let options = TlsOptions { verify_peer: true, ..papers.options.clone() };
    let server = builder().http("127.0.0.1:0").amqps("127.0.0.1:0").tls(options).proxy_protocol();
    let server = server.loopback_users(&[]).start().await.unwrap();
    let mut stream = TcpStream::connect(server.amqps_addrs()[0]).await.unwrap();
    stream.write_all(b"PROXY TCP4 203.0.113.7 198.51.100.1 51000 5671\r\n").await.unwrap();
    let client = papers.client_with(None, &[&TLS12]);
    let tls = client.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    let bridged = papers.bridge(tls).await;
    let _open = Raw::open(bridged).await;
    let http = Http::new(server.http_addr().unwrap(), "guest:guest");
    let shown = http.get("connections/203.0.113.7%3A51000%20-%3E%20198.51.100.1%3A5671").await.json;
    assert_eq!((shown["peer_host"].as_str(), shown["ssl"].as_bool()), (Some("203.0.113.7"), Some(true)), "{shown}");
    let words = ["ssl_protocol", "ssl_key_exchange", "ssl_cipher", "ssl_hash"].map(|key| shown[key].as_str().unwrap());
    assert_eq!(words, ["tlsv1.2", "ecdhe_ecdsa", "aes_256_gcm", "aead"]);
    assert_eq!(shown["peer_cert_subject"], "");
    server.shutdown().await;
}

/// FEATURES 4.1, 4.5: the management API and the metrics in TLS, with certificates of clients.
#[tokio::test]
async fn management_and_metrics_in_tls() {
    let papers = Papers::new();
    let options = TlsOptions { verify_peer: true, fail_if_no_peer_cert: true, ..papers.options.clone() };
    let server = builder().https("127.0.0.1:0").prometheus_https("127.0.0.1:0").tls(options).start().await.unwrap();
    let (https, metrics) = (server.https_addrs()[0], server.prometheus_https_addrs()[0]);
    assert_eq!((server.http_addrs().len(), server.prometheus_addrs().len()), (0, 0));
    let known = papers.plug(papers.client_named("hare"), https).await;
    let http = Http::new(known, "guest:guest");
    let overview = http.get("overview").await;
    assert_eq!(overview.status, 200);
    let protocols: Vec<&str> =
        overview.json["listeners"].as_array().unwrap().iter().map(|own| own["protocol"].as_str().unwrap()).collect();
    assert_eq!(protocols, ["amqp", "https", "https/prometheus"]);
    let scraped = fetch(papers.plug(papers.client_named("hare"), metrics).await, "GET", "/metrics").await;
    assert!(scraped.text.contains("rabbitmq_connections"), "{}", scraped.text);
    for address in [https, metrics] {
        let mut stranger = connect_tls(&papers.client(), "localhost", address).await.unwrap();
        let _ = stranger.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let mut answer = Vec::new();
        let _ = within(stranger.read_to_end(&mut answer)).await;
        assert!(answer.is_empty());
    }
    within(server.shutdown()).await;
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
    let (_, other_key) = papers.issue("other", &["localhost"]);
    let unlike = TlsOptions { key: other_key, ..papers.options.clone() };
    assert!(start(Some(unlike)).await.contains("certificate.pem for TLS: "));
    let locked = papers.directory.join("locked.pem");
    std::fs::write(&locked, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let error = start(Some(TlsOptions { key: locked, ..papers.options.clone() })).await;
    assert!(error.ends_with("the key is protected by a password: give a file without one"), "{error}");
    let weak = TlsOptions { ciphers: vec!["RC4-MD5".into()], ..papers.options.clone() };
    assert!(start(Some(weak)).await.contains("there is no cipher suite RC4-MD5; there are TLS_AES_256_GCM_SHA384"));
}
