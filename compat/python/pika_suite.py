"""The scenarios in pika's blocking adapter."""

import threading
import time

import pika
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError, UnroutableError

from harness import Suite, check, check_server, equal, eventually, five_mebibytes, with_password

suite = Suite("pika", pika.__version__)


def connect(url=suite.url, **parameters):
    settings = pika.URLParameters(url)
    for name, value in parameters.items():
        setattr(settings, name, value)
    return pika.BlockingConnection(settings)


def pump(connection, until, what, seconds_max=10):
    """Lets the client read until `until()` holds."""
    deadline = time.monotonic() + seconds_max
    while not until():
        check(time.monotonic() < deadline, f"{what}, within {seconds_max} s")
        connection.process_data_events(time_limit=0.1)


def refused(code, call):
    """The text with which the broker closed the channel under `call`."""
    try:
        call()
    except ChannelClosedByBroker as error:
        equal(error.reply_code, code, "reply code")
        return error.reply_text
    raise AssertionError(f"refused with {code}")


def counts(channel, queue):
    ok = channel.queue_declare(queue, passive=True).method
    return ok.message_count, ok.consumer_count


def expect_counts(channel, queue, expected, what):
    """A count may overtake the publishes and acks before it, even on one channel of RabbitMQ."""
    eventually(lambda: counts(channel, queue) == expected, f"{what}: {expected}")


def exists(connection, queue):
    channel = connection.channel()
    try:
        channel.queue_declare(queue, passive=True)
        channel.close()
        return True
    except ChannelClosedByBroker as error:
        equal(error.reply_code, 404, "reply code")
        return False


def bodies(channel, queue):
    """Everything in the queue, taken with get."""
    found = []
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        found.append(message[2].decode())
    return found


@suite.scenario
def connect_and_properties():
    with connect() as connection:
        check_server(connection._impl.server_properties)
        check(connection.publisher_confirms_supported, "the client sees publisher confirms")


@suite.scenario
def declare_and_get_counts():
    with connect() as connection:
        channel, queue = connection.channel(), suite.queue()
        declared = channel.queue_declare(queue, durable=True).method
        equal((declared.queue, declared.message_count, declared.consumer_count), (queue, 0, 0), "declare-ok")
        for i in range(3):
            channel.basic_publish("", queue, b"%d" % i)
        expect_counts(channel, queue, (3, 0), "counts after three publishes")
        get, _, body = channel.basic_get(queue)
        equal((get.message_count, get.redelivered, get.routing_key, body), (2, False, queue, b"0"), "get-ok")
        expect_counts(channel, queue, (2, 0), "an unacked message is not counted")
        channel.basic_ack(get.delivery_tag)
        equal(channel.queue_purge(queue).method.message_count, 2, "purge-ok")
        equal(channel.basic_get(queue), (None, None, None), "get-empty")
        channel.basic_publish("", queue, b"last")
        equal(channel.queue_delete(queue).method.message_count, 1, "delete-ok")
        named = channel.queue_declare("", exclusive=True).method.queue
        check(named.startswith("amq.gen-"), f"server-named queue: {named!r}")


@suite.scenario
def publish_consume_ack():
    with connect() as connection:
        channel, queue, received = connection.channel(), suite.queue(), []
        channel.queue_declare(queue, durable=True)
        headers = {"text": "é", "int": -7, "long": 1 << 40, "flag": True, "list": [1, "two"], "table": {"a": {}}, "none": None}
        sent = pika.BasicProperties(
            content_type="text/plain", content_encoding="utf-8", headers=headers, delivery_mode=2, priority=3,
            correlation_id="c-1", reply_to="r-1", expiration="600000", message_id="m-1", timestamp=1700000000,
            type="t-1", user_id=pika.URLParameters(suite.url).credentials.username, app_id="a-1")
        for i in range(1000):
            channel.basic_publish("", queue, b"message %d" % i, sent)

        def receive(_channel, method, properties, body):
            received.append((method.delivery_tag, method.redelivered, body, properties))
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume(queue, receive)
        pump(connection, lambda: len(received) >= 1000, "1,000 deliveries")
        equal([r[0] for r in received], list(range(1, 1001)), "delivery tags")
        equal([r[2] for r in received], [b"message %d" % i for i in range(1000)], "bodies in order")
        check(not any(r[1] for r in received), "nothing is redelivered")
        equal(vars(received[0][3]), vars(sent), "properties come back unchanged")
        channel.close()
        channel = connection.channel()
        expect_counts(channel, queue, (0, 0), "counts after all acks")


