//! `lepus store`: looks into a data directory that no broker has.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::replicate::{self, DumpError};
use crate::store::DataDirError;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Verify every checksum and tell what each file holds. Exit code 0: all is whole, 1: something is damaged, 2: it
    /// cannot be read, or a broker runs on it
    Check {
        /// The data directory
        dir: PathBuf,
    },
    /// Print the records, one a line: file, offset, who wrote it, what it says
    Dump {
        /// The data directory
        dir: PathBuf,
        /// Only of this file
        #[arg(long, value_name = "NAME")]
        file: Option<String>,
        /// Whole bodies, not only how they begin
        #[arg(long)]
        bodies: bool,
    },
}

/// It could not be looked at.
const UNREADABLE: u8 = 2;

pub(super) fn run(command: &Command) -> ExitCode {
    let result = match command {
        Command::Check { dir } => check(dir),
        Command::Dump { dir, file, bodies } => dump(dir, file.as_deref(), *bodies),
    };
    result.unwrap_or_else(|error| {
        eprintln!("lepus store: {error}");
        let is_damaged = matches!(error, DumpError::DataDir(DataDirError::NoNode { .. }));
        ExitCode::from(if is_damaged { 1 } else { UNREADABLE })
    })
}

fn check(dir: &std::path::Path) -> Result<ExitCode, DumpError> {
    let mut out = Out::new();
    let mut damages = 0;
    replicate::check(dir, |report| {
        out.line(&format!("{}: {}", report.file, report.holds));
        for damage in &report.damages {
            damages += 1;
            out.line(&format!("{}: DAMAGED: {damage}", report.file));
        }
    })?;
    out.line(&if damages == 0 { "everything is whole".to_owned() } else { format!("damages: {damages}") });
    Ok(if damages == 0 { out.end() } else { ExitCode::FAILURE })
}

fn dump(dir: &std::path::Path, file: Option<&str>, bodies: bool) -> Result<ExitCode, DumpError> {
    let mut out = Out::new();
    replicate::dump(dir, file, bodies, |line| out.line(&line))?;
    Ok(out.end())
}

/// Standard output until somebody closes it, which is no failure.
struct Out(Option<BufWriter<io::StdoutLock<'static>>>, ExitCode);

impl Out {
    fn new() -> Self {
        Self(Some(BufWriter::new(io::stdout().lock())), ExitCode::SUCCESS)
    }

    /// Whether more is wanted.
    fn line(&mut self, line: &str) -> bool {
        if let Some(out) = &mut self.0
            && let Err(error) = writeln!(out, "{line}")
        {
            self.failed(&error);
        }
        self.0.is_some()
    }

    fn failed(&mut self, error: &io::Error) {
        self.0 = None;
        if error.kind() != io::ErrorKind::BrokenPipe {
            eprintln!("lepus store: {error}");
            self.1 = ExitCode::from(UNREADABLE);
        }
    }

    fn end(mut self) -> ExitCode {
        if let Some(Err(error)) = self.0.as_mut().map(Write::flush) {
            self.failed(&error);
        }
        self.1
    }
}
