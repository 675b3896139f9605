//! `lepus serve`: from options to a running broker, until a signal ends it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use super::notify::Service;
use super::pid_file::PidFile;
use super::{limits, log};
use crate::config::keys::Applied;
use crate::config::logging::{Format, LogFile, Logging};
use crate::config::{self, quantity};
use crate::server::{Definitions, LogLevels, Options, Server, Storage, SyncMode, TlsVersion, Watermark};

/// Where things are kept if nobody says otherwise.
pub(super) const DATA_DIR: &str = "lepus-data";

/// The socket for commands on this machine, in the data directory.
pub(super) const LOCAL_SOCKET: &str = "lepus.sock";

/// All interfaces on the port of AMQP 0-9-1, as RabbitMQ listens.
const AMQP_LISTEN: &str = "5672";

#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Directory where durable queues and persistent messages are kept [default: ./lepus-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// When a persistent message is confirmed: always - when the disk has synced it; interval:MS - when the system has
    /// it, which syncs it so often; never - when the system has it [default: always]
    #[arg(long, value_name = "MODE", value_parser = sync_mode, conflicts_with = "in_memory")]
    sync: Option<SyncMode>,

    /// Memory for waiting messages; what is more is paged out to the data directory [default: 64MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes, conflicts_with = "in_memory")]
    message_memory: Option<u64>,

    /// Length of a file of the log [default: 64MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    log_file_size: Option<u64>,

    /// Keep everything in memory: nothing survives a restart
    #[arg(long, conflicts_with = "data_dir")]
    in_memory: bool,

    /// Listen for AMQP 0-9-1 on HOST:PORT, or on all interfaces with PORT; may be repeated [default: 5672]
    #[arg(long, value_name = "ADDRESS")]
    amqp_listen: Vec<String>,

    /// Listen for AMQP 0-9-1 in TLS; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    amqps_listen: Vec<String>,

    /// The certificate to show in TLS, PEM, with those between it and its authority; further ones are shown to clients
    /// that name a host they are for
    #[arg(long, value_name = "FILE")]
    tls_cert: Vec<PathBuf>,

    /// The certificate's private key, PEM; as many as certificates, in the same order
    #[arg(long, value_name = "FILE")]
    tls_key: Vec<PathBuf>,

    /// Ask clients for a certificate that comes from one of these authorities, PEM
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Whether clients need that certificate, or may come without one as by RabbitMQ's verify_peer alone
    /// [default: required]
    #[arg(long, value_name = "MODE", requires = "tls_client_ca")]
    tls_client_cert: Option<ClientCert>,

    /// Offer only this version of TLS, 1.2 or 1.3; may be repeated [default: both]
    #[arg(long, value_name = "VERSION", value_parser = tls_version)]
    tls_version: Vec<TlsVersion>,

    /// Every connection begins with a header of the PROXY protocol, as load balancers send it
    #[arg(long)]
    proxy_protocol: bool,

    /// Listen for the management HTTP API, usually 15672; may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    http_listen: Vec<String>,

    /// Listen for the management HTTP API in TLS, usually 15671; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    https_listen: Vec<String>,

    /// Socket on which `lepus ctl` needs no login [default: $LEPUS_SOCKET, else lepus.sock in the data directory; in
    /// memory none]
    #[arg(long, value_name = "PATH")]
    local_socket: Option<PathBuf>,

    /// Tell metrics to Prometheus, on /metrics; may be repeated [default: nowhere]
    #[arg(long, value_name = "ADDRESS")]
    prometheus_listen: Vec<String>,

    /// Tell metrics in TLS; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    prometheus_https_listen: Vec<String>,

    /// A rabbitmq.conf, or a directory of such [default: $RABBITMQ_CONFIG_FILE, else /etc/rabbitmq/rabbitmq.conf and
    /// /etc/rabbitmq/conf.d if they are there]
    #[arg(long, value_name = "PATH")]
    config: Vec<PathBuf>,

    /// Import a definitions JSON file at start instead of making a default user; may be repeated
    #[arg(long, value_name = "FILE")]
    definitions: Vec<PathBuf>,

    /// Heartbeat interval offered to clients; 0 offers none [default: 60]
    #[arg(long, value_name = "SECONDS")]
    heartbeat: Option<u16>,

    /// Largest frame offered to clients [default: 131072]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    frame_max: Option<u64>,

    /// Channels per connection offered to clients [default: 2047]
    #[arg(long, value_name = "COUNT")]
    channel_max: Option<u16>,

    /// Open connections of this node [default: no limit]
    #[arg(long, value_name = "COUNT")]
    connection_max: Option<u32>,

    /// Largest message body, such as 16MiB [default: 128MiB]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    max_message_size: Option<u64>,

    /// Resident memory above which publishers are blocked: 0.6 of what there is, or 2GiB [default: 0.6]
    #[arg(long, value_name = "FRACTION|BYTES", value_parser = watermark)]
    memory_high_watermark: Option<Watermark>,

    /// Free disk space below which publishers are blocked: bytes such as 2GiB, or 1.5 of the memory [default: 50MB]
    #[arg(long, value_name = "BYTES|FRACTION", value_parser = disk_limit)]
    disk_free_limit: Option<Watermark>,

    /// Time a client may take to connect and log in [default: 10]
    #[arg(long, value_name = "SECONDS")]
    handshake_timeout: Option<u64>,

    /// Connections in the handshake at once from one address; the next ones of it wait [default: 1024]
    #[arg(long, value_name = "COUNT")]
    handshakes_per_address: Option<usize>,

    /// How long clients may take to answer that the broker stops [default: 5]
    #[arg(long, value_name = "SECONDS")]
    shutdown_timeout: Option<u64>,

    /// Dead letters begin a new x-death whatever their publishers sent, as in RabbitMQ 4; else they go on with it
    #[arg(long)]
    ignore_client_x_death: bool,

    /// Cluster name shown to clients; "rabbit@" and the host name if not given
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,

    /// Lanes that queues are spread over [default: one for each core]
    #[arg(long, value_name = "COUNT")]
    lanes: Option<usize>,

    /// error, warn, info, debug, trace, or directives as RUST_LOG takes them, which wins [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// How lines of the log look on standard error, and in the file of --log-file [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,

    /// The log goes to this file instead of standard error; SIGHUP opens it anew
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

