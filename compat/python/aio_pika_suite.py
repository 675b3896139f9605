"""The scenarios in aio-pika; what its own face hides is asked of the aiormq channel under it."""

import asyncio
import time

import aio_pika
import aiormq
from aio_pika import ExchangeType, Message

from harness import Suite, check, check_server, describe, equal, five_mebibytes, with_password

suite = Suite("aio-pika", aio_pika.__version__)


def connect(**parameters):
    return aio_pika.connect(suite.url, **parameters)


def connect_robust():
    """The client's usual connection. It opens closed channels again and answers declares from memory, so only for peaceful work."""
    return aio_pika.connect_robust(suite.url)


async def refused(error, call):
    """The text with which the broker closed the channel under `call`; aiormq has one class for each code."""
    try:
        await call
    except error as closed:
        return closed.args[0]
    raise AssertionError(f"refused with {error.__name__}")


async def until(condition, what, seconds_max=10):
    deadline = time.monotonic() + seconds_max
    while not await condition():
        check(time.monotonic() < deadline, f"{what}, within {seconds_max} s")
        await asyncio.sleep(0.02)


async def counts(channel, name):
    ok = (await channel.declare_queue(name, passive=True)).declaration_result
    return ok.message_count, ok.consumer_count


async def expect_counts(channel, name, expected, what):
    """A count may overtake the publishes and acks before it, even on one channel of RabbitMQ."""
    async def reached():
        return await counts(channel, name) == expected

    await until(reached, f"{what}: {expected}")


async def exists(connection, name):
    channel = await connection.channel()
    try:
        await channel.declare_queue(name, passive=True)
        await channel.close()
        return True
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False


async def publish(channel, queue, *bodies):
    for body in bodies:
        await channel.default_exchange.publish(Message(body.encode()), queue.name)


async def take(queue, n):
    return [await queue.get() for _ in range(n)]


@suite.scenario
async def connect_and_properties():
    async with await connect() as connection:
        check_server(connection.transport.connection.server_properties)


@suite.scenario
async def declare_and_get_counts():
    async with await connect() as connection:
        channel, name = await connection.channel(), suite.queue()
        queue = await channel.declare_queue(name, durable=True)
        ok = queue.declaration_result
        equal((ok.queue, ok.message_count, ok.consumer_count), (name, 0, 0), "declare-ok")
        await publish(channel, queue, "0", "1", "2")
        await expect_counts(channel, name, (3, 0), "counts after three publishes")
        message = await queue.get()
        equal((message.message_count, message.redelivered, message.routing_key, message.body), (2, False, name, b"0"), "get-ok")
        await expect_counts(channel, name, (2, 0), "an unacked message is not counted")
        await message.ack()
        equal((await queue.purge()).message_count, 2, "purge-ok")
        equal(await queue.get(fail=False), None, "get-empty")
        await publish(channel, queue, "last")
        equal((await queue.delete(if_unused=False, if_empty=False)).message_count, 1, "delete-ok")
        named = await channel.declare_queue(exclusive=True)
        check(named.name.startswith("amq.gen-"), f"server-named queue: {named.name!r}")


@suite.scenario
async def publish_consume_ack():
    async with await connect_robust() as connection:
        channel, name, received = await connection.channel(), suite.queue(), []
        queue = await channel.declare_queue(name, durable=True)
        headers = {"text": "é", "int": -7, "long": 1 << 40, "flag": True, "list": [1, "two"], "table": {"a": {}}, "none": None}
        sent = dict(content_type="text/plain", content_encoding="utf-8", delivery_mode=2, priority=3,
                    correlation_id="c-1", reply_to="r-1", message_id="m-1", type="t-1", app_id="a-1")
        messages = [Message(b"message %d" % i, headers=headers, expiration=600, timestamp=1700000000, **sent) for i in range(1000)]
        await asyncio.gather(*(channel.default_exchange.publish(message, name) for message in messages))
        async with queue.iterator() as iterator:
            async for message in iterator:
                received.append(message)
                await message.ack()
                if len(received) == 1000:
                    break
        equal([m.delivery_tag for m in received], list(range(1, 1001)), "delivery tags")
        equal([m.body for m in received], [b"message %d" % i for i in range(1000)], "bodies in order")
        check(not any(m.redelivered for m in received), "nothing is redelivered")
        first = received[0]
        equal({field: getattr(first, field) for field in sent}, sent, "properties come back unchanged")
        equal((first.headers, first.expiration, int(first.timestamp.timestamp())), (headers, 600, 1700000000), "headers, expiration, timestamp")
        await channel.close()
        await expect_counts(await connection.channel(), name, (0, 0), "counts after all acks")


