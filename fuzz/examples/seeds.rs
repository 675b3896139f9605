//! Writes the seeds of every target into `corpus/`: `cargo run --example seeds`.

use std::path::Path;
use std::{fs, io};

use lepus_fuzz::entry::{TARGETS, Target};

fn main() -> io::Result<()> {
    for Target { name, seeds, .. } in TARGETS {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in seeds().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
