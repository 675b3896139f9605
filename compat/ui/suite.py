"""The management UI in a headless Chromium: what people do with it, seen and done as they would."""

import base64
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote, urlsplit

import pika

sys.path.insert(0, str(Path(__file__).parent.parent / "python"))

from browser import Browser, Keys  # noqa: E402
from provider import Provider, broker_with, status_of  # noqa: E402
from harness import Suite, check, equal, eventually  # noqa: E402

EVIL = ["<script>alert(1)</script>", "a/b?c#d%", "<img src=x onerror=alert(1)>", "%2F&\"'`=;", "ü – 日本 🐇", ".hidden..", "  spaces  "]

address = urlsplit(os.environ.get("HTTP_URL", ""))
base = f"http://{address.hostname}:{address.port}/"
user, password = address.username, address.password


def http(method, path, body=None):
    """What the API answers, or None for nothing there."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{base}api/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read() or b"{}")
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise AssertionError(f"{method} {path}: {error.code} {error.read()[:200]}") from None


def path(*names):
    return "/".join(quote(name, safe="") for name in names)


def page(*names):
    return "#/" + path(*names)


def is_lepus():
    """RabbitMQ's UI is another."""
    try:
        with urllib.request.urlopen(base, timeout=5) as response:
            return b"<title>Lepus</title>" in response.read()
    except (OSError, ValueError):
        return False


downloads = tempfile.TemporaryDirectory()
browser = Browser(base, downloads.name) if address.hostname and is_lepus() else None
suite = Suite("chromium", browser.version if browser else "-")
# All that is made is in this vhost, and goes with it.
vhost = f"{suite.prefix} <b>"
people = []


def person(tags):
    """A user who may do everything in the vhost."""
    name = f"{suite.prefix}.{tags or 'nobody'}"
    http("PUT", path("users", name), {"password": "secret & ü", "tags": tags})
    http("PUT", path("permissions", vhost, name), {"configure": ".*", "write": ".*", "read": ".*"})
    people.append(name)
    return name


def begin():
    """Logged in as administrator, on the overview, with all vhosts shown."""
    browser.width(1440)
    # Nothing runs there that would write its own session. Logging in by hand is seen to in a scenario of its own.
    browser.driver.get(f"{base}icon.svg")
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    session = {"name": user, "tags": ["administrator"], "authorization": f"Basic {token}"}
    browser.script("localStorage.clear(); localStorage.setItem('lepus.refresh', '0');"
                   "sessionStorage.setItem('lepus.session', arguments[0])", json.dumps(session))
    browser.driver.get(base)
    browser.titled("Overview")


def publish(queue, payload, **properties):
    sent = {"routing_key": queue, "payload": payload, "payload_encoding": "string", "properties": properties}
    http("POST", f"exchanges/{path(vhost)}/amq.default/publish", sent)


def clean(where):
    equal(browser.complaints(), [], f"complaints of the console on {where}")


@suite.scenario
def login_and_logout():
    browser.driver.get(base)
    browser.fill("Username", user)
    browser.fill("Password", "wrong")
    browser.click("Log in")
    browser.see("The username or the password is wrong.", "[role=alert]")
    browser.fill("Password", password)
    browser.click("Log in")
    browser.titled("Overview")
    browser.see("Queued messages")
    browser.driver.refresh()
    browser.titled("Overview")
    browser.click("Log out")
    browser.see("Username")
    equal(browser.script("return sessionStorage.length"), 0, "what is kept of the session")
    browser.log_in(person(""), "secret & ü")
    browser.see("Not authorised: Not management user", "[role=alert]")
    clean("the login")


