//! The `lepus` command.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: lepus::Allocator = lepus::Allocator;

fn main() -> ExitCode {
    lepus::cli::run()
}
