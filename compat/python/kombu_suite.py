"""The scenarios in kombu over py-amqp, the pair under Celery."""

import socket
import time

import amqp
import kombu
from kombu import Connection, Consumer, Exchange, Producer, Queue, binding

from harness import Suite, check, check_server, equal, eventually, five_mebibytes, with_password

suite = Suite("kombu", kombu.__version__)


def connect(url=suite.url, **options):
    return Connection(url, **options)


def drain(connection, until, what, seconds_max=10):
    deadline = time.monotonic() + seconds_max
    while not until():
        check(time.monotonic() < deadline, f"{what}, within {seconds_max} s")
        try:
            connection.drain_events(timeout=0.1)
        except socket.timeout:
            pass


def refused(code, call):
    try:
        call()
    except amqp.exceptions.ChannelError as error:
        equal(error.reply_code, code, "reply code")
        return error.reply_text
    raise AssertionError(f"refused with {code}")


def declare(channel, **options):
    queue = Queue(suite.queue(), durable=True, **options)(channel)
    queue.declare()
    return queue


def counts(channel, queue):
    ok = channel.queue_declare(queue.name, passive=True)
    return ok.message_count, ok.consumer_count


def expect_counts(channel, queue, expected, what):
    """A count may overtake the publishes and acks before it, even on one channel of RabbitMQ."""
    eventually(lambda: counts(channel, queue) == expected, f"{what}: {expected}")


def exists(connection, name):
    channel = connection.channel()
    try:
        channel.queue_declare(name, passive=True)
        channel.close()
        return True
    except amqp.NotFound:
        return False


def publish(channel, queue, *bodies, **properties):
    for body in bodies:
        channel.basic_publish(amqp.Message(body, **properties), "", queue.name)


@suite.scenario
def connect_and_properties():
    with connect() as connection:
        check_server(connection.default_channel.connection.server_properties)


@suite.scenario
def declare_and_get_counts():
    with connect() as connection:
        channel, name = connection.channel(), suite.queue()
        equal(tuple(channel.queue_declare(name, durable=True, auto_delete=False)), (name, 0, 0), "declare-ok")
        queue = Queue(name)(channel)
        publish(channel, queue, "0", "1", "2")
        expect_counts(channel, queue, (3, 0), "counts after three publishes")
        message = channel.basic_get(name)
        info = message.delivery_info
        equal((info["message_count"], info["redelivered"], info["routing_key"], message.body), (2, False, name, "0"), "get-ok")
        expect_counts(channel, queue, (2, 0), "an unacked message is not counted")
        channel.basic_ack(message.delivery_tag)
        equal(queue.purge(), 2, "purge-ok")
        equal(queue.get(), None, "get-empty")
        publish(channel, queue, "last")
        equal(queue.delete(), 1, "delete-ok")
        named = channel.queue_declare("", exclusive=True).queue
        check(named.startswith("amq.gen-"), f"server-named queue: {named!r}")


@suite.scenario
def publish_consume_ack():
    with connect() as connection:
        channel, received = connection.channel(), []
        queue = declare(channel)
        headers = {"text": "é", "int": -7, "long": 1 << 40, "flag": True, "list": [1, "two"], "table": {"a": {}}, "none": None}
        sent = dict(delivery_mode=2, priority=3, correlation_id="c-1", reply_to="r-1", message_id="m-1", type="t-1", app_id="a-1")
        producer = Producer(channel)
        for i in range(1000):
            producer.publish({"n": i}, routing_key=queue.name, serializer="json", headers=headers, expiration=600, **sent)

        def receive(body, message):
            received.append((message.delivery_tag, message.delivery_info["redelivered"], body, message))
            message.ack()

        with Consumer(channel, [queue], callbacks=[receive], accept=["json"]):
            drain(connection, lambda: len(received) >= 1000, "1,000 deliveries")
        equal([r[0] for r in received], list(range(1, 1001)), "delivery tags")
        equal([r[2] for r in received], [{"n": i} for i in range(1000)], "bodies in order")
        check(not any(r[1] for r in received), "nothing is redelivered")
        message = received[0][3]
        equal({field: message.properties.get(field) for field in sent}, sent, "properties come back unchanged")
        equal((message.headers, message.properties["expiration"], message.content_type, message.content_encoding),
              (headers, "600000", "application/json", "utf-8"), "headers, expiration, content type and encoding")
        channel.close()
        expect_counts(connection.channel(), queue, (0, 0), "counts after all acks")


