"""The loads, in groups. Each group gives rows: what was varied, the broker, and the medians with their spread."""

import base64
import signal
import statistics
import subprocess
import threading
import time
import urllib.request

import brokers
from brokers import perf

# name | flags of `lepus perf` | what must be reached: rate at least, broker CPU in µs a message at most
BUDGETS = [
    ("16 B, auto-ack", "-s 16 -a", 2_500_000, 0.30),
    ("1 KiB, auto-ack", "-s 1024 -a", 550_000, 1.1),
    ("1 KiB persistent, 1,000 unconfirmed, ack each 100", "-s 1024 -f persistent -c 1000 -q 1000 -A 100", 250_000, 2.6),
    ("16 B persistent, 1,000 unconfirmed, ack each 100", "-s 16 -f persistent -c 1000 -q 1000 -A 100", 1_000_000, 0.8),
    (
        "1 KiB persistent, 100 queues of a publisher each, 1,000 unconfirmed",
        "-s 1024 -f persistent -c 10 -q 100 -A 10 -x 100 -y 100 -qp perf-%d -qpt 100",
        None,
        None,
    ),
    ("1 KiB persistent, one unconfirmed", "-s 1024 -f persistent -c 1 -q 100", 3_500, None),
    ("16 B at 5,000/s, auto-ack", "-s 16 -a -r 5000", None, None),
    ("16 B, 8 to 8 over 8 queues, auto-ack", "-s 16 -a -x 8 -y 8 -qp perf-%d -qpt 8", 2_000_000, None),
    ("16 B, topic exchange with 5,000 bindings", "-s 16 -a -e perf-topic -t topic -k a.b --ballast-bindings 5000", 500_000, None),
    ("1 KiB fan-out to 100 queues, a copy", "-s 1024 -y 0 -C 20000 -e perf-fanout -t fanout -qp perf-%d -qpt 100", None, 15.0),
]
QUORUM = [
    (name, f"{flags} -u perf-quorum -qa x-queue-type=quorum")
    for name, flags, *_ in BUDGETS
    if "persistent" in flags and "-c 1000" in flags
]


class Bench:
    """What a group measures with."""

    def __init__(self, lepus, others, rounds, seconds, say):
        self.lepus, self.others, self.rounds, self.seconds, self.say = lepus, others, rounds, seconds, say

    def brokers(self):
        return [self.lepus, *self.others]

    def turns(self, loads, rounds=None):
        """Runs the loads (label, flags, brokers) in turns, A B A B, so that all brokers see the same minutes."""
        runs = {}
        for number in range(rounds or self.rounds):
            for label, flags, measured in loads:
                for broker in measured:
                    words = flags.split() if isinstance(flags, str) else flags
                    bounded = any(flag in words for flag in ("-C", "-z"))
                    report = perf("-h", broker.url, "--broker-pid", broker.pid, *words, *([] if bounded else ["-z", self.seconds]))
                    if report:
                        runs.setdefault((label, broker.name), []).append(report)
            self.say(f"  round {number + 1} of {rounds or self.rounds}")
        return [row(label, broker, reports) for (label, broker), reports in runs.items()]


FIGURES = {
    "received_per_s": ("received_per_s",),
    "sent_per_s": ("sent_per_s",),
    "cpu_us": ("broker", "cpu_us_per_message"),
    "rss_mib": ("broker", "rss_bytes_max"),
    "p50_us": ("consumer_latency_us", "median"),
    "p99_us": ("consumer_latency_us", "p99"),
    "p999_us": ("consumer_latency_us", "p999"),
    "confirm_p50_us": ("confirm_latency_us", "median"),
    "confirm_p99_us": ("confirm_latency_us", "p99"),
    "per_s": ("per_s",),
    "cpu_us_round": ("broker_cpu_us_per_round",),
}


def row(label, broker, reports):
    """Minimum, median and maximum of every figure that the reports have."""
    made = {"label": label, "broker": broker, "runs": len(reports)}
    for name, path in FIGURES.items():
        values = []
        for report in reports:
            value = report
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                values.append(value / 2**20 if name == "rss_mib" else value)
        if values:
            made[name] = [round(figure, 4) for figure in (min(values), statistics.median(values), max(values))]
    return made


def budgets(bench):
    """The budgets of the design, in turns."""
    bench.lepus.start()
    loads = [(name, flags, bench.brokers()) for name, flags, *_ in BUDGETS]
    loads += [(f"{name} (quorum queue)", flags, bench.brokers()) for name, flags in QUORUM]
    rows = bench.turns(loads)
    bench.lepus.stop()
    return rows


