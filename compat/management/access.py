#!/usr/bin/env python3
"""Records what RabbitMQ's management HTTP API refuses to whom.

    access.py HTTP_PORT:AMQP_PORT > access.jsonl

Every endpoint is asked by ten users: without a tag, management, policymaker, monitoring and administrator, each with all
permissions in the vhost `cmp-access` and with none anywhere. A line is a request, what is done before each time, and the
ten statuses; `tests/http_access.rs` plays the lines against Lepus. {v} is the vhost, {node} the node, {connection} a
connection of guest to the vhost. Needs pika, and a broker on this machine with guest/guest.
"""

import base64
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

VHOST = "cmp-access"
TAGS = ("", "management", "policymaker", "monitoring", "administrator")
USERS = [f"cmp-{place}-{tag or 'none'}" for tag in TAGS for place in ("in", "out")]
ALL = {"configure": ".*", "write": ".*", "read": ".*"}

QUEUE, EXCHANGE = ["PUT", "queues/{v}/q", {}], ["PUT", "exchanges/{v}/x", {"type": "topic"}]
POLICY = {"pattern": "^zz", "definition": {"max-length": 5}}
PARAMETER = {"value": {"max-queues": 70}}
MESSAGE = {"properties": {}, "routing_key": "nowhere", "payload": "", "payload_encoding": "string"}
GOT = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
BOUND = ["POST", "bindings/{v}/e/x/q/q", {"routing_key": "k"}]

READ = """
whoami overview cluster-name nodes nodes/{node} nodes/{node}/memory nodes/{node}/memory/relative nodes/nope extensions
feature-flags deprecated-features deprecated-features/used version config/effective
definitions definitions/{v} definitions/nope all-configuration
vhosts vhosts/{v} vhosts/nope vhosts/{v}/permissions vhosts/{v}/topic-permissions vhosts/{v}/connections
vhosts/nope/connections vhosts/{v}/channels
users users/cmp-u users/nope users/without-permissions users/cmp-u/permissions users/cmp-u/topic-permissions
users/cmp-u/queues users/nope/queues
permissions permissions/{v}/cmp-u permissions/nope/cmp-u topic-permissions topic-permissions/{v}/cmp-u
topic-permissions/{v}/cmp-u/amq.topic
user-limits user-limits/cmp-u vhost-limits vhost-limits/{v} vhost-limits/nope
policies policies/{v} policies/nope policies/{v}/p policies/{v}/nope
operator-policies operator-policies/{v} operator-policies/{v}/o operator-policies/{v}/nope
parameters parameters/vhost-limits parameters/vhost-limits/{v} parameters/vhost-limits/{v}/limits
global-parameters global-parameters/cmp-g global-parameters/nope
exchanges exchanges/{v} exchanges/nope exchanges/{v}/x exchanges/{v}/nope exchanges/{v}/x/bindings/source
exchanges/{v}/x/bindings/destination
queues queues/detailed queues/{v} queues/nope queues/{v}/q queues/{v}/nope queues/{v}/q/bindings queues?page=1
queues?disable_stats=true queues?enable_queue_totals=true&disable_stats=true
bindings bindings/{v} bindings/nope bindings/{v}/e/x/q/q bindings/{v}/e/x/q/q/k bindings/{v}/e/x/e/y
connections connections/{connection} connections/{connection}/channels connections/{connection}/sessions
connections/nope connections/username/guest connections/username/cmp-u
channels channels/{connection}%20(1) channels/nope consumers consumers/{v} consumers/nope
aliveness-test/{v} aliveness-test/nope healthchecks/node healthchecks/node/{node} healthchecks/node/nope
health/checks/alarms health/checks/local-alarms health/checks/virtual-hosts health/checks/node-is-quorum-critical
health/checks/port-listener/1 health/checks/protocol-listener/amqp health/checks/certificate-expiration/1/weeks
health/checks/metadata-store/initialized health/checks/metadata-store/initialized/with-data
health/checks/quorum-queues-without-elected-leaders/all-vhosts
health/checks/quorum-queues-without-elected-leaders/vhost/{v} health/checks/is-in-service
health/checks/below-node-connection-limit health/checks/ready-to-serve-clients
health/checks/reached-target-cluster-size
auth auth/attempts/{node} auth/attempts/{node}/source auth/attempts/nope auth/hash_password/x nosuch
""".split()