@suite.scenario
def confirms():
    with connect(transport_options={"confirm_publish": True}) as connection:
        channel, order = connection.channel(), []
        queue = declare(channel)
        # Waits for the confirm of each.
        publish(channel, queue, *(str(i) for i in range(1000)), delivery_mode=2)
        expect_counts(channel, queue, (1000, 0), "messages after 1,000 confirms")
        channel.events["basic_return"].add(lambda *returned: order.append(returned))
        channel.events["basic_ack"].add(lambda *_: order.append("ack"))
        channel.basic_publish_confirm(amqp.Message("lost"), "", queue.name + ".nowhere", mandatory=True)
        [(exception, exchange, key, message), ack] = order
        equal((exception.reply_code, exception.reply_text, exchange, key, message.body, ack),
              (312, "NO_ROUTE", "", queue.name + ".nowhere", "lost", "ack"), "return, then ack")
        channel.basic_publish_confirm(amqp.Message("lost"), "", queue.name + ".nowhere")
        equal(order[2:], ["ack"], "an unroutable message without mandatory")


@suite.scenario
def requeue_order_and_redelivered():
    with connect() as connection:
        channel = connection.channel()
        queue = declare(channel)
        publish(channel, queue, *"01234")
        held = [queue.get() for _ in range(4)]
        held[2].requeue()
        held[1].reject(requeue=True)

        def take(channel, n):
            return [(m.body, m.delivery_info["redelivered"]) for m in (channel.basic_get(queue.name) for _ in range(n))]

        equal(take(channel, 3), [("1", True), ("2", True), ("4", False)], "requeued messages are back in their places")
        channel.close()
        channel = connection.channel()
        equal(take(channel, 5), [(str(i), True) for i in range(5)], "a closed channel gives everything back in order")


@suite.scenario
def prefetch_round_robin():
    with connect() as connection:
        publisher, log = connection.channel(), []
        queue, consumers = declare(publisher), {}
        for who in "AB":
            consumers[who] = Consumer(connection.channel(), [queue], on_message=lambda message, who=who: log.append((who, message)))
            consumers[who].qos(prefetch_count=1)
            consumers[who].consume()

        def ack(i):
            drain(connection, lambda: len(log) > i, f"delivery {i}")
            who, message = log[i]
            message.ack()
            # A round trip, so that the acks of both channels reach the queue in this order.
            consumers[who].qos(prefetch_count=1)

        for i in range(2):
            publish(publisher, queue, str(i))
            drain(connection, lambda: len(log) > i, "one delivery for each consumer")
        publish(publisher, queue, *"2345")
        expect_counts(publisher, queue, (4, 2), "the rest waits for credit")
        for i in range(6):
            ack(i)
            drain(connection, lambda: len(log) > min(i + 2, 5), "the next one for who has acked")
        for i in range(6, 16):
            publish(publisher, queue, str(i))
            ack(i)
        turns = "".join(who for who, _ in log)
        equal(turns[:6], "ABABAB", "the backlog goes to whoever has acked")
        # Which of the two is next when both have waited for credit is the broker's choice.
        check(turns[6:] in ("AB" * 5, "BA" * 5), f"consumers take turns: {turns[6:]}")
        equal([message.body for _, message in log], [str(i) for i in range(16)], "order over both consumers")


