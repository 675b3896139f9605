//! Messages as the log keeps them.

use bytes::Bytes;

use super::message::{Body, Facts, LARGE_BODY_MIN, Message, More, Parts, Sharing, keys_in};
use super::publish::Read;
use crate::replicate::{ChunkBuilder, LentMessage, MessageBytes, Place};

/// It has a sequence number of its producer that counts.
const NUMBERED: u8 = 1;

/// It is a dead letter.
const DIED: u8 = 2;

/// What the log keeps of a message beside its bytes: `flags u8 | keys of BCC`.
pub(super) fn hidden<'a>(message: &Message, room: &'a mut Vec<u8>) -> &'a [u8] {
    room.clear();
    let Facts { is_numbered, has_died, .. } = message.facts();
    room.push((u8::from(is_numbered) * NUMBERED) | (u8::from(has_died) * DIED));
    room.extend_from_slice(message.bcc_bytes());
    room
}

/// A message as the log keeps it.
pub(super) fn bytes<'a>(message: &'a Message, room: &'a mut Vec<u8>) -> MessageBytes<'a> {
    let (address, properties, body) = (message.address(), message.properties(), message.body());
    MessageBytes { address, properties, hidden: hidden(message, room), body }
}

/// Puts a message into a chunk.
pub(super) fn put(chunk: &mut ChunkBuilder, place: Place, message: &Message, room: &mut Vec<u8>) {
    chunk.add(place, bytes(message, room), message.sharing().map(|sharing| &sharing.lent));
}

/// A message from the log or a segment; `lent`: several queues have it. `None`: none was ever written so.
pub(super) fn read(kept: &MessageBytes<'_>, lent: Option<LentMessage>, scratch: &mut Vec<u8>) -> Option<Message> {
    let more = lent.map(|lent| More::of_shared(Sharing { lent, ..Sharing::default() }));
    let (flags, keys) = kept.hidden.split_first()?;
    let mut facts = Read::new(kept.properties).ok()?.facts;
    facts.is_numbered &= flags & NUMBERED != 0;
    facts.has_died = flags & DIED != 0;
    let body = match kept.body {
        body if body.len() < LARGE_BODY_MIN => Body::Small(body),
        body => Body::Large(Bytes::copy_from_slice(body)),
    };
    let (address, properties, bcc) = (kept.address, kept.properties, &keys_in(keys));
    Some(Message::of(Parts { address, properties, body, facts, bcc, more }, scratch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_as_they_were() {
        let (mut room, mut scratch) = (Vec::new(), Vec::new());
        let facts = Facts { persistent: true, has_died: true, ..Facts::default() };
        for (bcc, body) in [(vec![], vec![1; 10]), (vec!["a".to_owned(), "b".to_owned()], vec![2; LARGE_BODY_MIN])] {
            let bytes = Bytes::from(body.clone());
            let body = if bytes.len() < LARGE_BODY_MIN { Body::Small(&bytes) } else { Body::Large(bytes.clone()) };
            let parts = Parts { address: b"\0\x01q", properties: b"\x10\0\x02", body, facts, bcc: &bcc, more: None };
            let message = Message::of(parts, &mut scratch);
            let (address, properties, body) = (message.address(), message.properties(), message.body());
            let kept = MessageBytes { address, properties, hidden: hidden(&message, &mut room), body };
            let again = read(&kept, None, &mut scratch).unwrap();
            assert_eq!((again.address(), again.properties(), again.body()), (address, properties, body));
            assert_eq!((again.facts(), again.bcc()), (facts, bcc));
        }
        let kept = MessageBytes { address: b"", properties: b"", hidden: b"", body: b"" };
        assert!(read(&kept, None, &mut scratch).is_none());
    }
}