@suite.scenario
def confirms():
    with connect() as connection:
        channel, queue = connection.channel(), suite.queue()
        channel.queue_declare(queue, durable=True)
        channel.confirm_delivery()
        for i in range(1000):
            # Raises unless acked.
            channel.basic_publish("", queue, b"%d" % i, pika.BasicProperties(delivery_mode=2), mandatory=True)
        expect_counts(channel, queue, (1000, 0), "messages after 1,000 confirms")
        try:
            channel.basic_publish("", queue + ".nowhere", b"lost", mandatory=True)
            raise AssertionError("an unroutable mandatory message is returned")
        except UnroutableError as error:
            [message] = error.messages
            returned = message.method
            equal((returned.reply_code, returned.reply_text), (312, "NO_ROUTE"), "return")
            equal((returned.exchange, returned.routing_key, message.body), ("", queue + ".nowhere", b"lost"), "returned message")
        channel.basic_publish("", queue + ".nowhere", b"lost", mandatory=False)


@suite.scenario
def requeue_order_and_redelivered():
    with connect() as connection:
        channel, queue = connection.channel(), suite.queue()
        channel.queue_declare(queue, durable=True)
        for i in range(5):
            channel.basic_publish("", queue, b"%d" % i)
        tags = [channel.basic_get(queue)[0].delivery_tag for _ in range(4)]
        channel.basic_nack(tags[2], requeue=True)
        channel.basic_reject(tags[1], requeue=True)

        def take(channel, n):
            return [(body.decode(), get.redelivered) for get, _, body in (channel.basic_get(queue) for _ in range(n))]

        equal(take(channel, 3), [("1", True), ("2", True), ("4", False)], "requeued messages are back in their places")
        channel.close()
        channel = connection.channel()
        equal(take(channel, 5), [(str(i), True) for i in range(5)], "a closed channel gives everything back in order")


@suite.scenario
def prefetch_round_robin():
    with connect() as connection:
        publisher, queue, log = connection.channel(), suite.queue(), []
        publisher.queue_declare(queue, durable=True)
        channels = {}
        for who in "AB":
            channels[who] = connection.channel()
            channels[who].basic_qos(prefetch_count=1)
            channels[who].basic_consume(queue, lambda _c, method, _p, body, who=who: log.append((who, body.decode(), method.delivery_tag)))

        def publish(first, last):
            for i in range(first, last):
                publisher.basic_publish("", queue, b"%d" % i)

        def ack(entry):
            channels[entry[0]].basic_ack(entry[2])
            # A round trip, so that the acks of both channels reach the queue in this order.
            channels[entry[0]].basic_qos(prefetch_count=1)

        for i in range(2):
            publish(i, i + 1)
            pump(connection, lambda: len(log) > i, "one delivery for each consumer")
        publish(2, 6)
        expect_counts(publisher, queue, (4, 2), "the rest waits for credit")
        for i in range(6):
            ack(log[i])
            pump(connection, lambda: len(log) > min(i + 2, 5), "the next one for who has acked")
        for i in range(6, 16):
            publish(i, i + 1)
            pump(connection, lambda: len(log) > i, f"delivery {i}")
            ack(log[i])
        turns = "".join(entry[0] for entry in log)
        equal(turns[:6], "ABABAB", "the backlog goes to whoever has acked")
        # Which of the two is next when both have waited for credit is the broker's choice.
        check(turns[6:] in ("AB" * 5, "BA" * 5), f"consumers take turns: {turns[6:]}")
        equal([entry[1] for entry in log], [str(i) for i in range(16)], "order over both consumers")


