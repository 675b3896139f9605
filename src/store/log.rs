//! The log: a row of files written from one end to the other, block behind block, each write synced before the next.
//! Opening it reads what is there, tells damage from a torn end, and goes on in a new file.

use std::io::{self, IoSlice};
use std::sync::Arc;

use thiserror::Error;

use super::VERSION;
use super::block::{Block, Position, Record, Scan, Stretch};
use super::disk::{Disk, DiskFile};

/// Bytes before a file's first block.
pub(super) const FILE_HEADER: usize = 64;
/// What stands before the name of a file that is kept because it is damaged.
pub(super) const DAMAGED: &str = "damaged-";
const FILE_MAGIC: [u8; 8] = *b"LEPUSLOG";
/// Files kept to be used again.
const SPARES_MAX: usize = 4;
/// New spare files are numbered so far ahead of the log that no retired one has the name.
const SPARES_APART: u32 = 1 << 31;

/// What a log is made with.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// What its files' names begin with.
    pub name: &'static str,
    /// Length of a file in bytes.
    pub file_bytes: u32,
    /// Files are filled with zeros first, and used again: a write then allocates nothing. Else they grow.
    pub prewritten: bool,
    /// Tells the files of one data directory from those of another.
    pub node: [u8; 16],
}

/// Why a log cannot be opened.
#[derive(Debug, Error)]
pub enum LogError {
    /// The disk says no.
    #[error("{file}: {error}")]
    Io {
        /// The file, or the directory.
        file: String,
        /// What it says.
        error: io::Error,
    },
    /// There is no room.
    #[error("{file}: the disk is full: make room on it, or move the data directory to another")]
    Full {
        /// The file, or the directory.
        file: String,
    },
    /// This process may not.
    #[error("{file} cannot be read and written ({error}): give it to the user that Lepus runs as")]
    NotWritable {
        /// The file, or the directory.
        file: String,
        /// What the disk says.
        error: io::Error,
    },
    /// Made by a later version of Lepus.
    #[error("{file} has format {version}, this program reads up to {VERSION}: use the newer Lepus that wrote it")]
    Newer {
        /// The file.
        file: String,
        /// Its version.
        version: u32,
    },
    /// Holds a record of a kind that this program does not know.
    #[error("{file} says something unknown at byte {offset}: use the newer Lepus that wrote it")]
    Unknown {
        /// The file.
        file: String,
        /// Where in it.
        offset: u32,
    },
    /// A checkpoint that says what the log does not say any more.
    #[error(
        "{file} is damaged, and the log alone does not say everything: put it back from a backup, or move it out of the data directory to start with what the log says"
    )]
    Checkpoint {
        /// The file.
        file: String,
    },
    /// Made for another data directory.
    #[error("{file} belongs to another node: move it out of the data directory")]
    Foreign {
        /// The file.
        file: String,
    },
}

/// Bytes that were promised and cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// First bad byte.
    pub from: Position,
    /// First byte that is good again.
    pub to: Position,
    /// The whole file is not there, or so little of it that it says nothing.
    pub is_missing: bool,
}

