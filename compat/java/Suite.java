import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.CancelCallback;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DeliverCallback;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Method;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.RpcServer;
import com.rabbitmq.client.ShutdownSignalException;
import com.rabbitmq.client.impl.ClientVersion;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.function.Consumer;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** The scenarios in RabbitMQ's Java client. */
final class Suite {
    private static final Harness suite = new Harness("java", ClientVersion.VERSION);
    private static final CancelCallback IGNORE_CANCEL = tag -> { };

    private record Received(String who, long tag, boolean redelivered, String body) { }

    private record Publish(String body, String key, Map<String, Object> headers) {
        Publish(String body, String key) {
            this(body, key, null);
        }
    }

    private record Binding(String key, Map<String, Object> arguments) {
        Binding(String key) {
            this(key, null);
        }
    }

    public static void main(String[] arguments) {
        suite.scenario("connect_and_properties", Suite::connectAndProperties);
        suite.scenario("declare_and_get_counts", Suite::declareAndGetCounts);
        suite.scenario("publish_consume_ack", Suite::publishConsumeAck);
        suite.scenario("confirms", Suite::confirms);
        suite.scenario("requeue_order_and_redelivered", Suite::requeueOrderAndRedelivered);
        suite.scenario("prefetch_round_robin", Suite::prefetchRoundRobin);
        suite.scenario("exchanges", Suite::exchanges);
        suite.scenario("errors_close_channel_only", Suite::errorsCloseChannelOnly);
        suite.scenario("exclusive_and_auto_delete", Suite::exclusiveAndAutoDelete);
        suite.scenario("large_body", Suite::largeBody);
        suite.scenario("tx_commit_rollback", Suite::txCommitRollback);
        suite.scenario("rpc_reply_queue", Suite::rpcReplyQueue);
        suite.scenario("rpc_direct_reply_to", Suite::rpcDirectReplyTo);
        suite.scenario("consumer_cancel_notification", Suite::consumerCancelNotification);
        suite.scenario("wrong_password_refused", Suite::wrongPasswordRefused);
        suite.scenario("heartbeat_idle", Suite::heartbeatIdle);
        new Extensions(suite);
        suite.main(Suite::cleanup);
    }

