//! The process's log: lines on stderr, in a file, and to the log exchange if that is switched on. What of it can be
//! changed while it runs.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing::{Level, Metadata, info, warn};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::log_file::LogWriter;
use crate::config::logging::{Format, Logging, Output, level};

/// Lines waiting for the log exchange; beyond that they are dropped, so that logging never waits for the broker.
const LINES_MAX: usize = 1024;

/// Levels, from nothing to everything.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A line with RabbitMQ's word for its level.
pub(super) type Line = (&'static str, String);

type Filter = reload::Handle<EnvFilter, Registry>;

/// The running log.
pub(super) struct Log {
    /// What the command line or `RUST_LOG` says of what is logged: it wins over everything.
    directives: Option<String>,
    console: Option<Filter>,
    file: Option<(Filter, Arc<LogWriter>)>,
    exchange: Option<Filter>,
}

/// Starts logging. `RUST_LOG` wins over `level`, the command line's, and that over the configuration. Lines for the
/// exchange come out of what is returned.
pub(super) fn start(logging: &Logging, level: Option<&str>) -> Result<(Log, Option<Receiver<Line>>), anyhow::Error> {
    let directives = std::env::var("RUST_LOG").ok().filter(|directives| !directives.is_empty());
    let mut log =
        Log { directives: directives.or(level.map(str::to_owned)), console: None, file: None, exchange: None };
    let mut layers = Vec::new();
    let mut add = |log: &Log, output: &Output, writer: Writer| -> Result<Filter, anyhow::Error> {
        let (filter, handle) = reload::Layer::new(log.filter(logging, output)?);
        layers.push(line_layer(output.format, writer).with_filter(filter).boxed());
        Ok(handle)
    };
    if let Some(console) = &logging.console {
        log.console = Some(add(&log, console, Writer::Console)?);
    }
    if let Some(file) = &logging.file {
        let writer = LogWriter::open(file)
            .map_err(|error| anyhow::anyhow!("the log cannot go to {}: {error}", file.path.display()))?;
        let writer = Arc::new(writer);
        log.file = Some((add(&log, &file.output, Writer::File(writer.clone()))?, writer));
    }
    let mut lines = None;
    if let Some(exchange) = &logging.exchange {
        let (sender, receiver) = sync_channel(LINES_MAX);
        log.exchange = Some(add(&log, exchange, Writer::Lines(Lines(sender)))?);
        lines = Some(receiver);
    }
    let started = tracing_subscriber::registry().with(layers).try_init();
    started.map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    Ok((log, lines))
}

impl Log {
    /// Logs what the configuration says now, and opens the file anew. Where the log goes stays as it is.
    pub(super) fn reload(&self, logging: &Logging) {
        let outputs = [
            (self.console.as_ref(), logging.console.unwrap_or_default()),
            (
                self.file.as_ref().map(|(filter, _)| filter),
                logging.file.as_ref().map(|file| file.output).unwrap_or_default(),
            ),
            (self.exchange.as_ref(), logging.exchange.unwrap_or_default()),
        ];
        for (handle, output) in outputs {
            let Some(handle) = handle else { continue };
            let reloaded = self.filter(logging, &output).and_then(|filter| Ok(handle.reload(filter)?));
            if let Err(error) = reloaded {
                warn!(%error, "what is logged stays as it was");
            }
        }
        if let Some((_, file)) = &self.file
            && let Err(error) = file.reopen()
        {
            warn!(%error, "the log goes to the same file as before");
        }
    }

    /// Logs from this level on, which has RabbitMQ's name, everywhere and of all categories, until [`Self::reload`].
    /// Whether there is such a level.
    pub(super) fn set_level(&self, name: &str) -> bool {
        let Some(level) = level(name) else { return false };
        let file = self.file.as_ref().map(|(filter, _)| filter);
        for filter in [self.console.as_ref(), file, self.exchange.as_ref()].into_iter().flatten() {
            if let Err(error) = filter.reload(EnvFilter::new(level)) {
                warn!(%error, "what is logged stays as it was");
            }
        }
        info!(level = name, "log level set");
        true
    }

    /// What an output gets: of a category what both that and the output want.
    fn filter(&self, logging: &Logging, output: &Output) -> Result<EnvFilter, anyhow::Error> {
        if let Some(directives) = &self.directives {
            return Ok(EnvFilter::try_new(directives)?);
        }
        let mut directives = vec![output.level.or(logging.level).unwrap_or("info").to_owned()];
        for (category, level) in &logging.categories {
            let level = output.level.map_or(*level, |own| quieter(own, level));
            directives.push(format!("{category}={level}"));
        }
        Ok(EnvFilter::try_new(directives.join(","))?)
    }
}

fn quieter<'a>(one: &'a str, other: &'a str) -> &'a str {
    let rank = |level: &str| LEVELS.iter().position(|own| *own == level);
    if rank(one) < rank(other) { one } else { other }
}

fn line_layer(format: Format, writer: Writer) -> Box<dyn Layer<Registry> + Send + Sync> {
    let is_terminal = matches!(writer, Writer::Console) && io::stderr().is_terminal();
    let layer = layer().with_writer(writer);
    match format {
        Format::Text => layer.with_ansi(is_terminal).boxed(),
        Format::Json => layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed(),
    }
}

/// Where lines go.
enum Writer {
    Console,
    File(Arc<LogWriter>),
    Lines(Lines),
}

impl<'a> MakeWriter<'a> for Writer {
    type Writer = Box<dyn Write + 'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Console => Box::new(io::stderr()),
            Self::File(file) => Box::new(&**file),
            Self::Lines(lines) => Box::new(lines.writer("info")),
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let Self::Lines(lines) = self else { return self.make_writer() };
        Box::new(lines.writer(match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        }))
    }
}

/// Where lines for the exchange go.
struct Lines(SyncSender<Line>);

impl Lines {
    fn writer(&self, level: &'static str) -> LineWriter {
        LineWriter { level, line: Vec::new(), sender: self.0.clone() }
    }
}

/// Takes one line, which is complete when it is dropped.
struct LineWriter {
    level: &'static str,
    line: Vec<u8>,
    sender: SyncSender<Line>,
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        let line = String::from_utf8_lossy(&self.line).trim_end().to_owned();
        if !line.is_empty() {
            let _ = self.sender.try_send((self.level, line));
        }
    }
}
