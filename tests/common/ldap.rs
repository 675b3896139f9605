//! A directory that speaks as much of LDAP as brokers ask for: bind, search for one value, start TLS.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::papers::Papers;

/// DN and attributes.
pub(crate) type Entry = (&'static str, Vec<(&'static str, Vec<&'static str>)>);

/// See the module's documentation.
pub(crate) struct Directory {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    entries: Vec<Entry>,
    /// Who may log in.
    passwords: Vec<(&'static str, &'static str)>,
    tls: Option<TlsAcceptor>,
    is_ldaps: bool,
    /// Who has logged in, and who was refused: with a minus.
    binds: Mutex<Vec<String>>,
    /// Bases of searches.
    searches: Mutex<Vec<String>>,
    /// Connections that are open.
    open: AtomicUsize,
    hang_up: Notify,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Directory {
    pub(crate) async fn start(entries: Vec<Entry>, passwords: Vec<(&'static str, &'static str)>) -> Self {
        Self::start_with(entries, passwords, None, false).await
    }

    /// With the papers' certificate, from the first byte or when it is asked to.
    pub(crate) async fn start_with(
        entries: Vec<Entry>,
        passwords: Vec<(&'static str, &'static str)>,
        papers: Option<&Papers>,
        is_ldaps: bool,
    ) -> Self {
        let tls = papers.map(|papers| {
            let chain = CertificateDer::pem_file_iter(&papers.options.certificates).unwrap();
            let key = PrivateKeyDer::from_pem_file(&papers.options.key).unwrap();
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let config = config.with_no_client_auth().with_single_cert(chain.map(Result::unwrap).collect(), key);
            TlsAcceptor::from(Arc::new(config.unwrap()))
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (binds, searches, open) = (Mutex::default(), Mutex::default(), AtomicUsize::default());
        let hang_up = Notify::new();
        let shared = Arc::new(Shared { entries, passwords, tls, is_ldaps, binds, searches, open, hang_up });
        let mut serving = JoinSet::new();
        let served = shared.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = served.clone();
                connections.spawn(async move {
                    let stream: Box<dyn Stream> = match &shared.tls {
                        Some(tls) if shared.is_ldaps => match tls.accept(stream).await {
                            Ok(stream) => Box::new(stream),
                            Err(_) => return,
                        },
                        _ => Box::new(stream),
                    };
                    shared.open.fetch_add(1, Ordering::SeqCst);
                    tokio::select! {
                        _ = shared.serve(stream) => {}
                        () = shared.hang_up.notified() => {}
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared, _serving: serving }
    }

    /// Who has logged in since the last time.
    pub(crate) fn binds(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.binds.lock().unwrap())
    }

    /// How many connections it has.
    pub(crate) fn connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Closes all connections, as directories do with those that are idle.
    pub(crate) fn hang_up(&self) {
        self.shared.hang_up.notify_waiters();
    }

    /// Bases of searches since the last time.
    pub(crate) fn searches(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.searches.lock().unwrap())
    }
}

impl Shared {
    async fn serve(&self, mut stream: Box<dyn Stream>) -> std::io::Result<()> {
        loop {
            let message = read(&mut stream).await?;
            let (_, id, rest) = part(&message);
            let (kind, operation, _) = part(rest);
            let answers = match kind {
                0x60 => vec![tlv(0x61, &result(self.bind(operation)))],
                0x63 => self.search(operation),
                0x77 => {
                    stream.write_all(&message_of(id, &tlv(0x78, &result(0)))).await?;
                    let tls = self.tls.as_ref().expect("TLS is only asked for where it can be had");
                    stream = Box::new(tls.accept(stream).await?);
                    continue;
                }
                _ => return Ok(()),
            };
            for answer in answers {
                stream.write_all(&message_of(id, &answer)).await?;
            }
        }
    }

    /// As real directories do, one without a password is nobody's, and succeeds.
    fn bind(&self, operation: &[u8]) -> u8 {
        let (_, _, rest) = part(operation);
        let (_, dn, rest) = part(rest);
        let (_, password, _) = part(rest);
        let (dn, password) = (text(dn), text(password));
        let is_right = |own: &&(&str, &str)| own.0.eq_ignore_ascii_case(&dn) && own.1 == password;
        let is_let_in = password.is_empty() || self.passwords.iter().find(is_right).is_some();
        self.binds.lock().unwrap().push(if is_let_in { dn } else { format!("-{dn}") });
        if is_let_in { 0 } else { 49 }
    }

    fn search(&self, operation: &[u8]) -> Vec<Vec<u8>> {
        let (_, base, rest) = part(operation);
        let (_, scope, rest) = part(rest);
        // Aliases, sizes, types.
        let rest = (0..4).fold(rest, |rest, _| part(rest).2);
        let (filter, wanted, _) = part(rest);
        let base = text(base).to_lowercase();
        self.searches.lock().unwrap().push(base.clone());
        let is_below = |dn: &str| match (scope, dn.to_lowercase().strip_suffix(&base)) {
            (_, None) => false,
            ([0], Some(above)) => above.is_empty(),
            ([1], Some(above)) => above.matches(',').count() == 1,
            (_, Some(_)) => true,
        };
        let is_wanted = |entry: &Entry| match filter {
            0x87 => true,
            0xa3 => {
                let (_, name, rest) = part(wanted);
                let (_, value, _) = part(rest);
                let (name, value) = (text(name), text(value));
                let own = entry.1.iter().filter(|(own, _)| own.eq_ignore_ascii_case(&name));
                own.flat_map(|(_, values)| values).any(|own| own.eq_ignore_ascii_case(&value))
            }
            other => panic!("filter {other:x} is not spoken here"),
        };
        let found = self.entries.iter().filter(|entry| is_below(entry.0) && is_wanted(entry));
        let mut answers: Vec<Vec<u8>> = found.map(encoded).collect();
        let is_there = self.entries.iter().any(|(dn, _)| dn.to_lowercase().ends_with(&base));
        answers.push(tlv(0x65, &result(if is_there { 0 } else { 32 })));
        answers
    }
}

fn encoded((dn, attributes): &Entry) -> Vec<u8> {
    let attributes = attributes.iter().flat_map(|(name, values)| {
        let values: Vec<u8> = values.iter().flat_map(|value| tlv(0x04, value.as_bytes())).collect();
        tlv(0x30, &[tlv(0x04, name.as_bytes()), tlv(0x31, &values)].concat())
    });
    tlv(0x64, &[tlv(0x04, dn.as_bytes()), tlv(0x30, &attributes.collect::<Vec<u8>>())].concat())
}

fn result(code: u8) -> Vec<u8> {
    [tlv(0x0a, &[code]), tlv(0x04, b""), tlv(0x04, b"")].concat()
}

fn message_of(id: &[u8], operation: &[u8]) -> Vec<u8> {
    tlv(0x30, &[&tlv(0x02, id), operation].concat())
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("short");
    let mut bytes = vec![tag, 0x82];
    bytes.extend(length.to_be_bytes());
    bytes.extend(content);
    bytes
}

async fn read(stream: &mut Box<dyn Stream>) -> std::io::Result<Vec<u8>> {
    let (tag, first) = (stream.read_u8().await?, stream.read_u8().await?);
    assert_eq!(tag, 0x30);
    let length = match first {
        short @ 0..=0x7f => usize::from(short),
        0x84 => stream.read_u32().await? as usize,
        other => panic!("length {other:x}"),
    };
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Tag and content of the first value, and what follows.
fn part(bytes: &[u8]) -> (u8, &[u8], &[u8]) {
    let (length, start) = match bytes[1] {
        short @ 0..=0x7f => (usize::from(short), 2),
        0x84 => (u32::from_be_bytes(bytes[2..6].try_into().expect("four bytes")) as usize, 6),
        other => panic!("length {other:x}"),
    };
    (bytes[0], &bytes[start..start + length], &bytes[start + length..])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}
