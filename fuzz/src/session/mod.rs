//! Sessions against a real broker in memory, in virtual time: well-formed and malformed frames of every kind, cut
//! anywhere, lanes turned or not, events taken or not, sockets read or not, time passing, and what operators do.
//!
//! What must hold: nothing panics; what a session writes is frames that a client can read ([`Reader`] knows which may
//! come when); what waits to be written is bounded; everything comes to rest, and nothing is left when all are gone.

mod call;
mod frames;
mod reader;
mod values;
mod world;

use arbitrary::{Arbitrary, Result, Unstructured};

pub use self::frames::Said;
pub use self::reader::Reader;
pub use self::world::World;

/// Of the connections that are there; taken modulo their number.
pub type Id = u8;

/// What happens. All that is read from bytes is mostly what a client in its right mind does, or nothing would get far.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client sends frames, all of them in pieces of `piece` bytes if that is not 0.
    Send {
        id: Id,
        said: Vec<Said>,
        piece: u8,
    },
    /// One lane takes its turn.
    Turn {
        lane: bool,
    },
    /// The session takes what the lanes have told it.
    TakeEvents {
        id: Id,
    },
    /// The client reads at most so many times 16 bytes.
    Read {
        id: Id,
        times_16: u16,
    },
    /// Everything moves until it is at rest.
    Run,
    Pass {
        ms: u16,
    },
    /// A connection that shakes hands at once, and opens three channels and declares something. If it is rude, it does not answer closes.
    Connect {
        heartbeat_s: u8,
        frame_max: u16,
        capabilities: bool,
        is_rude: bool,
    },
    /// A connection that has said nothing.
    Accept,
    /// The client is gone.
    Disconnect {
        id: Id,
    },
    Operate(Operation),
}

/// As many as the bytes are enough for.
#[derive(Clone, Debug)]
pub struct Steps(Vec<Step>);

impl<'a> Arbitrary<'a> for Steps {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut steps = Vec::new();
        while !u.is_empty() && steps.len() < STEPS_MAX {
            steps.push(u.arbitrary()?);
        }
        Ok(Self(steps))
    }
}

const STEPS_MAX: usize = 500;
/// Frames sent at once.
const SAID_MAX: u8 = 8;

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u.arbitrary::<u8>()? {
            0..150 => {
                let id = u.arbitrary()?;
                let said = (0..u.int_in_range(1..=SAID_MAX)?).map(|_| u.arbitrary()).collect::<Result<_>>()?;
                Self::Send { id, said, piece: if u.ratio(1, 4)? { u.arbitrary()? } else { 0 } }
            }
            150..180 => Self::Run,
            180..195 => Self::Turn { lane: u.arbitrary()? },
            195..210 => Self::TakeEvents { id: u.arbitrary()? },
            210..225 => Self::Read { id: u.arbitrary()?, times_16: u.arbitrary()? },
            225..235 => Self::Pass { ms: u.arbitrary()? },
            235..243 => Self::Connect {
                heartbeat_s: u.arbitrary()?,
                frame_max: u.arbitrary()?,
                capabilities: u.arbitrary()?,
                is_rude: u.ratio(1, 4)?,
            },
            243..247 => Self::Accept,
            247..251 => Self::Disconnect { id: u.arbitrary()? },
            251..=255 => Self::Operate(u.arbitrary()?),
        })
    }
}

/// What operators do.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub enum Operation {
    MemoryAlarm(bool),
    DiskAlarm(bool),
    CloseConnections,
    /// It is there again when somebody connects.
    DeleteVhost,
    /// It is there again when somebody connects.
    DeleteUser,
    SetPermissions {
        configure: bool,
        write: bool,
        read: bool,
    },
}

/// Does the steps, lets everything come to rest, and ends.
pub fn run(Steps(steps): &Steps) {
    let mut world = World::new();
    for step in steps {
        world.step(step);
    }
    world.end();
}
