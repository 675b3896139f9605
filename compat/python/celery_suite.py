"""A small Celery application with worker processes: what it asks of a broker beside plain queues.

Results travel by `rpc://`, a reply queue of this process. Celery cannot count a chord's parts there, so the chord has an
application whose results are files.
"""

import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import celery

from harness import Suite, check, equal, eventually

suite = Suite("celery", celery.__version__)
here = pathlib.Path(__file__).parent
results = tempfile.TemporaryDirectory(prefix="compat-celery-")

os.environ["COMPAT_PREFIX"] = suite.prefix
os.environ["COMPAT_BACKEND"] = "rpc://"

from celery import chain, group  # noqa: E402
from celery.exceptions import TaskRevokedError  # noqa: E402
from celery_app import add, app, fail, late, refuse, reverse, started, succeed_on  # noqa: E402

SECONDS_MAX = 15


class Worker:
    """A `celery worker` process, ready when it answers a ping by broadcast."""

    def __init__(self, name, prefix, backend):
        self.name = f"{name}@compat"
        self.environment = {**os.environ, "COMPAT_PREFIX": prefix, "COMPAT_BACKEND": backend}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", self.name, "-Q", f"{prefix}.tasks",
             "--concurrency=2", "--loglevel=INFO"],
            cwd=here, env=self.environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr)

    def ready(self, application):
        def answers():
            check(self.process.poll() is None, f"worker {self.name} runs")
            return self.name in (application.control.inspect(timeout=0.5, destination=[self.name]).ping() or {})

        eventually(answers, f"worker {self.name} answers a ping", seconds_max=25)

    def stop(self):
        """Asks for the warm shutdown; `wait` for the exit code."""
        self.process.terminate()

    def wait(self):
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


workers = {"rpc": Worker("rpc", suite.prefix, "rpc://")}


@suite.scenario
def worker_starts_and_answers_ping():
    workers["rpc"].ready(app)
    # The other scenarios run while it starts.
    workers["files"] = Worker("files", f"{suite.prefix}.files", f"file://{results.name}")


@suite.scenario
def task_result():
    equal(add.delay(2, 3).get(timeout=SECONDS_MAX), 5, "result")
    failed = fail.delay("on purpose")
    try:
        failed.get(timeout=SECONDS_MAX)
        raise AssertionError("the error of a task comes back")
    except ValueError as error:
        equal((str(error), failed.state), ("on purpose", "FAILURE"), "error and state")
    text = "0123456789abcdef" * (64 * 1024)
    check(reverse.delay(text).get(timeout=SECONDS_MAX) == text[::-1], "1 MiB as argument and as result")


@suite.scenario
def hundred_tasks():
    pending = [add.delay(i, i) for i in range(100)]
    equal([result.get(timeout=SECONDS_MAX) for result in pending], [2 * i for i in range(100)], "results")


@suite.scenario
def chain_of_tasks():
    equal(chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=SECONDS_MAX), 10, "result")


@suite.scenario
def group_of_tasks():
    equal(group(add.s(i, 1) for i in range(20)).apply_async().get(timeout=SECONDS_MAX), list(range(1, 21)), "results")


@suite.scenario
def retry():
    equal(succeed_on.delay(3).get(timeout=SECONDS_MAX), 3, "attempts")


@suite.scenario
def eta_countdown():
    start = time.monotonic()
    later = add.apply_async((1, 1), countdown=1.5)
    equal(add.delay(2, 2).get(timeout=SECONDS_MAX), 4, "a task sent after it")
    check(time.monotonic() - start < 1.4, "the later task does not hold up the other")
    equal(later.get(timeout=SECONDS_MAX), 2, "result")
    check(time.monotonic() - start >= 1.4, f"not before its time: {time.monotonic() - start:.2f} s")


@suite.scenario
def acks_late():
    equal(late.delay(7).get(timeout=SECONDS_MAX), [7, False], "result and redelivered")


@suite.scenario
def remote_control():
    inspect = app.control.inspect(timeout=2, destination=[workers["rpc"].name])
    [registered] = inspect.registered().values()
    check("celery_app.add" in registered, f"registered tasks: {registered}")
    [queues] = inspect.active_queues().values()
    equal([queue["name"] for queue in queues], [f"{suite.prefix}.tasks"], "queues of the worker")


@suite.scenario
def revoke():
    pending = add.apply_async((1, 1), countdown=1.5)
    [answer] = app.control.revoke(pending.id, reply=True, timeout=2, destination=[workers["rpc"].name])
    check("ok" in answer[workers["rpc"].name], f"answer: {answer}")
    try:
        pending.get(timeout=SECONDS_MAX)
        raise AssertionError("a revoked task does not run")
    except TaskRevokedError:
        equal(pending.state, "REVOKED", "state")


@suite.scenario
def events():
    seen = set()
    wanted = {"task-received", "task-started", "task-succeeded"}
    with app.connection_for_read() as own:
        receiver = app.events.Receiver(own, handlers={"*": lambda event: seen.add(event["type"])})
        with receiver.consumer_context(wakeup=False) as (connection, _, _):
            app.control.enable_events(reply=True, timeout=2, destination=[workers["rpc"].name])
            add.delay(1, 2)
            deadline = time.monotonic() + 10
            while not wanted <= seen and time.monotonic() < deadline:
                try:
                    connection.drain_events(timeout=0.5)
                except TimeoutError:
                    continue
    check(wanted <= seen, f"events: {sorted(seen)}")