@suite.scenario
def exchanges():
    with connect() as connection:
        channel = connection.channel()
        for name, kind in (("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic"), ("amq.headers", "headers"), ("amq.match", "headers")):
            Exchange(name, kind, passive=True)(channel).declare()
        names = [suite.queue() for _ in range(3)]

        def exchange_of(kind, *bindings):
            """kombu declares the exchange and its bindings with the queue."""
            exchange = Exchange(suite.exchange(), kind, durable=True)
            for name, (key, arguments) in zip(names, bindings):
                Queue(name, bindings=[binding(exchange, key, arguments)])(channel).declare()
            return exchange(channel)

        def drained(name):
            queue, found = Queue(name)(channel), []
            while (message := queue.get(no_ack=True)) is not None:
                found.append(message.body)
            return " ".join(found)

        def arrive(exchange, publishes, expected, what):
            for body, key, headers in publishes:
                exchange.publish(exchange.Message(body, headers=headers), routing_key=key)
            equal([drained(name) for name in names], expected, what)

        direct = exchange_of("direct", ("a", None), ("b", None), ("a", None))
        arrive(direct, [("1", "a", None), ("2", "b", None), ("3", "c", None)], ["1", "2", "1"], "direct")
        Queue(names[2])(channel).unbind_from(direct, "a")
        arrive(direct, [("4", "a", None)], ["4", "", ""], "direct after unbind")
        fanout = exchange_of("fanout", ("", None), ("x", None), ("", None))
        arrive(fanout, [("1", "y", None)], ["1", "1", "1"], "fanout")
        topic = exchange_of("topic", ("a.*.c", None), ("a.#", None), ("#.c", None))
        arrive(topic, [("1", "a.b.c", None), ("2", "a", None), ("3", "c", None), ("4", "a.b.b.c", None), ("5", "b", None)],
               ["1", "1 2 4", "1 3 4"], "topic")
        headers = exchange_of("headers", ("", {"x-match": "all", "k": "v", "n": 1}), ("", {"x-match": "any", "k": "v", "n": 1}),
                              ("", {"k": "v"}))
        arrive(headers, [("1", "", {"k": "v", "n": 1}), ("2", "", {"k": "w", "n": 1}), ("3", "", {"k": "v"}), ("4", "", {})],
               ["1", "1 2 3", "1 3"], "headers")
        source = Exchange(suite.exchange(), "topic", durable=True)(channel)
        source.declare()
        direct.bind_to(source, routing_key="#")
        fanout.bind_to(source, routing_key="all.*")
        arrive(source, [("1", "b", None), ("2", "all.b", None)], ["2", "1 2", "2"], "exchange to exchange")
        fanout.unbind_from(source, routing_key="all.*")
        arrive(source, [("3", "b", None), ("4", "all.b", None)], ["", "3", ""], "exchange to exchange after unbind")


@suite.scenario
def errors_close_channel_only():
    with connect() as connection:
        missing = suite.name("missing")
        equal(refused(404, lambda: connection.channel().queue_declare(missing, passive=True)),
              f"NOT_FOUND - no queue '{missing}' in vhost '{suite.vhost}'", "text")
        channel = connection.channel()
        queue = declare(channel)
        equal(refused(406, lambda: channel.queue_declare(queue.name, durable=True, auto_delete=True)),
              f"PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{queue.name}' in vhost '{suite.vhost}': "
              "received 'true' but current is 'false'", "text")
        equal(refused(404, lambda: connection.channel().exchange_declare(missing, "direct", passive=True)),
              f"NOT_FOUND - no exchange '{missing}' in vhost '{suite.vhost}'", "text")
        channel = connection.channel()
        channel.basic_publish(amqp.Message("lost"), missing, "key")
        equal(refused(404, lambda: drain(connection, lambda: False, "close")),
              f"NOT_FOUND - no exchange '{missing}' in vhost '{suite.vhost}'", "text")
        channel = connection.channel()
        channel.basic_ack(99)
        equal(refused(406, lambda: counts(channel, queue)), "PRECONDITION_FAILED - unknown delivery tag 99", "text")
        expect_counts(connection.channel(), queue, (0, 0), "the connection goes on")


