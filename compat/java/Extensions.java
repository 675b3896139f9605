import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.GetResponse;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;

/** Scenarios of RabbitMQ's extensions, as Spring AMQP uses them. */
final class Extensions {
    private final Harness suite;

    Extensions(Harness suite) {
        this.suite = suite;
        suite.scenario("rpc_timeouts_and_late_replies", () -> {
            rpc(false);
            rpc(true);
        });
        suite.scenario("confirms_correlated_with_returns", this::confirmsCorrelatedWithReturns);
        suite.scenario("quorum_delivery_limit", this::quorumDeliveryLimit);
    }

    /** Calls from several threads over one channel each; replies are told apart by correlation id. */
    private static final class Caller {
        private final Channel channel;
        private final String requests;
        private final String replyTo;
        private final Map<String, CompletableFuture<String>> pending = new ConcurrentHashMap<>();
        final List<String> late = Collections.synchronizedList(new ArrayList<>());

        Caller(Connection connection, String requests, String replyTo) throws Exception {
            this.channel = connection.createChannel();
            this.requests = requests;
            this.replyTo = replyTo;
            channel.basicConsume(replyTo, true, (tag, reply) -> {
                var waiting = pending.remove(reply.getProperties().getCorrelationId());
                if (waiting == null) {
                    late.add(Suite.text(reply.getBody()));
                } else {
                    waiting.complete(Suite.text(reply.getBody()));
                }
            }, tag -> { });
        }

        String call(String id, String body, long milliseconds) throws Exception {
            var reply = new CompletableFuture<String>();
            pending.put(id, reply);
            var properties = new BasicProperties.Builder().correlationId(id).replyTo(replyTo).build();
            synchronized (channel) {
                channel.basicPublish("", requests, properties, Suite.bytes(body));
            }
            try {
                return reply.get(milliseconds, TimeUnit.MILLISECONDS);
            } finally {
                pending.remove(id);
            }
        }
    }

    /** By a fixed reply queue that all threads share, or by direct reply-to with a channel for each thread. */
    private void rpc(boolean direct) throws Exception {
        var calling = Suite.connect(factory -> { });
        try (var serving = Suite.connect(factory -> { })) {
            var lastAddress = new AtomicReference<String>();
            Channel responder = serving.createChannel();
            String requests = Suite.declare(responder);
            var held = new CompletableFuture<Void>();
            responder.basicConsume(requests, false, (tag, request) -> {
                String body = Suite.text(request.getBody());
                lastAddress.set(request.getProperties().getReplyTo());
                var properties = new BasicProperties.Builder().correlationId(request.getProperties().getCorrelationId()).build();
                // The reply to "slow" goes out when its caller no longer waits.
                if (body.equals("slow")) {
                    held.thenRun(() -> reply(responder, request.getProperties().getReplyTo(), properties, "re slow"));
                } else {
                    reply(responder, request.getProperties().getReplyTo(), properties, "re " + body);
                }
                synchronized (responder) {
                    responder.basicAck(request.getEnvelope().getDeliveryTag(), false);
                }
            }, tag -> { });
            var callers = new ArrayList<Caller>();
            String replyQueue = direct ? "amq.rabbitmq.reply-to" : Suite.declare(responder);
            for (int i = 0; i < (direct ? 4 : 1); i++) {
                callers.add(new Caller(calling, requests, replyQueue));
            }
            Caller first = callers.get(0);
            try {
                first.call("slow", "slow", 100);
                throw new AssertionError("a call without reply times out");
            } catch (TimeoutException expected) {
                held.complete(null);
            }
            ExecutorService threads = Executors.newFixedThreadPool(4);
            var results = new ArrayList<java.util.concurrent.Future<?>>();
            for (int thread = 0; thread < 4; thread++) {
                int who = thread;
                results.add(threads.submit(() -> {
                    for (int i = 0; i < 50; i++) {
                        String id = who + "-" + i;
                        Harness.equal(callers.get(who % callers.size()).call(id, id, 5000), "re " + id, "reply");
                    }
                    return null;
                }));
            }
            threads.shutdown();
            for (var result : results) {
                result.get();
            }
            Harness.eventually(() -> first.late.equals(List.of("re slow")), "the late reply comes and nobody takes it");
            Harness.check(callers.stream().allMatch(caller -> caller.pending.isEmpty()), "nobody waits");
            calling.close();
            if (direct) {
                // The caller is gone: its address no longer routes, which closes nothing.
                reply(responder, lastAddress.get(), new BasicProperties(), "nobody");
            }
            Suite.expectCounts(responder, requests, 0, 1, "the responder goes on");
        }
    }