@suite.scenario
async def confirms():
    async with await connect() as connection:
        channel, name = await connection.channel(publisher_confirms=True, on_return_raises=True), suite.queue()
        await channel.declare_queue(name, durable=True)
        persistent = [Message(b"%d" % i, delivery_mode=2) for i in range(1000)]
        results = await asyncio.gather(*(channel.default_exchange.publish(m, name, mandatory=True) for m in persistent))
        check(all(isinstance(result, aiormq.spec.Basic.Ack) for result in results), "1,000 acks")
        await expect_counts(channel, name, (1000, 0), "messages after 1,000 confirms")
        # aiormq fails the publish on return and would fail on the ack if that came first.
        try:
            await channel.default_exchange.publish(Message(b"lost"), name + ".nowhere", mandatory=True)
            raise AssertionError("an unroutable mandatory message is returned")
        except aiormq.exceptions.PublishError as error:
            returned = error.message.delivery
            equal((returned.reply_code, returned.reply_text), (312, "NO_ROUTE"), "return")
            equal((returned.exchange, returned.routing_key, error.message.body), ("", name + ".nowhere", b"lost"), "returned message")
        await channel.default_exchange.publish(Message(b"lost"), name + ".nowhere", mandatory=False)


@suite.scenario
async def requeue_order_and_redelivered():
    async with await connect() as connection:
        channel, name = await connection.channel(), suite.queue()
        queue = await channel.declare_queue(name, durable=True)
        await publish(channel, queue, "0", "1", "2", "3", "4")
        held = await take(queue, 4)
        await held[2].nack(requeue=True)
        await held[1].reject(requeue=True)
        equal([(m.body, m.redelivered) for m in await take(queue, 3)], [(b"1", True), (b"2", True), (b"4", False)],
              "requeued messages are back in their places")
        await channel.close()
        queue = await (await connection.channel()).get_queue(name)
        equal([(m.body, m.redelivered) for m in await take(queue, 5)], [(b"%d" % i, True) for i in range(5)],
              "a closed channel gives everything back in order")


@suite.scenario
async def prefetch_round_robin():
    async with await connect() as connection:
        publisher, name, log = await connection.channel(), suite.queue(), []
        queue, channels = await publisher.declare_queue(name, durable=True), {}

        async def consume(who):
            channels[who] = await connection.channel()
            await channels[who].set_qos(prefetch_count=1)
            await (await channels[who].get_queue(name)).consume(lambda message: keep(who, message))

        async def keep(who, message):
            log.append((who, message))

        async def delivery(i):
            async def here():
                return len(log) > i

            await until(here, f"delivery {i}")
            return log[i]

        async def ack(i):
            who, message = await delivery(i)
            await message.ack()
            # A round trip, so that the acks of both channels reach the queue in this order.
            await channels[who].set_qos(prefetch_count=1)

        await consume("A")
        await consume("B")
        for i in range(2):
            await publish(publisher, queue, str(i))
            await delivery(i)
        await publish(publisher, queue, *"2345")
        await expect_counts(publisher, name, (4, 2), "the rest waits for credit")
        for i in range(6):
            await ack(i)
            await delivery(min(i + 2, 5))
        for i in range(6, 16):
            await publish(publisher, queue, str(i))
            await ack(i)
        turns = "".join(who for who, _ in log)
        equal(turns[:6], "ABABAB", "the backlog goes to whoever has acked")
        # Which of the two is next when both have waited for credit is the broker's choice.
        check(turns[6:] in ("AB" * 5, "BA" * 5), f"consumers take turns: {turns[6:]}")
        equal([m.body for _, m in log], [b"%d" % i for i in range(16)], "order over both consumers")