@suite.scenario
def queue_from_declare_to_delete():
    begin()
    name = suite.queue()
    browser.go("#/queues", "Queues and Streams")
    browser.click("Add a new queue")
    browser.fill("Virtual host", vhost, "Add queue")
    browser.fill("Name", name, "Add queue")
    browser.argument("Max length", "10")
    browser.argument("Dead letter exchange", "amq.fanout")
    browser.click("Add queue")
    browser.see(f"The queue {name} was added.")
    browser.fill("Filter", name)
    row = browser.row("Queues and streams", name)
    equal((row[3].split(), row[-4]), (["D", "DLX", "Lim"], "0"), "features and ready messages")
    browser.follow(name)
    browser.titled(f"Queue {name}")
    browser.open("Publish message")
    browser.fill("Payload", "Hello, <b>hare</b>!", "Publish message")
    browser.argument("Content type", "text/plain")
    browser.click("Publish message")
    browser.see("The message was published.")
    browser.wait(lambda: browser.row("Contents", "Ready")[1] == "1", "one message is ready")
    equal(browser.row("Contents", "Persistent")[1], "0", "messages that outlive the broker")
    browser.open("Get messages")
    browser.click("Get messages")
    browser.see("Hello, <b>hare</b>!", ".messages pre")
    browser.see("content_type: text/plain", ".messages")
    browser.fill("Ack mode", "Automatic ack: take it out", "Get messages")
    browser.click("Get messages")
    browser.see("redelivered", ".messages")
    browser.wait(lambda: browser.row("Contents", "Ready")[1] == "0", "no message is left")
    publish(name, "to be purged")
    browser.click("Now")
    browser.wait(lambda: browser.row("Contents", "Ready")[1] == "1", "one message is ready again")
    browser.click("Purge")
    browser.agree("Purge")
    browser.wait(lambda: browser.row("Contents", "Ready")[1] == "0", "it is purged")
    browser.click("Delete")
    browser.keys(Keys.ESCAPE)
    browser.wait(lambda: not browser.all("dialog"), "Escape closes the question")
    check(http("GET", path("queues", vhost, name)), "the queue is there after Escape")
    browser.click("Delete")
    browser.agree("Delete")
    browser.titled("Queues and Streams")
    equal(http("GET", path("queues", vhost, name)), None, "the queue after the delete")
    clean("the pages of queues")


@suite.scenario
def errors_in_words():
    begin()
    name = suite.queue()
    http("PUT", path("queues", vhost, name), {"durable": True})
    browser.go("#/queues", "Queues and Streams")
    browser.click("Add a new queue")
    browser.fill("Virtual host", vhost, "Add queue")
    browser.fill("Name", name, "Add queue")
    browser.argument("Message TTL", "1000")
    browser.click("Add queue")
    browser.see("inequivalent arg 'x-message-ttl' for queue", "dialog [role=alert]")
    browser.argument("Max length", "many")
    browser.click("Add queue")
    browser.see("'x-max-length' is to be a number, but is 'many'.", "dialog [role=alert]")
    browser.keys(Keys.ESCAPE)
    browser.go(page("queues", vhost, "nosuch"), "Queue nosuch")
    browser.see("There is nothing of this name (any more).", "main > [role=alert]")
    browser.go("#/nosuch", "Not found")
    clean("pages with errors")


@suite.scenario
def evil_names():
    begin()
    for name in EVIL:
        http("PUT", path("queues", vhost, name), {"durable": True})
        http("PUT", path("exchanges", vhost, name), {"type": "topic"})
        http("POST", f"bindings/{path(vhost)}/e/{path(name)}/q/{path(name)}", {"routing_key": name, "arguments": {name: name}})
        publish(name, name, message_id=name, headers={name: name})
    browser.go("#/queues", "Queues and Streams")
    browser.fill("Filter", EVIL[0])
    browser.row("Queues and streams", EVIL[0])
    browser.follow(EVIL[0])
    browser.titled(f"Queue {EVIL[0]}")
    for name in EVIL:
        # A title shows one space for several.
        shown = " ".join(name.split())
        browser.go(page("queues", vhost, name), f"Queue {shown}")
        browser.wait(lambda: len(browser.rows("Bindings to this queue")) == 2, f"the bindings of {name}")
        browser.open("Get messages")
        browser.click("Get messages")
        browser.see(shown, ".messages")
        browser.click("Unbind")
        browser.wait(lambda: len(browser.rows("Bindings to this queue")) == 1, f"one binding of {name} is gone")
        browser.go(page("exchanges", vhost, name), f"Exchange {shown}")
        browser.click("Delete")
        browser.agree("Delete")
        browser.titled("Exchanges")
        equal(http("GET", path("exchanges", vhost, name)), None, f"the exchange {name} after the delete")
    equal(browser.all("main img, main script, main b"), [], "markup made of names")
    clean("pages of evil names")


