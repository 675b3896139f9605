//! From what the log has kept to a broker: definitions first, then the queues with their messages.

use std::io;
use std::sync::{Arc, PoisonError};

use thiserror::Error;
use tracing::{error, warn};

use super::Broker;
use super::backlog::FormerBacklog;
use super::client::OPERATION_BYTES;
use super::definitions::DefinitionsError;
use super::event::{QueueId, QueueKey};
use super::events;
use super::exchange::ExchangeType;
use super::inbox::Op;
use super::kept;
use super::kept_definitions::{
    AUTO_DELETE, BINDING, DECLARED_BY, EXCHANGE, INTERNAL, NUMBERED, QUEUE, SYSTEM, TO_EXCHANGE, TO_QUEUE,
};
use super::loader::Loader;
use super::message::Message;
use super::queue::QueueOptions;
use super::refusal::Refusal;
use super::vhost::{Destination, Exchange, ExchangeDefinition, QueueHandle, Vhost};
use crate::hashing::Hashing;
use crate::replicate::{
    Chunk, LentMessage, LocalLog, MessageBytes, Recovered, RecoveredMessage, RecoveredQueue, Segments, is_damage,
};
use crate::wire::Table;

/// What was kept cannot be taken up again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// A definition says nothing that this program knows.
    #[error("a definition in the log cannot be read: {0}")]
    Definition(String),
    /// The system gives no thread.
    #[error("no thread to read with: {0}")]
    Thread(#[from] io::Error),
    /// The disk fails.
    #[error("messages cannot be read: {0}")]
    Read(io::Error),
    /// Users, vhosts, policies or parameters are refused.
    #[error("definitions in the log are refused: {0}")]
    System(#[from] DefinitionsError),
}

/// Takes parts off the front of a definition.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(*self.take(8)?.first_chunk()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u32::from_le_bytes(*self.take(4)?.first_chunk()?);
        std::str::from_utf8(self.take(length as usize)?).ok()
    }

    fn table(self) -> Option<Table> {
        Table::parse(self.0).ok()
    }
}

/// An exchange, as the log has it.
struct KeptExchange<'a> {
    vhost: &'a str,
    name: &'a str,
    flags: u8,
    number: Option<u64>,
    kind: ExchangeType,
    arguments: Table,
}

impl<'a> KeptExchange<'a> {
    /// `None`: unreadable.
    fn read(key: &'a [u8], value: &'a [u8]) -> Option<Self> {
        let (mut key, mut value) = (Parts(key), Parts(value));
        let (vhost, name) = (key.text()?, key.text()?);
        let flags = value.byte()?;
        let number = if flags & NUMBERED != 0 { Some(value.number()?) } else { None };
        let kind = ExchangeType::parse(value.text()?)?;
        Some(Self { vhost, name, flags, number, kind, arguments: value.table()? })
    }
}

/// Reads chunks, as long as the disk lets it.
struct ChunkReader<'a> {
    segments: &'a Segments,
    failed: Option<io::Error>,
}

impl ChunkReader<'_> {
    /// The messages of these chunks that are wanted.
    fn read(
        &mut self,
        name: &str,
        chunks: &[Chunk],
        content: &RecoveredQueue<Option<Message>>,
    ) -> Vec<RecoveredMessage<Option<Message>>> {
        let mut read = Vec::new();
        for chunk in chunks {
            let result = self.segments.read(chunk.place, |place, message, shared| {
                if chunk.members.contains(place.seq) {
                    let message = kept::read(&message, shared, &mut Vec::new());
                    read.push(content.with_counts(place.seq, place.expires_ms, message));
                }
            });
            match result {
                Ok(()) => {}
                Err(error) if is_damage(&error) => error!(name, %error, "messages cannot be read: they are lost"),
                Err(error) => self.failed = Some(error),
            }
        }
        read
    }
}

/// A message from the log, for one queue or several; what cannot be read there was damaged before it was written.
pub fn message_of(kept: MessageBytes<'_>, is_shared: bool) -> Option<Message> {
    kept::read(&kept, is_shared.then(LentMessage::default), &mut Vec::new())
}