def sizes(bench):
    """Rate and CPU by size of the body, auto-ack."""
    bench.lepus.start()
    loads = [(size, f"-s {size} -a", bench.brokers()) for size in (16, 64, 256, 1024, 4096, 16384, 65536)]
    rows = bench.turns(loads, max(bench.rounds // 2, 1))
    bench.lepus.stop()
    return rows


def load(bench):
    """Latency by load: 16 B, auto-ack, at a given rate."""
    bench.lepus.start()
    loads = []
    for rate in (1_000, 5_000, 20_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_000_000):
        measured = [broker for broker in bench.brokers() if broker is bench.lepus or rate <= 50_000]
        loads.append((rate, f"-s 16 -a -r {rate}", measured))
    rows = bench.turns(loads, max(bench.rounds // 2, 1))
    bench.lepus.stop()
    return rows


def flat(bench):
    """CPU a message beside other queues, bindings and a backlog."""
    rounds = max(bench.rounds // 2, 1)
    bench.lepus.start()
    loads = []
    for count in (0, 1_000, 100_000):
        loads.append((f"queues: {count:,} others", f"-s 16 -a --ballast-queues {count}", small(bench, count)))
    for count in (1, 1_000, 100_000):
        loads.append((f"queues: traffic over {count:,}", f"-s 16 -a --spread -qp s-%d -qpt {count}", small(bench, count)))
    for kind, more in (("topic", "-k a.b"), ("headers", "-mp number=x")):
        for count in (1, 1_000, 50_000):
            flags = f"-s 16 -a -e perf-{kind} -t {kind} {more} --ballast-bindings {count}"
            loads.append((f"{kind} bindings: {count:,}", flags, small(bench, count)))
    rows = bench.turns(loads, rounds)
    bench.lepus.stop()
    return rows + backlog(bench)


def connections(bench):
    """CPU a message beside other connections, which are open and silent."""
    bench.lepus.start()
    # Client and broker are a process each; as many as the system lets one have, but for what it has besides.
    most = brokers.resource.getrlimit(brokers.resource.RLIMIT_NOFILE)[0] - 1_000
    loads = []
    for count in (0, 1_000, min(most, 20_000)):
        loads.append((f"connections: {count:,} others", f"-s 16 -a --ballast-connections {count}", small(bench, count)))
    rows = bench.turns(loads)
    bench.lepus.stop()
    return rows


def small(bench, count):
    """RabbitMQ takes minutes to declare tens of thousands of things."""
    return bench.brokers() if count <= 1_000 else [bench.lepus]


def backlog(bench):
    """CPU a message while so many wait: the consumer keeps its distance."""
    rows = []
    for count in (0, 1_000_000, 20_000_000):
        bench.lepus.start()
        url, queue = bench.lepus.url, ["-u", "perf-backlog", "-ad", "false"]
        if count:
            perf("-h", url, *queue, "-s", 16, "-y", 0, "-C", count)
        reports = []
        for _ in range(max(bench.rounds // 2, 1)):
            flags = ["-s", 16, "-a", "-r", 500_000, "-R", 500_000, "-z", bench.seconds]
            reports.append(perf("-h", url, "--broker-pid", bench.lepus.pid, *queue, *flags))
        rows.append(row(f"backlog: {count:,} waiting, 500,000/s in and out", bench.lepus.name, [each for each in reports if each]))
        bench.lepus.stop()
    return rows


def churn(bench):
    """Things opened and closed a second, by 8 clients."""
    bench.lepus.start()
    kinds = ("connections", "channels", "queues", "binds", "binds-and-unbinds")
    loads = [(kind, f"--churn {kind} -x 8", bench.brokers()) for kind in kinds]
    rows = bench.turns(loads, max(bench.rounds // 2, 1))
    bench.lepus.stop()
    return rows


def rpc(bench):
    """Calls with direct reply-to, 64 in flight."""
    bench.lepus.start()
    runs = {}
    for _ in range(max(bench.rounds // 2, 1)):
        for broker in bench.brokers():
            report = perf("rpc", "-h", broker.url, "--in-flight", 64, "-z", bench.seconds, "--broker-pid", broker.pid)
            if report:
                runs.setdefault(broker.name, []).append(report)
    bench.lepus.stop()
    rows = []
    for name, reports in runs.items():
        made = row("calls", name, [])
        made["per_s"] = spread([report["calls_per_s"] for report in reports])
        made["p50_us"] = spread([report["latency_us"]["median"] for report in reports])
        made["p99_us"] = spread([report["latency_us"]["p99"] for report in reports])
        rows.append(made)
    return rows


def spread(values):
    return [round(figure, 4) for figure in (min(values), statistics.median(values), max(values))]


def tls(bench):
    """1 KiB auto-ack in TLS beside plain."""
    bench.lepus.start()
    runs = {"plain": [], "TLS": []}
    for _ in range(bench.rounds):
        for label, url in (("plain", bench.lepus.url), ("TLS", bench.lepus.tls_url)):
            runs[label].append(perf("-h", url, "--broker-pid", bench.lepus.pid, "-s", 1024, "-a", "-z", bench.seconds))
    bench.lepus.stop()
    return [row(label, bench.lepus.name, [each for each in reports if each]) for label, reports in runs.items()]


# Messages of 16 bytes a second.
ASKED = 2_500_000


def disturbance(bench):
    """What others suffer: 16 B at 5,000/s and at half of the most, beside something heavy."""
    bench.lepus.start()
    rows = []
    most = perf("-h", bench.lepus.url, "-s", 16, "-a", "-z", bench.seconds)
    half = int(most["sent_per_s"] / 2)
    steady = {
        f"16 B at half of the most, {half:,}/s": ["-s", 16, "-a", "-r", half],
        f"16 B at half of what the design asks for, {ASKED // 2:,}/s": ["-s", 16, "-a", "-r", ASKED // 2],
        "16 B persistent at 20,000/s with confirms": ["-s", 16, "-f", "persistent", "-r", 20_000, "-c", 1000, "-q", 1000, "-A", 100],
        "16 B at 5,000/s, alone": ["-s", 16, "-a", "-r", 5000],
    }
    for label, flags in steady.items():
        rows.append(row(label, bench.lepus.name, [watched(bench, flags) for _ in range(bench.rounds)]))
    for label, disturb in DISTURBANCES.items():
        reports = []
        for _ in range(bench.rounds):
            reports.append(watched(bench, steady["16 B at 5,000/s, alone"], disturb))
        rows.append(row(f"16 B at 5,000/s, beside {label}", bench.lepus.name, reports))
        bench.say(f"  {label}")
    bench.lepus.stop()
    return rows


def watched(bench, flags, disturb=None):
    """A run whose latency is watched while something else goes on."""
    prepared = disturb and disturb.prepare(bench)
    stop = threading.Event()
    thread = disturb and threading.Thread(target=disturb.go_on, args=(bench, prepared, stop))
    if thread:
        thread.start()
    report = perf("-h", bench.lepus.url, "--broker-pid", bench.lepus.pid, *flags, "-z", bench.seconds)
    stop.set()
    if thread:
        thread.join()
        disturb.tidy_up(bench)
    return report


class Disturbance:
    """Something heavy, over and over until the watched run is over."""

    queue = "perf-disturbing"

    def prepare(self, bench):
        pass

    def go_on(self, bench, prepared, stop):
        raise NotImplementedError

    def tidy_up(self, bench):
        delete_queue(bench, self.queue)


class SlowConsumer(Disturbance):
    def go_on(self, bench, prepared, stop):
        perf("-h", bench.lepus.url, "-u", self.queue, "-s", 1024, "-a", "-r", 20_000, "-R", 100, "-z", bench.seconds)


class LargeMessages(Disturbance):
    def go_on(self, bench, prepared, stop):
        while not stop.is_set():
            perf("-h", bench.lepus.url, "-u", self.queue, "-s", 100_000_000, "-a", "-C", 2)
            time.sleep(0.5)


class Purge(Disturbance):
    def prepare(self, bench):
        perf("-h", bench.lepus.url, "-u", self.queue, "-ad", "false", "-s", 16, "-y", 0, "-C", 10_000_000)

    def go_on(self, bench, prepared, stop):
        time.sleep(bench.seconds / 2)
        api(bench, "DELETE", f"/queues/%2F/{self.queue}/contents")


class Checkpoint(Disturbance):
    """Persistent messages that nobody consumes: every 128 MiB of them a checkpoint."""

    def go_on(self, bench, prepared, stop):
        flags = ["-u", self.queue, "-ad", "false", "-s", 16384, "-f", "persistent", "-y", 0, "-c", 50, "-r", 6_000]
        perf("-h", bench.lepus.url, *flags, "-z", bench.seconds)


class Polling(Disturbance):
    """All of 10,000 queues once a second."""

    def prepare(self, bench):
        if not getattr(self, "declared", False):
            self.declared = True
            for number in range(10_000):
                api(bench, "PUT", f"/queues/%2F/poll-{number}", b'{"auto_delete":false,"durable":false}')

    def go_on(self, bench, prepared, stop):
        while not stop.wait(1):
            api(bench, "GET", "/queues?page=1&page_size=100")
            api(bench, "GET", "/queues")

    def tidy_up(self, bench):
        pass


DISTURBANCES = {
    "a slow consumer": SlowConsumer(),
    "messages of 100 MB": LargeMessages(),
    "a purge of 10,000,000 messages": Purge(),
    "checkpoints (100 MB/s of persistent messages)": Checkpoint(),
    "polling of all of 10,000 queues each second": Polling(),
}


def api(bench, method, path, body=None):
    url = f"http://127.0.0.1:{bench.lepus.http_port}/api{path}"
    login = base64.b64encode(b"guest:guest").decode()
    request = urllib.request.Request(url, data=body, method=method, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def delete_queue(bench, queue):
    try:
        api(bench, "DELETE", f"/queues/%2F/{queue}")
    except OSError:
        pass


def store(bench):
    """A backlog on disk: memory, draining, and restarts."""
    rows = []
    for count in (10_000_000, 50_000_000):
        bench.lepus.start()
        queue = ["-u", "perf-backlog", "-ad", "false", "-f", "persistent"]
        filled = perf("-h", bench.lepus.url, "--broker-pid", bench.lepus.pid, *queue, "-s", 16, "-y", 0, "-c", 10_000, "-C", count)
        rows.append(row(f"filling with {count:,} × 16 B", bench.lepus.name, [filled]))
        for label, by in (("stop", signal.SIGTERM), ("kill -9", signal.SIGKILL)):
            bench.lepus.stop(keep=True, by=by)
            began = time.monotonic()
            bench.lepus.start()
            made = row(f"start behind a {label}, with {count:,} waiting", bench.lepus.name, [])
            made["seconds"] = [round(time.monotonic() - began, 3)] * 3
            rows.append(made)
        if count == 10_000_000:
            flags = ["-s", 16, "-x", 0, "-q", 1000, "-A", 100, "-D", count]
            rows.append(row(f"draining {count:,}", bench.lepus.name, [perf("-h", bench.lepus.url, "--broker-pid", bench.lepus.pid, *queue, *flags)]))
        bench.lepus.stop()
    return rows + restarts(bench)


def restarts(bench):
    """10,000,000 messages in 10,000 queues, found again."""
    rows, count = [], 10_000_000
    bench.lepus.start()
    many = ["-qp", "perf-%d", "-qpt", 10_000, "--spread", "-ad", "false", "-f", "persistent"]
    filled = perf("-h", bench.lepus.url, "--broker-pid", bench.lepus.pid, *many, "-s", 16, "-y", 0, "-c", 10_000, "-C", count)
    rows.append(row(f"filling 10,000 queues with {count:,} × 16 B", bench.lepus.name, [filled]))
    for label, by in (("kill -9", signal.SIGKILL), ("stop", signal.SIGTERM)):
        seconds = []
        for _ in range(3):
            bench.lepus.stop(keep=True, by=by)
            began = time.monotonic()
            bench.lepus.start()
            seconds.append(time.monotonic() - began)
        made = row(f"start behind a {label}, with {count:,} in 10,000 queues", bench.lepus.name, [])
        made["seconds"] = spread(seconds)
        rows.append(made)
    bench.lepus.stop()
    return rows


def publishers(bench):
    """One publisher with confirms, and a hundred with a queue each: 1 KiB persistent, ack each 100."""
    bench.lepus.start()
    flags = "-s 1024 -f persistent -q 1000 -A 100"
    many = f"{flags} -x 100 -y 100 -qp perf-%d -qpt 100"
    loads = [
        ("1 publisher, 1,000 unconfirmed", f"{flags} -c 1000", bench.brokers()),
        ("100 publishers, 100 unconfirmed each", f"{many} -c 100", bench.brokers()),
        ("100 publishers, 300 unconfirmed each", f"{many} -c 300", bench.brokers()),
    ]
    rows = bench.turns(loads)
    bench.lepus.stop()
    return rows


def cores(bench):
    """All cores: 8 queues with 1 and with 2 lanes and threads, clients and broker on the same cores."""
    rows = []
    for lanes in (1, 2):
        bench.lepus.start("--lanes", str(lanes))
        cores = ",".join(map(str, range(lanes)))
        subprocess.run(["taskset", "-a", "-c", "-p", cores, str(bench.lepus.pid)], check=True, stdout=subprocess.DEVNULL)
        flags = ["-s", 16, "-a", "-x", 8, "-y", 8, "-qp", "perf-%d", "-qpt", 8, "-z", bench.seconds]
        reports = [perf("-h", bench.lepus.url, "--broker-pid", bench.lepus.pid, *flags) for _ in range(bench.rounds)]
        rows.append(row(f"{lanes} of {brokers.os.cpu_count()} cores", bench.lepus.name, [each for each in reports if each]))
        bench.lepus.stop()
    return rows


ALL = {group.__name__: group for group in (budgets, sizes, load, flat, connections, churn, rpc, tls, disturbance, store, publishers, cores)}
