//! All commands, by group; the order is that of the help.

use super::broker::Broker;
use super::failure::Failure;
use super::line::Line;
use super::listing::List;
use super::output::{Format, Outcome};
use super::request::Send;
use super::{
    access, attempts, connections, definitions, feature_flags, health, listing, logs, lone, node, parameters, plugins,
    policies, queues, refused, report, settings, status, users, vhosts,
};

/// The name that the command was called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// `lepus ctl`: all commands.
    Lepus,
    /// `rabbitmqctl`.
    Ctl,
    /// `rabbitmq-diagnostics`.
    Diagnostics,
    /// `rabbitmq-queues`.
    Queues,
    /// `rabbitmq-plugins`.
    Plugins,
    /// `rabbitmq-streams`.
    Streams,
    /// `rabbitmq-upgrade`.
    Upgrade,
}

/// RabbitMQ's tools.
const NAMED: [Tool; 6] = [Tool::Ctl, Tool::Diagnostics, Tool::Queues, Tool::Plugins, Tool::Streams, Tool::Upgrade];

impl Tool {
    /// The tool of that file name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        NAMED.into_iter().find(|tool| tool.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lepus => "lepus ctl",
            Self::Ctl => "rabbitmqctl",
            Self::Diagnostics => "rabbitmq-diagnostics",
            Self::Queues => "rabbitmq-queues",
            Self::Plugins => "rabbitmq-plugins",
            Self::Streams => "rabbitmq-streams",
            Self::Upgrade => "rabbitmq-upgrade",
        }
    }
}

/// A command.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    /// Which tools have it, besides `lepus ctl`.
    pub(super) tools: &'static [Tool],
    /// See `usage.rs`.
    pub(super) usage: &'static str,
    /// For the help.
    pub(super) about: &'static str,
    /// What is printed before it runs, with names of arguments in braces; empty: nothing.
    pub(super) banner: &'static str,
    /// Refuses values before anything is printed or done.
    pub(super) check: fn(&Line) -> Result<(), Failure>,
    pub(super) run: Run,
    /// How it is shown if nothing else is asked for.
    pub(super) format: Format,
}

/// What a command does.
#[derive(Debug)]
pub(super) enum Run {
    /// One request; nothing is printed if it is served.
    Send(Send),
    /// Prints rows.
    List(&'static List),
    /// Anything else that needs the broker.
    Do(fn(&Line, &Broker) -> Result<Outcome, Failure>),
    /// The same for what waits until the broker is there.
    Unreached(fn(&Line, &Broker) -> Result<Outcome, Failure>),
    /// Needs no broker.
    Alone(fn(&Line) -> Result<Outcome, Failure>),
    /// Has no meaning here, for this reason.
    Refuse(&'static str),
}

pub(super) const CTL: &[Tool] = &[Tool::Ctl];
pub(super) const DIAGNOSTICS: &[Tool] = &[Tool::Diagnostics];
pub(super) const EVERY: &[Tool] = &NAMED;
pub(super) const BOTH: &[Tool] = &[Tool::Ctl, Tool::Diagnostics];

impl Command {
    pub(super) const fn new(
        tools: &'static [Tool],
        (name, usage): (&'static str, &'static str),
        about: &'static str,
        banner: &'static str,
        run: Run,
    ) -> Self {
        Self { name, tools, usage, about, banner, check: no_check, run, format: Format::Table }
    }

    /// With a check of its values.
    pub(super) const fn checked(mut self, check: fn(&Line) -> Result<(), Failure>) -> Self {
        self.check = check;
        self
    }

    /// In another format than a plain table.
    pub(super) const fn shown_as(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    fn is_of(&self, tool: Tool) -> bool {
        tool == Tool::Lepus || self.tools.contains(&tool)
    }
}

fn no_check(_: &Line) -> Result<(), Failure> {
    Ok(())
}

/// Title and commands.
pub(super) const GROUPS: &[(&str, &[Command])] = &[
    ("Nodes", node::COMMANDS),
    ("Users", users::COMMANDS),
    ("Access Control", access::COMMANDS),
    ("Monitoring, observability and health checks", status::COMMANDS),
    ("Monitoring, observability and health checks", report::COMMANDS),
    ("Monitoring, observability and health checks", health::COMMANDS),
    ("Monitoring, observability and health checks", logs::COMMANDS),
    ("Monitoring, observability and health checks", listing::COMMANDS),
    ("Monitoring, observability and health checks", attempts::COMMANDS),
    ("Parameters", parameters::COMMANDS),
    ("Policies", policies::COMMANDS),
    ("Virtual hosts", vhosts::COMMANDS),
    ("Queues", queues::COMMANDS),
    ("Operations", connections::COMMANDS),
    ("Feature flags", feature_flags::COMMANDS),
    ("Configuration and Environment", settings::COMMANDS),
    ("Definitions", definitions::COMMANDS),
    ("Plugins", plugins::COMMANDS),
    ("Other", lone::COMMANDS),
    ("Without a meaning here", refused::COMMANDS),
];

/// The commands of a tool.
pub(super) fn commands(tool: Tool) -> impl Iterator<Item = (&'static str, &'static Command)> {
    let all = GROUPS.iter().flat_map(|(title, commands)| commands.iter().map(move |command| (*title, command)));
    all.filter(move |(_, command)| command.is_of(tool))
}

/// The command of that name.
pub(super) fn find(tool: Tool, name: &str) -> Option<&'static Command> {
    commands(tool).map(|(_, command)| command).find(|command| command.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cli::ctl::usage::Usage;

    /// A tool has one command of a name, and whatever a text names can be given.
    #[test]
    fn the_table_is_consistent() {
        for tool in NAMED.into_iter().chain([Tool::Lepus]) {
            let names: Vec<_> = commands(tool).map(|(_, command)| command.name).collect();
            let different: BTreeSet<_> = names.iter().collect();
            assert_eq!(names.len(), different.len(), "{tool:?}");
        }
        for (_, command) in commands(Tool::Lepus) {
            let usage = Usage::read(command.usage);
            let mut named = Vec::new();
            let mut note = |name: &str| {
                named.push(name.to_owned());
                String::new()
            };
            Line::fill(command.banner, &mut note);
            if let Run::Send(send) = &command.run {
                Line::fill(send.path, &mut note);
            }
            for name in named {
                let known = usage.required.iter().chain(&usage.optional).chain(&usage.rest).any(|own| *own == name);
                let option =
                    usage.switches.iter().any(|own| own.name == name) || ["node", "seconds", "ms"].contains(&&*name);
                assert!(known || option, "{}: {name}", command.name);
            }
        }
    }
}
