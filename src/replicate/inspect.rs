//! A data directory in words, for whoever wants to know what is in it while no broker runs: whether it is whole, and
//! what its records say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use super::chunks::ChunkPlace;
use super::journal::JOURNAL;
use super::lent::{BORROWING, BlockPlace, Borrowing, LENDING, LENT, Lending};
use super::record::{MessageBytes, Place, QUEUE, QueueState, Record};
use super::segments::SEGMENT;
use crate::store::{self, Contents, Damage, DataDirError, FileKind, Inspection, LogError};

/// The logs of a data directory: the first is written ahead of all else.
const LOGS: &[&str] = &["log", SEGMENT];
/// Which of them is that of segments.
const SEGMENTS: usize = 1;
/// Bytes of a body that are shown unless all are asked for.
const SHOWN_BYTES: usize = 32;

/// A file of a data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileReport {
    /// Its name.
    pub file: String,
    /// What it holds.
    pub holds: String,
    /// What is wrong with it; empty: it is whole.
    pub damages: Vec<String>,
}

/// Verifies every sum in a data directory and tells of each file what it holds. Nothing is written.
///
/// # Errors
/// The directory is in use, cannot be read, or nothing says whose it is.
pub fn check(path: &Path, mut report: impl FnMut(&FileReport)) -> Result<(), DataDirError> {
    let inspection = Inspection::open(path, LOGS)?;
    let newest = inspection.files().iter().filter_map(|(kind, _)| checkpoint_number(*kind)).max();
    let mut known = Known::default();
    for (kind, name) in inspection.files() {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        let is_newest = newest.is_some() && checkpoint_number(*kind) == newest;
        let scanned = inspection.scan_file(*kind, name, |record| {
            *kinds.entry(kind_name(record.kind)).or_default() += 1;
            match record.kind {
                QUEUE if is_newest => known.take_up(QueueState::decode(record.payload)),
                LENDING if is_newest => known.take_up_lending(Lending::decode(record.payload)),
                _ => {}
            }
        });
        report(&match scanned {
            Ok(contents) => {
                known.replay_from = contents.replay_from.filter(|_| is_newest).unwrap_or(known.replay_from);
                known.report(*kind, name, &contents, &kinds)
            }
            Err(error) => known.unreadable(*kind, name, &error),
        });
    }
    for (number, wanted) in std::mem::take(&mut known.wanted) {
        let counts = wanted.into_values().map(|(_, what)| what);
        let (lent, chunks): (Vec<_>, Vec<_>) = counts.partition(|what| *what == Wanted::Lent);
        let count = chunks.iter().map(|what| if let Wanted::Messages(count) = what { *count } else { 0 }).sum();
        let mut damages = Vec::new();
        if !chunks.is_empty() {
            damages.push(format!("missing: {} in it are lost", messages(count)));
        }
        if !lent.is_empty() {
            damages.push("missing: messages that chunks of other files borrow from it are lost".into());
        }
        report(&FileReport { file: store::file_name(SEGMENT, number), holds: "missing".into(), damages });
    }
    match inspection.missing(known.replay_from) {
        Ok(missing) => missing.iter().for_each(|damage| {
            report(&FileReport {
                file: damage.file.clone(),
                holds: "missing".into(),
                damages: vec![damage.to_string()],
            });
        }),
        // It was told of the file itself.
        Err(LogError::Newer { .. } | LogError::Foreign { .. }) => {}
        Err(error) => {
            let damages = vec![error.to_string()];
            report(&FileReport { file: "log".into(), holds: "unreadable".into(), damages });
        }
    }
    Ok(())
}

fn checkpoint_number(kind: FileKind) -> Option<u32> {
    match kind {
        FileKind::Checkpoint(number) => Some(number),
        _ => None,
    }
}

/// What the newest checkpoint says of other files.
#[derive(Default)]
struct Known {
    replay_from: store::Position,
    /// By segment file and offset: the end of what is wanted there, and what it is.
    wanted: BTreeMap<u32, BTreeMap<u64, (u64, Wanted)>>,
}

/// What is wanted of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wanted {
    /// So many messages of a chunk.
    Messages(u64),
    /// Messages whose chunks lie elsewhere.
    Lent,
}

impl Known {
    fn take_up(&mut self, state: Option<QueueState>) {
        for chunk in state.into_iter().flat_map(|state| state.chunks) {
            self.want(chunk.place, Wanted::Messages(chunk.members.count()));
        }
    }

