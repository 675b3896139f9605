//! Writes the seeds of every target into `corpus/`: `cargo run --example seeds`. Steps of sessions are read from any
//! bytes, so random ones will do.

use std::path::Path;
use std::{fs, io};

use lepus_fuzz::entry::{TARGETS, Target};

fn main() -> io::Result<()> {
    for Target { name, seeds, .. } in TARGETS {
        write(name, &seeds())?;
    }
    write("session", &(1..=SESSION_SEEDS).map(random_bytes).collect::<Vec<_>>())
}

fn write(target: &str, seeds: &[Vec<u8>]) -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}

const SESSION_SEEDS: u64 = 64;
const SESSION_SEED_BYTES: usize = 4096;

/// The same for the same number, which is not 0 (xorshift64*).
fn random_bytes(number: u64) -> Vec<u8> {
    let mut state = number << 32;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_F491_4F6C_DD1D).to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(SESSION_SEED_BYTES).collect()
}
