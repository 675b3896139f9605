//! The `lepus` command: what can be typed, and what each subcommand starts.
//!
//! Owns the command line, the process's log and its exit code. Long options only; what is given is validated before
//! anything is started, and what is not built yet is refused, never ignored. Start reading in [`serve`].

mod config;
mod limits;
mod log;
mod log_file;
mod notify;
mod serve;
mod store;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::perf;

/// A message broker that existing RabbitMQ clients use unchanged.
#[derive(Debug, Parser)]
#[command(name = "lepus", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker; the default when no command is given.
    Serve(Box<serve::Args>),
    /// Look at a configuration without running anything.
    #[command(subcommand)]
    Config(config::Command),
    /// Load a broker and measure it.
    Perf(Box<perf::Args>),
    /// Look into a data directory while no broker runs on it; nothing is written.
    #[command(subcommand)]
    Store(store::Command),
}

/// Runs what the command line asks for. The exit code is 0 for success, 1 for failure and 2 for a command line that
/// cannot be understood.
pub fn run() -> ExitCode {
    let cli = Cli::parse_from(perf::translate(std::env::args()));
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::Config(command)) => config::run(command),
        Some(Command::Store(command)) => store::run(&command),
        Some(Command::Perf(args)) => match perf::run(&args) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("lepus perf: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default() {
        let cli = Cli::try_parse_from(["lepus", "--amqp-listen", "127.0.0.1:5672"]).unwrap();
        assert!(cli.command.is_none());
        let cli = Cli::try_parse_from(["lepus", "serve", "--amqp-listen", "127.0.0.1:5672"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Serve(_))));
        assert!(Cli::try_parse_from(["lepus", "sevre"]).is_err());
    }
}
