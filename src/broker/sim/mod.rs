//! The whole durable path under seeds: real lanes, queues, clients, log, segments and checkpoints on a disk that loses
//! what was not synced, tears writes, is full, fails, and ends with the power at any operation. All of it runs in one
//! thread, in an order that the seed picks, over several lives; after each death a copy of the disk is recovered, and
//! what is there is compared with what the clients were told.
//!
//! `LEPUS_SIM_RUNS` says how many seeds are run, `LEPUS_SIM_FIRST` from which on, `LEPUS_SIM_SEED` runs one of them
//! again.

mod ledger;
mod life;

use std::io::ErrorKind;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use self::ledger::{Found, LETTERS, Ledger, QUEUES};
use self::life::{Life, Shape, USER_LOST};
use crate::store::{self, sim::SimDisk};

/// As many as a test may take the time for.
const RUNS: u64 = 300;
const LIVES: u32 = 4;

/// A run.
struct World {
    random: StdRng,
    disk: SimDisk,
    ledger: Ledger,
    shape: Shape,
    /// The number of the log's file in which the last life ended.
    newest_file: u32,
}

/// How a life is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// By itself, with everything written.
    Stop,
    Kill,
    PowerLoss,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let shape = Shape {
            file_bytes: [8, 16, 64][random.random_range(0..3)] << 10,
            memory_bytes: [1 << 14, 1 << 17, 1 << 24][random.random_range(0..3)],
            body_bytes_max: [40, 600, 6_000, 20_000][random.random_range(0..4)],
        };
        Self { random, disk: SimDisk::new(seed), ledger: Ledger::default(), shape, newest_file: 0 }
    }

    /// What goes wrong in the next life.
    fn plan_faults(&mut self) {
        let most = [20, 100, 400][self.random.random_range(0..3)];
        let operations = self.random.random_range(0..most);
        match self.random.random_range(0..10) {
            0..4 => self.disk.fail_after(operations, ErrorKind::Other),
            4 => self.disk.fail_once_after(operations, ErrorKind::Other),
            5 => self.disk.fail_once_after(operations, ErrorKind::StorageFull),
            6 => {
                let length = self.random.random_range(1..30);
                self.disk.fill_after(operations, length);
            }
            _ => {}
        }
    }

    fn run(&mut self) -> Result<(), String> {
        for life in 0..LIVES {
            self.plan_faults();
            self.live().map_err(|wrong| format!("life {life}: {wrong}"))?;
        }
        self.disk.heal();
        let life = Life::open(&self.disk, self.shape)?;
        self.check(&life)
    }

    /// A life, and its end.
    fn live(&mut self) -> Result<(), String> {
        let mut end = [End::Kill, End::PowerLoss, End::PowerLoss, End::Stop][self.random.random_range(0..4)];
        if let Ok(mut life) = Life::open(&self.disk, self.shape) {
            self.check(&life)?;
            let ended = self.work(&mut life);
            if let Some(wrong) = life.wrong.take()
                && !life.has_failed()
            {
                return Err(wrong);
            }
            if end == End::Stop && ended {
                self.stop(&mut life);
            } else if end == End::Stop {
                end = End::Kill;
            }
            self.newest_file = life.newest_file();
        }
        if self.disk.is_off() {
            end = End::PowerLoss;
        }
        self.disk = if end == End::PowerLoss { self.disk.crash() } else { self.disk.kill() };
        Ok(())
    }

    fn work(&mut self, life: &mut Life) -> bool {
        if !life.set_up(&mut self.ledger, true) {
            return false;
        }
        for _ in 0..self.random.random_range(5..80) {
            self.act(life);
            if life.has_failed() || life.wrong.is_some() {
                return false;
            }
        }
        true
    }

    /// One thing that happens.
    fn act(&mut self, life: &mut Life) {
        let Self { random, ledger, shape, .. } = self;
        let at = random.random_range(0..1000);
        let length = random.random_range(0..shape.body_bytes_max);
        let queue = random.random_range(0..QUEUES.len());
        match random.random_range(0..100) {
            0..22 => {
                for _ in 0..random.random_range(1..8) {
                    match random.random_range(0..4) {
                        0 => life.publish(&[0, 1, 2, 3, 4], length, ledger),
                        _ if queue == LETTERS => {}
                        _ => life.publish(&[queue], length, ledger),
                    }
                }
                if random.random_range(0..4) == 0 { life.flush_one(at) } else { life.flush() }
            }
            22..42 => {
                life.flush();
                life.turn(at);
            }
            42..52 => life.write_log(ledger),
            52..56 => life.write_segments(),
            56..60 => life.read_loads(),
            60..66 => life.look(ledger),
            66..76 => life.round(ledger),
            76..84 => {
                life.look(ledger);
                (0..random.random_range(1..6)).for_each(|_| life.ack(at % 3, ledger));
            }
            84..87 => {
                life.look(ledger);
                life.give_back(at, ledger);
            }
            87..90 => {
                life.look(ledger);
                let to: Vec<usize> = (0..random.random_range(0..4)).map(|_| random.random_range(0..LETTERS)).collect();
                life.transact(at % 4, &to, length, ledger);
            }
            90..94 => life.checkpoint(),
            94 => life.checkpoint_between(at, length, ledger),
            95..97 => life.whole_checkpoint(ledger),
            97 => life.purge(queue, ledger),
            98 => life.delete(queue, ledger),
            _ => life.reconnect(ledger),
        }
    }

    /// Everything is written, and two checkpoints are made.
    fn stop(&mut self, life: &mut Life) {
        life.round(&mut self.ledger);
        life.whole_checkpoint(&mut self.ledger);
        life.whole_checkpoint(&mut self.ledger);
        life.round(&mut self.ledger);
    }

    /// Recovers a copy of the disk, in which whatever the living process only handed over is lost, and compares.
    fn check(&mut self, _living: &Life) -> Result<(), String> {
        let found = self.find()?;
        self.ledger.check(&found)?;
        self.ledger.resolve(&found);
        Ok(())
    }

    /// Lives without faults, and then a bit of a file is not as it was written.
    fn run_damaged(&mut self) -> Result<(), String> {
        for life in 0..2 {
            self.live().map_err(|wrong| format!("life {life}: {wrong}"))?;
        }
        let files: Vec<_> = self.disk.lengths().into_iter().filter(|(_, length)| *length > 0).collect();
        let (name, length) = &files[self.random.random_range(0..files.len())];
        let (offset, bit) = (self.random.random_range(0..*length), self.random.random_range(0..8));
        self.disk.flip(name, offset, bit);
        let context = |wrong: String| format!("bit {bit} of byte {offset} of {name}: {wrong}");
        let mut life = match Life::open(&self.disk, self.shape) {
            Ok(life) => life,
            // Where whole it says what is lost; the files before are gone.
            Err(_) if name.starts_with("checkpoint") => return Ok(()),
            Err(lost) if lost == USER_LOST => return Ok(()),
            Err(error) => return Err(context(format!("does not open: {error}"))),
        };
        // A chunk is looked at when it is read, and the process's own log says what is lost. The last that was written
        // cannot be told from a torn write.
        let is_newest = *name == store::file_name("log", self.newest_file);
        self.ledger.is_damaged = life.is_damaged || is_newest || name.starts_with("segment");
        let found = life.drain().map_err(context)?;
        self.ledger.check(&found).map_err(context)
    }

    fn find(&mut self) -> Result<Found, String> {
        let copy = self.disk.fork().crash();
        Life::open(&copy, self.shape).map_err(|error| format!("the copy does not open: {error}"))?.drain()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs worlds of seeds, or of the one that is asked for.
fn simulate(run: fn(&mut World) -> Result<(), String>) {
    let seeds = match number("LEPUS_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => {
            let first = number("LEPUS_SIM_FIRST").unwrap_or(0);
            first..first + number("LEPUS_SIM_RUNS").unwrap_or(RUNS)
        }
    };
    for seed in seeds {
        if let Err(wrong) = run(&mut World::new(seed)) {
            panic!("LEPUS_SIM_SEED={seed}: {wrong}");
        }
    }
}

/// What was confirmed is there, what was acked and synced is gone, in order, whatever the disk does.
#[test]
fn nothing_is_lost_or_comes_back_whatever_the_disk_does() {
    simulate(World::run);
}

/// A flipped bit is told of, and costs no more than what it was part of.
#[test]
fn a_flipped_bit_is_told_of() {
    simulate(World::run_damaged);
}

/// Or a seed that fails would be of no use.
#[test]
fn a_seed_does_the_same_again() {
    for seed in 0..30 {
        let run = || {
            let mut world = World::new(seed);
            world.run().map(|()| (world.disk.operations(), world.disk.lengths()))
        };
        assert_eq!(run(), run(), "seed {seed}");
    }
}
