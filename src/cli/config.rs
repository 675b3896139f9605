//! `lepus config`: what a configuration comes to, without running anything.

use std::io::Write as _;
use std::process::ExitCode;

use super::serve;
use crate::config::{known, show};
use crate::server::Server;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Print what is in force with these options, files and environment, secrets left out. Exit code 0: the broker would
    /// start with it, 78: it would not
    Check(Box<serve::Args>),
    /// Print the keys of rabbitmq.conf that have an effect, with what they may be and what they do
    Keys,
}

/// EX_CONFIG.
const BAD_CONFIGURATION: u8 = 78;

pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Check(args) => check(&args),
        Command::Keys => {
            let line = |key: &known::Key| format!("{} = {}\n    {}\n", key.pattern, key.allowed, key.does);
            print(&known::KEYS.iter().map(line).collect::<String>())
        }
    }
}

fn check(args: &serve::Args) -> ExitCode {
    let failed = |error: &dyn std::fmt::Display| {
        eprintln!("lepus config check: {error}");
        ExitCode::from(BAD_CONFIGURATION)
    };
    let (options, applied) = match args.options(|name| std::env::var(name).ok()) {
        Ok(configured) => configured,
        Err(error) => return failed(&error),
    };
    for warning in &applied.warnings {
        eprintln!("warning: {warning}");
    }
    if let Err(error) = Server::check(&options) {
        return failed(&error);
    }
    let lines = show::lines(&options, &applied.logging).into_iter();
    print(&lines.map(|(key, value)| format!("{key} = {value}\n")).collect::<String>())
}

/// Whoever reads it may have read enough.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    ExitCode::SUCCESS
}