impl LogError {
    /// What the disk says of a file, and what to do about it.
    pub fn of(file: impl Into<String>, error: io::Error) -> Self {
        let file = file.into();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { file },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::NotWritable { file, error },
            _ => Self::Io { file, error },
        }
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (self.from.offset(), self.to.offset());
        match self.is_missing {
            true => write!(f, "missing, or cut short: what it said up to byte {to} is lost"),
            false => write!(f, "bytes {from}..{to} cannot be read: what they said is lost"),
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: Arc<D>,
    options: LogOptions,
    file: Arc<D::File>,
    /// Where the next block goes.
    end: Position,
    /// Everything before this place is on disk for good.
    synced: Position,
    /// The current file's header, until it is written along with the first block.
    header: Option<[u8; FILE_HEADER]>,
    /// The file after the current one, under its name already.
    next: Option<D::File>,
    spares: Vec<String>,
    /// A spare file that is being made.
    ordered: Option<String>,
    /// Files with damage: they are kept aside.
    damaged: Vec<u32>,
}

/// The name of a file of a log.
pub fn file_name(log: &str, number: u32) -> String {
    format!("{log}-{number:016x}")
}

fn spare_name(log: &str, number: u32) -> String {
    format!("{log}-spare-{number:016x}")
}

/// The number in a name: that of a file of this log, or what stands behind another word.
pub fn number_of(name: &str, log: &str) -> Option<u32> {
    let digits = name.strip_prefix(log)?.strip_prefix('-')?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    (digits.len() == 16).then_some(number)
}

fn at(file: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
    let file = file.into();
    move |error| LogError::of(file, error)
}

/// A file that holds a part of the log.
pub(super) struct Begun {
    pub(super) number: u32,
    pub(super) bytes: Vec<u8>,
    pub(super) previous_end: Position,
    pub(super) header_is_whole: bool,
}

impl<D: Disk> Log<D> {
    /// Opens the log in a directory, or begins one. `found` gets every record in order, from `replay_from` on; files
    /// before that are retired.
    pub fn open(
        disk: Arc<D>,
        options: LogOptions,
        replay_from: Position,
        mut found: impl FnMut(Record<'_>),
    ) -> Result<(Self, Vec<Damage>), LogError> {
        let spare = format!("{}-spare", options.name);
        // Names that a killed process gave may be in the system's cache only.
        disk.sync().map_err(at("data directory"))?;
        let names = disk.list().map_err(at("data directory"))?;
        let mut numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name, options.name)).collect();
        numbers.sort_unstable();
        let mut spares: Vec<String> = names.into_iter().filter(|name| number_of(name, &spare).is_some()).collect();
        spares.sort_unstable();

        let mut damages = Vec::new();
        let mut end = Position::default();
        let mut found = |record: Record<'_>| {
            if record.position >= replay_from {
                found(record);
            }
        };
        let mut number = replay_from.file().max(1);
        let mut unbegun = None;
        let mut current: Option<Begun> = None;
        // Used for one file behind the other: fresh memory costs more than to read.
        let mut room = Vec::new();
        for found_number in numbers {
            if found_number < replay_from.file() {
                let name = file_name(options.name, found_number);
                if is_ours(&*disk, &name, options.node).map_err(at(&name))? {
                    disk.remove(&name).map_err(at(&name))?;
                }
                continue;
            }
            number = found_number + 1;
            let begun = match read_file(&*disk, &options, found_number, &mut room)? {
                Contents::Begun(begun) => begun,
                Contents::Nothing => {
                    unbegun = Some(found_number);
                    continue;
                }
                // Under another number they cannot be read.
                Contents::Remains => {
                    let spare = spare_name(options.name, found_number);
                    disk.rename(&file_name(options.name, found_number), &spare).map_err(at(&spare))?;
                    spares.push(spare);
                    continue;
                }
                Contents::Alien => continue,
            };
            let before = current.as_ref().map(|before| before.number);
            damages.extend(missing_before(&begun, before, replay_from, options.name));
            if let Some(before) = current.replace(begun) {
                // A damaged header does not say where the file before it ends.
                let next = current.as_ref().filter(|next| next.header_is_whole);
                let known = next.map(|next| next.previous_end).filter(|end| end.file() == before.number);
                let end = known.unwrap_or(Position::new(before.number, u32::MAX));
                emit(&before, end, options.name, &mut found, &mut damages);
                room = before.bytes;
            }
        }
        if let Some(last) = current {
            let synced;
            (end, synced) = end_of_newest(&last);
            emit(&last, end, options.name, &mut found, &mut damages);
            // What a killed process left may be in the system's cache only, and is relied on from now on. If a sync has
            // failed, the system takes it for written: it is written once more.
            let name = file_name(options.name, last.number);
            let from = if synced > Position::new(last.number, FILE_HEADER as u32) { synced.offset() } else { 0 };
            let doubtful = last.bytes.get(from as usize..end.offset() as usize).unwrap_or_default();
            let write = |file: D::File| {
                file.write_at(from.into(), &[IoSlice::new(doubtful)])?;
                file.sync()
            };
            disk.open(&name).and_then(write).map_err(at(&name))?;
        }

