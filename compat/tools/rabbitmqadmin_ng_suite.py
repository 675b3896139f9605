"""rabbitmqadmin v2, RabbitMQ's tool on the HTTP API: its commands, one after another, each as a user would type it."""

import json
import subprocess
import sys

from api import Api, harness, skip_without_http

PROGRAM = sys.argv[1]
VERSION = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
NAMES = ("ng_lists", "ng_objects", "ng_messages", "ng_users", "ng_policies", "ng_definitions", "ng_health", "ng_nodes", "ng_errors")

skip_without_http("rabbitmqadmin-ng", VERSION, NAMES)
suite = harness.Suite("rabbitmqadmin-ng", VERSION)
api = Api()


def run(line, *words, vhost=None):
    login = ["-H", api.host, "-P", str(api.port), "-u", api.user, "-p", api.password, "-V", vhost or api.vhost]
    return subprocess.run([PROGRAM, *login, *line.split(), *words], capture_output=True, text=True)


def admin(line, *words, vhost=None):
    """What it prints, if all is well."""
    done = run(line, *words, vhost=vhost)
    harness.check(done.returncode == 0, f"{line} {words}: {done.stdout} {done.stderr}")
    return done.stdout


@suite.scenario
def ng_lists():
    for what in ("queues", "vhosts", "nodes", "users", "connections", "channels", "exchanges", "bindings", "consumers",
                 "permissions", "policies", "operator_policies", "feature_flags", "deprecated_features", "user_limits",
                 "vhost_limits"):
        admin(f"list {what}")
    harness.check("RabbitMQ" in admin("show overview"), "an overview")


@suite.scenario
def ng_objects():
    queue, exchange = suite.queue(), suite.exchange()
    admin(f"queues declare --name {queue} --type quorum --durable true")
    admin(f"exchanges declare --name {exchange} --type topic --durable true")
    ends = f"--source {exchange} --destination-type queue --destination {queue} --routing-key a.#"
    admin(f"bindings declare {ends}")
    harness.check(queue in admin("bindings list"), "the binding is listed")
    admin(f"bindings delete {ends}", "--arguments", "{}")
    admin(f"exchanges delete --name {exchange}")
    admin(f"queues purge --name {queue}")
    admin(f"queues delete --name {queue}")
    admin("rebalance queues")


@suite.scenario
def ng_messages():
    queue = suite.queue()
    admin(f"queues declare --name {queue} --type classic --durable true", "--arguments", '{"x-max-length": 5}')
    admin(f"publish message --routing-key {queue} --payload hello", "--properties", '{"delivery_mode": 2}')
    harness.check("hello" in admin(f"get messages --queue {queue} --ack-mode ack_requeue_false"), "the payload")


@suite.scenario
def ng_users():
    vhost, user = suite.name("v"), suite.name("u")
    admin(f"vhosts declare --name {vhost} --default-queue-type quorum --description d")
    try:
        hashed = admin("passwords salt_and_hash secret").split()
        admin(f"users declare --name {user} --password secret --tags management")
        admin(f"permissions declare --user {user} --configure ^a --write .* --read .*", vhost=vhost)
        admin("vhost_limits declare --name max-queues --value 50", vhost=vhost)
        admin(f"user_limits declare --user {user} --name max-connections --value 5")
        harness.check(user in admin("user_limits list") and hashed, "the limit is listed")
        admin("vhost_limits delete --name max-queues", vhost=vhost)
        admin(f"permissions delete --user {user}", vhost=vhost)
        admin(f"users delete --name {user}")
        admin(f"vhosts enable_deletion_protection --name {vhost}")
        harness.check(run(f"vhosts delete --name {vhost}").returncode != 0, "the vhost is protected")
        admin(f"vhosts disable_deletion_protection --name {vhost}")
    finally:
        admin(f"vhosts delete --name {vhost}")


@suite.scenario
def ng_policies():
    name = suite.name("p")
    for kind in ("policies", "operator_policies"):
        admin(f"{kind} declare --name {name} --pattern ^{name} --apply-to queues --priority 1", "--definition", '{"max-length": 5}')
        harness.check(name in admin(f"{kind} list"), kind)
        admin(f"{kind} delete --name {name}")
    admin(f"global_parameters set --name {name}", "--value", '{"a": 1}')
    admin(f"global_parameters delete --name {name}")


@suite.scenario
def ng_definitions():
    queue = suite.queue()
    admin(f"queues declare --name {queue} --type classic --durable true")
    exported = json.loads(admin("definitions export --file -"))
    harness.check(any(one["name"] == queue for one in exported["queues"]), "the queue is exported")
    admin("definitions export --file - --transformations drop_empty_policies,strip_cmq_keys_from_policies,obfuscate_usernames")


@suite.scenario
def ng_health():
    for check in ("local_alarms", "cluster_wide_alarms", "node_is_quorum_critical", "protocol_listener --protocol amqp"):
        admin(f"health_check {check}")
    harness.check(run("health_check port_listener --port 1").returncode != 0, "nobody listens on port 1")


@suite.scenario
def ng_nodes():
    node = next(word for word in admin("nodes list").split() if "@" in word)
    admin(f"nodes memory_breakdown_in_bytes --node {node}")
    admin(f"nodes memory_breakdown_in_percent --node {node}")
    admin(f"auth_attempts stats --node {node}")
    admin("feature_flags enable_all")
    admin("plugins list_all")


@suite.scenario
def ng_errors():
    name = suite.name("nosuch")
    harness.check("404" in run(f"queues delete --name {name}").stderr, "404")
    admin(f"queues delete --name {name} --idempotently")


def cleanup(queues, exchanges):
    for name in queues:
        admin(f"queues delete --name {name} --idempotently")
    for name in exchanges:
        admin(f"exchanges delete --name {name} --idempotently")


suite.main(cleanup)
