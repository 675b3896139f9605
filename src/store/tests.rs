//! The log under faults: what was promised is there, in order, after any crash; what was damaged is told.

use std::io::ErrorKind;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sim::SimDisk;
use super::{Block, CheckpointWriter, Damage, Log, LogError, LogOptions, Position, Reader, Tail, read_checkpoint};

const OPTIONS: LogOptions =
    LogOptions { name: "log", prewritten: true, file_bytes: 16 * 1024, node: *b"the node we test" };

/// A log, and what is known of its records: each says its number.
struct Bench {
    disk: SimDisk,
    random: StdRng,
    /// Records that must be there.
    promised: u64,
    /// Records that may be there.
    written: u64,
}

/// Writes and syncs as the thread does.
fn write(log: &mut Log<SimDisk>, blocks: &mut [(Position, Block)]) -> std::io::Result<()> {
    for group in blocks.chunk_by_mut(|(a, _), (b, _)| a.file() == b.file()) {
        log.write(group)?;
    }
    log.sync()
}

type Opened = (Log<SimDisk>, Vec<u64>, Vec<Damage>);

fn open(disk: &SimDisk) -> Result<Opened, LogError> {
    let mut found = Vec::new();
    let (log, damages) = Log::open(Arc::new(disk.clone()), OPTIONS, Position::default(), |record| {
        let number = u64::from_le_bytes(*record.payload.first_chunk().unwrap());
        assert_eq!((record.kind, record.source), ((number % 7) as u8, (number % 3) as u32));
        assert!(record.payload[8..].iter().all(|byte| *byte == number as u8));
        found.push(number);
    })?;
    Ok((log, found, damages))
}

impl Bench {
    fn new(seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed);
        Self { disk: SimDisk::new(seed), random, promised: 0, written: 0 }
    }

    /// One write of some blocks; records of a block have numbers of one remainder by three.
    fn blocks(&mut self, tail: &mut Tail) -> Vec<(Position, Block)> {
        let count = self.random.random_range(1..4);
        let mut blocks = Vec::new();
        for _ in 0..count {
            let number = self.written;
            self.written += 1;
            let mut block = Block::new((number % 3) as u32);
            let padding_max = [10, 100, 3000][self.random.random_range(0..3)];
            let padding = self.random.random_range(0..padding_max);
            block.record((number % 7) as u8, |out| {
                out.extend_from_slice(&number.to_le_bytes());
                out.resize(out.len() + padding, number as u8);
            });
            blocks.push((tail.place(block.len()), block));
        }
        blocks
    }

    /// Writes until the disk fails or `writes` are done.
    fn work(&mut self, log: &mut Log<SimDisk>, writes: u32) {
        let mut tail = log.tail();
        for _ in 0..writes {
            let mut blocks = self.blocks(&mut tail);
            if self.random.random_bool(0.2) && log.prepare().is_err() {
                return;
            }
            match write(log, &mut blocks) {
                Ok(()) => self.promised = self.written,
                Err(_) => return,
            }
        }
    }

    /// The next process finds everything promised, in order, then maybe more, without a gap.
    fn check(&mut self, seed: u64, (log, found, damages): Opened) -> Log<SimDisk> {
        assert!(damages.is_empty(), "seed {seed}: {damages:?}");
        assert!(found.iter().copied().eq(0..found.len() as u64), "seed {seed}: {found:?}");
        let found = found.len() as u64;
        assert!((self.promised..=self.written).contains(&found), "seed {seed}: {found} of {}", self.promised);
        (self.promised, self.written) = (found, found);
        log
    }
}

fn crashes(seed: u64) {
    let mut bench = Bench::new(seed);
    for _ in 0..6 {
        let limit = bench.random.random_range(1..40);
        if bench.random.random_bool(0.8) {
            let kind = if bench.random.random_bool(0.5) { ErrorKind::StorageFull } else { ErrorKind::Other };
            bench.disk.fail_after(limit, kind);
        }
        // A crash while the log is being opened is a crash like others.
        if let Ok(opened) = open(&bench.disk) {
            let mut log = bench.check(seed, opened);
            bench.work(&mut log, limit as u32);
        }
        bench.disk = bench.disk.crash();
    }
    let opened = open(&bench.disk).unwrap();
    bench.check(seed, opened);
}

