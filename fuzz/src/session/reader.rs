//! A client's end: reads what a session writes, and knows what may come when.

use std::collections::HashMap;

use lepus::wire::{ContentHeader, Frame, FrameKind, Method, Properties, cut};

/// See the module's documentation.
#[derive(Debug)]
pub struct Reader {
    frame_max: u32,
    /// The beginning of a frame.
    bytes: Vec<u8>,
    /// Channels that are open, as the client sees it.
    channels: HashMap<u16, Channel>,
    last_word: Option<LastWord>,
    /// Closes that the server sent and nobody has looked at: channels, 0 is the connection.
    closed: Vec<u16>,
}

/// After it nothing comes but close-ok.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum LastWord {
    /// The protocol header: not even that.
    Header,
    Close,
    CloseOk,
}

#[derive(Debug, Default)]
struct Channel {
    /// Of the last delivery.
    delivery_tag: u64,
    content: Content,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Content {
    #[default]
    None,
    Header,
    /// So many bytes are missing.
    Body(u64),
}

impl Reader {
    /// Of a connection whose frames are at most so long.
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max, bytes: Vec::new(), channels: HashMap::new(), last_word: None, closed: Vec::new() }
    }

    /// Takes what was written.
    pub fn read(&mut self, written: &[u8]) {
        self.bytes.extend_from_slice(written);
        if self.last_word.is_none() && self.bytes.first() == Some(&b'A') {
            if self.bytes.len() < 8 {
                return;
            }
            assert_eq!(self.bytes, b"AMQP\0\0\x09\x01");
            self.bytes.clear();
            self.last_word = Some(LastWord::Header);
            return;
        }
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = bytes.as_slice();
        while let Some((frame, taken)) = cut(rest, self.frame_max - 8).expect("a session writes frames") {
            self.frame(frame);
            rest = &rest[taken..];
        }
        self.bytes = rest.to_vec();
    }

    /// Numbers that the server has closed since the last call.
    pub fn take_closed(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.closed)
    }

    /// Of the last delivery of a channel.
    pub fn last_tag(&self, channel: u16) -> u64 {
        self.channels.get(&channel).map_or(0, |channel| channel.delivery_tag)
    }

    /// What was written ends with a whole frame, and with a whole content.
    pub fn is_between_contents(&self) -> bool {
        self.bytes.is_empty() && self.channels.values().all(|channel| channel.content == Content::None)
    }

    fn frame(&mut self, Frame { kind, channel, payload }: Frame<'_>) {
        if let Some(last_word) = self.last_word {
            let close_ok = (kind, channel, payload) == (FrameKind::Method, 0, &[0, 10, 0, 51][..]);
            assert!(close_ok && last_word != LastWord::Header, "{kind:?} on {channel} after {last_word:?}");
            return;
        }
        match kind {
            FrameKind::Heartbeat => assert!(channel == 0 && payload.is_empty()),
            FrameKind::Method => {
                let method = Method::decode(payload).expect("a session writes methods");
                if channel == 0 { self.connection_method(&method) } else { self.channel_method(channel, &method) }
            }
            FrameKind::Header | FrameKind::Body => {
                let channel = self.channels.get_mut(&channel).expect("content comes on open channels");
                channel.content(kind, payload);
            }
        }
    }

    fn connection_method(&mut self, method: &Method<'_>) {
        match method {
            Method::ConnectionClose { .. } => {
                self.last_word = Some(LastWord::Close);
                self.closed.push(0);
            }
            Method::ConnectionCloseOk {} => self.last_word = Some(LastWord::CloseOk),
            _ => assert!(method.is_from_server_only() && method.ids().0 == 10, "{method:?}"),
        }
    }

    fn channel_method(&mut self, number: u16, method: &Method<'_>) {
        match method {
            Method::ChannelOpenOk {} => {
                assert!(self.channels.insert(number, Channel::default()).is_none(), "{number} is open");
                return;
            }
            // A close of ours may have crossed theirs.
            Method::ChannelCloseOk {} => {
                if let Some(channel) = self.channels.remove(&number) {
                    assert_eq!(channel.content, Content::None);
                }
                return;
            }
            _ => {}
        }
        let Some(channel) = self.channels.get_mut(&number) else { panic!("{method:?} on {number}, which is closed") };
        assert_eq!(channel.content, Content::None, "{method:?} in the middle of a content");
        match method {
            Method::ChannelClose { .. } => {
                self.channels.remove(&number);
                self.closed.push(number);
            }
            Method::BasicDeliver { delivery_tag, .. } | Method::BasicGetOk { delivery_tag, .. } => {
                assert_eq!(*delivery_tag, channel.delivery_tag + 1);
                channel.delivery_tag = *delivery_tag;
                channel.content = Content::Header;
            }
            Method::BasicReturn { .. } => channel.content = Content::Header,
            Method::BasicAck { .. } | Method::BasicNack { .. } => {}
            Method::BasicCancel { .. } | Method::BasicCancelOk { .. } | Method::ChannelFlowOk { .. } => {}
            _ => assert!(method.is_from_server_only() && method.ids().0 > 10, "{method:?}"),
        }
    }
}

impl Channel {
    fn content(&mut self, kind: FrameKind, payload: &[u8]) {
        let missing = match (kind, &self.content) {
            (FrameKind::Header, Content::Header) => {
                let header = ContentHeader::decode(payload).expect("a content header");
                assert_eq!((header.class_id, header.weight), (60, 0));
                // What a client sent and nobody had to look at goes on as it came, readable or not.
                let _ = Properties::decode(header.properties);
                header.body_size
            }
            (FrameKind::Body, Content::Body(missing)) => {
                assert!(!payload.is_empty());
                missing.checked_sub(payload.len() as u64).expect("no more than was announced")
            }
            (kind, content) => panic!("{kind:?} where {content:?} is next"),
        };
        self.content = if missing == 0 { Content::None } else { Content::Body(missing) };
    }
}
