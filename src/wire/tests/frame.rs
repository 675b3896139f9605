//! Cutting frames.

use proptest::prelude::*;

use super::bytes;
use crate::wire::{Frame, FrameError, FrameKind, ReplyCode, cut, cut_expected, write_frame};

const FRAME_MAX: u32 = 131_072;

fn written(kind: FrameKind, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame(&mut out, kind, channel, |out| out.extend_from_slice(payload));
    out
}

fn raw(kind: u8, channel: u16, payload: &[u8], end: u8) -> Vec<u8> {
    let mut frame = written(FrameKind::Body, channel, payload);
    frame[0] = kind;
    *frame.last_mut().unwrap() = end;
    frame
}

fn any_frame() -> impl Strategy<Value = (FrameKind, u16, Vec<u8>)> {
    prop_oneof![
        (any::<u16>(), any::<[u8; 4]>(), bytes(40)).prop_map(|(channel, ids, rest)| (
            FrameKind::Method,
            channel,
            [&ids[..], &rest].concat()
        )),
        (any::<u16>(), any::<[u8; 12]>(), bytes(40)).prop_map(|(channel, fixed, rest)| (
            FrameKind::Header,
            channel,
            [&fixed[..], &rest].concat()
        )),
        (any::<u16>(), bytes(300)).prop_map(|(channel, payload)| (FrameKind::Body, channel, payload)),
        Just((FrameKind::Heartbeat, 0, Vec::new())),
    ]
}

proptest! {
    /// FR-1: however the bytes arrive, the frames are the same, and half a frame is none.
    #[test]
    fn frames_are_cut_wherever_the_bytes_are_split(frames in proptest::collection::vec(any_frame(), 1..4)) {
        let stream: Vec<u8> =
            frames.iter().flat_map(|(kind, channel, payload)| written(*kind, *channel, payload)).collect();
        for split in 0..=stream.len() {
            let (mut at, mut seen) = (0, Vec::new());
            for end in [split, stream.len()] {
                while let Some((frame, taken)) = cut(&stream[at..end], FRAME_MAX).unwrap() {
                    seen.push((frame.kind, frame.channel, frame.payload.to_vec()));
                    at += taken;
                }
            }
            prop_assert_eq!(at, stream.len());
            prop_assert_eq!(&seen, &frames);
        }
    }

    /// What is expected is cut as anything is; nothing else is, nor half of it.
    #[test]
    fn an_expected_frame_is_cut_alike((kind, channel, payload) in any_frame(), behind in bytes(20)) {
        let frame = written(kind, channel, &payload);
        let stream = [&frame[..], &behind].concat();
        prop_assert_eq!(cut_expected(&stream, kind, channel, FRAME_MAX), Some((&payload[..], &behind[..])));
        for end in 0..frame.len() {
            prop_assert_eq!(cut_expected(&stream[..end], kind, channel, FRAME_MAX), None);
        }
        let other = if kind == FrameKind::Body { FrameKind::Header } else { FrameKind::Body };
        prop_assert_eq!(cut_expected(&stream, other, channel, FRAME_MAX), None);
        prop_assert_eq!(cut_expected(&stream, kind, channel ^ 1, FRAME_MAX), None);
        if let Some(less) = payload.len().checked_sub(1) {
            prop_assert_eq!(cut_expected(&stream, kind, channel, less as u32), None);
        }
        let bad_end = raw(kind as u8, channel, &payload, 0xCD);
        prop_assert_eq!(cut_expected(&bad_end, kind, channel, FRAME_MAX), None);
    }

    /// FR-2: the seven octets of the header are enough to refuse a frame.
    #[test]
    fn size_is_checked_first(kind: u8, channel: u16, max in 0..FRAME_MAX, excess in 1..u32::MAX - FRAME_MAX) {
        let size = max + excess;
        let mut header = vec![kind];
        header.extend(channel.to_be_bytes());
        header.extend(size.to_be_bytes());
        let limit = max.saturating_sub(8);
        prop_assert_eq!(cut(&header, max), Err(FrameError::TooLarge { kind, size, limit }));
        prop_assert_eq!(cut(&header[..6], max), Ok(None));
    }
}

/// FR-2: as large as frame_max is tolerated, although the frame is then larger than frame_max.
#[test]
fn payload_may_be_as_large_as_frame_max() {
    let frame = written(FrameKind::Body, 1, &[0; 10_000]);
    assert_eq!(cut(&frame, 10_000).unwrap().unwrap().1, 10_008);
    let error = cut(&frame, 9_999).unwrap_err();
    assert_eq!(error.to_string(), "type 3, all octets = <<>>: {frame_too_large,10000,9991}");
}