@suite.scenario
def ten_thousand_queues():
    big = f"{vhost} big"
    http("PUT", path("vhosts", big), {})
    queues = [{"name": f"q{n:05}", "durable": False, "auto_delete": False, "arguments": {}} for n in range(10_000)]
    http("POST", f"definitions/{path(big)}", {"queues": queues})
    publish_to = f"exchanges/{path(big)}/amq.default/publish"
    http("POST", publish_to, {"routing_key": "q07777", "payload": "", "payload_encoding": "string", "properties": {}})
    begin()
    # The choice of vhosts is above all pages.
    browser.shown("//header//select[option[.='All']]", "the choice of vhosts").send_keys(big)
    browser.go("#/queues", "Queues and Streams")
    browser.see("10,000", ".status")
    equal(len(browser.rows("Queues and streams")), 100, "rows of a page")
    browser.shown("//button[@aria-label='Last page']", "the last page").click()
    browser.row("Queues and streams", "q09999")
    check("page=100" in browser.driver.current_url, "the page stands in the address")
    browser.driver.refresh()
    browser.row("Queues and streams", "q09999")
    browser.fill("Filter", "q0123")
    browser.see("10 of 10,000", ".status")
    browser.fill("Filter", "^q0(1|2)0..$")
    browser.script("document.querySelector('.controls input[type=checkbox]').click()")
    browser.see("200 of 10,000", ".status")
    browser.fill("Filter", "")
    browser.see_no(" of ", ".status")
    browser.click("Ready")
    browser.wait(lambda: browser.rows("Queues and streams")[0][0] == "q07777", "the one with a message is first")
    check(not [url for url in browser.requests() if "/api/queues" in url and "page_size=100" not in url], "only pages are asked for")
    browser.open("Columns")
    browser.script("[...document.querySelectorAll('.popup label')].find((one) => one.innerText === 'Consumers').click()")
    browser.wait(lambda: "Consumers" in browser.text("thead"), "the column that was chosen")
    browser.script("localStorage.removeItem('lepus.vhost')")
    clean("long lists")


@suite.scenario
def messages_are_moved():
    begin()
    here, there = suite.queue(), suite.queue()
    for name in (here, there):
        http("PUT", path("queues", vhost, name), {"durable": True})
    for n in range(3):
        publish(here, str(n))
    browser.go(page("queues", vhost, here), f"Queue {here}")
    browser.open("Move messages")
    browser.fill("Its name", "nosuch", "Move messages")
    browser.click("Move messages")
    browser.see("queue_not_found", ".panel[open] [role=alert]")
    browser.fill("Its name", there, "Move messages")
    browser.click("Move messages")
    browser.see("3 messages were moved.")
    eventually(lambda: http("GET", path("queues", vhost, there))["messages"] == 3, "three messages are there")
    clean("moving")


def ranges():
    return browser.script("return [...document.querySelector('fieldset.segments').querySelectorAll('label')].map((one) => one.innerText.trim())")


@suite.scenario
def charts_go_back_as_far_as_samples_do():
    begin()
    browser.see("Queued messages")
    equal(ranges(), ["1 min", "10 min", "1 h", "8 h", "1 day"], "ranges of the whole broker")
    browser.press("//fieldset[contains(@class, 'segments')]//label[normalize-space()='1 day']", "the range of a day")
    sentence = "return document.querySelector('svg.plot').getAttribute('aria-label')"
    browser.wait(lambda: "the last day" in browser.script(sentence), "charts of a day")
    browser.wait(lambda: any("msg_rates_age=86400&msg_rates_incr=1800" in url for url in browser.requests()), "samples of a day")
    name = suite.queue()
    http("PUT", path("queues", vhost, name), {"durable": True})
    browser.go(page("queues", vhost, name), f"Queue {name}")
    equal(ranges(), ["1 min", "10 min", "1 h"], "ranges of a queue")
    check("the last minute" in browser.script(sentence), "the range of queues is chosen for itself")
    clean("charts")