#[test]
fn what_was_promised_survives_crashes_at_every_point() {
    for seed in 0..2_000 {
        crashes(seed);
    }
}

#[test]
fn a_flipped_bit_is_told_and_costs_its_record_or_its_block() {
    for seed in 0..2_000 {
        let mut bench = Bench::new(seed);
        let mut log = open(&bench.disk).unwrap().0;
        bench.work(&mut log, 20);
        let last_write = bench.promised;
        bench.work(&mut log, 1);
        let file = bench.random.random_range(1..=log.synced().file());
        let end = if file == log.synced().file() { log.synced().offset() } else { OPTIONS.file_bytes };
        let offset = bench.random.random_range(0..end) as usize;
        let bit = bench.random.random_range(0..8);
        bench.disk.flip(&format!("log-{file:016x}"), offset, bit);
        let (_, found, damages) = match open(&bench.disk) {
            Ok(opened) => opened,
            Err(error) => panic!("seed {seed}: {error}"),
        };
        assert!(found.is_sorted());
        let lost = bench.promised - found.len() as u64;
        assert!(lost <= 3, "seed {seed}: {lost} lost at {file}/{offset}: {damages:?}");
        // Damage at the very end looks like a write that was never finished.
        let at_the_end = found.iter().copied().eq(0..found.len() as u64) && found.len() as u64 >= last_write;
        assert!(lost == 0 || !damages.is_empty() || at_the_end, "seed {seed}: silent loss at {file}/{offset}");
        assert!(damages.iter().all(|damage| damage.from < damage.to));
        assert!(damages.len() <= 2, "{damages:?}");
    }
}

#[test]
fn a_file_of_another_node_or_a_later_version_is_refused() {
    let mut bench = Bench::new(1);
    let mut log = open(&bench.disk).unwrap().0;
    bench.work(&mut log, 3);
    let other = LogOptions { node: [7; 16], ..OPTIONS };
    let error = Log::open(Arc::new(bench.disk.clone()), other, Position::default(), |_| ()).unwrap_err();
    assert!(matches!(&error, LogError::Foreign { file } if file == "log-0000000000000001"), "{error}");
}

