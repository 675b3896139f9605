//! A channel: its state, and what each of its methods does. Start reading at [`Channel::frame`].

mod backlog;
mod consume;
mod exchange;
mod pairs;
mod publish;
mod queue;
mod report;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;

use super::content::{Complete, Content, Part};
use super::outbound::Outbound;
use super::reply::{Fault, Ids, NO_METHOD, second_open};
use super::unacked::Unacked;
use crate::broker::{
    Answer, ChannelKey, Client, Counters, Delivery, Limiter, Outcome, QueueId, QueueKey, Refusal, Reply, Settlement,
};
use crate::wire::{Frame, Method, RawTable, ReplyCode, Table};

use self::consume::Consumers;
use self::pairs::Partners;
use self::publish::Mode;

pub(super) use self::backlog::Backlog;

/// The ticket of what nobody waits for.
const NOBODY: u64 = 0;

/// What a channel needs of its connection while it handles something.
pub(super) struct Surroundings<'a> {
    pub(super) client: &'a mut Client,
    pub(super) out: &'a mut Outbound,
    pub(super) frame_max: u32,
    /// Largest body in bytes.
    pub(super) message_size_max: u64,
    /// Consumers at once.
    pub(super) consumer_max: Option<u32>,
    /// Tickets are unique within a connection.
    pub(super) next_ticket: &'a mut u64,
}

/// What the connection should know of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Handled {
    /// Nothing.
    Done,
    /// The client closes the channel.
    Closed,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Channel {
    content: Content,
    state: State,
}

/// Everything but the content under way, so that a complete publish can be handled where it lies.
#[derive(Debug)]
struct State {
    key: ChannelKey,
    mode: Mode,
    unacked: Unacked,
    consumers: Consumers,
    /// basic.qos with global=false: for consumers that start from now on (QO-1).
    prefetch: u16,
    /// basic.qos with global=true.
    limiter: Arc<Limiter>,
    /// The queue an empty name stands for (M-13).
    last_queue: Option<Arc<str>>,
    waiting: Option<Box<Waiting>>,
    backlog: Backlog,
    counters: Counters,
    /// Publishes that were routed nowhere: returned, and dropped.
    unroutable: (u64, u64),
    /// If somebody wants to know.
    partners: Option<Box<Partners>>,
}

/// What the channel waits for.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    request: Request,
    /// To blame if it is refused.
    ids: Ids,
}

/// What is needed for an answer.
#[derive(Debug)]
enum Request {
    /// The one at the head of the backlog, which is made again when the user's backend has answered.
    Again,
    /// One with no content in its answer: exchange.*, queue.bind and unbind. `None`: nowait.
    Simple {
        ok: Option<Method<'static>>,
    },
    QueueDeclare {
        nowait: bool,
    },
    QueueDelete {
        nowait: bool,
    },
    QueuePurge {
        nowait: bool,
    },
    Consume {
        slot: u32,
        nowait: bool,
    },
    Cancel {
        slot: u32,
        tag: Box<str>,
        nowait: bool,
    },
    Get {
        no_ack: bool,
        /// If what comes from it is counted.
        queue: Option<QueueId>,
    },
    Commit,
}

impl Channel {
    /// `counts_pairs`: what passes between it and others is counted.
    pub(super) fn new(key: ChannelKey, counts_pairs: bool) -> Self {
        let state = State {
            key,
            mode: Mode::default(),
            unacked: Unacked::default(),
            consumers: Consumers::default(),
            prefetch: 0,
            limiter: Arc::new(Limiter::new()),
            last_queue: None,
            waiting: None,
            backlog: Backlog::default(),
            counters: Counters::default(),
            unroutable: (0, 0),
            partners: counts_pairs.then(Box::default),
        };
        Self { content: Content::default(), state }
    }

    pub(super) fn key(&self) -> ChannelKey {
        self.state.key
    }