/// What is asked of clients in TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum ClientCert {
    /// Who has none is refused.
    #[default]
    Required,
    /// Who shows one must have it from the authorities.
    Optional,
}

/// Runs the broker until it is told to stop.
pub(super) fn run(args: Args) -> ExitCode {
    let configured = args.options(|name| std::env::var(name).ok());
    let logging = configured.as_ref().map(|(_, applied)| applied.logging.clone()).unwrap_or_default();
    let (log, lines) = match log::start(&logging, args.log_level.as_deref()) {
        Ok(started) => started,
        Err(error) => {
            eprintln!("lepus: {error:#}");
            return ExitCode::from(2);
        }
    };
    let (options, applied) = match configured {
        Ok(configured) => configured,
        Err(error) => return fail(2, &error.into()),
    };
    for warning in applied.warnings {
        warn!("{warning}");
    }
    limits::raise_open_files();
    let _pid_file = PidFile::from_environment();
    let log = Arc::new(log);
    let levels = log.clone();
    let options = Options {
        log_levels: Some(LogLevels::new(move |level| levels.set_level(level))),
        log_files: logging.files(),
        ..options
    };
    match serve(options, &args, &log, lines) {
        Ok(code) => code,
        Err(error) => fail(1, &error),
    }
}

fn fail(code: u8, error: &anyhow::Error) -> ExitCode {
    error!("{error:#}");
    ExitCode::from(code)
}

