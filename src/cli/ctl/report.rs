//! `report`: what other commands print, one after the other, for whoever helps from afar.

use super::broker::Broker;
use super::failure::Failure;
use super::line::{self, Line, Typed};
use super::listing::{CHANNELS, CONNECTIONS, EXCHANGES, List, QUEUES};
use super::output::Outcome;
use super::table::{BOTH, Command, Run, Tool};

/// Of the broker, and then of each vhost; lists with the columns they have.
const OF_BROKER: [(&str, Option<&List>); 5] = [
    ("status", None),
    ("cluster_status", None),
    ("environment", None),
    ("list_connections", Some(&CONNECTIONS)),
    ("list_channels", Some(&CHANNELS)),
];
const OF_VHOST: [(&str, Option<&List>); 7] = [
    ("list_queues", Some(&QUEUES)),
    ("list_exchanges", Some(&EXCHANGES)),
    ("list_bindings", None),
    ("list_permissions", None),
    ("list_policies", None),
    ("list_global_parameters", None),
    ("list_parameters", None),
];

fn report(line: &Line, broker: &Broker) -> Result<Outcome, Failure> {
    let vhosts = broker.get("vhosts?columns=name")?;
    let vhosts = vhosts.as_array().into_iter().flatten().filter_map(|vhost| vhost["name"].as_str());
    for (name, list) in OF_BROKER {
        section(line, broker, name, list, None);
    }
    for vhost in vhosts {
        for (name, list) in OF_VHOST {
            section(line, broker, name, list, Some(vhost));
        }
    }
    Ok(Outcome::Done)
}

/// What cannot be told is said in its place: a report is asked for when something is wrong.
fn section(line: &Line, broker: &Broker, name: &str, list: Option<&List>, vhost: Option<&str>) {
    let mut words = vec![name.to_owned()];
    words.extend(vhost.map(|vhost| format!("--vhost={vhost}")));
    words.extend(["quiet", "silent"].into_iter().filter(|option| line.has(option)).map(|option| format!("--{option}")));
    words.extend(list.into_iter().flat_map(List::names).map(str::to_owned));
    let told = match line::read(Tool::Lepus, &words) {
        Typed::Line(own) => super::tell(&own, broker),
        _ => Ok(()),
    };
    if let Err(failure) = told {
        super::print(&format!("{}\n", failure.text));
    }
    super::print("\n");
}

pub(super) const COMMANDS: &[Command] = &[Command::new(
    BOTH,
    ("report", ""),
    "Generate a server status report containing a concatenation of all server status information for support purposes",
    "Reporting server status of node {node} ...\n",
    Run::Do(report),
)];