    static Connection connect(Consumer<ConnectionFactory> change) throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(suite.url);
        change.accept(factory);
        return factory.newConnection();
    }

    private static Connection connect() throws Exception {
        return connect(factory -> { });
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] body) {
        return new String(body, StandardCharsets.UTF_8);
    }

    static String declare(Channel channel) throws Exception {
        String queue = suite.queue();
        channel.queueDeclare(queue, true, false, false, null);
        return queue;
    }

    static void send(Channel channel, String queue, String... bodies) throws Exception {
        for (String body : bodies) {
            channel.basicPublish("", queue, null, bytes(body));
        }
    }

    private static List<String> numbers(int first, int last) {
        return IntStream.range(first, last).mapToObj(Integer::toString).toList();
    }

    /** Ready messages and consumers. A count may overtake the publishes and acks before it, even on one channel of RabbitMQ. */
    static void expectCounts(Channel channel, String queue, int messages, int consumers, String what) throws Exception {
        Harness.eventually(() -> {
            var ok = channel.queueDeclarePassive(queue);
            return ok.getMessageCount() == messages && ok.getConsumerCount() == consumers;
        }, what);
    }

    /** The text with which the broker closed the channel under {@code call}. */
    private static String refused(int code, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (Exception error) {
            Throwable cause = error;
            while (cause != null && !(cause instanceof ShutdownSignalException)) {
                cause = cause.getCause();
            }
            if (cause == null) {
                throw error;
            }
            return closeText(code, (ShutdownSignalException) cause);
        }
        throw new AssertionError("refused with " + code);
    }

    private static String closeText(int code, ShutdownSignalException shutdown) {
        Harness.check(!shutdown.isHardError(), "only the channel is closed: " + shutdown);
        Method reason = shutdown.getReason();
        Harness.check(reason instanceof AMQP.Channel.Close, "closed by the broker: " + shutdown);
        Harness.equal(((AMQP.Channel.Close) reason).getReplyCode(), code, "reply code");
        return ((AMQP.Channel.Close) reason).getReplyText();
    }

    private static boolean exists(Connection connection, String queue) throws Exception {
        Channel channel = connection.createChannel();
        try {
            channel.queueDeclarePassive(queue);
            channel.close();
            return true;
        } catch (java.io.IOException error) {
            closeText(404, (ShutdownSignalException) error.getCause());
            return false;
        }
    }

    /** Bodies taken with get and left unacked, with an r if redelivered. */
    private static String take(Channel channel, String queue, int n) throws Exception {
        var found = new ArrayList<String>();
        for (int i = 0; i < n; i++) {
            GetResponse got = channel.basicGet(queue, false);
            found.add(text(got.getBody()) + (got.getEnvelope().isRedeliver() ? "r" : ""));
        }
        return String.join(" ", found);
    }

    private static String drain(Channel channel, String queue) throws Exception {
        var found = new ArrayList<String>();
        for (GetResponse got = channel.basicGet(queue, true); got != null; got = channel.basicGet(queue, true)) {
            found.add(text(got.getBody()));
        }
        return String.join(" ", found);
    }

    private static DeliverCallback keep(String who, List<Received> log) {
        return (tag, delivery) -> log.add(
            new Received(who, delivery.getEnvelope().getDeliveryTag(), delivery.getEnvelope().isRedeliver(), text(delivery.getBody())));
    }

    private static void connectAndProperties() throws Exception {
        try (var connection = connect()) {
            Harness.checkServer(connection.getServerProperties());
        }
    }

    private static void declareAndGetCounts() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            String queue = suite.queue();
            var ok = channel.queueDeclare(queue, true, false, false, null);
            Harness.equal(List.of(ok.getQueue(), ok.getMessageCount(), ok.getConsumerCount()), List.of(queue, 0, 0), "declare-ok");
            send(channel, queue, "0", "1", "2");
            expectCounts(channel, queue, 3, 0, "counts after three publishes");
            GetResponse got = channel.basicGet(queue, false);
            Harness.equal(List.of(got.getMessageCount(), got.getEnvelope().isRedeliver(), got.getEnvelope().getRoutingKey(), text(got.getBody())),
                List.of(2, false, queue, "0"), "get-ok");
            expectCounts(channel, queue, 2, 0, "an unacked message is not counted");
            channel.basicAck(got.getEnvelope().getDeliveryTag(), false);
            Harness.equal(channel.queuePurge(queue).getMessageCount(), 2, "purge-ok");
            Harness.equal(channel.basicGet(queue, false), null, "get-empty");
            send(channel, queue, "last");
            Harness.equal(channel.queueDelete(queue).getMessageCount(), 1, "delete-ok");
            String named = channel.queueDeclare().getQueue();
            Harness.check(named.startsWith("amq.gen-"), "server-named queue: " + named);
        }
    }

    private static void publishConsumeAck() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            String queue = declare(channel);
            var headers = new HashMap<String, Object>(
                Map.of("text", "é", "int", -7, "long", 1L << 40, "flag", true, "table", Map.of("a", Map.of())));
            headers.put("none", null);
            var sent = new BasicProperties.Builder().contentType("text/plain").contentEncoding("utf-8").headers(headers).deliveryMode(2)
                .priority(3).correlationId("c-1").replyTo("r-1").expiration("600000").messageId("m-1").timestamp(new Date(1700000000000L))
                .type("t-1").appId("a-1").build();
            for (int i = 0; i < 1000; i++) {
                channel.basicPublish("", queue, sent, bytes("message " + i));
            }
            List<Received> log = Collections.synchronizedList(new ArrayList<>());
            List<BasicProperties> properties = Collections.synchronizedList(new ArrayList<>());
            channel.basicConsume(queue, false, (tag, delivery) -> {
                properties.add(delivery.getProperties());
                keep("", log).handle(tag, delivery);
                channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
            }, IGNORE_CANCEL);
            Harness.eventually(() -> log.size() >= 1000, "1,000 deliveries");
            for (int i = 0; i < 1000; i++) {
                Harness.equal(log.get(i), new Received("", i + 1, false, "message " + i), "delivery " + i);
            }
            var first = properties.get(0);
            first.getHeaders().replaceAll((key, value) -> value instanceof com.rabbitmq.client.LongString ? value.toString() : value);
            Harness.equal(first, sent, "properties come back unchanged");
            channel.close();
            expectCounts(connection.createChannel(), queue, 0, 0, "counts after all acks");
        }
    }

    private static void confirms() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            String queue = declare(channel);
            var unconfirmed = new ConcurrentSkipListSet<Long>();
            List<String> order = Collections.synchronizedList(new ArrayList<>());
            channel.confirmSelect();
            channel.addReturnListener(r -> order.add(
                String.join(" ", "" + r.getReplyCode(), r.getReplyText(), r.getExchange(), r.getRoutingKey(), text(r.getBody()))));
            channel.addConfirmListener((tag, multiple) -> {
                order.add("ack");
                (multiple ? unconfirmed.headSet(tag, true) : unconfirmed.subSet(tag, true, tag, true)).clear();
            }, (tag, multiple) -> order.add("nack"));
            for (int i = 0; i < 1000; i++) {
                unconfirmed.add(channel.getNextPublishSeqNo());
                channel.basicPublish("", queue, MessageProperties.MINIMAL_PERSISTENT_BASIC, bytes("" + i));
            }
            Harness.eventually(unconfirmed::isEmpty, "1,000 confirms");
            Harness.check(!order.contains("nack"), "no nack");
            expectCounts(channel, queue, 1000, 0, "messages after 1,000 confirms");
            order.clear();
            channel.basicPublish("", queue + ".nowhere", true, null, bytes("lost"));
            channel.waitForConfirmsOrDie(5000);
            channel.basicPublish("", queue + ".nowhere", false, null, bytes("lost"));
            channel.waitForConfirmsOrDie(5000);
            Harness.eventually(() -> order.size() == 3, "a return and two acks");
            Harness.equal(order, List.of("312 NO_ROUTE  " + queue + ".nowhere lost", "ack", "ack"), "return, then ack; then ack without mandatory");
        }
    }

    private static void requeueOrderAndRedelivered() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            String queue = declare(channel);
            send(channel, queue, "0", "1", "2", "3", "4");
            Harness.equal(take(channel, queue, 4), "0 1 2 3", "four messages");
            channel.basicNack(3, false, true);
            channel.basicReject(2, true);
            Harness.equal(take(channel, queue, 3), "1r 2r 4", "requeued messages are back in their places");
            channel.close();
            channel = connection.createChannel();
            Harness.equal(take(channel, queue, 5), "0r 1r 2r 3r 4r", "a closed channel gives everything back in order");
            channel.basicRecover(true);
            Harness.equal(take(channel, queue, 5), "0r 1r 2r 3r 4r", "so does recover");
        }
    }

    private static void prefetchRoundRobin() throws Exception {
        try (var connection = connect()) {
            Channel publisher = connection.createChannel();
            String queue = declare(publisher);
            List<Received> log = Collections.synchronizedList(new ArrayList<>());
            var channels = new HashMap<String, Channel>();
            for (String who : List.of("A", "B")) {
                Channel channel = connection.createChannel();
                channels.put(who, channel);
                channel.basicQos(1);
                channel.basicConsume(queue, false, keep(who, log), IGNORE_CANCEL);
            }
            send(publisher, queue, "0");
            Harness.eventually(() -> log.size() == 1, "a delivery for one consumer");
            send(publisher, queue, "1");
            Harness.eventually(() -> log.size() == 2, "a delivery for the other");
            send(publisher, queue, "2", "3", "4", "5");
            expectCounts(publisher, queue, 4, 2, "the rest waits for credit");
            for (int i = 0; i < 16; i++) {
                if (i >= 6) {
                    send(publisher, queue, "" + i);
                }
                int wanted = i;
                Harness.eventually(() -> log.size() > wanted, "delivery " + i);
                Channel channel = channels.get(log.get(i).who());
                channel.basicAck(log.get(i).tag(), false);
                // A round trip, so that the acks of both channels reach the queue in this order.
                channel.basicQos(1);
                int next = Math.min(i + 2, Math.max(i, 5));
                Harness.eventually(() -> log.size() > next, "the next one for who has acked");
            }
            String turns = log.stream().map(Received::who).collect(Collectors.joining());
            Harness.equal(turns.substring(0, 6), "ABABAB", "the backlog goes to whoever has acked");
            // Which of the two is next when both have waited for credit is the broker's choice.
            Harness.check(turns.substring(6).matches("(AB){5}|(BA){5}"), "consumers take turns: " + turns);
            Harness.equal(log.stream().map(Received::body).toList(), numbers(0, 16), "order over both consumers");
        }
    }

    private static void exchanges() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            for (String name : List.of("direct", "fanout", "topic", "headers", "match")) {
                channel.exchangeDeclarePassive("amq." + name);
            }
            List<String> queues = List.of(declare(channel), declare(channel), declare(channel));
            String direct = exchange(channel, "direct", queues, new Binding("a"), new Binding("b"), new Binding("a"));
            arrive(channel, direct, queues, List.of(new Publish("1", "a"), new Publish("2", "b"), new Publish("3", "c")), List.of("1", "2", "1"));
            channel.queueUnbind(queues.get(2), direct, "a");
            arrive(channel, direct, queues, List.of(new Publish("4", "a")), List.of("4", "", ""));
            String fanout = exchange(channel, "fanout", queues, new Binding(""), new Binding("x"), new Binding(""));
            arrive(channel, fanout, queues, List.of(new Publish("1", "y")), List.of("1", "1", "1"));
            String topic = exchange(channel, "topic", queues, new Binding("a.*.c"), new Binding("a.#"), new Binding("#.c"));
            arrive(channel, topic, queues, List.of(new Publish("1", "a.b.c"), new Publish("2", "a"), new Publish("3", "c"),
                new Publish("4", "a.b.b.c"), new Publish("5", "b")), List.of("1", "1 2 4", "1 3 4"));
            String headers = exchange(channel, "headers", queues, new Binding("", Map.of("x-match", "all", "k", "v", "n", 1)),
                new Binding("", Map.of("x-match", "any", "k", "v", "n", 1)), new Binding("", Map.of("k", "v")));
            arrive(channel, headers, queues, List.of(new Publish("1", "", Map.of("k", "v", "n", 1)), new Publish("2", "", Map.of("k", "w", "n", 1)),
                new Publish("3", "", Map.of("k", "v")), new Publish("4", "", Map.of())), List.of("1", "1 2 3", "1 3"));
            String source = exchange(channel, "topic", queues);
            channel.exchangeBind(direct, source, "#");
            channel.exchangeBind(fanout, source, "all.*");
            arrive(channel, source, queues, List.of(new Publish("1", "b"), new Publish("2", "all.b")), List.of("2", "1 2", "2"));
            channel.exchangeUnbind(fanout, source, "all.*");
            arrive(channel, source, queues, List.of(new Publish("3", "b"), new Publish("4", "all.b")), List.of("", "3", ""));
        }
    }

    private static String exchange(Channel channel, String kind, List<String> queues, Binding... bindings) throws Exception {
        String exchange = suite.exchange();
        channel.exchangeDeclare(exchange, kind, true);
        for (int i = 0; i < bindings.length; i++) {
            channel.queueBind(queues.get(i), exchange, bindings[i].key(), bindings[i].arguments());
        }
        return exchange;
    }

    private static void arrive(Channel channel, String exchange, List<String> queues, List<Publish> publishes, List<String> expected)
        throws Exception {
        for (Publish publish : publishes) {
            channel.basicPublish(exchange, publish.key(), new BasicProperties.Builder().headers(publish.headers()).build(), bytes(publish.body()));
        }
        var found = new ArrayList<String>();
        for (String queue : queues) {
            found.add(drain(channel, queue));
        }
        Harness.equal(found, expected, "routed to the three queues");
    }

    private static void errorsCloseChannelOnly() throws Exception {
        try (var connection = connect()) {
            String missing = suite.name("missing");
            String noQueue = "NOT_FOUND - no queue '" + missing + "' in vhost '" + suite.vhost + "'";
            String noExchange = "NOT_FOUND - no exchange '" + missing + "' in vhost '" + suite.vhost + "'";
            Channel first = connection.createChannel();
            Harness.equal(refused(404, () -> first.queueDeclarePassive(missing)), noQueue, "text");
            Channel second = connection.createChannel();
            String queue = declare(second);
            Harness.equal(refused(406, () -> second.queueDeclare(queue, true, false, true, null)),
                "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue '" + queue + "' in vhost '" + suite.vhost
                    + "': received 'true' but current is 'false'", "text");
            Channel third = connection.createChannel();
            Harness.equal(refused(404, () -> third.exchangeDeclarePassive(missing)), noExchange, "text");
            Channel fourth = connection.createChannel();
            fourth.basicPublish(missing, "key", null, bytes("lost"));
            Harness.eventually(() -> !fourth.isOpen(), "publishing to a missing exchange closes the channel");
            Harness.equal(closeText(404, fourth.getCloseReason()), noExchange, "text");
            Channel fifth = connection.createChannel();
            fifth.basicAck(99, false);
            Harness.eventually(() -> !fifth.isOpen(), "acking what was not delivered closes the channel");
            Harness.equal(closeText(406, fifth.getCloseReason()), "PRECONDITION_FAILED - unknown delivery tag 99", "text");
            expectCounts(connection.createChannel(), queue, 0, 0, "the connection goes on");
        }
    }

    private static void exclusiveAndAutoDelete() throws Exception {
        String exclusive = suite.queue();
        String autoDelete = suite.queue();
        try (var other = connect()) {
            try (var owner = connect()) {
                owner.createChannel().queueDeclare(exclusive, false, true, false, null);
                Channel locked = other.createChannel();
                String text = refused(405, () -> locked.queueDeclarePassive(exclusive));
                Harness.check(text.startsWith("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + exclusive + "'"), text);
            }
            Harness.check(!exists(other, exclusive), "an exclusive queue is gone with close-ok");
            Channel channel = other.createChannel();
            channel.queueDeclare(autoDelete, true, false, true, null);
            Harness.check(exists(other, autoDelete), "an auto-delete queue waits for its first consumer");
            String first = channel.basicConsume(autoDelete, true, (tag, delivery) -> { }, IGNORE_CANCEL);
            String second = channel.basicConsume(autoDelete, true, (tag, delivery) -> { }, IGNORE_CANCEL);
            channel.basicCancel(first);
            Harness.check(exists(other, autoDelete), "an auto-delete queue stays while it has a consumer");
            channel.basicCancel(second);
            Harness.eventually(() -> !exists(other, autoDelete), "an auto-delete queue goes with its last consumer");
        }
    }

    private static void largeBody() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            String queue = declare(channel);
            byte[] body = Harness.fiveMebibytes();
            channel.confirmSelect();
            channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, body);
            channel.waitForConfirmsOrDie(10_000);
            GetResponse got = channel.basicGet(queue, false);
            Harness.check(Arrays.equals(got.getBody(), body), "got equals published");
            channel.basicNack(got.getEnvelope().getDeliveryTag(), false, true);
            List<Delivery> received = Collections.synchronizedList(new ArrayList<>());
            channel.basicConsume(queue, true, (tag, delivery) -> received.add(delivery), IGNORE_CANCEL);
            Harness.eventually(() -> received.size() == 1, "delivery");
            Harness.check(Arrays.equals(received.get(0).getBody(), body), "delivered equals published");
        }
    }

    private static void txCommitRollback() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            Channel other = connection.createChannel();
            String queue = declare(channel);
            channel.txSelect();
            send(channel, queue, "kept");
            expectCounts(other, queue, 0, 0, "nothing is visible before commit");
            channel.txCommit();
            expectCounts(other, queue, 1, 0, "messages after commit");
            send(channel, queue, "dropped");
            channel.txRollback();
            channel.txCommit();
            expectCounts(other, queue, 1, 0, "messages after rollback");
            GetResponse got = channel.basicGet(queue, false);
            Harness.equal(text(got.getBody()), "kept", "body");
            channel.basicAck(got.getEnvelope().getDeliveryTag(), false);
            channel.txRollback();
            channel.basicAck(got.getEnvelope().getDeliveryTag(), false);
            channel.txCommit();
            channel.close();
            expectCounts(other, queue, 0, 0, "a rolled back ack can be given again");
        }
    }

    private static void rpcReplyQueue() throws Exception {
        rpc(channel -> {
            String queue = channel.queueDeclare().getQueue();
            return new RpcClientParams().replyTo(queue);
        });
    }

    private static void rpcDirectReplyTo() throws Exception {
        // The client's default reply address.
        rpc(channel -> new RpcClientParams());
    }

    private interface ReplyAddress {
        RpcClientParams of(Channel channel) throws Exception;
    }

    /** Twenty calls with the client's RPC classes, the responder on its own connection. */
    private static void rpc(ReplyAddress address) throws Exception {
        var serving = connect();
        try (var calling = connect()) {
            Channel responder = serving.createChannel();
            String requests = declare(responder);
            var server = new RpcServer(responder, requests) {
                @Override
                public byte[] handleCall(Delivery request, BasicProperties replyProperties) {
                    int number = Integer.parseInt(text(request.getBody()));
                    return bytes("" + number * number);
                }
            };
            var loop = new Thread(() -> {
                try {
                    server.mainloop();
                } catch (java.io.IOException closed) {
                    throw new java.io.UncheckedIOException(closed);
                }
            });
            loop.start();
            Channel channel = calling.createChannel();
            var client = new RpcClient(address.of(channel).channel(channel).exchange("").routingKey(requests).timeout(5000));
            for (int i = 0; i < 20; i++) {
                Harness.equal(client.stringCall("" + i), "" + i * i, "reply");
            }
            client.close();
            // Closing the responder's connection ends its loop.
            serving.close();
            loop.join(5000);
            Harness.check(!loop.isAlive(), "the responder ends with its connection");
        }
    }

    private static void consumerCancelNotification() throws Exception {
        try (var connection = connect(); var other = connect()) {
            Channel channel = connection.createChannel();
            String queue = declare(channel);
            List<String> cancelled = Collections.synchronizedList(new ArrayList<>());
            CancelCallback onCancel = cancelled::add;
            String tag = channel.basicConsume(queue, false, (consumer, delivery) -> { }, onCancel);
            other.createChannel().queueDelete(queue);
            Harness.eventually(() -> cancelled.size() == 1, "basic.cancel");
            Harness.equal(cancelled, List.of(tag), "cancelled tags");
            Harness.equal(channel.queueDeclare(queue, true, false, false, null).getConsumerCount(), 0, "the channel goes on");
        }
    }

    private static void wrongPasswordRefused() throws Exception {
        try (var connection = connect(factory -> factory.setPassword("not-the-password"))) {
            throw new AssertionError("a wrong password is refused: " + connection);
        } catch (AuthenticationFailureException error) {
            Harness.equal(error.getMessage(), "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
                + "For details see the broker logfile.", "text");
        }
    }

    private static void heartbeatIdle() throws Exception {
        try (var connection = connect(factory -> factory.setRequestedHeartbeat(2))) {
            Harness.equal(connection.getHeartbeat(), 2, "negotiated heartbeat");
            // The client gives up after two silent intervals, the broker after three.
            Thread.sleep(7000);
            Harness.check(connection.createChannel().isOpen(), "a channel opens after 7 s of silence");
        }
    }

    private static void cleanup() throws Exception {
        try (var connection = connect()) {
            Channel channel = connection.createChannel();
            for (String queue : suite.queues) {
                channel.queueDelete(queue);
            }
            for (String exchange : suite.exchanges) {
                channel.exchangeDelete(exchange);
            }
        }
    }
}
