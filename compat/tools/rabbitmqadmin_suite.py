"""rabbitmqadmin v1, the script that RabbitMQ's management plugin served until 4.2, with all its verbs."""

import json
import os
import subprocess
import sys
import tempfile

import pika
from api import Api, eventually, harness, skip_without_http

SCRIPT = sys.argv[1]
VERSION = subprocess.run([sys.executable, SCRIPT, "--version"], capture_output=True, text=True, check=True).stdout.split()[-1]
NAMES = (
    "admin_objects",
    "admin_messages",
    "admin_users",
    "admin_policies",
    "admin_formats",
    "admin_export_import",
    "admin_close_connection",
    "admin_errors",
)

skip_without_http("rabbitmqadmin", VERSION, NAMES)
suite = harness.Suite("rabbitmqadmin", VERSION)
api = Api()


def run(*words):
    login = ["-H", api.host, "-P", str(api.port), "-u", api.user, "-p", api.password, "-V", api.vhost]
    return subprocess.run([sys.executable, SCRIPT, *login, *words], capture_output=True, text=True)


def admin(*words):
    """What it prints, if all is well."""
    done = run(*words)
    harness.check(done.returncode == 0, f"{words}: {done.stdout} {done.stderr}")
    return done.stdout


def rows(*words):
    return json.loads(admin("-f", "raw_json", "list", *words))


@suite.scenario
def admin_objects():
    queue, exchange = suite.queue(), suite.exchange()
    harness.equal(admin("declare", "queue", f"name={queue}", "durable=true"), "queue declared\n", "declared")
    admin("declare", "exchange", f"name={exchange}", "type=topic")
    admin("declare", "binding", f"source={exchange}", f"destination={queue}", "routing_key=a.# b")
    harness.check({"name": queue, "durable": True} in rows("queues", "name", "durable"), "the queue is listed")
    harness.check({"name": exchange, "type": "topic"} in rows("exchanges", "name", "type"), "the exchange is listed")
    own = [row for row in rows("bindings", "source", "routing_key", "properties_key") if row["source"] == exchange]
    harness.equal(own[0]["routing_key"], "a.# b", "the key")
    by_name = [f"source={exchange}", "destination_type=queue", f"destination={queue}"]
    admin("delete", "binding", *by_name, f"properties_key={own[0]['properties_key']}")
    harness.check(all(row["source"] != exchange for row in rows("bindings", "source")), "the binding is gone")
    admin("delete", "exchange", f"name={exchange}")
    admin("delete", "queue", f"name={queue}")
    for what in ("users", "vhosts", "nodes", "parameters", "channels", "connections", "consumers", "operator_policies"):
        admin("list", what)
    harness.check("rabbitmq_version" in admin("show", "overview"), "an overview")


@suite.scenario
def admin_messages():
    queue = suite.queue()
    admin("declare", "queue", f"name={queue}", "durable=true", 'arguments={"x-max-length": 5}')
    properties = '{"delivery_mode": 2, "headers": {"a": 1}}'
    said = admin("publish", "routing_key=" + queue, "payload=hello ü", f"properties={properties}")
    harness.equal(said, "Message published\n", "published")
    said = admin("publish", "routing_key=" + suite.name("nowhere"), "payload=x")
    harness.equal(said, "Message published but NOT routed\n", "not routed")
    got = json.loads(admin("-f", "raw_json", "get", f"queue={queue}", "ackmode=ack_requeue_true"))
    harness.equal(got[0]["payload"], "hello ü", "the payload")
    harness.equal(got[0]["properties"]["headers"], {"a": 1}, "the headers")
    with tempfile.NamedTemporaryFile() as file:
        admin("get", f"queue={queue}", "ackmode=ack_requeue_true", f"payload_file={file.name}")
        harness.equal(file.read().decode(), "hello ü", "the file")
    admin("purge", "queue", f"name={queue}")
    harness.equal(json.loads(admin("-f", "raw_json", "get", f"queue={queue}")), [], "nothing is left")


