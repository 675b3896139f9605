//! The entry points of the fuzz targets: those that the tests of `wire` run over their seeds, and sequences of
//! operations on sessions.

use lepus::wire;

#[path = "../../src/wire/tests/fuzz.rs"]
pub mod entry;
pub mod session;
