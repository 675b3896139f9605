"""Runs scenarios one after another and reports each on its own line, as `compat/run` expects.

    client NAME VERSION           the client library in use
    plan NAME NAME ...            before the first scenario: what must report
    ok NAME SECONDS
    skip NAME SECONDS REASON      the broker has not what the scenario needs
    FAIL NAME SECONDS REASON      the reason is one line; the trace goes to standard error

Names of queues and exchanges start with a prefix drawn for this run, so that suites can share a broker.
"""

import asyncio
import inspect
import os
import re
import secrets
import signal
import sys
import time
import traceback
from urllib.parse import unquote, urlsplit

SCENARIO_SECONDS_MAX = 30

# What every RabbitMQ since 3.3 announces; clients switch features on these.
CAPABILITIES = (
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
    "direct_reply_to",
)


class Suite:
    def __init__(self, client, version):
        print("client", client, version)
        self.url = os.environ["AMQP_URL"]
        self.vhost = unquote(urlsplit(self.url).path[1:]) or "/"
        self.prefix = f"compat.{client}.{secrets.token_hex(4)}"
        self.queues, self.exchanges = [], []
        self._scenarios = []
        self._names = 0

    def scenario(self, function):
        self._scenarios.append(function)
        return function

    def queue(self):
        """A fresh queue name, deleted at the end whether or not it was declared."""
        self.queues.append(self.name("q"))
        return self.queues[-1]

    def exchange(self):
        self.exchanges.append(self.name("x"))
        return self.exchanges[-1]

    def name(self, kind):
        self._names += 1
        return f"{self.prefix}.{kind}{self._names}"

    def main(self, cleanup, skip=None):
        """Runs all scenarios, then `cleanup(queues, exchanges)`; exits with 1 if anything failed. `skip`: why none can run."""
        chosen = [f for f in self._scenarios if is_chosen(f.__name__)]
        print("plan", *(f.__name__ for f in chosen), flush=True)
        if skip is not None:
            for f in chosen:
                print("skip", f.__name__, 0, skip)
            sys.exit(0)
        passed = [self._run(f.__name__, f) for f in chosen]
        tidy = self._call("cleanup", lambda: cleanup(self.queues, self.exchanges))
        if tidy is not None:
            print(f"cleanup: {tidy}", file=sys.stderr)
        sys.exit(0 if all(passed) and tidy is None else 1)

    def _run(self, name, function):
        start = time.monotonic()
        reason = self._call(name, function)
        seconds = time.monotonic() - start
        print(f"ok {name} {seconds:.2f}" if reason is None else f"FAIL {name} {seconds:.2f} {reason}", flush=True)
        return reason is None

    def _call(self, name, function):
        """The reason of the failure, or None. The alarm also ends a client that waits for ever."""
        signal.signal(signal.SIGALRM, _alarm)
        signal.alarm(SCENARIO_SECONDS_MAX)
        try:
            result = function()
            if inspect.iscoroutine(result):
                asyncio.run(result)
            return None
        except Exception as error:
            print(f"--- {name}", file=sys.stderr)
            traceback.print_exc()
            return describe(error)
        finally:
            signal.alarm(0)


def _alarm(_signal, _frame):
    raise TimeoutError(f"not done after {SCENARIO_SECONDS_MAX} s")


def is_chosen(name):
    """COMPAT_ONLY and COMPAT_SKIP hold scenario names, for work on one of them."""
    only, skip = os.environ.get("COMPAT_ONLY", "").split(), os.environ.get("COMPAT_SKIP", "").split()
    return (not only or name in only) and name not in skip


def describe(error):
    """Type, text and the line of the suite that was running, on one line."""
    here = os.path.dirname(os.path.abspath(__file__))
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(here + os.sep)
             and os.path.basename(f.filename) != "harness.py" and os.sep + ".cache" + os.sep not in f.filename]
    where = f" (line {lines[-1]})" if lines else ""
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}{where}")[:300]


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(actual, expected, what):
    check(actual == expected, f"{what}: expected {str(expected)[:120]!r}, got {str(actual)[:120]!r}")


def check_server(properties):
    """`properties`: the table of connection.start as the client keeps it."""
    def text(value):
        return value.decode() if isinstance(value, (bytes, bytearray)) else value

    equal(text(properties["product"]), "RabbitMQ", "product")
    version = text(properties["version"])
    check(re.match(r"\d+\.\d+\.\d+", version), f"version is like 1.2.3: {version!r}")
    capabilities = {text(k): v for k, v in properties["capabilities"].items()}
    for capability in CAPABILITIES:
        check(capabilities.get(capability) is True, f"capability {capability} is true")


def eventually(condition, what, seconds_max=5):
    """For what a broker does shortly after it answered, such as auto-delete."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        check(time.monotonic() < deadline, f"{what}, within {seconds_max} s")
        time.sleep(0.02)


def five_mebibytes():
    """5 MiB in which no 256 bytes repeat at a frame boundary's distance."""
    block = bytes(range(256))
    return b"".join(i.to_bytes(4, "big") + block[4:] for i in range(5 * 1024 * 1024 // 256))


def with_password(url, password):
    user = urlsplit(url).username
    return re.sub(r"//[^@]*@", f"//{user}:{password}@", url, count=1)