# Method, path, body, and what an administrator does before.
WRITE = [
    ("PUT", "cluster-name", {"x": 1}, []),
    ("PUT", "vhosts/cmp-new", {}, [["DELETE", "vhosts/cmp-new"]]),
    ("PUT", "vhosts/{v}", {}, []),
    ("DELETE", "vhosts/cmp-new", None, [["PUT", "vhosts/cmp-new", {}]]),
    ("DELETE", "vhosts/nope", None, []),
    ("POST", "vhosts/{v}/deletion/protection", None, [["DELETE", "vhosts/{v}/deletion/protection"]]),
    ("DELETE", "vhosts/{v}/deletion/protection", None, []),
    ("POST", "vhosts/{v}/start/{node}", None, []),
    ("PUT", "users/cmp-new", {"tags": "", "password": "x"}, [["DELETE", "users/cmp-new"]]),
    ("DELETE", "users/cmp-new", None, [["PUT", "users/cmp-new", {"tags": "", "password": "x"}]]),
    ("POST", "users/bulk-delete", {"users": ["cmp-new"]}, [["PUT", "users/cmp-new", {"tags": "", "password": "x"}]]),
    ("PUT", "permissions/{v}/cmp-u", ALL, []),
    ("DELETE", "permissions/{v}/cmp-u", None, [["PUT", "permissions/{v}/cmp-u", ALL]]),
    ("PUT", "topic-permissions/{v}/cmp-u", {"exchange": "amq.fanout", "write": "", "read": ""}, []),
    ("DELETE", "topic-permissions/{v}/cmp-u/amq.fanout", None,
     [["PUT", "topic-permissions/{v}/cmp-u", {"exchange": "amq.fanout", "write": "", "read": ""}]]),
    ("PUT", "user-limits/cmp-u/max-channels", {"value": 9}, []),
    ("DELETE", "user-limits/cmp-u/max-connections", None, []),
    ("PUT", "vhost-limits/{v}/max-connections", {"value": 1000}, []),
    ("DELETE", "vhost-limits/{v}/max-connections", None, []),
    ("PUT", "policies/{v}/p", POLICY, []),
    ("DELETE", "policies/{v}/d", None, [["PUT", "policies/{v}/d", POLICY]]),
    ("PUT", "operator-policies/{v}/o", POLICY, []),
    ("DELETE", "operator-policies/{v}/d", None, [["PUT", "operator-policies/{v}/d", POLICY]]),
    ("PUT", "parameters/vhost-limits/{v}/limits", PARAMETER, []),
    ("DELETE", "parameters/vhost-limits/{v}/limits", None, [["PUT", "parameters/vhost-limits/{v}/limits", PARAMETER]]),
    ("PUT", "global-parameters/cmp-g", {"value": 1}, []),
    ("DELETE", "global-parameters/cmp-d", None, [["PUT", "global-parameters/cmp-d", {"value": 1}]]),
    ("PUT", "exchanges/{v}/n", {"type": "fanout"}, [["DELETE", "exchanges/{v}/n"]]),
    ("DELETE", "exchanges/{v}/n", None, [["PUT", "exchanges/{v}/n", {"type": "fanout"}]]),
    ("DELETE", "exchanges/{v}/nope", None, []),
    ("POST", "exchanges/{v}/x/publish", MESSAGE, []),
    ("PUT", "queues/{v}/n", {}, [["DELETE", "queues/{v}/n"]]),
    ("PUT", "queues/nope/n", {}, []),
    ("DELETE", "queues/{v}/n", None, [["PUT", "queues/{v}/n", {}]]),
    ("DELETE", "queues/{v}/nope", None, []),
    ("DELETE", "queues/{v}/q/contents", None, []),
    ("POST", "queues/{v}/q/get", GOT, []),
    ("POST", "queues/{v}/q/actions", {"action": "nope"}, []),
    ("POST", "bindings/{v}/e/x/q/q", {"routing_key": "k"}, []),
    ("POST", "bindings/{v}/e/x/e/y", {"routing_key": "k"}, []),
    ("DELETE", "bindings/{v}/e/x/q/q/k", None, [BOUND]),
    ("DELETE", "connections/nope", None, []),
    ("DELETE", "connections/username/cmp-u", None, []),
    ("DELETE", "connections/username/guest", None, []),
    ("DELETE", "connections/{connection}", None, []),
    ("POST", "definitions", {}, []),
    ("POST", "definitions/{v}", {}, []),
    ("DELETE", "reset", None, []),
    ("DELETE", "reset/{node}", None, []),
    ("POST", "rebalance/queues", None, []),
    ("DELETE", "auth/attempts/{node}", None, []),
    ("DELETE", "auth/attempts/{node}/source", None, []),
    ("DELETE", "auth/attempts/nope/source", None, []),
    ("PUT", "feature-flags/quorum_queue/enable", {"name": "quorum_queue"}, []),
    ("PUT", "whoami", {}, []),
    ("POST", "overview", {}, []),
]