@suite.scenario
def admin_users():
    vhost, user = suite.name("v"), suite.name("u")
    admin("declare", "vhost", f"name={vhost}", "tracing=true")
    try:
        admin("declare", "user", f"name={user}", "password=p", "tags=management,odd")
        found = [row for row in rows("users", "name", "tags") if row["name"] == user]
        harness.equal(found[0]["tags"], ["management", "odd"], "the tags")
        admin("declare", "permission", f"vhost={vhost}", f"user={user}", "configure=^a", "write=", "read=.*")
        granted = {"user": user, "vhost": vhost, "configure": "^a", "write": "", "read": ".*"}
        harness.check(granted in rows("permissions"), "the permission is listed")
        admin("declare", "vhost_limit", f"vhost={vhost}", "name=max-queues", "value=5")
        harness.check({"vhost": vhost, "value": {"max-queues": 5}} in rows("vhost_limits"), "the limit is listed")
        admin("delete", "vhost_limit", f"vhost={vhost}", "name=max-queues")
        admin("delete", "permission", f"vhost={vhost}", f"user={user}")
        admin("delete", "user", f"name={user}")
    finally:
        admin("delete", "vhost", f"name={vhost}")


@suite.scenario
def admin_policies():
    name = suite.name("p")
    words = [f"name={name}", f"pattern=^{name}", 'definition={"max-length": 5}', "priority=2", "apply-to=queues"]
    for kind, list_of in (("policy", "policies"), ("operator_policy", "operator_policies")):
        admin("declare", kind, *words)
        found = [row for row in rows(list_of) if row["name"] == name]
        harness.equal((found[0]["definition"], found[0]["priority"]), ({"max-length": 5}, 2), kind)
        admin("delete", kind, f"name={name}")


@suite.scenario
def admin_formats():
    queue = suite.queue()
    admin("declare", "queue", f"name={queue}")
    for style in ("table", "tsv", "kvp", "long", "bash", "pretty_json", "raw_json"):
        harness.check(queue in admin("-f", style, "list", "queues", "name"), style)
    harness.check(admin("-f", "tsv", "-S", "name", "list", "queues", "name").startswith("name\n"), "sorted")
    harness.check(queue in admin("-d", "2", "list", "queues"), "deep")


@suite.scenario
def admin_export_import():
    queue = suite.queue()
    admin("declare", "queue", f"name={queue}", "durable=true")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "definitions.json")
        admin("export", path)
        with open(path) as file:
            exported = json.load(file)
        harness.check(any(row["name"] == queue for row in exported["queues"]), "the queue is exported")
        with open(path, "w") as file:
            json.dump({"queues": [row for row in exported["queues"] if row["name"] == queue]}, file)
        admin("delete", "queue", f"name={queue}")
        admin("import", path)
    harness.check({"name": queue} in rows("queues", "name"), "the queue is imported")


@suite.scenario
def admin_close_connection():
    connection = pika.BlockingConnection(pika.URLParameters(suite.url))
    port = connection._impl._transport._sock.getsockname()[1]
    own = eventually("the connection is listed", lambda: [r for r in rows("connections") if r["peer_port"] == port])
    harness.check(rows("channels") is not None, "channels are listed")
    admin("close", "connection", f"name={own[0]['name']}")
    eventually("it is gone", lambda: all(row["peer_port"] != port for row in rows("connections")))


@suite.scenario
def admin_errors():
    done = run("delete", "queue", f"name={suite.name('nosuch')}")
    harness.check(done.returncode == 1 and "Not found" in done.stderr + done.stdout, f"{done}")
    done = run("declare", "parameter", "component=nosuch", "name=x", "value={}")
    harness.check(done.returncode == 1 and "component nosuch not found" in done.stderr + done.stdout, f"{done}")
    done = run("-p", "wrong", "list", "queues")
    harness.check(done.returncode == 1 and "Access refused" in done.stderr + done.stdout, f"{done}")


def cleanup(queues, exchanges):
    for kind, names in (("queue", queues), ("exchange", exchanges)):
        for name in names:
            run("delete", kind, f"name={name}")


suite.main(cleanup)
