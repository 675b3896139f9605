//! Bodies that several queues have, from segment to segment and from life to life.

use std::sync::Arc;

use super::*;
use crate::store::sim::SimDisk;
use crate::store::{Disk as _, SyncMode};

const OPTIONS: LocalOptions = LocalOptions { file_bytes: 8 << 10, sync: SyncMode::Always, node: *b"the node we test" };
const BODY: [u8; 1000] = [b'b'; 1000];

fn open(disk: &SimDisk) -> (LocalLog, Recovered<Vec<u8>>) {
    let make = |message: MessageBytes<'_>, _| message.body.to_vec();
    LocalLog::by_hand(Arc::new(disk.clone()), OPTIONS, make, |_| ()).unwrap()
}

fn message(body: &[u8]) -> MessageBytes<'_> {
    MessageBytes { address: b"\0\x01q", properties: b"\0\0", hidden: b"\0", body }
}

/// A chunk of one queue.
fn put(segments: &Segments, queue: u64, messages: &[(&[u8], Option<&LentMessage>)]) -> Chunk {
    let mut chunk = segments.chunk();
    for (seq, (body, shared)) in (0..).zip(messages) {
        chunk.add(Place { queue, seq, expires_ms: u64::MAX }, message(body), *shared);
    }
    segments.put(chunk)
}

fn checkpoint(log: &LocalLog, queues: &[(u64, &Chunk)]) {
    let begun = log.begin_checkpoint(Vec::new());
    let mut records = Records::default();
    for (queue, chunk) in queues {
        let state = QueueState { queue: *queue, next_seq: 9, delivered_before: 0, chunks: vec![(*chunk).clone()] };
        records.put_queue(&state, log.segments());
    }
    log.finish_checkpoint(begun, records).unwrap();
}

fn bodies(segments: &Segments, place: ChunkPlace) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    segments.read(place, |_, message, _| bodies.push(message.body.to_vec())).unwrap();
    bodies
}

fn place_of(recovered: &Recovered<Vec<u8>>, queue: u64) -> ChunkPlace {
    recovered.queues[&queue].chunks.iter().next().unwrap().place
}

/// Two queues with a message in common, whose chunks lie in different files, the body with the first.
fn two_files(log: &LocalLog) -> (Chunk, Chunk) {
    let (segments, shared) = (log.segments(), LentMessage::default());
    let first = put(segments, 1, &[(&BODY, Some(&shared))]);
    let _filler = put(segments, 3, &[(&[0; 7000], None)]);
    let second = put(segments, 2, &[(b"own", None), (&BODY, Some(&shared))]);
    assert_ne!(first.place.file(), second.place.file());
    (first, second)
}

#[test]
fn a_body_goes_with_the_last_chunk_that_wants_it() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    let (first, second) = two_files(&log);
    checkpoint(&log, &[(1, &first), (2, &second)]);
    log.segments().give_up(first.place);
    checkpoint(&log, &[(2, &second)]);
    drop(log);
    let (log, recovered) = open(&disk);
    assert_eq!(bodies(log.segments(), place_of(&recovered, 2)), [b"own".to_vec(), BODY.to_vec()]);
    assert!(log.segments().unwanted().is_empty(), "the first file has the body");
    log.segments().give_up(second.place);
    let mut unwanted = log.segments().unwanted();
    unwanted.sort_unstable();
    assert_eq!(unwanted, [1, 2]);
}

/// Its chunks find it where it is, and the next life does.
#[test]
fn a_body_moves_out_of_a_file() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    let (first, second) = two_files(&log);
    log.segments().move_lent(&[1]);
    log.segments().give_up(first.place);
    checkpoint(&log, &[(2, &second)]);
    assert_eq!(bodies(log.segments(), second.place), [b"own".to_vec(), BODY.to_vec()]);
    drop(log);
    let (log, recovered) = open(&disk);
    let place = place_of(&recovered, 2);
    assert_eq!(bodies(log.segments(), place), [b"own".to_vec(), BODY.to_vec()]);
    let mut members = Runs::default();
    members.push(1);
    let copy = log.segments().copy(place, &members).unwrap();
    log.segments().give_up(place);
    assert_eq!(bodies(log.segments(), copy), [BODY.to_vec()]);
}

/// The messages that are lost with a file are named, also those whose chunks are elsewhere; others stay.
#[test]
fn what_is_lost_with_a_file_of_bodies_is_told() {
    let disk = SimDisk::new(1);
    let (log, _) = open(&disk);
    let (first, second) = two_files(&log);
    checkpoint(&log, &[(1, &first), (2, &second)]);
    drop(log);
    disk.remove("segment-0000000000000001").unwrap();
    let (log, mut recovered) = open(&disk);
    recovered.lost.sort_by_key(|(queue, _)| *queue);
    assert_eq!(recovered.lost, [(1, Runs::from_iter([0])), (2, Runs::from_iter([1]))]);
    assert_eq!(recovered.damages.len(), 1);
    let left = recovered.queues[&2].chunks.iter().next().unwrap();
    assert_eq!(left.members, Runs::from_iter([0]));
    let mut read = Vec::new();
    let result = log.segments().read(left.place, |place, message, _| read.push((place.seq, message.body.to_vec())));
    assert!(result.is_err_and(|error| is_damage(&error)));
    assert_eq!(read, [(0, b"own".to_vec())]);
}

/// Whatever comes first of the records that speak of one message; and what nobody wrote is nowhere.
#[test]
fn a_message_of_two_lanes_is_found_in_both() {
    let place = |queue, seq| [Place { queue, seq, expires_ms: u64::MAX }];
    let (first, other, second) = (place(1, 3), place(1, 4), place(2, 0));
    let also = (0, Record::Also { id: 7, places: &first });
    let shared = (1, Record::Shared { id: 7, records: 2, places: &second, message: message(b"both") });
    let behind = (0, Record::Enqueue { places: &other, message: message(b"behind") });
    let found = |records: &[(u32, Record<'_>)], is_damaged| {
        let mut recovered = Recovered::new();
        for (source, record) in records {
            recovered.apply(*source, *record, &mut |message, _| message.body.to_vec());
        }
        recovered.roll_back(is_damaged);
        let messages = [1, 2].map(|queue| {
            let mut queue = recovered.queues.remove(&queue).unwrap_or_default();
            queue.take_messages().map(|message| (message.seq, message.message)).collect::<Vec<_>>()
        });
        (messages, recovered.lost)
    };
    let all = [vec![(3, b"both".to_vec()), (4, b"behind".to_vec())], vec![(0, b"both".to_vec())]];
    assert_eq!(found(&[also, behind, shared], false), (all.clone(), vec![]));
    assert_eq!(found(&[shared, also, behind], false), (all, vec![]));
    let left = [vec![(4, b"behind".to_vec())], vec![]];
    assert_eq!(found(&[also, behind], false), (left.clone(), vec![]));
    assert_eq!(found(&[also, (u32::MAX, Record::Start), behind], false), (left.clone(), vec![]));
    assert_eq!(found(&[also, behind], true), (left, vec![(1, Runs::from_iter([3]))]));
}
