"""Tools that live on the HTTP API: Celery Flower, pyrabbit2, rabbitmq-admin, KEDA's queries, and Prometheus itself."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from importlib.metadata import version

import pika
import requests
from api import Api, eventually, harness, skip_without_http

PROMETHEUS = sys.argv[1]
HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ("flower", "pyrabbit2", "rabbitmq_admin", "keda", "prometheus")

skip_without_http("flower", version("flower"), NAMES)
suite = harness.Suite("flower", version("flower"))
for name in ("pyrabbit2", "rabbitmq-admin"):
    print("client", name, version(name))
api = Api()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Program:
    """A program that runs for as long as a scenario needs it."""

    def __init__(self, words, **options):
        self.process = subprocess.Popen(words, stdout=sys.stderr, stderr=sys.stderr, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def answer(url, **options):
    """JSON from a program that may still be starting; None as long as it is not there."""
    try:
        response = requests.get(url, timeout=5, **options)
    except requests.ConnectionError:
        return None
    return response.json() if response.status_code == 200 else None


def publish(queue, count):
    """Messages into a new queue, and the connection that keeps it busy."""
    connection = pika.BlockingConnection(pika.URLParameters(suite.url))
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    for n in range(count):
        channel.basic_publish("", queue, b"%d" % n)
    return connection, channel


@suite.scenario
def flower():
    """Shows the workers, which tell of themselves by AMQP, and the lengths of queues, which the HTTP API tells."""
    queue = suite.queue()
    environment = {**os.environ, "COMPAT_QUEUE": queue, "FLOWER_UNAUTHENTICATED_API": "true"}
    celery = [sys.executable, "-m", "celery", "-A", "flower_app"]
    port = free_port()
    with Program([*celery, "worker", "--pool=solo", "-n", f"{queue}@compat"], cwd=HERE, env=environment), Program(
        [*celery, "flower", f"--port={port}", f"--broker-api={api.base.replace('//', f'//{api.user}:{api.password}@')}/api/"],
        cwd=HERE, env=environment,
    ):
        base = f"http://127.0.0.1:{port}/api"
        workers = eventually("the worker is shown", lambda: answer(f"{base}/workers", params={"refresh": "1"}))
        harness.equal(list(workers), [f"{queue}@compat"], "the workers")
        lengths = eventually("queues are shown", lambda: answer(f"{base}/queues/length"))
        shown = [(one["name"], one["messages"]) for one in lengths["active_queues"]]
        harness.equal(shown, [(queue, 0)], "the lengths")


@suite.scenario
def pyrabbit2():
    from pyrabbit2.api import Client
    from pyrabbit2.http import HTTPError

    client = Client(f"{api.host}:{api.port}", api.user, api.password)
    vhost, queue, exchange = suite.name("v"), "q 1", "x"
    harness.check(client.is_alive(), "alive")
    harness.equal(client.get_whoami()["name"], api.user, "who I am")
    client.create_vhost(vhost)
    try:
        client.set_vhost_permissions(vhost, api.user, ".*", ".*", ".*")
        client.create_exchange(vhost, exchange, "topic")
        client.create_queue(vhost, queue, durable=True)
        client.create_binding(vhost, exchange, queue, "a.#")
        harness.equal([b["routing_key"] for b in client.get_queue_bindings(vhost, queue)], [queue, "a.#"], "bindings")
        harness.check(client.publish(vhost, exchange, "a.b", "hello"), "routed")
        harness.equal(client.get_messages(vhost, queue, count=1, requeue=True)[0]["payload"], "hello", "the payload")
        eventually("the message is counted", lambda: client.get_queue_depth(vhost, queue) == 1)
        harness.equal([q["name"] for q in client.get_queues(vhost)], [queue], "queues")
        client.purge_queue(vhost, queue)
        client.delete_binding(vhost, exchange, queue, "a.%23")
        client.delete_queue(vhost, queue)
        client.delete_exchange(vhost, exchange)
        try:
            client.get_queue(vhost, queue)
            raise AssertionError("a queue that is gone is shown")
        except HTTPError as error:
            harness.equal(error.status, 404, "the status")
    finally:
        client.delete_vhost(vhost)


@suite.scenario
def rabbitmq_admin():
    from rabbitmq_admin import AdminAPI

    client = AdminAPI(url=api.base, auth=api.login)
    vhost, user = suite.name("v"), suite.name("u")
    harness.check(client.overview()["rabbitmq_version"], "an overview")
    harness.check(client.list_nodes()[0]["running"], "a node")
    client.create_vhost(vhost)
    try:
        client.create_user(user, "secret", tags="management")
        client.create_user_permission(user, vhost, configure="^a", write="", read=".*")
        harness.equal(client.get_user_permission(vhost, user)["configure"], "^a", "the permission")
        client.create_policy_for_vhost(vhost, "p", {"max-length": 5}, pattern="^q", apply_to="queues")
        harness.equal(client.get_policy_for_vhost(vhost, "p")["definition"], {"max-length": 5}, "the policy")
        client.create_exchange_for_vhost("x", vhost, {"type": "fanout", "auto_delete": False, "durable": True})
        harness.equal(client.get_exchange_for_vhost("x", vhost)["type"], "fanout", "the exchange")
        harness.check(any(row["name"] == user for row in client.list_users()), "the user is listed")
        harness.check("queues" in client.get_definitions(), "definitions")
        client.delete_exchange_for_vhost("x", vhost)
        client.delete_policy_for_vhost(vhost, "p")
        client.delete_user_permission(user, vhost)
        client.delete_user(user)
    finally:
        client.delete_vhost(vhost)


@suite.scenario
def keda():
    """The two requests of its RabbitMQ scaler, and what it reads of the answers."""
    queue = suite.queue()
    connection, channel = publish(queue, 7)
    vhost = requests.utils.quote(api.vhost, safe="")

    def ask(path):
        response = requests.get(f"{api.base}/api/queues/{path}", auth=api.login, timeout=5)
        harness.equal(response.status_code, 200, path)
        return response.json()

    one = eventually("the messages are counted", lambda: (q := ask(f"{vhost}/{queue}")) and q["messages"] == 7 and q)
    harness.equal((one["name"], one["messages_unacknowledged"]), (queue, 0), "one queue")

    def rated():
        channel.basic_publish("", queue, b"more")
        connection.process_data_events(0.05)
        stats = ask(f"{vhost}/{queue}").get("message_stats", {})
        # What never happened has no rate, and counts as 0 for the scaler.
        return stats.get("publish_details", {"rate": 0})["rate"] > 0

    eventually("there is a rate of publishes", rated)
    pattern = requests.utils.quote(f"^{queue}$", safe="")
    found = ask(f"{vhost}?page=1&use_regex=true&pagination=false&name={pattern}&page_size=100")
    harness.equal((found["page_count"], [item["name"] for item in found["items"]]), (1, [queue]), "by pattern")
    harness.check(found["items"][0]["messages"] > 7, "its messages")
    none = ask(f"{vhost}?page=1&use_regex=true&pagination=false&name=%5Enosuch%24&page_size=100")
    harness.equal(none["items"], [], "no queue")
    connection.close()


def prometheus():
    """The server itself, scraping; what it says is what RabbitMQ's dashboard asks it."""
    metrics = os.environ["METRICS_URL"]
    queue = suite.queue()
    connection, _ = publish(queue, 3)
    port = free_port()
    target = {"targets": [metrics.split("//")[1]], "labels": {}}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "prometheus.yml")
        with open(path, "w") as file:
            # JSON is YAML.
            json.dump({"scrape_configs": [
                {"job_name": "all", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [target]},
                {"job_name": "each", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [target],
                 "metrics_path": "/metrics/per-object"}]}, file)
        words = [PROMETHEUS, f"--config.file={path}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
        with Program(words):
            def ask(query):
                found = answer(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query})
                return found and found["data"]["result"]

            up = eventually("both are scraped", lambda: (r := ask("up == 1")) and len(r) == 2 and r)
            harness.equal({one["metric"]["job"] for one in up}, {"all", "each"}, "what is scraped")
            # As the panels of the overview: joined with who it is.
            joined = 'sum(rabbitmq_queue_messages_ready{job="all"} * on(instance) group_left(rabbitmq_cluster, rabbitmq_node) ' \
                     'rabbitmq_identity_info{job="all"}) by (rabbitmq_node)'
            eventually("the sum is told", lambda: (r := ask(joined)) and float(r[0]["value"][1]) >= 3)
            own = f'rabbitmq_queue_messages_ready{{job="each", queue="{queue}"}}'
            eventually("the queue is told", lambda: (r := ask(own)) and float(r[0]["value"][1]) == 3)
            rate = 'sum(rate(rabbitmq_global_messages_received_total{job="all"}[60s]))'
            eventually("there is a rate", lambda: ask(rate))
    connection.close()


# A broker elsewhere need not tell where its metrics are.
if os.environ.get("METRICS_URL"):
    suite.scenario(prometheus)


def cleanup(queues, _exchanges):
    connection = pika.BlockingConnection(pika.URLParameters(suite.url))
    for name in queues:
        connection.channel().queue_delete(name)
    connection.close()


suite.main(cleanup)