impl Broker {
    /// Takes up what the log has kept, and keeps what changes from now on. To be called before anybody else knows the
    /// broker.
    pub fn recover(&self, recovered: Recovered<Option<Message>>, log: &LocalLog) -> Result<(), RecoverError> {
        let Recovered { definitions, mut queues, transactions_end, .. } = recovered;
        self.0.commits.numbers_are_used(transactions_end);
        let of_kind = |kind: u8| definitions.iter().filter(move |(key, _)| key.first() == Some(&kind));
        for (_, json) in of_kind(SYSTEM) {
            self.restore_definitions(&String::from_utf8_lossy(json))?;
        }
        let unreadable = |what: &'static str| move || RecoverError::Definition(what.to_owned());
        let mut exchanges = Vec::new();
        for (key, value) in of_kind(EXCHANGE) {
            exchanges.push(KeptExchange::read(&key[1..], value).ok_or_else(unreadable("an exchange"))?);
        }
        // A number is not used again while the log may speak of it.
        let of_queues = of_kind(QUEUE).filter_map(|(key, _)| Parts(&key[1..]).number());
        let numbers =
            of_queues.chain(exchanges.iter().filter_map(|exchange| exchange.number)).chain(queues.keys().copied());
        self.0.keeper.numbers_are_used(numbers.max().map_or(0, |last| last + 1));
        let exchanges: Vec<_> = exchanges.into_iter().filter_map(|kept| self.recover_exchange(kept)).collect();
        let mut reader = ChunkReader { segments: log.segments(), failed: None };
        let mut handles = std::collections::HashMap::default();
        for (key, value) in of_kind(QUEUE) {
            let id = Parts(&key[1..]).number().ok_or_else(unreadable("a queue"))?;
            let content = queues.remove(&id).unwrap_or_default();
            let handle =
                self.recover_queue(QueueId(id), value, content, &mut reader).ok_or_else(unreadable("a queue"))?;
            handles.extend(handle.map(|handle| (id, handle)));
        }
        for (key, _) in of_kind(BINDING) {
            self.recover_binding(&key[1..], &handles).ok_or_else(unreadable("a binding"))?;
        }
        for (vhost, exchange, _) in &exchanges {
            let Some(content) = exchange.number.and_then(|number| queues.remove(&number.0)) else { continue };
            if let Some(seen) = &exchange.seen {
                seen.lock().unwrap_or_else(PoisonError::into_inner).recover(&content.notes());
            }
            if exchange.options.delays {
                self.hold_again(vhost, exchange, content, &mut reader);
            }
        }
        if let Some(error) = reader.failed {
            return Err(RecoverError::Read(error));
        }
        // What has no queue any more.
        for chunk in queues.values().flat_map(|queue| queue.chunks.iter()) {
            log.segments().give_up(chunk.place);
        }
        let loader = Loader::new(log.segments().clone(), self.system_mailbox().clone());
        if log.has_threads() {
            loader.start()?;
        }
        let _ = self.0.loader.set(loader);
        self.0.keeper.start(log.journal());
        for (vhost, exchange, _) in
            exchanges.iter().filter(|(_, exchange, is_new)| *is_new && exchange.number.is_some())
        {
            vhost.keep_exchange(exchange);
        }
        Ok(())
    }

    /// `None`: one whose vhost is gone went with it. The flag says that it had no number before.
    fn recover_exchange(&self, kept: KeptExchange<'_>) -> Option<(Arc<Vhost>, Arc<Exchange>, bool)> {
        let KeptExchange { vhost, name, flags, number, kind, arguments } = kept;
        let definition = ExchangeDefinition {
            name,
            kind,
            durable: true,
            auto_delete: flags & AUTO_DELETE != 0,
            internal: flags & INTERNAL != 0,
            arguments,
            number: number.map(QueueId),
        };
        let vhost = self.vhost(vhost)?;
        match vhost.declare_exchange(definition, events::INTERNAL) {
            Ok(()) => {}
            Err(refusal) => warn!(exchange = name, %refusal, "an exchange cannot be declared any more"),
        }
        let exchange = vhost.exchange(name)?;
        Some((vhost, exchange, number.is_none()))
    }