#[test]
fn retired_files_are_used_again() {
    let mut bench = Bench::new(5);
    let mut log = open(&bench.disk).unwrap().0;
    let mut tail = log.tail();
    let mut retired = 0;
    while log.synced().file() < 50 {
        let mut blocks = bench.blocks(&mut tail);
        write(&mut log, &mut blocks).unwrap();
        while retired + 1 < log.synced().file() {
            retired += 1;
            log.retire(retired).unwrap();
        }
    }
    bench.promised = bench.written;
    let names = super::Disk::list(&bench.disk).unwrap();
    assert!(names.len() <= 3, "{names:?}");
    bench.disk = bench.disk.crash();
    let mut found = Vec::new();
    let from = Position::new(retired + 1, 0);
    let (log, damages) = Log::open(Arc::new(bench.disk.clone()), OPTIONS, from, |record| {
        found.push(u64::from_le_bytes(*record.payload.first_chunk().unwrap()));
    })
    .unwrap();
    assert!(damages.is_empty(), "{damages:?}");
    // What the files' former lives held is not seen again.
    assert!(found.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{found:?}");
    assert_eq!(found.last(), Some(&(bench.promised - 1)));
    assert!(log.synced().file() > 50);
    assert!(bench.disk.operations() > 0);
}

#[test]
fn records_are_read_back_by_their_places() {
    let disk = Arc::new(SimDisk::new(1));
    let mut log = Log::begin(disk.clone(), OPTIONS, 9).unwrap();
    let mut tail = log.tail();
    let mut block = Block::new(4);
    let starts = [block.record(1, |out| out.extend_from_slice(b"one")), block.record(2, |out| out.push(7))];
    let (position, length) = (tail.place(block.len()), block.len());
    write(&mut log, &mut [(position, block)]).unwrap();

    let reader = Reader::new(disk.clone(), OPTIONS.name);
    let place = |start: u32| Position(position.0 + u64::from(start));
    assert_eq!(reader.record(place(starts[0]), 3).unwrap(), b"one");
    assert_eq!(reader.record(place(starts[1]), 1).unwrap(), [7]);
    assert_eq!(reader.record(place(starts[1]), 2).unwrap_err().kind(), ErrorKind::InvalidData);
    let mut kinds = Vec::new();
    reader.block(position, length, |record| kinds.push((record.source, record.kind))).unwrap();
    assert_eq!(kinds, [(4, 1), (4, 2)]);

    disk.flip("log-0000000000000009", place(starts[0]).offset() as usize + 10, 3);
    let error = reader.record(place(starts[0]), 3).unwrap_err();
    assert_eq!(error.to_string(), "log-0000000000000009 is damaged at byte 96");
    kinds.clear();
    reader.block(position, length, |record| kinds.push((record.source, record.kind))).unwrap_err();
    assert_eq!(kinds, [(4, 2)]);
}

/// Writes a checkpoint of so many records.
fn checkpoint(disk: &SimDisk, number: u32, records: u32) -> std::io::Result<()> {
    let mut writer = CheckpointWriter::begin(disk, number, OPTIONS.node)?;
    for n in 0..records {
        writer.record(1, |out| {
            out.extend_from_slice(&[number as u8; 5000]);
            out.extend_from_slice(&n.to_le_bytes());
        })?;
    }
    writer.finish(Position(number.into()))
}

/// The newest whole checkpoint's number, and how many records it has.
fn newest(disk: &SimDisk) -> (u32, u32, Vec<String>) {
    let mut records = 0;
    let (checkpoint, damaged) = read_checkpoint(disk, OPTIONS.node, |record| {
        assert_eq!(record.payload[5000..], u32::to_le_bytes(records));
        records += 1;
    })
    .unwrap();
    assert_eq!(checkpoint.replay_from, Position(checkpoint.number.into()));
    (checkpoint.number, records, damaged)
}

#[test]
fn a_checkpoint_that_fails_leaves_the_one_before() {
    for seed in 0..60 {
        let mut disk = SimDisk::new(seed);
        assert_eq!(newest(&disk), (0, 0, vec![]));
        checkpoint(&disk, 1, 220).unwrap();
        assert_eq!(newest(&disk), (1, 220, vec![]));
        disk.fail_after(seed % 12, ErrorKind::StorageFull);
        let finished = checkpoint(&disk, 2, 240).is_ok();
        disk = disk.crash();
        let (number, records, damaged) = newest(&disk);
        assert_eq!(records, if number == 1 { 220 } else { 240 }, "seed {seed}");
        assert!(damaged.is_empty() && (!finished || number == 2), "seed {seed}");
    }
}

#[test]
fn a_damaged_checkpoint_is_told_and_not_used() {
    let disk = SimDisk::new(1);
    checkpoint(&disk, 3, 10).unwrap();
    disk.flip("checkpoint-0000000000000003", 20_000, 0);
    assert_eq!(newest(&disk), (0, 0, vec!["checkpoint-0000000000000003".into()]));
    let error = read_checkpoint(&disk, [0; 16], |_| ()).map(|_| ());
    assert!(error.is_ok(), "a damaged one is nobody's");
    checkpoint(&disk, 4, 10).unwrap();
    assert!(matches!(read_checkpoint(&disk, [0; 16], |_| ()), Err(LogError::Foreign { .. })));
}

/// A log of at least so many files.
fn log_of(seed: u64, files: u32) -> Bench {
    let mut bench = Bench::new(seed);
    let mut log = open(&bench.disk).unwrap().0;
    let mut tail = log.tail();
    while log.synced().file() < files {
        let mut blocks = bench.blocks(&mut tail);
        write(&mut log, &mut blocks).unwrap();
    }
    bench.promised = bench.written;
    bench
}

#[test]
fn a_file_that_is_gone_or_emptied_is_told() {
    for (file, empties) in [(1, false), (3, false), (1, true), (3, true)] {
        let bench = log_of(7, 5);
        let name = format!("log-{file:016x}");
        if empties {
            super::Disk::create(&bench.disk, &name, 10).unwrap();
        } else {
            super::Disk::remove(&bench.disk, &name).unwrap();
        }
        let (_, found, damages) = open(&bench.disk).unwrap();
        let told: Vec<(&str, bool)> = damages.iter().map(|damage| (damage.file.as_str(), damage.is_missing)).collect();
        assert_eq!(told, [(name.as_str(), true)]);
        assert!(found.len() < bench.promised as usize && found.is_sorted());
        // What was not lost is there at the next start, too, and what comes is behind.
        assert_eq!(open(&bench.disk).unwrap().1, found);
    }
}

#[test]
fn a_log_shorter_than_its_checkpoint_says_goes_on_behind() {
    let mut bench = log_of(8, 2);
    let replay_from = Position::new(2, 9000);
    super::Disk::create(&bench.disk, "log-0000000000000002", 0).unwrap();
    let read = |disk: &SimDisk| {
        let mut found = 0;
        let (log, damages) = Log::open(Arc::new(disk.clone()), OPTIONS, replay_from, |_| found += 1).unwrap();
        (log, found, damages)
    };
    let (mut log, found, damages) = read(&bench.disk);
    assert_eq!((found, damages.len(), damages[0].file.as_str()), (0, 1, "log-0000000000000002"));
    let mut blocks = bench.blocks(&mut log.tail());
    write(&mut log, &mut blocks).unwrap();
    assert_eq!(read(&bench.disk).1, blocks.len());
}

#[test]
fn what_others_wrote_is_left_alone() {
    let bench = log_of(9, 2);
    let names = ["log-0000000000000007", "log-spare-0000000000000001", "log-0000000000000000"];
    for name in names {
        let file = super::Disk::create(&bench.disk, name, 0).unwrap();
        super::DiskFile::write_at(&file, 0, &[std::io::IoSlice::new(&[b'x'; 100])]).unwrap();
    }
    for _ in 0..2 {
        let (mut log, ..) = open(&bench.disk).unwrap();
        assert!(log.end().file() > 7);
        log.prepare().unwrap();
        for name in names {
            let mut bytes = [0; 100];
            let file = super::Disk::open(&bench.disk, name).unwrap();
            super::DiskFile::read_at(&file, 0, &mut bytes).unwrap();
            assert_eq!(bytes, [b'x'; 100], "{name}");
        }
    }
}

#[test]
fn a_damaged_file_is_kept_aside() {
    let bench = log_of(10, 3);
    bench.disk.flip("log-0000000000000001", 200, 0);
    let (mut log, _, damages) = open(&bench.disk).unwrap();
    assert_eq!(damages.len(), 1);
    log.retire(1).unwrap();
    log.retire(2).unwrap();
    let names = super::Disk::list(&bench.disk).unwrap();
    assert!(names.contains(&"damaged-log-0000000000000001".to_owned()), "{names:?}");
    assert!(names.contains(&"log-spare-0000000000000002".to_owned()), "{names:?}");
}

#[test]
fn a_full_disk_is_named_at_the_start() {
    for operations in 0..8 {
        let disk = SimDisk::new(1);
        disk.fail_after(operations, ErrorKind::StorageFull);
        let Err(error) = open(&disk) else { continue };
        assert!(
            matches!(error, LogError::Full { .. }) && error.to_string().contains(": the disk is full: "),
            "{error}"
        );
    }
    let error = LogError::of("log", ErrorKind::PermissionDenied.into());
    assert!(error.to_string().starts_with("log cannot be read and written ("), "{error}");
}