@suite.scenario
def chord_of_tasks():
    # The same module, as the process of the other application sees it.
    script = ("from celery import chord; from celery_app import add, app, total\n"
              "print(chord((add.s(i, i) for i in range(10)), total.s()).apply_async().get(timeout=20))")
    done = subprocess.run([sys.executable, "-c", script], cwd=here, env=workers["files"].environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, timeout=25)
    equal(done.stdout.decode().strip(), str(sum(2 * i for i in range(10))), "sum over the chord")


special = f"{suite.prefix}.special"
dead = f"{suite.prefix}.dead"


@contextlib.contextmanager
def special_consumed():
    """While it lasts the worker consumes the queue with priorities and dead letters."""
    options = {"reply": True, "timeout": 2, "destination": [workers["rpc"].name], "limit": 1}
    [answer] = app.control.add_consumer(special, **options)
    check("ok" in answer[workers["rpc"].name], f"answer: {answer}")
    try:
        yield
    finally:
        app.control.cancel_consumer(special, **options)


def dead_letter(channel, task, reason):
    """Takes the next dead letter and compares its task and its history."""
    found = []
    eventually(lambda: found.append(channel.basic_get(dead, no_ack=True)) or found[-1], "the dead letter")
    headers = found[-1].headers
    [death] = headers["x-death"]
    equal((headers["id"], death["queue"], death["reason"], death["count"], death["exchange"], death["routing-keys"]),
          (task.id, special, reason, 1, "", [special]), "dead letter")


def ready(channel, count):
    eventually(lambda: channel.queue_declare(special, passive=True).message_count == count, f"{count} messages wait")


@suite.scenario
def task_priorities():
    with app.connection_for_write() as connection:
        low = [started.apply_async(queue=special, priority=1) for _ in range(6)]
        high = [started.apply_async(queue=special, priority=9) for _ in range(6)]
        ready(connection.default_channel, 12)
        with special_consumed():
            times = sorted((result.get(timeout=SECONDS_MAX), name) for name, results in (("low", low), ("high", high)) for result in results)
    order = [name for _, name in times]
    # The worker has two processes, so that two in turn may start in either order.
    equal((order[:5], order[-5:]), (["high"] * 5, ["low"] * 5), "order of starts")


@suite.scenario
def task_expires():
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(dead, durable=True, auto_delete=False)
        # Celery makes `expires` the message's expiration too, and the worker looks at it again before it runs the task.
        gone = add.apply_async((1, 1), queue=special, expires=0.05)
        fresh = add.apply_async((2, 2), queue=special, expires=60)
        dead_letter(channel, gone, "expired")
        ready(channel, 1)
        with special_consumed():
            equal(fresh.get(timeout=SECONDS_MAX), 4, "a task in time")
            stale = add.apply_async((1, 1), queue=special, countdown=1, expires=0.9)
            try:
                stale.get(timeout=SECONDS_MAX)
                raise AssertionError("a task does not run after it expired")
            except TaskRevokedError:
                equal(stale.state, "REVOKED", "state")
        equal(gone.state, "PENDING", "state of what never reached the worker")


@suite.scenario
def task_dead_letters():
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare(dead, durable=True, auto_delete=False)
        with special_consumed():
            refused = refuse.apply_async(queue=special)
            dead_letter(channel, refused, "rejected")
            equal(add.apply_async((1, 2), queue=special).get(timeout=SECONDS_MAX), 3, "the worker goes on")


@suite.scenario
def warm_shutdown():
    pending = [add.apply_async((i, i), countdown=3600) for i in range(3)]
    name = workers["rpc"].name
    inspect = app.control.inspect(timeout=2, destination=[name])
    eventually(lambda: len((inspect.scheduled() or {}).get(name, [])) == len(pending), "the worker holds the tasks", seconds_max=10)
    for worker in workers.values():
        worker.stop()
    for worker in workers.values():
        equal(worker.wait(), 0, f"exit code of {worker.name}")
    with app.connection_for_read() as connection:
        # What a worker held goes back to the queue when its connection ends.
        queue = f"{suite.prefix}.tasks"
        eventually(lambda: connection.default_channel.queue_declare(queue, passive=True).message_count == len(pending),
                   "held tasks are back in the queue")
        equal(connection.default_channel.basic_get(queue, no_ack=True).delivery_info["redelivered"], True, "redelivered")


def cleanup(_queues, _exchanges):
    """Queues of workers delete themselves or expire; the exchanges of pidbox and events and the task queues stay."""
    for worker in workers.values():
        if worker.process.poll() is None:
            worker.stop()
            worker.wait()
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        for prefix in (suite.prefix, f"{suite.prefix}.files"):
            for queue in ("tasks", "special", "dead"):
                channel.queue_delete(f"{prefix}.{queue}")
            for exchange in ("tasks", "control.pidbox", "events"):
                channel.exchange_delete(f"{prefix}.{exchange}")
            channel.exchange_delete(f"reply.{prefix}.control.pidbox")


suite.main(cleanup)