    /// Handles the publishes at the front of `input` that are all there, up to one that must wait or is at fault; gives
    /// the bytes they took. `None`: there is none. Only when no other content is under way.
    pub(super) fn publishes(
        &mut self,
        input: &[u8],
        payload_max: u32,
        around: &mut Surroundings<'_>,
    ) -> Option<(usize, Result<Handled, Fault>)> {
        let number = self.state.key.number;
        let mut rest = input;
        // FL-1: under an alarm a message is held up at its header.
        while !self.is_waiting()
            && around.client.alarms().is_empty()
            && let Some((complete, behind)) = Complete::read(rest, number, payload_max, around.message_size_max)
        {
            rest = behind;
            if let Err(fault) = self.state.publish_or_wait(complete, around) {
                return Some((input.len() - rest.len(), Err(fault)));
            }
        }
        let done = input.len() - rest.len();
        (done > 0).then_some((done, Ok(Handled::Done)))
    }

    /// No content is under way.
    pub(super) fn is_between_methods(&self) -> bool {
        self.content.is_idle()
    }

    /// A huge body is under way.
    pub(super) fn takes_huge_body(&self) -> bool {
        self.content.is_huge()
    }

    /// Handles one frame.
    pub(super) fn frame(&mut self, frame: Frame<'_>, around: &mut Surroundings<'_>) -> Result<Handled, Fault> {
        match self.content.frame(frame, around.message_size_max)? {
            Part::Method(method) => match self.state.method(method, around) {
                Err(Fault::Unanswered) => {
                    self.state.wait_for_verdicts(around);
                    self.state.backlog.push(frame);
                    Ok(Handled::Done)
                }
                handled => handled,
            },
            Part::More => Ok(Handled::Done),
            Part::Publish(publish) => {
                let published = self.state.publish_or_wait(publish, around);
                self.content.trim();
                published.map(|()| Handled::Done)
            }
            Part::Server(ids) => Err(Fault::unimplemented_method(ids)),
        }
    }

    // --- waiting ---

    /// An answer must come first; frames that come before it are to be deferred.
    pub(super) fn is_waiting(&self) -> bool {
        self.state.waiting.is_some()
    }

    /// So much waits for an answer that the socket should not be read.
    pub(super) fn is_stuck(&self) -> bool {
        self.state.backlog.is_full()
    }

    /// Keeps a frame for when the answer has come. True: now so much waits that the socket should not be read.
    pub(super) fn defer(&mut self, frame: Frame<'_>) -> bool {
        let was_full = self.state.backlog.is_full();
        self.state.backlog.push(frame);
        !was_full && self.state.backlog.is_full()
    }

    /// Frames that came while it waited, to be handled now; and whether the socket was not read because of them.
    pub(super) fn take_backlog(&mut self) -> (Backlog, bool) {
        let was_full = self.state.backlog.is_full();
        (std::mem::take(&mut self.state.backlog), was_full)
    }

    /// Puts back what must wait again, behind what waits already. True: now it is so much that the socket should not be
    /// read.
    pub(super) fn restore_backlog(&mut self, backlog: Backlog) -> bool {
        let was_full = self.state.backlog.is_full();
        self.state.backlog.append(backlog);
        !was_full && self.state.backlog.is_full()
    }

    /// The broker's answer to what the channel waits for.
    pub(super) fn complete(
        &mut self,
        ticket: u64,
        result: Result<Outcome, Refusal>,
        around: &mut Surroundings<'_>,
    ) -> Result<Handled, Fault> {
        let Some(waiting) = self.state.waiting.take_if(|waiting| waiting.ticket == ticket) else {
            return Ok(Handled::Done);
        };
        let Waiting { request, ids, .. } = *waiting;
        match result {
            Ok(outcome) => self.state.answer(request, outcome, around),
            Err(refusal) => Err(self.state.refuse(&request, &refusal, ids)),
        }
        .map(|()| Handled::Done)
    }

    // --- what the broker says unasked ---

