import java.net.URI;
import java.security.SecureRandom;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Runs scenarios one after another and reports each on its own line, as {@code compat/run} expects; see python/harness.py. */
final class Harness {
    static final int SCENARIO_SECONDS_MAX = 30;

    static final List<String> CAPABILITIES = List.of(
        "publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
        "consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to");

    interface Scenario {
        void run() throws Exception;
    }

    final String url = System.getenv("AMQP_URL");
    final String vhost;
    final String prefix;
    final List<String> queues = new ArrayList<>();
    final List<String> exchanges = new ArrayList<>();
    private final Map<String, Scenario> scenarios = new LinkedHashMap<>();
    private int names;

    Harness(String client, String version) {
        System.out.println("client " + client + " " + version);
        String path = Objects.requireNonNullElse(URI.create(url).getPath(), "");
        vhost = path.length() > 1 ? path.substring(1) : "/";
        byte[] random = new byte[4];
        new SecureRandom().nextBytes(random);
        prefix = "compat." + client + "." + HexFormat.of().formatHex(random);
    }

    void scenario(String name, Scenario scenario) {
        scenarios.put(name, scenario);
    }

    String name(String kind) {
        names += 1;
        return prefix + "." + kind + names;
    }

    /** A fresh queue name, deleted at the end whether or not it was declared. */
    String queue() {
        queues.add(name("q"));
        return queues.get(queues.size() - 1);
    }

    String exchange() {
        exchanges.add(name("x"));
        return exchanges.get(exchanges.size() - 1);
    }

    void main(Scenario cleanup) {
        scenarios.keySet().removeIf(name -> !isChosen(name));
        System.out.println("plan " + String.join(" ", scenarios.keySet()));
        boolean failed = false;
        for (var entry : scenarios.entrySet()) {
            long start = System.nanoTime();
            String reason = outcome(entry.getValue());
            String seconds = String.format("%.2f", (System.nanoTime() - start) / 1e9);
            System.out.println(reason == null ? "ok " + entry.getKey() + " " + seconds : "FAIL " + entry.getKey() + " " + seconds + " " + reason);
            failed |= reason != null;
        }
        String tidy = outcome(cleanup);
        if (tidy != null) {
            System.err.println("cleanup: " + tidy);
        }
        System.exit(failed || tidy != null ? 1 : 0);
    }

    /** The reason of the failure on one line, or null. */
    private static String outcome(Scenario scenario) {
        var executor = Executors.newSingleThreadExecutor();
        try {
            executor.submit(() -> {
                scenario.run();
                return null;
            }).get(SCENARIO_SECONDS_MAX, TimeUnit.SECONDS);
            return null;
        } catch (TimeoutException late) {
            return "not done after " + SCENARIO_SECONDS_MAX + " s";
        } catch (ExecutionException failure) {
            Throwable cause = failure.getCause();
            cause.printStackTrace();
            String line = Arrays.stream(cause.getStackTrace()).filter(frame -> List.of("Suite.java", "Extensions.java").contains(frame.getFileName())).findFirst()
                .map(frame -> " (line " + frame.getLineNumber() + ")").orElse("");
            String text = (cause + line).replaceAll("\\s+", " ");
            return text.substring(0, Math.min(text.length(), 300));
        } catch (InterruptedException interrupted) {
            return "interrupted";
        } finally {
            executor.shutdownNow();
        }
    }

    /** COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them. */
    private static boolean isChosen(String name) {
        List<String> only = words("COMPAT_ONLY");
        return (only.isEmpty() || only.contains(name)) && !words("COMPAT_SKIP").contains(name);
    }

    private static List<String> words(String variable) {
        String value = Objects.requireNonNullElse(System.getenv(variable), "").trim();
        return value.isEmpty() ? List.of() : List.of(value.split("\\s+"));
    }

    static void check(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object actual, Object expected, String what) {
        check(Objects.equals(actual, expected), what + ": expected " + expected + ", got " + actual);
    }

    static void checkServer(Map<String, Object> properties) {
        equal(properties.get("product").toString(), "RabbitMQ", "product");
        String version = properties.get("version").toString();
        check(version.matches("\\d+\\.\\d+\\.\\d+.*"), "version is like 1.2.3: " + version);
        var capabilities = (Map<?, ?>) properties.get("capabilities");
        for (String capability : CAPABILITIES) {
            equal(capabilities.get(capability), true, "capability " + capability);
        }
    }

    /** Polls, for what a broker does shortly after it answered and for what other threads collect. */
    static void eventually(Callable<Boolean> condition, String what) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (!condition.call()) {
            check(System.nanoTime() < deadline, what + ", within 10 s");
            Thread.sleep(5);
        }
    }

    /** 5 MiB in which no 256 bytes repeat. */
    static byte[] fiveMebibytes() {
        byte[] body = new byte[5 * 1024 * 1024];
        for (int at = 0; at < body.length; at++) {
            int offset = at & 0xff;
            body[at] = (byte) (offset < 4 ? (at >> 8) >> (8 * (3 - offset)) : offset);
        }
        return body;
    }
}