@suite.scenario
def exchange_with_bindings():
    begin()
    name, queue = suite.exchange(), suite.queue()
    http("PUT", path("queues", vhost, queue), {})
    browser.go("#/exchanges", "Exchanges")
    browser.click("Add a new exchange")
    browser.fill("Virtual host", vhost, "Add exchange")
    browser.fill("Name", name, "Add exchange")
    browser.fill("Type", "headers", "Add exchange")
    browser.click("Add exchange")
    browser.see(f"The exchange {name} was added.")
    browser.go(page("exchanges", vhost, name), f"Exchange {name}")
    browser.open("Add binding")
    browser.fill("Its name", queue, "Bind")
    browser.argument("x-match", "any")
    browser.click("Bind")
    browser.wait(lambda: "x-match: any" in str(browser.rows("Bindings from this exchange")), "the binding")
    browser.open("Publish message")
    browser.fill("Payload", "x", "Publish message")
    browser.click("Publish message")
    browser.see("routed nowhere", "#errors")
    browser.follow(queue)
    browser.titled(f"Queue {queue}")
    browser.click("Unbind")
    browser.wait(lambda: len(browser.rows("Bindings to this queue")) == 1, "only the default binding is left")
    clean("bindings")


@suite.scenario
def connection_is_shown_and_closed():
    begin()
    queue = suite.queue()
    http("PUT", path("queues", vhost, queue), {})
    settings = pika.URLParameters(suite.url)
    settings.virtual_host = vhost
    http("PUT", path("permissions", vhost, settings.credentials.username), {"configure": ".*", "write": ".*", "read": ".*"})
    settings.client_properties = {"connection_name": "a hare"}
    connection = pika.BlockingConnection(settings)
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=7)
    channel.basic_consume(queue, lambda *_: None, consumer_tag="nibbler")
    browser.go("#/connections", "Connections")
    name = browser.wait(lambda: next((row[0].split("\n")[0] for row in browser.rows("Connections") if "a hare" in row[0]), None), "it")
    browser.follow(name)
    browser.titled(f"Connection {name}")
    browser.see("connection_name: a hare")
    browser.follow(f"{name} (1)")
    browser.titled(f"Channel {name} (1)")
    equal(browser.row("Consumers", queue)[1], "nibbler", "consumer tag")
    browser.see("only with management.rates_mode = detailed")
    browser.go(page("connections", name), f"Connection {name}")
    browser.click("Close")
    browser.fill("Reason", "the fox comes", "Force close")
    browser.click("Force close")
    browser.titled("Connections")
    try:
        connection.process_data_events(time_limit=10)
        raise AssertionError("the connection goes on")
    except pika.exceptions.ConnectionClosedByBroker as closed:
        equal((closed.reply_code, closed.reply_text), (320, "CONNECTION_FORCED - the fox comes"), "what the client is told")
    clean("connections")


@suite.scenario
def users_vhosts_policies_and_limits():
    begin()
    name = f"{suite.prefix}.<i>ann</i>"
    people.append(name)
    browser.go("#/users", "Users")
    browser.click("Add a user")
    browser.fill("Username", name, "Add user")
    browser.fill("Password", "one", "Add user")
    browser.fill("Password again", "two", "Add user")
    browser.click("monitoring")
    browser.click("policymaker")
    browser.click("Add user")
    browser.see("The two passwords differ.", "dialog [role=alert]")
    browser.fill("Password again", "one", "Add user")
    browser.click("Add user")
    equal(browser.row("Users", name)[1].split(), ["monitoring", "policymaker"], "tags")
    browser.follow(name)
    browser.fill("Virtual host", vhost, "Set permission")
    browser.fill("Configure regexp", "^ann", "Set permission")
    browser.click("Set permission")
    equal(browser.row("Permissions", vhost)[1], "^ann", "configure")
    browser.fill("Virtual host", vhost, "Set topic permission")
    browser.click("Set topic permission")
    browser.row("Topic permissions", vhost)
    browser.click("Update")
    browser.click("administrator")
    browser.click("Update user")
    browser.see("monitoring, policymaker, administrator")
    browser.click("Delete")
    browser.agree("Delete")
    browser.titled("Users")

    other = f"{vhost} other"
    browser.go("#/vhosts", "Virtual Hosts")
    browser.click("Add a new virtual host")
    browser.fill("Name", other, "Add virtual host")
    browser.fill("Description", "for a while", "Add virtual host")
    browser.fill("Default queue type", "Quorum", "Add virtual host")
    browser.click("Add virtual host")
    allowed = [permission["user"] for permission in http("GET", path("vhosts", other, "permissions"))]
    equal(browser.row("Virtual hosts", other)[3:5], [", ".join(allowed) or "none", "quorum"], "users, default queue type")

    browser.go("#/limits", "Limits")
    browser.click("Set a virtual host limit")
    browser.fill("Virtual host", other, "Set limit")
    browser.fill("Limit", "Queues", "Set limit")
    browser.fill("Value", "3", "Set limit")
    browser.click("Set limit")
    equal(browser.row("Virtual host limits", other)[1:3], ["max-queues", "3"], "the limit")

    for add, kind, caption in [("Add a user policy", "policies", "User policies"),
                               ("Add an operator policy", "operator-policies", "Operator policies")]:
        browser.go("#/policies", "Policies")
        browser.click(add)
        browser.fill("Virtual host", other, "Add policy")
        browser.fill("Name", "short", "Add policy")
        browser.fill("Pattern", "^q", "Add policy")
        browser.fill("Apply to", "Queues", "Add policy")
        browser.argument("Max length", "-5")
        browser.click("Add policy")
        browser.see("Validation failed", "dialog [role=alert]")
        browser.shown("//dialog//input[@aria-label='Value of max-length']", "the value").clear()
        browser.shown("//dialog//input[@aria-label='Value of max-length']", "the value").send_keys("5")
        browser.click("Add policy")
        browser.wait(lambda: any(row[:2] == ["short", other] for row in browser.rows(caption)), "the policy")
        equal(http("GET", path(kind, other, "short"))["definition"], {"max-length": 5}, "its definition")
    browser.go(page("policies", other, "short"), "Policy short")
    browser.click("Delete")
    browser.agree("Delete")
    browser.titled("Policies")
    equal(http("GET", path("policies", other, "short")), None, "the policy after the delete")

    browser.go(page("vhosts", other), f"Virtual host {other}")
    browser.click("Delete")
    browser.agree("Delete")
    browser.titled("Virtual Hosts")
    equal(http("GET", path("vhosts", other)), None, "the vhost after the delete")
    clean("the pages of Admin")


