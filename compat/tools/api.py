"""What the suites of tools share: where the HTTP API is, and the harness of the Python suites."""

import os
import sys
from urllib.parse import unquote, urlsplit

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "python"))
import harness  # noqa: E402

# Counts, rates and listings come a while after what they tell of.
WAIT_SECONDS_MAX = 25


def skip_without_http(client, version, names):
    """A broker that was given without its HTTP API has nothing to say to these tools."""
    if os.environ.get("HTTP_URL"):
        return
    print("client", client, version)
    chosen = [name for name in names if harness.is_chosen(name)]
    print("plan", *chosen)
    for name in chosen:
        print(f"skip {name} 0 HTTP_URL is not set")
    sys.exit(0)


class Api:
    """Parts of HTTP_URL, and of the vhost of AMQP_URL."""

    def __init__(self):
        url = urlsplit(os.environ["HTTP_URL"])
        self.host, self.port = url.hostname, url.port or 15672
        self.user, self.password = unquote(url.username or "guest"), unquote(url.password or "guest")
        self.base = f"http://{self.host}:{self.port}"
        self.login = (self.user, self.password)
        self.vhost = unquote(urlsplit(os.environ["AMQP_URL"]).path[1:]) or "/"



def eventually(what, look):
    """What `look` gives once it gives something."""
    found = []

    def condition():
        found[:] = [look()]
        return found[0]

    harness.eventually(condition, what, WAIT_SECONDS_MAX)
    return found[0]
