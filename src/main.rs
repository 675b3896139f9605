//! The `lepus` command.

use std::process::ExitCode;

/// Messages come and go on different threads; mimalloc returns them cheaply, and its memory to the system.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    lepus::cli::run()
}