@suite.scenario
def definitions_out_and_in():
    begin()
    name = suite.queue()
    http("PUT", path("queues", vhost, name), {"durable": True, "arguments": {"x-max-length": 5}})
    browser.see("Download definitions")
    browser.fill("Filename", "export.json", "Download definitions")
    browser.fill("Virtual host", vhost, "Download definitions")
    browser.click("Download definitions")
    browser.see("The definitions are in export.json.")
    file = Path(downloads.name) / "export.json"
    eventually(lambda: file.exists() and file.stat().st_size > 0, "the file is there")
    exported = json.loads(file.read_text())
    check(name in [queue["name"] for queue in exported["queues"]], "the queue is in it")
    http("DELETE", path("queues", vhost, name))
    browser.fill("Virtual host", vhost, "Upload definitions")
    browser.fill("Definitions file", str(file), "Upload definitions")
    browser.click("Upload definitions")
    browser.see("The definitions in export.json were imported.")
    equal(http("GET", path("queues", vhost, name))["arguments"]["x-max-length"], 5, "the argument after the import")
    broken = Path(downloads.name) / "broken.json"
    broken.write_text("{")
    browser.fill("Definitions file", str(broken), "Upload definitions")
    browser.click("Upload definitions")
    browser.see("failed_to_parse_json", "main .error:not(:empty)")
    clean("definitions")


@suite.scenario
def colours():
    def ground():
        return browser.script("return getComputedStyle(document.body.parentElement).backgroundColor")
    browser.device(prefers_color_scheme="light")
    begin()
    light = ground()
    browser.device(prefers_color_scheme="dark")
    dark = ground()
    check(light != dark, "the colours follow the system")
    browser.shown("//select[contains(@class, 'theme')]", "the choice of colours").send_keys("Colours: light")
    equal(ground(), light, "the colours as chosen")
    browser.driver.refresh()
    browser.titled("Overview")
    equal(ground(), light, "the colours after a reload")
    browser.script("localStorage.removeItem('lepus.theme')")
    browser.device(prefers_color_scheme="light")
    clean("either colours")


