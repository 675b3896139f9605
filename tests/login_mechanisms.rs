//! Logging in by a certificate, or as nobody in particular (FEATURES 1.4).

use lepus::server::{LoginFrom, Mechanism, TlsOptions};
use lepus::{Server, ServerBuilder};

use crate::common::builder;
use crate::common::http::Http;
use crate::common::papers::Papers;
use crate::common::raw::{Args, Raw, id, open};

/// What connection.start offers.
async fn offered(raw: &mut Raw) -> String {
    raw.send(b"AMQP\x00\x00\x09\x01").await;
    let start = raw.expect(0, id::START).await;
    let mut fields = start.args();
    fields.short();
    fields.longstr();
    String::from_utf8(fields.longstr().to_vec()).unwrap()
}

fn with_external(papers: &Papers, login_from: LoginFrom) -> ServerBuilder {
    let options = TlsOptions { verify_peer: true, login_from, ..papers.options.clone() };
    builder().amqps("127.0.0.1:0").tls(options).mechanisms(&[Mechanism::Plain, Mechanism::External])
}

async fn start_with_hare(builder: ServerBuilder, name: &str) -> Server {
    builder.user("guest", "guest", &["administrator"]).user(name, "", &[]).start().await.unwrap()
}

fn capabilities() -> Args {
    Args::new().field("authentication_failure_close", b't', &[1])
}

/// FEATURES SA-3: the user is the subject of the certificate, and needs no password.
#[tokio::test]
async fn a_certificate_logs_in() {
    let papers = Papers::new();
    let builder = with_external(&papers, LoginFrom::DistinguishedName).http("127.0.0.1:0");
    let server = start_with_hare(builder, "CN=hare,O=Field").await;
    let address = papers.plug(papers.client_named("hare"), server.amqps_addrs()[0]).await;
    let mut raw = Raw::connect(address).await;
    assert_eq!(offered(&mut raw).await, "PLAIN EXTERNAL");
    raw.start_ok(capabilities(), b"EXTERNAL", b"").await;
    raw.expect(0, id::TUNE).await;
    raw.method(0, id::TUNE_OK, Args::new().short(10).long(8192).short(0)).await;
    raw.method(0, id::OPEN, open(b"/")).await;
    raw.expect(0, id::OPEN_OK).await;
    let shown = Http::new(server.http_addr().unwrap(), "guest:guest").get("connections").await;
    let shown = &shown.items()[0];
    assert_eq!((&shown["user"], &shown["auth_mechanism"]), (&"CN=hare,O=Field".into(), &"EXTERNAL".into()));
    assert_eq!((&shown["ssl"], &shown["ssl_protocol"]), (&true.into(), &"tlsv1.3".into()));
    assert_eq!(shown["peer_cert_subject"], "CN=hare,O=Field");
    assert!(shown["peer_cert_issuer"].as_str().unwrap().starts_with("CN=") && shown["peer_cert_validity"].is_string());
    server.shutdown().await;
}

/// FEATURES SA-3: without a certificate it is not offered, and cannot be had.
#[tokio::test]
async fn external_needs_a_certificate() {
    let papers = Papers::new();
    let server = start_with_hare(with_external(&papers, LoginFrom::CommonName), "hare").await;
    let in_tls = papers.plug(papers.client(), server.amqps_addrs()[0]).await;
    for address in [server.amqp_addr(), in_tls] {
        let mut raw = Raw::connect(address).await;
        assert_eq!(offered(&mut raw).await, "PLAIN");
        raw.start_ok(capabilities(), b"EXTERNAL", b"hare").await;
        raw.expect_end().await;
    }
    server.shutdown().await;
}

/// FEATURES SA-3, HS-9: a certificate of nobody that is known here is a refused login.
#[tokio::test]
async fn a_certificate_of_a_stranger_is_refused() {
    let papers = Papers::new();
    let server = start_with_hare(with_external(&papers, LoginFrom::CommonName), "hare").await;
    for (name, is_known) in [("hare", true), ("fox", false)] {
        let mut raw = Raw::connect(papers.plug(papers.client_named(name), server.amqps_addrs()[0]).await).await;
        offered(&mut raw).await;
        raw.start_ok(capabilities(), b"EXTERNAL", b"").await;
        if is_known {
            raw.expect(0, id::TUNE).await;
            continue;
        }
        let close = raw.expect_close().await;
        let text = "ACCESS_REFUSED - Login was refused using authentication mechanism EXTERNAL. For details see the \
                    broker logfile.";
        assert_eq!((close.code, close.text.as_str()), (403, text));
    }
    server.shutdown().await;
}

/// FEATURES SA-4: only where it is asked for.
#[tokio::test]
async fn anonymous_logs_in_as_guest() {
    let server = builder().mechanisms(&[Mechanism::Anonymous, Mechanism::AmqPlain]).start().await.unwrap();
    let mut raw = Raw::connect(server.amqp_addr()).await;
    assert_eq!(offered(&mut raw).await, "ANONYMOUS AMQPLAIN");
    raw.start_ok(capabilities(), b"ANONYMOUS", b"trace").await;
    raw.expect(0, id::TUNE).await;
    let mut plain = Raw::connect(server.amqp_addr()).await;
    offered(&mut plain).await;
    plain.start_ok(capabilities(), b"PLAIN", b"\0guest\0guest").await;
    plain.expect_end().await;
    server.shutdown().await;
}
