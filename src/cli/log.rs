//! The process's log: lines on stderr, and to the log exchange if that is switched on.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::{MakeWriter, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// Lines waiting for the log exchange; beyond that they are dropped, so that logging never waits for the broker.
const LINES_MAX: usize = 1024;

/// A line with RabbitMQ's word for its level.
pub(super) type Line = (&'static str, String);

/// Starts logging to stderr. `RUST_LOG` wins over `level`: it can say more. With `for_exchange` the lines come out of
/// what is returned as well.
pub(super) fn start(level: &str, for_exchange: bool) -> Result<Option<Receiver<Line>>, anyhow::Error> {
    let filter = || match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => EnvFilter::try_new(directives),
        _ => EnvFilter::try_new(level),
    };
    let to_stderr = layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_filter(filter()?);
    let (sender, lines) = sync_channel(LINES_MAX);
    let to_exchange = match for_exchange {
        true => Some(layer().with_writer(Lines(sender)).with_ansi(false).with_filter(filter()?)),
        false => None,
    };
    tracing_subscriber::registry()
        .with(to_stderr)
        .with(to_exchange)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot start: {error}"))?;
    Ok(for_exchange.then_some(lines))
}

/// Where lines for the exchange go.
struct Lines(SyncSender<Line>);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { level: "info", line: Vec::new(), sender: self.0.clone() }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter {
        let level = match *metadata.level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
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
