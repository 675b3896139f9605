//! Certificates for tests: an authority, what it has signed, the files a server reads them from, and plugs, through which
//! clients that know nothing of TLS speak it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use lepus::server::TlsOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// See the module's documentation.
pub(crate) struct Papers {
    pub(crate) authority: CertifiedIssuer<'static, KeyPair>,
    pub(crate) directory: PathBuf,
    /// With a certificate for `localhost`.
    pub(crate) options: TlsOptions,
    plugs: Mutex<JoinSet<()>>,
}

impl Papers {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = std::env::temp_dir().join(format!("lepus-tls-{:x}", rand::random::<u64>()));
        std::fs::create_dir(&directory).unwrap();
        let mut papers = Self { authority, directory, options: TlsOptions::default(), plugs: Mutex::default() };
        let (certificates, key) = papers.issue("server", &["localhost"]);
        let authorities = papers.directory.join("authority.pem");
        std::fs::write(&authorities, papers.authority.pem()).unwrap();
        papers.options = TlsOptions { certificates, key, authorities: Some(authorities), ..TlsOptions::default() };
        papers
    }

    /// Files of a certificate for these hosts and its key; of a name that was issued before they are written over.
    pub(crate) fn issue(&self, name: &str, hosts: &[&str]) -> (PathBuf, PathBuf) {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &self.authority).unwrap();
        let file = |kind: &str, pem: &str| {
            let path = self.directory.join(format!("{name}-{kind}.pem"));
            std::fs::write(&path, pem).unwrap();
            path
        };
        (file("certificate", &certificate.pem()), file("key", &key.serialize_pem()))
    }

    /// A client that trusts the authority and shows nothing.
    pub(crate) fn client(&self) -> TlsConnector {
        self.client_with(None, rustls::ALL_VERSIONS)
    }

    /// A client that shows a certificate of this common name, of the organization `Field`.
    pub(crate) fn client_named(&self, name: &str) -> TlsConnector {
        let key = KeyPair::generate().unwrap();
        let signed = named(name).signed_by(&key, &self.authority).unwrap();
        self.client_with(Some((vec![signed.der().clone()], &key)), rustls::ALL_VERSIONS)
    }

    /// The same, with a certificate of somebody else between its own and the authority's.
    pub(crate) fn client_at_second_hand(&self) -> TlsConnector {
        let mut params = named("between");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let (between_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let between = params.signed_by(&between_key, &self.authority).unwrap();
        let issuer = rcgen::Issuer::from_params(&params, &between_key);
        let signed = named("hare").signed_by(&key, &issuer).unwrap();
        self.client_with(Some((vec![signed.der().clone(), between.der().clone()], &key)), rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_with(
        &self,
        shown: Option<(Vec<CertificateDer<'static>>, &KeyPair)>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap()
            }
        };
        TlsConnector::from(Arc::new(config))
    }
}

impl Papers {
    /// Where clients without TLS reach `target`.
    pub(crate) async fn plug(&self, client: TlsConnector, target: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.plugs.lock().unwrap().spawn(async move {
            let mut plugged = JoinSet::new();
            while let Ok((mut plain, _)) = listener.accept().await {
                let client = client.clone();
                plugged.spawn(async move {
                    if let Ok(mut stream) = connect_tls(&client, "localhost", target).await {
                        let _ = copy_bidirectional(&mut plain, &mut stream).await;
                    }
                });
            }
        });
        address
    }

    /// Where the one client without TLS connects that is to speak over this stream.
    pub(crate) async fn bridge(&self, mut stream: TlsStream<TcpStream>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        self.plugs.lock().unwrap().spawn(async move {
            let (mut plain, _) = listener.accept().await.unwrap();
            let _ = copy_bidirectional(&mut plain, &mut stream).await;
        });
        address
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "Field");
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    params
}

impl Drop for Papers {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Connects to a host at this address.
pub(crate) async fn connect_tls(
    client: &TlsConnector,
    host: &'static str,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from(host).unwrap(), stream).await
}