    private static void reply(Channel channel, String replyTo, BasicProperties properties, String body) {
        try {
            synchronized (channel) {
                channel.basicPublish("", replyTo, properties, Suite.bytes(body));
            }
        } catch (java.io.IOException error) {
            throw new java.io.UncheckedIOException(error);
        }
    }

    /** As Spring's CachingConnectionFactory: a return names its publish by a header, and comes before that publish's ack. */
    private void confirmsCorrelatedWithReturns() throws Exception {
        try (var connection = Suite.connect(factory -> { })) {
            Channel channel = connection.createChannel();
            String queue = Suite.declare(channel);
            channel.confirmSelect();
            var outstanding = new ConcurrentSkipListMap<Long, Integer>();
            Set<Integer> returned = ConcurrentHashMap.newKeySet();
            Set<Integer> ackedAfterReturn = ConcurrentHashMap.newKeySet();
            Set<Integer> acked = ConcurrentHashMap.newKeySet();
            List<String> problems = Collections.synchronizedList(new ArrayList<>());
            channel.addReturnListener(back -> {
                if (back.getReplyCode() != 312) {
                    problems.add("return with " + back.getReplyCode());
                }
                returned.add((Integer) back.getProperties().getHeaders().get("spring_returned_message_correlation"));
            });
            channel.addConfirmListener((tag, multiple) -> {
                var done = multiple ? outstanding.headMap(tag, true) : outstanding.subMap(tag, true, tag, true);
                for (int id : done.values()) {
                    acked.add(id);
                    if (returned.contains(id)) {
                        ackedAfterReturn.add(id);
                    }
                }
                done.clear();
            }, (tag, multiple) -> problems.add("nack of " + tag));
            var lost = new java.util.TreeSet<Integer>();
            for (int i = 0; i < 200; i++) {
                var properties = new BasicProperties.Builder().headers(Map.of("spring_returned_message_correlation", i)).build();
                outstanding.put(channel.getNextPublishSeqNo(), i);
                if (i % 3 == 0) {
                    lost.add(i);
                }
                channel.basicPublish("", i % 3 == 0 ? queue + ".nowhere" : queue, true, properties, Suite.bytes("" + i));
            }
            Harness.eventually(() -> acked.size() == 200, "200 acks");
            Harness.equal(problems, List.of(), "problems");
            Harness.equal(new java.util.TreeSet<>(returned), lost, "returned");
            Harness.equal(new java.util.TreeSet<>(ackedAfterReturn), lost, "a return comes before its ack");
            Suite.expectCounts(channel, queue, 200 - lost.size(), 0, "messages in the queue");
        }
    }

    private void quorumDeliveryLimit() throws Exception {
        try (var connection = Suite.connect(factory -> { })) {
            Channel channel = connection.createChannel();
            boolean counts = Arrays.compare(version(connection), new int[] {4, 3}) >= 0;
            String dead = Suite.declare(channel);
            String queue = suite.queue();
            channel.queueDeclare(queue, true, false, false, Map.of("x-queue-type", "quorum", "x-delivery-limit", 2,
                "x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead));
            Suite.send(channel, queue, "poison");
            for (int attempt = 0; attempt <= 2; attempt++) {
                GetResponse got = fetch(channel, queue);
                Map<String, Object> headers = got.getProps().getHeaders();
                Long count = attempt == 0 ? null : Long.valueOf(attempt);
                // Before 4.3 the first basic.get-ok tells a count of 0.
                Long failures = attempt == 0 && !counts ? Long.valueOf(0) : count;
                Harness.equal(headers == null ? null : headers.get("x-delivery-count"), failures, "x-delivery-count of attempt " + attempt);
                Harness.equal(headers == null ? null : headers.get("x-acquired-count"), counts ? count : null, "x-acquired-count of attempt " + attempt);
                Harness.equal(got.getEnvelope().isRedeliver(), attempt > 0, "redelivered");
                channel.basicReject(got.getEnvelope().getDeliveryTag(), true);
            }
            GetResponse letter = fetch(channel, dead);
            var death = (Map<?, ?>) ((List<?>) letter.getProps().getHeaders().get("x-death")).get(0);
            Harness.equal(List.of(death.get("queue").toString(), death.get("reason").toString(), death.get("count")),
                List.of(queue, "delivery_limit", 1L), "x-death");
            Suite.expectCounts(channel, queue, 0, 0, "nothing is left");
        }
    }

    private static int[] version(Connection connection) {
        return Arrays.stream(connection.getServerProperties().get("version").toString().split("\\.")).limit(2).mapToInt(Integer::parseInt).toArray();
    }

    private static GetResponse fetch(Channel channel, String queue) throws Exception {
        var found = new ArrayList<GetResponse>();
        Harness.eventually(() -> {
            GetResponse got = channel.basicGet(queue, false);
            return got != null && found.add(got);
        }, "a message in " + queue);
        return found.get(0);
    }
}