fn serve(
    options: Options,
    args: &Args,
    log: &log::Log,
    lines: Option<Receiver<log::Line>>,
) -> Result<ExitCode, anyhow::Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no async runtime")?;
    runtime.block_on(async {
        // Before the start, so that a signal during it is not lost.
        let mut signals = StopSignals::new().context("signals cannot be caught")?;
        let mut hang_up = signal(SignalKind::hangup()).context("signals cannot be caught")?;
        let service = Service::from_environment();
        let (storage, sync) = (options.storage.clone(), options.sync);
        let mut server = Server::with_options(options).start().await?;
        if let Some(lines) = lines {
            let broker = server.broker().clone();
            broker.add_log_exchange();
            // It ends with the process: the log has no end of its own.
            std::thread::spawn(move || lines.iter().for_each(|(level, line)| broker.publish_log_line(level, &line)));
        }
        tell(&server, storage.as_ref(), sync);
        let listening = server.amqp_addrs().iter().chain(server.amqps_addrs()).map(ToString::to_string);
        service.ready(&format!("listening on {}", listening.collect::<Vec<_>>().join(", ")));
        loop {
            tokio::select! {
                name = signals.next() => {
                    info!("{name}: shutting down");
                    break;
                }
                _ = hang_up.recv() => reload(&server, args, log),
                () = service.live() => {}
                () = server.failed() => return Ok(ExitCode::FAILURE),
            }
        }
        service.stopping();
        tokio::select! {
            () = server.shutdown() => info!("stopped"),
            () = service.live() => {}
            name = signals.next() => {
                warn!("{name} again: stopping at once");
                // Not a return: that would wait for whatever hangs.
                std::process::exit(1);
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Says where it listens, and what a confirm means.
fn tell(server: &Server, storage: Option<&Storage>, sync: SyncMode) {
    for address in server.amqp_addrs() {
        info!(%address, "listening for AMQP");
    }
    for address in server.amqps_addrs() {
        info!(%address, "listening for AMQP in TLS");
    }
    for address in server.http_addrs() {
        info!(%address, "listening for the management API");
    }
    for address in server.https_addrs() {
        info!(%address, "listening for the management API in TLS");
    }
    for address in server.prometheus_addrs() {
        info!(%address, "telling metrics to Prometheus");
    }
    for address in server.prometheus_https_addrs() {
        info!(%address, "telling metrics to Prometheus in TLS");
    }
    match storage {
        Some(Storage::Directory(path)) => match sync {
            SyncMode::Always => info!(directory = %path.display(), "confirmed means on disk"),
            weaker => {
                warn!(directory = %path.display(), sync = ?weaker, "confirmed does not mean on disk: a power failure may cost messages");
            }
        },
        _ => warn!("messages are kept in memory: nothing survives a restart, durable queues included"),
    }
}

/// Certificates, what is logged and the log's file are taken anew; what cannot be read changes nothing.
fn reload(server: &Server, args: &Args, log: &log::Log) {
    info!("SIGHUP: reading certificates and the levels of the log again");
    server.reload_certificates();
    match args.options(|name| std::env::var(name).ok()) {
        Ok((_, applied)) => log.reload(&applied.logging),
        Err(error) => error!(%error, "the configuration cannot be read: all stays as it was"),
    }
}

/// The signals that ask a process to end.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and gives its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl Args {
    /// Defaults, then the environment, then files, then the command line.
    pub(super) fn options(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<(Options, Applied), config::Error> {
        let mut options = Options {
            storage: Some(Storage::Directory(DATA_DIR.into())),
            amqp: vec![AMQP_LISTEN.to_owned()],
            ..Options::default()
        };
        if self.tls_cert.len() != self.tls_key.len() {
            let (place, key) = ("command line".to_owned(), "--tls-key".to_owned());
            return Err(config::Error::Refused { place, key, reason: "there must be one for each --tls-cert".into() });
        }
        let mut warnings = config::env::apply(&mut options, &variable)?;
        let mut settings = Vec::new();
        let usual = config::env::files(&variable);
        for path in if self.config.is_empty() { &usual } else { &self.config } {
            settings.extend(config::conf::read(path, &variable)?);
            options.config_files.extend(path.exists().then(|| path.display().to_string()));
        }
        settings.splice(0..0, config::plugins::ports(&settings, &variable));
        warnings.extend(config::plugins::warnings(&variable));
        let mut applied = config::keys::apply(&mut options, &settings)?;
        warnings.append(&mut applied.warnings);
        applied.warnings = warnings;
        config::env::apply_logging(&mut applied.logging, &variable)?;
        let args = self.clone();
        args.apply_log(&mut applied.logging);
        args.apply(&mut options);
        Ok((options, applied))
    }

    fn apply(self, options: &mut Options) {
        if let Some(path) = self.data_dir {
            options.storage = Some(Storage::Directory(path));
        }
        if self.in_memory {
            options.storage = Some(Storage::Memory);
        }
        options.local_socket = self.local_socket.or(options.local_socket.take()).or_else(|| match &options.storage {
            Some(Storage::Directory(path)) => Some(path.join(LOCAL_SOCKET)),
            _ => None,
        });
        set(&mut options.sync, self.sync);
        let message_memory = self.message_memory.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        set(&mut options.message_memory_bytes, message_memory);
        set(&mut options.log_file_bytes, self.log_file_size.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)));
        if !self.amqp_listen.is_empty() {
            options.amqp = self.amqp_listen;
        }
        options.amqps.extend(self.amqps_listen);
        options.http.extend(self.http_listen);
        options.https.extend(self.https_listen);
        options.prometheus.extend(self.prometheus_listen);
        options.prometheus_https.extend(self.prometheus_https_listen);
        if !self.tls_cert.is_empty() || self.tls_client_ca.is_some() || !self.tls_version.is_empty() {
            let tls = options.tls.get_or_insert_default();
            let mut pairs = self.tls_cert.into_iter().zip(self.tls_key);
            if let Some((certificates, key)) = pairs.next() {
                (tls.certificates, tls.key) = (certificates, key);
            }
            tls.more_certificates.extend(pairs);
            if self.tls_client_ca.is_some() {
                tls.authorities = self.tls_client_ca;
                tls.verify_peer = true;
                tls.fail_if_no_peer_cert = self.tls_client_cert.unwrap_or_default() == ClientCert::Required;
            }
            if !self.tls_version.is_empty() {
                tls.versions = self.tls_version;
            }
        }
        options.proxy_protocol |= self.proxy_protocol;
        options.definitions.extend(self.definitions.into_iter().map(Definitions::File));
        set(&mut options.heartbeat_s, self.heartbeat);
        set(&mut options.frame_size_max, self.frame_max.map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX)));
        set(&mut options.channel_max, self.channel_max);
        set(&mut options.message_size_max, self.max_message_size);
        set(&mut options.memory_high_watermark, self.memory_high_watermark);
        set(&mut options.disk_free_limit, self.disk_free_limit);
        set(&mut options.handshake_timeout, self.handshake_timeout.map(Duration::from_secs));
        set(&mut options.handshakes_per_address_max, self.handshakes_per_address);
        set(&mut options.shutdown_timeout, self.shutdown_timeout.map(Duration::from_secs));
        options.connection_max = self.connection_max.or(options.connection_max);
        options.honours_client_deaths &= !self.ignore_client_x_death;
        options.cluster_name = self.cluster_name.or(options.cluster_name.take());
        options.lanes = self.lanes;
    }

    /// The levels are the log's own business: they are directives, not levels.
    fn apply_log(&self, logging: &mut Logging) {
        if let Some(path) = &self.log_file {
            let output = logging.console.take().unwrap_or_default();
            logging.file = Some(LogFile { path: path.clone(), output, rotation_bytes: None, kept: 0 });
        }
        if let Some(format) = self.log_format {
            let file = logging.file.as_mut().map(|file| &mut file.output);
            file.into_iter().chain(&mut logging.console).for_each(|output| output.format = format);
        }
    }
}

