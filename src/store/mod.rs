//! What makes things outlast the process: a log of records on disk. It knows files, blocks and bytes; it must not know
//! what the records say, nor tasks or sockets. The bytes are drawn in `FORMAT.md`. Start reading at [`Log`].

mod block;
mod checkpoint;
mod data_dir;
mod disk;
mod inspect;
mod log;
mod reader;
#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
mod writer;

/// Of the format that is written; all up to it are read.
const VERSION: u32 = 2;

pub use self::block::{BLOCK_HEADER, Block, Position, RECORD_HEADER, Record};
pub use self::checkpoint::{CHECKPOINT, Checkpoint, CheckpointWriter, read_checkpoint};
pub use self::data_dir::{DataDir, DataDirError, DirLock};
pub use self::disk::{Directory, Disk, DiskFile};
pub use self::inspect::{Contents, FileKind, Inspection};
pub use self::log::{Damage, Log, LogError, LogOptions, Tail, file_name, is_ours, is_there, number_of};
pub use self::reader::{Reader, is_damage};
pub use self::writer::{OnSynced, SyncMode, Writer};
