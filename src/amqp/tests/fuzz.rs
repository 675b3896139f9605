//! Any sequence of operations, legal or not, ends in replies or in the right close, never in a panic; and whatever the
//! session answers can be read.

use proptest::prelude::*;

use super::*;

/// What a client does.
#[derive(Clone, Debug)]
enum Action {
    Send(u16, Call),
    Publish {
        channel: u16,
        exchange: u8,
        key: u8,
        mandatory: bool,
        length: usize,
    },
    /// A publish without its last bytes.
    PublishPart {
        channel: u16,
        key: u8,
        length: usize,
        cut: usize,
    },
    Bytes(Vec<u8>),
    /// Lanes are turned, events are not taken.
    Turn,
    Run,
    Pass(u8),
    Alarm(bool),
    CloseByServer,
    Connect,
}

/// Methods, with few names so that they meet.
#[derive(Clone, Debug)]
enum Call {
    Open,
    Close,
    CloseOk,
    Declare { queue: u8, passive: bool, exclusive: bool, nowait: bool },
    Delete { queue: u8, if_unused: bool },
    Purge(u8),
    Bind { queue: u8, exchange: u8, key: u8 },
    Unbind { queue: u8, exchange: u8, key: u8 },
    Consume { queue: u8, tag: u8, no_ack: bool, nowait: bool },
    Cancel { tag: u8, nowait: bool },
    Get { queue: u8, no_ack: bool },
    Ack { tag: u64, multiple: bool },
    Nack { tag: u64, multiple: bool, requeue: bool },
    Reject { tag: u64, requeue: bool },
    Recover(bool),
    Qos { count: u16, global: bool },
    Confirm,
    TxSelect,
    TxCommit,
    TxRollback,
    Flow(bool),
    ServerOnly,
    ConnectionClose,
    ConnectionCloseOk,
}

const QUEUES: [&str; 5] = ["", "q", "r", "s", "missing"];
const EXCHANGES: [&str; 5] = ["", "amq.direct", "amq.fanout", "amq.topic", "missing"];
const TAGS: [&str; 3] = ["a", "b", ""];

impl Call {
    fn method(&self) -> Method<'static> {
        let queue = |index: &u8| QUEUES[usize::from(*index) % QUEUES.len()];
        let exchange = |index: &u8| EXCHANGES[usize::from(*index) % EXCHANGES.len()];
        let tag = |index: &u8| TAGS[usize::from(*index) % TAGS.len()];
        let (durable, auto_delete, arguments) = (false, false, EMPTY);
        match self {
            Self::Open => Method::ChannelOpen {},
            Self::Close => close_channel(),
            Self::CloseOk => Method::ChannelCloseOk {},
            Self::Declare { queue: name, passive, exclusive, nowait } => Method::QueueDeclare {
                queue: queue(name),
                passive: *passive,
                durable,
                exclusive: *exclusive,
                auto_delete,
                nowait: *nowait,
                arguments,
            },
            Self::Delete { queue: name, if_unused } => {
                Method::QueueDelete { queue: queue(name), if_unused: *if_unused, if_empty: false, nowait: false }
            }
            Self::Purge(name) => Method::QueuePurge { queue: queue(name), nowait: false },
            Self::Bind { queue: name, exchange: source, key } => Method::QueueBind {
                queue: queue(name),
                exchange: exchange(source),
                routing_key: queue(key),
                nowait: false,
                arguments,
            },
            Self::Unbind { queue: name, exchange: source, key } => Method::QueueUnbind {
                queue: queue(name),
                exchange: exchange(source),
                routing_key: queue(key),
                arguments,
            },
            Self::Consume { queue: name, tag: consumer, no_ack, nowait } => Method::BasicConsume {
                queue: queue(name),
                consumer_tag: tag(consumer),
                no_local: false,
                no_ack: *no_ack,
                exclusive: false,
                nowait: *nowait,
                arguments,
            },
            Self::Cancel { tag: consumer, nowait } => {
                Method::BasicCancel { consumer_tag: tag(consumer), nowait: *nowait }
            }
            Self::Get { queue: name, no_ack } => Method::BasicGet { queue: queue(name), no_ack: *no_ack },
            Self::Ack { tag, multiple } => ack(*tag, *multiple),
            Self::Nack { tag, multiple, requeue } => nack(*tag, *multiple, *requeue),
            Self::Reject { tag, requeue } => Method::BasicReject { delivery_tag: *tag, requeue: *requeue },
            Self::Recover(requeue) => Method::BasicRecover { requeue: *requeue },
            Self::Qos { count, global } => qos(*count, *global),
            Self::Confirm => confirm_select(),
            Self::TxSelect => Method::TxSelect {},
            Self::TxCommit => Method::TxCommit {},
            Self::TxRollback => Method::TxRollback {},
            Self::Flow(active) => Method::ChannelFlow { active: *active },
            Self::ServerOnly => Method::BasicGetEmpty {},
            Self::ConnectionClose => close_connection(),
            Self::ConnectionCloseOk => Method::ConnectionCloseOk {},
        }
    }
}