@suite.scenario
async def exchanges():
    async with await connect() as connection:
        channel = await connection.channel()
        for name in ("amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"):
            await channel.get_exchange(name, ensure=True)
        queues = [await channel.declare_queue(suite.queue(), durable=True) for _ in range(3)]

        async def declare(kind, *bindings):
            exchange = await channel.declare_exchange(suite.exchange(), kind, durable=True)
            for queue, (key, arguments) in zip(queues, bindings):
                await queue.bind(exchange, key, arguments=arguments)
            return exchange

        async def drain(queue):
            found = []
            while (message := await queue.get(no_ack=True, fail=False)) is not None:
                found.append(message.body.decode())
            return " ".join(found)

        async def arrive(exchange, publishes, expected, what):
            for body, key, headers in publishes:
                await exchange.publish(Message(body.encode(), headers=headers), key, mandatory=False)
            equal([await drain(queue) for queue in queues], expected, what)

        direct = await declare(ExchangeType.DIRECT, ("a", None), ("b", None), ("a", None))
        await arrive(direct, [("1", "a", None), ("2", "b", None), ("3", "c", None)], ["1", "2", "1"], "direct")
        await queues[2].unbind(direct, "a")
        await arrive(direct, [("4", "a", None)], ["4", "", ""], "direct after unbind")
        fanout = await declare(ExchangeType.FANOUT, ("", None), ("x", None), ("", None))
        await arrive(fanout, [("1", "y", None)], ["1", "1", "1"], "fanout")
        topic = await declare(ExchangeType.TOPIC, ("a.*.c", None), ("a.#", None), ("#.c", None))
        await arrive(topic, [("1", "a.b.c", None), ("2", "a", None), ("3", "c", None), ("4", "a.b.b.c", None), ("5", "b", None)],
                     ["1", "1 2 4", "1 3 4"], "topic")
        headers = await declare(ExchangeType.HEADERS, ("", {"x-match": "all", "k": "v", "n": 1}),
                                ("", {"x-match": "any", "k": "v", "n": 1}), ("", {"k": "v"}))
        await arrive(headers, [("1", "", {"k": "v", "n": 1}), ("2", "", {"k": "w", "n": 1}), ("3", "", {"k": "v"}), ("4", "", {})],
                     ["1", "1 2 3", "1 3"], "headers")
        source = await channel.declare_exchange(suite.exchange(), ExchangeType.TOPIC, durable=True)
        await direct.bind(source, "#")
        await fanout.bind(source, "all.*")
        await arrive(source, [("1", "b", None), ("2", "all.b", None)], ["2", "1 2", "2"], "exchange to exchange")
        await fanout.unbind(source, "all.*")
        await arrive(source, [("3", "b", None), ("4", "all.b", None)], ["", "3", ""], "exchange to exchange after unbind")


@suite.scenario
async def errors_close_channel_only():
    not_found, precondition = aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ChannelPreconditionFailed
    async with await connect() as connection:
        missing, name = suite.name("missing"), suite.queue()
        channel = await connection.channel()
        equal(await refused(not_found, channel.declare_queue(missing, passive=True)),
              f"NOT_FOUND - no queue '{missing}' in vhost '{suite.vhost}'", "text")
        channel = await connection.channel()
        await channel.declare_queue(name, durable=True)
        equal(await refused(precondition, channel.declare_queue(name, durable=True, auto_delete=True)),
              f"PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{name}' in vhost '{suite.vhost}': "
              "received 'true' but current is 'false'", "text")
        channel = await connection.channel()
        equal(await refused(not_found, channel.get_exchange(missing, ensure=True)),
              f"NOT_FOUND - no exchange '{missing}' in vhost '{suite.vhost}'", "text")
        channel = await connection.channel()
        exchange = await channel.get_exchange(missing, ensure=False)
        equal(await refused(not_found, exchange.publish(Message(b"lost"), "key")),
              f"NOT_FOUND - no exchange '{missing}' in vhost '{suite.vhost}'", "text")
        await expect_counts(await connection.channel(), name, (0, 0), "the connection goes on")