    /// Messages for its consumers; gives how many.
    pub(super) fn deliver<'a>(
        &mut self,
        deliveries: impl Iterator<Item = &'a Delivery>,
        out: &mut Outbound,
        frame_max: u32,
    ) -> usize {
        self.state.deliver(deliveries, out, frame_max)
    }

    /// The channel goes: tells that its consumers do.
    pub(super) fn tell_consumers_gone(&self, client: &Client) {
        self.state.consumers.tell_gone(self.state.key, client);
    }

    /// The broker cancelled a consumer: its queue is deleted (DL-11). The client is told if it understands.
    pub(super) fn cancelled_by_broker(&mut self, slot: u32, takes_cancel: bool, client: &Client, out: &mut Outbound) {
        self.state.cancelled_by_broker(slot, takes_cancel, client, out);
    }

    /// SA-7: consumers of queues that the user may not read any more are cancelled.
    pub(super) fn recheck_consumers(
        &mut self,
        queues: &HashMap<QueueKey, Arc<str>>,
        takes_cancel: bool,
        client: &mut Client,
        out: &mut Outbound,
    ) {
        for (slot, (queue, owner)) in self.state.consumers.places() {
            if queues.get(&queue).is_some_and(|name| !client.may_read(name)) {
                client.cancel(Reply { channel: self.state.key, ticket: NOBODY }, queue, owner);
                self.state.cancelled_by_broker(slot, takes_cancel, client, out);
            }
        }
    }

    /// A lane answered publishes.
    pub(super) fn confirmed(&mut self, first: u64, last: u64, accepted: bool) {
        if let Mode::Confirm(confirms) = &mut self.state.mode {
            confirms.settled(first, last, accepted);
        }
    }

    /// There are confirms to be told.
    pub(super) fn has_confirms(&self) -> bool {
        matches!(&self.state.mode, Mode::Confirm(confirms) if confirms.is_pending())
    }

    /// Tells the confirms that have come together. Gives how many publishes are told ack.
    pub(super) fn write_confirms(&mut self, out: &mut Outbound) -> u64 {
        let Mode::Confirm(confirms) = &mut self.state.mode else { return 0 };
        out.frames(|out| confirms.write(self.state.key.number, out))
    }
}

impl State {
    /// One line for each method of a channel.
    fn method(&mut self, method: Method<'_>, around: &mut Surroundings<'_>) -> Result<Handled, Fault> {
        let ids = method.ids();
        match method {
            Method::BasicAck { delivery_tag, multiple } => {
                self.settle(delivery_tag, multiple, Settlement::Ack, ids, around)
            }
            Method::BasicNack { delivery_tag, multiple, requeue } => {
                self.settle(delivery_tag, multiple, Settlement::Nack { requeue }, ids, around)
            }
            Method::BasicReject { delivery_tag, requeue } => {
                self.settle(delivery_tag, false, Settlement::Reject { requeue }, ids, around)
            }
            Method::BasicGet { queue, no_ack } => self.get(queue, no_ack, ids, around),
            Method::BasicConsume { .. } => self.consume(method, around),
            Method::BasicCancel { consumer_tag, nowait } => self.cancel(consumer_tag, nowait, ids, around),
            Method::BasicQos { .. } => self.qos(method, around),
            Method::BasicRecover { requeue } => self.recover(requeue, true, ids, around),
            Method::BasicRecoverAsync { requeue } => self.recover(requeue, false, ids, around),
            Method::ExchangeDeclare { .. } => self.exchange_declare(method, around),
            Method::ExchangeDelete { .. } => self.exchange_delete(method, around),
            Method::ExchangeBind { .. } => self.exchange_bind(method, around),
            Method::ExchangeUnbind { .. } => self.exchange_unbind(method, around),
            Method::QueueDeclare { .. } => self.queue_declare(method, around),
            Method::QueueBind { .. } => self.queue_bind(method, around),
            Method::QueueUnbind { .. } => self.queue_unbind(method, around),
            Method::QueuePurge { queue, nowait } => self.queue_purge(queue, nowait, ids, around),
            Method::QueueDelete { .. } => self.queue_delete(method, around),
            Method::ConfirmSelect { nowait } => self.confirm_select(nowait, ids, around),
            Method::TxSelect {} => self.tx_select(ids, around),
            Method::TxCommit {} => self.tx_commit(ids, around),
            Method::TxRollback {} => self.tx_rollback(ids, around),
            Method::ChannelFlow { active: true } => self.write(around, &Method::ChannelFlowOk { active: true }),
            Method::ChannelFlow { active: false } => Err(Fault::not_implemented(ids, "active=false")),
            Method::AccessRequest { .. } => self.write(around, &Method::AccessRequestOk { ticket: 1 }),
            Method::ChannelOpen {} => Err(second_open(ids)),
            Method::ChannelClose { .. } => return Ok(Handled::Closed),
            // Those only servers send, and those of the connection (EC-15).
            _ => Err(Fault::unimplemented_method(ids)),
        }
        .map(|()| Handled::Done)
    }

    fn write(&self, around: &mut Surroundings<'_>, method: &Method<'_>) -> Result<(), Fault> {
        around.out.frames(|out| method.encode_frame(self.key.number, out));
        Ok(())
    }