    fn take_up_lending(&mut self, lending: Option<Lending>) {
        for block in lending.into_iter().flat_map(|lending| lending.blocks) {
            self.want(block.place, Wanted::Lent);
        }
    }

    fn want(&mut self, place: ChunkPlace, what: Wanted) {
        let start = u64::from(place.position.offset());
        let in_file = self.wanted.entry(place.file()).or_default();
        in_file.insert(start, (start + u64::from(place.length), what));
    }

    fn unreadable(&mut self, kind: FileKind, name: &str, error: &LogError) -> FileReport {
        if let FileKind::Log(SEGMENTS, number) = kind {
            self.wanted.remove(&number);
        }
        FileReport { file: name.into(), holds: "unreadable".into(), damages: vec![error.to_string()] }
    }

    fn report(&mut self, kind: FileKind, name: &str, found: &Contents, kinds: &BTreeMap<&str, u64>) -> FileReport {
        let counts: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let records = if counts.is_empty() { "no records".to_owned() } else { counts.join(", ") };
        let Contents { length, used, damages, replay_from } = found;
        let mut holds = match kind {
            FileKind::Lock => "the lock".to_owned(),
            FileKind::Node => "whose the directory is".to_owned(),
            FileKind::Spare => format!("{length} bytes, spare"),
            FileKind::Unfinished => format!("{length} bytes, unfinished and not needed"),
            FileKind::Aside => format!("{length} bytes, damaged and kept aside"),
            FileKind::Foreign => format!("{length} bytes, not written by Lepus"),
            FileKind::Checkpoint(_) => format!("{length} bytes: {records}"),
            FileKind::Log(..) => format!("{length} bytes, {used} used: {records}"),
        };
        if let Some(from) = replay_from {
            // A string takes what is written to it.
            let _ = write!(
                holds,
                "; the log is read from {}, byte {}",
                store::file_name(LOGS[0], from.file()),
                from.offset()
            );
        }
        let damages = match kind {
            FileKind::Log(SEGMENTS, number) => {
                let wanted = self.wanted.remove(&number).unwrap_or_default();
                let (lost, unwanted) = damaged(found, &wanted);
                if unwanted > 0 {
                    let _ = write!(holds, "; {unwanted} stretches cannot be read, and nobody wants them");
                }
                lost
            }
            _ => damages.iter().map(Damage::to_string).collect(),
        };
        FileReport { file: name.into(), holds, damages }
    }
}

/// What is wanted and damaged, in words, and how much else is.
fn damaged(found: &Contents, wanted: &BTreeMap<u64, (u64, Wanted)>) -> (Vec<String>, usize) {
    let mut bad: Vec<Range<u64>> =
        found.damages.iter().map(|damage| damage.from.offset().into()..damage.to.offset().into()).collect();
    bad.push(found.used..u64::MAX);
    let hits = |chunk: &Range<u64>, bad: &Range<u64>| bad.start < chunk.end && chunk.start < bad.end;
    let all = || wanted.iter().map(|(start, (end, what))| (*start..*end, *what));
    let unwanted = bad[..bad.len() - 1].iter().filter(|bad| !all().any(|(range, _)| hits(&range, bad))).count();
    let lost = all().filter(|(range, _)| bad.iter().any(|bad| hits(range, bad))).map(|(Range { start, end }, what)| {
        let what = match what {
            Wanted::Messages(count) => messages(count),
            Wanted::Lent => "lent messages".into(),
        };
        format!("bytes {start}..{end} cannot be read whole: some of the {what} in them are lost")
    });
    (lost.collect(), unwanted)
}

fn messages(count: u64) -> String {
    if count == 1 { "1 message".into() } else { format!("{count} messages") }
}

