//! The bytes to and from the broker: a blocking socket, with TLS around it for `amqps`.

use std::io::{self, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::tls_client::{self, TlsClientOptions};

/// What is read of the socket at once: records are 16 KiB, and a system call for each would be what is measured.
const TLS_READ_BYTES: usize = 64 * 1024;

/// An open socket.
pub(super) struct Link {
    stream: TcpStream,
    tls: Option<Box<Tls>>,
}

struct Tls {
    session: ClientConnection,
    reader: BufReader<TcpStream>,
}

impl Link {
    /// Connects; with a host's name in TLS, whose handshake goes with the first bytes.
    pub(super) fn open(address: &str, tls: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let tls = tls.map(|host| Tls::new(host, &stream)).transpose()?.map(Box::new);
        Ok(Self { stream, tls })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Nobody else may read or write the socket of TLS.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.stream.write_all(bytes),
            Some(tls) => tls.write_all(bytes, &self.stream),
        }
    }

    /// 0: the broker has closed the connection.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(buffer),
            Some(tls) => tls.read(buffer, &self.stream),
        }
    }
}

impl Tls {
    fn new(host: &str, stream: &TcpStream) -> io::Result<Self> {
        // As PerfTest by default: a load generator is pointed at brokers with certificates of their own making.
        let options = TlsClientOptions { verify_none: true, ..TlsClientOptions::default() };
        let config = tls_client::config(&options).map_err(io::Error::other)?;
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        Ok(Self { session, reader: BufReader::with_capacity(TLS_READ_BYTES, stream.try_clone()?) })
    }

    fn write_all(&mut self, mut bytes: &[u8], mut stream: &TcpStream) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.session.writer().write(bytes)?;
            bytes = &bytes[taken..];
            while self.session.wants_write() {
                self.session.write_tls(&mut stream)?;
            }
            // Until the handshake is over nothing goes out but what it says.
            while self.session.is_handshaking() {
                self.session.complete_io(&mut Duplex(&mut self.reader, stream))?;
            }
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], mut stream: &TcpStream) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.session.read_tls(&mut self.reader)? == 0 {
                return Ok(0);
            }
            self.session.process_new_packets().map_err(io::Error::other)?;
            while self.session.wants_write() {
                self.session.write_tls(&mut stream)?;
            }
        }
    }
}

/// Both directions of a socket as one, for the handshake.
struct Duplex<'a>(&'a mut BufReader<TcpStream>, &'a TcpStream);

impl Read for Duplex<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Duplex<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
