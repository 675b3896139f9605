//! Arguments of the methods that raw tests send, bit fields written as in the specification's XML.

use super::raw::Args;

/// queue.declare. `bits`: 1 passive, 2 durable, 4 exclusive, 8 auto-delete, 16 nowait.
pub(crate) fn queue_declare(queue: &str, bits: u8) -> Args {
    queue_declare_with(queue, bits, Args::new())
}

/// queue.declare with argument fields.
pub(crate) fn queue_declare_with(queue: &str, bits: u8, arguments: Args) -> Args {
    Args::new().short(0).shortstr(queue.as_bytes()).octet(bits).table(arguments)
}

/// queue.bind.
pub(crate) fn queue_bind(queue: &str, exchange: &str, key: &str) -> Args {
    queue_unbind_head(queue, exchange, key).octet(0).table(Args::new())
}

/// queue.unbind, which has no bits.
pub(crate) fn queue_unbind(queue: &str, exchange: &str, key: &str) -> Args {
    queue_unbind_head(queue, exchange, key).table(Args::new())
}

fn queue_unbind_head(queue: &str, exchange: &str, key: &str) -> Args {
    Args::new().short(0).shortstr(queue.as_bytes()).shortstr(exchange.as_bytes()).shortstr(key.as_bytes())
}

/// queue.purge.
pub(crate) fn queue_purge(queue: &str) -> Args {
    Args::new().short(0).shortstr(queue.as_bytes()).octet(0)
}

/// queue.delete. `bits`: 1 if-unused, 2 if-empty, 4 nowait.
pub(crate) fn queue_delete(queue: &str, bits: u8) -> Args {
    Args::new().short(0).shortstr(queue.as_bytes()).octet(bits)
}

/// exchange.declare. `bits`: 1 passive, 2 durable, 4 auto-delete, 8 internal, 16 nowait.
pub(crate) fn exchange_declare(exchange: &str, kind: &str, bits: u8) -> Args {
    Args::new().short(0).shortstr(exchange.as_bytes()).shortstr(kind.as_bytes()).octet(bits).table(Args::new())
}

/// exchange.delete. `bits`: 1 if-unused, 2 nowait.
pub(crate) fn exchange_delete(exchange: &str, bits: u8) -> Args {
    Args::new().short(0).shortstr(exchange.as_bytes()).octet(bits)
}

/// exchange.bind and exchange.unbind.
pub(crate) fn exchange_bind(destination: &str, source: &str, key: &str) -> Args {
    queue_unbind_head(destination, source, key).octet(0).table(Args::new())
}

/// basic.consume. `bits`: 1 no-local, 2 no-ack, 4 exclusive, 8 nowait.
pub(crate) fn consume(queue: &str, tag: &str, bits: u8) -> Args {
    consume_with(queue, tag, bits, Args::new())
}

/// basic.consume with argument fields.
pub(crate) fn consume_with(queue: &str, tag: &str, bits: u8, arguments: Args) -> Args {
    Args::new().short(0).shortstr(queue.as_bytes()).shortstr(tag.as_bytes()).octet(bits).table(arguments)
}

/// basic.cancel. `bits`: 1 nowait.
pub(crate) fn cancel(tag: &str, bits: u8) -> Args {
    Args::new().shortstr(tag.as_bytes()).octet(bits)
}

/// basic.qos.
pub(crate) fn qos(size: u32, count: u16, global: bool) -> Args {
    Args::new().long(size).short(count).octet(u8::from(global))
}

/// basic.publish. `bits`: 1 mandatory, 2 immediate.
pub(crate) fn publish(exchange: &str, key: &str, bits: u8) -> Args {
    Args::new().short(0).shortstr(exchange.as_bytes()).shortstr(key.as_bytes()).octet(bits)
}

/// basic.get.
pub(crate) fn get(queue: &str, no_ack: bool) -> Args {
    Args::new().short(0).shortstr(queue.as_bytes()).octet(u8::from(no_ack))
}

/// basic.ack and basic.reject (`bit`: multiple, requeue), and basic.nack (1 multiple, 2 requeue).
pub(crate) fn settle(tag: u64, bits: u8) -> Args {
    Args::new().longlong(tag).octet(bits)
}