# What there is for all of them.
SETUP = [
    ["PUT", "vhosts/{v}", {}],
    ["PUT", "permissions/{v}/guest", ALL],
    ["PUT", "users/cmp-u", {"tags": "", "password": "x"}],
    ["PUT", "permissions/{v}/cmp-u", ALL],
    ["PUT", "topic-permissions/{v}/cmp-u", {"exchange": "amq.topic", "write": "a", "read": "b"}],
    ["PUT", "user-limits/cmp-u/max-channels", {"value": 9}],
    ["PUT", "global-parameters/cmp-g", {"value": 1}],
    QUEUE, EXCHANGE, ["PUT", "exchanges/{v}/y", {"type": "fanout"}], BOUND,
    ["PUT", "policies/{v}/p", POLICY], ["PUT", "operator-policies/{v}/o", POLICY],
    ["PUT", "parameters/vhost-limits/{v}/limits", PARAMETER],
] + [["PUT", f"users/{user}", {"tags": tag, "password": "x"}]
     for tag in TAGS for user in USERS if user.endswith("-" + (tag or "none"))] \
  + [["PUT", f"permissions/{{v}}/{user}", ALL] for user in USERS if "-in-" in user]


class Broker:
    def __init__(self, ports):
        http, amqp = ports.split(":")
        self.base, self.amqp, self.connection = f"http://127.0.0.1:{http}/api/", int(amqp), None
        self.fill = {"{v}": VHOST, "{connection}": "nope"}
        self.fill["{node}"] = self.call("guest:guest", "GET", "nodes")[1][0]["name"]

    def call(self, user, method, path, body=None):
        for name, value in self.fill.items():
            path = path.replace(name, value)
        headers = {"Authorization": "Basic " + base64.b64encode(user.encode()).decode(),
                   "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self.base + path, method=method, data=data, headers=headers)
            with urllib.request.urlopen(request) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read()
        try:
            return status, json.loads(text) if text else None
        except ValueError:
            return status, None

    def connect(self):
        """Until the API knows that there is one, or that it is gone: RabbitMQ's statistics are late."""
        import pika

        own = [c["name"] for c in self.call("guest:guest", "GET", "connections")[1] if c.get("vhost") == VHOST]
        if own:
            return
        parameters = pika.ConnectionParameters(port=self.amqp, virtual_host=VHOST, heartbeat=0)
        self.connection = pika.BlockingConnection(parameters)
        self.connection.channel()
        while not own:
            time.sleep(0.5)
            own = [c["name"] for c in self.call("guest:guest", "GET", "channels")[1] if c.get("vhost") == VHOST]
        self.fill["{connection}"] = urllib.parse.quote(own[0].rsplit(" (", 1)[0], safe="")


def main():
    broker = Broker(sys.argv[1])
    for method, path, *body in SETUP:
        broker.call("guest:guest", method, path, *body)
    print(json.dumps({"users": USERS, "setup": SETUP}))
    for method, path, body, before in [("GET", path, None, []) for path in READ] + WRITE:
        statuses = []
        for user in USERS:
            if "connection" in path:
                broker.connect()
            for step in before:
                broker.call("guest:guest", *step)
            statuses.append(broker.call(user + ":x", method, path, body)[0])
            if method == "DELETE" and "connection" in path and statuses[-1] == 204:
                time.sleep(1)
        print(json.dumps({"method": method, "path": path, "body": body, "before": before, "statuses": statuses}))
    for user in USERS + ["cmp-u", "cmp-new"]:
        broker.call("guest:guest", "DELETE", "users/" + user)
    for vhost in ("{v}", "cmp-new"):
        broker.call("guest:guest", "DELETE", "vhosts/" + vhost)
    for name in ("cmp-g", "cmp-d"):
        broker.call("guest:guest", "DELETE", "global-parameters/" + name)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
