//! The behaviour of the broker seen from outside: one file per subject, all in one test binary.

mod common;

mod ack;
mod blocked;
mod bounded;
mod channel;
mod cli;
mod confirm;
mod consume;
mod definitions;
mod exchange;
mod exchange_routing;
mod exclusive;
mod forced_close;
mod handshake;
mod malformed;
mod oracle;
mod ordering;
mod permission;
mod policy;
mod publish;
mod qos;
mod queue;
mod queue_expiry;
mod shutdown;
mod transcripts;
mod tx;