@suite.scenario
def by_keyboard_alone():
    browser.driver.get(base)
    browser.script("sessionStorage.clear(); localStorage.clear()")
    browser.driver.refresh()
    browser.see("Username")
    browser.wait(lambda: browser.script("return document.activeElement.tagName") == "INPUT", "the first field has the focus")
    browser.keys(user, Keys.TAB, password, Keys.ENTER)
    browser.titled("Overview")
    browser.script("document.activeElement.blur()")
    browser.driver.refresh()
    browser.titled("Overview")
    browser.keys(Keys.TAB)
    equal(browser.script("return document.activeElement.innerText"), "Skip to the content", "the first stop")
    browser.keys(Keys.ENTER)
    equal(browser.script("return document.activeElement.tagName"), "H1", "the focus behind the link")
    browser.script("document.querySelector('.skip').focus()")
    browser.tab_to("e.innerText === 'Queues and Streams'", "Queues and Streams")
    check(browser.script("return getComputedStyle(document.activeElement).outlineStyle") != "none", "the focus is seen")
    browser.keys(Keys.ENTER)
    browser.titled("Queues and Streams")
    equal(browser.script("return document.activeElement.tagName"), "H1", "the focus on a new page")
    browser.tab_to("e.innerText === 'Add a new queue'", "the button to add a queue")
    browser.keys(Keys.ENTER)
    browser.see("Dead letter routing key", "dialog")
    for _ in range(40):
        browser.keys(Keys.TAB)
        inside = browser.script("const e = document.activeElement; return e === document.body || Boolean(e.closest('dialog'))")
        check(inside, "the focus stays in the dialog")
    browser.keys(Keys.ESCAPE)
    browser.wait(lambda: not browser.all("dialog"), "Escape closes the dialog")
    equal(browser.script("return document.activeElement.innerText"), "Add a new queue", "the focus behind the dialog")
    clean("pages by keyboard")


@suite.scenario
def rights_by_tag():
    name = person("management")
    browser.log_in(name, "secret & ü")
    browser.titled("Overview")
    browser.see("Queued messages")
    for hidden in ("Nodes", "Ports and contexts", "Definitions"):
        check(hidden not in browser.text("main"), f"{hidden} is hidden")
    browser.script("[...document.querySelectorAll('.tabs a')].at(-1).click()")
    browser.titled("Policies")
    equal(browser.text(".side").split("\n"), ["Policies", "Limits"], "pages of Admin")
    equal(browser.all("main .title button"), [], "buttons of policies")
    browser.go("#/vhosts", "Virtual Hosts")
    browser.go(page("users", user), f"User {user}")
    browser.see("Not authorised: Not administrator user", "main > [role=alert]")
    browser.go("#/queues", "Queues and Streams")
    browser.wait(lambda: {row[1] for row in browser.rows("Queues and streams")} <= {vhost}, "only queues of the vhost are seen")
    browser.log_in(person("monitoring"), "secret & ü")
    browser.titled("Overview")
    browser.see("Ports and contexts")
    clean("pages of other users")


@suite.scenario
def login_at_a_provider():
    if not os.environ.get("LEPUS"):
        # A broker that is there already has no provider.
        return
    with Provider() as provider, broker_with(provider) as own:
        browser.driver.get(own)
        browser.see(f"Log in at 127.0.0.1:{provider.port}")
        equal(browser.all("input"), [], "fields for a password")
        browser.click(f"Log in at 127.0.0.1:{provider.port}")
        browser.follow_any("No")
        browser.see("The provider refuses: the user said no", "[role=alert]")
        browser.click(f"Log in at 127.0.0.1:{provider.port}")
        browser.follow_any("Yes")
        browser.titled("Overview")
        browser.see("hare administrator", "header")
        equal(browser.driver.current_url, own, "the address without the code")
        browser.driver.refresh()
        browser.titled("Overview")
        # It is over almost at once, so that the next look at the page renews it.
        browser.click("Now")
        browser.wait(lambda: provider.grants[-1:] == ["refresh_token"], "the token is renewed")
        browser.see("As of", "footer")
        browser.go("#/queues", "Queues and Streams")
        equal(status_of(f"{own}api/whoami", "Basic Z3Vlc3Q6Z3Vlc3Q="), 401, "a name and a password")
        browser.driver.get(f"{own}?code=x&state=y")
        browser.see("This login was not begun here.", "[role=alert]")
        browser.click(f"Log in at 127.0.0.1:{provider.port}")
        browser.follow_any("Yes")
        browser.titled("Overview")
        kept = "const kept = JSON.parse(sessionStorage.getItem('lepus.session'));"
        left = browser.script(f"{kept} return kept.until - Date.now()") / 60_000
        check(479 < left <= 480, f"the session has {left} minutes left")
        browser.script(f"{kept} kept.until = Date.now() - 1; sessionStorage.setItem('lepus.session', JSON.stringify(kept))")
        browser.driver.refresh()
        browser.see("Your session is over.", "[role=alert]")
        browser.click(f"Log in at 127.0.0.1:{provider.port}")
        browser.follow_any("Yes")
        browser.titled("Overview")
        browser.click("Log out")
        browser.see("Log in at")
        equal(provider.logouts, ["lepus-ui"], "sessions that the provider has ended")
        equal(browser.script("return sessionStorage.length"), 0, "what is kept of the session")
        clean("a login at a provider")


