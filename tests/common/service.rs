//! An HTTP service that the broker asks: it answers as the test says, and remembers what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::tokens::file;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Of the query, or of the form, decoded.
    pub(crate) parameters: Vec<(String, String)>,
}

impl Asked {
    /// A parameter; empty if it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.parameters.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value)
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// 200 and this.
    Text(String),
    /// This status and text.
    Status(u16, String),
    /// 200 and this, once the test lets it go.
    Held(watch::Receiver<bool>, String),
    /// Nothing, ever.
    Never,
}

impl From<&str> for Said {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

type Handler = dyn Fn(&Asked) -> Said + Send + Sync;

#[derive(Clone)]
struct Shared {
    handler: Arc<Mutex<Arc<Handler>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// See the module's documentation. It ends when it is dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    shared: Shared,
    /// The certificate of its authority, PEM, if it speaks TLS.
    pub(crate) authority: Option<PathBuf>,
    _task: JoinSet<()>,
}

impl Service {
    pub(crate) async fn start(handler: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        Self::start_with(handler, None).await
    }

    /// For `localhost`, in TLS.
    pub(crate) async fn start_tls(handler: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let path = file(&authority.pem());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        let mut service = Self::start_with(handler, Some(TlsAcceptor::from(Arc::new(config)))).await;
        service.authority = Some(path);
        service
    }

    async fn start_with(handler: impl Fn(&Asked) -> Said + Send + Sync + 'static, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Shared { handler: Arc::new(Mutex::new(Arc::new(handler))), asked: Arc::default() };
        let mut task = JoinSet::new();
        task.spawn(accept(listener, shared.clone(), tls));
        Self { address, shared, authority: None, _task: task }
    }

    /// From now on it answers so.
    pub(crate) fn say(&self, handler: impl Fn(&Asked) -> Said + Send + Sync + 'static) {
        *self.shared.handler.lock().unwrap() = Arc::new(handler);
    }

    /// An address of it.
    pub(crate) fn url(&self, path: &str) -> String {
        match self.authority {
            Some(_) => format!("https://localhost:{}{path}", self.address.port()),
            None => format!("http://{}{path}", self.address),
        }
    }

    /// What it was asked since the last time.
    pub(crate) fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// How many times it was asked on this path.
    pub(crate) fn asked_on(&self, path: &str) -> usize {
        self.shared.asked.lock().unwrap().iter().filter(|asked| asked.path == path).count()
    }
}

async fn accept(listener: TcpListener, shared: Shared, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (shared, tls) = (shared.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => serve(stream, shared).await,
                // A client that does not trust it goes.
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Shared) {
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, shared).await) }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, shared: Shared) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let form = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let query = head.uri.query().unwrap_or(&form);
    let asked = Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        parameters: query.split('&').filter_map(|pair| pair.split_once('=')).map(decoded_pair).collect(),
    };
    let handler = shared.handler.lock().unwrap().clone();
    let said = handler(&asked);
    shared.asked.lock().unwrap().push(asked);
    let (status, text) = match said {
        Said::Text(text) => (200, text),
        Said::Status(status, text) => (status, text),
        Said::Held(mut released, text) => {
            let _ = released.wait_for(|released| *released).await;
            (200, text)
        }
        Said::Never => std::future::pending().await,
    };
    Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap()
}

fn decoded_pair((name, value): (&str, &str)) -> (String, String) {
    let mut out = Vec::new();
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let hex: Vec<u8> = bytes.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    (name.to_owned(), String::from_utf8(out).unwrap())
}
