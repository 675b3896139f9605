//! The behaviour of the broker seen from outside: one file per subject, all in one test binary.

mod common;

mod ack;
mod channel;
mod confirm;
mod consume;
mod exchange;
mod exchange_routing;
mod exclusive;
mod handshake;
mod malformed;
mod permission;
mod publish;
mod qos;
mod queue;
mod tx;