        if end < replay_from && replay_from.offset() > FILE_HEADER as u32 {
            let (file, from) =
                (file_name(options.name, replay_from.file()), end.max(Position::new(replay_from.file(), 0)));
            damages.push(Damage { file, from, to: replay_from, is_missing: end.file() < replay_from.file() });
            // What is written before that place would not be read again.
            number = number.max(replay_from.file() + 1);
            unbegun = unbegun.filter(|unbegun| *unbegun > replay_from.file());
        }

        let name;
        let file = match unbegun {
            // Named in good time and never written to.
            Some(unbegun) if unbegun + 1 == number => {
                number = unbegun;
                name = file_name(options.name, number);
                let file = disk.open(&name).map_err(at(&name))?;
                // A full disk may have cut it short.
                match file.length() {
                    Ok(length) if length != u64::from(options.file_bytes) => {
                        let made = disk.create(&name, options.file_bytes.into());
                        made.and_then(|file| disk.sync().map(|()| file))
                    }
                    Ok(_) => Ok(file),
                    Err(error) => Err(error),
                }
            }
            _ => {
                name = file_name(options.name, number);
                take_file(&*disk, &options, &mut spares, number, options.file_bytes)
            }
        };
        let file = file.map_err(at(name))?;
        let mut log = Self::at_start(disk, options, file, number, end, spares);
        log.damaged = damages.iter().filter(|damage| !damage.is_missing).map(|damage| damage.from.file()).collect();
        Ok((log, damages))
    }

    /// Begins a log in file `number`, looking at nothing that is there: whoever knows where its blocks are reads them
    /// with a [`super::Reader`].
    pub fn begin(disk: Arc<D>, options: LogOptions, number: u32) -> io::Result<Self> {
        let file = take_file(&*disk, &options, &mut Vec::new(), number, options.file_bytes)?;
        Ok(Self::at_start(disk, options, file, number, Position::default(), Vec::new()))
    }

    fn at_start(
        disk: Arc<D>,
        options: LogOptions,
        file: D::File,
        number: u32,
        previous_end: Position,
        spares: Vec<String>,
    ) -> Self {
        let begin = Position::new(number, FILE_HEADER as u32);
        Self {
            disk,
            options,
            file: Arc::new(file),
            end: begin,
            synced: begin,
            header: Some(header(&options, number, previous_end)),
            next: None,
            spares,
            ordered: None,
            damaged: Vec::new(),
        }
    }

    /// Where the next block goes. Whoever hands blocks out counts on from here with [`Tail`].
    pub fn tail(&self) -> Tail {
        Tail { end: self.end, file_bytes: self.options.file_bytes }
    }

    /// Everything before this place is on disk for good.
    pub fn synced(&self) -> Position {
        self.synced
    }

    /// Where the next block goes: everything before is written.
    pub fn end(&self) -> Position {
        self.end
    }

    /// Makes sure that a block can be written at `position`, which is where the log ends or the start of the next
    /// file. An error of kind `StorageFull` has changed nothing.
    pub fn reach(&mut self, position: Position, length: u32) -> io::Result<()> {
        if position.file() == self.end.file() { Ok(()) } else { self.begin_next(position.file(), length) }
    }

    /// Writes blocks of one file at the positions that [`Tail::place`] gave them. They last after [`Self::sync`]. An
    /// error means that nothing is known of them: the log is not to be used again.
    pub fn write(&mut self, group: &mut [(Position, Block)]) -> io::Result<()> {
        let Some((first, block)) = group.first() else {
            return Ok(());
        };
        let first = *first;
        self.reach(first, block.len())?;
        if first != self.end {
            return Err(io::Error::other("a block is not where the log ends"));
        }
        for (position, block) in group.iter_mut() {
            block.seal(*position, self.synced);
        }
        let mut parts: Vec<IoSlice<'_>> = Vec::with_capacity(group.len() + 1);
        let mut from = self.end.offset();
        if let Some(header) = &self.header {
            parts.push(IoSlice::new(header));
            from = 0;
        }
        parts.extend(group.iter().map(|(_, block)| IoSlice::new(block.bytes())));
        self.file.write_at(from.into(), &parts)?;
        self.header = None;
        let written: u32 = group.iter().map(|(_, block)| block.len()).sum();
        self.end = Position::new(self.end.file(), self.end.offset() + written);
        Ok(())
    }

    /// Makes everything written last. An error, never of kind `StorageFull`, means that nothing is known of it: the
    /// log is not to be used again.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.synced != self.end {
            // The system may take for written what it could not write: to try again would promise nothing.
            self.file.sync().map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull => io::Error::other(error),
                _ => error,
            })?;
            self.synced = self.end;
        }
        Ok(())
    }

    /// The directory.
    pub(super) fn disk(&self) -> Arc<D> {
        self.disk.clone()
    }

    /// Length of a file in bytes.
    pub(super) fn file_bytes(&self) -> u32 {
        self.options.file_bytes
    }

    pub(super) fn is_prewritten(&self) -> bool {
        self.options.prewritten
    }

    /// Makes the next file now, so that beginning it costs nothing.
    pub fn prepare(&mut self) -> io::Result<()> {
        if self.next.is_none() {
            let number = self.end.file() + 1;
            let length = self.options.file_bytes;
            self.next = Some(take_file(&*self.disk, &self.options, &mut self.spares, number, length)?);
        }
        Ok(())
    }

    /// Gives the next file its name if there is a spare one.
    pub(super) fn name_next(&mut self) -> io::Result<()> {
        if self.spares.is_empty() { Ok(()) } else { self.prepare() }
    }

    /// The name of a spare file to be made: there is none, and none is being made.
    pub(super) fn wanted_spare(&self) -> Option<String> {
        let wanted = self.spares.is_empty() && self.ordered.is_none();
        wanted.then(|| spare_name(self.options.name, self.end.file() + SPARES_APART))
    }

    /// A spare file of this name is being made.
    pub(super) fn spare_ordered(&mut self, name: String) {
        self.ordered = Some(name);
    }

    /// It is made; `None`: the disk has no room, which matters only when the log itself needs a file.
    pub(super) fn spare_made(&mut self, name: Option<String>) {
        self.ordered = None;
        self.spares.extend(name);
    }

    /// Removes the files that are kept to be used again.
    pub(super) fn remove_spares(&mut self) -> io::Result<()> {
        while let Some(spare) = self.spares.pop() {
            self.disk.remove(&spare)?;
        }
        Ok(())
    }

    fn begin_next(&mut self, number: u32, block_bytes: u32) -> io::Result<()> {
        if number != self.end.file() + 1 {
            return Err(io::Error::other("a block is in a file far ahead"));
        }
        let next = if block_bytes > self.options.file_bytes - FILE_HEADER as u32 {
            // It has a file to itself, in the place of the one that may be there already.
            let length = block_bytes.saturating_add(FILE_HEADER as u32);
            self.next = None;
            take_file(&*self.disk, &self.options, &mut Vec::new(), number, length)?
        } else {
            self.prepare()?;
            match self.next.take() {
                Some(next) => next,
                None => return Ok(()),
            }
        };
        self.sync()?;
        self.header = Some(header(&self.options, number, self.end));
        self.file = Arc::new(next);
        self.end = Position::new(number, FILE_HEADER as u32);
        self.synced = self.end;
        Ok(())
    }

    /// Nothing of this file is needed any more: it is kept to be used again, or removed. Lasts with the next file
    /// that gets its name.
    pub fn retire(&mut self, number: u32) -> io::Result<()> {
        if self.damaged.contains(&number) {
            // Somebody may want to see what is left of it.
            let name = file_name(self.options.name, number);
            return self.disk.rename(&name, &format!("{DAMAGED}{name}"));
        }
        if self.options.prewritten && self.spares.len() < SPARES_MAX {
            let spare = spare_name(self.options.name, number);
            self.disk.rename(&file_name(self.options.name, number), &spare)?;
            self.spares.push(spare);
            Ok(())
        } else {
            self.disk.remove(&file_name(self.options.name, number))
        }
    }
}