fn call() -> impl Strategy<Value = Call> {
    let small = 0..5_u8;
    let tag = prop_oneof![9 => 0..6_u64, 1 => any::<u64>()];
    let common = prop_oneof![
        3 => (small.clone(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(queue, passive, exclusive, nowait)| Call::Declare { queue, passive, exclusive, nowait }),
        1 => (small.clone(), any::<bool>()).prop_map(|(queue, if_unused)| Call::Delete { queue, if_unused }),
        1 => small.clone().prop_map(Call::Purge),
        2 => (small.clone(), small.clone(), small.clone())
            .prop_map(|(queue, exchange, key)| Call::Bind { queue, exchange, key }),
        1 => (small.clone(), small.clone(), small.clone())
            .prop_map(|(queue, exchange, key)| Call::Unbind { queue, exchange, key }),
        3 => (small.clone(), small.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(queue, tag, no_ack, nowait)| Call::Consume { queue, tag, no_ack, nowait }),
        2 => (small.clone(), any::<bool>()).prop_map(|(tag, nowait)| Call::Cancel { tag, nowait }),
        3 => (small, any::<bool>()).prop_map(|(queue, no_ack)| Call::Get { queue, no_ack }),
    ];
    let settling = prop_oneof![
        3 => (tag.clone(), any::<bool>()).prop_map(|(tag, multiple)| Call::Ack { tag, multiple }),
        2 => (tag.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(tag, multiple, requeue)| Call::Nack { tag, multiple, requeue }),
        1 => (tag, any::<bool>()).prop_map(|(tag, requeue)| Call::Reject { tag, requeue }),
        1 => Just(Call::Recover(true)),
        1 => (0..3_u16, any::<bool>()).prop_map(|(count, global)| Call::Qos { count, global }),
        1 => Just(Call::Confirm),
        1 => Just(Call::TxSelect),
        1 => Just(Call::TxCommit),
        1 => Just(Call::TxRollback),
    ];
    let channels = prop_oneof![
        6 => Just(Call::Open),
        3 => Just(Call::Close),
        6 => Just(Call::CloseOk),
        1 => Just(Call::Flow(true)),
    ];
    let fatal = prop_oneof![
        Just(Call::Flow(false)),
        Just(Call::Recover(false)),
        Just(Call::ServerOnly),
        Just(Call::ConnectionClose),
        Just(Call::ConnectionCloseOk),
    ];
    prop_oneof![40 => common, 25 => settling, 25 => channels, 1 => fatal]
}

fn action() -> impl Strategy<Value = Action> {
    let channel = prop_oneof![30 => 1..4_u16, 1 => Just(0), 1 => any::<u16>()];
    prop_oneof![
        60 => (channel.clone(), call()).prop_map(|(channel, call)| Action::Send(channel, call)),
        20 => (channel.clone(), 0..5_u8, 0..5_u8, any::<bool>(), prop_oneof![Just(0), Just(3), Just(5000), Just(140_000)])
            .prop_map(|(channel, exchange, key, mandatory, length)| {
                Action::Publish { channel, exchange, key, mandatory, length }
            }),
        1 => (channel, 0..5_u8, 0..300_usize, 0..100_usize)
            .prop_map(|(channel, key, length, cut)| Action::PublishPart { channel, key, length, cut }),
        1 => proptest::collection::vec(any::<u8>(), 0..30).prop_map(Action::Bytes),
        5 => Just(Action::Turn),
        10 => Just(Action::Run),
        2 => any::<u8>().prop_map(Action::Pass),
        1 => any::<bool>().prop_map(Action::Alarm),
        1 => Just(Action::CloseByServer),
        3 => Just(Action::Connect),
    ]
}

/// Does it, and gives the connection to go on with: a new one when the old one is over.
fn act(world: &mut World, id: Id, action: &Action) -> Id {
    match action {
        Action::Send(0, call) => world.send(id, 0, &call.method()),
        Action::Send(channel, call) => world.send(id, *channel, &call.method()),
        Action::Publish { channel, exchange, key, mandatory, length } => {
            let exchange = EXCHANGES[usize::from(*exchange)];
            let body = vec![7; *length];
            world.bytes(id, &publish(*channel, exchange, QUEUES[usize::from(*key)], &body, *mandatory));
        }
        Action::PublishPart { channel, key, length, cut } => {
            let whole = publish(*channel, "", QUEUES[usize::from(*key)], &vec![7; *length], false);
            world.bytes(id, &whole[..whole.len().saturating_sub(*cut)]);
        }
        Action::Bytes(bytes) => world.bytes(id, bytes),
        Action::Turn => world.turn_lanes(),
        Action::Run => world.run(),
        Action::Pass(seconds) => world.pass(f64::from(*seconds)),
        Action::Alarm(on) => world.broker.set_alarm(crate::broker::Alarm::Memory, *on),
        Action::CloseByServer => world.broker.close_connections("tests"),
        Action::Connect => {}
    }
    if matches!(action, Action::Connect) || world.ended(id).is_some() { world.connect_channel() } else { id }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_is_answered(actions in proptest::collection::vec(action(), 1..120)) {
        let mut world = World::new();
        let mut id = world.connect_channel();
        for action in &actions {
            id = act(&mut world, id, action);
        }
        // What is left comes to rest, and everything written was whole frames.
        world.broker.set_alarm(crate::broker::Alarm::Memory, false);
        world.run();
        for client in &world.clients {
            prop_assert!(client.bytes.is_empty());
            for said in &client.frames {
                if said.kind == FrameKind::Method {
                    let method = Method::decode(&said.payload).unwrap();
                    prop_assert!(
                        method.is_from_server_only()
                            || matches!(method.ids(), (10, 50 | 51) | (20, 21 | 40 | 41) | (60, 30 | 31 | 80 | 120)),
                        "{method:?}"
                    );
                }
            }
        }
        // Everybody goes, and nothing is left of them.
        world.broker.close_connections("the end");
        world.run();
        for id in 0..world.clients.len() {
            world.send(id, 0, &Method::ConnectionCloseOk {});
        }
        world.run();
        world.pass(100.0);
        prop_assert!((0..world.clients.len()).all(|id| world.ended(id).is_some()));
        prop_assert_eq!(world.broker.connection_count(), 0);
        for queue in ["q", "r", "s"] {
            if let Some((_, consumers)) = world.counts(queue) {
                prop_assert_eq!(consumers, 0);
            }
        }
    }

    /// The same bytes in other pieces give the same answers.
    #[test]
    fn pieces_make_no_difference(
        // Without confirms, which come together as the input does.
        calls in proptest::collection::vec((1..3_u16, call().prop_filter("", |call| !matches!(call, Call::Confirm))), 1..40),
        publishes in proptest::collection::vec((0..5_u8, any::<bool>(), 0..200_usize), 40),
        cuts in proptest::collection::vec(1..40_usize, 1..20),
    ) {
        let mut all = Vec::new();
        for ((channel, call), (key, mandatory, length)) in calls.iter().zip(publishes) {
            all.extend(publish(*channel, "", QUEUES[usize::from(key)], &vec![key; length], mandatory));
            all.extend(frame(*channel, &call.method()));
        }
        let answers = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut world = World::new();
            let id = world.connect_channel();
            world.open_channel(id, 2);
            pieces.for_each(|piece| world.bytes(id, piece));
            world.run();
            let shown = |said: String| match said.find("amq.") {
                // Names made by the server are random.
                Some(at) => said[..at].to_owned(),
                None => said,
            };
            world.clients[id].said().into_iter().map(shown).collect::<Vec<_>>()
        };
        let whole = answers(&mut std::iter::once(all.as_slice()));
        let mut rest = all.as_slice();
        let mut sizes = cuts.iter().cycle();
        let mut pieces = std::iter::from_fn(|| {
            let size = (*sizes.next()?).min(rest.len());
            let (piece, left) = rest.split_at(size);
            rest = left;
            (!piece.is_empty()).then_some(piece)
        });
        prop_assert_eq!(answers(&mut pieces), whole);
    }
}