fn set<T>(option: &mut T, given: Option<T>) {
    if let Some(value) = given {
        *option = value;
    }
}

fn bytes(text: &str) -> Result<u64, &'static str> {
    quantity::bytes(text).ok_or("expected a number of bytes, such as 131072 or 16MiB")
}

fn sync_mode(text: &str) -> Result<SyncMode, &'static str> {
    const EXPECTED: &str = "expected always, never, or interval:MILLISECONDS such as interval:50";
    match text {
        "always" => Ok(SyncMode::Always),
        "never" => Ok(SyncMode::Never),
        _ => {
            let interval = text.strip_prefix("interval:").and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0);
            interval.map(|ms| SyncMode::Interval(Duration::from_millis(ms))).ok_or(EXPECTED)
        }
    }
}

fn tls_version(text: &str) -> Result<TlsVersion, &'static str> {
    match text {
        "1.2" => Ok(TlsVersion::V1_2),
        "1.3" => Ok(TlsVersion::V1_3),
        _ => Err("expected 1.2 or 1.3"),
    }
}

fn watermark(text: &str) -> Result<Watermark, &'static str> {
    quantity::watermark(text).ok_or("expected a fraction of memory such as 0.6, or bytes such as 2GiB")
}

fn disk_limit(text: &str) -> Result<Watermark, &'static str> {
    quantity::disk_limit(text).ok_or("expected bytes such as 2GiB, or a fraction of memory such as 1.5")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        Line::try_parse_from(["lepus"].iter().chain(line)).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn the_command_line_reaches_the_options() {
        let line = ["--amqp-listen", "127.0.0.1:1", "--amqp-listen", "127.0.0.1:2", "--frame-max", "128KiB"];
        let options = args(&line).options(|_| None).unwrap().0;
        assert_eq!(options.amqp, ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(options.frame_size_max, 131_072);
        assert_eq!(options.heartbeat_s, 60);
        for (more, insists) in [(&[][..], true), (&["required"], true), (&["optional"], false)] {
            let mut line = vec!["--tls-client-ca", "/ca.pem"];
            line.extend(more.iter().flat_map(|mode| ["--tls-client-cert", mode]));
            let tls = args(&line).options(|_| None).unwrap().0.tls.unwrap();
            assert_eq!((tls.verify_peer, tls.fail_if_no_peer_cert), (true, insists), "{line:?}");
        }
        assert!(Line::try_parse_from(["lepus", "--tls-client-cert", "optional"]).is_err());
        let line = ["--memory-high-watermark", "2GiB", "--heartbeat", "0", "--disk-free-limit", "1GB"];
        let options = args(&line).options(|_| None).unwrap().0;
        assert_eq!(options.memory_high_watermark, Watermark::Bytes(2 << 30));
        assert_eq!(options.disk_free_limit, Watermark::Bytes(1_000_000_000));
        assert_eq!(options.heartbeat_s, 0);
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_environment() {
        let path = std::env::temp_dir().join(format!("lepus-{}-{:x}.conf", std::process::id(), rand::random::<u64>()));
        std::fs::write(&path, "listeners.tcp.default = 2\nheartbeat = 7\nmqtt.vhost = /\n").unwrap();
        let environment = |name: &str| match name {
            "RABBITMQ_CONFIG_FILE" => path.with_extension("").to_str().map(str::to_owned),
            "RABBITMQ_NODE_PORT" => Some("1".to_owned()),
            "RABBITMQ_DEFAULT_VHOST" => Some("shop".to_owned()),
            _ => None,
        };
        let (options, applied) = args(&["--heartbeat", "9"]).options(environment).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((options.amqp, options.heartbeat_s, options.vhosts), (vec!["2".into()], 9, vec!["shop".into()]));
        assert_eq!(applied.warnings.len(), 1);
        let error = args(&["--tls-cert", "/c.pem"]).options(|_| None).unwrap_err().to_string();
        assert_eq!(error, "command line: --tls-key: there must be one for each --tls-cert");
        let error = args(&["--config", "/nowhere/rabbitmq.conf"]).options(|_| None).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/rabbitmq.conf: "), "{error}");
    }
}
