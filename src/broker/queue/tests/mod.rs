//! Tests of the whole state machine.

mod model;
mod timeout;
