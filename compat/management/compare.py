#!/usr/bin/env python3
"""Compares the management HTTP APIs of two brokers: RabbitMQ's and Lepus's.

    compare.py requests REFERENCE OTHER    some 200 requests as an administrator, some 450 as users of other tags:
                                           status, error and reason, and the answer as far as it is the same everywhere
    compare.py fields REFERENCE OTHER      both brokers populated alike, every path that can be read: fields that are
                                           missing or of another type, but for those LISTED below

REFERENCE and OTHER are HTTP_PORT:AMQP_PORT on this machine, with guest/guest. `fields` needs pika. Everything made
lives in the vhost `compare-http` or has a name that begins with `cmp-`, and is deleted afterwards; other users of the
brokers disturb lists of everything.
"""

import base64
import json
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

VHOST = "compare-http"
ALL = {"configure": ".*", "write": ".*", "read": ".*"}


class Broker:
    def __init__(self, ports):
        http, amqp = ports.split(":")
        self.base, self.amqp = f"http://127.0.0.1:{http}/api/", int(amqp)

    def call(self, method, path, body=None, user="guest:guest"):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {
            "Authorization": "Basic " + base64.b64encode(user.encode()).decode(),
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(self.base + path, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, text.decode(errors="replace")


def requests():
    """(method, path, body); {v} is the vhost."""
    get, put, post, delete = "GET", "PUT", "POST", "DELETE"
    publish = {"properties": {}, "routing_key": "q1", "payload": "hi", "payload_encoding": "string"}
    got = {"count": 5, "ackmode": "ack_requeue_true", "encoding": "auto"}
    properties = {
        "delivery_mode": 2, "content_type": "a", "headers": {"l": [1, {"k": "v"}], "b": True, "f": 1.5},
        "timestamp": 5, "priority": 3, "expiration": "60000", "message_id": "m", "user_id": "guest", "type": "t",
        "app_id": "a", "correlation_id": "c", "reply_to": "r", "content_encoding": "gzip",
    }
    policy = {"pattern": "^a", "definition": {"max-length": 5}, "priority": 1, "apply-to": "queues"}
    topic = {"exchange": "amq.topic", "write": "a", "read": "b"}
    yield from [(put, "queues/{v}/q2", body) for body in (b"{bad", [], b"", {"durable": "maybe"}, {"durable": "false"})]
    yield from [
        (put, "queues/{v}/q1", {"durable": True, "arguments": {"x-max-length": 10}}),
        (put, "queues/{v}/q2", {"arguments": {"x-message-ttl": "a"}}),
        (put, "queues/{v}/q3", {"arguments": {"x-message-ttl": "a"}}),
        (put, "queues/{v}/q1", {"durable": False}),
        (put, "queues/nope/q1", {}),
        (put, "queues/{v}/amq.x", {}),
        (put, "exchanges/{v}/x1", {"type": "magic"}),
        (put, "exchanges/{v}/x1", {}),
        (put, "exchanges/{v}/x1", {"type": "topic"}),
        (put, "exchanges/{v}/x2", {"type": "fanout", "durable": True}),
        (delete, "exchanges/{v}/nope", None),
        (delete, "exchanges/{v}/amq.direct", None),
        (delete, "exchanges/{v}/amq.default", None),
        (delete, "queues/{v}/nope", None),
        (post, "bindings/{v}/e/x1/q/q1", {}),
        (post, "bindings/{v}/e/x1/q/nope", {}),
        (post, "bindings/{v}/e/amq.default/q/q1", {}),
        (get, "bindings/{v}/e/x1/q/q1/~", None),
        (get, "bindings/{v}/e/x1/q/nope", None),
        (delete, "bindings/{v}/e/x1/q/q1/nope", None),
        (delete, "bindings/{v}/e/x1/q/q1/~", None),
        (post, "bindings/{v}/e/x1/e/x2", {"routing_key": "k"}),
        (get, "bindings/{v}/e/x1/e/x2", None),
        (post, "exchanges/{v}/nope/publish", publish),
        (post, "exchanges/{v}/x1/publish", {"routing_key": "q1"}),
        (post, "exchanges/{v}/x1/publish", publish | {"properties": {"delivery_mode": "x"}}),
        (post, "exchanges/{v}/x1/publish", publish | {"properties": {"nope": 1}}),
        (post, "exchanges/{v}/x1/publish", publish | {"payload_encoding": "str"}),
        (post, "exchanges/{v}/x1/publish", publish | {"payload_encoding": "base64", "payload": "###"}),
        (post, "exchanges/{v}/amq.default/publish", publish | {"properties": properties}),
        (post, "exchanges/{v}/amq.default/publish", publish | {"properties": {"user_id": "x"}}),
        (post, "exchanges/{v}/amq.default/publish", publish | {"properties": {"expiration": "x"}}),
        (post, "queues/{v}/q1/get", got),
        (post, "queues/{v}/q1/get", got | {"ackmode": "reject_requeue_true", "encoding": "base64", "truncate": 1}),
        (post, "queues/{v}/q1/get", got | {"ackmode": "zzz"}),
        (post, "queues/{v}/q1/get", {"count": 5, "encoding": "auto"}),
        (post, "queues/{v}/q1/get", got | {"count": "x"}),
        (post, "queues/{v}/q1/get", got | {"encoding": "zz"}),
        (post, "queues/{v}/nope/get", got),
        (post, "queues/{v}/q1/get", got | {"ackmode": "ack_requeue_false"}),
        (delete, "queues/{v}/q1/contents", None),
        (delete, "queues/{v}/nope/contents", None),
        (post, "queues/{v}/nope/actions", {"action": "sync"}),
        (post, "queues/{v}/q1/actions", {"action": "sync"}),
        (post, "queues/{v}/q1/actions", {"action": "zz"}),
        (get, "exchanges/{v}?sort=name&sort_reverse=true&columns=name,type", None),
        (get, "queues/{v}?page=1&page_size=10&name=(&use_regex=true", None),
        (get, "queues/{v}?page=1&name=q&columns=name", None),
    ]
    yield from [(get, "queues?" + query, None) for query in ("page=0", "page=99", "page=1&page_size=501", "page=x")]
    yield from [(put, "users/cmp-a", body) for body in (
        {"password": "x"}, {"tags": "management", "password": "x"}, {"tags": ["management"], "password": "x"})]
    yield from [(put, "users/cmp-b", body) for body in (
        {"tags": "", "password": "x", "password_hash": "y"}, {"tags": "", "password_hash": "@@"}, {"tags": "x"})]
    yield from [(get, "users/" + path, None) for path in ("cmp-b", "cmp-a/permissions", "nope/permissions")]
    yield from [
        (post, "users/bulk-delete", {"users": ["cmp-b"]}),
        (delete, "users/nope", None),
        (put, "permissions/{v}/cmp-a", {"configure": ".*", "write": ".*"}),
        (put, "permissions/{v}/nope", ALL),
        (put, "permissions/nope/cmp-a", ALL),
        (put, "permissions/{v}/cmp-a", ALL | {"configure": ""}),
        (put, "permissions/{v}/cmp-a", ALL | {"configure": ""}),
        (get, "permissions/{v}/cmp-a", None),
        (get, "permissions/{v}/nope", None),
        (delete, "permissions/{v}/nope", None),
        (put, "topic-permissions/{v}/cmp-a", topic),
        (get, "topic-permissions/{v}/cmp-a", None),
        (get, "topic-permissions/{v}/cmp-a/amq.topic", None),
        (delete, "topic-permissions/{v}/cmp-a/amq.topic", None),
        (delete, "topic-permissions/{v}/cmp-a", None),
        (put, "topic-permissions/{v}/cmp-a", {"exchange": "amq.topic", "write": "a"}),
        (put, "vhosts/cmp-v", {"description": "d", "tags": "a,b", "default_queue_type": "quorum", "tracing": True}),
        (put, "vhosts/cmp-v", b""),
        (post, "vhosts/cmp-v/deletion/protection", None),
        (delete, "vhosts/cmp-v", None),
        (delete, "vhosts/cmp-v/deletion/protection", None),
        (put, "vhosts/cmp-v", {"default_queue_type": "zzz"}),
        (delete, "vhosts/cmp-v", None),
        (delete, "vhosts/cmp-v", None),
        (put, "policies/{v}/p", policy),
        (get, "policies/{v}/p", None),
        (get, "policies/{v}", None),
        (put, "policies/{v}/p2", {"pattern": "^a"}),
        (put, "policies/{v}/p2", {"pattern": "^a", "definition": {"zz": 1}}),
        (put, "policies/{v}/p2", {"pattern": 5, "definition": {"max-length": 1}}),
        (get, "policies/{v}/nope", None),
        (delete, "policies/{v}/nope", None),
        (delete, "policies/{v}/p", None),
        (put, "operator-policies/{v}/p", policy),
        (get, "operator-policies/{v}/p", None),
        (put, "operator-policies/{v}/p", policy),
        (delete, "operator-policies/{v}/p", None),
        (put, "operator-policies/{v}/p", policy | {"definition": {"alternate-exchange": "x"}}),
        (put, "parameters/zz/{v}/p", {"value": 1}),
        (put, "parameters/vhost-limits/{v}/limits", {"value": {"max-queues": 100}}),
        (get, "parameters/vhost-limits/{v}/limits", None),
        (get, "parameters/vhost-limits/{v}", None),
        (put, "parameters/vhost-limits/{v}/limits", {}),
        (delete, "parameters/vhost-limits/{v}/limits", None),
        (get, "parameters/nope", None),
        (delete, "parameters/vhost-limits/{v}/limits", None),
        (put, "global-parameters/cmp-g", {"value": {"a": 1}}),
        (put, "global-parameters/cmp-g", {"value": {"a": 1}}),
        (get, "global-parameters/cmp-g", None),
        (put, "global-parameters/cmp-g", {}),
        (delete, "global-parameters/cmp-g", None),
        (delete, "global-parameters/cmp-g", None),
        (put, "vhost-limits/{v}/max-queues", {"value": 7}),
        (get, "vhost-limits/{v}", None),
        (get, "vhost-limits/nope", None),
        (put, "vhost-limits/{v}/zz", {"value": 7}),
        (put, "vhost-limits/{v}/max-queues", {"value": "x"}),
        (put, "vhost-limits/{v}/max-queues", {}),
        (delete, "vhost-limits/{v}/max-queues", None),
        (get, "vhost-limits/{v}", None),
        (put, "user-limits/cmp-a/max-channels", {"value": 7}),
        (get, "user-limits/cmp-a", None),
        (get, "user-limits/nope", None),
        (put, "user-limits/cmp-a/zz", {"value": 7}),
        (put, "user-limits/cmp-a/max-channels", {"value": "x"}),
        (put, "user-limits/nope/max-channels", {"value": 7}),
        (delete, "user-limits/cmp-a/max-channels", None),
        (post, "definitions", b"{bad"),
        (post, "definitions", []),
        (post, "definitions", {}),
        (post, "definitions", {"queues": [{"name": "a", "vhost": "nope", "durable": True, "auto_delete": False,
                                           "arguments": {}}]}),
        (post, "definitions/{v}", {"queues": [{"name": "d", "durable": True, "auto_delete": False, "arguments": {}}]}),
        (post, "definitions/nope", {}),
        (get, "definitions/nope", None),
        (put, "cluster-name", {}),
        (post, "rebalance/queues", None),
        (delete, "connections/nope", None),
        (delete, "connections/username/nope", None),
        (post, "whoami", None),
    ]
    for path in (
        "aliveness-test/nope", "aliveness-test/{v}", "health/checks/certificate-expiration/1/zz",
        "health/checks/certificate-expiration/x/weeks", "health/checks/certificate-expiration/1/weeks",
        "health/checks/port-listener/x", "health/checks/zz", "channels/nope", "connections/nope",
        "connections/username/nope", "nodes/nope", "nosuch", "consumers/nope", "vhosts/nope/connections",
        "exchanges/{v}/x2/bindings/destination", "exchanges/{v}/nope", "exchanges/{v}/nope/bindings/source",
        "queues/{v}/nope/bindings", "auth/attempts/nope", "version", "extensions",
    ):
        yield (get, path, None)


USERS = {"cmp-a": "management", "cmp-p": "policymaker", "cmp-m": "monitoring", "cmp-n": "", "cmp-adm": "administrator"}
READ = (
    "whoami overview nodes cluster-name extensions users permissions topic-permissions vhosts vhosts/{v} "
    "vhosts/{v}/permissions queues queues/{v} queues/{v}/q1 queues/%2F exchanges/{v} bindings/{v} connections channels "
    "consumers consumers/%2F policies policies/{v} policies/{v}/x operator-policies operator-policies/{v}/x parameters "
    "global-parameters global-parameters/x vhost-limits vhost-limits/{v} user-limits user-limits/cmp-a definitions "
    "definitions/{v} feature-flags deprecated-features aliveness-test/{v} aliveness-test/%2F health/checks/alarms "
    "healthchecks/node auth/hash_password/x auth/attempts/x users/cmp-a users/nope connections/username/guest "
    "connections/username/cmp-a vhosts/{v}/connections nodes/x/memory version"
).split()
WRITE = [
    ("PUT", "queues/{v}/z", {}), ("PUT", "queues/%2F/z", {}), ("PUT", "exchanges/{v}/z", {}),
    ("PUT", "policies/{v}/z", {"pattern": "zz", "definition": {"max-length": 1}}),
    ("PUT", "operator-policies/{v}/z", {"pattern": "zz", "definition": {"max-length": 1}}),
    ("PUT", "users/cmp-z", {"tags": ""}), ("PUT", "permissions/{v}/cmp-z", ALL), ("PUT", "vhosts/cmp-z", {}),
    ("PUT", "global-parameters/cmp-z", {"value": 1}), ("PUT", "vhost-limits/{v}/max-queues", {"value": 7}),
    ("PUT", "user-limits/cmp-a/max-channels", {"value": 7}), ("PUT", "cluster-name", {"x": 1}),
    ("POST", "definitions", {}), ("POST", "definitions/{v}", {}),
    ("POST", "bindings/{v}/e/amq.topic/q/q1", {"routing_key": "z"}),
    ("POST", "exchanges/{v}/amq.topic/publish",
     {"properties": {}, "routing_key": "zz", "payload": "", "payload_encoding": "string"}),
    ("POST", "queues/{v}/q1/get", {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}),
    ("DELETE", "queues/{v}/q1/contents", None), ("POST", "rebalance/queues", None), ("DELETE", "vhosts/cmp-z", None),
    ("DELETE", "users/cmp-z", None), ("DELETE", "exchanges/{v}/z", None), ("DELETE", "queues/{v}/z", None),
    ("DELETE", "policies/{v}/z", None), ("DELETE", "operator-policies/{v}/z", None),
    ("POST", "users/bulk-delete", {"users": []}), ("DELETE", "global-parameters/cmp-z", None),
    ("DELETE", "user-limits/cmp-a/max-channels", None), ("DELETE", "vhost-limits/{v}/max-queues", None),
    ("POST", "vhosts/{v}/deletion/protection", None), ("DELETE", "vhosts/{v}/deletion/protection", None),
]


def clean(broker):
    broker.call("DELETE", f"vhosts/{VHOST}/deletion/protection")
    for vhost in (VHOST, "cmp-v", "cmp-z"):
        broker.call("DELETE", "vhosts/" + vhost)
    for user in [*USERS, "cmp-b", "cmp-z", "cmp-u"]:
        broker.call("DELETE", "users/" + user)
    for name in ("cmp-g", "cmp-z"):
        broker.call("DELETE", "global-parameters/" + name)


def prepare(broker):
    clean(broker)
    broker.call("PUT", "vhosts/" + VHOST, {})
    broker.call("PUT", f"permissions/{VHOST}/guest", ALL)


def compare_requests(reference, other):
    made = different = 0

    def step(method, path, body, user, whole):
        nonlocal made, different
        path = path.replace("{v}", VHOST)
        (status, said), (status_other, said_other) = (b.call(method, path, body, user) for b in (reference, other))
        is_error = isinstance(said, dict) and isinstance(said.get("error"), str)
        made += 1
        if status == status_other and (said == said_other or not (whole or is_error)):
            return
        different += 1
        print(f"{user.split(':')[0]} {method} {path} {body if body is not None else ''}")
        print(f"  {status} {json.dumps(said)[:300]}\n  {status_other} {json.dumps(said_other)[:300]}")

    for broker in (reference, other):
        prepare(broker)
    for request in requests():
        step(*request, "guest:guest", True)
    for broker in (reference, other):
        for user, tags in USERS.items():
            broker.call("PUT", "users/" + user, {"tags": tags, "password": "x"})
        broker.call("PUT", f"permissions/{VHOST}/cmp-p", ALL)
    for user in USERS:
        for path in READ:
            step("GET", path, None, user + ":x", False)
        for request in WRITE:
            step(*request, user + ":x", False)
    for broker in (reference, other):
        clean(broker)
    print(f"{made} requests, {different} differ")


# What is inside is the users' own, or depends on the machine.
OPAQUE = ("client_properties", "arguments", "open_files", "cluster_state", "messages_by_priority", "definition",
          "effective_policy_definition", ".memory", "socket_opts")
AGE = "lengths_age=60&lengths_incr=5&msg_rates_age=60&msg_rates_incr=5&data_rates_age=60&data_rates_incr=5"
PATHS = (
    "overview overview?" + AGE + " whoami version nodes nodes/{node} nodes/{node}?memory=true&binary=true "
    "nodes/{node}?node_stats_age=60&node_stats_incr=5 nodes/{node}/memory nodes/{node}/memory/relative "
    "nodes/{node}/memory/ets cluster-name extensions feature-flags deprecated-features deprecated-features/used "
    "config/effective definitions definitions/{v} all-configuration "
    "vhosts vhosts/{v} vhosts/{v}?" + AGE + " vhosts/{v}/permissions vhosts/{v}/topic-permissions vhosts/{v}/connections "
    "vhosts/{v}/channels users users/cmp-u users/without-permissions users/cmp-u/permissions "
    "users/cmp-u/topic-permissions users/guest/queues user-limits user-limits/cmp-u permissions permissions/{v}/guest "
    "topic-permissions topic-permissions/{v}/cmp-u topic-permissions/{v}/cmp-u/amq.topic "
    "vhost-limits vhost-limits/{v} policies policies/{v} policies/{v}/p operator-policies operator-policies/{v} "
    "operator-policies/{v}/op parameters parameters/vhost-limits parameters/vhost-limits/{v} "
    "parameters/vhost-limits/{v}/limits global-parameters global-parameters/cmp-g "
    "queues queues/{v} queues/{v}/live queues/{v}/live?" + AGE + " queues/{v}/qq queues/{v}/qq?" + AGE + " "
    "queues/{v}/sac queues/{v}/excl queues/detailed queues?page=1&page_size=2 queues/{v}?disable_stats=true "
    "queues/{v}?disable_stats=true&enable_queue_totals=true queues/{v}/live/bindings queues/quorum/{v}/qq/status "
    "exchanges exchanges/{v} exchanges/{v}/x1 exchanges/{v}/x1?" + AGE + " exchanges/{v}/amq.default "
    "exchanges/{v}/x1/bindings/source exchanges/{v}/x1/bindings/destination "
    "bindings bindings/{v} bindings/{v}/e/amq.direct/e/x1 bindings/{v}/e/amq.direct/e/x1/k bindings/{v}/e/x1/q/sac "
    "bindings/{v}/e/x1/q/sac/~ consumers consumers/{v} "
    "connections connections/{conn} connections/{conn}?" + AGE + " connections/{conn}/channels "
    "connections/{conn}/sessions connections/username/guest channels channels/{conn}%20(1) "
    "channels/{conn}%20(1)?" + AGE + " "
    "health/checks/alarms health/checks/local-alarms health/checks/virtual-hosts "
    "health/checks/node-is-quorum-critical health/checks/metadata-store/initialized "
    "health/checks/metadata-store/initialized/with-data health/checks/is-in-service "
    "health/checks/below-node-connection-limit health/checks/ready-to-serve-clients "
    "health/checks/reached-target-cluster-size health/checks/certificate-expiration/1/weeks "
    "health/checks/quorum-queues-without-elected-leaders/all-vhosts "
    "health/checks/quorum-queues-without-elected-leaders/all-vhosts/pattern/x "
    "health/checks/quorum-queues-without-elected-leaders/vhost/{v} "
    "health/checks/quorum-queues-without-elected-leaders/vhost/{v}/pattern/x health/checks/port-listener/{amqp} "
    "health/checks/port-listener/1 health/checks/protocol-listener/amqp health/checks/protocol-listener/mqtt "
    "aliveness-test/{v} healthchecks/node healthchecks/node/{node} auth auth/attempts/{node} "
    "auth/attempts/{node}/source auth/hash_password/x"
).split()


# Fields that are otherwise on purpose, and why: `path: field`. compat/DIFFERENCES.md tells of them.
LISTED = {
    r"^nodes.*config_files\[\]": "the broker that is compared has no file of configuration",
    r"^nodes/.*/memory/ets: ": "there are no tables of Erlang's",
    r"^feature-flags: .*callbacks\[\]": "flags have no callbacks",
    r"^(definitions|all-configuration).*default_queue_type": "only where it was set",
    r"^(users/guest/)?queues/quorum/": "a queue has no Raft log of its own",
    r"^queues.*disable_stats.*policy": "null where there is none",
}


def is_listed(line):
    return any(re.search(pattern, line) for pattern in LISTED)


def kind(value):
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "list", dict: "object"}
    return names.get(type(value), "null")


def walk(value, path, found):
    found.setdefault(path, set()).add(kind(value))
    if path.endswith(OPAQUE):
        return
    if isinstance(value, dict):
        for key, inner in value.items():
            walk(inner, f"{path}.{key}", found)
    elif isinstance(value, list):
        for inner in value:
            walk(inner, path + "[]", found)


def populate(broker):
    import pika

    prepare(broker)
    broker.call("PUT", f"policies/{VHOST}/p", {"pattern": "^live", "definition": {"max-length": 50}})
    broker.call("PUT", f"operator-policies/{VHOST}/op", {"pattern": "^live", "definition": {"max-length": 60}})
    broker.call("PUT", f"vhost-limits/{VHOST}/max-queues", {"value": 70})
    broker.call("PUT", "users/cmp-u", {"tags": "x", "password": "y"})
    broker.call("PUT", f"topic-permissions/{VHOST}/cmp-u", {"exchange": "amq.topic", "write": "a", "read": "b"})
    broker.call("PUT", "user-limits/cmp-u/max-channels", {"value": 7})
    broker.call("PUT", "global-parameters/cmp-g", {"value": 1})
    parameters = pika.ConnectionParameters(
        port=broker.amqp, virtual_host=VHOST, client_properties={"connection_name": "compare"})
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.queue_declare("live", durable=True)
    channel.queue_declare("qq", durable=True, arguments={"x-queue-type": "quorum"})
    channel.queue_declare("sac", arguments={"x-single-active-consumer": True})
    channel.queue_declare("excl", exclusive=True)
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=3)
    channel.queue_bind("live", "amq.topic", "a.#", {"x": 1})
    channel.exchange_declare("x1", "fanout", durable=True)
    channel.exchange_bind("x1", "amq.direct", "k")
    channel.queue_bind("sac", "x1")
    channel.basic_publish("x1", "", b"x")
    for queue in ("live", "qq"):
        for _ in range(10):
            channel.basic_publish("", queue, b"x" * 10, pika.BasicProperties(delivery_mode=2))
    for queue in ("live", "sac"):
        channel.basic_consume(queue, lambda *_: None)
    method, _, _ = channel.basic_get("live")
    channel.basic_ack(method.delivery_tag)
    channel.basic_get("live", auto_ack=True)
    return connection


