//! What the tools tell of themselves, and what shells complete.

use super::table::{self, Command, Tool};
use super::usage::Usage;

/// How unlike a word may be that was meant.
const LIKENESS_MIN: f64 = 0.8;

const GENERAL: &str = "\
General Options

The following options are accepted by all commands.

short        | long              | description
-------------|-------------------|--------------------------------
-?           | --help            | displays command help
-n <node>    | --node <node>     | accepted; the options below say where the broker is
-l           | --longnames       | accepted
-t <seconds> | --timeout <n>     | how long to wait for an answer
-q           | --quiet           | suppress informational messages
-s           | --silent          | suppress informational messages
             |                   | and table header row
-p <vhost>   | --vhost <vhost>   | virtual host to use
             | --formatter       | table, pretty_table, json, json_stream, csv, erlang, string, inspect,
             |                   | string_per_line
             | --data-dir <dir>  | the data directory of a broker on this machine, for its local socket
             | --socket <path>   | the socket itself (LEPUS_SOCKET)
             | --url <url>       | http://HOST:PORT or https://HOST:PORT of its management API instead
             |                   | (LEPUS_URL), with what stands before its paths
             | --tls-ca-cert-file <file>
             |                   | the authorities of its certificate, PEM; else the system's
             | --tls-cert-file <file>, --tls-key-file <file>
             |                   | a certificate to show it, and its key, PEM
-k           | --insecure        | any certificate will do
             | --username <name> | to log in there (LEPUS_USERNAME; guest)
             | --password <word> | better in LEPUS_PASSWORD: others see the command line
";

/// The commands of a tool.
pub(super) fn all(tool: Tool) -> String {
    let name = tool.name();
    let mut text = format!(
        "\nUsage\n\n{name} [--node <node>] [--timeout <timeout>] [--longnames] [--quiet] <command> [<command options>]\n\n\
         Available commands:\n"
    );
    let width = table::commands(tool).map(|(_, command)| command.name.len()).max().unwrap_or_default();
    let line = |name: &str, about: &str| format!("   {name:width$}  {about}\n");
    text += "\nHelp:\n\n";
    text += &line("help", "Displays usage information for a command");
    let mut last = "";
    for (title, command) in table::commands(tool) {
        if title != last {
            text += &format!("\n{title}:\n\n");
            last = title;
        }
        text += &line(command.name, command.about);
    }
    text + &format!("\nUse '{name} help <command>' to learn more about a specific command\n")
}

pub(super) fn usage(tool: Tool, command: &Command) -> String {
    let line = format!("{} [--node <node>] [--longnames] [--quiet] {} {}", tool.name(), command.name, command.usage);
    line.trim_end().to_owned()
}

/// A command.
pub(super) fn of(tool: Tool, command: &Command) -> String {
    format!("\nUsage\n\n{}\n\n{}.\n\n\n{GENERAL}", usage(tool, command), command.about)
}

/// There is no such command; perhaps there is one like it.
pub(super) fn unknown(tool: Tool, name: &str) -> String {
    let likeness = |command: &Command| strsim::jaro(name, command.name);
    let commands = table::commands(tool).map(|(_, command)| command);
    let like = commands.filter(|command| likeness(command) > LIKENESS_MIN);
    match like.max_by(|a, b| likeness(a).total_cmp(&likeness(b))) {
        Some(command) => format!("\nCommand '{name}' not found. \nDid you mean '{}'? \n", command.name),
        None => format!("\nCommand '{name}' not found. \n{}", all(tool)),
    }
}

/// Names of commands that begin so.
pub(super) fn beginning(tool: Tool, prefix: &str) -> Vec<&'static str> {
    let names = table::commands(tool).map(|(_, command)| command.name);
    names.filter(|name| name.starts_with(prefix)).collect()
}

/// All commands, for the completions of shells.
pub(in crate::cli) fn clap_commands() -> impl Iterator<Item = clap::Command> {
    table::commands(Tool::Lepus).map(|(_, command)| {
        let options = Usage::read(command.usage).switches.into_iter().map(|switch| {
            let argument = clap::Arg::new(switch.name).long(switch.name);
            let action = if switch.has_value { clap::ArgAction::Set } else { clap::ArgAction::SetTrue };
            match switch.letter {
                Some(letter) => argument.short(letter).action(action),
                None => argument.action(action),
            }
        });
        clap::Command::new(command.name).about(command.about).args(options)
    })
}
