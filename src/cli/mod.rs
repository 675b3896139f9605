//! The `lepus` command: what can be typed, and what each subcommand starts.
//!
//! Owns the command line, the process's log and its exit code. Long options only; what is given is validated before
//! anything is started, and what is not built yet is refused, never ignored. Start reading in [`serve`].

mod config;
mod ctl;
mod limits;
mod log;
mod log_file;
mod notify;
mod pid_file;
mod serve;
mod store;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

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
    /// Manage a running broker: the commands of rabbitmqctl, rabbitmq-diagnostics, rabbitmq-queues and rabbitmq-plugins.
    #[command(disable_help_flag = true)]
    Ctl {
        /// A command and what it takes; `lepus ctl help` lists them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Print what a shell needs to complete command lines.
    Completion {
        /// The shell.
        shell: Shell,
    },
    /// Look into a data directory while no broker runs on it; nothing is written.
    #[command(subcommand)]
    Store(store::Command),
}

/// The binary is `lepus serve` under this name, so that what starts RabbitMQ's starts it.
const SERVER: &str = "rabbitmq-server";

/// Runs what the command line asks for. The exit code is 0 for success, 1 for failure and 2 for a command line that
/// cannot be understood.
pub fn run() -> ExitCode {
    let mut words: Vec<String> = std::env::args().collect();
    if words.first().is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new(SERVER))) {
        words.insert(1, "serve".to_owned());
    }
    if let Some(code) = ctl::run_as_tool(&words) {
        return code;
    }
    // Its options are RabbitMQ's, and read by itself.
    if let [_, command, words @ ..] = &words[..]
        && command == "ctl"
    {
        return ctl::run(words);
    }
    let cli = Cli::parse_from(perf::translate(words));
    match cli.command {
        None => serve::run(cli.serve),
        Some(Command::Serve(args)) => serve::run(*args),
        Some(Command::Config(command)) => config::run(command),
        Some(Command::Ctl { words }) => ctl::run(&words),
        Some(Command::Completion { shell }) => {
            complete(shell);
            ExitCode::SUCCESS
        }
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

/// Prints the completions of a shell, with the commands of `lepus ctl` as if each were a subcommand.
fn complete(shell: Shell) {
    let mut cli = Cli::command().mut_subcommand("ctl", |ctl| {
        let named = clap::Command::new("ctl").about(ctl.get_about().cloned().unwrap_or_default());
        named.subcommands(ctl::clap_commands())
    });
    clap_complete::generate(shell, &mut cli, "lepus", &mut std::io::stdout());
}

#[cfg(test)]
mod tests {
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
