//! What a broker has to carry beside the messages of a run: queues, bindings and connections that nobody uses. What
//! they cost a message is what a run with them shows.

use super::connection::{Connection, PerfError};
use super::scenario::Scenario;
use crate::wire::{Method, RawTable, Table, Value};

/// Kept as long as this is.
pub(super) struct Ballast {
    /// Owns the queues, which go with it.
    owner: Option<Connection>,
    idle: Vec<Connection>,
}

/// The queue that bindings lead to.
const BOUND: &str = "perf-ballast";

impl Ballast {
    /// Declares and opens what the scenario wants beside its messages.
    pub(super) fn load(scenario: &Scenario) -> Result<Self, PerfError> {
        let mut ballast = Self { owner: None, idle: Vec::new() };
        if scenario.ballast_queues > 0 || scenario.ballast_bindings > 0 {
            let mut owner = scenario.connect("perf-ballast")?;
            owner.open_channel(1)?;
            for number in 0..scenario.ballast_queues {
                declare(&mut owner, &format!("{BOUND}-{number}"))?;
            }
            if scenario.ballast_bindings > 0 {
                declare(&mut owner, BOUND)?;
            }
            for number in 0..scenario.ballast_bindings {
                bind(&mut owner, &scenario.exchange, number)?;
            }
            ballast.owner = Some(owner);
        }
        for number in 0..scenario.ballast_connections {
            let mut connection = scenario.connect(&format!("perf-ballast-{number}"))?;
            connection.open_channel(1)?;
            connection.shrink();
            ballast.idle.push(connection);
        }
        Ok(ballast)
    }

    /// Closes all of it.
    pub(super) fn drop_all(self) -> Result<(), PerfError> {
        self.idle.into_iter().chain(self.owner).try_for_each(Connection::close)
    }
}

fn declare(owner: &mut Connection, queue: &str) -> Result<(), PerfError> {
    let declare = Method::QueueDeclare {
        queue,
        passive: false,
        durable: false,
        exclusive: true,
        auto_delete: false,
        nowait: false,
        arguments: RawTable::default(),
    };
    owner.call(1, &declare, |method| matches!(method, Method::QueueDeclareOk { .. }))
}

/// A binding that no message of the run meets, by key (`ballast.<number>.*`) or by header (`number`).
fn bind(owner: &mut Connection, exchange: &str, number: u32) -> Result<(), PerfError> {
    let arguments: Table = [("number", Value::I64(number.into()))].into_iter().collect();
    let mut encoded = Vec::new();
    arguments.encode_bare(&mut encoded);
    let bind = Method::QueueBind {
        queue: BOUND,
        exchange,
        routing_key: &format!("ballast.{number}.*"),
        nowait: false,
        arguments: RawTable(&encoded),
    };
    owner.call(1, &bind, |method| matches!(method, Method::QueueBindOk {}))
}