@suite.scenario
def broker_is_lost_and_found():
    begin()
    browser.network(False)
    browser.click("Now")
    browser.see("The broker does not answer.", "main > [role=alert]")
    browser.network(True)
    browser.see_no("The broker does not answer.", "main")
    clean("a lost broker")


LABELS = """
const named = (element) => element.labels?.length || element.getAttribute('aria-label') || element.innerText?.trim();
const bad = [];
for (const element of document.querySelectorAll('input, select, textarea, button, summary, a'))
  if (!named(element) && element.type !== 'hidden') bad.push(element.outerHTML.slice(0, 120));
for (const head of document.querySelectorAll('th')) if (!head.scope) bad.push(head.outerHTML.slice(0, 120));
for (const chart of document.querySelectorAll('svg.plot')) if (!chart.getAttribute('aria-label')) bad.push('a chart');
for (const mark of ['header', 'nav', 'main', 'footer', 'h1']) if (!document.querySelector(mark)) bad.push(mark);
const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
for (const id of new Set(ids)) if (ids.indexOf(id) !== ids.lastIndexOf(id)) bad.push(`#${id} twice`);
return bad;
"""


@suite.scenario
def every_page_is_sound():
    begin()
    queue = suite.queue()
    http("PUT", path("queues", vhost, queue), {"durable": True, "arguments": {"x-queue-type": "quorum"}})
    http("PUT", path("policies", vhost, "p"), {"pattern": "^x", "definition": {"max-length": 1}})
    publish(queue, "m")
    node = http("GET", "nodes")[0]["name"]
    pages = [("#/", "Overview"), (page("nodes", node), f"Node {node}"), ("#/connections", "Connections"),
             ("#/channels", "Channels"), ("#/exchanges", "Exchanges"), (page("exchanges", vhost, "amq.topic"), "Exchange amq.topic"),
             (page("exchanges", vhost, "amq.default"), "Exchange (AMQP default)"), ("#/queues", "Queues and Streams"),
             (page("queues", vhost, queue), f"Queue {queue}"), ("#/users", "Users"), (page("users", user), f"User {user}"),
             ("#/vhosts", "Virtual Hosts"), (page("vhosts", vhost), f"Virtual host {vhost}"), ("#/policies", "Policies"),
             (page("policies", vhost, "p"), "Policy p"), ("#/limits", "Limits"), ("#/feature-flags", "Feature Flags"),
             ("#/deprecated-features", "Deprecated Features"), ("#/cluster-name", "Cluster")]
    for fragment, title in pages:
        browser.go(fragment, title)
        browser.see("As of", "footer")
        for summary in browser.all("main summary"):
            summary.click()
        equal(browser.script(LABELS), [], f"what is not accessible on {title}")
        equal(browser.text("main > [role=alert]"), "", f"trouble on {title}")
        for width in (1440, 390):
            browser.width(width)
            # The layout is done when the script is told.
            beyond = browser.script("const e = document.documentElement; return e.scrollWidth - e.clientWidth")
            equal(beyond, 0, f"pixels of {title} beyond a width of {width}")
        browser.width(1440)
        clean(title)
    foreign = [url for url in browser.requests() if not url.startswith((base, "blob:"))]
    equal(foreign, [], "requests to others")


def tidy(_queues, _exchanges):
    if browser is None:
        return
    browser.close()
    downloads.cleanup()
    for name in people:
        http("DELETE", path("users", name))
    for record in http("GET", "vhosts?columns=name"):
        if record["name"].startswith(suite.prefix):
            http("DELETE", path("vhosts", record["name"]))


if browser is not None:
    http("PUT", path("vhosts", vhost), {"description": "of the tests"})
try:
    suite.main(tidy, skip=None if browser else "HTTP_URL is not that of the UI of Lepus")
finally:
    if browser is not None:
        browser.close()