    /// To be called when everything is declared that messages may be routed to.
    fn hold_again(
        &self,
        vhost: &Arc<Vhost>,
        exchange: &Arc<Exchange>,
        content: RecoveredQueue<Option<Message>>,
        reader: &mut ChunkReader<'_>,
    ) {
        let chunks: Vec<Chunk> = content.chunks.iter().cloned().collect();
        let read = reader.read(&exchange.name, &chunks, &content);
        let former = FormerBacklog { vhost: vhost.clone(), exchange: exchange.clone(), content, read };
        let lane = self.lane(self.lane_of_exchange(exchange));
        lane.send(self.system_mailbox(), vec![Op::HoldAgain(Box::new(former))], OPERATION_BYTES);
    }

    fn recover_queue(
        &self,
        id: QueueId,
        value: &[u8],
        content: RecoveredQueue<Option<Message>>,
        reader: &mut ChunkReader<'_>,
    ) -> Option<Option<Arc<QueueHandle>>> {
        let mut value = Parts(value);
        let flags = value.byte()?;
        let declared_by = if flags & DECLARED_BY == 0 { events::INTERNAL } else { value.text()? };
        let (vhost, name) = (value.text()?, value.text()?);
        let arguments = value.table()?;
        let Some(vhost) = self.vhost(vhost) else { return Some(None) };
        let named = vhost.queue_named(name);
        let auto_delete = flags & AUTO_DELETE != 0;
        let handle = QueueOptions::parse(&named, true, None, auto_delete, false, arguments)
            .and_then(|options| self.put_queue(&vhost, id, (name, declared_by), options, content, reader));
        match handle {
            Ok(handle) => Some(Some(handle)),
            Err(refusal) => {
                warn!(queue = name, %refusal, "a queue cannot be declared any more");
                Some(None)
            }
        }
    }

    fn put_queue(
        &self,
        vhost: &Vhost,
        id: QueueId,
        (name, declared_by): (&str, &str),
        options: QueueOptions,
        content: RecoveredQueue<Option<Message>>,
        reader: &mut ChunkReader<'_>,
    ) -> Result<Arc<QueueHandle>, Refusal> {
        let (handle, _) = vhost.find_or_create_queue(name, events::INTERNAL, || {
            let lanes = self.lanes().len().max(1) as u64;
            // A remainder of at most 64 lanes.
            let key = QueueKey { lane: (id.0 % lanes) as u16, id };
            let in_force = vhost.policies_now().for_queue(name, &options);
            let vhost = vhost.name().clone();
            let (own_name, options) = (name.into(), Arc::new(options));
            let handle = Arc::new(QueueHandle::new(key, own_name, vhost, options, declared_by.into(), in_force));
            let mut queue = self.new_queue(handle.clone());
            let (at_once, paged) = queue.split(&content);
            paged.iter().for_each(|chunk| reader.segments.want_again(chunk.place));
            let read = reader.read(name, &at_once, &content);
            queue.recover(content, read, paged);
            let operation = Op::Create { queue: Box::new(queue), written: None };
            self.lane(key.lane).send(self.system_mailbox(), vec![operation], OPERATION_BYTES);
            Ok(handle)
        })?;
        Ok(handle)
    }

    /// One whose ends are gone went with them.
    fn recover_binding(
        &self,
        key: &[u8],
        queues: &std::collections::HashMap<u64, Arc<QueueHandle>, Hashing>,
    ) -> Option<()> {
        let mut key = Parts(key);
        let (vhost, source) = (key.text()?, key.text()?);
        let vhost = self.vhost(vhost);
        let destination = match key.byte()? {
            TO_QUEUE => queues.get(&key.number()?).cloned().map(Destination::Queue),
            TO_EXCHANGE => Some(Destination::Exchange(key.text()?.into())),
            _ => return None,
        };
        let routing_key = key.text()?;
        let arguments = key.table()?;
        let (Some(vhost), Some(destination)) = (vhost, destination) else { return Some(()) };
        let Some(source) = vhost.exchange(source) else { return Some(()) };
        match vhost.bind(&source, &destination, routing_key, &arguments, events::INTERNAL) {
            Ok(_) => {}
            Err(refusal) => warn!(source = %source.name, %refusal, "a binding cannot be made any more"),
        }
        Some(())
    }
}
