//! The entry points of the fuzz targets: those that the tests of `wire` run over their seeds.

use lepus::wire;

#[path = "../../src/wire/tests/fuzz.rs"]
pub mod entry;