/// Hands out places in the log to blocks that are still to be written.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    end: Position,
    file_bytes: u32,
}

impl Tail {
    /// The place of a block of this length: it lies in one file, which is its own if it is longer than files are.
    pub fn place(&mut self, length: u32) -> Position {
        if self.end.offset().checked_add(length).is_none_or(|end| end > self.file_bytes) {
            self.end = Position::new(self.end.file() + 1, FILE_HEADER as u32);
        }
        let place = self.end;
        self.end = Position::new(place.file(), place.offset() + length);
        place
    }
}

fn header(options: &LogOptions, number: u32, previous_end: Position) -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&FILE_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&options.file_bytes.to_le_bytes());
    header[16..24].copy_from_slice(&u64::from(number).to_le_bytes());
    header[24..40].copy_from_slice(&options.node);
    header[40..48].copy_from_slice(&previous_end.0.to_le_bytes());
    let crc = crc32fast::hash(&header[..60]);
    header[60..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn take_file<D: Disk>(
    disk: &D,
    options: &LogOptions,
    spares: &mut Vec<String>,
    number: u32,
    length: u32,
) -> io::Result<D::File> {
    let name = file_name(options.name, number);
    let length = if options.prewritten { length } else { 0 };
    // A spare of another length was made with other options, or for a long block.
    while let Some(spare) = spares.pop() {
        if !is_ours(disk, &spare, options.node)? {
            continue;
        }
        let file = disk.open(&spare)?;
        if file.length()? == u64::from(length) {
            disk.rename(&spare, &name)?;
            disk.sync()?;
            return Ok(file);
        }
        disk.remove(&spare)?;
    }
    let file = disk.create(&name, length.into())?;
    disk.sync()?;
    Ok(file)
}

/// What a log file turns out to be.
pub(super) enum Contents {
    /// A part of the log.
    Begun(Begun),
    /// What is left of a first write that was never synced.
    Remains,
    /// Nothing was ever written to it under this name.
    Nothing,
    /// Nothing of Lepus was ever written to it: it is left alone.
    Alien,
}

/// Whether nothing else than Lepus, for this node, can have made a file: it is empty, or has a header, or zeros in its
/// place.
pub fn is_ours<D: Disk>(disk: &D, name: &str, node: [u8; 16]) -> io::Result<bool> {
    let file = disk.open(name)?;
    let mut header = [0; FILE_HEADER];
    let length = usize::try_from(file.length()?).unwrap_or(FILE_HEADER).min(FILE_HEADER);
    file.read_at(0, &mut header[..length])?;
    Ok(header_is_ours(&header, node))
}

fn header_is_ours(header: &[u8; FILE_HEADER], node: [u8; 16]) -> bool {
    *header == [0; FILE_HEADER] || is_whole(header) && header[24..40] == node
}

fn is_whole(header: &[u8; FILE_HEADER]) -> bool {
    header[..8] == FILE_MAGIC && crc32fast::hash(&header[..60]).to_le_bytes() == header[60..]
}

/// Whether this is the header of a file; one of a later version, or of another node, is an error.
fn check_header(header: &[u8; FILE_HEADER], node: [u8; 16], name: &str) -> Result<bool, LogError> {
    if !is_whole(header) {
        return Ok(false);
    }
    let version = header[8..].first_chunk().map_or(0, |version| u32::from_le_bytes(*version));
    if version > VERSION {
        return Err(LogError::Newer { file: name.into(), version });
    }
    if header[24..40] != node {
        return Err(LogError::Foreign { file: name.into() });
    }
    Ok(true)
}

/// Whether a file of a log is there and has a header's length.
///
/// # Errors
/// It is of a later version, or of another node.
pub fn is_there<D: Disk>(disk: &D, name: &str, node: [u8; 16]) -> Result<bool, LogError> {
    let mut header = [0; FILE_HEADER];
    match disk.open(name).and_then(|file| file.read_at(0, &mut header)) {
        Ok(()) => check_header(&header, node, name).map(|_| true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(false),
        Err(error) => Err(LogError::of(name, error)),
    }
}

/// A file ends where the one behind it says; if it is not there at all, that is what is lost.
pub(super) fn missing_before(begun: &Begun, before: Option<u32>, replay_from: Position, log: &str) -> Option<Damage> {
    let end = begun.previous_end;
    let is_missing = begun.header_is_whole && end > replay_from && before.is_none_or(|before| before < end.file());
    let from = before.map_or(replay_from, |before| Position::new(before + 1, 0));
    is_missing.then(|| Damage { file: file_name(log, end.file()), from, to: end, is_missing: true })
}

/// Reads a file whole.
fn read_file<D: Disk>(disk: &D, options: &LogOptions, number: u32, room: &mut Vec<u8>) -> Result<Contents, LogError> {
    let name = file_name(options.name, number);
    let file = disk.open(&name).map_err(at(&name))?;
    let length = usize::try_from(file.length().map_err(at(&name))?).unwrap_or(usize::MAX);
    room.resize(length, 0);
    file.read_at(0, room).map_err(at(&name))?;
    contents(room, options.node, number, name)
}

/// What the bytes of a file are. Takes them if they are a part of the log.
pub(super) fn contents(bytes: &mut Vec<u8>, node: [u8; 16], number: u32, name: String) -> Result<Contents, LogError> {
    let Some(header) = bytes.first_chunk::<FILE_HEADER>() else {
        return Ok(Contents::Nothing);
    };
    let field = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let is_whole = check_header(header, node, &name)?;
    let header_is_whole = is_whole && field(16) == u64::from(number);
    if !header_is_whole {
        let mut scan = Scan::new(bytes, number, FILE_HEADER);
        let remains = scan.by_ref().count();
        // The header was synced with the first write.
        if scan.synced < Position::new(number, FILE_HEADER as u32 + 1) {
            let is_ours = header_is_ours(header, node);
            return Ok(match remains {
                0 if is_ours => Contents::Nothing,
                0 => Contents::Alien,
                _ => Contents::Remains,
            });
        }
    }
    let previous_end = Position(field(40));
    Ok(Contents::Begun(Begun { number, previous_end, header_is_whole, bytes: std::mem::take(bytes) }))
}

/// Where the log ends in its newest file. Every write was begun when the one before was synced, so what any block
/// says of its time holds for all: what is unreadable behind that was never promised, and is the end. A block stands
/// or falls there as a whole. Gives the end, and up to where it is known to be on disk for good.
pub(super) fn end_of_newest(begun: &Begun) -> (Position, Position) {
    let place = |offset| Position::new(begun.number, offset);
    let mut scan = Scan::new(&begun.bytes, begun.number, FILE_HEADER);
    let mut bad = Vec::new();
    while let Some(stretch) = scan.next() {
        if let Stretch::Bad(_) = stretch {
            bad.push(place(scan.block_start));
        }
    }
    let synced = scan.synced;
    (bad.into_iter().find(|start| *start >= synced).unwrap_or(place(scan.at())), synced)
}

/// Gives the records of a file to `found`, up to `end`; before that everything was promised. Tells where the last
/// readable block ends.
pub(super) fn emit(
    begun: &Begun,
    end: Position,
    log: &str,
    found: &mut impl FnMut(Record<'_>),
    damages: &mut Vec<Damage>,
) -> u32 {
    let number = begun.number;
    let place = |offset: u32| Position::new(number, offset);
    let mut damage = |from: Position, to: Position| {
        damages.push(Damage { file: file_name(log, number), from, to, is_missing: false });
    };
    if !begun.header_is_whole {
        damage(place(0), place(FILE_HEADER as u32));
    }
    let length = (end.offset() as usize).min(begun.bytes.len());
    let mut scan = Scan::new(&begun.bytes[..length], number, FILE_HEADER);
    for stretch in scan.by_ref() {
        match stretch {
            Stretch::Record(record) => found(record),
            Stretch::Bad(bad) => damage(place(bad.start), place(bad.end)),
        }
    }
    if end.offset() != u32::MAX && scan.at() < end.offset() {
        damage(place(scan.at()), end);
    }
    scan.at()
}
