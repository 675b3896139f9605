#!/usr/bin/env python3
"""Compares the metrics that two brokers tell Prometheus: RabbitMQ's and Lepus's.

    compare.py REFERENCE OTHER      both brokers populated alike: families that are missing or of another type, and
                                    labels of a family that the other does not have

REFERENCE and OTHER are HTTP_PORT:AMQP_PORT:METRICS_PORT on this machine, with guest/guest. Needs pika. What is made
lives where management/compare.py makes it, and is deleted afterwards. What is different on purpose is in REASONS; the
names of `overview_names.txt` are those of RabbitMQ-Overview, the dashboard.
"""

import os
import re
import sys
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "management"))
import compare as management  # noqa: E402

# Families by pattern, and why Lepus does not tell them.
REASONS = {
    r"erlang_(vm|mnesia)_.*": "there is no Erlang machine",
    r"telemetry_scrape_.*": "Prometheus measures scrapes itself",
    r"rabbitmq_(detailed_)?raft_.*": "there is no Raft log",
    r"rabbitmq_(detailed_)?stream_.*": "there are no streams",
    r"rabbitmq_message_size_bytes": "would cost every publish",
    r"rabbitmq_(detailed_)?queue_head_message_timestamp": "would cost a look into each queue",
}
# In /metrics/per-object and /metrics/detailed only.
PER_OBJECT = {
    r"rabbitmq_(detailed_)?exchange_messages_.*": "not counted by exchange: that would cost every publish",
}
# Labels that Lepus does not have: counters of a channel are not split by exchange and queue.
LABELS = {
    r"rabbitmq_(detailed_)?channel_.*": {"exchange", "queue"},
    r"rabbitmq_(detailed_)?queue_messages_published_total": {"channel", "queue_vhost", "exchange_vhost", "exchange"},
    r"rabbitmq_(detailed_)?queue_exchange_messages_published_total": {"exchange"},
}
FAMILIES = (
    "connection_churn_metrics node_coarse_metrics node_metrics node_persister_metrics ra_metrics auth_attempt_metrics "
    "auth_attempt_detailed_metrics queue_coarse_metrics queue_consumer_count queue_metrics queue_delivery_metrics "
    "queue_exchange_metrics exchange_metrics channel_metrics channel_exchange_metrics channel_queue_metrics "
    "channel_queue_exchange_metrics channel_process_metrics connection_coarse_metrics connection_metrics "
    "stream_consumer_metrics vhost_status exchange_names exchange_bindings"
).split()
PATHS = ["/metrics", "/metrics/per-object"] + [f"/metrics/detailed?family={family}" for family in FAMILIES]


def scrape(port, path):
    """Types, and labels of the families that have samples."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        text = answer.read().decode()
    types, labels = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        elif line and not line.startswith("#"):
            name = re.match(r"[a-zA-Z0-9_:]+", line).group()
            name = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
            found = re.match(r"\S+?\{(.*)\} ", line)
            labels.setdefault(name, set()).update(re.findall(r'(\w+)="', found.group(1)) if found else ())
    return types, labels


def reason(name, lists):
    return any(re.fullmatch(pattern, name) for patterns in lists for pattern in patterns)


def compare(path, reference, other):
    (types, labels), (types_other, labels_other) = scrape(reference, path), scrape(other, path)
    lists = [REASONS] if path == "/metrics" else [REASONS, PER_OBJECT]
    findings = []
    for name in sorted(labels):
        if reason(name, lists):
            continue
        if name not in labels_other:
            findings.append(f"missing {name}")
            continue
        if types[name] != types_other.get(name):
            findings.append(f"{name}: {types[name]} but {types_other.get(name)}")
        absent = labels[name] - labels_other[name]
        absent -= set().union(*[own for pattern, own in LABELS.items() if re.fullmatch(pattern, name)])
        if absent:
            findings.append(f"{name} without labels {sorted(absent)}")
    for finding in findings:
        print(f"{path}: {finding}")
    return len(findings), len(labels)


def main(reference, other):
    brokers = [management.Broker(ports.rsplit(":", 1)[0]) for ports in (reference, other)]
    metrics = [ports.rsplit(":", 1)[1] for ports in (reference, other)]
    connections = [management.populate(broker) for broker in brokers]
    # RabbitMQ's statistics come every five seconds.
    until = time.time() + 11
    while time.time() < until:
        for connection in connections:
            connection.process_data_events(0.2)
    count = families = 0
    for path in PATHS:
        found, known = compare(path, *metrics)
        count, families = count + found, families + known
    with open(os.path.join(HERE, "overview_names.txt")) as names:
        had = scrape(metrics[1], "/metrics")[1]
        absent = [name for name in names.read().split() if name not in had]
    for name in absent:
        print(f"/metrics: the dashboard asks for {name}")
    print(f"{len(PATHS)} paths, {families} families, {count + len(absent)} missing or different")
    for connection in connections:
        connection.close()
    for broker in brokers:
        management.clean(broker)
    return count + len(absent)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(1 if main(*sys.argv[1:]) else 0)
