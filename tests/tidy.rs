//! Source checks.
fn main() {}
