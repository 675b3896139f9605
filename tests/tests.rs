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
mod dedup;
mod definitions;
mod delayed;
mod exchange;
mod exchange_plugins;
mod exchange_routing;
mod exclusive;
mod forced_close;
mod handshake;
mod malformed;
mod oracle;
mod ordering;
mod perf;
mod permission;
mod policy;
mod proxy_protocol;
mod publish;
mod qos;
mod queue;
mod queue_expiry;
mod quorum;
mod shutdown;
mod tls;
mod transcripts;
mod tx;
