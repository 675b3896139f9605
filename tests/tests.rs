//! The behaviour of the broker seen from outside: one file per subject, all in one test binary.

mod common;

mod ack;
mod blocked;
mod bounded;
mod channel;
mod cli;
mod confirm;
mod consume;
mod consumer_timeout;
mod dead_letter;
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
mod publish;
mod qos;
mod queue;
mod queue_expiry;
mod quorum;
mod shutdown;
mod transcripts;
mod tx;