@suite.scenario
async def exclusive_and_auto_delete():
    exclusive, auto_delete = suite.queue(), suite.queue()
    async with await connect() as other:
        owner = await connect()
        await (await owner.channel()).declare_queue(exclusive, exclusive=True)
        text = await refused(aiormq.exceptions.ChannelLockedResource, (await other.channel()).declare_queue(exclusive, passive=True))
        check(text.startswith(f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{exclusive}'"), text)
        await owner.close()
        check(not await exists(other, exclusive), "an exclusive queue is gone with close-ok")
        queue = await (await other.channel()).declare_queue(auto_delete, auto_delete=True)
        check(await exists(other, auto_delete), "an auto-delete queue waits for its first consumer")
        tags = [await queue.consume(lambda _message: None) for _ in range(2)]
        await queue.cancel(tags[0])
        check(await exists(other, auto_delete), "an auto-delete queue stays while it has a consumer")
        await queue.cancel(tags[1])

        async def gone():
            return not await exists(other, auto_delete)

        await until(gone, "an auto-delete queue goes with its last consumer")


@suite.scenario
async def large_body():
    async with await connect() as connection:
        channel, body = await connection.channel(), five_mebibytes()
        queue = await channel.declare_queue(suite.queue(), durable=True)
        await channel.default_exchange.publish(Message(body, delivery_mode=2), queue.name)
        message = await queue.get()
        check(message.body == body, "got equals published")
        await message.nack(requeue=True)
        async with queue.iterator(no_ack=True, timeout=10) as iterator:
            check((await anext(iterator)).body == body, "delivered equals published")


@suite.scenario
async def tx_commit_rollback():
    async with await connect() as connection:
        channel, other, name = await connection.channel(publisher_confirms=False), await connection.channel(), suite.queue()
        queue = await channel.declare_queue(name, durable=True)
        async with channel.transaction():
            await publish(channel, queue, "kept")
            await expect_counts(other, name, (0, 0), "nothing is visible before commit")
        await expect_counts(other, name, (1, 0), "messages after commit")
        transaction = channel.transaction()
        await transaction.select()
        await publish(channel, queue, "dropped")
        await transaction.rollback()
        await transaction.commit()
        await expect_counts(other, name, (1, 0), "messages after rollback")
        message = await queue.get()
        equal(message.body, b"kept", "body")
        await message.ack()
        await transaction.commit()
        await channel.close()
        await expect_counts(other, name, (0, 0), "a committed ack")


@suite.scenario
async def rpc_reply_queue():
    async with await connect_robust() as responder, await connect_robust() as connection:
        serving, replies = await responder.channel(), {}
        requests = await serving.declare_queue(suite.queue(), durable=True)

        async def answer(message):
            async with message.process():
                reply = Message(b"%d" % int(message.body) ** 2, correlation_id=message.correlation_id)
                await serving.default_exchange.publish(reply, message.reply_to)

        async def keep(message):
            replies[message.correlation_id] = message.body

        async def complete():
            return len(replies) == 20

        await requests.consume(answer)
        channel = await connection.channel()
        reply_queue = await channel.declare_queue(exclusive=True)
        await reply_queue.consume(keep, no_ack=True)
        for i in range(20):
            await channel.default_exchange.publish(Message(b"%d" % i, reply_to=reply_queue.name, correlation_id=f"call-{i}"), requests.name)
        await until(complete, "20 replies")
        equal(replies, {f"call-{i}": b"%d" % (i * i) for i in range(20)}, "replies")


@suite.scenario
async def consumer_cancel_notification():
    async with await connect() as connection, await connect() as other:
        channel, name = await connection.channel(), suite.queue()
        queue = await channel.declare_queue(name, durable=True)
        iterator = queue.iterator()
        await iterator.consume()
        await (await other.channel()).queue_delete(name)
        underlay = await channel.get_underlay_channel()

        async def forgotten():
            return iterator.consumer_tag not in underlay.consumers

        await until(forgotten, "basic.cancel")
        queue = await channel.declare_queue(name, durable=True)
        equal(queue.declaration_result.consumer_count, 0, "the channel goes on")


@suite.scenario
async def wrong_password_refused():
    try:
        await aio_pika.connect(with_password(suite.url, "not-the-password"))
    except aiormq.exceptions.AMQPConnectionError as error:
        check("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
              in describe(error), f"reason: {error!r}")
        return
    raise AssertionError("a wrong password is refused")


@suite.scenario
async def heartbeat_idle():
    async with await connect(heartbeat=2) as connection:
        # The client gives up after three silent intervals, the broker too.
        await asyncio.sleep(7)
        check(not connection.is_closed, "open after 7 s of silence")
        await connection.channel()


async def cleanup(queues, exchanges):
    async with await connect() as connection:
        channel = await connection.channel()
        for queue in queues:
            await channel.queue_delete(queue)
        for exchange in exchanges:
            await channel.exchange_delete(exchange)


suite.main(cleanup)