/// EC-1, EC-2, EC-3, EC-4, FR-10: what RabbitMQ 4.3 answers.
#[test]
fn bad_frames_are_told_in_rabbitmqs_words() {
    let end = 0xCE;
    let fixed_part_short = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for (frame, code, text) in [
        (raw(4, 0, b"abc", end), 501, r#"type 4, all octets = <<"abc">>: unknown_frame"#),
        (raw(0, 0, b"", end), 501, "type 0, all octets = <<>>: unknown_frame"),
        (raw(255, 1, &[0, 1], end), 501, "type 255, all octets = <<0,1>>: unknown_frame"),
        (raw(9, 0, b"abcdefghijklmnop", end), 501, r#"type 9, all octets = <<"abcdefghijklmnop">>: unknown_frame"#),
        (
            raw(9, 0, b"abcdefghijklmnopqrstuvwxyz", end),
            501,
            r#"type 9, first 16 octets = <<"abcdefghijklmnop">>: unknown_frame"#,
        ),
        (raw(8, 0, b"x", end), 501, r#"type 8, all octets = <<"x">>: unknown_frame"#),
        (raw(8, 1, b"x", end), 501, r#"type 8, all octets = <<"x">>: unknown_frame"#),
        (raw(8, 7, b"", end), 505, "type 8, all octets = <<>>"),
        (raw(1, 1, &[0, 50], end), 501, "type 1, all octets = <<0,50>>: unknown_frame"),
        (raw(1, 0, b"", end), 501, "type 1, all octets = <<>>: unknown_frame"),
        (raw(2, 1, &fixed_part_short, end), 501, "type 2, all octets = <<0,60,0,0,0,0,0,0,0,0,0>>: unknown_frame"),
        (raw(1, 1, &[0, 20, 0, 20, 1], 0), 501, "type 1, all octets = <<0,20,0,20,1>>: {invalid_frame_end_marker,0}"),
        (raw(8, 0, b"", 1), 501, "type 8, all octets = <<>>: {invalid_frame_end_marker,1}"),
        (
            b"HELLO WORLD, HERE IS SOME TEXT".to_vec(),
            501,
            "type 72, all octets = <<>>: {frame_too_large,1280254039,131064}",
        ),
    ] {
        let error = cut(&frame, FRAME_MAX).unwrap_err();
        assert_eq!((error.code() as u16, error.to_string().as_str()), (code, text), "{frame:?}");
    }
}

/// FR-4: a body frame may be empty, a header have no property flags (which is found later), a method no arguments.
#[test]
fn shortest_frames() {
    for (kind, channel, length) in [
        (FrameKind::Method, 1, 4),
        (FrameKind::Header, 1, 12),
        (FrameKind::Body, 1, 0),
        (FrameKind::Body, 0, 0),
        (FrameKind::Heartbeat, 0, 0),
    ] {
        let payload = vec![0; length];
        let frame = written(kind, channel, &payload);
        let expected = Frame { kind, channel, payload: &payload };
        assert_eq!(cut(&frame, 12), Ok(Some((expected, length + 8))));
    }
}

/// FEATURES 1.7: soft codes close the channel, hard ones the connection.
#[test]
fn reply_codes_are_soft_or_hard() {
    let soft = [
        ReplyCode::Success,
        ReplyCode::ContentTooLarge,
        ReplyCode::NoRoute,
        ReplyCode::NoConsumers,
        ReplyCode::AccessRefused,
        ReplyCode::NotFound,
        ReplyCode::ResourceLocked,
        ReplyCode::PreconditionFailed,
    ];
    let hard = [
        ReplyCode::ConnectionForced,
        ReplyCode::InvalidPath,
        ReplyCode::FrameError,
        ReplyCode::SyntaxError,
        ReplyCode::CommandInvalid,
        ReplyCode::ChannelError,
        ReplyCode::UnexpectedFrame,
        ReplyCode::ResourceError,
        ReplyCode::NotAllowed,
        ReplyCode::NotImplemented,
        ReplyCode::InternalError,
    ];
    assert!(soft.iter().all(|code| !code.is_hard()));
    assert!(hard.iter().all(|code| code.is_hard()));
    let mut names: Vec<_> = soft.iter().chain(&hard).map(|code| code.constant_name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), soft.len() + hard.len());
}