    /// M-28.
    fn write_unless(&self, nowait: bool, around: &mut Surroundings<'_>, ok: &Method<'_>) -> Result<(), Fault> {
        if nowait { Ok(()) } else { self.write(around, ok) }
    }

    // --- requests and their answers ---

    /// Asks the broker for something. The answer is given at once, or the channel waits for it.
    fn request(
        &mut self,
        ids: Ids,
        request: Request,
        around: &mut Surroundings<'_>,
        ask: impl FnOnce(&mut Client, Reply) -> Result<Answer, Refusal>,
    ) -> Result<(), Fault> {
        *around.next_ticket += 1;
        let ticket = *around.next_ticket;
        match ask(around.client, Reply { channel: self.key, ticket }) {
            Ok(Answer::Now(outcome)) => self.answer(request, outcome, around),
            Ok(Answer::Later) => {
                self.waiting = Some(Box::new(Waiting { ticket, request, ids }));
                Ok(())
            }
            Err(refusal) => Err(self.refuse(&request, &refusal, ids)),
        }
    }

    /// What the channel wants to do next waits until the user's backend has said whether it may.
    fn wait_for_verdicts(&mut self, around: &mut Surroundings<'_>) {
        *around.next_ticket += 1;
        let ticket = *around.next_ticket;
        around.client.await_verdicts(Reply { channel: self.key, ticket });
        self.waiting = Some(Box::new(Waiting { ticket, request: Request::Again, ids: NO_METHOD }));
    }

    fn refuse(&mut self, request: &Request, refusal: &Refusal, ids: Ids) -> Fault {
        if let Request::Consume { slot, .. } = request {
            self.consumers.remove(*slot);
        }
        Fault::refused(refusal, ids)
    }

    fn answer(&mut self, request: Request, outcome: Outcome, around: &mut Surroundings<'_>) -> Result<(), Fault> {
        match (request, outcome) {
            (Request::Again, Outcome::Decided) => Ok(()),
            (Request::Simple { ok }, Outcome::Done) => ok.map_or(Ok(()), |ok| self.write(around, &ok)),
            (Request::QueueDeclare { nowait }, Outcome::Declared { queue, messages, consumers }) => {
                let ok = Method::QueueDeclareOk { queue: &queue, message_count: messages, consumer_count: consumers };
                self.write_unless(nowait, around, &ok)?;
                self.last_queue = Some(queue);
                Ok(())
            }
            (Request::QueueDelete { nowait }, Outcome::Deleted { messages }) => {
                self.write_unless(nowait, around, &Method::QueueDeleteOk { message_count: messages })
            }
            (Request::QueuePurge { nowait }, Outcome::Purged { messages }) => {
                self.write_unless(nowait, around, &Method::QueuePurgeOk { message_count: messages })
            }
            (Request::Consume { slot, nowait }, Outcome::Consuming { queue, owner }) => {
                self.consuming(slot, nowait, (queue, owner), around)
            }
            (Request::Cancel { slot, tag, nowait }, Outcome::Cancelled) => {
                // Not there any more if its queue was deleted meanwhile.
                self.consumers.cancelled(slot, self.key, around.client);
                self.write_unless(nowait, around, &Method::BasicCancelOk { consumer_tag: &tag })
            }
            (Request::Get { no_ack, queue }, Outcome::Got(got)) => self.got(no_ack, queue, got, around),
            (Request::Commit, Outcome::Committed { all_accepted }) => self.committed(all_accepted, around),
            // The broker answers a request with its own kind of outcome.
            (request, outcome) => {
                debug_assert!(false, "{outcome:?} answers {request:?}");
                Ok(())
            }
        }
    }
}

/// FR-9: RabbitMQ drops the connection at a table it cannot read; a close method is kinder.
fn table(raw: RawTable<'_>, ids: Ids) -> Result<Table, Fault> {
    raw.parse().map_err(|error| Fault::connection(ReplyCode::SyntaxError, ids, error.to_string()))
}

/// BP-8: carriage returns and line feeds in names vanish, in declare, delete and bind.
fn stripped(name: &str) -> std::borrow::Cow<'_, str> {
    if name.contains(['\r', '\n']) { name.replace(['\r', '\n'], "").into() } else { name.into() }
}