/// Gives every record of a data directory, one line each, to `line`, which says whether it wants more: of all files,
/// or of one. Bodies are cut short unless `bodies`.
///
/// # Errors
/// As of [`check`].
pub fn dump(
    path: &Path,
    file: Option<&str>,
    bodies: bool,
    mut line: impl FnMut(String) -> bool,
) -> Result<(), DumpError> {
    let inspection = Inspection::open(path, LOGS)?;
    let mut is_there = false;
    let mut goes_on = true;
    for (kind, name) in inspection.files().iter().filter(|(_, name)| file.is_none_or(|file| file == name)) {
        is_there = true;
        let contents = inspection.scan_file(*kind, name, |record| {
            if goes_on {
                let (offset, writer) = (record.position.offset(), writer(*kind, record.source));
                goes_on = line(format!("{name} {offset} {writer}{}", describe(record.kind, record.payload, bodies)));
            }
        })?;
        for damage in contents.damages {
            goes_on = goes_on && line(format!("{name} {} damage {damage}", damage.from.offset()));
        }
        if !goes_on {
            return Ok(());
        }
    }
    match file {
        Some(file) if !is_there => Err(DumpError::NoFile(file.into())),
        _ => Ok(()),
    }
}

/// Why records cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A file cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no such file.
    #[error("{0} is not in the data directory")]
    NoFile(String),
}

fn writer(kind: FileKind, source: u32) -> String {
    match (kind, source) {
        (FileKind::Log(0, _), JOURNAL) => "definitions ".into(),
        (FileKind::Log(0, _), lane) => format!("lane={lane} "),
        _ => String::new(),
    }
}

fn kind_name(kind: u8) -> &'static str {
    const NAMES: [&str; 18] = [
        "enqueue",
        "remove",
        "return",
        "deliver",
        "put",
        "delete",
        "forget",
        "queue",
        "part",
        "part-end",
        "whole",
        "start",
        "note",
        "shared",
        "also",
        "lent",
        "borrowing",
        "lending",
    ];
    kind.checked_sub(1).and_then(|kind| NAMES.get(usize::from(kind))).copied().unwrap_or("unknown")
}

/// A record in words.
fn describe(kind: u8, payload: &[u8], bodies: bool) -> String {
    let name = kind_name(kind);
    let mut places = Vec::new();
    let other = match kind {
        QUEUE => QueueState::decode(payload).map(|state| describe_queue(&state)),
        LENDING => Lending::decode(payload).map(|lending| describe_lending(&lending)),
        BORROWING => Borrowing::decode(payload).map(|borrowing| describe_borrowing(&borrowing)),
        LENT => MessageBytes::decode(payload).map(|message| format!("{name}{}", describe_message(&message, bodies))),
        _ => None,
    };
    if let Some(text) = other {
        return text;
    }
    let Some(record) = Record::decode(kind, payload, &mut places) else {
        return unknown(kind, payload);
    };
    match record {
        Record::Enqueue { places, message } => {
            format!("{name}{}{}", describe_places(places), describe_message(&message, bodies))
        }
        Record::Shared { id, records, places, message } => {
            let places = describe_places(places);
            format!("{name} id={id} records={records}{places}{}", describe_message(&message, bodies))
        }
        Record::Also { id, places } => format!("{name} id={id}{}", describe_places(places)),
        Record::Remove { queue, first, last } if first == last => format!("{name} queue={queue} message={first}"),
        Record::Remove { queue, first, last } => format!("{name} queue={queue} messages={first}..={last}"),
        Record::Return { queue, seq, deliveries, failures } => {
            format!("{name} queue={queue} message={seq} deliveries={deliveries} failures={failures}")
        }
        Record::Deliver { queue, up_to } => format!("{name} queue={queue} messages=..={up_to}"),
        Record::Put { key, value } => {
            format!("{name} key=\"{}\" value=\"{}\"", key.escape_ascii(), value.escape_ascii())
        }
        Record::Delete { key } => format!("{name} key=\"{}\"", key.escape_ascii()),
        Record::Forget { queue } => format!("{name} queue={queue}"),
        Record::Part { transaction, parts } => format!("{name} transaction={transaction} parts={parts}"),
        Record::Whole { transaction } => format!("{name} transaction={transaction}"),
        Record::Note { queue, parts, value, key } => {
            format!("{name} queue={queue} parts={parts} value={value} key=\"{}\"", key.escape_ascii())
        }
        Record::PartEnd | Record::Start => name.to_owned(),
    }
}

fn unknown(kind: u8, payload: &[u8]) -> String {
    format!("unknown kind={kind} length={}", payload.len())
}

fn describe_queue(state: &QueueState) -> String {
    let QueueState { queue, next_seq, delivered_before, chunks } = state;
    let mut text = format!("queue queue={queue} next={next_seq} delivered-before={delivered_before}");
    for chunk in chunks {
        let (file, offset) = (store::file_name(SEGMENT, chunk.place.position.file()), chunk.place.position.offset());
        let count = chunk.members.count();
        let _ = write!(text, " chunk={file}:{offset}+{}({count})", chunk.place.length);
    }
    text
}

