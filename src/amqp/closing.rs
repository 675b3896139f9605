//! The end of a connection, from either side (M-2): exclusive queues go first, then the last word is said. A client
//! that closes ends the stream itself: what it had sent behind its close would otherwise meet a closed socket, and the
//! reset would take close-ok away before it is read.

use std::time::Instant;

use super::outbound::Outbound;
use super::reply::Sin;
use crate::broker::{Answer, ChannelKey, Client, Event, Reply};
use crate::wire::{Frame, FrameKind, Method, cut};

/// The channel key under which the connection's own requests go.
const CONNECTION: ChannelKey = ChannelKey { number: 0, epoch: 0 };

/// The client has closed; its exclusive queues go before close-ok does.
pub(super) struct Finishing {
    /// `None`: they are gone.
    client: Option<Box<Client>>,
    /// How often it said so and was not answered.
    closes: u32,
    /// Who has not ended the stream by then is cut off.
    until: Instant,
    payload_max: u32,
}

/// The server closes; the client's exclusive queues go before the close method does.
pub(super) struct Closing {
    /// `None`: they are gone.
    client: Option<Box<Client>>,
    /// Not said yet.
    sin: Option<Sin>,
    /// How often the client closed, too, and was not answered.
    closes: u32,
    text: String,
    until: Instant,
    payload_max: u32,
    /// What comes cannot be cut into frames any more.
    is_deaf: bool,
}

/// Ends everything of the connection. `None`: it is done.
fn leave(mut client: Box<Client>) -> Option<Box<Client>> {
    match client.close(Reply { channel: CONNECTION, ticket: 0 }) {
        Answer::Now(_) => None,
        Answer::Later => Some(client),
    }
}

fn is_closed(event: &Event) -> bool {
    matches!(event, Event::Done { channel: CONNECTION, .. })
}

fn write_close_ok(out: &mut Outbound) {
    out.frames(|out| Method::ConnectionCloseOk {}.encode_frame(0, out));
}

impl Finishing {
    pub(super) fn new(client: Box<Client>, payload_max: u32, until: Instant, out: &mut Outbound) -> Self {
        let mut finishing = Self { client: leave(client), closes: 1, until, payload_max };
        finishing.answer(out);
        finishing
    }

    pub(super) fn client(&mut self) -> Option<&mut Client> {
        self.client.as_deref_mut()
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    /// close-ok is written: there is nothing left but the socket.
    pub(super) fn is_answered(&self) -> bool {
        self.client.is_none()
    }

    fn answer(&mut self, out: &mut Outbound) {
        if self.client.is_none() {
            (0..std::mem::take(&mut self.closes)).for_each(|_| write_close_ok(out));
        }
    }

    /// Whatever comes now is dropped, except another close, which is answered, too.
    pub(super) fn receive(&mut self, input: &[u8], out: &mut Outbound) -> usize {
        match skim(input, self.payload_max) {
            Skimmed::Nothing => 0,
            Skimmed::Unreadable => input.len(),
            Skimmed::Frame(last_word, taken) => {
                if last_word == Some(LastWord::Close) {
                    self.closes += 1;
                    self.answer(out);
                }
                taken
            }
        }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut Outbound) {
        if is_closed(event) {
            self.client = None;
            self.answer(out);
        }
    }
}

impl Closing {
    /// Without a client the connection was never open.
    pub(super) fn new(
        client: Option<Box<Client>>,
        sin: Sin,
        until: Instant,
        payload_max: u32,
        out: &mut Outbound,
    ) -> Self {
        let text = sin.reply_text();
        let mut closing = Self {
            client: client.and_then(leave),
            sin: Some(sin),
            closes: 0,
            text,
            until,
            payload_max,
            is_deaf: false,
        };
        closing.say(out);
        closing
    }

    pub(super) fn client(&mut self) -> Option<&mut Client> {
        self.client.as_deref_mut()
    }

    pub(super) fn until(&self) -> Instant {
        self.until
    }

    pub(super) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Nothing that comes can be understood any more; the client has until then to read why.
    pub(super) fn stop_listening(&mut self, until: Instant) {
        self.is_deaf = true;
        self.until = self.until.min(until);
    }

    /// The close that the server began goes first: after close-ok nothing may come.
    fn say(&mut self, out: &mut Outbound) {
        if self.client.is_none() {
            if let Some(sin) = self.sin.take() {
                out.frames(|out| sin.connection_close(out));
            }
            (0..std::mem::take(&mut self.closes)).for_each(|_| write_close_ok(out));
        }
    }

    /// Whatever comes now is dropped, except the answer (true), and a close that crossed ours.
    pub(super) fn receive(&mut self, input: &[u8], out: &mut Outbound) -> (usize, bool) {
        if self.is_deaf {
            return (input.len(), false);
        }
        match skim(input, self.payload_max) {
            Skimmed::Nothing => (0, false),
            Skimmed::Unreadable => {
                self.is_deaf = true;
                (input.len(), false)
            }
            Skimmed::Frame(Some(LastWord::CloseOk), taken) => (taken, true),
            Skimmed::Frame(Some(LastWord::Close), taken) => {
                self.closes += 1;
                self.say(out);
                (taken, false)
            }
            Skimmed::Frame(None, taken) => (taken, false),
        }
    }

    pub(super) fn event(&mut self, event: &Event, out: &mut Outbound) {
        if is_closed(event) {
            self.client = None;
            self.say(out);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LastWord {
    Close,
    CloseOk,
}

enum Skimmed {
    /// More bytes are needed.
    Nothing,
    /// A frame of so many bytes.
    Frame(Option<LastWord>, usize),
    /// No frame begins here, and none can be found.
    Unreadable,
}

/// Looks for the last word of a client that nobody listens to otherwise.
fn skim(input: &[u8], payload_max: u32) -> Skimmed {
    match cut(input, payload_max) {
        Ok(None) => Skimmed::Nothing,
        Ok(Some((frame, taken))) => Skimmed::Frame(last_word(frame), taken),
        Err(error) => match error.frame_end(input) {
            Some(end) => Skimmed::Frame(None, end),
            None => Skimmed::Unreadable,
        },
    }
}

fn last_word(frame: Frame<'_>) -> Option<LastWord> {
    if frame.kind != FrameKind::Method || frame.channel != 0 {
        return None;
    }
    match Method::decode(frame.payload) {
        Ok(Method::ConnectionClose { .. }) => Some(LastWord::Close),
        Ok(Method::ConnectionCloseOk {}) => Some(LastWord::CloseOk),
        _ => None,
    }
}