@suite.scenario
def exchanges():
    with connect() as connection:
        channel = connection.channel()
        for name, kind in (("amq.direct", "direct"), ("amq.fanout", "fanout"), ("amq.topic", "topic"), ("amq.headers", "headers"), ("amq.match", "headers")):
            channel.exchange_declare(name, kind, passive=True)
        queues = [suite.queue() for _ in range(3)]
        for queue in queues:
            channel.queue_declare(queue, durable=True)

        def arrive(exchange, publishes, expected, what):
            for body, key, headers in publishes:
                channel.basic_publish(exchange, key, body.encode(), pika.BasicProperties(headers=headers))
            equal([" ".join(bodies(channel, queue)) for queue in queues], expected, what)

        def declare(kind, *bindings):
            exchange = suite.exchange()
            channel.exchange_declare(exchange, kind, durable=True)
            for queue, (key, arguments) in zip(queues, bindings):
                channel.queue_bind(queue, exchange, key, arguments)
            return exchange

        direct = declare("direct", ("a", None), ("b", None), ("a", None))
        arrive(direct, [("1", "a", None), ("2", "b", None), ("3", "c", None)], ["1", "2", "1"], "direct")
        channel.queue_unbind(queues[2], direct, "a")
        arrive(direct, [("4", "a", None)], ["4", "", ""], "direct after unbind")
        fanout = declare("fanout", ("", None), ("x", None), ("", None))
        arrive(fanout, [("1", "y", None)], ["1", "1", "1"], "fanout")
        topic = declare("topic", ("a.*.c", None), ("a.#", None), ("#.c", None))
        arrive(topic, [("1", "a.b.c", None), ("2", "a", None), ("3", "c", None), ("4", "a.b.b.c", None), ("5", "b", None)],
               ["1", "1 2 4", "1 3 4"], "topic")
        headers = declare("headers", ("", {"x-match": "all", "k": "v", "n": 1}), ("", {"x-match": "any", "k": "v", "n": 1}),
                          ("", {"k": "v"}))
        arrive(headers, [("1", "", {"k": "v", "n": 1}), ("2", "", {"k": "w", "n": 1}), ("3", "", {"k": "v"}), ("4", "", {})],
               ["1", "1 2 3", "1 3"], "headers")
        source = suite.exchange()
        channel.exchange_declare(source, "topic", durable=True)
        channel.exchange_bind(direct, source, "#")
        channel.exchange_bind(fanout, source, "all.*")
        arrive(source, [("1", "b", None), ("2", "all.b", None)], ["2", "1 2", "2"], "exchange to exchange")
        channel.exchange_unbind(fanout, source, "all.*")
        arrive(source, [("3", "b", None), ("4", "all.b", None)], ["", "3", ""], "exchange to exchange after unbind")


@suite.scenario
def errors_close_channel_only():
    with connect() as connection:
        missing, queue = suite.name("missing"), suite.queue()
        closing = connection.channel()
        equal(refused(404, lambda: closing.queue_declare(missing, passive=True)),
              f"NOT_FOUND - no queue '{missing}' in vhost '{suite.vhost}'", "text")
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        equal(refused(406, lambda: channel.queue_declare(queue, durable=True, auto_delete=True)),
              f"PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '{queue}' in vhost '{suite.vhost}': "
              "received 'true' but current is 'false'", "text")
        channel = connection.channel()
        equal(refused(404, lambda: channel.exchange_declare(missing, passive=True)),
              f"NOT_FOUND - no exchange '{missing}' in vhost '{suite.vhost}'", "text")
        asynchronous = connection.channel()
        asynchronous.basic_publish(missing, "key", b"lost")
        equal(refused(404, lambda: pump(connection, lambda: asynchronous.is_closed or asynchronous.queue_declare(queue, passive=True) is None, "close")),
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
        channel.queue_declare(auto_delete, auto_delete=True)
        check(exists(other, auto_delete), "an auto-delete queue waits for its first consumer")
        tags = [channel.basic_consume(auto_delete, lambda *_: None) for _ in range(2)]
        channel.basic_cancel(tags[0])
        check(exists(other, auto_delete), "an auto-delete queue stays while it has a consumer")
        channel.basic_cancel(tags[1])
        eventually(lambda: not exists(other, auto_delete), "an auto-delete queue goes with its last consumer")


@suite.scenario
def large_body():
    with connect() as connection:
        channel, queue, body = connection.channel(), suite.queue(), five_mebibytes()
        channel.queue_declare(queue, durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))
        check(channel.basic_get(queue)[2] == body, "got equals published")
        channel.close()
        channel, received = connection.channel(), []
        channel.basic_consume(queue, lambda _c, _m, _p, body: received.append(body), auto_ack=True)
        pump(connection, lambda: received, "delivery")
        check(received == [body], "delivered equals published")