fn describe_places(places: &[Place]) -> String {
    let mut text = String::new();
    for Place { queue, seq, expires_ms } in places {
        let _ = write!(text, " queue={queue} message={seq}");
        if *expires_ms != u64::MAX {
            let _ = write!(text, " expires={expires_ms}ms");
        }
    }
    text
}

fn describe_message(message: &MessageBytes<'_>, bodies: bool) -> String {
    let (exchange, key) = shortstr(message.address);
    let (key, _) = shortstr(key);
    let body = message.body;
    let shown = if bodies { body } else { &body[..body.len().min(SHOWN_BYTES)] };
    format!(
        " exchange=\"{}\" key=\"{}\" properties={} hidden={} length={} body=\"{}\"{}",
        exchange.escape_ascii(),
        key.escape_ascii(),
        message.properties.len(),
        message.hidden.len(),
        body.len(),
        shown.escape_ascii(),
        if shown.len() < body.len() { "..." } else { "" },
    )
}

/// The block goes by the position at which it was written first.
fn describe_borrowing(Borrowing { place, lent }: &Borrowing) -> String {
    let (file, offset) = (store::file_name(SEGMENT, lent.block.file()), lent.block.offset());
    let places = describe_places(std::slice::from_ref(place));
    format!("borrowing{places} length={} from={file}:{offset}+{}", lent.length, lent.offset)
}

fn describe_lending(Lending { chunk, blocks }: &Lending) -> String {
    let mut text = format!("lending chunk={}:{}", store::file_name(SEGMENT, chunk.file()), chunk.offset());
    for BlockPlace { block, place } in blocks {
        let (file, offset) = (store::file_name(SEGMENT, block.file()), block.offset());
        let (now, at) = (store::file_name(SEGMENT, place.position.file()), place.position.offset());
        let _ = write!(text, " block={file}:{offset} at={now}:{at}+{}", place.length);
    }
    text
}

/// The short string that bytes begin with, and the rest.
fn shortstr(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = bytes.split_first() else { return (b"", b"") };
    rest.split_at_checked(usize::from(*length)).unwrap_or((rest, b""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(record: &Record<'_>, bodies: bool) -> String {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        describe(record.kind(), &bytes, bodies)
    }

    #[test]
    fn records_are_said_in_words() {
        let body = [b'x'; 40];
        let message = MessageBytes { address: b"\x02ex\x01q", properties: b"\x10\0\x02", hidden: b"\0", body: &body };
        let places = [Place { queue: 1, seq: 2, expires_ms: u64::MAX }, Place { queue: 3, seq: 4, expires_ms: 5 }];
        let enqueue = Record::Enqueue { places: &places, message };
        let (short, long) = ("x".repeat(32), "x".repeat(40));
        let start = "enqueue queue=1 message=2 queue=3 message=4 expires=5ms exchange=\"ex\" key=\"q\" properties=3 hidden=1 length=40";
        assert_eq!(words(&enqueue, false), format!("{start} body=\"{short}\"..."));
        assert_eq!(words(&enqueue, true), format!("{start} body=\"{long}\""));
        for (record, expected) in [
            (Record::Remove { queue: 1, first: 2, last: 2 }, "remove queue=1 message=2"),
            (Record::Remove { queue: 1, first: 2, last: 3 }, "remove queue=1 messages=2..=3"),
            (Record::Put { key: b"q\0", value: b"\"" }, "put key=\"q\\x00\" value=\"\\\"\""),
            (Record::Forget { queue: 9 }, "forget queue=9"),
            (Record::Part { transaction: 7, parts: 2 }, "part transaction=7 parts=2"),
            (Record::PartEnd, "part-end"),
            (Record::Whole { transaction: 7 }, "whole transaction=7"),
            (Record::Start, "start"),
            (Record::Note { queue: 7, parts: 1, value: 2, key: b"k" }, "note queue=7 parts=1 value=2 key=\"k\""),
        ] {
            assert_eq!(words(&record, false), expected);
        }
        assert_eq!(describe(99, b"abc", false), "unknown kind=99 length=3");
        assert_eq!(describe(2, b"abc", false), "unknown kind=2 length=3");
    }
}