def fields_of(broker):
    """By path: the status, and the types of each field."""
    node = broker.call("GET", "nodes")[1][0]["name"]
    own = [c["name"] for c in broker.call("GET", "connections")[1] if c.get("vhost") == VHOST]
    fill = {"{v}": VHOST, "{node}": node, "{amqp}": str(broker.amqp), "{conn}": urllib.parse.quote(own[0], safe="")}
    found = {}
    for path in PATHS:
        asked = path
        for name, value in fill.items():
            asked = asked.replace(name, value)
        status, value = broker.call("GET", asked)
        found[path] = (status, {})
        walk(value, "", found[path][1])
    return found


def compare_fields(reference, other):
    connections = [populate(broker) for broker in (reference, other)]
    # RabbitMQ's statistics come every five seconds.
    until = time.time() + 11
    while time.time() < until:
        for connection in connections:
            connection.process_data_events(0.2)
    wanted, had = fields_of(reference), fields_of(other)
    count = listed = 0
    for path in PATHS:
        (status, fields), (status_other, fields_other) = wanted[path], had[path]
        missing = sorted(field for field in fields if field not in fields_other)
        missing = [m for m in missing if not any(m != top and m.startswith((top + ".", top + "[")) for top in missing)]
        types = [f"{f}: {fields[f]} but {fields_other[f]}" for f in fields if f in fields_other and not fields_other[f] <= fields[f]]
        lines = [f"missing {field}" for field in missing] + types
        lines += [f"status {status} but {status_other}"] if status != status_other else []
        told = [line for line in lines if not is_listed(f"{path}: {line}")]
        count, listed = count + len(told), listed + len(lines) - len(told)
        if told:
            print("\n  ".join([path, *told]))
    print(f"{len(PATHS)} paths, {count} fields missing or of another type, {listed} more that are listed")
    for connection in connections:
        connection.close()
    for broker in (reference, other):
        clean(broker)


if __name__ == "__main__":
    modes = {"requests": compare_requests, "fields": compare_fields}
    if len(sys.argv) != 4 or sys.argv[1] not in modes:
        sys.exit(__doc__)
    modes[sys.argv[1]](Broker(sys.argv[2]), Broker(sys.argv[3]))