@suite.scenario
def exclusive_and_auto_delete():
    exclusive, auto_delete = suite.queue(), suite.queue()
    with connect() as other:
        owner = connect()
        owner.channel().queue_declare(exclusive, exclusive=True)
        text = refused(405, lambda: other.channel().queue_declare(exclusive, passive=True))
        check(text.startswith(f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{exclusive}'"), text)
        owner.close()
        check(not exists(other, exclusive), "an exclusive queue is gone with close-ok")
        channel = other.channel()
        queue = Queue(auto_delete, auto_delete=True, durable=False)(channel)
        queue.declare()
        check(exists(other, auto_delete), "an auto-delete queue waits for its first consumer")
        for tag in "12":
            queue.consume(tag, callback=lambda _message: None)
        queue.cancel("1")
        check(exists(other, auto_delete), "an auto-delete queue stays while it has a consumer")
        queue.cancel("2")
        eventually(lambda: not exists(other, auto_delete), "an auto-delete queue goes with its last consumer")


@suite.scenario
def large_body():
    with connect() as connection:
        queue, body, received = declare(connection.channel()), five_mebibytes(), []
        Producer(connection.channel()).publish(body, routing_key=queue.name, content_type="application/octet-stream",
                                               content_encoding="binary")
        with Consumer(connection.channel(), [queue], on_message=received.append, no_ack=True):
            drain(connection, lambda: received, "delivery")
        check(bytes(received[0].body) == body, "delivered equals published")


@suite.scenario
def tx_commit_rollback():
    with connect() as connection:
        channel, other = connection.channel(), connection.channel()
        queue = declare(channel)
        channel.tx_select()
        publish(channel, queue, "kept")
        expect_counts(other, queue, (0, 0), "nothing is visible before commit")
        channel.tx_commit()
        expect_counts(other, queue, (1, 0), "messages after commit")
        publish(channel, queue, "dropped")
        channel.tx_rollback()
        channel.tx_commit()
        expect_counts(other, queue, (1, 0), "messages after rollback")
        message = channel.basic_get(queue.name)
        equal(message.body, "kept", "body")
        channel.basic_ack(message.delivery_tag)
        channel.tx_rollback()
        channel.basic_ack(message.delivery_tag)
        channel.tx_commit()
        channel.close()
        expect_counts(other, queue, (0, 0), "a rolled back ack can be given again")


@suite.scenario
def rpc_reply_queue():
    with connect() as connection:
        serving, calling, replies = connection.channel(), connection.channel(), {}
        requests = declare(serving)
        replies_queue = Queue(suite.queue(), exclusive=True, auto_delete=True, durable=False)(calling)
        replies_queue.declare()
        answering, asking = Producer(serving), Producer(calling)

        def answer(body, message):
            answering.publish(body * body, routing_key=message.properties["reply_to"], serializer="json",
                              correlation_id=message.properties["correlation_id"])
            message.ack()

        def keep(body, message):
            replies[message.properties["correlation_id"]] = body

        with Consumer(serving, [requests], callbacks=[answer]), Consumer(calling, [replies_queue], callbacks=[keep], no_ack=True):
            for i in range(20):
                asking.publish(i, routing_key=requests.name, serializer="json", reply_to=replies_queue.name, correlation_id=f"call-{i}")
            drain(connection, lambda: len(replies) == 20, "20 replies")
        equal(replies, {f"call-{i}": i * i for i in range(20)}, "replies")


@suite.scenario
def consumer_cancel_notification():
    with connect() as connection, connect() as other:
        channel, cancelled = connection.channel(), []
        queue = declare(channel)
        tag = channel.basic_consume(queue.name, callback=lambda _message: None, on_cancel=cancelled.append)
        other.channel().queue_delete(queue.name)
        drain(connection, lambda: cancelled, "basic.cancel")
        equal(cancelled, [tag], "cancelled tags")
        queue.declare()
        expect_counts(channel, queue, (0, 0), "the channel goes on")


@suite.scenario
def wrong_password_refused():
    try:
        connect(with_password(suite.url, "not-the-password")).connect()
    except amqp.AccessRefused as error:
        equal(error.reply_code, 403, "reply code")
        # py-amqp takes the first of its own mechanisms that the broker offers.
        texts = [f"ACCESS_REFUSED - Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
                 for mechanism in ("PLAIN", "AMQPLAIN")]
        check(error.reply_text in texts, f"text: {error.reply_text!r}")
        return
    raise AssertionError("a wrong password is refused")


@suite.scenario
def heartbeat_idle():
    with connect(heartbeat=2) as connection:
        connection.connect()
        end = time.monotonic() + 7
        while time.monotonic() < end:
            # Raises when the broker was silent for two intervals.
            connection.heartbeat_check(rate=2)
            try:
                connection.drain_events(timeout=0.5)
            except socket.timeout:
                pass
        check(connection.channel().is_open, "a channel opens after 7 s of silence")


def cleanup(queues, exchanges):
    with connect() as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_delete(queue)
        for exchange in exchanges:
            channel.exchange_delete(exchange)


suite.main(cleanup)
