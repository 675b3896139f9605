//! Tests of the whole state machine.

mod expiry;
mod model;
mod timeout;