@suite.scenario
def tx_commit_rollback():
    with connect() as connection:
        channel, queue, other = connection.channel(), suite.queue(), connection.channel()
        channel.queue_declare(queue, durable=True)
        channel.tx_select()
        channel.basic_publish("", queue, b"kept")
        expect_counts(other, queue, (0, 0), "nothing is visible before commit")
        channel.tx_commit()
        expect_counts(other, queue, (1, 0), "messages after commit")
        channel.basic_publish("", queue, b"dropped")
        channel.tx_rollback()
        channel.tx_commit()
        expect_counts(other, queue, (1, 0), "messages after rollback")
        get, _, body = channel.basic_get(queue)
        equal(body, b"kept", "body")
        channel.basic_ack(get.delivery_tag)
        channel.tx_rollback()
        channel.basic_ack(get.delivery_tag)
        channel.tx_commit()
        channel.close()
        expect_counts(other, queue, (0, 0), "a rolled back ack can be given again")


@suite.scenario
def rpc_reply_queue():
    requests = suite.queue()
    with Responder(requests), connect() as connection:
        channel, replies = connection.channel(), {}
        reply_queue = channel.queue_declare("", exclusive=True).method.queue
        channel.basic_consume(reply_queue, lambda _c, _m, properties, body: replies.update({properties.correlation_id: body}), auto_ack=True)
        for i in range(20):
            channel.basic_publish("", requests, b"%d" % i, pika.BasicProperties(reply_to=reply_queue, correlation_id=f"call-{i}"))
        pump(connection, lambda: len(replies) == 20, "20 replies")
        equal(replies, {f"call-{i}": b"%d" % (i * i) for i in range(20)}, "replies")


@suite.scenario
def rpc_direct_reply_to():
    requests = suite.queue()
    with Responder(requests), connect() as connection:
        channel, replies = connection.channel(), {}
        channel.basic_consume("amq.rabbitmq.reply-to", lambda _c, _m, properties, body: replies.update({properties.correlation_id: body}), auto_ack=True)
        for i in range(20):
            channel.basic_publish("", requests, b"%d" % i, pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=f"call-{i}"))
        pump(connection, lambda: len(replies) == 20, "20 replies")
        equal(replies, {f"call-{i}": b"%d" % (i * i) for i in range(20)}, "replies")


class Responder:
    """Squares numbers on a connection and thread of its own."""

    def __init__(self, queue):
        self.connection = connect()
        self.channel = self.connection.channel()
        self.channel.queue_declare(queue, durable=True)
        self.channel.basic_consume(queue, self._answer)
        self.thread = threading.Thread(target=self.channel.start_consuming, daemon=True)

    def _answer(self, channel, method, properties, body):
        reply = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, b"%d" % int(body) ** 2, reply)
        channel.basic_ack(method.delivery_tag)

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.connection.add_callback_threadsafe(self.channel.stop_consuming)
        self.thread.join(5)
        self.connection.close()


@suite.scenario
def consumer_cancel_notification():
    with connect() as connection, connect() as other:
        channel, queue, cancelled = connection.channel(), suite.queue(), []
        channel.queue_declare(queue, durable=True)
        tag = channel.basic_consume(queue, lambda *_: None)
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        other.channel().queue_delete(queue)
        pump(connection, lambda: cancelled, "basic.cancel")
        equal(cancelled, [tag], "cancelled tags")
        equal(channel.queue_declare(queue, durable=True).method.consumer_count, 0, "the channel goes on")


@suite.scenario
def wrong_password_refused():
    try:
        connect(with_password(suite.url, "not-the-password"))
    except ProbableAuthenticationError as error:
        check("ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
              "For details see the broker logfile.'" in str(error), f"reason: {error}")
        return
    raise AssertionError("a wrong password is refused")


@suite.scenario
def heartbeat_idle():
    with connect(heartbeat=2) as connection:
        # The client gives up after two silent intervals, the broker after three.
        end = time.monotonic() + 7
        while time.monotonic() < end:
            connection.process_data_events(time_limit=0.5)
        check(connection.channel().is_open, "a channel opens after 7 s of silence")


def cleanup(queues, exchanges):
    with connect() as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_delete(queue)
        for exchange in exchanges:
            channel.exchange_delete(exchange)


suite.main(cleanup)
